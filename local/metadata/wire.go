package metadata

import (
	"cmp"
	"maps"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// What the versions have in common. The types follow the agent's, so that
// what they print and what they leave out is the same:
// https://github.com/aws/amazon-ecs-agent/tree/master/ecs-agent/tmds/handlers

// The types of containers: all but the agent's own are NORMAL.
const (
	typeNormal         = "NORMAL"
	typePause          = "CNI_PAUSE"
	typeNamespacePause = "NAMESPACE_PAUSE"
)

// limits is used for tasks (processors, MiB) and containers (CPU units, MiB).
type limits struct {
	CPU    *float64 `json:"CPU,omitempty"`
	Memory *int64   `json:"Memory,omitempty"`
}

// port shows HostIP in v4 only.
type port struct {
	ContainerPort uint16 `json:"ContainerPort,omitempty"`
	Protocol      string `json:"Protocol,omitempty"`
	HostPort      uint16 `json:"HostPort,omitempty"`
	HostIP        string `json:"HostIp,omitempty"`
}

type volume struct {
	DockerName  string `json:"DockerName,omitempty"`
	Source      string `json:"Source,omitempty"`
	Destination string `json:"Destination,omitempty"`
}

type health struct {
	Status      string     `json:"status,omitempty"`
	StatusSince *time.Time `json:"statusSince,omitempty"`
	ExitCode    int        `json:"exitCode,omitempty"`
	Output      string     `json:"output,omitempty"`
}

// containerHead is how every container document begins.
type containerHead struct {
	DockerID      string            `json:"DockerId"`
	Name          string            `json:"Name"`
	DockerName    string            `json:"DockerName"`
	Image         string            `json:"Image"`
	ImageID       string            `json:"ImageID"`
	Ports         []port            `json:"Ports,omitempty"`
	Labels        map[string]string `json:"Labels,omitempty"`
	DesiredStatus string            `json:"DesiredStatus"`
	KnownStatus   string            `json:"KnownStatus"`
	ExitCode      *int              `json:"ExitCode,omitempty"`
	Limits        limits            `json:"Limits"`
	CreatedAt     *time.Time        `json:"CreatedAt,omitempty"`
	StartedAt     *time.Time        `json:"StartedAt,omitempty"`
	FinishedAt    *time.Time        `json:"FinishedAt,omitempty"`
	Type          string            `json:"Type"`
}

// taskHead is how every task document begins.
type taskHead struct {
	Cluster       string `json:"Cluster"`
	TaskARN       string `json:"TaskARN"`
	Family        string `json:"Family"`
	Revision      string `json:"Revision"`
	DesiredStatus string `json:"DesiredStatus,omitempty"`
	KnownStatus   string `json:"KnownStatus"`
}

func newContainerHead(t *local.Task, c *local.Container) containerHead {
	h := containerHead{
		DockerID:      t.ContainerID(c),
		Name:          c.Name,
		DockerName:    dockerName(t, c),
		Image:         c.Image,
		ImageID:       c.ImageID,
		Ports:         newPorts(t, c),
		Labels:        newLabels(t, c),
		DesiredStatus: shown(c, desiredContainerStatus(t, c)),
		KnownStatus:   shown(c, containerStatus(c)),
		Limits:        newContainerLimits(t, c),
		CreatedAt:     timestamp(c.CreatedAt),
		StartedAt:     timestamp(c.StartedAt),
		Type:          cmp.Or(c.Type, typeNormal),
	}
	if isPause(c) {
		h.ImageID = "" // the agent does not pull it
	}
	if ended(c) {
		code := c.ExitCode
		h.ExitCode, h.FinishedAt = &code, timestamp(c.FinishedAt)
	}
	return h
}

func newTaskHead(t *local.Task) taskHead {
	return taskHead{
		Cluster:       cluster(t),
		TaskARN:       t.ARN,
		Family:        t.Family,
		Revision:      t.Revision,
		DesiredStatus: desiredStatus(t),
		KnownStatus:   taskStatus(t),
	}
}

// newLabels returns the container's labels and those that the agent sets,
// which win.
func newLabels(t *local.Task, c *local.Container) map[string]string {
	labels := make(map[string]string, len(c.Labels)+5)
	maps.Copy(labels, c.Labels)
	labels[local.LabelCluster] = cluster(t)
	labels[local.LabelContainerName] = c.Name
	labels[local.LabelTaskARN] = t.ARN
	labels[local.LabelFamily] = t.Family
	labels[local.LabelRevision] = t.Revision
	return labels
}

// newVolumes lists the mounts, but those of pause containers, as the agent does.
func newVolumes(c *local.Container) []volume {
	if isPause(c) {
		return nil
	}
	var list []volume
	for _, v := range c.Volumes {
		list = append(list, volume{DockerName: v.Name, Source: v.Source, Destination: v.Destination})
	}
	return list
}

// newHealth is nil without a health check and empty before its first result.
func newHealth(h *local.Health) *health {
	if h == nil {
		return nil
	}
	return &health{Status: h.Status, StatusSince: timestamp(h.Since), ExitCode: h.ExitCode, Output: h.Output}
}

// timestamp returns a time in UTC; nil, which is left out, for the zero time.
func timestamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
