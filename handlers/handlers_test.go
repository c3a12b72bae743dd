package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/metadata"
)

func TestMain(m *testing.M) {
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	os.Exit(m.Run())
}

// runtimeFake is a runtime whose truth the test sets.
type runtimeFake struct {
	dir      atomic.Pointer[local.Directory]
	stale    atomic.Bool // Current says that it is not in sync
	refresh  func() (*local.Directory, error)
	asked    atomic.Int64 // how often Refresh was called
	stats    map[string]*local.Stats
	statusOf error
}

var _ handlers.Runtime = (*runtimeFake)(nil)

func (f *runtimeFake) Current() (*local.Directory, bool) { return f.dir.Load(), !f.stale.Load() }

func (f *runtimeFake) Refresh(context.Context, func(*local.Directory) bool) (*local.Directory, error) {
	f.asked.Add(1)
	if f.refresh == nil {
		return f.dir.Load(), nil
	}
	dir, err := f.refresh()
	if err == nil {
		f.dir.Store(dir)
	}
	return dir, err
}

func (f *runtimeFake) Stats(context.Context, []*local.Container) map[string]*local.Stats {
	return f.stats
}
func (f *runtimeFake) Status() error { return f.statusOf }

// credentialsFake answers with fixed credentials or an error, and records who
// asked for what.
type credentialsFake struct {
	err   error
	keyID string

	mu    sync.Mutex
	asked []string
}

var _ handlers.Credentials = (*credentialsFake)(nil)

// The secrets that no log and no error may hold.
const (
	secretKey = "handlersTestSecretKey0000000000000000001"
	token     = "handlersTestSessionToken=="
)

var expiration = time.Date(2026, 6, 30, 23, 5, 12, 0, time.UTC)

func (f *credentialsFake) Credentials(_ context.Context, role local.Role, session string) (local.Credentials, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, role.String()+" for "+session)
	if f.err != nil {
		return local.Credentials{}, f.err
	}
	arn := role.ARN
	if role.Name != "" {
		arn = local.RoleARN("aws", "111122223333", role.Name)
	}
	return local.Credentials{RoleARN: arn, AccessKeyID: f.keyID, SecretAccessKey: secretKey, SessionToken: token, Expiration: expiration}, nil
}

// fixture is a handler over fakes, and what it logs.
type fixture struct {
	t           *testing.T
	runtime     *runtimeFake
	credentials *credentialsFake
	handler     http.Handler
	control     http.Handler
	log         *bytes.Buffer
}

const (
	webID   = "3c9410a72ad74e334b9687c3223c01e221de858fc67f7205c85a0b5bfa5ca3fa"
	redisID = "2b9d5e34565847ecaca78d798f48c622a8e41d11ada4c3b06c2de0691b8ead87"
	otherID = "0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	selfID  = "5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f"
)

func container(id, project, service, address string, state local.State) *local.Container {
	c := &local.Container{
		ID: id, EndpointID: local.EndpointID(id), Name: service, DockerName: project + "-" + service + "-1",
		Project: project, Service: service, Image: service + ":1", State: state, NetworkMode: project + "_default",
		CreatedAt: time.Date(2026, 6, 30, 17, 2, 5, 0, time.UTC), Type: "NORMAL",
	}
	if address != "" {
		c.Networks = []local.Network{{
			Name: "ecs-local", IPv4: netip.MustParseAddr(address), IPv4Gateway: netip.MustParseAddr("172.18.0.1"),
			IPv4Subnet: netip.MustParsePrefix("172.18.0.0/16"),
		}}
	}
	return c
}

func containers() []*local.Container {
	return []*local.Container{
		container(webID, "shop", "web", "172.18.0.3", local.Running),
		container(redisID, "shop", "redis", "", local.Exited),
		container(otherID, "blog", "web", "172.18.0.4", local.Running),
		container(selfID, "tools", "ecs-local", "172.18.0.2", local.Running),
	}
}

