package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/client"
)

// A sidecar is a running ecs-local in a container, behind whose back every
// call to the engine is recorded.
type sidecar struct {
	id      string
	address string
	url     string // http://address
	control string // URL of the control listener
	engine  *recorder
}

// startSidecar starts ecs-local on a network, with its special addresses if
// the network has them, and waits until it is ready.
func startSidecar(t *testing.T, c *client.Client, s spec) sidecar {
	t.Helper()
	return startSidecarBehind(t, c, newRecorder(t, c.DaemonHost()), s)
}

func startSidecarBehind(t *testing.T, c *client.Client, r *recorder, s spec) sidecar {
	t.Helper()
	s.image = imageOf(t, sidecarImage)
	if s.name == "" {
		s.name = unique("sidecar")
	}
	s.env = append([]string{"DOCKER_HOST=unix:///engine/docker.sock", "ECS_LOCAL_CREDENTIALS=offline", "ECS_LOCAL_LOG_LEVEL=debug"}, s.env...)
	s.host.Binds = append(s.host.Binds, r.dir+":/engine")
	s.host.ReadonlyRootfs = true
	s.host.CapDrop = []string{"ALL"}
	id := started(t, c, s)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of ecs-local:\n%s", tail(logs(t, c, id), 60))
		}
	})
	owner := id
	if other, ok := strings.CutPrefix(s.mode, "container:"); ok {
		owner = other
	}
	address := addressOn(t, c, owner, s.networks[0].network)
	side := sidecar{id: id, address: address, url: "http://" + address, control: "http://" + address + ":51680", engine: r}
	ready(t, side.control)
	searchSidecarLater(t, c, id, side.control)
	return side
}

// ready waits until /readyz of a control listener says so.
func ready(t *testing.T, control string) {
	t.Helper()
	eventually(t, longest, func() error {
		status, body, err := readiness(control)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("/readyz: got %d %s (%w)", status, body, err)
		}
		return nil
	})
}

// readiness asks /readyz.
func readiness(control string) (int, string, error) {
	res, err := direct.Get(control + "/readyz")
	if err != nil {
		return 0, "", fmt.Errorf("get /readyz: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// allowedCalls are the calls to the engine that ecs-local may make: ping, list,
// inspect, stats and events.
var allowedCalls = regexp.MustCompile(`^(GET|HEAD) (/v[0-9.]+)?/(_ping|events|containers/json|containers/[^/]+/(json|stats))$`)

func TestRecorderKnowsWhichCallsToTheEngineAreAllowed(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]bool{
		"GET /_ping":                                true,
		"HEAD /_ping":                               true,
		"GET /v1.41/version":                        false,
		"GET /v1.41/containers/json":                true,
		"GET /v1.41/containers/0123456789ab/json":   true,
		"GET /v1.41/containers/0123456789ab/stats":  true,
		"GET /v1.41/events":                         true,
		"POST /v1.41/containers/create":             false,
		"POST /v1.41/containers/0123456789ab/json":  false,
		"DELETE /v1.41/containers/0123456789ab":     false,
		"GET /v1.41/containers/0123456789ab/logs":   false,
		"GET /v1.41/containers/0123456789ab/export": false,
		"GET /v1.41/images/json":                    false,
		"GET /v1.41/secrets":                        false,
		"GET /v1.41/containers/a/../../images/json": false,
	} {
		if got := allowedCalls.MatchString(call); got != want {
			t.Errorf("%s: got allowed %t, want %t", call, got, want)
		}
	}
}

// A recorder stands between ecs-local and the engine. It notes every call and
// every event, fails the test at its end if a call was not allowed, and can be
// cut.
type recorder struct {
	dir    string // holds docker.sock
	mu     sync.Mutex
	conns  map[net.Conn]bool
	calls  map[string]int // method and path without version
	told   map[happened]bool
	denied []string
	down   bool
}

// happened is what an event says of a container.
type happened struct {
	action events.Action
	id     string
}

func newRecorder(t *testing.T, daemon string) *recorder {
	t.Helper()
	to, err := url.Parse(daemon)
	if err != nil || to.Scheme != "unix" {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", fmt.Sprintf("the engine is at %s: this test needs its unix socket", daemon))
	}
	r := &recorder{dir: freeDir(t), conns: map[net.Conn]bool{}, calls: map[string]int{}, told: map[happened]bool{}}
	path := filepath.Join(r.dir, "docker.sock")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatalf("open socket to others: %v", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", "docker" },
		FlushInterval: -1,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", to.Path)
		}},
		ModifyResponse: func(res *http.Response) error {
			if strings.HasSuffix(res.Request.URL.Path, "/events") {
				res.Body = &overheard{ReadCloser: res.Body, recorder: r}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			r.note(req)
			proxy.ServeHTTP(w, req)
		}),
		ConnState:         r.track,
		ReadHeaderTimeout: longest,
	}
	go func() { _ = server.Serve(socket) }()
	t.Cleanup(func() {
		_ = server.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.denied) > 0 {
			t.Errorf("ecs-local made calls to the engine that are not on its list: %s", strings.Join(slices.Compact(r.denied), ", "))
		}
		if len(r.calls) == 0 {
			t.Error("ecs-local made no call to the engine through the recorder")
		}
	})
	return r
}

