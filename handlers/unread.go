package handlers

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// LogUnread makes a server log the requests that no handler gets to see: what
// is not HTTP, a header that is too large, a client that leaves or is too slow.
// net/http answers them itself, and says so to nobody. It returns the listener
// to serve; the server is otherwise ready. Runtime may be nil.
func LogUnread(server *http.Server, listener net.Listener, family string, runtime Runtime, log *slog.Logger) net.Listener {
	u := &unread{family: family, runtime: runtime, log: log}
	next, connContext := server.Handler, server.ConnContext
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(watchedKey{}).(*watched); ok {
			c.phase.Store(handled)
		}
		next.ServeHTTP(w, r)
	})
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, conn)
		}
		if c := watchedBelow(conn); c != nil {
			ctx = context.WithValue(ctx, watchedKey{}, c)
		}
		return ctx
	}
	server.ConnState = u.follow
	return watchedListener{listener}
}

// unread follows the connections of one server.
type unread struct {
	family  string
	runtime Runtime
	log     *slog.Logger
}

type watchedListener struct{ net.Listener }

func (l watchedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watched{Conn: conn}, nil
}

type watchedKey struct{}

// watched is a connection that knows whether a handler is at work, and what
// happens while none is.
type watched struct {
	net.Conn
	phase  atomic.Int32
	parts  atomic.Int32           // of a request, that have come
	begun  atomic.Int64           // when more than the first part was waited for, in Unix nanoseconds; 0: never
	failed atomic.Pointer[error]  // why no more could be read; nil: it could
	answer atomic.Pointer[string] // what net/http says by itself; nil: nothing, or it is encrypted
}

// What becomes of a connection.
const (
	waiting int32 = iota // for a request
	reading              // net/http is about to judge it
	handled              // a handler has it
)

// watchedBelow returns the watched connection that conn is, or carries.
func watchedBelow(conn net.Conn) *watched {
	c, _ := withoutTLS(conn).(*watched)
	return c
}

func (c *watched) Read(p []byte) (int, error) {
	if c.phase.Load() == handled {
		return c.Conn.Read(p)
	}
	// Most requests come in one part, and need not know the time.
	if c.parts.Load() > 0 && c.begun.Load() == 0 {
		c.begun.Store(time.Now().UnixNano())
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.parts.Add(1)
	}
	if err != nil {
		c.failed.Store(&err)
	}
	return n, err
}

func (c *watched) Write(p []byte) (int, error) {
	if c.phase.Load() != handled && bytes.HasPrefix(p, []byte(answerPrefix)) {
		answer := string(p)
		c.answer.Store(&answer)
	}
	return c.Conn.Write(p)
}

// CloseWrite ends the sending direction, which net/http does before it closes
// a connection whose client may not have read everything.
func (c *watched) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// follow is told by net/http what becomes of a connection.
func (u *unread) follow(conn net.Conn, state http.ConnState) {
	c := watchedBelow(conn)
	if c == nil {
		return
	}
	switch state {
	case http.StateActive:
		c.phase.Store(reading)
	case http.StateIdle:
		c.parts.Store(0)
		c.begun.Store(0)
		c.failed.Store(nil)
		c.phase.Store(waiting)
	case http.StateClosed:
		if c.phase.Load() == reading || c.answer.Load() != nil {
			u.tell(c)
		}
	}
}

// tell writes the one line about a request that no handler got to see.
func (u *unread) tell(c *watched) {
	attrs := []slog.Attr{slog.String("family", u.family), slog.String("route", "none")}
	status, reason := 0, "it is not HTTP"
	if answer := c.answer.Load(); answer != nil {
		status, reason = readAnswer(*answer)
	}
	if failed := c.failed.Load(); failed != nil {
		reason = "the client left before it was whole"
		if errors.Is(*failed, os.ErrDeadlineExceeded) {
			reason = "its header was not whole in time"
		}
	}
	if status != 0 {
		attrs = append(attrs, slog.Int("status", status))
	}
	took := time.Duration(0) // what there is of it came at once
	if begun := c.begun.Load(); begun != 0 {
		took = time.Since(time.Unix(0, begun))
	}
	attrs = append(attrs, slog.Duration("duration", took), slog.String("remote", c.RemoteAddr().String()))
	if peer, ok := c.RemoteAddr().(*net.TCPAddr); ok && u.runtime != nil {
		dir, _ := u.runtime.Current()
		attrs = appendCaller(attrs, dir.Known(peer.AddrPort().Addr()))
	}
	u.log.LogAttrs(context.Background(), slog.LevelWarn, "request refused", append(attrs, slog.String("reason", reason))...)
}

// answerPrefix begins the answers of net/http, which are written at once.
const answerPrefix = "HTTP/1.1 "

// readAnswer returns the status of an answer of net/http, and what it says.
func readAnswer(answer string) (status int, reason string) {
	line, rest, _ := strings.Cut(strings.TrimPrefix(answer, answerPrefix), "\r\n")
	code, _, _ := strings.Cut(line, " ")
	status, _ = strconv.Atoi(code)
	if _, body, ok := strings.Cut(rest, "\r\n\r\n"); ok && body != "" {
		line = body
	}
	if status == http.StatusBadRequest {
		line += ": see what the client sends; a space in a path, for one, has to be %20"
	}
	return status, line
}
