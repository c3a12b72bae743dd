// Package dockertest is a Docker engine on the wire, for tests: it speaks the
// part of the Docker API that package docker uses, about containers that a
// test makes up or has recorded. Any other request fails the test.
// https://docs.docker.com/reference/api/engine/version/v1.41/
package dockertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/versions"
)

// Engine is the engine. Its methods may be used concurrently.
type Engine struct {
	// APIVersion is what ping answers; 1.41 when empty.
	APIVersion string
	// OldestAPIVersion is the oldest that is answered; any when empty.
	OldestAPIVersion string
	// SampleEvery is the time between two stats samples; a second when zero.
	SampleEvery time.Duration
	// OnDescribe is called when a container is asked about. A status other
	// than zero is the answer.
	OnDescribe func(id string) (status int)
	// OnList is the same for the list of containers.
	OnList func() (status int)

	t        testing.TB
	mu       sync.Mutex
	hosts    map[string]*container
	streams  map[chan []byte]filter
	requests []string
	broken   bool // events are refused
	failing  int  // status of all answers
	cutLists int  // that many lists end in the middle
	breaks   chan struct{}
	stats    map[string]int // open stats streams by container id
	cuts     chan struct{}  // closed when all stats streams end
	conns    int            // open connections of Dialer
	ticks    int64
}

// container is what the engine says about one container.
type container struct {
	listed    map[string]any
	described json.RawMessage
	ended     chan struct{} // closed when its process ends
	held      chan struct{} // closed when descriptions are given out again
	running   bool
}

// Container describes a made-up container.
type Container struct {
	ID        string
	Name      string
	State     string            // running when empty
	Networks  map[string]string // name → IPv4
	Labels    map[string]string
	StartedAt time.Time // 2026-11-21 08:00 UTC when zero
	Health    string    // healthy, unhealthy, starting; empty without a check
	Mode      string    // network mode; the first network when empty
	Memory    int64     // limit in bytes
	Command   []string
}

// ID returns a container id that begins with these hex digits.
func ID(begin string) string { return begin + strings.Repeat("0", 64-len(begin)) }

// New returns an engine without containers.
func New(t testing.TB) *Engine {
	return &Engine{t: t, hosts: map[string]*container{}, streams: map[chan []byte]filter{}, breaks: make(chan struct{}), cuts: make(chan struct{}), stats: map[string]int{}}
}

// Listen serves the engine on loopback until the test ends, and returns its
// address for DOCKER_HOST.
func (e *Engine) Listen() string {
	server := httptest.NewServer(e)
	e.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return "tcp://" + server.Listener.Addr().String()
}

// Dialer serves the engine in memory until stop is called, for tests in a
// synctest bubble.
func (e *Engine) Dialer() (dial func(context.Context, string, string) (net.Conn, error), stop func()) {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Hour, ConnState: e.count}
	go func() { _ = server.Serve(l) }()
	return l.dial, func() { _ = server.Close() }
}

func (e *Engine) count(_ net.Conn, state http.ConnState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch state {
	case http.StateNew:
		e.conns++
	case http.StateClosed:
		e.conns--
	case http.StateActive, http.StateIdle, http.StateHijacked:
	}
}

// Connections returns the number of open connections made with Dialer.
func (e *Engine) Connections() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conns
}

// pipes is a listener in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Put sets what the engine lists and describes, without an event.
func (e *Engine) Put(c Container) {
	e.PutListed(c)
	e.PutDescribed(c)
}

// PutListed sets only what the engine lists.
func (e *Engine) PutListed(c Container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.host(c.ID).listed = c.listed()
}

// PutDescribed sets only what the engine describes.
func (e *Engine) PutDescribed(c Container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.host(c.ID)
	h.described = c.described()
	h.setRunning(c.state() == "running" || c.state() == "paused")
}

