package handlers_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
)

// TestFargateIDs: what a document calls a container is found by every path, in
// the stats too.
func TestFargateIDs(t *testing.T) {
	t.Parallel()
	for _, launch := range []string{local.LaunchFargate, local.LaunchManaged} {
		t.Run(launch, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{Tasks: map[string]local.TaskFacts{"shop": {LaunchType: launch}}}))
			f.runtime.stats = map[string]*local.Stats{webID: {JSON: []byte(`{"id":"` + webID + `"}`)}}
			var doc struct{ DockerID string }
			if err := json.Unmarshal(f.do(f.handler, call{path: "/v4"}).Body.Bytes(), &doc); err != nil {
				t.Fatal(err)
			}
			id := doc.DockerID
			if id == webID || len(id) != 43 {
				t.Fatalf("the id is %s", id)
			}
			own := `"DockerId":"` + id + `","Name":"web"`
			var calls []call
			for _, path := range []string{"/v4/" + id, "/v3/" + id, "/v4/containers/" + id, "/v2/metadata/" + id, "/v4/" + webID, "/v4/" + local.EndpointID(webID), "/v3"} {
				calls = append(calls, call{path: path, status: 200, contains: own})
			}
			for _, path := range []string{"/v4/task/stats", "/v4/" + id + "/task/stats", "/v3/task/stats", "/v2/stats"} {
				calls = append(calls, call{path: path, status: 200, contains: `"` + id + `":{"read":`})
			}
			for _, path := range []string{"/v4/stats", "/v3/" + id + "/stats", "/v2/stats/" + id} {
				calls = append(calls, call{path: path, status: 200, contains: `"id":"` + id + `"`})
			}
			f.check(f.handler, calls)
			if n := f.runtime.asked.Load(); n != 0 {
				t.Errorf("the runtime was asked anew %d times for ids that are known", n)
			}
			var task struct{ Containers []struct{ DockerID string } }
			if err := json.Unmarshal(f.do(f.handler, call{path: "/v4/task"}).Body.Bytes(), &task); err != nil || len(task.Containers) != 2 {
				t.Fatalf("task %+v: %v", task, err)
			}
			for _, c := range task.Containers {
				if c.DockerID == redisID || c.DockerID == webID {
					t.Errorf("the task shows Docker's id %s", c.DockerID)
				}
			}
		})
	}
}

// TestIntrospectionOfOneTask has every way to ask for one.
func TestIntrospectionOfOneTask(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const nothing = `{"Arn":"","KnownStatus":"","Family":"","Version":"","Containers":null}`
	h := onceOnly{t, handlers.NewIntrospection(handlers.IntrospectionDeps{Runtime: f.runtime, Log: slog.New(slog.DiscardHandler)})}
	twin := webID[:12] + strings.Repeat("e", 52)
	away := container(strings.Repeat("9", 64), "away", "web", "172.18.0.9", local.Running)
	away.Labels = map[string]string{local.LabelLaunchType: local.LaunchFargate}
	managed := container(strings.Repeat("8", 64), "managed", "web", "172.18.0.8", local.Running)
	managed.Labels = map[string]string{local.LabelLaunchType: local.LaunchManaged}
	d := local.NewDirectory(append(containers(), container(twin, "shop", "twin", "172.18.0.7", local.Running), away, managed), selfID, local.Facts{})
	f.runtime.dir.Store(d)
	arns, shown := map[string]string{}, ""
	for _, task := range d.Tasks() {
		arns[task.Name] = task.ARN
		if task.Name == "managed" {
			shown = task.ContainerID(task.Containers[0])
		}
	}
	f.check(h, []call{
		{name: "whole id", path: "/v1/tasks?dockerid=" + webID, status: 200, contains: `{"Arn":"` + arns["shop"]},
		{name: "short id", path: "/v1/tasks?dockerid=" + redisID[:12], status: 200, contains: `{"Arn":"` + arns["shop"]},
		{name: "shorter", path: "/v1/tasks?dockerid=" + otherID[:2], status: 200, contains: `{"Arn":"` + arns["blog"]},
		{name: "short id of two containers of one task", path: "/v1/tasks?dockerid=" + webID[:12], status: 400, body: nothing},
		{name: "13 characters are no short id", path: "/v1/tasks?dockerid=" + webID[:13], status: 404, body: nothing},
		{name: "an id of nobody", path: "/v1/tasks?dockerid=" + strings.Repeat("7", 64), status: 404, body: nothing},
		{name: "the empty id begins all", path: "/v1/tasks?dockerid=", status: 400, body: nothing},
		{name: "the id in documents", path: "/v1/tasks?dockerid=" + shown, status: 200, contains: `{"Arn":"` + arns["managed"]},
		{name: "ARN", path: "/v1/tasks?taskarn=" + arns["blog"], status: 200, contains: `{"Arn":"` + arns["blog"]},
		{name: "ARN of nobody", path: "/v1/tasks?taskarn=arn", status: 404, body: nothing},
		{name: "no ARN", path: "/v1/tasks?taskarn=", status: 404, body: nothing},
		{name: "both", path: "/v1/tasks?taskarn=" + arns["blog"] + "&dockerid=" + otherID, status: 400, body: nothing},
		{name: "both, empty", path: "/v1/tasks?taskarn=&dockerid=", status: 400, body: nothing},
		{name: "on Fargate, by id", path: "/v1/tasks?dockerid=" + away.ID, status: 404, body: nothing},
		{name: "on Fargate, by ARN", path: "/v1/tasks?taskarn=" + arns["away"], status: 404, body: nothing},
		{name: "another parameter", path: "/v1/tasks?x=y", status: 200, contains: `{"Tasks":[{"Arn":"`},
		{name: "a slash too many", path: "/v1/tasks/", status: 200, contentType: "text/plain; charset=utf-8", contains: "AvailableCommands"},
		{name: "POST", method: http.MethodPost, path: "/v1/tasks?taskarn=" + arns["blog"], status: 200, contains: `{"Arn":"` + arns["blog"]},
	})
	if body := f.do(h, call{path: "/v1/tasks"}).Body.String(); strings.Contains(body, arns["away"]) || strings.Count(body, `"Arn":`) != 3 {
		t.Errorf("all tasks: %s", body)
	}
}