var apiVersion = regexp.MustCompile(`^/v[0-9.]+`)

func (r *recorder) note(req *http.Request) {
	call := req.Method + " " + req.URL.Path
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[req.Method+" "+apiVersion.ReplaceAllString(req.URL.Path, "")]++
	if !allowedCalls.MatchString(call) {
		r.denied = append(r.denied, call)
	}
}

// overheard is a stream of events on its way to ecs-local.
type overheard struct {
	io.ReadCloser
	recorder *recorder
	text     []byte // not noted yet
}

// Read notes what was read before: by now it has been handed on.
func (o *overheard) Read(p []byte) (int, error) {
	for {
		line, rest, whole := bytes.Cut(o.text, []byte("\n"))
		if !whole {
			break
		}
		o.text = rest
		o.recorder.tell(line)
	}
	n, err := o.ReadCloser.Read(p)
	o.text = append(o.text, p[:n]...)
	return n, err
}

func (r *recorder) tell(line []byte) {
	var m events.Message
	if json.Unmarshal(line, &m) != nil {
		return
	}
	id := m.Actor.ID
	if m.Type == events.NetworkEventType {
		id = m.Actor.Attributes["container"]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told[happened{m.Action, id}] = true
}

// waitTold waits until ecs-local has been sent the event that something
// happened to a container. Only from then on it can know.
func (r *recorder) waitTold(t *testing.T, action events.Action, id string) {
	t.Helper()
	eventually(t, longest, func() error { return r.hasTold(action, id) })
}

func (r *recorder) hasTold(action events.Action, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told[happened{action, id}] {
		return fmt.Errorf("the engine has sent no event %s of %.12s", action, id)
	}
	return nil
}

// count returns how often calls were made whose path ends so.
func (r *recorder) count(suffix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for call, times := range r.calls {
		if strings.HasSuffix(call, suffix) {
			n += times
		}
	}
	return n
}

func (r *recorder) track(conn net.Conn, state http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch state {
	case http.StateNew:
		r.conns[conn] = true
		if r.down {
			_ = conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		delete(r.conns, conn)
	case http.StateActive, http.StateIdle:
	}
}

// cut closes every connection. Until mend, new ones are closed too.
func (r *recorder) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	for conn := range r.conns {
		_ = conn.Close()
	}
}

func (r *recorder) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

// stopped ends a container as docker stop does, and waits until the engine has
// taken its addresses, which comes a moment after the end.
func stopped(t *testing.T, c *client.Client, id string) {
	t.Helper()
	seconds := 30
	if err := c.ContainerStop(within(t, longest), id, container.StopOptions{Timeout: &seconds}); err != nil {
		t.Fatalf("stop container: %v", err)
	}
	eventually(t, longest, func() error {
		info, err := c.ContainerInspect(within(t, longest), id)
		if err != nil {
			return fmt.Errorf("inspect container: %w", err)
		}
		for name, n := range info.NetworkSettings.Networks {
			if n != nil && n.IPAddress != "" {
				return fmt.Errorf("%s has ended and still has %s on %s", info.Name, n.IPAddress, name)
			}
		}
		return nil
	})
}

// soon is how long something may take that follows from a Docker event.
const soon = 30 * time.Second