// PutRecorded sets a recorded description, and a list entry made of it.
func (e *Engine) PutRecorded(described []byte) {
	var d struct {
		ID    string `json:"Id"`
		Name  string
		State struct {
			Status string
		}
		NetworkSettings struct{ Networks map[string]any }
	}
	if err := json.Unmarshal(described, &d); err != nil {
		e.t.Errorf("recorded container: %v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.host(d.ID)
	h.described = described
	h.listed = map[string]any{"Id": d.ID, "Names": []string{d.Name}, "State": d.State.Status, "NetworkSettings": map[string]any{"Networks": d.NetworkSettings.Networks}}
	h.setRunning(d.State.Status == "running")
}

// Remove forgets a container, without an event.
func (e *Engine) Remove(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.hosts[id]; h != nil {
		h.setRunning(false)
	}
	delete(e.hosts, id)
}

// Hold makes descriptions of the container wait until release is called, as
// they do while the real engine starts it.
func (e *Engine) Hold(id string) (release func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.host(id)
	h.held = make(chan struct{})
	return sync.OnceFunc(func() { close(h.held) })
}

func (e *Engine) host(id string) *container {
	h := e.hosts[id]
	if h == nil {
		h = &container{ended: make(chan struct{})}
		e.hosts[id] = h
	}
	return h
}

func (h *container) setRunning(running bool) {
	if h.running && !running {
		close(h.ended)
		h.ended = make(chan struct{})
	}
	h.running = running
}

// Event sends an event about a container to those who listen for it.
func (e *Engine) Event(action, id string, attributes ...string) {
	e.send("container", action, id, attributes)
}

// NetworkEvent sends a connect or disconnect event.
func (e *Engine) NetworkEvent(action, network, id string) {
	e.send("network", action, ID("ee"), []string{"container", id, "name", network, "type", "bridge"})
}

func (e *Engine) send(kind, action, id string, pairs []string) {
	attributes := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		attributes[pair[0]] = pair[1]
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ticks++
	line, err := json.Marshal(map[string]any{
		"Type": kind, "Action": action, "Actor": map[string]any{"ID": id, "Attributes": attributes},
		"scope": "local", "time": 1795229254, "timeNano": 1795229254_000000000 + e.ticks,
	})
	if err != nil {
		e.t.Errorf("event: %v", err)
	}
	line = append(line, '\n')
	for stream, f := range e.streams {
		if f.includes(kind, action) {
			stream <- line
		}
	}
}

// Break ends all event streams and refuses new ones until Mend.
func (e *Engine) Break() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken = true
	close(e.breaks)
	e.breaks = make(chan struct{})
}

// CutStats ends all stats streams.
func (e *Engine) CutStats() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.cuts)
	e.cuts = make(chan struct{})
}

// CutLists makes the next lists end in the middle, as many as that.
func (e *Engine) CutLists(count int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cutLists = count
}

// Mend is the end of Break and Fail.
func (e *Engine) Mend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken, e.failing = false, 0
}

// Fail answers everything with this status until Mend.
func (e *Engine) Fail(status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failing = status
}

// Requests returns the requests so far, as method and path without version.
func (e *Engine) Requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests)
}

// Count returns how many requests so far begin like this.
func (e *Engine) Count(begin string) int {
	n := 0
	for _, r := range e.Requests() {
		if strings.HasPrefix(r, begin) {
			n++
		}
	}
	return n
}

// Listeners returns the number of open event streams.
func (e *Engine) Listeners() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.streams)
}

// StatsStreams returns the number of open stats streams of a container.
func (e *Engine) StatsStreams(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats[id]
}

var (
	versioned = regexp.MustCompile(`^/v(1\.\d+)(/.*)$`)
	ofOne     = regexp.MustCompile(`^/containers/([0-9a-f]{64})/(json|stats)$`)
)

