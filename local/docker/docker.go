// Package docker turns what a Docker engine says into values of package local:
// which containers there are, who has which address, and what they use.
//
// It asks the engine for its containers once, follows its events from then on,
// and asks again only about what changed. Now and then it looks at the list
// whether the events still tell all. Of the Docker API it uses ping, events,
// and the list, inspect and stats of containers, nothing else, so that a
// read-only socket proxy is enough.
// https://docs.docker.com/reference/api/engine/
package docker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/ecs-local/ecs-local/local"
)

// Oldest version of the API that is spoken: that of Docker Engine 20.10.
const oldestAPI = "1.41"

const (
	pingTimeout = 5 * time.Second
	// pingTries is how often a question is asked whose connection was given up
	// before it was sent.
	pingTries = 3
)

// Options say which engine is asked, and what is known besides its answers.
type Options struct {
	// Host is the engine's address in the form of DOCKER_HOST: unix://,
	// npipe:// or tcp://. Empty: the platform's own socket.
	Host string
	// TLS, unless empty, is for engines at tcp:// that ask for it.
	TLS TLS
	// Facts is what the configuration says about tasks.
	Facts local.Facts
	// Self is the id of the container ecs-local runs in. Empty: it is looked
	// for in /proc and the host name.
	Self string
	// Changed is called after each new snapshot; it must not wait. May be nil.
	Changed func()
	Log     *slog.Logger
}

// TLS is the directory with the certificates of an engine that is reached by
// TLS, as Docker's clients find it: ca.pem, cert.pem and key.pem.
// https://docs.docker.com/engine/security/protect-access/
type TLS struct{ Dir string }

func (t TLS) file(name string) string { return filepath.Join(t.Dir, name) }

// Client follows one Docker engine. All its methods may be used concurrently.
type Client struct {
	api     *client.Client
	host    string
	changed func() // may be nil
	log     *slog.Logger

	negotiation sync.Mutex
	negotiated  atomic.Bool

	index     *index
	inspected chan struct{} // holds a value when an answer waits to be published
	questions questions
	samples   samples
	outage    atomic.Pointer[outage]        // nil while in step with the engine
	reading   atomic.Pointer[chan struct{}] // closed at the end of the first reading; nil after it

	// alive ends, and work is waited for, when Run ends.
	alive context.Context
	end   context.CancelFunc
	work  work
}

// New returns a client of the engine. It does no I/O. A host that is not one
// is Invalid.
func New(o Options) (*Client, error) { return newClient(o) }

func newClient(o Options, more ...client.Opt) (*Client, error) {
	opts := []client.Opt{client.WithAPIVersionNegotiation()}
	if o.Host != "" {
		scheme, at, _ := strings.Cut(o.Host, "://")
		if scheme == "ssh" {
			return nil, local.Errorf(local.Invalid, "ecs-local does not speak SSH, as DOCKER_HOST=%s asks for: hand the engine's socket on (ssh -NL /tmp/docker.sock:/var/run/docker.sock %s) and set DOCKER_HOST to unix:///tmp/docker.sock", o.Host, at)
		}
		if !speaks(scheme) {
			return nil, local.Errorf(local.Invalid, "DOCKER_HOST=%q is not a Docker engine that ecs-local can reach: set it to unix://<socket> or tcp://<host>:<port>", o.Host)
		}
		opts = append(opts, client.WithHost(o.Host))
		if o.TLS.Dir != "" && (scheme == "tcp" || scheme == "https") {
			opts = append(opts, client.WithTLSClientConfig(o.TLS.file("ca.pem"), o.TLS.file("cert.pem"), o.TLS.file("key.pem")))
		}
	}
	api, err := client.NewClientWithOpts(append(opts, more...)...)
	if err != nil {
		return nil, &local.Error{Code: local.Invalid, Err: err,
			Msg: cmp.Or(tlsAdvice(o.TLS, err), fmt.Sprintf("DOCKER_HOST=%q is not the address of a Docker engine: set it to unix://<socket> or tcp://<host>:<port>", o.Host))}
	}
	c := &Client{
		api:       api,
		host:      api.DaemonHost(),
		changed:   o.Changed,
		log:       o.Log,
		index:     newIndex(o.Facts, o.Self),
		inspected: make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.samples.open = map[string]*samplesOf{}
	c.alive, c.end = context.WithCancel(context.Background())
	reading := make(chan struct{})
	c.reading.Store(&reading)
	c.outage.Store(&outage{since: time.Now(), err: local.Errorf(local.Unavailable, "the containers have not been read from %s yet: try again in a moment", c.host)})
	return c, nil
}

// tlsAdvice says what is wrong with the certificates, if that is it.
func tlsAdvice(t TLS, err error) string {
	if !strings.Contains(err.Error(), "tls config") {
		return ""
	}
	return fmt.Sprintf("the certificates for the Docker engine cannot be used: see that DOCKER_CERT_PATH, which is %s, has ca.pem, cert.pem and key.pem; without TLS, unset DOCKER_CERT_PATH and DOCKER_TLS_VERIFY", t.Dir)
}

func speaks(scheme string) bool {
	switch scheme {
	case "unix", "npipe", "tcp", "http", "https":
		return true
	default:
		return false
	}
}

// Ping asks whether there is an engine that this package can work with. The
// error is Unavailable and says what to do: start Docker, mount its socket,
// join the socket's group, update.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := c.negotiate(ctx); err != nil {
		return err
	}
	// Ping has no version in its path. Only a request that has one shows
	// whether the engine still speaks the version that was agreed on.
	// The engine takes milliseconds to tell its version, and a list of one
	// container at once.
	if _, err := c.api.ContainerList(ctx, container.ListOptions{All: true, Limit: 1}); err != nil {
		return c.explain(fmt.Errorf("list containers: %w", err))
	}
	return nil
}

