package handlers_test

import (
	"log/slog"
	"testing"

	"github.com/ecs-local/ecs-local/handlers"
)

func TestIntrospection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := onceOnly{t, handlers.NewIntrospection(handlers.IntrospectionDeps{
		Runtime: f.runtime, Version: "v1.2.3", License: "the licence", Log: slog.New(slog.DiscardHandler),
	})}
	const (
		nothing  = `{"Arn":"","KnownStatus":"","Family":"","Version":"","Containers":null}`
		commands = `{"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}`
	)
	tasks := f.runtime.dir.Load().Tasks()
	shopARN := tasks[1].ARN
	f.check(h, []call{
		{path: "/v1/metadata", status: 200, contains: `{"Cluster":"ecs-local","ContainerInstanceArn":"arn:aws:ecs:us-east-1:000000000000:container-instance/ecs-local/`},
		{path: "/v1/tasks", status: 200, contains: `"Arn":"` + shopARN + `","DesiredStatus":"RUNNING","KnownStatus":"RUNNING","Family":"shop","Version":"1","Containers":[{"DockerId":"`},
		{path: "/v1/tasks?dockerid=" + webID, status: 200, contains: `{"Arn":"` + shopARN},
		{path: "/v1/tasks?dockerid=" + webID[:12], status: 200, contains: `{"Arn":"` + shopARN},
		{path: "/v1/tasks?taskarn=" + shopARN, status: 200, contains: `{"Arn":"` + shopARN},
		{path: "/v1/tasks?taskarn=" + shopARN + "&dockerid=" + webID, status: 400, body: nothing},
		{path: "/v1/tasks?dockerid=ffff", status: 404, body: nothing},
		{name: "longer than a short id but not whole", path: "/v1/tasks?dockerid=" + webID[:20], status: 404, body: nothing},
		{path: "/license", status: 200, contentType: "text/plain", body: "the licence"},
		{path: "/", status: 200, contentType: "text/plain; charset=utf-8", body: commands},
		{path: "/anything", status: 200, contentType: "text/plain; charset=utf-8", body: commands},
		{name: "foreign host name", path: "/v1/tasks", host: "attacker.example", status: 403},
	})
}
