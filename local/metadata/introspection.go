package metadata

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// The documents of the agent's introspection API at port 51678.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-introspection.html

type instanceDocument struct {
	Cluster              string
	ContainerInstanceArn *string // null before the instance is registered, which a local one always is
	Version              string
}

type introspectedTasks struct {
	Tasks []introspectedTask
}

type introspectedTask struct {
	Arn           string
	DesiredStatus string `json:",omitempty"`
	KnownStatus   string
	Family        string
	Version       string
	Containers    []introspectedContainer
}

type introspectedContainer struct {
	DockerID     string `json:"DockerId"`
	DockerName   string
	Name         string
	Image        string
	ImageID      string
	CreatedAt    *time.Time  `json:",omitempty"`
	StartedAt    *time.Time  `json:",omitempty"`
	Ports        []port      `json:",omitempty"`
	Networks     []networkV2 `json:",omitempty"`
	Volumes      []volume    `json:",omitempty"`
	RestartCount *int        `json:",omitempty"`
}

// Instance returns the document of GET /v1/metadata.
func Instance(i local.Instance, version string) ([]byte, error) {
	return encode(instanceDocument{Cluster: i.Cluster, ContainerInstanceArn: &i.ARN, Version: version})
}

// IntrospectedTasks returns the document of GET /v1/tasks: of the tasks that
// the agent of the machine would know.
func IntrospectedTasks(tasks []*local.Task) ([]byte, error) {
	doc := introspectedTasks{Tasks: make([]introspectedTask, 0, len(tasks))}
	for _, t := range tasks {
		if Introspected(t) {
			doc.Tasks = append(doc.Tasks, newIntrospectedTask(t))
		}
	}
	return encode(doc)
}

// Introspected reports whether the agent of the machine knows the task. One on
// Fargate is on no machine of the cluster.
func Introspected(t *local.Task) bool { return !onFargate(t) }

// IntrospectedTask returns the document of one task, of GET /v1/tasks with
// dockerid or taskarn. A nil task gives the document without values that goes
// with the agent's 400 and 404.
func IntrospectedTask(t *local.Task) ([]byte, error) {
	if t == nil {
		return encode(introspectedTask{})
	}
	return encode(newIntrospectedTask(t))
}

// newIntrospectedTask leaves out the agent's own containers, the addresses of
// the host that ports are bound to, and networks other than an elastic network
// interface, as the agent does.
func newIntrospectedTask(t *local.Task) introspectedTask {
	doc := introspectedTask{
		Arn: t.ARN, DesiredStatus: desiredStatus(t), KnownStatus: introspectedStatus(t), Family: t.Family, Version: t.Revision,
		Containers: make([]introspectedContainer, 0, len(t.Containers)),
	}
	for _, c := range t.Containers {
		if cmp.Or(c.Type, typeNormal) != typeNormal {
			continue
		}
		container := introspectedContainer{
			DockerID: t.ContainerID(c), DockerName: dockerName(t, c), Name: c.Name, Image: c.Image, ImageID: c.ImageID,
			CreatedAt: timestamp(c.CreatedAt), StartedAt: timestamp(c.StartedAt),
			Ports: withoutHostIP(newPorts(t, c)), Volumes: newVolumes(c), RestartCount: c.RestartCount,
		}
		if t.NetworkModeOf(c) == local.AWSVPC {
			container.Networks = newNetworksV2(t, c)
		}
		doc.Containers = append(doc.Containers, container)
	}
	return doc
}

// introspectedStatus is a task's status in this API's words: PENDING, RUNNING,
// STOPPED.
func introspectedStatus(t *local.Task) string {
	switch s := taskStatus(t); s {
	case statusRunning, statusStopped:
		return s
	default:
		return "PENDING"
	}
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode introspection document: %w", err)
	}
	return body, nil
}