// ServeHTTP answers the requests that package docker may make.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	var asked string
	if m := versioned.FindStringSubmatch(path); m != nil {
		asked, path = m[1], m[2]
	}
	e.mu.Lock()
	e.requests = append(e.requests, r.Method+" "+path)
	failing := e.failing
	version := e.APIVersion
	e.mu.Unlock()
	if version == "" {
		version = "1.41"
	}
	w.Header().Set("Api-Version", version)
	w.Header().Set("Ostype", "linux")
	if failing != 0 {
		refuse(w, failing, "the engine is out of order")
		return
	}
	if asked != "" && e.OldestAPIVersion != "" && versions.LessThan(asked, e.OldestAPIVersion) {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", asked, e.OldestAPIVersion))
		return
	}
	m := ofOne.FindStringSubmatch(path)
	switch {
	case path == "/_ping" && (r.Method == http.MethodHead || r.Method == http.MethodGet):
	case r.Method != http.MethodGet:
		e.forbid(w, r)
	case path == "/events":
		e.serveEvents(w, r)
	case path == "/containers/json":
		if r.URL.Query().Get("all") != "1" {
			e.t.Errorf("a list of the running containers only was asked for: %s", r.URL)
		}
		e.serveList(w)
	case m != nil && m[2] == "json":
		e.serveDescription(w, r, m[1])
	case m != nil:
		e.serveStats(w, r, m[1])
	default:
		e.forbid(w, r)
	}
}

