package fault

import (
	"net/http"
	"slices"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Bridge says what becomes of tasks whose containers are on Docker networks:
// in the words of ECS, in the network mode bridge.
type Bridge string

// What can become of them.
const (
	// BridgeServed treats them as tasks in the mode awsvpc: their containers
	// have network namespaces of their own. Nearly every local container is
	// like this.
	BridgeServed Bridge = "served"
	// BridgeBroken is what the agent on EC2 does: an internal error.
	BridgeBroken Bridge = "broken"
	// BridgeRefused is what the documentation says: the mode is not supported.
	BridgeRefused Bridge = "refused"
)

// Network modes of ECS tasks.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-networking.html
const (
	modeAWSVPC = "awsvpc"
	modeHost   = "host"
	modeBridge = "bridge"
	modeNone   = "none"
)

// Target is what a fault is put into: the network namespaces of a task, or
// that of the host.
type Target struct {
	Name string // the task's; empty for the host
	ARN  string // the task's; empty for the host
	// Namespaces are those of the task's running containers, each one once, in
	// the order of the containers. The host has one.
	Namespaces []Namespace
}

// Namespace is one network namespace. It lives as long as one run of its
// container.
type Namespace struct {
	// ContainerID is the full id of the running container that the namespace
	// belongs to; empty for the host's.
	ContainerID string
	StartedAt   time.Time // of that run; zero for the host
}

// Host reports whether the target is the host itself, which all tasks in the
// network mode host share.
func (t Target) Host() bool { return t.Name == "" && t.ARN == "" }

// key tells targets apart.
type key struct{ name, arn string }

func (t Target) key() key { return key{t.Name, t.ARN} }

// hostTarget is the target of every task in the network mode host.
func hostTarget() Target { return Target{Namespaces: []Namespace{{}}} }

// Target returns what a request for the task is about. container is the
// caller's, or nil when only the task is known; id is what the path calls it.
// The error is an *Error with the agent's text.
func (s *Service) Target(task *local.Task, container *local.Container, id string) (Target, error) {
	if !task.FaultInjection {
		return Target{}, invalid("enableFaultInjection is not enabled for task: " + task.ARN)
	}
	incomplete := &Error{HTTPStatus: http.StatusInternalServerError,
		Text: "failed to get task metadata due to internal server error for container: " + id}
	switch mode := modeOf(task, container); {
	case mode == modeHost:
		return hostTarget(), nil
	case mode == modeBridge && s.bridge == BridgeBroken:
		return Target{}, incomplete
	case mode == modeNone, mode == modeBridge && s.bridge == BridgeRefused:
		return Target{}, invalid(mode + " mode is not supported. Please use either host or awsvpc mode.")
	}
	target := targetOf(task)
	if len(target.Namespaces) == 0 {
		return Target{}, incomplete // nothing runs
	}
	return target, nil
}

// targetOf returns a task's own network namespaces.
func targetOf(task *local.Task) Target {
	target := Target{Name: task.Name, ARN: task.ARN}
	for _, c := range task.Containers {
		if mode := modeOf(task, c); mode == modeHost || mode == modeNone || !c.State.Alive() {
			continue
		}
		c = ownerOf(task, c)
		ns := Namespace{ContainerID: c.ID, StartedAt: c.StartedAt}
		if c.SharesWith != "" {
			ns = Namespace{ContainerID: c.SharesWith} // it is in no task, or in another one
		}
		if !slices.ContainsFunc(target.Namespaces, ns.equal) {
			target.Namespaces = append(target.Namespaces, ns)
		}
	}
	return target
}

func (n Namespace) equal(other Namespace) bool {
	return n.ContainerID == other.ContainerID && n.StartedAt.Equal(other.StartedAt)
}

// ownerOf returns the container whose network namespace a container uses, if
// the task has it.
func ownerOf(task *local.Task, c *local.Container) *local.Container {
	if i := slices.IndexFunc(task.Containers, func(o *local.Container) bool { return o.ID == c.SharesWith }); i >= 0 {
		return task.Containers[i]
	}
	return c
}

// modeOf returns the network mode that ECS would call a container's. Without a
// container it is that of the task's first one that runs.
func modeOf(task *local.Task, c *local.Container) string {
	if c == nil {
		i := slices.IndexFunc(task.Containers, func(o *local.Container) bool { return o.State.Alive() })
		if i < 0 {
			return modeAWSVPC
		}
		c = task.Containers[i]
	}
	if c.Labels[local.LabelNetworkMode] == modeAWSVPC {
		return modeAWSVPC
	}
	switch mode := ownerOf(task, c).NetworkMode; mode {
	case modeHost, modeNone, modeAWSVPC:
		return mode
	default:
		return modeBridge
	}
}
