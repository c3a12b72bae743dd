package cli

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lazyListener accepts connections whose deadlines cost next to nothing.
type lazyListener struct{ net.Listener }

func (l lazyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newLazyConn(conn), nil
}

// lazyConn is a connection that keeps its deadlines to itself. net/http moves
// them half a dozen times for each request, each time a timer of the runtime,
// and nearly always puts off what never comes. Here the connection keeps an
// early deadline; when that comes, whoever waits goes on waiting for the real
// one.
type lazyConn struct {
	net.Conn
	read, write lazyDeadline
}

func newLazyConn(conn net.Conn) *lazyConn {
	return &lazyConn{
		Conn:  conn,
		read:  lazyDeadline{set: conn.SetReadDeadline},
		write: lazyDeadline{set: conn.SetWriteDeadline},
	}
}

func (c *lazyConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !c.read.early(err) {
			return n, err
		}
	}
}

func (c *lazyConn) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if err == nil || !c.write.early(err) {
			return written, err
		}
	}
}

func (c *lazyConn) SetReadDeadline(t time.Time) error  { return c.read.want(t) }
func (c *lazyConn) SetWriteDeadline(t time.Time) error { return c.write.want(t) }

func (c *lazyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.read.want(t), c.write.want(t))
}

// CloseWrite ends the sending direction, which net/http does before it closes
// a connection whose client may not have read everything.
func (c *lazyConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the connection itself.
func (c *lazyConn) NetConn() net.Conn { return c.Conn }

// farthest is how far ahead a connection's own deadline is put. It is the
// shortest of the limits, so that going from a long one to a short one does
// not move it either.
const farthest = readTimeout

// lazyDeadline is one of the two deadlines of a connection.
type lazyDeadline struct {
	set func(time.Time) error // the connection's own

	mu     sync.Mutex
	wanted time.Time // zero: none
	own    time.Time // what the connection has; not later than wanted; zero: none
}

// want moves the deadline. One in the past ends at once what waits.
func (d *lazyDeadline) want(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if t.IsZero() || !d.own.IsZero() && !t.Before(d.own) {
		return nil
	}
	d.own = t
	return d.set(t)
}

// early reports whether err says that a deadline has come which is not wanted
// yet, and puts it off.
func (d *lazyDeadline) early(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := time.Time{}
	if !d.wanted.IsZero() {
		now := time.Now()
		if !d.wanted.After(now) {
			return false
		}
		if next = now.Add(farthest); next.After(d.wanted) {
			next = d.wanted
		}
	}
	d.own = next
	return d.set(next) == nil
}
