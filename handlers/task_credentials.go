package handlers

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
)

// TaskCredentials are the credentials of the roles of local tasks. As in the
// agent, each role has an id that nobody can guess, and whoever knows it may
// have the credentials.
type TaskCredentials interface {
	// ID returns the id of a role of a task, TaskApplication or TaskExecution;
	// empty when the task has no such role.
	ID(task *local.Task, roleType string) string
	// Get returns the credentials of the role with this id. Unavailable: there
	// is such a role, but its credentials have not been delivered yet. NotFound:
	// there is none.
	Get(id string) (local.Credentials, error)
}

// The types of a task's roles.
const (
	taskApplication = "TaskApplication"
	taskExecution   = "TaskExecution"
)

// deliveredV1 serves GET /v1/credentials?id=<id>.
func (s *server) deliveredV1() http.Handler {
	return s.delivered("V1", func(r *http.Request) string { return r.URL.Query().Get("id") })
}

// deliveredV2 serves GET /v2/credentials/<id>.
func (s *server) deliveredV2() http.Handler {
	return s.delivered("V2", func(r *http.Request) string { return mux.Vars(r)["id"] })
}

// delivered serves the credentials of a task's role, in the agent's words.
// https://github.com/aws/amazon-ecs-agent/blob/master/ecs-agent/tmds/handlers/v1/credentials_handler.go
func (s *server) delivered(version string, idOf func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: credentialsDialect.family, route: routeOf(r)}
		if !s.reads(w, r, rec, begun) {
			return
		}
		rec.who, _ = s.caller(r)
		body, err := s.deliveredTo(r, idOf(r), "Credentials"+version+"Request: ")
		s.answer(w, r, credentialsDialect, rec, begun, body, err)
	})
}

// deliveredTo returns the document for an id; prefix begins the agent's
// messages.
func (s *server) deliveredTo(r *http.Request, id, prefix string) (any, error) {
	if id == "" {
		return nil, &local.Error{Code: local.Invalid, Name: "NoIdInRequest", Msg: prefix + "No Credential ID in the request"}
	}
	if s.taskCredentials == nil {
		return nil, &local.Error{Code: local.Invalid, Name: "InvalidIdInRequest", Msg: prefix + "Credentials not found"}
	}
	c, err := s.taskCredentials.Get(id)
	if local.CodeOf(err) == local.NotFound {
		// The task may have started just now.
		if _, refreshErr := s.runtime.Refresh(r.Context(), nil); refreshErr == nil {
			c, err = s.taskCredentials.Get(id)
		}
	}
	switch local.CodeOf(err) {
	case local.NotFound:
		return nil, &local.Error{Code: local.Invalid, Name: "InvalidIdInRequest", Msg: prefix + "Credentials not found", Err: err}
	case local.Unavailable:
		return nil, &local.Error{Code: local.Unavailable, Name: "CredentialsUninitialized", Msg: prefix + "Credentials uninitialized for ID", Err: err}
	}
	if err != nil {
		return nil, err
	}
	return newCredentialsDocument(c), nil
}

// reads reports whether a request only reads, and answers any other with 405.
func (s *server) reads(w http.ResponseWriter, r *http.Request, rec record, begun time.Time) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	s.answer(w, r, methodDialect, rec, begun, nil,
		local.Errorf(local.Invalid, "%s is not allowed here: ask for credentials with GET", r.Method))
	return false
}

// credentialsPath is the path of a role's credentials, as the agent puts it
// into AWS_CONTAINER_CREDENTIALS_RELATIVE_URI.
func credentialsPath(id string) string { return "/v2/credentials/" + id }
