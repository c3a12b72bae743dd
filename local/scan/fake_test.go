package scan_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imdsclient"
	"github.com/ecs-local/ecs-local/local/scan"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	os.Exit(m.Run())
}

// What the tests are about.
const (
	shop    = "5f0c1b7e9a2d4c3e8b6a7d1f20394857"
	cart    = "9d3e7a51c2b84f06a1e5d8c7b6f40231"
	web     = shop + "-TaskApplication"
	exec    = shop + "-TaskExecution"
	cartWeb = cart + "-TaskApplication"
	t1      = "2026-06-30T17:00:00Z"
	t2      = "2026-06-30T18:00:00Z"
	// secret is part of every credential and token.
	secret = "S3CRET"
)

// object is an entry of an info file in its first format, code in the second.
func object(code string) any {
	entry := map[string]string{"RoleARN": "arn:aws:iam::111122223333:role/shop"}
	if code != "" {
		entry["Code"] = code
	}
	return entry
}

type entries = map[string]any

// info writes an info file.
func info(updated string, e entries) string {
	b, err := json.Marshal(map[string]any{"LastUpdated": updated, "TaskCredentials": e})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// keys writes credentials of a generation.
func keys(generation int) string {
	b, err := json.Marshal(map[string]string{
		"Code":            "Success",
		"AccessKeyId":     fmt.Sprintf("ASIA%s%d", secret, generation),
		"SecretAccessKey": fmt.Sprintf("%s/secret/%d", secret, generation),
		"Token":           fmt.Sprintf("%s/token/%d", secret, generation),
		"Expiration":      expiration(generation).Format(time.RFC3339),
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// expiration differs by generation.
func expiration(generation int) time.Time {
	return time.Date(2026, 6, 30, 23, 20, generation, 0, time.UTC)
}

// generationOf returns the generation of credentials that are exactly those
// that keys writes; -1 otherwise.
func generationOf(c local.Credentials) int {
	generation := c.Expiration.Second()
	want := local.Credentials{
		RoleARN:         c.RoleARN,
		AccessKeyID:     fmt.Sprintf("ASIA%s%d", secret, generation),
		SecretAccessKey: fmt.Sprintf("%s/secret/%d", secret, generation),
		SessionToken:    fmt.Sprintf("%s/token/%d", secret, generation),
		Expiration:      expiration(generation),
	}
	if c != want {
		return -1
	}
	return generation
}

// fake is an instance metadata service with namespaces.
type fake struct {
	mu       sync.Mutex
	listing  string            // beside the namespaces
	values   map[string]string // by path below meta-data
	status   map[string]int    // instead of the value
	before   func(path string) // of each read
	requests []string          // reads, by path below meta-data
	at       []time.Time
	tokens   int
}

func newFake() *fake {
	return &fake{listing: "ami-id\ninstance-id\n", values: map[string]string{}, status: map[string]int{}}
}

// namespace puts a namespace there: its info, and credentials of a generation
// for every entry that has none yet.
func (f *fake) namespace(name, updated string, e entries) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[name+"/info"] = info(updated, e)
	for key := range e {
		path := name + "/security-credentials/" + key
		if _, ok := f.values[path]; !ok {
			f.values[path] = keys(1)
		}
	}
}

// set replaces a value, fail makes reads of it answer a status, mend ends that.
func (f *fake) set(path, value string) { f.mu.Lock(); defer f.mu.Unlock(); f.values[path] = value }

func (f *fake) fail(path string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status[path] = status
}

func (f *fake) mend(path string) { f.mu.Lock(); defer f.mu.Unlock(); delete(f.status, path) }

// rotate makes credentials new; the info file is not changed.
func (f *fake) rotate(namespace, key string, generation int) {
	f.set(namespace+"/security-credentials/"+key, keys(generation))
}

// remove takes a namespace away.
func (f *fake) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.values, func(path, _ string) bool { return strings.HasPrefix(path, name+"/") })
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
		f.mu.Lock()
		f.tokens++
		f.mu.Unlock()
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		_, _ = io.WriteString(w, secret+"-token==")
		return
	}
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") != secret+"-token==" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/latest/meta-data"), "/")
	f.mu.Lock()
	f.requests, f.at = append(f.requests, path), append(f.at, time.Now())
	before := f.before
	f.mu.Unlock()
	if before != nil {
		before(path)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if status := f.status[path]; status != 0 {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, f.values[path]) // no client may show this
		return
	}
	value, ok := f.values[path]
	if path == "" && !ok {
		value, ok = f.listing+strings.Join(f.namespaces(), "\n"), true
	}
	if !ok {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, value)
}

func (f *fake) namespaces() []string {
	names := map[string]bool{}
	for path := range f.values {
		if name, _, ok := strings.Cut(path, "/"); ok {
			names[name+"/"] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// take returns what was read since the last call, with the root as "".
func (f *fake) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	requests := f.requests
	f.requests = nil
	return requests
}

// network is an address in memory: with it, synctest sees who waits.
type network struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error   { n.once.Do(func() { close(n.done) }); return nil }
func (n *network) Addr() net.Addr { return &net.TCPAddr{} }

func (n *network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case n.conns <- far:
		return near, nil
	case <-n.done:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
}

// serve makes a client of f over a network in memory.
func serve(t *testing.T, f *fake, opts imdsclient.Options) *imdsclient.Client {
	t.Helper()
	n := &network{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: f, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go func() { _ = server.Serve(n) }()
	t.Cleanup(func() { _ = server.Close() })
	opts.Dial = n.Dial
	client, err := imdsclient.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newScanner scans f without a limit, and fails the test if it logs a secret.
func newScanner(t *testing.T, f *fake) (*scan.Scanner, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	t.Cleanup(func() {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	})
	return scan.New(scan.Options{
		Client:  serve(t, f, imdsclient.Options{Attempts: 1, Timeout: time.Minute}), // an answer may take long on a busy machine
		Limiter: rate.NewLimiter(rate.Inf, 1),
		Log:     slog.New(slog.NewTextHandler(log, nil)),
	}), log
}

// lines shows a result without its secrets: credentials by generation.
func lines(r scan.Result) []string {
	short := strings.NewReplacer(shop, "shop", cart, "cart")
	var all []string
	say := func(format string, args ...any) { all = append(all, short.Replace(fmt.Sprintf(format, args...))) }
	for _, c := range r.Credentials {
		say("new %s %s v%d", c.Namespace, c.Key, generationOf(c.Credentials))
	}
	for _, e := range r.Denied {
		say("denied %s %s", e.Namespace, e.Key)
	}
	for _, name := range r.Unchanged {
		say("unchanged %s", name)
	}
	for _, e := range r.Gone {
		say("gone %s %s", e.Namespace, e.Key)
	}
	for _, name := range r.GoneNamespaces {
		say("gone %s", name)
	}
	for _, f := range r.Failures {
		name := f.Name
		if name == "" {
			name = "info"
		}
		say("failed %s %s", f.Namespace, name)
	}
	return all
}
