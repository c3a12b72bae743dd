package handlers_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local/imds"
)

// A client that takes only packets with a TTL above the hop limit is one that
// is too far away: the connection stands, values arrive, a token does not.
func TestHopLimitIsThatOfThePackets(t *testing.T) {
	t.Parallel()
	s := serveInstance(t, imds.Config{})
	dial := func(least int) net.Conn {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		control, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(control.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MINTTL, least)
		}), err); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	const put = "PUT /latest/api/token HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n" + imds.HeaderTokenTTL + ": 60\r\n\r\n"

	far := dial(2)
	if got := exchange(t, far, bufio.NewReader(far), "GET", "/latest/meta-data/instance-id", "Connection: keep-alive"); got.status() != 200 {
		t.Errorf("a value, two hops away: %s", got.line)
	}
	if _, err := far.Write([]byte(put)); err != nil {
		t.Fatal(err)
	}
	// Longer than it takes until what was lost is sent again.
	_ = far.SetReadDeadline(time.Now().Add(time.Second))
	if n, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a token, two hops away: %d bytes, %v", n, err)
	}
	near := dial(1)
	if got := exchange(t, near, bufio.NewReader(near), "PUT", "/latest/api/token", imds.HeaderTokenTTL+": 60"); got.status() != 200 {
		t.Errorf("a token, one hop away: %s", got.line)
	}
	if err := s.service.SetOptions(imds.Options{HTTPPutResponseHopLimit: 2}); err != nil {
		t.Fatal(err)
	}
	far = dial(2)
	if got := exchange(t, far, bufio.NewReader(far), "PUT", "/latest/api/token", imds.HeaderTokenTTL+": 60"); got.status() != 200 {
		t.Errorf("a token, two hops away, with two allowed: %s", got.line)
	}
}

func TestHopLimitEndsWithTheNextAnswer(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]struct{ listen, dial string }{
		"IPv4":                      {"127.0.0.1:0", "127.0.0.1"},
		"IPv4 on a listener of all": {":0", "127.0.0.1"},
		"IPv6":                      {"[::1]:0", "::1"},
	} {
		listener, err := net.Listen("tcp", at.listen)
		if err != nil {
			t.Logf("no %s on this machine: %v", name, err)
			continue
		}
		t.Run(name, func(t *testing.T) {
			_, port, _ := net.SplitHostPort(listener.Addr().String())
			hopLimits(t, listener, net.JoinHostPort(at.dial, port))
		})
	}
}

// hopLimits asks on one connection and looks at the hop limit that each answer
// leaves with.
func hopLimits(t *testing.T, listener net.Listener, address string) {
	service := newService(t, imds.Config{Options: imds.Options{HTTPPutResponseHopLimit: 3}})
	limits := make(chan int, 10) // of each answer
	h := handlers.NewIMDS(service, nopLog)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		conn := r.Context().Value(acceptedKey{}).(net.Conn)
		limit, err := ipv4.NewConn(conn).TTL()
		if conn.RemoteAddr().(*net.TCPAddr).IP.To4() == nil {
			limit, err = ipv6.NewConn(conn).HopLimit()
		}
		if err != nil {
			t.Error(err)
		}
		limits <- limit
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(handlers.ConnContext(ctx, c), acceptedKey{}, c)
	}
	server.Start()
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	from := bufio.NewReader(conn)
	const token = "/latest/api/token"
	usual := 0
	for n, method := range []string{"GET", "PUT", "PUT", "GET", "HEAD", "PUT", "OPTIONS"} {
		path := token
		if method == "GET" {
			path = "/latest/meta-data/instance-id"
		}
		exchange(t, conn, from, method, path, "Connection: keep-alive", imds.HeaderTokenTTL+": 60")
		limit := <-limits
		if n == 0 {
			usual = limit
		}
		if method == "PUT" && limit != 3 || method != "PUT" && limit != usual || usual <= 3 {
			t.Errorf("answer %d, to %s: limit %d; usual %d, tokens 3", n, method, limit, usual)
		}
	}
}

type acceptedKey struct{}
