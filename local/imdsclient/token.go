package imdsclient

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	pathToken   = "/latest/api/token"
	headerTTL   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	headerToken = "X-Aws-Ec2-Metadata-Token"
)

// renewBefore is how long before its end a token is no longer used for a new
// request.
const renewBefore = 5 * time.Second

var errBadToken = errors.New("not a token")

// token is a session token of IMDSv2.
type token struct {
	value   string
	expires time.Time
}

// usable reports whether a request may start with t. It compares wall clocks:
// the other one stands still while a laptop sleeps.
func (t *token) usable() bool {
	return t != nil && time.Now().Round(0).Before(t.expires.Add(-renewBefore))
}

// validToken reports whether s can go into a header as it is.
func validToken(s string) bool {
	return s != "" && len(s) <= 4096 && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

// token returns the token for the next request; nil where requests go without.
func (c *Client) token(ctx context.Context) (*token, error) {
	if c.v1.Load() {
		return nil, nil
	}
	if t := c.held.Load(); t.usable() {
		return t, nil
	}
	select {
	case c.renewing <- struct{}{}:
		defer func() { <-c.renewing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t := c.held.Load(); t.usable() {
		return t, nil
	}
	if c.v1.Load() {
		return nil, nil
	}
	t, err := c.renew(ctx)
	if err != nil {
		if c.withoutToken(ctx, err) {
			return nil, nil
		}
		return nil, err
	}
	c.held.Store(t)
	return t, nil
}

// withoutToken decides whether to go on without a token after err, and whether
// to stay so: the AWS SDKs ask no more once the service said that it has none,
// or nothing at all, until a request is refused for want of a token.
func (c *Client) withoutToken(ctx context.Context, err error) bool {
	var f *failure
	if !c.opts.AllowV1 || ctx.Err() != nil || !errors.As(err, &f) {
		return false
	}
	switch f.status {
	case http.StatusBadRequest:
		return false // the service has tokens, but our request is wrong
	case 0, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		c.v1.Store(true)
	}
	c.opts.Log.WarnContext(ctx, "no IMDSv2 token; going on with IMDSv1", "endpoint", c.Endpoint(), "reason", err)
	return true
}

// reject takes note that a request with t, nil for none, was answered 401.
func (c *Client) reject(t *token) {
	if t == nil {
		c.v1.Store(false)
		return
	}
	c.rejected.Store(t)
	c.held.CompareAndSwap(t, nil)
}

// renew returns the token that other processes share, or a new one, which they
// share from then on. Trouble with the file costs the sharing, nothing else.
func (c *Client) renew(ctx context.Context) (*token, error) {
	if c.opts.AllowV1 {
		// Leave time for the request without a token.
		var cancel context.CancelFunc
		ctx, cancel = half(ctx)
		defer cancel()
	}
	if c.cache == nil {
		return c.fetch(ctx)
	}
	if t := c.shared(); t != nil {
		return t, nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if t := c.shared(); t != nil {
		return t, nil // another process was faster
	}
	t, err := c.fetch(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.cache.write(t); err != nil {
		c.notShared(ctx, err)
	}
	return t, nil
}

// shared returns the token in the file if it can be used.
func (c *Client) shared() *token {
	t := c.cache.read()
	if rejected := c.rejected.Load(); !t.usable() || rejected != nil && rejected.value == t.value {
		return nil
	}
	return t
}

// lock keeps other processes from asking for a token, too. One of them that
// hangs with the lock is waited for only so long.
func (c *Client) lock(ctx context.Context) (unlock func(), err error) {
	waiting, cancel := half(ctx)
	defer cancel()
	unlock, err = c.cache.lock(waiting)
	switch {
	case err == nil:
		return unlock, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		c.notShared(ctx, err)
		return func() {}, nil
	}
}

func (c *Client) notShared(ctx context.Context, err error) {
	c.unshared.Do(func() {
		c.opts.Log.WarnContext(ctx, "IMDS token not shared with other processes", "dir", c.opts.CacheDir, "reason", err)
	})
}

// half returns a context that ends after half of the time that is left.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// fetch asks the service for a token.
func (c *Client) fetch(ctx context.Context) (*token, error) {
	asked := time.Now().Round(0) // the life of a token begins no earlier
	answer, failed := c.send(ctx, http.MethodPut, pathToken,
		http.Header{headerTTL: {strconv.Itoa(int(c.opts.TokenTTL / time.Second))}})
	if failed != nil {
		return nil, failed
	}
	value := strings.TrimSpace(string(answer.body))
	if !validToken(value) {
		return nil, &failure{method: http.MethodPut, attempts: 1, sent: true, err: errBadToken}
	}
	ttl := c.opts.TokenTTL.Truncate(time.Second)
	if seconds, err := strconv.Atoi(answer.header.Get(headerTTL)); err == nil && seconds >= 0 {
		ttl = min(time.Duration(min(seconds, int(MaxTokenTTL/time.Second)))*time.Second, MaxTokenTTL)
	}
	return &token{value: value, expires: asked.Add(ttl)}, nil
}
