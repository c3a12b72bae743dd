package handlers_test

import (
	"net/http"
	"testing"

	"github.com/ecs-local/ecs-local/local"
)

const gpu = "GPU-1f0a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8"

// shopDevices are associations of the task shop: web has one GPU, redis
// another, and both have an accelerator.
func shopDevices(f *fixture) {
	f.runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{Tasks: map[string]local.TaskFacts{"shop": {Associations: []local.Association{
		{Type: "gpu", Name: gpu, Content: "not <JSON> & \"not quoted\"\n", Containers: []string{"web"}},
		{Type: "elastic-inference", Name: "b/main", Content: `{"a": 1}`},
		{Type: "gpu", Name: "GPU-2", Containers: []string{"redis"}},
		{Type: "elastic-inference", Name: "a"},
	}}}}))
}

// Check 15 of the agent's own: list, empty list (null), single value verbatim,
// each error. Those of a container or task that vanishes between two steps
// cannot happen here: one snapshot answers a request. A path that ends in a
// slash is TestAssociationWithoutAName.
func TestAssociationsCheck15(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	shopDevices(f)
	web, other := local.EndpointID(webID), local.EndpointID(otherID)
	unknown := func(version, what, from string) string {
		return `"` + version + ` container associations handler: unable to get ` + what + ` from request: unable to get ` + from + ` from v3 endpoint ID: nobody"`
	}
	var calls []call
	for _, v := range []string{"3", "4"} {
		at, name := "/v"+v, "V"+v
		calls = append(calls,
			call{path: at + "/" + web + "/associations/gpu", status: 200, body: `{"Associations":["` + gpu + `"]}`},
			call{path: at + "/" + web + "/associations/elastic-inference", status: 200, body: `{"Associations":["b/main","a"]}`},
			call{path: at + "/" + web + "/associations/fpga", status: 200, body: `{"Associations":null}`},
			call{path: at + "/" + other + "/associations/gpu", status: 200, body: `{"Associations":null}`},
			call{path: at + "/associations/gpu", status: 200, body: `{"Associations":["` + gpu + `"]}`},
			call{path: at + "/associations/gpu/", status: 200, body: `{"Associations":["` + gpu + `"]}`},
			call{path: at + "/containers/redis/associations/gpu", status: 200, body: `{"Associations":["GPU-2"]}`},

			call{path: at + "/" + web + "/associations/gpu/" + gpu, status: 200, body: "not <JSON> & \"not quoted\"\n"},
			call{path: at + "/associations/elastic-inference/b/main", status: 200, body: `{"a": 1}`},
			call{path: at + "/associations/elastic-inference/b%2Fmain", status: 200, body: `{"a": 1}`},
			call{name: "that of another container of the task", path: at + "/associations/gpu/GPU-2", status: 200},
			call{path: at + "/containers/redis/associations/gpu/" + gpu, status: 200, body: "not <JSON> & \"not quoted\"\n"},

			call{path: at + "/nobody/associations/gpu", status: 400, body: unknown(name, "container id", "docker ID")},
			call{path: at + "/nobody/associations/gpu/" + gpu, status: 400, body: unknown(name, "task arn", "task Arn")},
			call{
				path: at + "/" + other + "/associations/gpu/" + gpu, status: 400,
				body: `"Unable to write container association response: unable to get association from association type gpu and association name ` + gpu + `"`,
			},
			call{
				path: at + "/associations/elastic-inference/" + gpu, status: 400,
				body: `"Unable to write container association response: unable to get association from association type elastic-inference and association name ` + gpu + `"`,
			},
			call{name: "a caller that is no container", path: at + "/associations/gpu", from: "172.18.0.99", status: 400, contains: "172.18.0.99"},
		)
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
			calls = append(calls, call{name: method, method: method, path: at + "/associations/gpu", status: 200, body: `{"Associations":["` + gpu + `"]}`})
		}
	}
	f.check(f.handler, calls)
	if w := f.do(f.handler, call{method: http.MethodHead, path: "/v4/associations/gpu/" + gpu}); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "26" {
		t.Errorf("HEAD: status %d, body %q, headers %v", w.Code, w.Body, w.Header())
	}
}

// A new configuration changes the associations without a restart.
func TestAssociationsChangeWithTheSnapshot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.check(f.handler, []call{{name: "before", path: "/v4/associations/gpu", status: 200, body: `{"Associations":null}`}})
	shopDevices(f)
	f.check(f.handler, []call{{name: "after", path: "/v4/associations/gpu", status: 200, body: `{"Associations":["` + gpu + `"]}`}})
}
