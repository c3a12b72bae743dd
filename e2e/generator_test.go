package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The override that `ecs-local compose` prints, checked by Compose and tried on
// the engine: what the project says of its own stays, and its services find
// themselves, their task role and the offline STS.
func TestComposeGeneratorGivesAProjectWhatECSDoes(t *testing.T) {
	c := requireDocker(t)
	lockAddresses(t)
	const key = "a-key-of-this-test-only"
	file, override := "e2e/testdata/project.yml", written(t, "override.yml", "")
	// What differs here: the images.
	images := written(t, "images.yml", fmt.Sprintf("services:\n  web: {image: %[1]q}\n  db: {image: %[1]q}\n  cache: {image: %[1]q}\n  logs: {image: %[1]q}\n", imageOf(t, probeImage)))
	p := newProject(t, []string{"ECS_LOCAL_STATE_KEY=" + key}, file, override, images)

	generate := exec.Command(program(t), "compose", "--project-name", p.name, "--image", imageOf(t, sidecarImage), file)
	generate.Dir, generate.Env = repository(), p.env
	if err := os.WriteFile(override, []byte(command(t, generate)), 0o600); err != nil {
		t.Fatalf("write override: %v", err)
	}

	type service struct {
		Environment map[string]string
		Networks    map[string]any
		NetworkMode string `json:"network_mode"`
	}
	var config struct{ Services map[string]service }
	if err := json.Unmarshal([]byte(p.compose(t, "config", "--format", "json")), &config); err != nil {
		t.Fatalf("decode what Compose makes of it: %v", err)
	}
	networks := func(name string) map[string]bool {
		all := map[string]bool{}
		for network := range config.Services[name].Networks {
			all[network] = true
		}
		return all
	}
	for name, want := range map[string]map[string]bool{
		"web": {"default": true, "ecs-local": true}, "db": {"back": true, "ecs-local": true}, "logs": {}, "ecs-local": {"ecs-local": true},
	} {
		if diff := cmp.Diff(want, networks(name)); diff != "" {
			t.Errorf("networks of %s (-want +got):\n%s", name, diff)
		}
	}
	if got := config.Services["db"].Environment["AWS_REGION"]; got != "eu-west-1" {
		t.Errorf("db had AWS_REGION=eu-west-1 of its own, and now has %q", got)
	}
	path := config.Services["web"].Environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
	if !strings.HasPrefix(path, "/v2/credentials/") {
		t.Errorf("the path of the credentials is %q", path)
	}

	p.compose(t, "up", "--detach")
	for _, name := range []string{"web", "db"} {
		if code, err := ended(within(t, longest), c, p.one(t, c, name)); err != nil || code != 0 {
			t.Fatalf("%s ended with %d, %v\n%s", name, code, err, logs(t, c, p.one(t, c, name)))
		}
	}
	var got found
	if err := json.Unmarshal([]byte(printed(t, c, p.one(t, c, "web"))), &got); err != nil {
		t.Fatalf("decode what the probe found: %v", err)
	}
	if !strings.Contains(got.CallerARN, ":assumed-role/shop-web/") {
		t.Errorf("the SDK is %q, want the task role shop-web", got.CallerARN)
	}
	var seen answer
	if err := json.Unmarshal([]byte(printed(t, c, p.one(t, c, "db"))), &seen); err != nil {
		t.Fatalf("decode what db saw: %v", err)
	}
	want := map[string]bool{p.one(t, c, "web"): true, p.one(t, c, "db"): true, p.one(t, c, "cache"): true, p.one(t, c, "logs"): true}
	for id := range document[taskDocument](t, seen).ids() {
		if !want[id] {
			t.Errorf("container %s is none of the project's applications", id)
		}
	}
	side := "http://" + ecsAddress
	if a := fromHost(t, side+path); a.Status != http.StatusForbidden {
		t.Errorf("the host asks for the task's credentials and gets status %d", a.Status)
	}
}
