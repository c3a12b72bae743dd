// Package metadata renders the task metadata documents of the ECS agent,
// versions 2, 3 and 4: containers, tasks and stats. It turns values of package
// local into bytes and does nothing else.
//
// The bytes are those of the agent on EC2: its order of keys, its rules for
// what is left out, its spelling; compact, without a newline at the end.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint.html
package metadata

import (
	"encoding/json"
	"fmt"

	"github.com/ecs-local/ecs-local/local"
)

// Version is a version of the task metadata endpoint.
type Version int

// The versions.
const (
	V2 Version = 2
	V3 Version = 3
	V4 Version = 4
)

// Options are what a Renderer adds to the documents.
type Options struct {
	// ContainerOverrides apply to every container document, and to every
	// container within a task document. Nil for none.
	ContainerOverrides *Overrides
	// TaskOverrides apply to every task document, after the overrides of the
	// containers in it. Nil for none.
	TaskOverrides *Overrides
}

// Renderer makes container and task documents. It keeps no state and is safe
// for concurrent use.
type Renderer struct {
	container *Overrides
	task      *Overrides
}

// New makes a Renderer.
func New(o Options) *Renderer {
	return &Renderer{container: o.ContainerOverrides, task: o.TaskOverrides}
}

// Container returns the document of a container, seen as a part of its task.
func (r *Renderer) Container(v Version, t *local.Task, c *local.Container) ([]byte, error) {
	var doc any
	switch v {
	case V2, V3:
		doc = newContainerV2(t, c)
	case V4:
		doc = newContainerV4(t, c)
	default:
		return nil, fmt.Errorf("render container: no version %d", v)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("render container %s: %w", c.ID, err)
	}
	if body, err = r.container.apply(body, orderOf(containerOrder, v)); err != nil {
		return nil, fmt.Errorf("override container %s: %w", c.ID, err)
	}
	return body, nil
}

// Task returns the document of a task with all its containers, and its tags
// if they are wanted.
func (r *Renderer) Task(v Version, t *local.Task, withTags bool) ([]byte, error) {
	var doc any
	switch v {
	case V2, V3:
		doc = newTaskV2(t, withTags)
	case V4:
		doc = newTaskV4(t, withTags)
	default:
		return nil, fmt.Errorf("render task: no version %d", v)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("render task %s: %w", t.Name, err)
	}
	if body, err = r.container.applyEach(body, "Containers", orderOf(containerOrder, v)); err != nil {
		return nil, fmt.Errorf("override containers of task %s: %w", t.Name, err)
	}
	if body, err = r.task.apply(body, orderOf(taskOrder, v)); err != nil {
		return nil, fmt.Errorf("override task %s: %w", t.Name, err)
	}
	return body, nil
}
