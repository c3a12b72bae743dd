package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
)

// run is part of the name of everything that this test process creates, so
// that it collides with nobody and can be found when something is left over.
var run = "e2e" + randomHex(3)

// labelRun marks what this process created on the engine.
const labelRun = "ecs-local-e2e.run"

// workDir holds what is built; it goes with the process.
var workDir string

func TestMain(m *testing.M) {
	// Nothing here may ever find the credentials or the instance of whoever
	// runs the tests.
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "ECS_CONTAINER_METADATA") {
			must(os.Unsetenv(name))
		}
	}
	must(os.Setenv("AWS_EC2_METADATA_DISABLED", "true"))
	dir, err := os.MkdirTemp("", run)
	must(err)
	workDir = dir
	code := m.Run()
	removeImages()
	must(os.RemoveAll(dir))
	os.Exit(code)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// unique returns a name that nothing else on the engine has.
func unique(part string) string { return run + "-" + part + "-" + randomHex(3) }

// engine is the Docker engine that the environment names, or why there is none.
var engine = sync.OnceValues(func() (*client.Client, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	if _, err := c.ServerVersion(ctx); err != nil {
		return nil, fmt.Errorf("ask the Docker engine for its version: %w", err)
	}
	return c, nil
})

// requireDocker returns a client of a Docker engine that answers. Without one
// the test is left out, and fails when ECS_LOCAL_REQUIRE_DOCKER=1.
func requireDocker(t *testing.T) *client.Client {
	t.Helper()
	c, err := engine()
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", err.Error())
	}
	return c
}

// requireRoot is requireDocker for tests that also need to be root on Linux:
// to start an engine of their own, or to own files of other groups.
func requireRoot(t *testing.T) *client.Client {
	t.Helper()
	c := requireDocker(t)
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", "this test needs root on Linux")
	}
	return c
}

// leaveOut ends the test because something is not on this machine: as skipped,
// or as failed when the variable says that it is required.
func leaveOut(t *testing.T, variable, why string) {
	t.Helper()
	if os.Getenv(variable) == "1" {
		t.Fatalf("%s=1, but: %s", variable, why)
	}
	t.Skipf("left out: %s (set %s=1 to make this a failure)", why, variable)
}

// tool returns the path of a program: from $ECS_LOCAL_BUILD/bin, else from PATH.
func tool(name string) (string, error) {
	if build := os.Getenv("ECS_LOCAL_BUILD"); build != "" {
		if path, err := exec.LookPath(filepath.Join(build, "bin", name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// repository is the root of the repository.
var repository = sync.OnceValue(func() string {
	wd, err := os.Getwd()
	must(err)
	return filepath.Dir(wd)
})

// longest is how long a single step against the engine may take, also on a
// machine that is busy with other things.
const longest = 2 * time.Minute

// within returns a context that ends with the test or after a time.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually calls try until it returns nil, and fails the test with its last
// error after the limit.
func eventually(t *testing.T, limit time.Duration, try func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// command runs a program and returns what it wrote to stdout. When it fails
// the test fails, with what it wrote to stderr.
func command(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// lockAddresses makes the test the only one on this machine that uses the
// addresses 169.254.168.0/21, whatever process it runs in.
func lockAddresses(t *testing.T) {
	t.Helper()
	const patience = 5 * time.Minute
	path := filepath.Join(os.TempDir(), "ecs-local-e2e-addresses.lock")
	// To read is enough for a lock, and all that is allowed with the file of
	// another user.
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o666)
	}
	if err != nil {
		t.Fatalf("open lock: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	eventually(t, patience, func() error {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return fmt.Errorf("another test holds %s: %w", path, err)
		}
		return nil
	})
}

// freeDir returns an empty folder with a short path, for unix sockets.
func freeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatalf("make folder: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("open folder to others: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("remove folder: %v", err)
		}
	})
	return dir
}
