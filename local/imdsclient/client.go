// Package imdsclient reads an EC2 instance metadata service (IMDS): the real
// one of an instance, or the one that ecs-local serves. It speaks IMDSv2, can
// share its token with other processes, and retries what is worth retrying.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
//
// Errors are local.Error values: NotFound for a path that does not exist,
// Denied, Invalid, Unavailable and Timeout for the rest. They never hold a
// token or what the service answered. When the caller's own context ends, the
// error wraps that of the context.
package imdsclient

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Where an instance finds its metadata.
const (
	EndpointIPv4 = "http://169.254.169.254"
	EndpointIPv6 = "http://[fd00:ec2::254]"
)

// Defaults of Options, and the longest life of a token.
const (
	DefaultAttempts       = 3
	DefaultTimeout        = 5 * time.Second
	DefaultAttemptTimeout = time.Second
	DefaultMaxBytes       = 1 << 20
	MaxTokenTTL           = 6 * time.Hour
)

// Options say which service is read, and how. The zero value reads the
// service of the instance that the program runs on.
type Options struct {
	// Endpoint is the service's URL, such as http://127.0.0.1:51679; a path in
	// it is ignored, as the AWS SDKs do. Empty: what Mode says.
	Endpoint string
	// Mode chooses the endpoint when none is given: IPv4 (also when empty) or
	// IPv6, in any case. It is AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE.
	Mode string
	// Disabled makes every call an error, without any request. It is
	// AWS_EC2_METADATA_DISABLED.
	Disabled bool
	// AllowV1 goes on without a token (IMDSv1) where none can be had: the
	// token request is answered 403, 404 or 405, or fails.
	AllowV1 bool
	// TokenTTL is how long a token is asked to live, in whole seconds from one
	// second to MaxTokenTTL. Zero: MaxTokenTTL.
	TokenTTL time.Duration
	// CacheDir is a directory for the token, so that other processes of the
	// same user use it too. It is created with mode 0700 if it does not exist.
	// Empty: the token is kept in memory.
	CacheDir string
	// Attempts is how often each request is made at most.
	Attempts int
	// Timeout bounds each Get and List: the token, all attempts and the waits
	// between them.
	Timeout time.Duration
	// AttemptTimeout bounds one attempt: connect, ask, and read the answer.
	// Zero: DefaultAttemptTimeout, and more where Timeout is long, a fifth of
	// it.
	AttemptTimeout time.Duration
	// MaxBytes bounds an answer's body.
	MaxBytes int64
	// Dial makes connections. Nil: net.Dialer. A proxy is never used.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Log hears what no error tells: that the token cannot be shared, that
	// IMDSv1 is used. Nil: nobody does.
	Log *slog.Logger
}

// Client reads one instance metadata service. It is safe for concurrent use.
type Client struct {
	opts  Options
	base  url.URL
	http  *http.Client
	cache *cache // nil without a directory

	held     atomic.Pointer[token]
	rejected atomic.Pointer[token] // the last one that was answered 401
	v1       atomic.Bool           // tokens cannot be had
	renewing chan struct{}         // full while one caller renews the token
	unshared sync.Once             // says that the token is not shared

	requests, tokens, retries atomic.Int64
}

// Stats counts what was sent.
type Stats struct {
	Requests int64 // all requests, those below included
	Tokens   int64 // requests for a token
	Retries  int64 // requests that repeat one that was answered badly or not at all
}

