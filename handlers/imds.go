package handlers

import (
	"log/slog"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// instance is the HTTP side of the instance metadata service. There is no
// router: the service looks the path up as it came, once.
type instance struct {
	service *imds.Service
	log     *slog.Logger
	heads   lineHeads                        // of its lines about requests
	known   func(*http.Request) local.Caller // for the log; may be nil
	// authorize returns why a request may not have credentials. May be nil.
	authorize func(*http.Request) error
}

// NewIMDS returns the handler of an instance metadata service and of nothing
// else; a request's Host and origin are not looked at. A server of it has
// ConnContext, for the hop limit, and DisableGeneralOptionsHandler set.
func NewIMDS(service *imds.Service, log *slog.Logger) http.Handler {
	return &instance{service: service, log: log}
}

// instance serves the instance metadata service.
func (s *server) instance() http.Handler {
	i := &instance{service: s.imds, log: s.log, known: s.known}
	if s.authorization != nil {
		i.authorize = s.authorize
	}
	return i
}

// Header values that never change. net/http only reads them.
var (
	serverEC2ws = []string{"EC2ws"}
	rangesNone  = []string{"none"}
	closing     = []string{"close"}
)

// ServeHTTP serves every method and path of the instance metadata service.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	request := imds.Request{Method: r.Method, Path: target(r), KeepAlive: keepAlive(r.Header)}
	request.Token, request.HasToken = first(r.Header, imds.HeaderToken)
	request.TokenTTL, _ = first(r.Header, imds.HeaderTokenTTL)
	_, request.Forwarded = r.Header[imds.HeaderForwarded]

	var refused error
	if i.authorize != nil {
		request.Allowed = func() bool { refused = i.authorize(r); return refused == nil }
	}
	response := i.service.Answer(request)
	i.limitHops(r, response)
	send(w, &response)
	rec := record{family: "imds", route: routeOfInstance(r)}
	if i.known != nil {
		rec.who = i.known(r)
	}
	logRequest(i.log, &i.heads, r, rec, response.Status, begun, refused)
}

// target returns the path of the request line, undecoded.
func target(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	return r.URL.EscapedPath() // the request line has a whole URL, or there is none
}

// first returns the first value of a header and whether there is one.
func first(h http.Header, name string) (string, bool) {
	values := h[name]
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

// keepAlive reports whether a request asks for its connection to be kept. The
// service closes all others.
func keepAlive(h http.Header) bool {
	keep := false
	for _, value := range h["Connection"] {
		for option := range strings.SplitSeq(value, ",") {
			switch option = strings.TrimSpace(option); {
			case strings.EqualFold(option, "keep-alive"):
				keep = true
			case strings.EqualFold(option, "close"):
				return false
			}
		}
	}
	return keep
}

// send writes an answer. net/http adds the header Date, and closes the
// connection when the answer says so.
func send(w http.ResponseWriter, response *imds.Response) {
	h := w.Header()
	text := make([]string, 0, 5) // one allocation for the values that differ
	set := func(name, value string) {
		text = append(text, value)
		h[name] = text[len(text)-1 : len(text) : len(text)]
	}
	if response.TokenTTL >= 0 {
		set(imds.HeaderTokenTTL, strconv.Itoa(response.TokenTTL))
	}
	set("Content-Type", response.ContentType)
	if response.LastModified != "" {
		h["Accept-Ranges"] = rangesNone
		set("Last-Modified", response.LastModified)
	}
	if response.Allow != "" {
		set("Allow", response.Allow)
	}
	set("Content-Length", strconv.Itoa(response.ContentLength))
	h["Server"] = serverEC2ws
	if response.Close {
		h["Connection"] = closing
	}
	w.WriteHeader(response.Status)
	if len(response.Body) > 0 {
		_, _ = w.Write(response.Body) // the client may be gone; nobody is left to tell
	}
}

// ofInstance reports whether a path belongs to the instance metadata service
// where it shares an address with the endpoints of ECS: the root, and what is
// below a version, whether there is such a version or not.
func ofInstance(r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, "/latest/") { // nearly all
		return true
	}
	version, _ := splitVersion(r.URL.Path)
	return version == "" || isVersion(version)
}

// splitVersion cuts a path, cleaned, after its first name.
func splitVersion(p string) (version, rest string) {
	version, rest, _ = strings.Cut(path.Clean("/" + p)[1:], "/")
	return version, rest
}

// isVersion reports whether a name has the form of a version: latest, 1.0, or
// a date.
func isVersion(name string) bool {
	if name == "latest" || name == "1.0" {
		return true
	}
	if len(name) != len(time.DateOnly) {
		return false
	}
	for i := range len(name) {
		if dash := i == 4 || i == 7; dash != (name[i] == '-') || !dash && (name[i] < '0' || name[i] > '9') {
			return false
		}
	}
	return true
}

// routeOfInstance returns what the log calls a request: token, meta-data,
// dynamic, user-data, versions, or none. Paths stay out of the log.
func routeOfInstance(r *http.Request) string {
	rest, ok := strings.CutPrefix(r.URL.Path, "/latest/")
	if !ok || strings.Contains(rest, "//") || strings.Contains(rest, ".") {
		var version string
		if version, rest = splitVersion(r.URL.Path); version != "" && !isVersion(version) {
			return "none"
		}
	}
	switch top, below, _ := strings.Cut(rest, "/"); {
	case top == "meta-data", top == "dynamic", top == "user-data":
		return top
	case top == "api" && strings.TrimSuffix(below, "/") == "token":
		return "token"
	case top == "":
		return "versions"
	default:
		return "none"
	}
}
