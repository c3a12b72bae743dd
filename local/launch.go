package local

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// The launch types, which change what metadata shows of a task.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
const (
	LaunchEC2      = "EC2"
	LaunchFargate  = "FARGATE"
	LaunchExternal = "EXTERNAL" // ECS Anywhere
	LaunchManaged  = "MANAGED_INSTANCES"
)

// AWSVPC is the network mode of a task that has an elastic network interface.
const AWSVPC = "awsvpc"

// Fargate is what only tasks on Fargate show. Empty fields have a default.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html
type Fargate struct {
	EphemeralStorage int64   // GiB, as in a task definition
	StorageUtilized  int64   // MiB of it
	ClockErrorBound  float64 // milliseconds
	ClockStatus      string  // SYNCHRONIZED, NOT_SYNCHRONIZED
	Snapshotter      string  // overlayfs, soci
}

// Association is a device that is attached to containers of a task.
type Association struct {
	Type       string // gpu, elastic-inference
	Name       string
	Content    string   // served as it is
	Containers []string // names or Compose services; empty: all of the task
}

// Of reports whether the association is attached to the container.
func (a Association) Of(c *Container) bool {
	return len(a.Containers) == 0 || slices.ContainsFunc(a.Containers, func(name string) bool {
		return name == c.Name || name == c.Service && name != ""
	})
}

// ContainerID returns the id that documents show of a container of the task.
// On EC2 and outside AWS it is Docker's. Fargate and Managed Instances have no
// Docker: there it is the task id and ten digits, the same every time.
func (t *Task) ContainerID(c *Container) string {
	if t.LaunchType != LaunchFargate && t.LaunchType != LaunchManaged {
		return c.ID
	}
	sum := sha256.Sum256([]byte("ecs-local container " + c.ID))
	const ten = 1_000_000_000 // the first number of ten digits
	return fmt.Sprintf("%s-%d", cmp.Or(t.ID(), TaskID(t.Name)), ten+binary.BigEndian.Uint64(sum[:8])%(9*ten))
}

// NetworkModeOf returns the network mode that the launch type, a label or the
// configuration gives a container of the task; empty when nothing does, and
// Docker's is the one to show. Fargate knows awsvpc only.
func (t *Task) NetworkModeOf(c *Container) string {
	if t.LaunchType == LaunchFargate {
		return AWSVPC
	}
	return cmp.Or(c.Labels[LabelNetworkMode], t.NetworkMode)
}

// ExecutionEnvironment is what ECS puts into AWS_EXECUTION_ENV for a launch
// type; empty where that is not known.
func ExecutionEnvironment(launchType string) string {
	switch launchType {
	case LaunchEC2, LaunchFargate:
		return "AWS_ECS_" + launchType
	default:
		return ""
	}
}
