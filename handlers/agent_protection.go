package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/protection"
)

// protectionFamily is what the log calls requests for task protection.
const protectionFamily = "task-protection"

// protectionRequest is the body of PUT. A pointer tells what was left out.
type protectionRequest struct {
	ProtectionEnabled *bool
	ExpiresInMinutes  *int64
}

// protectionDocument is the answer: one of the last three, never more.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
type protectionDocument struct {
	RequestID  string             `json:"requestID,omitempty"`
	Protection *protectionState   `json:"protection,omitempty"`
	Failure    *protectionFailure `json:"failure,omitempty"`
	Error      *protectionError   `json:"error,omitempty"`
}

type protectionState struct {
	ExpirationDate    *time.Time
	ProtectionEnabled bool
	TaskArn           string
}

type protectionFailure struct {
	Arn    string
	Detail *string
	Reason string
}

type protectionError struct {
	Arn     string `json:",omitempty"`
	Code    string
	Message string
}

// The agent's names and texts for errors of its own.
// https://github.com/aws/amazon-ecs-agent/tree/master/ecs-agent/tmds/handlers/taskprotection
const (
	codeInvalidParameter = "InvalidParameterException"
	codeNotFound         = "ResourceNotFoundException"
	codeServer           = "ServerException"
	codeCanceled         = "RequestCanceled"

	textNotDecoded = "UpdateTaskProtection: failed to decode request"
	textNoTask     = "Failed to find a task for the request"
	textNoEnabled  = "Invalid request: does not contain 'ProtectionEnabled' field"
	textTimedOut   = "Timed out calling ECS Task Protection API"
)

// taskProtection serves GET and PUT /api/<id>/task-protection/v1/state, and the
// forms without an id and with a container's name.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
func (s *server) taskProtection() http.Handler {
	get, put := s.agentAPI(protectionFamily, s.getProtection), s.agentAPI(protectionFamily, s.putProtection)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			get.ServeHTTP(w, r)
		case http.MethodPut:
			put.ServeHTTP(w, r)
		default:
			s.methodNotAllowed(w, r, protectionFamily)
		}
	})
}

// getProtection answers with the protection of a task.
func (s *server) getProtection(r *http.Request, rec *record) agentReply {
	task, refused := s.protectedTask(r, rec)
	if task == nil {
		return refused
	}
	return s.callECS(r.Context(), task, s.protection.Get)
}

// putProtection changes the protection of a task. What is in the body comes
// first, even before the task is looked for.
func (s *server) putProtection(r *http.Request, rec *record) agentReply {
	var request protectionRequest
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return protectionRefusal(http.StatusBadRequest, "", codeInvalidParameter, textNotDecoded, err)
	}
	task, refused := s.protectedTask(r, rec)
	if task == nil {
		return refused
	}
	if request.ProtectionEnabled == nil {
		return protectionRefusal(http.StatusBadRequest, task.ARN, codeInvalidParameter, textNoEnabled, nil)
	}
	return s.callECS(r.Context(), task, func(ctx context.Context, t *local.Task) (protection.State, error) {
		return s.protection.Put(ctx, t, *request.ProtectionEnabled, request.ExpiresInMinutes)
	})
}

// protectedTask returns the task that a request is about, or nil and the
// answer.
func (s *server) protectedTask(r *http.Request, rec *record) (*local.Task, agentReply) {
	who, named, err := s.agentSubject(r)
	rec.who = who
	if err == nil {
		return who.Task, agentReply{}
	}
	text := local.MessageOf(err)
	switch local.CodeOf(err) {
	case local.NotFound:
		if named {
			text = textNoTask
		}
		return nil, protectionRefusal(http.StatusNotFound, "", codeNotFound, text, err)
	case local.Ambiguous:
		return nil, protectionRefusal(http.StatusBadRequest, "", codeInvalidParameter, text, err)
	default:
		return nil, protectionRefusal(http.StatusInternalServerError, "", codeServer, text, err)
	}
}

// callECS does what the agent would ask ECS for, with the task's own role.
func (s *server) callECS(ctx context.Context, task *local.Task, call func(context.Context, *local.Task) (protection.State, error)) agentReply {
	if s.strict && task.TaskRole == "" {
		return protectionReply(task, protection.State{}, protection.ErrNoCredentials)
	}
	state, err := call(ctx, task)
	return protectionReply(task, state, err)
}

// protectionReply words what ECS said.
func protectionReply(task *local.Task, state protection.State, err error) agentReply {
	if failure, ok := errors.AsType[*protection.Failure](err); ok {
		return agentReply{http.StatusOK, protectionDocument{Failure: &protectionFailure{Arn: failure.ARN, Reason: failure.Reason}}, err}
	}
	if refused, ok := errors.AsType[*protection.Exception](err); ok {
		return agentReply{refused.Status, protectionDocument{
			RequestID: refused.RequestID,
			Error:     &protectionError{Arn: task.ARN, Code: refused.Code, Message: refused.Message},
		}, err}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return protectionRefusal(http.StatusGatewayTimeout, task.ARN, codeCanceled, textTimedOut, err)
	case err != nil:
		return protectionRefusal(http.StatusInternalServerError, task.ARN, codeServer, local.MessageOf(err), err)
	}
	return agentReply{status: http.StatusOK, body: protectionDocument{Protection: newProtectionState(task, state)}}
}

func newProtectionState(task *local.Task, state protection.State) *protectionState {
	doc := &protectionState{ProtectionEnabled: state.Enabled, TaskArn: task.ARN}
	if state.Enabled {
		doc.ExpirationDate = &state.Expires
	}
	return doc
}

// protectionRefusal is an error without a request id. arn is empty while the
// task is not known.
func protectionRefusal(status int, arn, code, message string, err error) agentReply {
	return agentReply{status, protectionDocument{Error: &protectionError{Arn: arn, Code: code, Message: message}}, cmp.Or(err, errors.New(message))}
}
