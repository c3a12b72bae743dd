package handlers_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// longest is more than anything takes on a busy machine.
const longest = 2 * time.Minute

// numbered is a provider whose keys are numbered and hold the secrets that no
// log may hold.
func numbered() imds.Provider {
	var n atomic.Int64
	return func(_ context.Context, a imds.Ask) (local.Credentials, error) {
		arn := a.Role.ARN
		if a.Role.Name != "" {
			arn = local.RoleARN("aws", "111122223333", a.Role.Name)
		}
		return local.Credentials{
			RoleARN: arn, AccessKeyID: fmt.Sprintf("ASIAEXAMPLE%09d", n.Add(1)), SecretAccessKey: secretKey, SessionToken: token,
			Expiration: time.Now().Add(6 * time.Hour).UTC().Truncate(time.Second),
		}, nil
	}
}

// newService makes a service whose credentials are there.
func newService(t testing.TB, c imds.Config) *imds.Service {
	t.Helper()
	s, err := imds.New(c, imds.Deps{Provider: numbered()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// newHandler makes the whole handler of the task addresses over a service.
func newHandler(s *imds.Service, log *slog.Logger) http.Handler {
	f := &runtimeFake{}
	f.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
	return handlers.New(handlers.Deps{
		Runtime: f, Credentials: &credentialsFake{}, Documents: metadata.New(metadata.Options{}), IMDS: s, Log: log,
	})
}

// live is a server as serve sets it up.
func live(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ConnContext = handlers.ConnContext
	server.Config.DisableGeneralOptionsHandler = true
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// instanceServer serves an instance over TCP, and its control API in process.
type instanceServer struct {
	service *imds.Service
	server  *httptest.Server
	address string
}

func serveInstance(t testing.TB, c imds.Config) *instanceServer {
	t.Helper()
	service := newService(t, c)
	server := live(t, newHandler(service, nopLog))
	return &instanceServer{service, server, server.Listener.Addr().String()}
}

// raw is an answer as it came over the connection.
type raw struct {
	line    string
	headers map[string]string // name: value, as sent
	body    string
	closed  bool // the server ended the connection after it
}

func (r raw) status() int {
	n, _ := strconv.Atoi(strings.Split(r.line+"  ", " ")[1])
	return n
}

// send writes a request on a connection of its own and reads until the server
// ends it, or, when that takes too long, until the answer is whole.
func (s *instanceServer) send(t testing.TB, method, target string, headers ...string) raw {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return exchange(t, conn, bufio.NewReader(conn), method, target, headers...)
}

// exchange writes a request on a connection and reads one answer.
func exchange(t testing.TB, conn net.Conn, from *bufio.Reader, method, target string, headers ...string) raw {
	t.Helper()
	request := method + " " + target + " HTTP/1.1\r\nHost: " + local.IMDSAddress + "\r\n"
	for _, h := range headers {
		request += h + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(longest))
	answer := raw{headers: map[string]string{}}
	line := func() string {
		text, err := from.ReadString('\n')
		if err != nil {
			t.Fatalf("%s %s: read an answer: %v", method, target, err)
		}
		return strings.TrimSuffix(text, "\r\n")
	}
	answer.line = line()
	for text := line(); text != ""; text = line() {
		name, value, _ := strings.Cut(text, ": ")
		if _, twice := answer.headers[name]; twice {
			t.Errorf("%s %s: the header %s twice", method, target, name)
		}
		answer.headers[name] = value
	}
	length, err := strconv.Atoi(answer.headers["Content-Length"])
	if err != nil {
		t.Fatalf("%s %s: no Content-Length", method, target)
	}
	if method == http.MethodHead {
		length = 0
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(from, body); err != nil {
		t.Fatalf("%s %s: read the body: %v", method, target, err)
	}
	answer.body = string(body)
	if answer.headers["Connection"] == "close" {
		rest, err := io.ReadAll(from)
		if len(rest) > 0 || err != nil {
			t.Errorf("%s %s: after the answer %d bytes more, %v", method, target, len(rest), err)
		}
		answer.closed = true
	}
	return answer
}

// token gets a token.
func (s *instanceServer) token(t testing.TB) string {
	t.Helper()
	answer := s.send(t, http.MethodPut, "/latest/api/token", imds.HeaderTokenTTL+": 21600")
	if answer.status() != http.StatusOK {
		t.Fatalf("token: %s", answer.line)
	}
	return answer.body
}

var nopLog = slog.New(slog.DiscardHandler)