func (e *Engine) forbid(w http.ResponseWriter, r *http.Request) {
	e.t.Errorf("a request that is not allowed: %s %s", r.Method, r.URL)
	refuse(w, http.StatusForbidden, "not allowed")
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

func answer(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

func (e *Engine) serveList(w http.ResponseWriter) {
	if e.OnList != nil {
		if status := e.OnList(); status != 0 {
			refuse(w, status, "the list is out of order")
			return
		}
	}
	e.mu.Lock()
	cut := e.cutLists > 0
	if cut {
		e.cutLists--
	}
	list := []any{}
	for _, h := range e.hosts {
		if h.listed != nil {
			list = append(list, h.listed)
		}
	}
	e.mu.Unlock()
	if cut {
		_, _ = w.Write([]byte("["))
		flush(w)
		panic(http.ErrAbortHandler)
	}
	answer(w, list)
}

func (e *Engine) serveDescription(w http.ResponseWriter, r *http.Request, id string) {
	if e.OnDescribe != nil {
		if status := e.OnDescribe(id); status != 0 {
			refuse(w, status, "the container is out of order")
			return
		}
	}
	e.mu.Lock()
	var held chan struct{}
	if h := e.hosts[id]; h != nil {
		held = h.held
	}
	e.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	e.mu.Lock()
	var described json.RawMessage
	if h := e.hosts[id]; h != nil {
		described = h.described
	}
	e.mu.Unlock()
	if described == nil {
		refuse(w, http.StatusNotFound, "No such container: "+id)
		return
	}
	answer(w, described)
}

// filter is the filters parameter of an event stream.
type filter map[string]map[string]bool

// includes compares as the engine does: beginnings, once health_status is in
// the filter.
func (f filter) includes(kind, action string) bool {
	if !f["type"][kind] {
		return false
	}
	for want := range f["event"] {
		if strings.HasPrefix(action, want) {
			return true
		}
	}
	return false
}

func (e *Engine) serveEvents(w http.ResponseWriter, r *http.Request) {
	var f filter
	if err := json.Unmarshal([]byte(r.URL.Query().Get("filters")), &f); err != nil {
		e.t.Errorf("event filters %q: %v", r.URL.Query().Get("filters"), err)
	}
	if r.URL.Query().Get("since") == "" {
		e.t.Error("an event stream without the moments before it was asked for")
	}
	stream := make(chan []byte, 4096)
	e.mu.Lock()
	broken, breaks := e.broken, e.breaks
	if !broken {
		e.streams[stream] = f
	}
	e.mu.Unlock()
	if broken {
		refuse(w, http.StatusInternalServerError, "the engine is out of order")
		return
	}
	defer func() {
		e.mu.Lock()
		delete(e.streams, stream)
		e.mu.Unlock()
	}()
	flush(w)
	for {
		select {
		case line := <-stream:
			_, _ = w.Write(line)
			flush(w)
		case <-breaks:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func (e *Engine) serveStats(w http.ResponseWriter, r *http.Request, id string) {
	if r.URL.Query().Get("stream") != "1" {
		e.t.Errorf("a single sample was asked for, which takes the engine two seconds: %s", r.URL)
	}
	e.mu.Lock()
	h := e.hosts[id]
	var running bool
	var ended chan struct{}
	if h != nil {
		running, ended = h.running, h.ended
	}
	e.stats[id]++
	every, cuts := e.SampleEvery, e.cuts
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.stats[id]--
		e.mu.Unlock()
	}()
	if h == nil {
		refuse(w, http.StatusNotFound, "No such container: "+id)
		return
	}
	if every == 0 {
		every = time.Second
	}
	flush(w)
	for n := 1; ; n++ {
		select {
		case <-time.After(every):
		case <-cuts:
			return
		case <-r.Context().Done():
			return
		}
		select {
		case <-ended:
			running = false
		default:
		}
		if !running {
			_, _ = fmt.Fprintf(w, `{"read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","name":"/x","id":%q}`+"\n", id)
			flush(w)
			continue
		}
		_, _ = fmt.Fprintf(w, `{"read":%q,"id":%q,"networks":{"eth0":{"rx_bytes":%d,"tx_bytes":%d},"eth1":{"rx_bytes":%d,"tx_bytes":0}}}`+"\n",
			time.Now().UTC().Format(time.RFC3339Nano), id, 1000*n, 100*n, 10*n)
		flush(w)
	}
}

func (c Container) state() string {
	if c.State == "" {
		return "running"
	}
	return c.State
}

func (c Container) networks() map[string]any {
	all := map[string]any{}
	for name, address := range c.Networks {
		all[name] = map[string]any{"IPAddress": address, "IPPrefixLen": 24, "Gateway": "", "NetworkID": ID("ee")}
	}
	return all
}

func (c Container) listed() map[string]any {
	return map[string]any{
		"Id": c.ID, "Names": []string{"/" + c.Name}, "State": c.state(), "Labels": c.Labels,
		"HostConfig":      map[string]any{"NetworkMode": c.mode()},
		"NetworkSettings": map[string]any{"Networks": c.networks()},
	}
}

func (c Container) mode() string {
	mode := c.Mode
	if mode == "" {
		for name := range c.Networks {
			mode = name
		}
	}
	return mode
}

func (c Container) described() json.RawMessage {
	started := c.StartedAt
	if started.IsZero() {
		started = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	}
	status := map[string]any{"Status": c.state(), "StartedAt": started.Format(time.RFC3339Nano), "FinishedAt": "0001-01-01T00:00:00Z"}
	config := map[string]any{"Image": "app", "Labels": c.Labels}
	if c.Health != "" {
		status["Health"] = map[string]any{"Status": c.Health}
		config["Healthcheck"] = map[string]any{"Test": []string{"CMD", "true"}}
	}
	command := append(slices.Clone(c.Command), "")
	raw, err := json.Marshal(map[string]any{
		"Id": c.ID, "Name": "/" + c.Name, "Created": "2026-11-21T07:59:59Z", "State": status, "Config": config,
		"Path": command[0], "Args": slices.DeleteFunc(command[1:], func(s string) bool { return s == "" }),
		"HostConfig":      map[string]any{"NetworkMode": c.mode(), "Memory": c.Memory},
		"NetworkSettings": map[string]any{"Networks": c.networks()},
	})
	if err != nil {
		return nil
	}
	return raw
}
