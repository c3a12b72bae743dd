package imdsclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// explain says what err means for somebody who asked for path with ctx.
func (c *Client) explain(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("read %s from IMDS: %w", path, ctx.Err())
	}
	code, msg := local.Timeout, ""
	var f *failure
	switch {
	case !errors.As(err, &f):
		msg = fmt.Sprintf("no token for %s within %v, perhaps because another process or caller was asking for one: try again, or allow more time",
			c.Endpoint(), c.opts.Timeout)
	case f.status != 0 && f.method == http.MethodPut:
		code, msg = c.explainToken(f)
	case f.status != 0:
		code, msg = c.explainStatus(f, path)
	default:
		code, msg = c.explainSilence(f, path)
	}
	return &local.Error{Code: code, Msg: msg, Err: err}
}

// explainToken is about a token request that was answered.
func (c *Client) explainToken(f *failure) (local.Code, string) {
	switch f.status {
	case http.StatusBadRequest:
		return local.Invalid, fmt.Sprintf("%s does not issue a token for %v (400): choose another lifetime", c.Endpoint(), c.opts.TokenTTL)
	case http.StatusForbidden:
		return local.Denied, fmt.Sprintf("%s refuses to issue a token (403): turn the metadata endpoint of the instance on (HttpEndpoint), "+
			"and ask without a proxy that adds X-Forwarded-For", c.Endpoint())
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return local.Unavailable, fmt.Sprintf("%s has no tokens (%d), so it is no IMDSv2: check the endpoint, or allow IMDSv1 (--allow-v1)",
			c.Endpoint(), f.status)
	default:
		return c.explainStatus(f, pathToken)
	}
}

// explainStatus is about any other request that was answered.
func (c *Client) explainStatus(f *failure, path string) (local.Code, string) {
	switch {
	case f.status == http.StatusNotFound:
		return local.NotFound, fmt.Sprintf("%s is not in the instance metadata of %s (404): look at what is there with `ecs-local imds ls`",
			path, c.Endpoint())
	case f.status == http.StatusUnauthorized && f.tokenless:
		return local.Denied, fmt.Sprintf("%s wants a token for %s (401) but issues none: check the endpoint", c.Endpoint(), path)
	case f.status == http.StatusUnauthorized:
		return local.Denied, fmt.Sprintf("%s refuses the token that it just issued (401): check that the endpoint is one instance, not several behind one address",
			c.Endpoint())
	case f.status == http.StatusForbidden:
		return local.Denied, fmt.Sprintf("%s refuses %s (403): turn the metadata endpoint of the instance on (HttpEndpoint), "+
			"and ask without a proxy that adds X-Forwarded-For", c.Endpoint(), path)
	case f.status >= 300 && f.status < 400:
		return local.Unavailable, fmt.Sprintf("%s redirects %s (%d), which an instance metadata service never does: check the endpoint",
			c.Endpoint(), path, f.status)
	case f.transient() && f.after > 0:
		return local.Unavailable, fmt.Sprintf("%s cannot answer for %s (%d after %s) and asks to wait %v: try again then, or allow more time",
			c.Endpoint(), path, f.status, attempts(f), f.after.Round(time.Second))
	case f.transient():
		return local.Unavailable, fmt.Sprintf("%s cannot answer for %s (%d after %s): ask less often, or try again later",
			c.Endpoint(), path, f.status, attempts(f))
	default:
		return local.Unavailable, fmt.Sprintf("%s answers %s with status %d: check the endpoint", c.Endpoint(), path, f.status)
	}
}

// explainSilence is about a request that was not answered.
func (c *Client) explainSilence(f *failure, path string) (local.Code, string) {
	code := local.Unavailable
	var network net.Error
	if errors.As(f.err, &network) && network.Timeout() { // also a deadline of a context
		code = local.Timeout
	}
	switch {
	case errors.Is(f.err, errTooLarge):
		return local.Unavailable, fmt.Sprintf("%s answers %s with more than %d bytes: check the endpoint", c.Endpoint(), path, c.opts.MaxBytes)
	case errors.Is(f.err, errBadToken):
		return local.Unavailable, c.Endpoint() + " answers a token request with something else: check the endpoint"
	case f.sent && f.method == http.MethodPut:
		// The hop limit is on packets with tokens only: everything else works.
		return code, fmt.Sprintf("%s takes the request for a token but no answer arrives (%s): in a container, "+
			"raise the instance's hop limit (HttpPutResponseHopLimit) to 2, or use the host's network", c.Endpoint(), attempts(f))
	case f.sent:
		return code, fmt.Sprintf("%s takes the request for %s but no whole answer arrives (%s): try again, or allow more time",
			c.Endpoint(), path, attempts(f))
	default:
		return code, fmt.Sprintf("no instance metadata service at %s (%s): outside EC2, start `ecs-local serve` and give its address "+
			"with --endpoint or AWS_EC2_METADATA_SERVICE_ENDPOINT", c.Endpoint(), attempts(f))
	}
}

func attempts(f *failure) string {
	if f.attempts == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", f.attempts)
}
