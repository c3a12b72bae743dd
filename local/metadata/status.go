package metadata

import (
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// The statuses of tasks and containers that a local one can have.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
const (
	statusNone    = "NONE"
	statusCreated = "CREATED"
	statusRunning = "RUNNING"
	statusStopped = "STOPPED"
	// statusProvisioned is where pause containers rest.
	statusProvisioned = "RESOURCES_PROVISIONED"
)

// isPause reports whether a container only holds a namespace for others.
func isPause(c *local.Container) bool { return c.Type == typePause || c.Type == typeNamespacePause }

// shown is a container's status as documents write it.
func shown(c *local.Container, status string) string {
	if status == statusRunning && isPause(c) {
		return statusProvisioned
	}
	return status
}

// containerStatus is what is known of a container.
func containerStatus(c *local.Container) string {
	switch {
	case c.State.Alive():
		return statusRunning
	case c.State == local.Created:
		return statusCreated
	default:
		return statusStopped
	}
}

// taskStatus is what is known of a task: as far as its furthest container
// that has not ended.
func taskStatus(t *local.Task) string {
	status := statusNone
	for _, c := range t.Containers {
		switch s := containerStatus(c); {
		case s == statusRunning:
			return statusRunning
		case s == statusCreated, status == statusNone:
			status = s
		}
	}
	return status
}

// desiredStatus is what a task and all containers in it are meant to be. A
// container that has ended alone keeps RUNNING, as on ECS, where only the end
// of its task changes that.
func desiredStatus(t *local.Task) string {
	if taskStatus(t) == statusStopped {
		return statusStopped
	}
	return statusRunning
}

// desiredContainerStatus differs from that of the task for a container that
// ended and is therefore no longer listed in its task.
func desiredContainerStatus(t *local.Task, c *local.Container) string {
	if len(t.Containers) == 0 && containerStatus(c) == statusStopped {
		return statusStopped
	}
	return desiredStatus(t)
}

// stoppedAt is when the last container of a task ended, if none is left.
func stoppedAt(t *local.Task) time.Time {
	var last time.Time
	if taskStatus(t) != statusStopped {
		return last
	}
	for _, c := range t.Containers {
		if c.FinishedAt.After(last) {
			last = c.FinishedAt
		}
	}
	return last
}

// ended reports whether the exit code and the end of a container mean anything.
func ended(c *local.Container) bool {
	return containerStatus(c) == statusStopped && !c.FinishedAt.IsZero()
}
