package creds_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/ecs-local/ecs-local/local/creds"
)

// In a container that does not run as root, the mounted ~/.aws of a developer
// is often there and closed. What is in it must not be taken for nothing.
func TestCredentialsOfAnotherUserAreNotReplacedByMadeUpOnes(t *testing.T) {
	home := setAWS(t, nil)
	path := writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o000)
	if os.Getuid() == 0 {
		for _, dir := range []string{filepath.Dir(home), home} { // whatever the umask
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		// The file system takes this thread for one of another user.
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65532); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setfsuid(0); err == nil {
				runtime.UnlockOSThread()
			}
		}()
	}
	for _, mode := range []creds.Mode{creds.ModeAuto, creds.ModeSTS} {
		s := newService(t, newFakeSTS(t), creds.Options{Mode: mode})
		st := s.Status()
		if st.Mode != creds.ModeSTS || !strings.Contains(st.LastError, path+" cannot be read") || !strings.Contains(st.LastError, "--user") {
			t.Errorf("%s: status is %+v", mode, st)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", baseKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", baseSecret)
	if st := newService(t, newFakeSTS(t), creds.Options{}).Status(); st.Mode != creds.ModeSTS || st.LastError != "" {
		t.Errorf("with keys in the environment: status is %+v", st)
	}
}