func newFixture(t *testing.T, allowedHosts ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, runtime: &runtimeFake{}, credentials: &credentialsFake{keyID: "ASIAEXAMPLEWEB000001"}, log: &bytes.Buffer{}}
	f.runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
	log := slog.New(slog.NewJSONHandler(&lockedWriter{w: f.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.handler = onceOnly{t, handlers.New(handlers.Deps{
		Runtime: f.runtime, Credentials: f.credentials, Documents: metadata.New(metadata.Options{}), AllowedHosts: allowedHosts, Log: log,
	})}
	f.control = onceOnly{t, handlers.NewControl(handlers.ControlDeps{
		Runtime: f.runtime, AllowedHosts: allowedHosts, Log: log,
		Metrics: func(w io.Writer) { _, _ = io.WriteString(w, "ecs_local_tasks 2\n") },
		Ready:   func() map[string]error { return map[string]error{"containers": f.runtime.Status()} },
		Status:  func() handlers.Status { return handlers.Status{Version: "v0", Runtime: "docker"} },
	})}
	t.Cleanup(func() {
		for _, secret := range []string{secretKey, token} {
			if strings.Contains(f.log.String(), secret) {
				t.Errorf("the log holds a secret")
			}
		}
	})
	return f
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// onceOnly fails the test when a handler answers twice.
type onceOnly struct {
	t    *testing.T
	next http.Handler
}

func (o onceOnly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.next.ServeHTTP(&onceWriter{ResponseWriter: w, t: o.t}, r)
}

type onceWriter struct {
	http.ResponseWriter
	t       *testing.T
	written bool
}

func (w *onceWriter) WriteHeader(status int) {
	if w.written {
		w.t.Errorf("a second WriteHeader(%d)", status)
	}
	w.written = true
	w.ResponseWriter.WriteHeader(status)
}

// call is one request and what must come back.
type call struct {
	name        string
	method      string // GET when empty
	path        string
	from        string // source address; that of shop's web when empty
	header      http.Header
	host        string // 169.254.170.2 when empty
	status      int
	contentType string // application/json when empty
	body        string // exact; not looked at when empty
	contains    string
}

// do sends a request to a handler as if from an address.
func (f *fixture) do(h http.Handler, c call) *httptest.ResponseRecorder {
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	r := httptest.NewRequest(method, c.path, nil)
	r.RemoteAddr = "172.18.0.3:40000"
	if c.from != "" {
		r.RemoteAddr = net.JoinHostPort(c.from, "40000")
	}
	r.Host = local.ECSAddress
	if c.host != "" {
		r.Host = c.host
	}
	for key, values := range c.header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (f *fixture) check(h http.Handler, calls []call) {
	f.t.Helper()
	for _, c := range calls {
		name := c.name
		if name == "" {
			name = c.path
		}
		f.t.Run(name, func(t *testing.T) {
			w := f.do(h, c)
			if w.Code != c.status {
				t.Errorf("status %d, want %d; body %s", w.Code, c.status, w.Body)
			}
			wantType := c.contentType
			if wantType == "" {
				wantType = "application/json"
			}
			if got := w.Header().Get("Content-Type"); got != wantType {
				t.Errorf("Content-Type %q, want %q", got, wantType)
			}
			if c.body != "" {
				if diff := cmp.Diff(c.body, w.Body.String()); diff != "" {
					t.Errorf("body (-want +got):\n%s", diff)
				}
			}
			if !strings.Contains(w.Body.String(), c.contains) {
				t.Errorf("body %s does not contain %q", w.Body, c.contains)
			}
		})
	}
}

// Check 7 of the agent's own: v2 by source address for task, container and
// tags; v3 and v4 by endpoint id.
func TestMetadataIsThatOfTheCaller(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	containersOf := func(body []byte) []string {
		var doc struct{ Containers []struct{ DockerID string } }
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("not a task document: %v: %s", err, body)
		}
		var ids []string
		for _, c := range doc.Containers {
			ids = append(ids, c.DockerID)
		}
		return ids
	}
	for _, path := range []string{"/v3", "/v4", "/v3/", "/v4/", "/v4//", "/v3/containers/shop-web-1", "/v4/containers/shop-web", "/v4/containers/web", "/v4/shop-web-1",
		"/v4/" + local.EndpointID(webID), "/v3/" + local.EndpointID(webID) + "/", "/v4/" + webID, "/v4/" + webID[:12], "/v2/metadata/" + webID, "/v2/metadata/web/"} {
		var doc struct{ DockerID string }
		w := f.do(f.handler, call{path: path})
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.DockerID != webID || w.Code != http.StatusOK {
			t.Errorf("%s: status %d, container %q, want shop's web", path, w.Code, doc.DockerID)
		}
	}
	for _, path := range []string{"/v2/metadata", "/v2/metadata/", "/v2/metadataWithTags", "/v3/task", "/v4/task", "/v4/task/", "/v4/taskWithTags",
		"/v3/containers/web/task", "/v4/containers/shop-redis-1/taskWithTags/", "/v4/" + local.EndpointID(redisID) + "/task"} {
		w := f.do(f.handler, call{path: path})
		if diff := cmp.Diff([]string{redisID, webID}, sorted(containersOf(w.Body.Bytes()))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	other := f.do(f.handler, call{path: "/v4/task", from: "172.18.0.4"})
	if diff := cmp.Diff([]string{otherID}, containersOf(other.Body.Bytes())); diff != "" {
		t.Errorf("the other project's task (-want +got):\n%s", diff)
	}
	mapped := f.do(f.handler, call{path: "/v4", from: "::ffff:172.18.0.4"})
	if !strings.Contains(mapped.Body.String(), otherID) {
		t.Errorf("an IPv4-mapped caller got %s", mapped.Body)
	}
	forged := f.do(f.handler, call{path: "/v4", header: http.Header{"X-Forwarded-For": {"172.18.0.4"}, "X-Real-Ip": {"172.18.0.4"}, "Forwarded": {"for=172.18.0.4"}}})
	if !strings.Contains(forged.Body.String(), webID) {
		t.Errorf("a forwarding header changed who is calling: %s", forged.Body)
	}
}

func sorted(s []string) []string {
	for i := range s {
		for j := i + 1; j < len(s); j++ {
			if s[j] < s[i] {
				s[i], s[j] = s[j], s[i]
			}
		}
	}
	return s
}

// Check 7 of the agent's own: every error text that can occur here.
func TestMetadataErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const stranger = "172.18.0.99"
	unknown := func(version, what string) string {
		return `"` + version + ` ` + what + ` handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: nobody"`
	}
	f.check(f.handler, []call{
		{path: "/v3/nobody", status: 500, body: `"V3 container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: nobody"`},
		{path: "/v4/nobody", status: 404, body: `"V4 container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: nobody"`},
		{path: "/v4/containers/nobody", status: 404, contains: "endpoint ID: nobody: no container is called \\\"nobody\\\""},
		{path: "/v3/containers/nobody/task/stats", status: 400, contains: "endpoint ID: nobody: no container is called \\\"nobody\\\""},
		{path: "/v3/nobody/task", status: 500, body: unknown("V3", "task metadata")},
		{path: "/v4/nobody/task", status: 404, body: unknown("V4", "task metadata")},
		{path: "/v4/nobody/taskWithTags", status: 404, body: unknown("V4", "task metadata")},
		{path: "/v3/nobody/stats", status: 400, body: unknown("V3", "container stats")},
		{path: "/v4/nobody/stats", status: 404, body: unknown("V4", "container stats")},
		{path: "/v3/nobody/task/stats", status: 400, body: unknown("V3", "task stats")},
		{path: "/v4/nobody/task/stats", status: 404, body: unknown("V4", "task stats")},
		{path: "/v2/metadata/nobody", status: 400, body: `"Unable to generate metadata for container 'nobody'"`},
		{name: "v2 container of another task", path: "/v2/metadata/" + otherID, status: 400, body: `"Unable to generate metadata for container '` + otherID + `'"`},
		{name: "v2 container asked for from the host", path: "/v2/metadata/" + otherID, from: "127.0.0.1", status: 200, contains: otherID},
		{name: "v2 stats of another task", path: "/v2/stats/" + otherID, status: 400, body: `"Unable to get container stats for: ` + otherID + `"`},
		{name: "v2 stats of a stopped container", path: "/v2/stats/" + redisID, status: 400, body: `"Unable to get container stats for: ` + redisID + `"`},
		{name: "v3 stats of a stopped container", path: "/v3/redis/stats", status: 400, body: `"Unable to get container stats for: ` + redisID + `"`},
		{name: "v4 stats of a stopped container", path: "/v4/redis/stats", status: 500, body: `"Unable to get container stats for: ` + redisID + `"`},
		{name: "several match", path: "/v4/containers/web-1", from: stranger, status: 400, contains: "blog-web-1"},
		{name: "unknown caller v4", path: "/v4", from: stranger, status: 404, contains: "no container has the address 172.18.0.99 (looked at network ecs-local)"},
		{name: "unknown caller v3", path: "/v3/task", from: stranger, status: 404, contains: "/v4/containers/NAME"},
		{name: "unknown caller v2", path: "/v2/metadata", from: stranger, status: 400, contains: "Unable to get task arn from request: unable to associate '172.18.0.99' with task: "},
		{name: "unknown caller v2, with an id", path: "/v2/metadata/" + webID, from: stranger, status: 400, contains: "unable to associate '172.18.0.99' with task: "},
		{name: "unknown caller v2, with an id, for stats", path: "/v2/stats/" + webID, from: stranger, status: 400, contains: "unable to associate '172.18.0.99' with task: "},
		{name: "the host through a published port", path: "/v4", from: "172.18.0.1", status: 404, contains: "gateway of network"},
		{name: "this machine", path: "/v4", from: "127.0.0.1", status: 404, contains: "this machine itself"},
		{name: "ecs-local itself", path: "/v4", from: "172.18.0.2", status: 404, contains: "172.18.0.2"},
		{path: "/v4/task/nonsense", status: 404, contentType: "text/plain; charset=utf-8", body: "404 page not found\n"},
		{path: "/", status: 404, contentType: "text/plain; charset=utf-8", body: "404 page not found\n"},
	})
}

func TestAMissAsksTheRuntimeOnce(t *testing.T) {
	t.Parallel()

	t.Run("a container that was not known yet", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		fresh := container(strings.Repeat("f", 64), "late", "app", "172.18.0.50", local.Running)
		f.runtime.refresh = func() (*local.Directory, error) {
			return local.NewDirectory(append(containers(), fresh), selfID, local.Facts{}), nil
		}
		w := f.do(f.handler, call{path: "/v4", from: "172.18.0.50"})
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), fresh.ID) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if n := f.runtime.asked.Load(); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
	})

	t.Run("a name, from a container that was not known yet", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		fresh := container(strings.Repeat("f", 64), "late", "blog", "172.18.0.50", local.Running)
		f.runtime.refresh = func() (*local.Directory, error) {
			return local.NewDirectory(append(containers(), fresh), selfID, local.Facts{}), nil
		}
		w := f.do(f.handler, call{path: "/v4/containers/blog", from: "172.18.0.50"})
		if !strings.Contains(w.Body.String(), fresh.ID) {
			t.Errorf("its own service is meant, not another project's container: %s", w.Body)
		}
	})

	t.Run("one of those that share the network of ecs-local, while another may have started just now", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		sharing := func(hex string, state local.State) *local.Container {
			c := container(strings.Repeat(hex, 64), "late", "app"+hex, "", state)
			c.NetworkMode, c.SharesWith = "container:"+selfID, selfID
			return c
		}
		first := sharing("e", local.Running)
		f.runtime.dir.Store(local.NewDirectory(append(containers(), first), selfID, local.Facts{}))
		if w := f.do(f.handler, call{path: "/v4", from: "127.0.0.1"}); !strings.Contains(w.Body.String(), first.ID) || f.runtime.asked.Load() != 0 {
			t.Errorf("alone: %d refreshes: %s", f.runtime.asked.Load(), w.Body)
		}
		f.check(f.control, []call{
			{name: "it is a container of a task", path: "/v1/tasks", from: "172.18.0.2", status: 403, contains: "late-appe-1"},
			{name: "loopback is answered, for the health check", path: "/healthz", from: "127.0.0.1", status: 200},
		})
		f.runtime.dir.Store(local.NewDirectory(append(containers(), first, sharing("d", local.Running)), selfID, local.Facts{}))
		f.do(f.handler, call{path: "/creds", from: "127.0.0.1"})
		if diff := cmp.Diff([]string{"session for late"}, f.credentials.asked); diff != "" {
			t.Errorf("who asked, when it may be any container of a task (-want +got):\n%s", diff)
		}
		stranger := container(strings.Repeat("c", 64), "elsewhere", "app", "", local.Running)
		stranger.NetworkMode, stranger.SharesWith = "container:"+selfID, selfID
		f.runtime.dir.Store(local.NewDirectory(append(containers(), first, stranger), selfID, local.Facts{}))
		f.check(f.control, []call{{name: "it is a container of one task or another", path: "/v1/tasks", from: "172.18.0.2", status: 403, contains: "does not answer containers of a task: "}})
		f.runtime.dir.Store(local.NewDirectory(append(containers(), first, sharing("f", local.Created)), selfID, local.Facts{}))
		f.runtime.refresh = func() (*local.Directory, error) {
			return local.NewDirectory(append(containers(), first, sharing("f", local.Running)), selfID, local.Facts{}), nil
		}
		if w := f.do(f.handler, call{path: "/v4", from: "127.0.0.1"}); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "late-appf-1") {
			t.Errorf("it may have been either: status %d: %s", w.Code, w.Body)
		}
		for name, before := range map[string]*local.Directory{
			"the second": local.NewDirectory(append(containers(), first), selfID, local.Facts{}).Incomplete(),
			"the first":  local.NewDirectory(containers(), selfID, local.Facts{}).Incomplete(),
		} {
			f.runtime.dir.Store(before)
			asked := f.runtime.asked.Load()
			if w := f.do(f.handler, call{path: "/v4", from: "127.0.0.1"}); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "late-appf-1") || f.runtime.asked.Load() != asked+1 {
				t.Errorf("%s is not known yet: status %d, %d refreshes: %s", name, w.Code, f.runtime.asked.Load()-asked, w.Body)
			}
		}
	})

	t.Run("nothing is asked for who is known, nor for the host", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.do(f.handler, call{path: "/v4"})
		f.do(f.handler, call{path: "/v4", from: "172.18.0.1"})
		f.do(f.handler, call{path: "/v4", from: "127.0.0.1"})
		if n := f.runtime.asked.Load(); n != 0 {
			t.Errorf("%d refreshes, want 0", n)
		}
	})

	t.Run("a hit is not trusted while the runtime is not in sync", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.runtime.stale.Store(true)
		successor := container(strings.Repeat("e", 64), "late", "app", "172.18.0.3", local.Running)
		f.runtime.refresh = func() (*local.Directory, error) {
			return local.NewDirectory([]*local.Container{successor}, "", local.Facts{}), nil
		}
		if w := f.do(f.handler, call{path: "/v4"}); !strings.Contains(w.Body.String(), successor.ID) {
			t.Errorf("the address now belongs to another container, but the answer is %s", w.Body)
		}
	})

	t.Run("what was last known is served while the runtime is away", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.runtime.stale.Store(true)
		f.runtime.refresh = func() (*local.Directory, error) {
			return nil, local.Errorf(local.Unavailable, "the Docker engine does not answer: start it")
		}
		if w := f.do(f.handler, call{path: "/v4"}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), webID) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		w := f.do(f.handler, call{path: "/v4", from: "172.18.0.77"})
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "start it") {
			t.Errorf("an unknown caller got status %d: %s", w.Code, w.Body)
		}
	})
}

