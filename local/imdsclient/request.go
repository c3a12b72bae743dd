package imdsclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Waits between attempts: from firstBackoff on, doubled each time up to
// maxBackoff, and anywhere in the upper half of that, so that clients that
// failed together do not come back together. A service may ask for more with
// Retry-After, up to maxRetryAfter.
const (
	firstBackoff  = 100 * time.Millisecond
	maxBackoff    = time.Second
	maxRetryAfter = 30 * time.Second
)

// reply is a good answer.
type reply struct {
	header http.Header
	body   []byte
}

// failure is a request without a good answer. It never holds a body.
type failure struct {
	method   string
	attempts int
	status   int           // zero without an answer
	after    time.Duration // what Retry-After asked for
	err      error         // why there is no answer
	// sent: a connection took the request, so somebody is there.
	sent bool
	// tokenless: the request went without a token.
	tokenless bool
}

func (f *failure) Error() string {
	if f.err != nil {
		return f.method + ": " + f.err.Error()
	}
	return fmt.Sprintf("%s: status %d", f.method, f.status)
}

func (f *failure) Unwrap() error { return f.err }

var (
	errTooLarge = errors.New("answer too large")
	errBroken   = errors.New("answer is not whole HTTP")
)

// transient reports whether the same request may be answered better later.
func (f *failure) transient() bool {
	switch f.status {
	case 0:
		return !errors.Is(f.err, errTooLarge)
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// send makes a request as often as it takes and the options allow. It gives up
// early when the context would end before the next attempt.
func (c *Client) send(ctx context.Context, method, path string, header http.Header) (reply, *failure) {
	for attempt := 1; ; attempt++ {
		if attempt > 1 {
			c.retries.Add(1)
		}
		answer, failed := c.attempt(ctx, method, path, header)
		if failed == nil {
			return answer, nil
		}
		failed.attempts = attempt
		if !failed.transient() || attempt >= c.opts.Attempts || ctx.Err() != nil {
			return reply{}, failed
		}
		wait := max(backoff(attempt), min(failed.after, maxRetryAfter))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return reply{}, failed
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return reply{}, failed
		}
	}
}

func backoff(attempt int) time.Duration {
	d := maxBackoff
	if attempt < 10 { // beyond, the shift says nothing new
		d = min(d, firstBackoff<<(attempt-1))
	}
	return d/2 + rand.N(d/2)
}

// attempt makes a request once.
func (c *Client) attempt(ctx context.Context, method, path string, header http.Header) (reply, *failure) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.AttemptTimeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) { sent.Store(info.Err == nil) },
	})
	failed := func(err error) (reply, *failure) {
		return reply{}, &failure{method: method, err: cause(err), sent: sent.Load()}
	}

	target := c.base
	target.Path = path
	request, err := http.NewRequestWithContext(ctx, method, target.String(), http.NoBody)
	if err != nil {
		return failed(err)
	}
	request.Header = header.Clone()
	c.requests.Add(1)
	if method == http.MethodPut {
		c.tokens.Add(1)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, c.opts.MaxBytes+1))
	switch {
	case response.StatusCode < 200 || response.StatusCode > 299:
		return reply{}, &failure{
			method: method, status: response.StatusCode, after: retryAfter(response.Header), sent: true,
		}
	case err != nil:
		return failed(err)
	case int64(len(body)) > c.opts.MaxBytes:
		return failed(errTooLarge)
	}
	return reply{header: response.Header, body: body}, nil
}

// cause returns what may be said of an error of net/http. What says how the
// answer is malformed quotes it, and it may be a secret.
func cause(err error) error {
	var (
		wrapped     *url.Error
		connection  *net.OpError
		network     net.Error
		certificate *tls.CertificateVerificationError
	)
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the address and the path are said elsewhere
	}
	switch {
	case errors.As(err, &connection):
		return connection
	case errors.As(err, &network) && network.Timeout(), errors.As(err, &certificate),
		errors.Is(err, context.Canceled), errors.Is(err, errTooLarge):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	default:
		return errBroken
	}
}

// retryAfter reads how long the service asks to wait: seconds or a date.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), 24*60*60)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
