package local_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

// tasks writes a directory's tasks as name: containers.
func tasks(d *local.Directory) []string {
	var list []string
	for _, task := range d.Tasks() {
		s := task.Name + ":"
		for _, c := range task.Containers {
			s += " " + c.DockerName
		}
		list = append(list, s)
	}
	return list
}

func ended(c *local.Container) *local.Container {
	c.State = local.Exited
	return c
}

func TestTasks(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:ecs:eu-west-1:111122223333:task/prod/0123456789abcdef0123456789abcdef"
	shopARN := local.NewDirectory([]*local.Container{container("a1", "shop", "web")}, "", local.Facts{}).Tasks()[0].ARN
	tests := map[string]struct {
		containers []*local.Container
		facts      local.Facts
		want       []string
	}{
		"a Compose project, stopped containers too": {
			containers: []*local.Container{container("a1", "shop", "web"), ended(container("a2", "shop", "migrate")), container("b1", "blog", "web")},
			want:       []string{"blog: blog-web-1", "shop: shop-migrate-1 shop-web-1"},
		},
		"a project that has ended": {
			containers: []*local.Container{ended(container("a1", "shop", "web"))},
			want:       []string{"shop: shop-web-1"},
		},
		"outside Compose only what runs": {
			containers: []*local.Container{container("c1", "", "grafana"), ended(container("c2", "", "old")), container("c3", "", "tempo")},
			want:       []string{"containers outside Compose: grafana tempo"},
		},
		"outside Compose nothing runs": {
			containers: []*local.Container{ended(container("c2", "", "old"))},
		},
		"the same ARN label across projects": {
			containers: []*local.Container{
				labelled(container("a1", "shop", "web"), local.LabelTaskARN, arn),
				labelled(container("b1", "blog", "web"), local.LabelTaskARN, arn),
				labelled(container("c1", "", "helper"), local.LabelTaskARN, arn),
				container("a2", "shop", "db"),
			},
			want: []string{"0123456789abcdef0123456789abcdef: blog-web-1 helper shop-web-1", "shop: shop-db-1"},
		},
		"an ARN label takes a replica out of its project": {
			containers: []*local.Container{
				labelled(container("a1", "shop", "web"), local.LabelTaskARN, arn),
				labelled(container("a2", "shop", "db"), local.LabelTaskARN, strings.Replace(arn, "0123", "9999", 1)),
			},
			want: []string{"0123456789abcdef0123456789abcdef: shop-web-1", "9999456789abcdef0123456789abcdef: shop-db-1"},
		},
		"an ARN label that names a project's configured ARN": {
			containers: []*local.Container{container("a1", "shop", "web"), labelled(container("c1", "", "helper"), local.LabelTaskARN, arn)},
			facts:      local.Facts{Tasks: map[string]local.TaskFacts{"shop": {ARN: arn}}},
			want:       []string{"shop: helper shop-web-1"},
		},
		"an ARN label that names a project's derived ARN": {
			containers: []*local.Container{container("a1", "shop", "web"), labelled(container("c1", "", "helper"), local.LabelTaskARN, shopARN), container("c2", "", "other")},
			want:       []string{"containers outside Compose: other", "shop: helper shop-web-1"},
		},
		"an ARN label that names the ARN of several projects": {
			containers: []*local.Container{container("a1", "shop", "web"), container("b1", "blog", "web"), labelled(container("c1", "", "helper"), local.LabelTaskARN, arn)},
			facts:      local.Facts{TaskARN: arn},
			want:       []string{"0123456789abcdef0123456789abcdef: helper", "blog: blog-web-1", "shop: shop-web-1"},
		},
		"replicas are separate containers": {
			containers: []*local.Container{
				with(container("a1", "shop", "web"), func(c *local.Container) { c.DockerName = "shop-web-1" }),
				with(container("a2", "shop", "web"), func(c *local.Container) { c.DockerName = "shop-web-2" }),
			},
			want: []string{"shop: shop-web-1 shop-web-2"},
		},
		"the own container is in none": {
			containers: []*local.Container{container("a1", "shop", "web"), container("5e1f", "shop", "ecs-local")},
			want:       []string{"shop: shop-web-1"},
		},
		"the own container alone": {
			containers: []*local.Container{container("5e1f", "shop", "ecs-local")},
		},
		"the same name twice": {
			containers: []*local.Container{
				labelled(container("c1", "", "x"), local.LabelTaskARN, "arn:aws:ecs:us-east-1:111122223333:task/b/shop"),
				labelled(container("c2", "", "y"), local.LabelTaskARN, "arn:aws:ecs:us-east-1:111122223333:task/a/shop"),
			},
			want: []string{"shop: y", "shop: x"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 8 { // groups are made in a map
				d := local.NewDirectory(test.containers, id("5e1f"), test.facts)
				if diff := cmp.Diff(test.want, tasks(d)); diff != "" {
					t.Fatalf("tasks (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestIDsNeverChange pins what is derived: containers and users keep them
// across restarts and versions of ecs-local.
func TestIDsNeverChange(t *testing.T) {
	t.Parallel()
	const containerID = "3c9410a72ad74e334b9687c3223c01e221de858fc67f7205c85a0b5bfa5ca3fa"
	for got, want := range map[string]string{
		local.TaskID("shop"):                       "404015eb067d786a56b51a163846b47d",
		local.TaskID("containers outside Compose"): "5504a54a2381e672019efb8a101cf37e",
		local.EndpointID(containerID):              "5abef298-6e37-8f79-ae87-0374e2883eca",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if local.EndpointID(containerID) == local.EndpointID(containerID[:63]+"b") || local.TaskID("shop") == local.TaskID("Shop") {
		t.Error("two names have the same id")
	}
	if uuid := local.EndpointID(containerID); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(uuid) {
		t.Errorf("%s is no UUID of version 8", uuid)
	}
	d := local.NewDirectory([]*local.Container{container("a1", "shop", "web")}, "", local.Facts{})
	if got, want := d.Tasks()[0].ARN, "arn:aws:ecs:us-east-1:000000000000:task/ecs-local/404015eb067d786a56b51a163846b47d"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := d.Tasks()[0].ID(); got != local.TaskID("shop") {
		t.Errorf("the task's id is %s", got)
	}
}

// TestTaskFacts goes from what nobody says to what a label says.
func TestTaskFacts(t *testing.T) {
	t.Parallel()
	const (
		own   = "arn:aws:ecs:eu-west-1:111122223333:task/prod/0123456789abcdef0123456789abcdef"
		other = "arn:aws:ecs:eu-west-1:111122223333:task/prod/ffffffffffffffffffffffffffffffff"
	)
	general := local.Facts{
		Region: "eu-west-1", Account: "111122223333", Cluster: "demo",
		Family: "all", Revision: "3", VPCID: "vpc-1", InstanceTags: map[string]string{"env": "dev"},
	}
	specific := general
	specific.TaskARN = other
	specific.Tasks = map[string]local.TaskFacts{"shop": {
		ARN: own, Cluster: "prod", Family: "shop-family", Revision: "7", ServiceName: "shop-svc", LaunchType: "FARGATE",
		AvailabilityZone: "eu-west-1b", ZoneID: "euw1-az2", CPU: 0.5, Memory: 1024, TaskRole: "task", ExecutionRole: "execution",
		Tags: map[string]string{"team": "shop", "tier": "1"},
	}}
	labels := []string{
		local.LabelTaskARN, other, local.LabelCluster, "c", local.LabelFamily, "f", local.LabelRevision, "9",
		local.LabelServiceName, "s", local.LabelLaunchType, "EXTERNAL", local.LabelAvailabilityZone, "z", local.LabelTaskRole, "r",
		local.LabelExecutionRole, "e", local.LabelTaskCPU, "2.5", local.LabelTaskMemory, "64", local.LabelTaskTags, "tier=2, new = yes,broken,=x",
	}
	web := func() *local.Container { return container("a1", "shop", "web") }
	tests := map[string]struct {
		container *local.Container
		facts     local.Facts
		want      local.Task
	}{
		"nothing is said": {web(), local.Facts{}, local.Task{
			Name: "shop", ARN: "arn:aws:ecs:us-east-1:000000000000:task/ecs-local/" + local.TaskID("shop"), Cluster: "ecs-local",
			Family: "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "us-east-1a",
		}},
		"nothing is said, outside Compose": {container("c1", "", "grafana"), local.Facts{}, local.Task{
			Name: "containers outside Compose", ARN: "arn:aws:ecs:us-east-1:000000000000:task/ecs-local/" + local.TaskID("containers outside Compose"),
			Cluster: "ecs-local", Family: "ecs-local", Revision: "1", LaunchType: "EC2", AvailabilityZone: "us-east-1a",
		}},
		"for all tasks": {web(), general, local.Task{
			Name: "shop", ARN: "arn:aws:ecs:eu-west-1:111122223333:task/demo/" + local.TaskID("shop"), Cluster: "demo",
			Family: "all", Revision: "3", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "eu-west-1a",
			VPCID: "vpc-1", InstanceTags: map[string]string{"env": "dev"},
		}},
		"an ARN for all tasks": {web(), local.Facts{TaskARN: other}, local.Task{
			Name: "shop", ARN: other, Cluster: "ecs-local",
			Family: "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "us-east-1a",
		}},
		"for this task": {web(), specific, local.Task{
			Name: "shop", ARN: own, Cluster: "prod",
			Family: "shop-family", Revision: "7", ServiceName: "shop-svc", LaunchType: "FARGATE", AvailabilityZone: "eu-west-1b", ZoneID: "euw1-az2",
			CPU: 0.5, Memory: 1024, TaskRole: "task", ExecutionRole: "execution", Tags: map[string]string{"team": "shop", "tier": "1"},
			VPCID: "vpc-1", InstanceTags: map[string]string{"env": "dev"},
		}},
		"for another task": {container("b1", "blog", "web"), specific, local.Task{
			Name: "blog", ARN: other, Cluster: "demo",
			Family: "all", Revision: "3", ServiceName: "blog", LaunchType: "EC2", AvailabilityZone: "eu-west-1a",
			VPCID: "vpc-1", InstanceTags: map[string]string{"env": "dev"},
		}},
		"labels": {labelled(web(), labels...), specific, local.Task{
			Name: "ffffffffffffffffffffffffffffffff", ARN: other, Cluster: "c",
			Family: "f", Revision: "9", ServiceName: "s", LaunchType: "EXTERNAL", AvailabilityZone: "z", ZoneID: "euw1-az2",
			CPU: 2.5, Memory: 64, TaskRole: "r", ExecutionRole: "e", Tags: map[string]string{"team": "shop", "tier": "2", "new": "yes"},
			VPCID: "vpc-1", InstanceTags: map[string]string{"env": "dev"},
		}},
		"an ARN label, the rest by its project": {labelled(web(), local.LabelTaskARN, other), local.Facts{
			Tasks: map[string]local.TaskFacts{"shop": {TaskRole: "task"}},
		}, local.Task{
			Name: "ffffffffffffffffffffffffffffffff", ARN: other, Cluster: "ecs-local",
			Family: "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "us-east-1a", TaskRole: "task",
		}},
		"an ARN label, the rest by its id": {labelled(web(), local.LabelTaskARN, other), local.Facts{
			Tasks: map[string]local.TaskFacts{"shop": {TaskRole: "no"}, "ffffffffffffffffffffffffffffffff": {TaskRole: "task"}},
		}, local.Task{
			Name: "ffffffffffffffffffffffffffffffff", ARN: other, Cluster: "ecs-local",
			Family: "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "us-east-1a", TaskRole: "task",
		}},
		"an ARN label outside Compose": {labelled(container("c1", "", "x"), local.LabelTaskARN, other), local.Facts{}, local.Task{
			Name: "ffffffffffffffffffffffffffffffff", ARN: other, Cluster: "ecs-local",
			Family: "ffffffffffffffffffffffffffffffff", Revision: "1", LaunchType: "EC2", AvailabilityZone: "us-east-1a",
		}},
		"limits that are none": {labelled(web(), local.LabelTaskCPU, "+Inf", local.LabelTaskMemory, "-5"), local.Facts{
			Tasks: map[string]local.TaskFacts{"shop": {CPU: 1, Memory: 2}},
		}, local.Task{
			Name: "shop", ARN: "arn:aws:ecs:us-east-1:000000000000:task/ecs-local/" + local.TaskID("shop"), Cluster: "ecs-local",
			Family: "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "us-east-1a", CPU: 1, Memory: 2,
		}},
		"a cluster's ARN": {web(), local.Facts{Cluster: "arn:aws:ecs:us-east-1:111122223333:cluster/demo"}, local.Task{
			Name: "shop", ARN: "arn:aws:ecs:us-east-1:000000000000:task/demo/" + local.TaskID("shop"),
			Cluster: "arn:aws:ecs:us-east-1:111122223333:cluster/demo",
			Family:  "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "us-east-1a",
		}},
		"China": {web(), local.Facts{Region: "cn-north-1"}, local.Task{
			Name: "shop", ARN: "arn:aws-cn:ecs:cn-north-1:000000000000:task/ecs-local/" + local.TaskID("shop"), Cluster: "ecs-local",
			Family: "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "cn-north-1a",
		}},
		"GovCloud": {web(), local.Facts{Region: "us-gov-west-1"}, local.Task{
			Name: "shop", ARN: "arn:aws-us-gov:ecs:us-gov-west-1:000000000000:task/ecs-local/" + local.TaskID("shop"), Cluster: "ecs-local",
			Family: "shop", Revision: "1", ServiceName: "shop", LaunchType: "EC2", AvailabilityZone: "us-gov-west-1a",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := local.NewDirectory([]*local.Container{test.container}, "", test.facts)
			got := *d.Tasks()[0]
			if !slices.Equal(got.Containers, []*local.Container{test.container}) {
				t.Errorf("containers %v", got.Containers)
			}
			got.Containers = nil
			test.want.FaultInjection = true // see TestTaskSwitches
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("task (-want +got):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff(map[string]string{"team": "shop", "tier": "1"}, specific.Tasks["shop"].Tags); diff != "" {
		t.Errorf("the configuration's tags were changed (-want +got):\n%s", diff)
	}
}

func TestPartition(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{
		"us-east-1": "aws", "eu-central-2": "aws", "": "aws", "cn-northwest-1": "aws-cn", "us-gov-east-1": "aws-us-gov",
		"us-iso-east-1": "aws-iso", "us-isob-east-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e", "us-isof-south-1": "aws-iso-f",
		"eusc-de-east-1": "aws-eusc",
	} {
		if got := local.Partition(region); got != want {
			t.Errorf("%q: got %s, want %s", region, got, want)
		}
	}
}

// TestTaskSwitches tells what is true of every task, unless a label of one of
// its containers says otherwise.
func TestTaskSwitches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, label, value         string
		standalone, faultInjection bool
	}{
		{"nothing is said", "other", "false", false, true},
		{"started by a service", local.LabelServiceTask, "true", false, true},
		{"started by no service", local.LabelServiceTask, "false", true, true},
		{"no word for it", local.LabelServiceTask, "maybe", false, true},
		{"with faults", local.LabelFaultInjection, "true", false, true},
		{"without faults", local.LabelFaultInjection, "False", false, false},
		{"no word for faults", local.LabelFaultInjection, "off", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := local.NewDirectory([]*local.Container{
				container("a1", "shop", "web"), labelled(container("a2", "shop", "redis"), test.label, test.value), container("b1", "blog", "web"),
			}, "", local.Facts{})
			blog, shop := d.Tasks()[0], d.Tasks()[1]
			if shop.Standalone != test.standalone || shop.FaultInjection != test.faultInjection {
				t.Errorf("standalone %t, fault injection %t", shop.Standalone, shop.FaultInjection)
			}
			if blog.Standalone || !blog.FaultInjection {
				t.Errorf("the other task: standalone %t, fault injection %t", blog.Standalone, blog.FaultInjection)
			}
		})
	}
}
