package handlers

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// IntrospectionDeps is what the introspection API needs.
type IntrospectionDeps struct {
	Runtime      Runtime
	Version      string // shown in /v1/metadata
	License      string // text of /license
	AllowedHosts []string
	Log          *slog.Logger
}

// introspectionDialect is that of the introspection API. Its errors have the
// shape of its answers, so the bodies come with the errors.
var introspectionDialect = dialect{
	family: "introspection",
	status: httpStatus,
	body:   func(_ int, err error) any { return controlError{Code: errorName(err), Message: local.MessageOf(err)} },
}

type introspection struct {
	*server
	version, license string
}

// NewIntrospection returns the handler of the agent's introspection API, which
// shows every task of the machine to whoever asks.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-introspection.html
func NewIntrospection(d IntrospectionDeps) http.Handler {
	i := &introspection{server: &server{runtime: d.Runtime, log: d.Log}, version: d.Version, license: d.License}
	return i.guard(introspectionDialect.family, d.AllowedHosts, i.router())
}

// router is the route table of the introspection API.
func (i *introspection) router() *mux.Router {
	r := mux.NewRouter().SkipClean(true)

	r.Handle("/license", http.HandlerFunc(i.serveLicense))
	r.Handle("/v1/metadata", i.serve(i.instance))
	r.Handle("/v1/tasks", i.serve(i.tasks))

	r.NotFoundHandler = http.HandlerFunc(i.serveCommands)
	return r
}

// serve writes what an endpoint returns, with its status.
func (i *introspection) serve(endpoint func(*http.Request) (int, document, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: introspectionDialect.family, route: routeOf(r)}
		status, body, err := endpoint(r)
		if err != nil {
			i.answer(w, r, introspectionDialect, rec, begun, nil, err)
			return
		}
		writeBody(w, r, status, "application/json", body)
		i.logRequest(r, rec, status, begun, nil)
	})
}

// instance serves GET /v1/metadata.
func (i *introspection) instance(*http.Request) (int, document, error) {
	dir, _ := i.runtime.Current()
	body, err := metadata.Instance(dir.Instance(), "ecs-local - "+i.version)
	return http.StatusOK, body, err
}

// tasks serves GET /v1/tasks, and one task with ?dockerid= (a container's id,
// or its first 12 characters or fewer, which may be none) or ?taskarn=. What
// fits no task is 404; what fits several containers, and both parameters, 400.
func (i *introspection) tasks(r *http.Request) (int, document, error) {
	dir, _ := i.runtime.Current()
	query := r.URL.Query()
	var found []*local.Task
	switch byID, byARN := query.Has("dockerid"), query.Has("taskarn"); {
	case byID && byARN:
		body, err := metadata.IntrospectedTask(nil)
		return http.StatusBadRequest, body, err
	case byID:
		found = tasksWithContainer(dir, query.Get("dockerid"))
	case byARN:
		found = tasksWithARN(dir, query.Get("taskarn"))
	default:
		body, err := metadata.IntrospectedTasks(dir.Tasks())
		return http.StatusOK, body, err
	}
	switch len(found) {
	case 0:
		body, err := metadata.IntrospectedTask(nil)
		return http.StatusNotFound, body, err
	case 1:
		body, err := metadata.IntrospectedTask(found[0])
		return http.StatusOK, body, err
	default:
		body, err := metadata.IntrospectedTask(nil)
		return http.StatusBadRequest, body, err
	}
}

// tasksWithContainer returns the task of each container with this id.
func tasksWithContainer(dir *local.Directory, id string) []*local.Task {
	const short = 12
	fits := func(whole string) bool { return whole == id || len(id) <= short && strings.HasPrefix(whole, id) }
	var found []*local.Task
	for _, t := range dir.Tasks() {
		for _, c := range t.Containers {
			if metadata.Introspected(t) && (fits(c.ID) || fits(t.ContainerID(c))) {
				found = append(found, t)
			}
		}
	}
	return found
}

// tasksWithARN returns the tasks with this ARN.
func tasksWithARN(dir *local.Directory, arn string) []*local.Task {
	var found []*local.Task
	for _, t := range dir.Tasks() {
		if metadata.Introspected(t) && t.ARN == arn {
			found = append(found, t)
		}
	}
	return found
}

// serveCommands answers every other path. The agent does not say that this is
// JSON.
func (i *introspection) serveCommands(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	const commands = `{"AvailableCommands":["/v1/metadata","/v1/tasks","/license"]}`
	writeBody(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte(commands))
	i.logRequest(r, record{family: introspectionDialect.family, route: "none"}, http.StatusOK, begun, nil)
}

// serveLicense serves GET /license.
func (i *introspection) serveLicense(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	writeBody(w, r, http.StatusOK, "text/plain", document(i.license))
	i.logRequest(r, record{family: introspectionDialect.family, route: routeOf(r)}, http.StatusOK, begun, nil)
}
