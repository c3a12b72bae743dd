package local

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Task is a local task. Values are never changed once they are in a
// Directory.
type Task struct {
	Name             string // Compose project, name in the configuration, or task id
	ARN              string
	Cluster          string
	Family           string
	Revision         string
	ServiceName      string
	LaunchType       string
	AvailabilityZone string
	ZoneID           string
	VPCID            string
	NetworkMode      string // see NetworkModeOf; empty: Docker's
	Fargate          Fargate
	Associations     []Association // in the order of the configuration
	CPU              float64       // processors; 0 without a limit
	Memory           int64         // MiB; 0 without a limit
	TaskRole         string        // name or ARN; empty without one
	ExecutionRole    string
	Tags             map[string]string
	InstanceTags     map[string]string
	Standalone       bool         // no service started it
	FaultInjection   bool         // it may use the fault endpoints
	Containers       []*Container // sorted by creation, then name
}

// ID returns the task id: the last part of the ARN.
func (t *Task) ID() string { return t.ARN[strings.LastIndexByte(t.ARN, '/')+1:] }

// Facts is what the configuration says about tasks. The zero value is usable.
type Facts struct {
	Region  string // DefaultRegion when empty
	Account string // 12 digits; DefaultAccount when empty
	Cluster string // name or ARN; DefaultCluster when empty

	// What holds for every task that says nothing of its own, as the
	// variables TASK_ARN, TASK_DEFINITION_FAMILY and
	// TASK_DEFINITION_REVISION of amazon-ecs-local-container-endpoints do.
	TaskARN  string
	Family   string
	Revision string

	InstanceTags map[string]string
	VPCID        string
	Tasks        map[string]TaskFacts // by Compose project or task name
}

// TaskFacts is what the configuration says about one task. Empty fields are
// not said.
type TaskFacts struct {
	ARN              string
	Cluster          string
	Family           string
	Revision         string
	ServiceName      string
	LaunchType       string
	AvailabilityZone string
	ZoneID           string
	NetworkMode      string
	Fargate          Fargate
	Associations     []Association
	CPU              float64
	Memory           int64
	TaskRole         string
	ExecutionRole    string
	Tags             map[string]string
}

// outsideCompose names the task of the containers that are in no project.
const outsideCompose = "containers outside Compose"

// newTask makes the task of the given containers. What a label says wins over
// the configuration, which wins over the default. A task that has only its ARN
// to be named by takes the rest from the Compose project that it is in.
func newTask(key taskKey, members []*Container, f Facts) *Task {
	name, service := key.name, key.name
	if key.arn != "" {
		service = projectOf(members)
	} else if name == outsideCompose {
		service = ""
	}
	said, ok := f.Tasks[name]
	if !ok {
		said = f.Tasks[service]
	}
	label := func(key string) string {
		for _, c := range members {
			if v := c.Labels[key]; v != "" {
				return v
			}
		}
		return ""
	}
	region := cmp.Or(f.Region, DefaultRegion)
	t := &Task{
		Name:             name,
		Cluster:          cmp.Or(label(LabelCluster), said.Cluster, f.Cluster, DefaultCluster),
		Family:           cmp.Or(label(LabelFamily), said.Family, f.Family, familyOf(cmp.Or(service, name))),
		Revision:         cmp.Or(label(LabelRevision), said.Revision, f.Revision, DefaultRevision),
		LaunchType:       cmp.Or(label(LabelLaunchType), said.LaunchType, DefaultLaunch),
		AvailabilityZone: cmp.Or(label(LabelAvailabilityZone), said.AvailabilityZone, region+"a"),
		ZoneID:           said.ZoneID,
		VPCID:            f.VPCID,
		NetworkMode:      cmp.Or(label(LabelNetworkMode), said.NetworkMode),
		Fargate:          said.Fargate,
		Associations:     said.Associations,
		CPU:              said.CPU,
		Memory:           said.Memory,
		TaskRole:         cmp.Or(label(LabelTaskRole), said.TaskRole),
		ExecutionRole:    cmp.Or(label(LabelExecutionRole), said.ExecutionRole),
		ServiceName:      cmp.Or(label(LabelServiceName), said.ServiceName, service),
		InstanceTags:     f.InstanceTags,
		Standalone:       !boolean(label(LabelServiceTask), true),
		FaultInjection:   boolean(label(LabelFaultInjection), true),
		Containers:       members,
	}
	t.ARN = cmp.Or(label(LabelTaskARN), said.ARN, f.TaskARN)
	if t.ARN == "" {
		t.ARN = fmt.Sprintf("arn:%s:ecs:%s:%s:task/%s/%s", Partition(region), region,
			cmp.Or(f.Account, DefaultAccount), clusterName(t.Cluster), TaskID(name))
	}
	if v, err := strconv.ParseFloat(label(LabelTaskCPU), 64); err == nil && v > 0 && !math.IsInf(v, 0) {
		t.CPU = v
	}
	if v, err := strconv.ParseInt(label(LabelTaskMemory), 10, 64); err == nil && v > 0 {
		t.Memory = v
	}
	t.Tags = maps.Clone(said.Tags)
	for key, value := range parseTags(label(LabelTaskTags)) {
		if t.Tags == nil {
			t.Tags = map[string]string{}
		}
		t.Tags[key] = value
	}
	return t
}

// newInstance derives the machine's names from the configuration.
func newInstance(f Facts) Instance {
	region, cluster := cmp.Or(f.Region, DefaultRegion), cmp.Or(f.Cluster, DefaultCluster)
	return Instance{Cluster: cluster, ARN: fmt.Sprintf("arn:%s:ecs:%s:%s:container-instance/%s/%s", Partition(region), region,
		cmp.Or(f.Account, DefaultAccount), clusterName(cluster), TaskID("instance of "+cluster))}
}

// familyOf turns a task's name into a family: letters, digits, - and _.
func familyOf(name string) string {
	if name == outsideCompose {
		return DefaultCluster
	}
	return name
}

// projectOf returns the Compose project that all of these containers are in;
// empty when there is no such project.
func projectOf(members []*Container) string {
	project := members[0].Project
	if slices.ContainsFunc(members, func(c *Container) bool { return c.Project != project }) {
		return ""
	}
	return project
}

// clusterName returns the name in a cluster's ARN, or the name itself.
func clusterName(cluster string) string { return cluster[strings.LastIndexByte(cluster, '/')+1:] }

// boolean reads true or false; anything else is the default.
func boolean(s string, byDefault bool) bool {
	if v, err := strconv.ParseBool(s); err == nil {
		return v
	}
	return byDefault
}

// parseTags reads key=value pairs that are separated by commas.
func parseTags(s string) map[string]string {
	tags := map[string]string{}
	for pair := range strings.SplitSeq(s, ",") {
		if key, value, ok := strings.Cut(pair, "="); ok && strings.TrimSpace(key) != "" {
			tags[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return tags
}

// sortMembers puts containers into the order in which they were created.
func sortMembers(cs []*Container) {
	slices.SortFunc(cs, func(a, b *Container) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.DockerName, b.DockerName), cmp.Compare(a.ID, b.ID))
	})
}

// Partition returns the AWS partition of a region.
// https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
func Partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(region, "us-iso-"):
		return "aws-iso"
	case strings.HasPrefix(region, "us-isob-"):
		return "aws-iso-b"
	case strings.HasPrefix(region, "eu-isoe-"):
		return "aws-iso-e"
	case strings.HasPrefix(region, "us-isof-"):
		return "aws-iso-f"
	case strings.HasPrefix(region, "eusc-"):
		return "aws-eusc"
	default:
		return "aws"
	}
}
