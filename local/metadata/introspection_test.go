package metadata

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

// TestIntrospected has a golden file of everything that the agent shows: two
// tasks, one of them with an interface, without the agent's own containers and
// without what is on Fargate.
func TestIntrospected(t *testing.T) {
	t.Parallel()
	bridge := task(web(), redis(), redis(func(c *local.Container) { c.ID, c.Type = "p1", "CNI_PAUSE" }))
	awsvpc := task(web(func(c *local.Container) { c.DockerName = "/shop-web-1" }))
	awsvpc.NetworkMode, awsvpc.ARN = local.AWSVPC, taskARN+"0"
	away := task(web())
	away.LaunchType = local.LaunchFargate
	golden(t, "introspected", must(t)(IntrospectedTasks([]*local.Task{bridge, awsvpc, away})))
	var all struct{ Tasks []json.RawMessage }
	if err := json.Unmarshal(must(t)(IntrospectedTasks([]*local.Task{bridge, awsvpc, away})), &all); err != nil {
		t.Fatal(err)
	}
	if one := must(t)(IntrospectedTask(bridge)); string(one) != string(all.Tasks[0]) {
		t.Errorf("one task:\n%s\namong all:\n%s", one, all.Tasks[0])
	}
	if got := string(must(t)(IntrospectedTasks(nil))); got != `{"Tasks":[]}` {
		t.Errorf("no task: %s", got)
	}
	if got := string(must(t)(IntrospectedTask(nil))); got != `{"Arn":"","KnownStatus":"","Family":"","Version":"","Containers":null}` {
		t.Errorf("not found: %s", got)
	}
	if got := string(must(t)(Instance(local.Instance{Cluster: "demo", ARN: "arn"}, "v1"))); got != `{"Cluster":"demo","ContainerInstanceArn":"arn","Version":"v1"}` {
		t.Errorf("instance: %s", got)
	}
}

// TestIntrospectedStatus: what ECS calls pending is all that does not run yet.
func TestIntrospectedStatus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		states []local.State
		want   [2]string // known, desired
	}{
		"no container":        {nil, [2]string{"PENDING", "RUNNING"}},
		"created":             {[]local.State{local.Created}, [2]string{"PENDING", "RUNNING"}},
		"created and running": {[]local.State{local.Created, local.Running}, [2]string{"RUNNING", "RUNNING"}},
		"paused":              {[]local.State{local.Paused}, [2]string{"RUNNING", "RUNNING"}},
		"ended":               {[]local.State{local.Exited, local.Dead}, [2]string{"STOPPED", "STOPPED"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tk := &local.Task{ARN: taskARN}
			for _, s := range test.states {
				tk.Containers = append(tk.Containers, &local.Container{State: s})
			}
			var doc struct{ KnownStatus, DesiredStatus string }
			if err := json.Unmarshal(must(t)(IntrospectedTask(tk)), &doc); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, [2]string{doc.KnownStatus, doc.DesiredStatus}); diff != "" {
				t.Errorf("known and desired status (-want +got):\n%s", diff)
			}
		})
	}
}
