//go:build unix

package imdsclient_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ecs-local/ecs-local/local/imdsclient"
)

// Reading a pipe would wait for a writer for ever.
func TestPipeInPlaceOfTheTokenFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	f := instance()
	serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
	file := tokenFile(t, dir)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
	serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
	f.wantCounts(t, 2, 3)
}