// negotiate agrees with the engine on a version of the API.
func (c *Client) negotiate(ctx context.Context) error {
	ping, err := c.api.Ping(ctx)
	for range pingTries - 1 {
		if !closedEarly(err) {
			break
		}
		ping, err = c.api.Ping(ctx)
	}
	if err != nil {
		return c.explain(fmt.Errorf("ping: %w", err))
	}
	if ping.APIVersion != "" && versions.LessThan(ping.APIVersion, oldestAPI) {
		return local.Errorf(local.Unavailable, "the Docker engine at %s is too old (API %s): update it to Docker 20.10 (API %s) or newer", c.host, ping.APIVersion, oldestAPI)
	}
	c.negotiation.Lock()
	defer c.negotiation.Unlock()
	if !c.negotiated.Load() {
		c.api.NegotiateAPIVersionPing(ping)
		c.negotiated.Store(true)
	}
	return nil
}

// closedEarly reports whether a connection was given up before the question
// was sent: an engine that refuses a certificate says so after the handshake,
// and what it says can come before the question. The error has only the one or
// the other.
func closedEarly(err error) bool {
	return err != nil && strings.Contains(err.Error(), net.ErrClosed.Error()) // the Docker client keeps the text only
}

// ready is negotiate for those who are about to ask something. The Docker
// client would do it by itself, but it swallows the error and goes on with a
// version that the engine may not know.
func (c *Client) ready(ctx context.Context) error {
	if c.negotiated.Load() {
		return nil
	}
	return c.negotiate(ctx)
}

// Current returns the latest snapshot without asking anybody. It is never nil.
// synced is false before the first complete answer of the engine and while the
// event stream is broken: then it may be out of date.
func (c *Client) Current() (directory *local.Directory, synced bool) {
	// In this order: a snapshot from before an outage that ends at this moment
	// would count as one from after it.
	synced = c.outage.Load() == nil
	return c.index.latest(), synced
}

// SetFacts replaces what the configuration says about tasks.
func (c *Client) SetFacts(facts local.Facts) { c.index.setFacts(facts) }

// outage is why the snapshot may be out of date, and since when.
type outage struct {
	since time.Time
	err   error
}

// Status returns nil while the snapshot follows the engine. Otherwise the
// error, which is Unavailable, says why not and since when.
func (c *Client) Status() error {
	o := c.outage.Load()
	if o == nil {
		return nil
	}
	return &local.Error{
		Code: local.Unavailable,
		Msg:  fmt.Sprintf("not in step with Docker since %s: %s", o.since.UTC().Format(time.RFC3339), local.MessageOf(o.err)),
		Err:  o.err,
	}
}

// publish makes the snapshot of what is known now, and ends the stats streams
// of containers that do not run any more. It returns the ids of containers
// about which the engine knows more than the snapshot.
func (c *Client) publish() (directory *local.Directory, stale []string) {
	directory, stale = c.index.publish()
	c.samples.keep(directory)
	if c.changed != nil {
		c.changed()
	}
	return directory, stale
}

// work is a set of goroutines that somebody waits for in the end.
type work struct {
	mu     sync.Mutex
	closed bool
	group  sync.WaitGroup
}

// do runs f in a goroutine, unless the end has come.
func (w *work) do(f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.group.Go(f)
	return true
}

// wait lets nothing new begin and waits for the rest.
func (w *work) wait() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.group.Wait()
}
