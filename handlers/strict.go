package handlers

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// strictRouter is the agent's own route table, with nothing beside it. The
// table in docs/strict.md lists the same routes. A trailing slash means
// something, and variables may be empty.
// https://github.com/aws/amazon-ecs-agent/blob/master/agent/handlers/task_server_setup.go
func (s *server) strictRouter() *mux.Router {
	r := mux.NewRouter().SkipClean(true) // see strictly

	r.Handle("/v1/credentials", s.deliveredV1())
	r.Handle("/v2/credentials/{id:.*}", s.deliveredV2())

	r.Handle("/v2/metadata/{member:.+}", s.identified(metadata.V2, containerMetadata))
	r.Handle("/v2/stats/{member:.+}", s.identified(metadata.V2, containerStats))
	for _, slash := range []string{"", "/"} {
		r.Handle("/v2/metadata"+slash, s.identified(metadata.V2, taskMetadata))
		r.Handle("/v2/metadataWithTags"+slash, s.identified(metadata.V2, taskMetadataWithTags))
		r.Handle("/v2/stats"+slash, s.identified(metadata.V2, taskStats))
	}

	for _, v := range []metadata.Version{metadata.V3, metadata.V4} {
		s.ofContainer(r, v, versions[v].prefix+"/{id:[^/]*}")
	}

	r.Handle("/api/{id:[^/]*}/task-protection/v1/state", s.taskProtection())
	r.Handle("/api/{id:[^/]*}/fault/v1/{kind:network-blackhole-port|network-latency|network-packet-loss}/{action:start|stop|status}", s.networkFault())

	r.NotFoundHandler = s.unrouted(ecsFamily)
	return r
}

// ecsFamily is what the log calls requests that reach no endpoint of ECS.
const ecsFamily = "ecs"

// strictly does what the agent does before a request reaches its routes: it
// redirects paths that are not clean, and limits the rate of all others. STS,
// which is not the agent's, is left as it is.
func (s *server) strictly(limit RateLimit, routes http.Handler) http.Handler {
	tokens, none, limiter := s.securityTokens(), s.unrouted(ecsFamily), newAgentLimiter(limit)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch clean := cleanPath(r.URL.Path); {
		case s.asksSTS(r):
			tokens.ServeHTTP(w, r)
		case r.Method == http.MethodOptions && r.RequestURI == "*":
			// The agent's server answers this before any handler.
			begun := time.Now()
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusOK)
			s.logRequest(r, record{family: ecsFamily, route: "none"}, http.StatusOK, begun, nil)
		case clean != r.URL.Path:
			s.redirect(w, r, clean)
		case strings.Contains(r.URL.Path, "\n"):
			// The pattern that all paths have to match, .*, matches no line break.
			none.ServeHTTP(w, r)
		case s.withinLimit(limiter, w, r, record{family: ecsFamily, route: "none"}):
			routes.ServeHTTP(w, r)
		}
	})
}

// cleanPath is the path without doubled slashes and dots. A slash at the end
// stays, as the agent's router keeps it.
// https://github.com/gorilla/mux/blob/v1.8.1/mux.go
func cleanPath(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// redirect answers a path that is not clean. The location has a host only if
// the request line had one.
func (s *server) redirect(w http.ResponseWriter, r *http.Request, clean string) {
	begun := time.Now()
	to := *r.URL
	to.Path = clean
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusMovedPermanently)
	s.logRequest(r, record{family: ecsFamily, route: "none"}, http.StatusMovedPermanently, begun, nil)
}

// endpoint returns the container with an endpoint id: strictly, that is the
// only name it has. The agent knows no more than it knows, so there is no other
// error than NotFound.
func (s *server) endpoint(r *http.Request, id string) (local.Caller, error) {
	return s.withID(r, id, func(who local.Caller) string { return who.Container.EndpointID })
}

// withID returns the container that has exactly this id.
func (s *server) withID(r *http.Request, id string, idOf func(local.Caller) string) (local.Caller, error) {
	who, err := s.lookUp(r.Context(), question{
		ask: func(d *local.Directory) (local.Caller, error) {
			found, err := d.Find(local.Caller{}, id)
			if err == nil && idOf(found) != id {
				err = local.Errorf(local.NotFound, "%q is no id", id)
			}
			return found, err
		},
		settled: func(_ *local.Directory, err error) bool { return err == nil },
	})
	if err != nil {
		return local.Caller{}, &local.Error{Code: local.NotFound, Msg: local.MessageOf(err), Err: err}
	}
	return who, nil
}

// strictSubject says whom a v2 document is about. The agent knows the addresses
// of tasks in the network mode awsvpc and no others. A container may be of any
// task for its metadata, and has to be of the caller's for its stats.
func (s *server) strictSubject(r *http.Request, k kind) (local.Caller, error) {
	who, err := s.caller(r)
	if err != nil || !hasInterface(who) {
		addr, _ := remote(r) // without one it says that it is invalid
		return local.Caller{}, &agentError{http.StatusBadRequest,
			fmt.Sprintf("Unable to get task arn from request: unable to associate '%s' with task", addr)}
	}
	id, ok := variable(r, "member")
	if !ok {
		return who, nil
	}
	found, err := s.withID(r, id, func(c local.Caller) string { return c.Task.ContainerID(c.Container) })
	if err != nil || k == containerStats && found.Task.ARN != who.Task.ARN {
		return local.Caller{}, unknownMember(k, id)
	}
	return found, nil
}

// hasInterface reports whether a caller is in the network mode awsvpc.
func hasInterface(who local.Caller) bool {
	container := who.Container
	if container == nil { // only the task is known
		container = &local.Container{}
	}
	return who.Task.NetworkModeOf(container) == local.AWSVPC
}

// shuffled renders a document in which the order is by chance where the agent
// has a map: containers of a task, ports of a container. Stats are in the order
// of their ids also there.
func (d *documents) shuffled(v metadata.Version, k kind, who local.Caller) (document, error) {
	if k == containerMetadata {
		return d.renderer.Container(v, who.Task, withShuffledPorts(who.Container))
	}
	task := *who.Task
	task.Containers = make([]*local.Container, len(who.Task.Containers))
	for i, from := range rand.Perm(len(task.Containers)) {
		task.Containers[i] = withShuffledPorts(who.Task.Containers[from])
	}
	return d.renderer.Task(v, &task, k == taskMetadataWithTags)
}

func withShuffledPorts(c *local.Container) *local.Container {
	if len(c.Ports) < 2 {
		return c
	}
	other := *c
	other.Ports = slices.Clone(c.Ports)
	rand.Shuffle(len(other.Ports), func(i, j int) { other.Ports[i], other.Ports[j] = other.Ports[j], other.Ports[i] })
	return &other
}
