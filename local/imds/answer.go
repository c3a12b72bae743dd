package imds

import (
	"strconv"
	"strings"
	"time"
)

// Names of the headers of a request, in Go's canonical form.
const (
	HeaderToken     = "X-Aws-Ec2-Metadata-Token"
	HeaderTokenTTL  = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	HeaderForwarded = "X-Forwarded-For"
)

// Request is what the service needs to know of an HTTP request.
type Request struct {
	Method string
	// Path is that of the request line as it came, percent-encoding and all;
	// a query may follow it.
	Path string

	// Token is the first HeaderToken; HasToken whether there is one, which may
	// be empty.
	Token    string
	HasToken bool
	TokenTTL string // HeaderTokenTTL
	// Forwarded is whether there is a HeaderForwarded, whatever its value.
	Forwarded bool
	// Allowed reports whether the request may have the keys of the instance's
	// identity and of tasks. It is called for these only. Nil: it may.
	Allowed func() bool
	// KeepAlive is whether the header Connection asks for it.
	KeepAlive bool
}

// Response is the answer. The caller must not change Body. The transport adds
// the header Date.
type Response struct {
	Status        int
	TokenTTL      int    // seconds, of HeaderTokenTTL; -1: no such header
	ContentType   string // as it is to be sent, without a charset
	LastModified  string // empty: neither Last-Modified nor Accept-Ranges
	Allow         string // empty: no such header
	ContentLength int    // of the body that a GET would have
	Close         bool   // Connection: close, and the connection ends
	Body          []byte // nil for HEAD
}

// Statuses, as net/http has them.
const (
	statusOK               = 200
	statusBadRequest       = 400
	statusUnauthorized     = 401
	statusForbidden        = 403
	statusNotFound         = 404
	statusMethodNotAllowed = 405
)

const (
	textPlain = "text/plain"
	textHTML  = "text/html"
	octets    = "application/octet-stream"

	tokenPath = "/latest/api/token"
)

// notFoundPage is the body of every 404.
const notFoundPage = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
` + "\t\t" + ` "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>404 - Not Found</title>
 </head>
 <body>
  <h1>404 - Not Found</h1>
 </body>
</html>
`

var notFoundBody = []byte(notFoundPage)

// Headers calls yield with the headers in the order of the real service,
// without Date.
func (r Response) Headers(yield func(name, value string) bool) {
	header := func(name, value string) bool { return value == "" || yield(name, value) }
	ttl, ranges, connection := "", "", ""
	if r.TokenTTL >= 0 {
		ttl = strconv.Itoa(r.TokenTTL)
	}
	if r.LastModified != "" {
		ranges = "none"
	}
	if r.Close {
		connection = "close"
	}
	_ = header(HeaderTokenTTL, ttl) &&
		header("Content-Type", r.ContentType) &&
		header("Accept-Ranges", ranges) &&
		header("Last-Modified", r.LastModified) &&
		header("Allow", r.Allow) &&
		header("Content-Length", strconv.Itoa(r.ContentLength)) &&
		header("Server", "EC2ws") &&
		header("Connection", connection)
}

// empty is an answer without a body.
func (r Request) empty(status int) Response {
	return Response{Status: status, TokenTTL: -1, ContentType: textPlain, Close: !r.KeepAlive}
}

// Answer answers a request. It takes no lock and renders nothing. The order of
// its checks is that of the real service: who asks comes before what exists.
func (s *Service) Answer(r Request) Response {
	snap := s.current.Load()
	if snap.options.HTTPEndpoint == Disabled {
		return r.empty(statusForbidden)
	}
	path := clean(r.Path)
	if path == tokenPath {
		return s.token(r)
	}

	ttl, delivery := -1, V1
	switch {
	case r.HasToken:
		left, ok := s.tokens.remaining(time.Now(), r.Token)
		if !ok {
			return r.empty(statusUnauthorized)
		}
		ttl, delivery = left, V2
	case snap.options.HTTPTokens == Required:
		return r.empty(statusUnauthorized)
	}

	response := r.empty(statusForbidden)
	response.TokenTTL = ttl
	if r.HasToken && r.Forwarded {
		return response
	}
	switch r.Method {
	case "GET", "HEAD":
		if r.Allowed != nil && guarded(path) && !r.Allowed() {
			break
		}
		snap.value(&response, path, delivery)
	case "OPTIONS":
		response.Status, response.Allow = statusOK, "OPTIONS, GET, HEAD"
	}
	response.ContentLength = len(response.Body)
	if r.Method == "HEAD" {
		response.Body = nil
	}
	return response
}

// guarded reports whether a clean path is below the keys of the instance's
// identity, or of a task. Those of the instance profile are for every program
// of the instance.
func guarded(path string) bool {
	dir, _, ok := strings.Cut(path, "/security-credentials/")
	if !ok {
		return false
	}
	_, dir, _ = strings.Cut(strings.TrimPrefix(dir, "/"), "/") // the version
	return dir == "meta-data/identity-credentials/ec2" || strings.HasPrefix(dir, "meta-data/"+namespacePrefix)
}

// value puts what is at a path into the response.
func (s *snapshot) value(response *Response, path string, d Delivery) {
	response.ContentType = textPlain
	switch body, kind := s.find(path, d); kind {
	case "":
		response.Status, response.ContentType, response.Body = statusNotFound, textHTML, notFoundBody
	default:
		response.Status, response.ContentType, response.Body, response.LastModified = statusOK, kind, body, s.modified
	}
}

// find returns the value at a clean path and its content type, which is empty
// when there is nothing.
func (s *snapshot) find(path string, d Delivery) (body []byte, kind string) {
	if path == "" {
		return versionList, textPlain
	}
	name, rest, deeper := strings.Cut(path[1:], "/")
	version, ok := versionIndex[name]
	switch {
	case !ok:
		return nil, ""
	case !deeper:
		return s.menu, textPlain
	}
	n := s.nodes[rest]
	if n == nil || n.since > version {
		return nil, ""
	}
	if rest == userData {
		return n.body(version, d), octets
	}
	return n.body(version, d), textPlain
}

// token answers PUT /latest/api/token.
func (s *Service) token(r Request) Response {
	const allow = "OPTIONS, PUT"
	response := r.empty(statusMethodNotAllowed)
	switch r.Method {
	case "PUT":
		if r.Forwarded {
			response.Status = statusForbidden
			return response
		}
		ttl, ok := parseTTL(r.TokenTTL)
		if !ok {
			response.Status = statusBadRequest
			return response
		}
		response.Status, response.TokenTTL = statusOK, ttl
		response.Body = s.tokens.issue(time.Now(), ttl)
		response.ContentLength = len(response.Body)
	case "OPTIONS":
		response.Status, response.Allow = statusOK, allow
	default:
		response.Allow = allow
	}
	return response
}
