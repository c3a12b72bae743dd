package handlers_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/local"
)

// Check 7 of the agent's tests: documents of v2 by address, of v3 and v4 by
// endpoint id, and every error of theirs that can be.
func TestStrictMetadataCheck7(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	a.runtime.stats = map[string]*local.Stats{webID: {JSON: []byte(`{"read":"2026-06-30T17:05:12.004771203Z","id":"` + webID + `"}`)}}
	const task, stats = `200 {"Cluster":"ecs-local","TaskARN":"…`, `200 {"read":"2026-06-30T17:05:12.004771203Z",…`
	container := func(id string) string { return `200 {"DockerId":"` + id + `",…` }
	noStats := `"Unable to get container stats for: ` + redisID + `"`

	a.strictCheck("", []agentCall{
		{"GET /v2/metadata", task},
		{"GET /v2/metadataWithTags", task},
		{"GET /v2/metadata/" + webID, container(webID)},
		{"GET /v2/metadata/" + redisID, container(redisID)},
		{"GET /v2/metadata/" + otherID, container(otherID)}, // of another task
		{"GET /v2/stats", `200 {"` + redisID + `":null,"` + webID + `":{"read":…`},
		{"GET /v2/stats/" + webID, stats},
		{"GET /v2/metadata/nobody", `400 "Unable to generate metadata for container 'nobody'"`},
		{"GET /v2/metadata/web", `400 "Unable to generate metadata for container 'web'"`},
		{"GET /v2/metadata/shop-web-1", `400 "Unable to generate metadata for container 'shop-web-1'"`},
		{"GET /v2/metadata/" + webID[:12], `400 "Unable to generate metadata for container '` + webID[:12] + `'"`},
		{"GET /v2/metadata/" + webEID, `400 "Unable to generate metadata for container '` + webEID + `'"`},
		{"GET /v2/stats/nobody", `400 "Unable to get container stats for: nobody"`},
		{"GET /v2/stats/" + otherID, `400 "Unable to get container stats for: ` + otherID + `"`},
		{"GET /v2/stats/" + redisID, "400 " + noStats},
	})
	tagged := newStrict(t)
	cs := containers()
	cs[0].Labels = map[string]string{local.LabelNetworkMode: local.AWSVPC, local.LabelTaskTags: "team=shop"}
	tagged.runtime.dir.Store(local.NewDirectory(cs, selfID, local.Facts{}))
	for path, want := range map[string]bool{
		"/v2/metadataWithTags": true, "/v2/metadataWithTags/": true, "/v3/" + webEID + "/taskWithTags": true, "/v4/" + webEID + "/taskWithTags": true,
		"/v2/metadata": false, "/v2/metadata/": false, "/v3/" + webEID + "/task": false, "/v4/" + webEID + "/task": false,
	} {
		if body := tagged.send(tagged.handler, "", "GET "+path).Body.String(); strings.Contains(body, `"TaskTags":{"team":"shop"}`) != want {
			t.Errorf("%s: want tags %v: %s", path, want, body)
		}
	}
	// Nobody else is known by address: tasks on Docker networks, the host,
	// strangers.
	for _, from := range []string{"172.18.0.4", "172.18.0.1", "172.18.0.99", "127.0.0.1"} {
		unknown := `400 "Unable to get task arn from request: unable to associate '` + from + `' with task"`
		a.strictCheck(from, []agentCall{
			{"GET /v2/metadata", unknown}, {"GET /v2/metadata/", unknown}, {"GET /v2/metadataWithTags", unknown}, {"GET /v2/metadata/" + webID, unknown},
			{"GET /v2/stats", unknown}, {"GET /v2/stats/" + webID, unknown},
		})
		// They are by endpoint id.
		a.strictCheck(from, []agentCall{{"GET /v3/" + blogEID, container(otherID)}, {"GET /v4/" + blogEID, container(otherID)}, {"GET /v4/" + webEID + "/task", task}})
	}

	for version, status := range map[string]struct{ metadata, stats, stopped int }{"V3": {500, 400, 400}, "V4": {404, 404, 500}} {
		at := "GET /" + strings.ToLower(version)
		none := map[string]string{"V3": "null", "V4": "{}"}[version]
		a.strictCheck("", []agentCall{
			{at + "/" + webEID, container(webID)},
			{at + "/" + redisEID, container(redisID)},
			{at + "/" + redisEID + "/task", task},
			{at + "/" + webEID + "/taskWithTags", task},
			{at + "/" + webEID + "/stats", stats},
			{at + "/" + redisEID + "/task/stats", `200 {"` + redisID + `":` + none + `,"` + webID + `":{"read":…`},
			{at + "/nobody", fmt.Sprint(status.metadata, " ", unknownID(version, "container metadata", "nobody"))},
			{at + "/nobody/task", fmt.Sprint(status.metadata, " ", unknownID(version, "task metadata", "nobody"))},
			{at + "/nobody/taskWithTags", fmt.Sprint(status.metadata, " ", unknownID(version, "task metadata", "nobody"))},
			{at + "/nobody/stats", fmt.Sprint(status.stats, " ", unknownID(version, "container stats", "nobody"))},
			{at + "/nobody/task/stats", fmt.Sprint(status.stats, " ", unknownID(version, "task stats", "nobody"))},
			{at + "/" + redisEID + "/stats", fmt.Sprint(status.stopped, " ", noStats)},
		})
	}
}

