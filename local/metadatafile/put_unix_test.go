//go:build unix

package metadatafile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadatafile"
)

// A container may put anything in the place of its file: nothing blocks, and
// nothing is followed.
func TestWhatAContainerPutsThere(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	write(t, secret, "mine")
	label := asks(filepath.Join(root, "web"))
	file := filepath.Join(root, "web", metadatafile.Name)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root, web(label))
		for _, name := range []string{file, filepath.Join(root, "web", "."+metadatafile.Name+".new")} {
			_ = os.Remove(name)
			if err := os.Symlink(secret, name); err != nil {
				t.Fatal(err)
			}
		}
		r.become(web(label, func(c *local.Container) { c.Ports = nil }))
		if doc := r.content("web"); doc["ContainerID"] != webID || doc["PortMappings"] != nil {
			t.Errorf("got %v", doc)
		}
		if body, err := os.ReadFile(secret); err != nil || string(body) != "mine" {
			t.Errorf("what the link leads to is %q (%v)", body, err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(file, 0o644); err != nil {
			t.Fatal(err)
		}
		r.become()
		if diff := cmp.Diff([]string{metadatafile.Name}, r.names("web")); diff != "" {
			t.Errorf("the pipe is gone (-want +got):\n%s", diff)
		}
	})
}
