package handlers

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// maxAgentBody is the most that a request to the agent API may carry.
const maxAgentBody = 64 << 10

// agentReply is what an endpoint of the agent API answers. Its errors have the
// shape of its answers, so the body comes with the error, which is for the log.
type agentReply struct {
	status int
	body   any
	err    error
}

// agentAPI serves what an endpoint returns, as JSON. The record is for the
// endpoint to say whom the request is about.
func (s *server) agentAPI(family string, endpoint func(*http.Request, *record) agentReply) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: family, route: routeOf(r)}
		r.Body = http.MaxBytesReader(w, r.Body, maxAgentBody)
		reply := endpoint(r, &rec)
		writeBody(w, r, reply.status, "application/json", mustEncode(reply.body))
		s.logRequest(r, rec, reply.status, begun, reply.err)
	})
}

// methodNotAllowed answers a method that a path of the agent API does not
// have: no body, and no word about those that it has.
func (s *server) methodNotAllowed(w http.ResponseWriter, r *http.Request, family string) {
	begun := time.Now()
	w.WriteHeader(http.StatusMethodNotAllowed)
	s.logRequest(r, record{family: family, route: routeOf(r)}, http.StatusMethodNotAllowed, begun, nil)
}

// agentSubject says for whom a request of the agent API is: for the container
// that the path names, or for the caller. named tells which.
func (s *server) agentSubject(r *http.Request) (who local.Caller, named bool, err error) {
	if id, ok := variable(r, "id"); ok {
		who, err = s.named(r, id)
		return who, true, err
	}
	who, err = s.caller(r)
	if said, ok := errors.AsType[*local.Error](err); ok {
		here := *said
		here.Msg = strings.ReplaceAll(said.Msg, "/v4/containers/", "/api/containers/")
		err = &here
	}
	return who, false, err
}
