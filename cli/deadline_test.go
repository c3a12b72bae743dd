package cli

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts how often its deadlines are moved.
type counted struct {
	net.Conn
	moved int
}

func (c *counted) SetReadDeadline(t time.Time) error  { c.moved++; return c.Conn.SetReadDeadline(t) }
func (c *counted) SetWriteDeadline(t time.Time) error { c.moved++; return c.Conn.SetWriteDeadline(t) }

// lazyPipe returns a lazy connection and its other end.
func lazyPipe(t *testing.T) (*lazyConn, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return newLazyConn(near), far
}

// waits returns how long a Read waits until its deadline.
func waits(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	begun := time.Now()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read: want its deadline to come, got %v", err)
	}
	return time.Since(begun)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLazyDeadline(t *testing.T) {
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for name, test := range map[string]struct {
		before, last time.Duration // 0: none
		want         time.Duration
	}{
		"first":      {last: 3 * time.Second, want: 3 * time.Second},
		"put off":    {before: time.Second, last: time.Minute, want: time.Minute},
		"brought on": {before: time.Minute, last: time.Second, want: time.Second},
		"past":       {before: time.Minute, last: -time.Second, want: 0},
		"after past": {before: -time.Second, last: 2 * time.Minute, want: 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := lazyPipe(t)
				if test.before != 0 {
					must(t, c.SetReadDeadline(in(test.before)))
				}
				must(t, c.SetReadDeadline(in(test.last)))
				if got := waits(t, c); got != test.want {
					t.Errorf("Read ended after %s, want %s", got, test.want)
				}
				if got := waits(t, c); got != 0 {
					t.Errorf("the next Read ended after %s, want at once", got)
				}
			})
		})
	}
}

func TestLazyDeadlineTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := lazyPipe(t)
		must(t, c.SetDeadline(time.Now().Add(time.Second)))
		must(t, c.SetDeadline(time.Time{}))
		go func() {
			time.Sleep(time.Hour)
			_, _ = far.Write([]byte("x"))
		}()
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("Read after an hour without a deadline: %d, %v", n, err)
		}
	})
}

// net/http ends its waiting for the next request in this way.
func TestLazyDeadlineEndsAReadThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := lazyPipe(t)
		must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		go func() {
			time.Sleep(7 * time.Second) // the connection's own has been put off once by now
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}()
		if got := waits(t, c); got != 7*time.Second {
			t.Errorf("Read ended after %s, want 7s", got)
		}
		must(t, c.SetReadDeadline(time.Time{}))
		go func() { _, _ = far.Write([]byte("x")) }()
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Errorf("Read afterwards: %v", err)
		}
	})
}

func TestLazyDeadlineOfAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, far := lazyPipe(t)
		must(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
		must(t, c.SetWriteDeadline(time.Now().Add(10*time.Second)))
		got := make(chan string)
		go func() {
			half := make([]byte, 3)
			_, _ = io.ReadFull(far, half) // before the connection's own deadline
			time.Sleep(4 * time.Second)
			rest := make([]byte, 3)
			_, _ = io.ReadFull(far, rest)
			got <- string(half) + string(rest)
		}()
		if n, err := c.Write([]byte("abcdef")); n != 6 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		if all := <-got; all != "abcdef" {
			t.Errorf("the other end read %q", all)
		}
		begun := time.Now()
		if n, err := c.Write([]byte("g")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != 6*time.Second {
			t.Errorf("Write that nobody reads: %d, %v after %s; want its deadline after 6s", n, err, time.Since(begun))
		}
	})
}

// What net/http does with the deadlines of a connection, request by request.
func TestLazyDeadlineIsSeldomMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		t.Cleanup(func() { _, _ = near.Close(), far.Close() })
		count := &counted{Conn: near}
		c := newLazyConn(count)
		go func() {
			for range 1000 {
				_, _ = far.Write([]byte("x"))
			}
		}()
		for range 1000 {
			must(t, c.SetReadDeadline(time.Now().Add(idleTimeout)))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			must(t, c.SetReadDeadline(time.Time{}))
			must(t, c.SetReadDeadline(time.Now().Add(readTimeout)))
			must(t, c.SetWriteDeadline(time.Now().Add(writeTimeout)))
			time.Sleep(time.Millisecond)
		}
		if count.moved > 5 {
			t.Errorf("in 1,000 requests the deadlines of the connection were moved %d times", count.moved)
		}
	})
}
