package handlers

import (
	"errors"
	"net/http"

	"github.com/gorilla/mux"

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
	limiter := newFaultLimiter()
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
		if s.strict && !s.withinLimit(limiter, w, r, record{family: faultFamily, route: routeOf(r)}) {
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
	id, _ := variable(r, "id")
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