func TestADocumentChangesWithTheSnapshot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.do(f.handler, call{path: "/v4/task"}).Body.String()
	again := f.do(f.handler, call{path: "/v4/task"}).Body.String()
	if before != again {
		t.Errorf("the same snapshot gave two documents")
	}
	f.runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{Cluster: "renamed"}))
	after := f.do(f.handler, call{path: "/v4/task"}).Body.String()
	if !strings.Contains(after, `"Cluster":"renamed"`) {
		t.Errorf("after a change: %s", after)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runtime.stats = map[string]*local.Stats{webID: {
		JSON:  []byte(`{"read":"2026-06-30T17:05:12.004771203Z","id":"` + webID + `","networks":{"eth0":{"rx_bytes":1}}}`),
		Rates: &local.NetworkRates{RxBytesPerSec: 219.5},
	}}
	for path, want := range map[string]string{
		"/v4/task/stats":     `"network_rate_stats":{"rx_bytes_per_sec":219.5,"tx_bytes_per_sec":0}`,
		"/v4/stats":          `"network_rate_stats":`,
		"/v4/web/stats/":     `"network_rate_stats":`,
		"/v3/stats":          `"rx_bytes":1`,
		"/v3/task/stats":     `"` + redisID + `":null`,
		"/v2/stats":          `"` + redisID + `":null`,
		"/v2/stats/" + webID: `"read":"2026-06-30T17:05:12.004771203Z"`,
	} {
		w := f.do(f.handler, call{path: path})
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: status %d, want %s in %s", path, w.Code, want, w.Body)
		}
		if strings.HasPrefix(path, "/v4/task") && !strings.Contains(w.Body.String(), `"`+redisID+`":{}`) {
			t.Errorf("%s: the stopped container must be {}: %s", path, w.Body)
		}
		if !strings.HasPrefix(path, "/v4") && strings.Contains(w.Body.String(), "network_rate_stats") {
			t.Errorf("%s has rates, which are v4's", path)
		}
		if strings.Contains(w.Body.String(), otherID) {
			t.Errorf("%s shows another project's container", path)
		}
	}
	f.runtime.stats = map[string]*local.Stats{webID: {JSON: []byte(`{"read":"2026-06-30T17:05:13.004771203Z","id":"` + webID + `","networks":{"eth0":{"rx_bytes":2}}}`)}}
	for _, path := range []string{"/v4/task/stats", "/v4/stats", "/v2/stats"} {
		f.check(f.handler, []call{{name: "the next sample: " + path, path: path, status: 200, contains: `"rx_bytes":2`}})
	}
	f.runtime.stats = nil
	f.check(f.handler, []call{
		{name: "no sample yet of the task", path: "/v4/task/stats", status: 200, contains: `"` + webID + `":{}`},
		{name: "no sample yet v3", path: "/v3/stats", status: 200, body: "null"},
		{name: "no sample yet v4", path: "/v4/stats", status: 200, body: "{}"},
	})
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answer := func(arn string) string {
		return `{"RoleArn":"` + arn + `","AccessKeyId":"ASIAEXAMPLEWEB000001","SecretAccessKey":"` + secretKey + `","Token":"` + token + `","Expiration":"2026-06-30T23:05:12Z"}`
	}
	f.check(f.handler, []call{
		{path: "/creds", status: 200, body: answer("")},
		{path: "/creds/", status: 200, body: answer("")},
		{path: "/role/app", status: 200, body: answer("arn:aws:iam::111122223333:role/app")},
		{path: "/role/app/", status: 200, body: answer("arn:aws:iam::111122223333:role/app")},
		{path: "/role/team/app", status: 200, body: answer("arn:aws:iam::111122223333:role/team/app")},
		{path: "/role/arn%3Aaws%3Aiam%3A%3A444455556666%3Arole%2Fteam%2Fapp", status: 200, body: answer("arn:aws:iam::444455556666:role/team/app")},
		{path: "/role/arn:aws:iam::444455556666:role/app", status: 200, body: answer("arn:aws:iam::444455556666:role/app")},
		{path: "/role-arn/arn:aws:iam::444455556666:role/team/app", status: 200, body: answer("arn:aws:iam::444455556666:role/team/app")},
		{path: "/role-arn/arn%3Aaws-cn%3Aiam%3A%3A444455556666%3Arole%2Fapp", status: 200, body: answer("arn:aws-cn:iam::444455556666:role/app")},
		{path: "/role-arn/app", status: 400, contains: `{"code":"Invalid","message":"\"app\" is not the ARN of a role: it looks like arn:aws:iam::111122223333:role/name","HTTPErrorCode":400}`},
		{path: "/role/arn:aws:sts::444455556666:assumed-role/app", status: 400, contains: "is not the ARN of a role"},
		{path: "/role/no%20spaces", status: 400, contains: "is not a role name"},
		{path: "/role/team%252Fapp", status: 400, contains: "encoded once too often"},
		{path: "/role", status: 400, contains: `{"code":"Invalid","message":"\"\" is not a role name: use 1 to 64`},
		{path: "/role/", status: 400, contains: "is not a role name"},
		{path: "/role-arn", status: 400, contains: "is not the ARN of a role"},
		{path: "/role-arn/", status: 400, contains: "is not the ARN of a role"},
		{name: "POST", method: "POST", path: "/creds", status: 405, body: `{"code":"MethodNotAllowed","message":"POST is not allowed here: ask for credentials with GET","HTTPErrorCode":405}`},
		{name: "PUT", method: "PUT", path: "/role/app", status: 405, contains: "MethodNotAllowed"},
	})

	head := f.do(f.handler, call{method: "HEAD", path: "/creds"})
	if head.Code != http.StatusOK || head.Body.Len() != 0 || head.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: status %d, length %s, body %q", head.Code, head.Header().Get("Content-Length"), head.Body)
	}
	f.do(f.handler, call{path: "/creds", from: "127.0.0.1"})
	f.credentials.mu.Lock()
	defer f.credentials.mu.Unlock()
	if diff := cmp.Diff("session for shop-web-1", f.credentials.asked[0]); diff != "" {
		t.Errorf("who asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("session for ", f.credentials.asked[len(f.credentials.asked)-1]); diff != "" {
		t.Errorf("who asked from the host (-want +got):\n%s", diff)
	}
}

func TestCredentialErrorsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err    error
		status int
		body   string
	}{
		{&local.Error{Code: local.Denied, Name: "AccessDenied", Msg: "let the role trust you", Err: errors.New("cause with " + secretKey[:0])}, 403, `{"code":"AccessDenied","message":"let the role trust you","HTTPErrorCode":403}`},
		{local.Errorf(local.Unavailable, "STS does not answer"), 503, `{"code":"Unavailable","message":"STS does not answer","HTTPErrorCode":503}`},
		{local.Errorf(local.Timeout, "STS took too long"), 504, `{"code":"Timeout","message":"STS took too long","HTTPErrorCode":504}`},
		{errors.New("something unforeseen"), 500, `{"code":"Internal","message":"internal error; the log of ecs-local says more","HTTPErrorCode":500}`},
	} {
		f := newFixture(t)
		f.credentials.err = row.err
		f.check(f.handler, []call{{name: row.body, path: "/role/app", status: row.status, body: row.body}})
		if !strings.Contains(f.log.String(), row.err.Error()) {
			t.Errorf("the log does not hold the cause %q: %s", row.err, f.log)
		}
	}
}

func TestOneLogLinePerRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do(f.handler, call{path: "/v4/" + local.EndpointID(webID) + "/task"})
	f.do(f.handler, call{path: "/creds"})
	f.do(f.handler, call{path: "/role/team/app"})
	f.do(f.handler, call{path: "/v4", from: "172.18.0.99"})
	var lines []map[string]any
	for line := range strings.Lines(f.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"time", "duration", "error", "remote", "level"} {
			delete(fields, key)
		}
		lines = append(lines, fields)
	}
	want := []map[string]any{
		{"msg": "request", "family": "metadata", "route": "/v4/{id}/task", "method": "GET", "status": 200.0, "container": "shop-web-1", "task": "shop"},
		{"msg": "request", "family": "credentials", "route": "/creds", "method": "GET", "status": 200.0, "container": "shop-web-1", "task": "shop"},
		{"msg": "request", "family": "credentials", "route": "/role/{role:.+}", "method": "GET", "status": 200.0, "container": "shop-web-1", "task": "shop"},
		{"msg": "request", "family": "metadata", "route": "/v4", "method": "GET", "status": 404.0},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAClientThatLeavesIsNoErrorInTheLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.credentials.err = context.Canceled
	for _, left := range []bool{false, true} {
		f.log.Reset()
		ctx, cancel := context.WithCancel(t.Context())
		if left {
			cancel()
		}
		f.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/role/app", nil))
		cancel()
		if isError := strings.Contains(f.log.String(), `"level":"ERROR"`); isError == left {
			t.Errorf("the client has left: %t; the log: %s", left, f.log)
		}
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "ecs.example.test")
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	calls := []call{
		{name: "address", host: "169.254.170.2", status: 200},
		{name: "address with port", host: "127.0.0.1:51679", status: 200},
		{name: "IPv6 address", host: "[::1]:51679", status: 200},
		{name: "localhost", host: "localhost:51679", status: 200},
		{name: "service name", host: "ecs-local", status: 200},
		{name: "host.docker.internal", host: "host.docker.internal", status: 200},
		{name: "names end with a dot", host: "host.docker.internal.:80", status: 200},
		{name: "address that ends with a dot", host: "127.0.0.1.", status: 200},
		{name: "IPv6 address with a zone", host: "[fe80::1%25eth0]:80", status: 200},
		{name: "listed", host: "ECS.example.test:80", status: 200},
		{name: "listed, with a dot at the end", host: "ecs.example.test.", status: 200},
		{name: "a name of which a listed one is a part", host: "ecs.example.test.attacker.example", status: 403},
		{name: "a name that a listed one is a part of", host: "my.ecs.example.test", status: 403},
		{name: "another dot", host: "attacker。example", status: 403},
		{name: "brackets", host: "[attacker.example]", status: 403},
		{name: "two ports", host: "attacker.example:80:80", status: 403},
		{name: "upper case, dot at the end", host: "ATTACKER.EXAMPLE.:80", status: 403},
		{name: "DNS rebinding", host: "attacker.example:51679", status: 403, contains: "--allowed-hosts"},
		{name: "a long name", host: strings.Repeat("a", 300) + ".example", status: 403, contains: strings.Repeat("a", 80) + "…"},
		{name: "DNS rebinding with an address inside the name", host: "169.254.170.2.attacker.example", status: 403, contains: "--allowed-hosts"},
		{name: "own origin", host: "localhost:51679", header: header("Origin", "http://localhost:51679"), status: 200},
		{name: "foreign origin", header: header("Origin", "https://attacker.example"), status: 403, contains: "--allowed-hosts"},
		{name: "null origin", header: header("Origin", "null"), status: 403},
		{name: "origin on another port", host: "localhost:51679", header: header("Origin", "http://localhost:8080"), status: 403},
		{name: "listed origin", header: header("Origin", "https://ecs.example.test", "Sec-Fetch-Site", "cross-site"), status: 200},
		{name: "cross-site form", method: "POST", header: header("Sec-Fetch-Site", "cross-site"), status: 403},
		{name: "same-site image", header: header("Sec-Fetch-Site", "same-site"), status: 403},
		{name: "typed into the browser", header: header("Sec-Fetch-Site", "none"), status: 200},
	}
	for _, path := range []string{"/v4", "/creds", "/nonsense"} {
		for _, c := range calls {
			t.Run(path+" "+c.name, func(t *testing.T) {
				c.path = path
				got := f.do(f.handler, c)
				if refused := got.Code == http.StatusForbidden; refused != (c.status == 403) {
					t.Errorf("status %d, want refused %v", got.Code, c.status == 403)
				}
				if !strings.Contains(got.Body.String(), c.contains) {
					t.Errorf("body %s does not contain %q", got.Body, c.contains)
				}
			})
		}
	}
	old := httptest.NewRequest(http.MethodGet, "/creds", nil)
	old.RemoteAddr, old.Host = "172.18.0.3:40000", "" // HTTP/1.0, which no browser speaks
	answer := httptest.NewRecorder()
	if f.handler.ServeHTTP(answer, old); answer.Code != http.StatusOK {
		t.Errorf("without a Host header: status %d", answer.Code)
	}
	if got := f.do(f.control, call{path: "/v1/tasks", from: "127.0.0.1", host: "attacker.example"}); got.Code != http.StatusForbidden {
		t.Errorf("the control API answers a foreign host name: %d", got.Code)
	}
}

