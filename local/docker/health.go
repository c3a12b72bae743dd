package docker

import (
	"cmp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/docker/docker/api/types/container"

	"github.com/ecs-local/ecs-local/local"
)

// What the agent calls the engine's "healthy" and "unhealthy".
const (
	healthy   = "HEALTHY"
	unhealthy = "UNHEALTHY"
)

const (
	defaultRetries = 3    // of a health check that does not say
	longestOutput  = 1024 // bytes
)

// hasHealth reports whether the container has a health check.
func hasHealth(config *container.Config, state *container.State) bool {
	if state.Health != nil && state.Health.Status != "" && state.Health.Status != container.NoHealthcheck {
		return true
	}
	test := config.Healthcheck
	return test != nil && len(test.Test) > 0 && test.Test[0] != "NONE"
}

// healthOf reads the state of the health check of c. As with the agent, all
// but Status says something about the moment in which Status changed: before
// is what is known of that moment already.
func healthOf(test *container.HealthConfig, h *container.Health, c, before *local.Container) *local.Health {
	if h == nil {
		h = &container.Health{}
	}
	probes := probesOf(h.Log, c.StartedAt)
	retries := defaultRetries
	if test != nil && test.Retries > 0 {
		retries = test.Retries
	}
	var last *local.Health // in the same run of the container
	if before != nil && before.StartedAt.Equal(c.StartedAt) {
		last = before.Health
	}

	status := statusOf(h.Status)
	if c.State != local.Running && status == unhealthy && h.FailingStreak < retries {
		// The engine calls a container unhealthy when it stops probing it,
		// because it ended or is paused. No probe said so.
		if last != nil {
			return last
		}
		status = statusFrom(probes)
	}
	if last != nil && last.Status == status {
		return last
	}
	now := &local.Health{Status: status}
	if last != nil {
		now.ExitCode = last.ExitCode // the agent keeps it after a recovery
	}
	if p := switchedBy(probes, status, h.FailingStreak, retries); p != nil {
		now.Since = moment(p.End)
		now.Output = cut(p.Output)
		if status == unhealthy {
			now.ExitCode = p.ExitCode
		}
	}
	return now
}

func statusOf(docker container.HealthStatus) string {
	switch docker {
	case container.Healthy:
		return healthy
	case container.Unhealthy:
		return unhealthy
	default:
		return ""
	}
}

// probesOf returns the probes of the current run. The engine keeps those of
// the one before.
func probesOf(log []*container.HealthcheckResult, started time.Time) []*container.HealthcheckResult {
	var probes []*container.HealthcheckResult
	for _, p := range log {
		if p != nil && !p.End.Before(started) {
			probes = append(probes, p)
		}
	}
	return probes
}

// statusFrom returns the status to which probes lead of which too few failed
// for unhealthy. Those of the start period, before the first success, do not
// count as failed.
func statusFrom(probes []*container.HealthcheckResult) string {
	if slices.ContainsFunc(probes, func(p *container.HealthcheckResult) bool { return p.ExitCode == 0 }) {
		return healthy
	}
	return ""
}

// switchedBy returns the probe that changed the status to what it is, as far
// as the log (the last five probes) goes back: the oldest of those that kept
// it when the one that changed it is gone, nil when there is none.
func switchedBy(probes []*container.HealthcheckResult, status string, streak, retries int) *container.HealthcheckResult {
	if status == "" || len(probes) == 0 {
		return nil
	}
	if status == unhealthy {
		i := len(probes) - 1 - max(streak-retries, 0)
		return probes[max(i, 0)]
	}
	// The first success after the failures that had made it unhealthy.
	var first *container.HealthcheckResult
	failures := 0
	for _, p := range probes {
		if p.ExitCode == 0 {
			first = cmp.Or(first, p)
			failures = 0
			continue
		}
		if failures++; failures >= retries {
			first = nil
		}
	}
	return first
}

// cut shortens a probe's output without splitting a character.
func cut(s string) string {
	if len(s) <= longestOutput {
		return s
	}
	end := longestOutput
	for end > longestOutput-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
