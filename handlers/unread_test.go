package handlers_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/authority"
)

// A request that net/http refuses, or gives up on, has its line in the log as
// every other, and all else has none of this kind.
func TestRequestsThatNoHandlerSees(t *testing.T) {
	t.Parallel()
	const whole, left = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "the client left before it was whole"
	const hint = ": see what the client sends; a space in a path, for one, has to be %20"
	for name, test := range map[string]struct {
		sent      string
		wait, tls bool
		status    float64 // 0: none
		reason    string  // empty: no line
		slow      bool    // for the time that a header may take
	}{
		"a space in the path":     {sent: "GET /a b HTTP/1.1\r\nAuthorization: " + secretKey + "\r\n\r\n", wait: true, status: 400, reason: "400 Bad Request" + hint},
		"no host":                 {sent: "GET / HTTP/1.1\r\n\r\n", wait: true, status: 400, reason: "400 Bad Request: missing required Host header" + hint},
		"a large header":          {sent: "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 8<<10) + "\r\n\r\n", wait: true, status: 431, reason: "431 Request Header Fields Too Large"},
		"an encoding":             {sent: "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", wait: true, status: 501, reason: "Unsupported transfer encoding"},
		"half a request":          {sent: "GET / HT", status: 400, reason: left},
		"half a header":           {sent: "GET / HTTP/1.1\r\nHost: x\r\n", status: 400, reason: left},
		"a slow client":           {sent: "GET / HT", wait: true, status: 400, reason: "its header was not whole in time", slow: true},
		"the second one is wrong": {sent: whole + "x\r\n\r\n", wait: true, status: 400, reason: "400 Bad Request" + hint},
		"nonsense, encrypted":     {sent: "x\r\n\r\n", wait: true, tls: true, reason: "it is not HTTP"},
		"a request":               {sent: whole},
		"two, and the end":        {sent: whole + "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", wait: true},
		"two, encrypted":          {sent: whole + "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", wait: true, tls: true},
		"a hang-up":               {sent: "GET /hang-up HTTP/1.1\r\nHost: x\r\n\r\n", wait: true},
		"nothing":                 {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(lines, 8)
			runtime := &runtimeFake{}
			runtime.dir.Store(local.NewDirectory(containers()[:1], "", local.Facts{}).Static())
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{ReadHeaderTimeout: longest, MaxHeaderBytes: 1 << 10, ConnContext: handlers.ConnContext, ErrorLog: quiet}
			if test.slow {
				server.ReadHeaderTimeout = 3 * time.Second
			}
			server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(time.Millisecond) // net/http looks meanwhile whether the client is still there
				if r.URL.Path == "/hang-up" {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_ = conn.Close()
				}
			})
			listener = handlers.LogUnread(server, listener, "ecs", runtime, slog.New(slog.NewJSONHandler(told, nil)))
			closed, follow := make(chan struct{}), server.ConnState
			server.ConnState = func(conn net.Conn, state http.ConnState) {
				follow(conn, state)
				if state == http.StateClosed || state == http.StateHijacked {
					close(closed)
				}
			}
			serve, dial := func() error { return server.Serve(listener) }, net.Dial
			if test.tls {
				serve, dial = encrypted(t, server, listener)
			}
			t.Cleanup(func() { server.Close() })
			if test.tls {
				go func() { _ = serve() }()
			}
			conn, err := dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, test.sent); err != nil {
				t.Fatal(err)
			}
			if !test.tls { // what was sent is there when the server begins
				go func() { _ = serve() }()
			}
			if test.wait {
				_ = conn.SetReadDeadline(time.Now().Add(longest))
				_, _ = io.Copy(io.Discard, conn) // until the server ends it
			}
			_ = conn.Close()
			<-closed
			close(told)
			if test.reason != "" {
				got := map[string]any{}
				if err := json.Unmarshal([]byte(<-told), &got); err != nil {
					t.Fatal(err)
				}
				if took, _ := got["duration"].(float64); time.Duration(took) > longest || test.slow && time.Duration(took) < 200*time.Millisecond {
					t.Errorf("it took %v", time.Duration(took))
				}
				for _, key := range []string{"time", "duration", "remote"} {
					if got[key] == nil || got[key] == "" {
						t.Errorf("no %s: %v", key, got)
					}
					delete(got, key)
				}
				want := map[string]any{
					"level": "WARN", "msg": "request refused", "family": "ecs", "route": "none",
					"container": containers()[0].DockerName, "task": "shop", "reason": test.reason,
				}
				if test.status != 0 {
					want["status"] = test.status
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			for line := range told {
				t.Errorf("a line too many: %s", line)
			}
		})
	}
}

// encrypted makes a server speak TLS, and says how to reach it.
func encrypted(t *testing.T, server *http.Server, listener net.Listener) (serve func() error, dial func(network, address string) (net.Conn, error)) {
	t.Helper()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	server.TLSConfig = a.TLSConfig(func(string) bool { return true })
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(a.CertificatePEM()) {
		t.Fatal("no certificate")
	}
	return func() error { return server.ServeTLS(listener, "", "") }, func(network, address string) (net.Conn, error) {
		return tls.Dial(network, address, &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	}
}

// quiet is for what a server says of handshakes that fail.
var quiet = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