// On Fargate the id of a container is not Docker's, and the mode is awsvpc.
func TestStrictMetadataOnFargate(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	cs := containers()
	cs[0].Labels = map[string]string{local.LabelLaunchType: local.LaunchFargate}
	a.runtime.dir.Store(local.NewDirectory(cs, selfID, local.Facts{}))
	var doc struct{ Containers []struct{ DockerID string } }
	if err := json.Unmarshal(a.send(a.handler, "", "GET /v2/metadata").Body.Bytes(), &doc); err != nil || len(doc.Containers) != 2 {
		t.Fatalf("%+v: %v", doc, err)
	}
	for _, c := range doc.Containers {
		a.strictCheck("", []agentCall{{"GET /v2/metadata/" + c.DockerID, `200 {"DockerId":"` + c.DockerID + `",…`}})
	}
	a.strictCheck("", []agentCall{{"GET /v2/metadata/" + webID, `400 "Unable to generate metadata for container '` + webID + `'"`}})
}

// Check 14 of the agent's tests: a stopped container, and one without a sample,
// have no stats in those of their task.
func TestStrictTaskStatsCheck14(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	of := func(none string) string { return `200 {"` + redisID + `":` + none + `,"` + webID + `":` + none + `}` }
	a.strictCheck("", []agentCall{
		{"GET /v2/stats", of("null")},
		{"GET /v3/" + webEID + "/task/stats", of("null")},
		{"GET /v4/" + webEID + "/task/stats", of("{}")},
		{"GET /v3/" + webEID + "/stats", "200 null"},
		{"GET /v4/" + webEID + "/stats", "200 {}"},
	})
}

// The agent keeps containers and ports in maps: their order is another with
// every request, and nothing else is.
func TestStrictOrderIsByChance(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	var cs []*local.Container
	for i, name := range []string{"a", "b", "c", "pause"} {
		c := container(strings.Repeat(string("0123"[i]), 64), "shop", name, "", local.Running)
		c.Ports = []local.Port{{Container: 80, Protocol: "tcp"}, {Container: 81, Protocol: "tcp"}, {Container: 82, Protocol: "tcp"}}
		cs = append(cs, c)
	}
	cs[3].Type = "CNI_PAUSE"
	cs = append(cs, container(webID, "shop", "web", "172.18.0.3", local.Running))
	for _, c := range cs {
		c.Labels = map[string]string{local.LabelNetworkMode: "bridge"}
	}
	cs[4].Labels = map[string]string{local.LabelNetworkMode: local.AWSVPC}
	a.runtime.dir.Store(local.NewDirectory(cs, selfID, local.Facts{}))
	type port struct{ ContainerPort int }
	type doc struct {
		Containers []struct {
			Name  string
			Ports []port
		}
		Ports []port
	}
	eid := local.EndpointID(cs[0].ID)
	for _, path := range []string{"/v2/metadata", "/v2/metadataWithTags", "/v3/" + eid + "/task", "/v4/" + eid + "/task", "/v4/" + eid + "/taskWithTags",
		"/v2/metadata/" + cs[0].ID, "/v3/" + eid, "/v4/" + eid} {
		orders, ports := map[string]bool{}, map[string]bool{}
		length := 0
		for range 50 { // within the limit of requests
			w := a.send(a.handler, "", "GET "+path)
			var d doc
			if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			names := make([]string, len(d.Containers))
			for i, c := range d.Containers {
				names[i] = c.Name
				if c.Name == "a" {
					ports[fmt.Sprint(c.Ports)] = true
				}
			}
			if len(names) == 0 {
				ports[fmt.Sprint(d.Ports)] = true
			}
			orders[fmt.Sprint(names)] = true
			slices.Sort(names)
			if got := fmt.Sprint(names); got != "[]" && got != "[a b c pause web]" {
				t.Fatalf("%s: containers %s", path, got)
			}
			if length != 0 && length != w.Body.Len() {
				t.Fatalf("%s: another document", path)
			}
			length = w.Body.Len()
		}
		if task := !orders["[]"]; len(ports) < 2 || task && len(orders) < 2 {
			t.Errorf("%s: always the same order: %v, %v", path, orders, ports)
		}
	}
}

