// Package config reads the configuration file: strictly, so that a slip is an
// error that names its line, and all at once, so that one run shows every
// problem of the file.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/ecs-local/ecs-local/local"
)

// File is the content of a configuration file. Empty fields are not said. The
// zero value is an empty file.
type File struct {
	Cluster      string // name or ARN
	Region       string
	Account      string // 12 digits
	InstanceTags map[string]string
	VPCID        string
	Tasks        []Task // in the order of the file
	// Roles are the options of the sessions of roles: name, path/name or ARN
	// → options.
	Roles map[string]local.SessionOptions
	// IMDS describes the instance metadata service. Nil: the file does not.
	IMDS *Section
}

// Task is one entry of tasks.
type Task struct {
	Name       string // also the Compose project that the facts are about
	Facts      local.TaskFacts
	Containers []Container // in the order of the file
}

// Container is one entry of a task's containers, for the runtime static.
type Container struct {
	Name    string
	Image   string
	ImageID string  // sha256:…
	CPU     float64 // CPU units, 1024 to a processor
	Memory  int64   // MiB
	Labels  map[string]string
	Ports   []local.Port
	// Address is where this container's requests come from. Invalid when the
	// file does not say.
	Address netip.Addr
}

// Load reads the file at path. The error is a local.Error whose message has
// one line for each problem, "path:line: reason", in the order of the lines. A
// file that cannot be read is "path: reason".
//
// Each judge is shown what was read, of a file with problems as well, and its
// problems count like those of the file.
func Load(path string, judges ...func(*File) []Problem) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return Parse(path, data, judges...)
}

// unreadable says what to do about a file that cannot be read.
func unreadable(path string, err error) error {
	next := "cannot be read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		next = "there is no such file: check the path, and in a container that the file is mounted there"
	case errors.Is(err, fs.ErrPermission):
		next = fmt.Sprintf("the file may not be read by user %d: allow it with chmod, or run ecs-local as the file's owner", os.Getuid())
	case errors.Is(err, syscall.EISDIR):
		next = "this is a directory, not a file; Docker makes one when the file of a bind mount is missing on the host: create the file there, and the container anew"
	}
	return &local.Error{Code: local.Invalid, Msg: path + ": " + next, Err: err}
}

// Parse reads the content of a file; name is what messages call it. Errors are
// those of Load.
func Parse(name string, data []byte, judges ...func(*File) []Problem) (*File, error) {
	r := &reader{name: name}
	f := &File{}
	if root := r.document(data); root != nil {
		r.file(root, f)
	}
	for _, judge := range judges {
		for _, p := range judge(f) {
			r.problem(p.Line, "%s", p.Reason)
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// file reads the keys of the whole file.
func (r *reader) file(n *value, f *File) {
	r.object(n, []field{
		{"cluster", r.text(&f.Cluster, clusterRule)},
		{"region", r.text(&f.Region, regionRule)},
		{"account-id", r.text(&f.Account, accountRule)},
		{"container-instance-tags", r.texts(&f.InstanceTags)},
		{"vpc-id", r.text(&f.VPCID, vpcRule)},
		{"tasks", r.entries("task", func(name string, n *value) {
			t := Task{Name: name}
			r.task(n, &t)
			f.Tasks = append(f.Tasks, t)
		})},
		{"roles", r.roles(&f.Roles)},
		{"imds", r.section(&f.IMDS)},
	})
}

func (r *reader) task(n *value, t *Task) {
	r.object(n, slices.Concat([]field{
		{"family", r.text(&t.Facts.Family, familyRule)},
		{"revision", r.text(&t.Facts.Revision, revisionRule)},
		{"arn", r.text(&t.Facts.ARN, taskARNRule)},
		{"cluster", r.text(&t.Facts.Cluster, clusterRule)},
		{"service-name", r.text(&t.Facts.ServiceName, serviceRule)},
		{"launch-type", r.text(&t.Facts.LaunchType, launchTypeRule)},
		{"availability-zone", r.text(&t.Facts.AvailabilityZone, zoneRule)},
		{"availability-zone-id", r.text(&t.Facts.ZoneID, zoneIDRule)},
		{"cpu", r.positive(&t.Facts.CPU, "a number of processors, such as 0.25")},
		{"memory", r.whole(&t.Facts.Memory, "a whole number of MiB")},
		{"task-role", r.text(&t.Facts.TaskRole, roleRule)},
		{"execution-role", r.text(&t.Facts.ExecutionRole, roleRule)},
		{"tags", r.texts(&t.Facts.Tags)},
		{"containers", r.entries("container", func(name string, n *value) {
			c := Container{Name: name}
			r.container(n, t.Name, &c)
			t.Containers = append(t.Containers, c)
		})},
		{"network-mode", r.text(&t.Facts.NetworkMode, networkModeRule)},
		{"associations", r.associations(&t.Facts.Associations)},
	}, r.fargate(&t.Facts.Fargate)))
	r.checkLaunch(n, t.Facts)
	r.checkAssociations(n, t)
}

func (r *reader) container(n *value, task string, c *Container) {
	if first, taken := r.claimed(dockerName(task, c.Name), task+"/"+c.Name, n.line); taken {
		r.problem(n.line, "container %s would have the Docker name %s, as container %s (line %d) has: rename one", task+"/"+c.Name, dockerName(task, c.Name), first.container, first.line)
	}
	var cpu int64
	r.object(n, []field{
		{"image", r.text(&c.Image, imageRule)},
		{"image-id", r.text(&c.ImageID, imageIDRule)},
		{"cpu", r.whole(&cpu, "a whole number of CPU units, 1024 to a processor")},
		{"memory", r.whole(&c.Memory, "a whole number of MiB")},
		{"labels", r.texts(&c.Labels)},
		{"ports", r.ports(&c.Ports)},
		{"ipv4-address", r.address(&c.Address, task+"/"+c.Name)},
	})
	c.CPU = float64(cpu)
}
