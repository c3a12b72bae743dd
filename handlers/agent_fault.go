package handlers

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

// faultFamily is what the log calls requests for faults.
const faultFamily = "fault"

// faultStatus and faultError are the two answers.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fault-injection.html
type faultStatus struct{ Status string }

type faultError struct{ Error string }

// networkFault serves POST /api/<id>/fault/v1/<kind>/<action>, and the forms
// without an id and with a container's name.
// https://github.com/aws/amazon-ecs-agent/tree/master/ecs-agent/tmds/handlers/fault/v1
func (s *server) networkFault() http.Handler {
	limits := &faultLimits{counts: map[string]*rate.Limiter{}}
	post := s.agentAPI(faultFamily, func(r *http.Request, rec *record) agentReply {
		status, err := s.doFault(r, rec)
		if err != nil {
			return faultRefusal(err)
		}
		return agentReply{status: http.StatusOK, body: faultStatus{status}}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			s.methodNotAllowed(w, r, faultFamily)
			return
		}
		if s.strict && !s.withinLimit(limits, w, r) {
			return
		}
		post.ServeHTTP(w, r)
	})
}

// faultActions are the actions by their names in paths.
var faultActions = map[string]fault.Action{"start": fault.Start, "stop": fault.Stop, "status": fault.Status}

// doFault checks the body, then the task, then does what is asked.
func (s *server) doFault(r *http.Request, rec *record) (status string, err error) {
	vars := mux.Vars(r)
	action := faultActions[vars["action"]]
	f, err := fault.Parse(fault.Kind(vars["kind"]), action, r.Body)
	if err != nil {
		return "", err
	}
	target, err := s.faultTarget(r, rec)
	if err != nil {
		return "", err
	}
	switch action {
	case fault.Start:
		return "running", s.faults.Start(r.Context(), target, f)
	case fault.Stop:
		return "stopped", s.faults.Stop(r.Context(), target, f)
	default:
		running, err := s.faults.Status(r.Context(), target, f)
		if !running {
			return "not-running", err
		}
		return "running", err
	}
}

// faultTarget says where a request's fault goes.
func (s *server) faultTarget(r *http.Request, rec *record) (fault.Target, error) {
	who, named, err := s.agentSubject(r)
	rec.who = who
	id := mux.Vars(r)["id"]
	if named && local.CodeOf(err) == local.NotFound {
		return fault.Target{}, &agentError{http.StatusNotFound, "unable to get task arn from request: unable to get task Arn from v3 endpoint ID: " + id}
	}
	if err != nil {
		return fault.Target{}, err
	}
	if !named && who.Container != nil {
		id = who.Container.EndpointID
	}
	return s.faults.Target(who.Task, who.Container, id)
}

// faultRefusal words an error.
func faultRefusal(err error) agentReply {
	if agent, ok := errors.AsType[*agentError](err); ok {
		return agentReply{agent.status, faultError{agent.text}, err}
	}
	if refused, ok := errors.AsType[*fault.Error](err); ok {
		return agentReply{refused.HTTPStatus, faultError{refused.Text}, err}
	}
	return agentReply{httpStatus(local.CodeOf(err)), faultError{local.MessageOf(err)}, err}
}

// The agent's limit for each path of the faults and each address.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fault-injection.html
const (
	faultsPerSecond = 0.2
	faultsAtOnce    = 1
)

// mostFaultLimits is how many paths and addresses are kept before those that
// no longer count are dropped.
const mostFaultLimits = 1024

// faultLimits counts the requests of each address to each path.
type faultLimits struct {
	mu     sync.Mutex
	counts map[string]*rate.Limiter
}

// allow reports whether a request may be done now.
func (l *faultLimits) allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.counts[key]
	if count == nil {
		if len(l.counts) >= mostFaultLimits {
			l.forget()
		}
		count = rate.NewLimiter(faultsPerSecond, faultsAtOnce)
		l.counts[key] = count
	}
	return count.Allow()
}

// forget drops the counts that allow as much as a new one does, or all if there
// are none of these.
func (l *faultLimits) forget() {
	for key, count := range l.counts {
		if count.Tokens() >= faultsAtOnce {
			delete(l.counts, key)
		}
	}
	if len(l.counts) >= mostFaultLimits {
		clear(l.counts)
	}
}

// withinLimit adds the limiter's headers, and answers a request that is one
// too many. The agent has a limiter for all paths in front of this one, with
// the same headers.
func (s *server) withinLimit(limits *faultLimits, w http.ResponseWriter, r *http.Request) bool {
	begun := time.Now()
	addr, err := remote(r)
	h := w.Header()
	h.Add("X-Rate-Limit-Limit", "0.20")
	h.Add("X-Rate-Limit-Duration", "1")
	h.Add("X-Rate-Limit-Request-Forwarded-For", r.Header.Get("X-Forwarded-For"))
	h.Add("X-Rate-Limit-Request-Remote-Addr", r.RemoteAddr)
	if err == nil && limits.allow(addr.String()+"|"+r.URL.Path) {
		return true
	}
	writeBody(w, r, http.StatusTooManyRequests, "text/plain; charset=utf-8", []byte("You have reached maximum request limit"))
	s.logRequest(r, record{family: faultFamily, route: routeOf(r)}, http.StatusTooManyRequests, begun, err)
	return false
}
