package handlers

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// record is what the log says about a request.
type record struct {
	family, route string
	who           local.Caller
	// routine requests, such as a health check's, are logged at debug while
	// they succeed.
	routine bool
}

// logRequest writes the one line about a request.
func (s *server) logRequest(r *http.Request, rec record, status int, begun time.Time, err error) {
	logRequest(s.log, &s.heads, r, rec, status, begun, err)
}

// logRequest writes the one line about a request. The path is not in it: it
// can hold the id of credentials. The record is made by hand because a Logger
// would look up, for every line, which line of code it was called from.
func logRequest(log *slog.Logger, heads *lineHeads, r *http.Request, rec record, status int, begun time.Time, err error) {
	level := slog.LevelInfo
	ctx := r.Context()
	switch {
	case rec.routine && status == http.StatusOK:
		level = slog.LevelDebug
	case ctx.Err() != nil: // the client did not wait for the answer
	case !rec.routine && status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	if !log.Enabled(ctx, level) {
		return
	}
	now := time.Now()
	line := slog.NewRecord(now, level, "request", 0)
	line.AddAttrs(slog.Int("status", status), slog.Duration("duration", now.Sub(begun)), slog.String("remote", r.RemoteAddr))
	if err != nil {
		line.AddAttrs(slog.String("error", err.Error()))
	}
	_ = heads.handler(log, r.Method, rec).Handle(ctx, line) // a log that cannot be written has nowhere to say so
}

// lineHeads keeps how lines about requests begin, as the log writes it: most of
// a line is the same for all requests of a container to a route, and to format
// it takes longer than to find out what to answer. The zero value is empty.
type lineHeads struct {
	known atomic.Pointer[map[lineHead]slog.Handler]
}

type lineHead struct{ family, route, method, container, task string }

// mostHeads is how many beginnings are kept; then all are made anew.
const mostHeads = 1000

// commonMethods are those that are worth a beginning of their own: a client can
// make up any number of others.
var commonMethods = []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost}

// handler returns the log's, for lines that begin with these.
func (h *lineHeads) handler(log *slog.Logger, method string, rec record) slog.Handler {
	head := lineHead{family: rec.family, route: rec.route, method: method}
	if rec.who.Container != nil {
		head.container = rec.who.Container.DockerName
	}
	if rec.who.Task != nil {
		head.task = rec.who.Task.Name
	}
	known := h.known.Load()
	if known != nil {
		if handler := (*known)[head]; handler != nil {
			return handler
		}
	}
	attrs := appendCaller([]slog.Attr{
		slog.String("family", head.family), slog.String("route", head.route), slog.String("method", head.method),
	}, rec.who)
	handler := log.Handler().WithAttrs(attrs)
	if !slices.Contains(commonMethods, method) {
		return handler
	}
	more := map[lineHead]slog.Handler{}
	if known != nil && len(*known) < mostHeads {
		more = maps.Clone(*known)
	}
	more[head] = handler
	h.known.Store(&more) // without what others add right now: they will add it again
	return handler
}

// appendCaller appends what the log says about who is calling.
func appendCaller(attrs []slog.Attr, who local.Caller) []slog.Attr {
	if who.Container != nil {
		attrs = append(attrs, slog.String("container", who.Container.DockerName))
	}
	if who.Task != nil {
		attrs = append(attrs, slog.String("task", who.Task.Name))
	}
	return attrs
}