func TestTheLogSaysWhoReadsInstanceMetadata(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	log := slog.New(slog.NewJSONHandler(&lockedWriter{w: f.log}, nil))
	h := handlers.New(handlers.Deps{Runtime: f.runtime, Credentials: f.credentials, Documents: metadata.New(metadata.Options{}), IMDS: newService(t, imds.Config{}), Log: log})
	for _, from := range []string{"172.18.0.3", "127.0.0.1"} {
		f.do(h, call{path: "/latest/meta-data/", from: from, status: 200})
	}
	got := []bool{}
	for line := range strings.Lines(f.log.String()) {
		got = append(got, strings.Contains(line, `"container":"shop-web-1","task":"shop"`))
	}
	if diff := cmp.Diff([]bool{true, false}, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, f.log)
	}
}

func TestARefusedRequestHasALineInTheLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do(f.handler, call{path: "/creds", from: "172.18.0.3", host: "attacker.example"})
	f.do(f.control, call{path: "/v1/tasks", from: "172.18.0.3"})
	f.do(f.control, call{path: "/v1/tasks", from: "127.0.0.1", host: "attacker.example"})
	f.do(f.handler, call{path: "/nonsense", from: "172.18.0.3"})
	var got []string
	for line := range strings.Lines(f.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if _, ok := fields["duration"].(float64); !ok {
			t.Errorf("no duration in %s", line)
		}
		got = append(got, fmt.Sprint(fields["msg"], " ", fields["family"], " ", fields["route"], " ", fields["status"], " ", fields["container"], " ", fields["task"]))
	}
	want := []string{
		"request refused ecs none 403 shop-web-1 shop",
		"request refused control none 403 shop-web-1 shop",
		"request refused control none 403 <nil> <nil>",
		"request ecs none 404 shop-web-1 shop",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheIMDSAddressServesNothingOfECS(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := httptest.NewRequest(http.MethodGet, "/creds", nil)
	r.Host, r.RemoteAddr = local.IMDSAddress, "172.18.0.3:40000"
	at := &net.TCPAddr{IP: net.ParseIP(local.IMDSAddress), Port: 80}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at))))
	if w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), secretKey) {
		t.Errorf("status %d", w.Code)
	}
}

