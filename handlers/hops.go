package handlers

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/ecs-local/ecs-local/local/imds"
)

// The answer to a request for a token goes only as many hops as the instance's
// options say: its packets carry that IP TTL, and a client further away sees
// no answer. Everything else travels as usual.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceMetadataOptionsRequest.html

type connectionKey struct{}

// connection is a connection whose hop limit can be changed. HTTP/1 answers
// the requests of a connection one after the other, so it needs no lock.
type connection struct {
	conn  net.Conn
	usual int // hop limit before it was first changed; 0: it never was
	limit int // hop limit in force, once usual is known
}

// ConnContext is for http.Server.ConnContext of a server that answers requests
// for tokens.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	conn = withoutTLS(conn)
	if watched, ok := conn.(*watched); ok {
		conn = watched.Conn
	}
	return context.WithValue(ctx, connectionKey{}, &connection{conn: conn})
}

// withoutTLS returns the connection that carries a *tls.Conn, or conn itself.
func withoutTLS(conn net.Conn) net.Conn {
	if encrypted, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return encrypted.NetConn()
	}
	return conn
}

// unlimited is told once in a process, not with every token.
var unlimited sync.Once

// limitHops makes the next answer on the connection travel as far as it may.
// The limit stays until the next answer: what the network loses is sent again,
// and that must not go further than it did the first time.
func (i *instance) limitHops(r *http.Request, response imds.Response) {
	c, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok || r.ProtoMajor > 1 { // HTTP/2 answers requests at the same time
		return
	}
	var err error
	if r.Method == http.MethodPut && response.Status == http.StatusOK {
		err = c.lower(i.service.Options().HTTPPutResponseHopLimit)
	} else if c.limit != c.usual {
		err = c.set(c.usual)
	}
	if err != nil {
		unlimited.Do(func() {
			i.log.LogAttrs(r.Context(), slog.LevelWarn, "the hop limit of token answers cannot be set", slog.Any("error", err))
		})
	}
}

// lower sets the hop limit and remembers what it was before.
func (c *connection) lower(limit int) error {
	if c.usual == 0 {
		usual, err := c.get()
		if err != nil {
			return err
		}
		c.usual, c.limit = usual, usual
	}
	if limit == c.limit {
		return nil
	}
	return c.set(limit)
}

func (c *connection) get() (int, error) {
	if c.v4() {
		return ipv4.NewConn(c.conn).TTL()
	}
	return ipv6.NewConn(c.conn).HopLimit()
}

func (c *connection) set(limit int) error {
	var err error
	if c.v4() {
		err = ipv4.NewConn(c.conn).SetTTL(limit)
	} else {
		err = ipv6.NewConn(c.conn).SetHopLimit(limit)
	}
	if err == nil {
		c.limit = limit
	}
	return err
}

// v4 reports whether the peer is reached over IPv4, on whatever socket.
func (c *connection) v4() bool {
	peer, ok := c.conn.RemoteAddr().(*net.TCPAddr)
	return ok && peer.AddrPort().Addr().Unmap().Is4()
}
