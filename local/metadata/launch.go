package metadata

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// What the launch types change. docs/launch-types.md has the table.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-managed-instances-response.html

func onFargate(t *local.Task) bool { return t.LaunchType == local.LaunchFargate }

// cluster is the name or the ARN, as configured; on Fargate always the ARN,
// unless the task's own ARN, which users may set, is not one.
func cluster(t *local.Task) string {
	part := strings.SplitN(t.ARN, ":", 6)
	if !onFargate(t) || strings.HasPrefix(t.Cluster, "arn:") || len(part) != 6 {
		return t.Cluster
	}
	part[5] = "cluster/" + t.Cluster
	return strings.Join(part, ":")
}

// dockerName is the container's name alone on Fargate, which has no Docker.
func dockerName(t *local.Task, c *local.Container) string {
	if onFargate(t) {
		return c.Name
	}
	return strings.TrimPrefix(c.DockerName, "/")
}

// availabilityZone is empty for a task outside AWS, which is in no zone.
func availabilityZone(t *local.Task) string {
	if t.LaunchType == local.LaunchExternal {
		return ""
	}
	return t.AvailabilityZone
}

// availabilityZoneID is not documented for what AWS runs itself.
func availabilityZoneID(t *local.Task) string {
	switch t.LaunchType {
	case local.LaunchFargate, local.LaunchExternal, local.LaunchManaged:
		return ""
	default:
		return t.ZoneID
	}
}

// vpcID is that of the instance, where there is one in a VPC.
func vpcID(t *local.Task) string {
	if onFargate(t) || t.LaunchType == local.LaunchExternal {
		return ""
	}
	return t.VPCID
}

// instanceTags are those of the container instance; on Fargate there is none.
func instanceTags(t *local.Task) map[string]string {
	if onFargate(t) {
		return nil
	}
	return t.InstanceTags
}

// newTaskLimits shows the limits that are set; nil when none is. A task on
// Fargate always has both.
func newTaskLimits(t *local.Task) *limits {
	cpu, memory := t.CPU, t.Memory
	if onFargate(t) {
		cpu, memory = fargateSize(cpu, memory)
	}
	if cpu == 0 && memory == 0 {
		return nil
	}
	l := &limits{}
	if cpu != 0 {
		l.CPU = &cpu
	}
	if memory != 0 {
		l.Memory = &memory
	}
	return l
}

// fargateSize adds what is not said of a task's size: the fewest processors
// that can have so much memory, and the least memory for these.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
func fargateSize(cpu float64, memory int64) (float64, int64) {
	if cpu == 0 {
		sizes := []struct {
			cpu  float64
			most int64
		}{{0.25, 2 << 10}, {0.5, 4 << 10}, {1, 8 << 10}, {2, 16 << 10}, {4, 30 << 10}, {8, 60 << 10}, {16, 120 << 10}}
		cpu = sizes[len(sizes)-1].cpu
		for _, s := range slices.Backward(sizes) {
			if memory <= s.most {
				cpu = s.cpu
			}
		}
	}
	if memory == 0 {
		memory = int64(cpu * (2 << 10))
	}
	return cpu, memory
}

// newContainerLimits shows both limits, whether they are set or not; on
// Fargate, memory only when it is set. Docker takes no fewer than two CPU
// shares, and that is what the agent shows.
func newContainerLimits(t *local.Task, c *local.Container) limits {
	cpu, memory := max(c.CPU, 2), c.Memory
	if onFargate(t) && memory == 0 {
		return limits{CPU: &cpu}
	}
	return limits{CPU: &cpu, Memory: &memory}
}

// newPorts shows the published ports. With an interface of its own the task
// has the port that the container has, and on Fargate there is no address of a
// host; so what differed in these only is one.
func newPorts(t *local.Task, c *local.Container) []port {
	var list []port
	for _, p := range c.Ports {
		bound := port{ContainerPort: p.Container, Protocol: p.Protocol, HostPort: p.Host, HostIP: p.HostIP}
		if t.NetworkModeOf(c) == local.AWSVPC {
			bound.HostPort = p.Container
		}
		if onFargate(t) {
			bound.HostIP = ""
		}
		if !slices.Contains(list, bound) {
			list = append(list, bound)
		}
	}
	return list
}

// clockDrift is how well the clock of a task on Fargate is known to be right.
type clockDrift struct {
	ErrorBound float64    `json:"ClockErrorBound,omitempty"`
	Reference  *time.Time `json:"ReferenceTimestamp,omitempty"`
	Status     string     `json:"ClockSynchronizationStatus,omitempty"`
}

// newClockDrift takes the whole second of the last start of a container for
// the last time that the clock was compared: a document changes with its task
// only.
func newClockDrift(t *local.Task) *clockDrift {
	if !onFargate(t) {
		return nil
	}
	var last time.Time
	for _, c := range t.Containers {
		if c.StartedAt.After(last) {
			last = c.StartedAt
		}
	}
	const usual = 0.5 // milliseconds
	return &clockDrift{
		ErrorBound: cmp.Or(t.Fargate.ClockErrorBound, usual),
		Reference:  timestamp(last.Truncate(time.Second)),
		Status:     cmp.Or(t.Fargate.ClockStatus, "SYNCHRONIZED"),
	}
}

// ephemeralStorage is the disk of a task on Fargate, in MiB.
type ephemeralStorage struct {
	Utilized int64 `json:"Utilized"`
	Reserved int64 `json:"Reserved"`
}

func newEphemeralStorage(t *local.Task) *ephemeralStorage {
	if !onFargate(t) {
		return nil
	}
	const (
		least = 20  // GiB, for a task definition that says nothing
		extra = 16  // MiB, that Fargate shows beside what was asked for
		usual = 261 // MiB, of a small image
	)
	return &ephemeralStorage{
		Utilized: cmp.Or(t.Fargate.StorageUtilized, usual),
		Reserved: cmp.Or(t.Fargate.EphemeralStorage, least)<<10 + extra,
	}
}

// snapshotter is what unpacked the image; Fargate tells.
func snapshotter(t *local.Task) string {
	if !onFargate(t) {
		return ""
	}
	return cmp.Or(t.Fargate.Snapshotter, "overlayfs")
}
