package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// TaskCredentials are the credentials of the roles of local tasks. As in the
// agent, each role has an id that nobody can guess.
type TaskCredentials interface {
	// ID returns the id of a role of a task, TaskApplication or TaskExecution;
	// empty when the task has no such role.
	ID(task *local.Task, roleType string) string
	// Get returns the credentials of the role with this id, and the task whose
	// role it is. Unavailable: there is such a role, and its task is returned,
	// but its credentials have not been delivered yet. NotFound: there is none.
	Get(id string) (local.Credentials, *local.Task, error)
	// Deliver has those delivered that are on their way, if that can be hurried,
	// and returns then, or when the context ends.
	Deliver(ctx context.Context)
}

// deliveryTime is how long a request may wait for credentials of a task that
// has only just started. SDKs that have no answer after two seconds give up.
const deliveryTime = 1500 * time.Millisecond

// The types of a task's roles.
const (
	taskApplication = "TaskApplication"
	taskExecution   = "TaskExecution"
)

// deliveredV1 serves GET /v1/credentials?id=<id>, and Pod Identity, which has
// the same path. Strictly, that is at its own address only.
func (s *server) deliveredV1() http.Handler {
	agent := s.delivered("V1", func(r *http.Request) string { return r.URL.Query().Get("id") })
	pods := s.podIdentity()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.strict && asksPodIdentity(r) {
			pods.ServeHTTP(w, r)
			return
		}
		agent.ServeHTTP(w, r)
	})
}

// deliveredV2 serves GET /v2/credentials/<id>.
func (s *server) deliveredV2() http.Handler {
	return s.delivered("V2", func(r *http.Request) string {
		id, _ := variable(r, "id")
		return id
	})
}

// delivered serves the credentials of a task's role, in the agent's words.
// https://github.com/aws/amazon-ecs-agent/blob/master/ecs-agent/tmds/handlers/v1/credentials_handler.go
func (s *server) delivered(version string, idOf func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: credentialsDialect.family, route: routeOf(r)}
		// The agent takes every method.
		if !s.strict && !s.reads(w, r, rec, begun) || !s.authorized(w, r, rec, begun) {
			return
		}
		var unknown error
		rec.who, unknown = s.caller(r)
		body, err := s.deliveredTo(r, rec.who, unknown, idOf(r), "Credentials"+version+"Request: ")
		s.answer(w, r, credentialsDialect, rec, begun, body, err)
	})
}

// deliveredTo returns the document for an id; unknown is why nobody knows who
// is calling, and prefix begins the agent's messages.
func (s *server) deliveredTo(r *http.Request, who local.Caller, unknown error, id, prefix string) (any, error) {
	if id == "" {
		return nil, &local.Error{Code: local.Invalid, Name: "NoIdInRequest", Msg: prefix + "No Credential ID in the request"}
	}
	c, task, err := s.byID(r.Context(), id)
	if local.CodeOf(err) == local.NotFound {
		return nil, &local.Error{Code: local.Invalid, Name: "InvalidIdInRequest", Msg: prefix + "Credentials not found", Err: err}
	}
	pending := local.CodeOf(err) == local.Unavailable
	if s.isolated && (err == nil || pending) {
		if err := s.isolate(who, unknown, task, prefix); err != nil {
			return nil, err
		}
	}
	if pending {
		c, err = s.awaited(r.Context(), id)
	}
	if local.CodeOf(err) == local.Unavailable {
		return nil, &local.Error{Code: local.Unavailable, Name: "CredentialsUninitialized", Msg: prefix + "Credentials uninitialized for ID", Err: err}
	}
	if err != nil {
		return nil, err
	}
	return newCredentialsDocument(c), nil
}

// byID returns the credentials with an id, and their task.
func (s *server) byID(ctx context.Context, id string) (local.Credentials, *local.Task, error) {
	if s.taskCredentials == nil {
		return local.Credentials{}, nil, local.Errorf(local.NotFound, "no task has credentials")
	}
	c, task, err := s.taskCredentials.Get(id)
	if local.CodeOf(err) != local.NotFound {
		return c, task, err
	}
	// The task may have started just now.
	if _, refreshErr := s.runtime.Refresh(ctx, nil); refreshErr != nil {
		return c, task, err
	}
	return s.taskCredentials.Get(id)
}

// awaited returns credentials that have not been delivered yet, once they are.
func (s *server) awaited(ctx context.Context, id string) (local.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	s.taskCredentials.Deliver(ctx)
	c, _, err := s.taskCredentials.Get(id)
	return c, err
}

// isolate refuses whoever is not of a task. Two tasks with one ARN are one: so
// they are to the ids. A caller that nobody knows is somebody else, such as a
// container that comes through a published port, unless callers have no
// addresses at all.
func (s *server) isolate(who local.Caller, unknown error, task *local.Task, prefix string) error {
	if who.Task != nil && task != nil && who.Task.ARN == task.ARN {
		return nil
	}
	if who.Task == nil {
		if dir, _ := s.runtime.Current(); !dir.HasAddresses() {
			return nil
		}
		if away(unknown) {
			return &local.Error{Code: local.CodeOf(unknown), Msg: prefix + local.MessageOf(unknown), Err: unknown}
		}
	}
	return &local.Error{Code: local.Denied, Name: "AccessDenied", Err: unknown, Msg: prefix + "these credentials are for the containers of another task: " +
		"ask from a container of that task, on a network with ecs-local; --isolate-credentials=false (ECS_LOCAL_ISOLATE_CREDENTIALS) allows anybody who knows the id"}
}

// away reports whether nobody can say who is calling because the runtime does
// not answer.
func away(err error) bool {
	code := local.CodeOf(err)
	return err != nil && (code == local.Unavailable || code == local.Timeout)
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
