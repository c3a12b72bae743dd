package local_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

// TestContainerID pins what is derived, and finds containers by it.
func TestContainerID(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:ecs:us-west-2:111122223333:task/demo/5f0c1b7e9a2d4c3e8b6a7d1f20394857"
	web, db := container("a1", "shop", "web"), container("a2", "shop", "db")
	for launch, want := range map[string]string{
		local.LaunchEC2:      id("a1"),
		local.LaunchExternal: id("a1"),
		local.LaunchFargate:  "5f0c1b7e9a2d4c3e8b6a7d1f20394857-4254523299",
		local.LaunchManaged:  "5f0c1b7e9a2d4c3e8b6a7d1f20394857-4254523299",
	} {
		t.Run(launch, func(t *testing.T) {
			t.Parallel()
			d := local.NewDirectory([]*local.Container{web, db}, "", local.Facts{Tasks: map[string]local.TaskFacts{"shop": {ARN: arn, LaunchType: launch}}})
			task := d.Tasks()[0]
			if got := task.ContainerID(web); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			for _, c := range []*local.Container{web, db} {
				shown := task.ContainerID(c)
				who, err := d.Find(local.Caller{}, shown)
				if err != nil || who.Container != c || who.Task != task || !d.Exact(shown) {
					t.Errorf("%s finds %v (%v), exact %v", shown, who.Container, err, d.Exact(shown))
				}
				if who, err := d.Find(local.Caller{}, c.ID); err != nil || who.Container != c {
					t.Errorf("Docker's id %s finds %v (%v)", c.ID, who.Container, err)
				}
			}
		})
	}
	if got := (&local.Task{Name: "shop", LaunchType: local.LaunchFargate}).ContainerID(web); got != local.TaskID("shop")+"-4254523299" {
		t.Errorf("without an ARN: %s", got)
	}
}

func TestNetworkModeOf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		facts local.TaskFacts
		label string // of the first of two containers
		want  [2]string
	}{
		"nobody says":                      {want: [2]string{"", ""}},
		"the configuration":                {facts: local.TaskFacts{NetworkMode: "awsvpc"}, want: [2]string{"awsvpc", "awsvpc"}},
		"a label is for the whole task":    {label: "awsvpc", want: [2]string{"awsvpc", "awsvpc"}},
		"a label wins over the file":       {facts: local.TaskFacts{NetworkMode: "awsvpc"}, label: "bridge", want: [2]string{"bridge", "bridge"}},
		"Fargate knows awsvpc only":        {facts: local.TaskFacts{LaunchType: local.LaunchFargate}, label: "bridge", want: [2]string{"awsvpc", "awsvpc"}},
		"managed instances are as said":    {facts: local.TaskFacts{LaunchType: local.LaunchManaged, NetworkMode: "host"}, want: [2]string{"host", "host"}},
		"outside AWS Docker's is the mode": {facts: local.TaskFacts{LaunchType: local.LaunchExternal}, want: [2]string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := container("a1", "shop", "web")
			if test.label != "" {
				web = labelled(web, local.LabelNetworkMode, test.label)
			}
			d := local.NewDirectory([]*local.Container{web, container("a2", "shop", "db")}, "", local.Facts{Tasks: map[string]local.TaskFacts{"shop": test.facts}})
			task := d.Tasks()[0]
			got := [2]string{task.NetworkModeOf(task.Containers[1]), task.NetworkModeOf(task.Containers[0])} // web comes after db
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("modes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAssociationOf(t *testing.T) {
	t.Parallel()
	web := with(container("a1", "shop", "web"), func(c *local.Container) { c.Name = "frontend" })
	for name, test := range map[string]struct {
		containers []string
		want       bool
	}{
		"all":            {want: true},
		"by its name":    {containers: []string{"db", "frontend"}, want: true},
		"by its service": {containers: []string{"web"}, want: true},
		"another's":      {containers: []string{"db"}},
		"nobody's":       {containers: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (local.Association{Containers: test.containers}).Of(web); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