// Without Docker whoever asks is taken for the configured container: also the
// host, through a published port of the image.
func TestControlAnswersTheHostWithoutDocker(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		containers []*local.Container
		from       string
		status     int
	}{
		"the built-in task":              {[]*local.Container{{ID: "a1", Name: "app", DockerName: "local-app-1", Project: "local"}}, "172.17.0.1", 200},
		"several containers":             {[]*local.Container{{ID: "a1", Name: "app", DockerName: "a", Project: "local"}, {ID: "b1", Name: "b", DockerName: "b", Project: "local"}}, "172.17.0.1", 200},
		"a container with an address":    {containers()[:1], "172.18.0.3", 403},
		"beside one that has an address": {containers()[:1], "172.17.0.1", 200},
	} {
		f := newFixture(t)
		f.runtime.dir.Store(local.NewDirectory(test.containers, "", local.Facts{}).Static())
		f.check(f.control, []call{{name: name, path: "/v1/status", from: test.from, status: test.status}})
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const host = "172.18.0.1"
	f.check(f.control, []call{
		{path: "/healthz", from: host, status: 200, body: `{"status":"ok"}`},
		{path: "/readyz", from: host, status: 200, body: `{"ready":true,"parts":{"containers":{"ready":true}}}`},
		{path: "/metrics", from: host, status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: "ecs_local_tasks 2\n"},
		{name: "a task container asks for metrics", path: "/metrics", from: "172.18.0.3", status: 403},
		{path: "/v1/status", from: host, status: 200, contains: `"runtime":"docker","containers":4,"tasks":2`},
		{path: "/v1/tasks", from: "127.0.0.1", status: 200, contains: `"ECS_CONTAINER_METADATA_URI_V4":"http://169.254.170.2/v4/` + local.EndpointID(webID) + `"`},
		{path: "/v1/tasks/", from: "127.0.0.1", status: 200, contains: `"addresses":{"ecs-local":"172.18.0.3"}`},
		{path: "/v1/nonsense", from: host, status: 404, contains: `"code":"NotFound"`},
		{name: "POST", method: "POST", path: "/v1/status", from: host, status: 405, body: `{"code":"MethodNotAllowed","message":"POST is not allowed here: use GET"}`},
		{name: "a task container", path: "/v1/tasks", from: "172.18.0.3", status: 403, contains: "you are shop-web-1"},
		{name: "a task container asks for health", path: "/healthz", from: "::ffff:172.18.0.3", status: 403},
		{name: "credentials are not here", path: "/creds", from: host, status: 404, contains: "NotFound"},
	})
	f.runtime.statusOf = local.Errorf(local.Unavailable, "the Docker engine does not answer: start it")
	f.check(f.control, []call{
		{name: "not ready", path: "/readyz", from: host, status: 503, body: `{"ready":false,"parts":{"containers":{"ready":false,"reason":"the Docker engine does not answer: start it"}}}`},
	})
}

func TestCredentialsAreEncodedAnewWhenTheyChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.do(f.handler, call{path: "/role/app"}).Body.String()
	for i := range 1000 { // more roles than are kept
		path := "/role/app" + strconv.Itoa(i)
		if body := f.do(f.handler, call{path: path}).Body.String(); !strings.Contains(body, `:role/app`+strconv.Itoa(i)+`"`) {
			t.Fatalf("%s: %s", path, body[:60])
		}
	}
	if again := f.do(f.handler, call{path: "/role/app"}).Body.String(); again != first {
		t.Errorf("the same credentials gave another document")
	}
	f.credentials.mu.Lock()
	f.credentials.keyID = "ASIAEXAMPLEWEB000002"
	f.credentials.mu.Unlock()
	if body := f.do(f.handler, call{path: "/role/app"}).Body.String(); !strings.Contains(body, "ASIAEXAMPLEWEB000002") {
		t.Errorf("new credentials gave the old document")
	}
}
