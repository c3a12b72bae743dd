package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
)

// document is a body of JSON that is ready to be written.
type document []byte

// plain is a body that is not JSON.
type plain struct {
	contentType string
	bytes       []byte
}

// nothing is an answer without a body.
type nothing struct{}

// agentError is an error that the ECS agent words itself, with the status it
// gives it.
type agentError struct {
	status int
	text   string
}

func (e *agentError) Error() string { return e.text }

// dialect spells errors and answers the way one family of endpoints does.
type dialect struct {
	family string
	// status returns the status for an error without one of its own.
	status func(local.Code) int
	// body returns the body of an error.
	body func(status int, err error) any
}

// answer writes a result or an error, once, and logs the request. It encodes
// before it writes, so a value that cannot be encoded is a clean error.
func (s *server) answer(w http.ResponseWriter, r *http.Request, d dialect, rec record, begun time.Time, result any, err error) {
	status := http.StatusOK
	if err != nil {
		status = statusOf(d, err)
		result = d.body(status, err)
	}
	switch body := result.(type) {
	case document:
		writeBody(w, r, status, "application/json", body)
	case plain:
		w.Header()["X-Content-Type-Options"] = []string{"nosniff"}
		writeBody(w, r, status, body.contentType, body.bytes)
	case nothing:
		status = http.StatusNoContent
		w.WriteHeader(status)
	default:
		encoded, encodeErr := json.Marshal(result)
		if encodeErr != nil {
			// The agent answers an empty object when a document cannot be encoded.
			status, encoded, err = http.StatusInternalServerError, []byte("{}"), errors.Join(err, encodeErr)
		}
		writeBody(w, r, status, "application/json", encoded)
	}
	s.logRequest(r, rec, status, begun, err)
}

func statusOf(d dialect, err error) int {
	if agent, ok := errors.AsType[*agentError](err); ok {
		return agent.status
	}
	return d.status(local.CodeOf(err))
}

// writeBody sends headers and body.
func writeBody(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone; nobody is left to tell
	}
}

// routeOf returns the pattern of the route that matched.
func routeOf(r *http.Request) string {
	if r.Pattern != "" {
		return r.Pattern
	}
	if route := mux.CurrentRoute(r); route != nil {
		if pattern, err := route.GetPathTemplate(); err == nil {
			return pattern
		}
	}
	return r.URL.Path // no router was asked
}

// unrouted answers what no route matches, as the agent does.
func (s *server) unrouted(family string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		http.NotFound(w, r)
		s.logRequest(r, record{family: family, route: "none", who: s.known(r)}, http.StatusNotFound, begun, nil)
	})
}

// tidyPath makes a trailing slash and doubled slashes mean nothing. The agent
// answers them with 404 and 301; local clients should not have to care.
func tidyPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		for strings.Contains(path, "//") {
			path = strings.ReplaceAll(path, "//", "/")
		}
		for len(path) > 1 && strings.HasSuffix(path, "/") {
			path = path[:len(path)-1]
		}
		r.URL.Path, r.URL.RawPath = path, ""
		next.ServeHTTP(w, r)
	})
}

// remote returns the address of the TCP peer. Forwarding headers say nothing
// about who is calling: anybody can set them.
func remote(r *http.Request) (netip.Addr, error) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, err
	}
	return peer.Addr().Unmap(), nil
}

// caller says who is calling, by the source address alone. What the current
// snapshot knows is answered at once; otherwise the runtime is asked anew.
func (s *server) caller(r *http.Request) (local.Caller, error) {
	addr, err := remote(r)
	if err != nil {
		return local.Caller{}, err
	}
	return s.lookUp(r.Context(), question{
		ask:     func(d *local.Directory) (local.Caller, error) { return d.WhoIs(addr) },
		settled: func(d *local.Directory, err error) bool { return err == nil && !d.Passing(addr) || d.IsHost(addr) },
	})
}

// known returns the caller if the current snapshot has it, for the log.
func (s *server) known(r *http.Request) local.Caller {
	addr, err := remote(r)
	if err != nil || s.runtime == nil {
		return local.Caller{}
	}
	dir, _ := s.runtime.Current()
	return dir.Known(addr)
}

// question is something to ask a snapshot. settled reports whether the answer
// would be the same if the runtime were asked anew.
type question struct {
	ask     func(*local.Directory) (local.Caller, error)
	settled func(*local.Directory, error) bool
}

// lookUp asks the current snapshot, and unless that settles it, a fresh one.
func (s *server) lookUp(ctx context.Context, q question) (local.Caller, error) {
	dir, synced := s.runtime.Current()
	who, err := q.ask(dir)
	if synced && q.settled(dir, err) {
		return who, err
	}
	fresh, refreshErr := s.runtime.Refresh(ctx, func(d *local.Directory) bool {
		_, err := q.ask(d)
		return err == nil && q.settled(d, err)
	})
	if refreshErr == nil {
		return q.ask(fresh)
	}
	// The last known truth counts while the runtime is away. It may know more
	// by now, or that several fit.
	dir, _ = s.runtime.Current()
	if who, err = q.ask(dir); err == nil || local.CodeOf(err) == local.Ambiguous {
		return who, err
	}
	return local.Caller{}, refreshErr
}
