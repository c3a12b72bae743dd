package imdsclient_test

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imdsclient"
)

// tokenProcess makes the test binary one of the processes that share a token:
// it reads the value from this endpoint, with this directory, and ends.
var tokenProcess = flag.String("token-process", "", "endpoint|directory")

func TestMain(m *testing.M) {
	flag.Parse()
	if *tokenProcess != "" {
		endpoint, dir, _ := strings.Cut(*tokenProcess, "|")
		client, err := imdsclient.New(imdsclient.Options{Endpoint: endpoint, CacheDir: dir, Timeout: time.Minute, AttemptTimeout: 30 * time.Second})
		if err == nil {
			_, err = client.Get(context.Background(), "instance-id")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A client that used this would reach nothing.
	_ = os.Setenv("HTTP_PROXY", "http://192.0.2.1:9")
	_ = os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	os.Exit(m.Run())
}

// network is an address in memory: with it, synctest sees who waits.
type network struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newNetwork() *network { return &network{conns: make(chan net.Conn), done: make(chan struct{})} }

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error   { n.once.Do(func() { close(n.done) }); return nil }
func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(169, 254, 169, 254), Port: 80} }

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

// patience is how long a client takes that is not in a bubble: a busy machine
// may let a request wait for seconds, and a client with its usual limits would
// send another one.
const patience = 5 * time.Minute

// secret is in everything that must not be shown: tokens and values.
const secret = "S3CRET"

// fake is an instance metadata service: tokens, values, 404 for the rest. Each
// request goes through before first, which may answer itself.
type fake struct {
	mu       sync.Mutex
	values   map[string]string
	ttl      string // header of the token answer; "" for what was asked, "-" for none
	before   func(w http.ResponseWriter, r *http.Request) (done bool)
	requests []request
	tokens   map[string]time.Time
	issued   int
}

type request struct {
	method, path, token string
	at                  time.Time
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, request{r.Method, r.URL.Path, r.Header.Get("X-Aws-Ec2-Metadata-Token"), time.Now()})
	before := f.before
	f.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain")
	if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
		ttl, err := time.ParseDuration(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") + "s")
		if err != nil || ttl < 0 || ttl > 6*time.Hour {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f.issued++
		token := fmt.Sprintf("%s-token-%d==", secret, f.issued)
		if f.tokens == nil {
			f.tokens = map[string]time.Time{}
		}
		f.tokens[token] = time.Now().Add(ttl)
		if f.ttl != "-" {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", cmp.Or(f.ttl, r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds")))
		}
		_, _ = io.WriteString(w, token)
		return
	}
	if until, ok := f.tokens[r.Header.Get("X-Aws-Ec2-Metadata-Token")]; !ok || !time.Now().Before(until) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path := r.URL.Path
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	value, ok := f.values[path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<title>404 - Not Found</title>")
		return
	}
	_, _ = io.WriteString(w, value)
}

// seen returns the requests that came.
func (f *fake) seen() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// count returns how many requests came, by method.
func (f *fake) count(method string) int {
	n := 0
	for _, r := range f.seen() {
		if r.method == method {
			n++
		}
	}
	return n
}

func (f *fake) wantCounts(t *testing.T, puts, gets int) {
	t.Helper()
	if p, g := f.count(http.MethodPut), f.count(http.MethodGet); p != puts || g != gets {
		t.Errorf("%d token requests and %d reads, want %d and %d", p, g, puts, gets)
	}
}

// forget makes all tokens unknown, as if this were another instance.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = nil
}

func (f *fake) set(before func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

// service is a client, what it reads, and what it logs.
type service struct {
	*fake
	*imdsclient.Client
	log *bytes.Buffer
}

// serve makes a client of f over a network in memory, at the address of a real
// service.
func serve(t *testing.T, f *fake, opts imdsclient.Options) *service {
	t.Helper()
	n := newNetwork()
	server := &http.Server{Handler: f, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go func() { _ = server.Serve(n) }()
	log := &bytes.Buffer{}
	opts.Dial = n.Dial
	opts.Log = slog.New(slog.NewTextHandler(log, nil))
	c := newClient(t, opts)
	t.Cleanup(func() {
		_ = server.Close()
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	})
	return &service{fake: f, Client: c, log: log}
}

func newClient(t *testing.T, opts imdsclient.Options) *imdsclient.Client {
	t.Helper()
	c, err := imdsclient.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// instance is a service with one value.
func instance() *fake {
	return &fake{values: map[string]string{"/latest/meta-data/instance-id": "i-04b098f5de41d11e6"}}
}

func (s *service) wantValue(t *testing.T) {
	t.Helper()
	if got, err := s.Get(t.Context(), "instance-id"); err != nil || string(got) != "i-04b098f5de41d11e6" {
		t.Errorf("got %q, %v", got, err)
	}
}

func (s *service) wantError(t *testing.T, code local.Code, text string) {
	t.Helper()
	_, err := s.Get(t.Context(), "instance-id")
	wantError(t, err, code, text)
}

func wantError(t *testing.T, err error, code local.Code, text string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if got := err.Error(); strings.Contains(got, secret) {
		t.Fatal("a secret is in the error")
	}
	if got := local.CodeOf(err); got != code || !strings.Contains(local.MessageOf(err), text) {
		t.Errorf("%s: %v\nwant %s and %q", got, err, code, text)
	}
}

// answer makes a hook that answers requests of a method with a status.
func answer(method string, status int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method {
			return false
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, secret)
		return true
	}
}

// hang answers requests of a method when the client has left.
func hang(method string) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != method {
			return false
		}
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// drop closes the connection without an answer to requests of a method.
func drop(method string) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != method {
			return false
		}
		panic(http.ErrAbortHandler)
	}
}
