package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Facts adds what the file says to base, which holds what flags and the
// environment say and wins. base is not changed.
func (f *File) Facts(base local.Facts) local.Facts {
	base.Region = cmp.Or(base.Region, f.Region)
	base.Account = cmp.Or(base.Account, f.Account)
	base.Cluster = cmp.Or(base.Cluster, f.Cluster)
	base.VPCID = cmp.Or(base.VPCID, f.VPCID)
	base.InstanceTags = merge(f.InstanceTags, base.InstanceTags)
	tasks := make(map[string]local.TaskFacts, len(f.Tasks))
	for _, t := range f.Tasks {
		tasks[t.Name] = t.Facts
	}
	base.Tasks = merge(tasks, base.Tasks)
	return base
}

// merge returns a new map of both; over wins. Without entries it is nil.
func merge[V any](under, over map[string]V) map[string]V {
	if len(under)+len(over) == 0 {
		return nil
	}
	all := make(map[string]V, len(under)+len(over))
	maps.Copy(all, under)
	maps.Copy(all, over)
	return all
}

// The task and the container that the runtime static has without a file.
const (
	builtInTask      = "local"
	builtInContainer = "app"
)

// Containers returns the containers of the runtime static, which has no
// Docker: those of the configured tasks, all of them running since now. A task
// without containers has one that is called app. A file without tasks has one
// task that is called local. Ids depend on the names of task and container
// only, so they are the same after a restart.
func (f *File) Containers(now time.Time) []*local.Container {
	tasks := f.Tasks
	if len(tasks) == 0 {
		tasks = []Task{{Name: builtInTask}}
	}
	var all []*local.Container
	for _, t := range tasks {
		containers := t.Containers
		if len(containers) == 0 {
			containers = []Container{{Name: builtInContainer}}
		}
		for _, c := range containers {
			all = append(all, c.running(t.Name, now.UTC()))
		}
	}
	return all
}

// staticNetwork is the name of the network on which containers without Docker
// have their address.
const staticNetwork = "bridge"

// running makes the container of a task.
func (c Container) running(task string, now time.Time) *local.Container {
	image := cmp.Or(c.Image, task+"/"+c.Name)
	id := hexSum(task + "/" + c.Name)
	made := &local.Container{
		ID:          id,
		EndpointID:  local.EndpointID(id),
		Name:        cmp.Or(c.Labels[local.LabelContainerName], c.Name),
		DockerName:  dockerName(task, c.Name),
		Project:     task,
		Service:     c.Name,
		Image:       image,
		ImageID:     cmp.Or(c.ImageID, "sha256:"+hexSum("image "+image)),
		Labels:      maps.Clone(c.Labels),
		Type:        cmp.Or(c.Labels[local.LabelType], "NORMAL"),
		State:       local.Running,
		CreatedAt:   now,
		StartedAt:   now,
		CPU:         c.CPU,
		Memory:      c.Memory,
		NetworkMode: staticNetwork,
		Ports:       c.Ports,
	}
	if c.Address.IsValid() {
		made.Networks = []local.Network{{Name: staticNetwork, IPv4: c.Address}}
	}
	return made
}

// dockerName is the name that Compose would give the container.
func dockerName(task, container string) string { return task + "-" + container + "-1" }

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
