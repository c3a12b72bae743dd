package docker

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/client"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

func TestPing(t *testing.T) {
	t.Parallel()
	socket := func(t *testing.T) string { return filepath.Join(t.TempDir(), "docker.sock") }
	engine := func(t *testing.T, change func(*dockertest.Engine)) string {
		e := dockertest.New(t)
		change(e)
		return e.Listen()
	}
	tests := []struct {
		name string
		host func(t *testing.T) string
		want []string // parts of the message; none: no error
	}{
		{"an engine", func(t *testing.T) string { return engine(t, func(*dockertest.Engine) {}) }, nil},
		{"a newer engine", func(t *testing.T) string { return engine(t, func(e *dockertest.Engine) { e.APIVersion = "1.99" }) }, nil},
		{"an old engine", func(t *testing.T) string { return engine(t, func(e *dockertest.Engine) { e.APIVersion = "1.40" }) },
			[]string{"too old (API 1.40)", "20.10"}},
		{"an engine that is too new", func(t *testing.T) string {
			return engine(t, func(e *dockertest.Engine) { e.APIVersion, e.OldestAPIVersion = "1.99", "1.90" })
		}, []string{"does not speak API version 1.", "update ecs-local"}},
		{"a socket proxy that forbids the list", func(t *testing.T) string {
			return engine(t, func(e *dockertest.Engine) { e.OnList = func() int { return 403 } })
		}, []string{"refuses", "/containers/json"}},
		{"an engine out of order", func(t *testing.T) string { return engine(t, func(e *dockertest.Engine) { e.Fail(502) }) },
			[]string{"answers with an error", "log"}},
		{"a socket proxy that forbids", func(t *testing.T) string { return engine(t, func(e *dockertest.Engine) { e.Fail(403) }) },
			[]string{"refuses", "allow GET", "/events", "/containers/*/stats"}},
		{"no socket", func(t *testing.T) string { return "unix://" + socket(t) },
			[]string{"no Docker socket at ", "docker.sock", "mount the socket", "DOCKER_HOST", "--runtime static"}},
		{"a socket without an engine", func(t *testing.T) string {
			path := socket(t)
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return "unix://" + path
		}, []string{"nobody answers at the Docker socket", "start Docker"}},
		// A port that was just given back could be another test's by now.
		{"a port without an engine", func(*testing.T) string { return "tcp://127.0.0.1:1" }, []string{"no Docker engine can be reached at tcp://127.0.0.1:", "DOCKER_HOST"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := New(Options{Host: tt.host(t)})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Ping(t.Context())
			if len(tt.want) == 0 {
				if err != nil {
					t.Errorf("got error %v, want none", err)
				}
				return
			}
			if got := local.CodeOf(err); got != local.Unavailable {
				t.Fatalf("got error %v, want Unavailable", err)
			}
			for _, part := range tt.want {
				if got := local.MessageOf(err); !strings.Contains(got, part) {
					t.Errorf("message: got %q, want %q in it", got, part)
				}
			}
		})
	}
}

// What an engine says against a connection can come before the question is
// sent, and then get lost: another connection shows it.
func TestPingOnAConnectionThatIsGivenUpEarly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		early int32 // connections, at first
		want  string
	}{
		"the first": {1, ""},
		"each":      {1 << 20, "no Docker engine can be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dial, stop := dockertest.New(t).Dialer()
			t.Cleanup(stop)
			var dials atomic.Int32
			c, err := newClient(Options{Host: "tcp://engine:2375"}, client.WithDialContext(func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				if err == nil && dials.Add(1) <= test.early {
					conn = givenUp{conn}
				}
				return conn, err
			}))
			if err != nil {
				t.Fatal(err)
			}
			err = c.Ping(t.Context())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(local.MessageOf(err), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

// givenUp is a connection that is closed before anything is written.
type givenUp struct{ net.Conn }

func (givenUp) Write([]byte) (int, error) { return 0, net.ErrClosed }

// The permission cannot be taken from root, who runs many CI jobs, so this
// looks at the words alone.
func TestPermissionAdviceNamesTheGroup(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "docker.sock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Host: "unix://" + file})
	if err != nil {
		t.Fatal(err)
	}
	got := c.advice(&os.PathError{Op: "dial", Path: file, Err: os.ErrPermission})
	for _, part := range []string{"no permission", file, "--group-add", "group_add", "stat -c %g"} {
		if !strings.Contains(got, part) {
			t.Errorf("message: got %q, want %q in it", got, part)
		}
	}
	if gid, ok := groupOf(file); ok && !strings.Contains(got, "--group-add "+gid) {
		t.Errorf("message: got %q, want the group %s in it", got, gid)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"": "", "unix:///run/user/1000/docker.sock": "", "tcp://127.0.0.1:2375": "",
		"ssh://user@host":      "(ssh -NL /tmp/docker.sock:/var/run/docker.sock user@host)",
		"/var/run/docker.sock": "set it to unix://<socket> or tcp://<host>:<port>",
		"tcp://":               "set it to unix://<socket> or tcp://<host>:<port>",
	} {
		_, err := New(Options{Host: host})
		if want == "" && err != nil {
			t.Errorf("%q: got error %v, want none", host, err)
		}
		if want != "" && (local.CodeOf(err) != local.Invalid || !strings.Contains(local.MessageOf(err), want)) {
			t.Errorf("%q: got error %v, want Invalid with %q", host, err, want)
		}
	}
}
