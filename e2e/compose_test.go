package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
)

// A project is one Compose project of the tests.
type project struct {
	bin   string
	name  string
	files []string
	env   []string
}

// newProject returns the project of these Compose files. Its containers,
// networks and volumes go with the test.
func newProject(t *testing.T, env []string, files ...string) project {
	t.Helper()
	requireDocker(t)
	bin, err := tool("docker-compose")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", "no docker-compose (Compose v2): "+err.Error())
	}
	p := project{bin: bin, name: unique("project"), files: files, env: append(os.Environ(), env...)}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := p.command("logs", "--no-color", "--tail", "40").CombinedOutput()
			t.Logf("log of the project:\n%s", out)
		}
		if out, err := p.command("down", "--volumes", "--remove-orphans", "--timeout", "2").CombinedOutput(); err != nil {
			t.Errorf("docker-compose down: %v\n%s", err, out)
		}
	})
	return p
}

func (p project) command(args ...string) *exec.Cmd {
	full := []string{"--project-name", p.name, "--ansi", "never"}
	for _, f := range p.files {
		full = append(full, "--file", f)
	}
	cmd := exec.Command(p.bin, append(full, args...)...)
	cmd.Env = p.env
	cmd.Dir = repository()
	return cmd
}

// compose runs a Compose command on the project and returns what it wrote.
func (p project) compose(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, p.command(args...))
}

// containers returns the ids of a service's containers, or of all services'
// when the name is empty, in the order of their names.
func (p project) containers(t *testing.T, c *client.Client, service string) []string {
	t.Helper()
	match := filters.NewArgs(filters.Arg("label", "com.docker.compose.project="+p.name))
	if service != "" {
		match.Add("label", "com.docker.compose.service="+service)
	}
	list, err := c.ContainerList(context.Background(), container.ListOptions{All: true, Filters: match})
	if err != nil {
		t.Fatalf("list containers: %v", err)
	}
	slices.SortFunc(list, func(a, b container.Summary) int { return strings.Compare(a.Names[0], b.Names[0]) })
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	return ids
}

// one returns the id of the only container of a service.
func (p project) one(t *testing.T, c *client.Client, service string) string {
	t.Helper()
	ids := p.containers(t, c, service)
	if len(ids) != 1 {
		t.Fatalf("service %s has %d containers, want 1", service, len(ids))
	}
	return ids[0]
}

// written writes a file into a folder of the test and returns its path.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(freeDir(t), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatalf("write file: %v", err)
	}
	return path
}
