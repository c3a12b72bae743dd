package docker

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

// described returns a recorded description with changes in its State.
func described(t *testing.T, file string, state map[string]any) (id string, document []byte) {
	t.Helper()
	recorded, err := os.ReadFile("testdata/" + file + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(recorded, &d); err != nil {
		t.Fatal(err)
	}
	for key, value := range state {
		d["State"].(map[string]any)[key] = value
	}
	if document, err = json.Marshal(d); err != nil {
		t.Fatal(err)
	}
	return d["Id"].(string), document
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, file string
		state      map[string]any
		pid        int
		path       string
		ended      bool
	}{
		{name: "Docker 20.10", file: "running", pid: 26256, path: "/var/run/docker/netns/123a38a8a9c2"},
		{name: "Docker 28", file: "docker28", pid: 4711, path: "/var/run/docker/netns/1a1a1a1a1a1a"},
		{name: "in the network of another container", file: "shared", pid: 26427},
		{name: "ended", file: "exited", ended: true},
		{name: "about to be started again", file: "running", state: map[string]any{"Status": "restarting", "Restarting": true, "Pid": 0}, ended: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := dockertest.New(t)
			id, document := described(t, test.file, test.state)
			e.PutRecorded(document)
			pid, path, err := clientOf(t, e, Options{}).Namespace(t.Context(), id)
			if pid != test.pid || path != test.path || (err != nil) != test.ended || test.ended && local.CodeOf(err) != local.NotFound {
				t.Errorf("got process %d, file %q, error %v; want %d, %q, ended: %t", pid, path, err, test.pid, test.path, test.ended)
			}
		})
	}
}

func TestNamespaceOfNoContainer(t *testing.T) {
	t.Parallel()
	e := dockertest.New(t)
	c := clientOf(t, e, Options{})
	if _, _, err := c.Namespace(t.Context(), dockertest.ID("aa")); local.CodeOf(err) != local.NotFound {
		t.Errorf("an unknown container: got %v, want %s", err, local.NotFound)
	}
	e.Fail(http.StatusInternalServerError)
	if _, _, err := c.Namespace(t.Context(), dockertest.ID("aa")); err == nil || local.CodeOf(err) == local.NotFound {
		t.Errorf("an engine that fails: got %v, want an error that is not %s", err, local.NotFound)
	}
}
