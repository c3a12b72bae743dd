package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestUserOfAmazonECSLocalContainerEndpointsChangesNothingButTheImage(t *testing.T) {
	c := requireRoot(t)
	lockAddresses(t)
	socket := strings.TrimPrefix(c.DaemonHost(), "unix://")
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatalf("look at the engine's socket: %v", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || filepath.Base(socket) != "docker.sock" {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", "the engine is at "+c.DaemonHost()+", and not at a docker.sock")
	}
	aws := written(t, "credentials", "[default]\naws_access_key_id = AKIAOFNOBODY00000000\naws_secret_access_key = not-a-secret\n"+
		"[developer]\naws_access_key_id = AKIAFROMPROFILE00000\naws_secret_access_key = not-a-secret\n")
	config := written(t, "container_metadata.json", `{"NewKey": "new value", "Image": "replaced:1"}`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "task_metadata.json"),
		[]byte(`{"Revision": "7", "AvailabilityZone": "us-west-2c", "Limits": {"CPU": 0.25, "Memory": 512}}`), 0o644); err != nil {
		t.Fatalf("write file: %v", err)
	}
	p := newProject(t, []string{
		"PROBE=" + imageOf(t, probeImage), "SIDECAR=" + imageOf(t, sidecarImage),
		"SOCKET_FOLDER=" + filepath.Dir(socket), fmt.Sprintf("SOCKET_GROUP=%d", owner.Gid),
		"AWS_FOLDER=" + filepath.Dir(aws), "CONFIG_FOLDER=" + filepath.Dir(config),
	}, "e2e/testdata/dropin.yml")
	p.compose(t, "up", "--detach")
	net := p.name + "_credentials_network"
	app := probeOn(t, c, p.one(t, c, "app"), net)
	const old, other = "http://" + ecsAddress, "http://other-port:8080"
	for _, url := range []string{old, other} {
		eventually(t, soon, func() error { return app.own(sidecar{url: url}) })
	}

	slashes := func(path string) []string { return []string{path, path + "/"} }

	t.Run("container metadata", func(t *testing.T) {
		for _, base := range []string{"/v3", "/v3/containers/" + app.name, "/v3/containers/app-1", "/v2/metadata/" + app.id, "/v2/metadata/" + app.id[:12]} {
			for _, path := range slashes(base) {
				got := document[struct {
					containerDocument
					NewKey string
				}](t, app.get(t, old+path))
				if got.DockerID != app.id || got.Name != "app" || got.NewKey != "new value" || got.Image != "replaced:1" {
					t.Errorf("%s: got %+v", path, got)
				}
			}
		}
	})
	t.Run("task metadata", func(t *testing.T) {
		for _, base := range []string{"/v3/task", "/v3/containers/app-1/task", "/v2/metadata"} {
			for _, path := range slashes(base) {
				got := document[struct {
					taskDocument
					AvailabilityZone string
					Limits           struct{ CPU, Memory float64 }
				}](t, app.get(t, old+path))
				want := taskDocument{
					Cluster:  "arn:aws:ecs:eu-west-1:111122223333:cluster/mine",
					TaskARN:  "arn:aws:ecs:eu-west-1:111122223333:task/mine/5f0c1b7e9a2d4c3e8b6a7d1f20394857",
					Family:   "family-of-mine",
					Revision: "7", // the file wins over the variable
				}
				if got.Cluster != want.Cluster || got.TaskARN != want.TaskARN || got.Family != want.Family || got.Revision != want.Revision {
					t.Errorf("%s: got %+v, want %+v", path, got.taskDocument, want)
				}
				if got.AvailabilityZone != "us-west-2c" || got.Limits.CPU != 0.25 || got.Limits.Memory != 512 {
					t.Errorf("%s: the file's keys are missing: %+v", path, got)
				}
				if !got.ids()[app.id] {
					t.Errorf("%s: the task lacks the container that asked", path)
				}
				for _, member := range got.Containers {
					if !strings.HasPrefix(member.DockerName, p.name) {
						t.Errorf("%s: %s is not of this project", path, member.DockerName)
					}
				}
			}
		}
	})
	t.Run("stats", func(t *testing.T) {
		for _, base := range []string{"/v3/stats", "/v3/containers/app-1/stats", "/v2/stats/" + app.id} {
			for _, path := range slashes(base) {
				eventually(t, soon, func() error {
					if got := document[sample](t, app.get(t, old+path)); got.ID != app.id {
						return fmt.Errorf("%s: got a sample of %q, want %q", path, got.ID, app.id)
					}
					return nil
				})
			}
		}
		for _, base := range []string{"/v3/task/stats", "/v3/containers/app-1/task/stats", "/v2/stats"} {
			for _, path := range slashes(base) {
				got := document[map[string]json.RawMessage](t, app.get(t, old+path))
				if _, ok := got[app.id]; !ok {
					t.Errorf("%s: the stats lack the container that asked", path)
				}
			}
		}
	})
	t.Run("credentials of the profile, from the STS endpoint", func(t *testing.T) {
		eventually(t, longest, func() error { // Compose does not wait until the STS listens
			a, err := app.ask(old + "/creds")
			if err == nil {
				_, err = decode[credentialsDocument](a)
			}
			return err
		})
		for base, role := range map[string]string{
			"/creds":       "",
			"/role/worker": "arn:aws:iam::111122223333:role/worker",
			"/role-arn/arn:aws:iam::444455556666:role/far":       "arn:aws:iam::444455556666:role/far",
			"/role-arn/arn:aws:iam::444455556666:role/path/away": "arn:aws:iam::444455556666:role/path/away",
		} {
			for _, path := range slashes(base) {
				got := document[credentialsDocument](t, app.get(t, old+path))
				if got.AccessKeyID != "ASIAFROMPROFILE00000" {
					t.Errorf("%s: the key was not given to the profile's key", path)
				}
				if got.RoleArn != role || got.SecretAccessKey == "" || got.Token == "" || time.Until(got.Expiration) < 30*time.Minute {
					t.Errorf("%s: got role %q until %s, want %q for an hour", path, got.RoleArn, got.Expiration, role)
				}
			}
		}
	})
	t.Run("keys in variables, another port, another user", func(t *testing.T) {
		got := document[credentialsDocument](t, app.get(t, other+"/role/worker"))
		if got.AccessKeyID != "ASIAFROMENVIRONMENT0" {
			t.Error("the key was not given to the key of the variables")
		}
		if a := app.get(t, other+"/v3/task"); a.Status != http.StatusOK {
			t.Errorf("/v3/task: got %d %s", a.Status, a.Body)
		}
	})
	t.Run("no secret is in a log", func(t *testing.T) {
		for _, service := range []string{"ecs-local-endpoints", "other-port"} {
			text := ""
			for deadline := time.Now().Add(longest); !strings.Contains(text, "/role/") && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
				text = logs(t, c, p.one(t, c, service))
			}
			for _, secret := range []string{"not-a-secret", "not-a-token", "AKIAFROM", "ASIAFROM"} {
				if strings.Contains(text, secret) {
					t.Errorf("the log of %s shows %s…", service, secret)
				}
			}
			if !strings.Contains(text, "/role/") {
				t.Errorf("the log of %s does not show the requests for credentials at all", service)
			}
		}
	})
	t.Run("the SDK of another application", func(t *testing.T) {
		id := started(t, c, spec{
			networks: []attachment{{network: net}}, cmd: []string{"/probe", "sdk"},
			env: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/role/worker"},
		})
		if code, err := ended(within(t, longest), c, id); err != nil || code != 0 {
			t.Fatalf("the SDK's default chain failed: exit code %d, %v\n%s", code, err, logs(t, c, id))
		}
	})
}