// Check 11 of the agent's tests holds in every order: pause containers come
// first in v4, in the network mode bridge.
func TestStrictOrderKeepsPauseContainersFirst(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	var cs []*local.Container
	for i, name := range []string{"a", "b", "c", "pause"} {
		cs = append(cs, container(strings.Repeat(string("0123"[i]), 64), "shop", name, "", local.Running))
	}
	cs[3].Type = "CNI_PAUSE"
	a.runtime.dir.Store(local.NewDirectory(cs, selfID, local.Facts{}))
	for range 50 { // within the limit of requests
		var d struct{ Containers []struct{ Name string } }
		if err := json.Unmarshal(a.send(a.handler, "", "GET /v4/"+local.EndpointID(cs[0].ID)+"/task").Body.Bytes(), &d); err != nil || len(d.Containers) != 4 {
			t.Fatalf("%+v: %v", d, err)
		}
		if d.Containers[0].Name != "pause" {
			t.Fatalf("%s comes first", d.Containers[0].Name)
		}
	}
}

// The agent answers from what it knows: no state of the engine makes another
// error than its own.
func TestStrictErrorsWhileTheRuntimeIsAway(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	a.runtime.stale.Store(true)
	a.runtime.refresh = func() (*local.Directory, error) {
		return nil, local.Errorf(local.Unavailable, "the Docker engine does not answer: start it")
	}
	a.strictCheck("", []agentCall{
		{"GET /v4/" + webEID, `200 {"DockerId":"` + webID + `",…`},
		{"GET /v3/nobody", "500 " + unknownID("V3", "container metadata", "nobody")},
		{"GET /v4/nobody/task", "404 " + unknownID("V4", "task metadata", "nobody")},
		{"GET /v2/metadata", `200 {"Cluster":…`},
		{"GET /v2/metadata/nobody", `400 "Unable to generate metadata for container 'nobody'"`},
		{"GET /v4/nobody/associations/gpu", `400 "V4 container associations handler: unable to get container id from request: unable to get docker ID from v3 endpoint ID: nobody"`},
		{"GET /api/nobody/task-protection/v1/state", `404 {"error":{"Code":"ResourceNotFoundException","Message":"Failed to find a task for the request"}}`},
		{"POST /api/nobody/fault/v1/network-latency/status", `404 {"Error":"unable to get task arn from request: unable to get task Arn from v3 endpoint ID: nobody"}`},
	})
	a.strictCheck("172.18.0.99", []agentCall{{"GET /v2/stats", `400 "Unable to get task arn from request: unable to associate '172.18.0.99' with task"`}})
}

// A container that was not known yet is looked for, as in any mode.
func TestStrictContainersThatJustStarted(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	late := container(strings.Repeat("f", 64), "late", "app", "172.18.0.50", local.Running)
	late.Labels = map[string]string{local.LabelNetworkMode: local.AWSVPC}
	a.runtime.refresh = func() (*local.Directory, error) {
		return local.NewDirectory(append(containers(), late), selfID, local.Facts{}), nil
	}
	a.strictCheck("172.18.0.50", []agentCall{{"GET /v4/" + late.EndpointID, `200 {"DockerId":"fff…`}, {"GET /v2/metadata/" + late.ID, `200 {"DockerId":"fff…`}})
}