// New makes a client. It sends nothing. An endpoint, mode or token lifetime
// that makes no sense is Invalid.
func New(opts Options) (*Client, error) {
	base, err := endpoint(opts.Endpoint, opts.Mode)
	if err != nil {
		return nil, err
	}
	setDefault(&opts.TokenTTL, MaxTokenTTL)
	setDefault(&opts.Attempts, DefaultAttempts)
	setDefault(&opts.Timeout, DefaultTimeout)
	setDefault(&opts.AttemptTimeout, max(DefaultAttemptTimeout, opts.Timeout/5))
	setDefault(&opts.MaxBytes, DefaultMaxBytes)
	setDefault(&opts.Log, slog.New(slog.DiscardHandler))
	if opts.TokenTTL < time.Second || opts.TokenTTL > MaxTokenTTL {
		return nil, local.Errorf(local.Invalid, "a token cannot live %v: choose from 1s to 6h", opts.TokenTTL)
	}
	if opts.Attempts < 0 || opts.Timeout < 0 || opts.AttemptTimeout < 0 || opts.MaxBytes < 0 {
		return nil, local.Errorf(local.Invalid, "attempts, timeouts and sizes cannot be negative: give positive ones, or 0 for the default")
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	c := &Client{
		opts: opts,
		base: base,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					// The transport goes on when the request has given up.
					ctx, cancel := context.WithTimeout(ctx, opts.AttemptTimeout)
					defer cancel()
					return opts.Dial(ctx, network, address)
				},
				DisableCompression:     true, // bytes as they are
				MaxResponseHeaderBytes: 64 << 10,
				// The real service closes every connection, too. On one that is
				// kept, the transport would repeat requests on its own.
				DisableKeepAlives: true,
				// Proxy stays nil: what it would be asked for is link-local,
				// and a proxy adds X-Forwarded-For, which IMDSv2 refuses.
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		renewing: make(chan struct{}, 1),
	}
	if opts.CacheDir != "" {
		c.cache = newCache(opts.CacheDir, c.Endpoint())
	}
	return c, nil
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// endpoint returns scheme and host in one spelling, because the shared token
// is found by them.
func endpoint(text, mode string) (url.URL, error) {
	if text == "" {
		switch strings.ToLower(mode) {
		case "", "ipv4":
			text = EndpointIPv4
		case "ipv6":
			text = EndpointIPv6
		default:
			return url.URL{}, local.Errorf(local.Invalid,
				"%q is not an endpoint mode: set AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE to IPv4 or IPv6", mode)
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		// The text itself stays out: it may hold a password.
		return url.URL{}, local.Errorf(local.Invalid,
			"the endpoint is not the URL of an instance metadata service: it looks like %s", EndpointIPv4)
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return url.URL{Scheme: u.Scheme, Host: host}, nil
}

// Endpoint returns the URL of the service, without a path.
func (c *Client) Endpoint() string { return c.base.String() }

// Stats returns what was sent so far.
func (c *Client) Stats() Stats {
	return Stats{Requests: c.requests.Load(), Tokens: c.tokens.Load(), Retries: c.retries.Load()}
}

// Get returns the value at path, byte for byte. How a path is read is in
// [Path].
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	if c.opts.Disabled {
		return nil, local.Errorf(local.Denied,
			"instance metadata is turned off: unset AWS_EC2_METADATA_DISABLED to read it")
	}
	path = Path(path)
	limited, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	body, err := c.get(limited, path)
	if err != nil {
		return nil, c.explain(ctx, path, err)
	}
	return body, nil
}

// get reads path. A token that is refused is replaced once.
func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	for renewed := false; ; renewed = true {
		t, err := c.token(ctx)
		if err != nil {
			return nil, err
		}
		header := http.Header{}
		if t != nil {
			header.Set(headerToken, t.value)
		}
		answer, failed := c.send(ctx, http.MethodGet, path, header)
		if failed == nil {
			return answer.body, nil
		}
		if failed.status != http.StatusUnauthorized {
			return nil, failed
		}
		c.reject(t)
		if renewed {
			failed.tokenless = t == nil
			return nil, failed
		}
	}
}

// List returns the names below path in the order of the listing. Directories
// end in a slash, except where the service itself leaves it out; Walk knows
// these places.
func (c *Client) List(ctx context.Context, path string) ([]string, error) {
	body, err := c.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.SplitSeq(string(body), "\n") {
		if name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}
