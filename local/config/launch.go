package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ecs-local/ecs-local/local"
)

// What a task definition allows.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_EphemeralStorage.html
const (
	leastStorage = 20  // GiB
	mostStorage  = 200 // GiB
)

// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html
var (
	networkModeRule = oneOf(local.AWSVPC, "bridge", "host", "none")
	clockStatusRule = oneOf("SYNCHRONIZED", "NOT_SYNCHRONIZED")
	snapshotterRule = oneOf("overlayfs", "soci")
)

// oneOf is the rule for a choice of words.
func oneOf(words ...string) rule {
	last := len(words) - 1
	must := strings.Join(words[:last], ", ") + " or " + words[last]
	return func(s string) string {
		if slices.Contains(words, s) {
			return ""
		}
		return must
	}
}

// fargate are the keys of what only a task on Fargate shows.
func (r *reader) fargate(f *local.Fargate) []field {
	return []field{
		{"ephemeral-storage", r.storage(&f.EphemeralStorage)},
		{"ephemeral-storage-utilized", r.whole(&f.StorageUtilized, "a whole number of MiB")},
		{"clock-error-bound", r.positive(&f.ClockErrorBound, "a number of milliseconds, such as 0.5")},
		{"clock-synchronization-status", r.text(&f.ClockStatus, clockStatusRule)},
		{"snapshotter", r.text(&f.Snapshotter, snapshotterRule)},
	}
}

func (r *reader) storage(to *int64) func(*value) {
	return func(v *value) {
		const must = "20 to 200 whole GiB"
		var gib int64
		before := len(r.problems)
		r.whole(&gib, must)(v)
		switch {
		case len(r.problems) > before:
		case gib < leastStorage || gib > mostStorage:
			r.problem(v.line, "%s must be %s, not %q", v.key, must, v.Value)
		default:
			*to = gib
		}
	}
}

// checkLaunch finds keys of a task that cannot be together. A label can name
// another launch type, so only what the file itself says counts.
func (r *reader) checkLaunch(v *value, f local.TaskFacts) {
	lines := map[string]int{} // without what is beyond the most values
	for _, p := range r.pairs(v) {
		lines[p.name] = p.line
	}
	at := func(key string) int { return cmp.Or(lines[key], v.line) }
	switch mode := f.NetworkMode; {
	case f.LaunchType == local.LaunchFargate && mode != "" && mode != local.AWSVPC:
		r.problem(at("network-mode"), "network-mode cannot be %s with launch-type FARGATE, which knows awsvpc only: remove one of the two", mode)
	case f.LaunchType == local.LaunchExternal && mode == local.AWSVPC:
		r.problem(at("network-mode"), "network-mode cannot be awsvpc with launch-type EXTERNAL, which has no VPC: remove one of the two")
	}
	for _, key := range r.fargate(&local.Fargate{}) {
		if line := lines[key.name]; line > 0 && f.LaunchType != "" && f.LaunchType != local.LaunchFargate {
			r.problem(line, "%s is shown with launch-type FARGATE only, not %s: remove one of the two", key.name, f.LaunchType)
		}
	}
	if reserved := cmp.Or(f.Fargate.EphemeralStorage, leastStorage); f.Fargate.StorageUtilized > reserved<<10 {
		r.problem(at("ephemeral-storage-utilized"), "ephemeral-storage-utilized is %d MiB, more than the %d GiB of ephemeral-storage", f.Fargate.StorageUtilized, reserved)
	}
}
