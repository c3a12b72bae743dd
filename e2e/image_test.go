package e2e

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// The project's own Dockerfile, as users build it. One builder after the
// other: compiling takes all of a small machine.
func TestDockerfileBuildsASmallSafeImageWithEitherBuilder(t *testing.T) {
	c := requireDocker(t)
	base := exec.Command(filepath.Join(repository(), "scripts", "base-image.sh"))
	base.Dir = repository()
	if out, err := base.CombinedOutput(); err != nil {
		t.Fatalf("base-image.sh: %v\n%s", err, out)
	}
	for builder, setting := range map[string]string{"classic": "DOCKER_BUILDKIT=0", "BuildKit": "DOCKER_BUILDKIT=1"} {
		t.Run(builder, func(t *testing.T) {
			version := "v0.0.0-" + strings.ToLower(builder)
			tag := unique("image") + ":latest"
			buildImage(t, c, setting, tag, version)
			info, err := c.ImageInspect(within(t, longest), tag)
			if err != nil {
				t.Fatalf("inspect image: %v", err)
			}
			const largest = 20 << 20
			if info.Size > largest {
				t.Errorf("the image has %.1f MiB, want at most 20", float64(info.Size)/(1<<20))
			}
			if user, _, _ := strings.Cut(info.Config.User, ":"); user == "" || user == "0" || user == "root" {
				t.Errorf("the image runs as %q, want a user that is not root", info.Config.User)
			}

			t.Run("knows its version", func(t *testing.T) {
				id := started(t, c, spec{image: tag, cmd: []string{"version"}, mode: "none"})
				if code, err := ended(within(t, longest), c, id); err != nil || code != 0 {
					t.Fatalf("got exit code %d, %v\n%s", code, err, logs(t, c, id))
				}
				if text := logs(t, c, id); !strings.Contains(text, version) {
					t.Errorf("got version %q, want %q", text, version)
				}
			})
			t.Run("becomes healthy without a writable file system and without capabilities", func(t *testing.T) {
				id := started(t, c, spec{image: tag, mode: "none", host: container.HostConfig{
					ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"},
				}})
				eventually(t, longest, func() error {
					info, err := c.ContainerInspect(context.Background(), id)
					if err != nil {
						return err
					}
					if info.State.Health == nil || info.State.Health.Status != container.Healthy {
						return fmt.Errorf("the container is %s, its health %+v", info.State.Status, info.State.Health)
					}
					return nil
				})
				content, _, err := c.CopyFromContainer(within(t, longest), id, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")
				if err != nil {
					t.Fatalf("the image has no CA certificates: %v", err)
				}
				_ = content.Close()
				// Go takes the first bundle that it finds: these places are for
				// those that users mount.
				for _, place := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem"} {
					if content, _, err := c.CopyFromContainer(within(t, longest), id, place); err == nil {
						_ = content.Close()
						t.Errorf("the image has %s, which hides bundles that are mounted elsewhere", place)
					}
				}
			})
		})
	}
}

// The Dockerfile builds for the machine it runs on. This is its command for
// the other one.
func TestTheProgramIsStaticOnBothArchitectures(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		path := filepath.Join(t.TempDir(), "ecs-local-"+arch)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, ".")
		build.Dir = repository()
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: go build: %v\n%s", arch, err, out)
		}
		program, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if libraries, err := program.ImportedLibraries(); program.Machine != machine || err != nil || len(libraries) != 0 {
			t.Errorf("%s: built for %s, with the libraries %v (%v)", arch, program.Machine, libraries, err)
		}
		_ = program.Close()
		if info, err := os.Stat(path); err != nil || info.Size() > 20<<20 {
			t.Errorf("%s: got %v, %v, want at most 20 MiB", arch, info, err)
		}
	}
}

// buildImage builds the Dockerfile with a docker client of this machine that
// can: newer ones know BuildKit only with a plug-in.
func buildImage(t *testing.T, c *client.Client, setting, tag, version string) {
	t.Helper()
	var reasons []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		docker, err := exec.LookPath(filepath.Join(dir, "docker"))
		if err != nil {
			continue
		}
		build := exec.Command(docker, "build", "--force-rm", "--build-arg", "VERSION="+version, "--tag", tag, ".")
		build.Dir = repository()
		build.Env = append(os.Environ(), setting)
		out, err := build.CombinedOutput()
		if err == nil {
			removeLater(tag)
			t.Cleanup(func() { removeStages(t, c, string(out)) })
			return
		}
		if !strings.Contains(string(out), "buildx") {
			t.Fatalf("%s docker build: %v\n%s", setting, err, tail(string(out), 30))
		}
		reasons = append(reasons, docker+": "+tail(string(out), 2))
	}
	leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", fmt.Sprintf("no docker client for %s: %v", setting, reasons))
}

var stage = regexp.MustCompile(`(?m)^ ---> ([0-9a-f]{12})$`)

// removeStages removes the untagged images that the classic builder left, the
// last first. Those that another image still needs stay.
func removeStages(t *testing.T, c *client.Client, output string) {
	t.Helper()
	var ids []string
	for _, m := range stage.FindAllStringSubmatch(output, -1) {
		ids = append(ids, m[1])
	}
	slices.Reverse(ids)
	for _, id := range slices.Compact(ids) {
		if info, err := c.ImageInspect(context.Background(), id); err != nil || len(info.RepoTags) > 0 {
			continue
		}
		_, _ = c.ImageRemove(context.Background(), id, image.RemoveOptions{})
	}
}
