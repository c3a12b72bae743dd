package scan_test

import (
	"context"
	"fmt"
	"time"

	"github.com/ecs-local/ecs-local/imdstest"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/imdsclient"
	"github.com/ecs-local/ecs-local/local/scan"
)

// A first scan reads everything, the next ones read what has changed. On an
// instance, a client without an endpoint finds the real service.
func Example() {
	const task = "5f0c1b7e9a2d4c3e8b6a7d1f20394857"
	server, err := imdstest.Start(imdstest.Options{Config: imds.Config{Namespaces: map[string][]imds.TaskRole{
		"iam-ecs-1": {
			{Task: task, RoleType: imds.TaskApplication, Role: "arn:aws:iam::111122223333:role/shop-web"},
			{Task: task, RoleType: imds.TaskExecution, Role: "arn:aws:iam::111122223333:role/shop-exec"},
		},
	}}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := imdsclient.New(imdsclient.Options{Endpoint: server.URL(), Timeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	scanner := scan.New(scan.Options{Client: client})
	show := func(what string) {
		result, err := scanner.Scan(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(what, "took", result.Requests, "requests")
		for _, c := range result.Credentials {
			fmt.Println("  new:", c.RoleType, c.RoleARN)
		}
		for _, f := range result.Failures {
			fmt.Println("  not read:", f.Name)
		}
		for _, e := range result.Gone {
			fmt.Println("  gone:", e.RoleType)
		}
	}
	show("the first scan")
	show("the next one")
	server.RotateTaskRole("iam-ecs-1", task, scan.TaskExecution)
	server.Fail("/latest/meta-data/*-TaskExecution", 404, 1)
	show("after a rotation, with one failure")
	show("a try at what failed")
	server.RemoveTaskRole("iam-ecs-1", task, scan.TaskExecution)
	show("after a removal")

	// Output:
	// the first scan took 4 requests
	//   new: TaskApplication arn:aws:iam::111122223333:role/shop-web
	//   new: TaskExecution arn:aws:iam::111122223333:role/shop-exec
	// the next one took 2 requests
	// after a rotation, with one failure took 4 requests
	//   new: TaskApplication arn:aws:iam::111122223333:role/shop-web
	//   not read: 5f0c1b7e9a2d4c3e8b6a7d1f20394857-TaskExecution
	// a try at what failed took 3 requests
	//   new: TaskExecution arn:aws:iam::111122223333:role/shop-exec
	// after a removal took 3 requests
	//   new: TaskApplication arn:aws:iam::111122223333:role/shop-web
	//   gone: TaskExecution
}
