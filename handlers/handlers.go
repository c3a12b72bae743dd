// Package handlers is ecs-local's HTTP side. A request goes one way: who is
// calling → what do they get → how is it written.
package handlers

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/metadata"
	"github.com/ecs-local/ecs-local/local/protection"
)

// Runtime knows the containers.
type Runtime interface {
	// Current returns the latest snapshot without waiting. synced is false
	// when the snapshot may be behind the truth.
	Current() (dir *local.Directory, synced bool)
	// Refresh asks anew and returns a snapshot that is not older than the
	// call, or the first one that has what is looked for.
	Refresh(ctx context.Context, found func(*local.Directory) bool) (*local.Directory, error)
	// Stats returns the latest sample by container id. A container without
	// one has no entry.
	Stats(ctx context.Context, containers []*local.Container) map[string]*local.Stats
	// Status returns nil when the runtime is in sync, else the reason.
	Status() error
}

// Credentials turns roles into credentials. session says who asked. Errors
// are local.Errors: Denied, Invalid, Unavailable, Timeout.
type Credentials interface {
	Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error)
}

// Deps is what the handlers need.
type Deps struct {
	Runtime     Runtime
	Credentials Credentials
	// TaskCredentials are served at /v1/credentials and /v2/credentials. Nil:
	// no task has any.
	TaskCredentials TaskCredentials
	// STS answers programs that ask about offline credentials, at the root.
	// Nil: nobody does.
	STS STS
	// IsolateCredentials keeps those to the containers of their task. Otherwise,
	// as with the agent, whoever knows an id may have its credentials.
	IsolateCredentials bool
	// Authorization returns what the Authorization header of a request for any
	// credentials must be. It is asked at every such request. Nil: anything.
	Authorization func() (string, error)
	Documents     *metadata.Renderer
	// IMDS is the instance metadata service. Nil: there is none.
	IMDS *imds.Service
	// Protection is the scale-in protection of tasks. Nil: one of the handler's
	// own.
	Protection *protection.Store
	// Faults are the network faults of tasks. Nil: of the handler's own, which
	// are only recorded.
	Faults *fault.Service
	// Strict leaves the agent's own routes and answers, with its limits of rate
	// and its order by chance. docs/strict.md lists the differences.
	Strict bool
	// RateLimit is that of strict mode.
	RateLimit RateLimit
	// AllowedHosts are Host names that are answered beside addresses,
	// localhost, single-label names and host.docker.internal.
	AllowedHosts []string
	Log          *slog.Logger
}

// server holds what the endpoints share.
type server struct {
	runtime         Runtime
	credentials     Credentials
	taskCredentials TaskCredentials
	sts             STS
	isolated        bool
	authorization   func() (string, error)
	encoded         encodedCredentials
	documents       *documents
	imds            *imds.Service
	protection      *protection.Store
	faults          *fault.Service
	strict          bool
	log             *slog.Logger
	heads           lineHeads // of its lines about requests
}

// New returns the handler of the addresses that containers use. The docs
// table in docs/endpoints.md lists the same routes. Its server is set up as
// NewIMDS says.
func New(d Deps) http.Handler {
	s := &server{
		runtime:         d.Runtime,
		credentials:     d.Credentials,
		taskCredentials: d.TaskCredentials,
		sts:             d.STS,
		isolated:        d.IsolateCredentials,
		authorization:   d.Authorization,
		documents:       &documents{renderer: d.Documents},
		imds:            d.IMDS,
		protection:      cmp.Or(d.Protection, protection.New()),
		faults:          cmp.Or(d.Faults, fault.New(fault.Options{})),
		strict:          d.Strict,
		log:             d.Log,
	}
	instance := s.unrouted("imds")
	if d.IMDS != nil {
		instance = s.instance()
	}
	var ecs http.Handler
	if d.Strict {
		ecs = s.strictly(d.RateLimit, s.strictRouter())
	} else {
		ecs = tidyPath(direct(s.ecsRouter()))
	}
	return s.guard(ecsFamily, d.AllowedHosts, s.byAddress(ecs, instance, tidyPath(s.podIdentityOnly())))
}

// ecsRouter is the route table of 169.254.170.2.
func (s *server) ecsRouter() *mux.Router {
	r := mux.NewRouter().SkipClean(true)

	r.Handle("/", s.securityTokens())
	r.Handle("/creds", s.credentialed(sessionCredentials))
	r.Handle("/role", s.credentialed(roleCredentials))
	r.Handle("/role/{role:.+}", s.credentialed(roleCredentials))
	r.Handle("/role-arn", s.credentialed(roleARNCredentials))
	r.Handle("/role-arn/{arn:.+}", s.credentialed(roleARNCredentials))
	r.Handle("/v1/credentials", s.deliveredV1())
	r.Handle("/v2/credentials", s.deliveredV2())
	r.Handle("/v2/credentials/{id:.+}", s.deliveredV2())

	for _, v := range []metadata.Version{metadata.V4, metadata.V3} {
		prefix := versions[v].prefix
		for _, at := range []string{prefix, prefix + "/containers/{id}"} {
			s.ofContainer(r, v, at)
		}
	}

	r.Handle("/v2/metadata", s.identified(metadata.V2, taskMetadata))
	r.Handle("/v2/metadata/{member:.+}", s.identified(metadata.V2, containerMetadata))
	r.Handle("/v2/metadataWithTags", s.identified(metadata.V2, taskMetadataWithTags))
	r.Handle("/v2/stats", s.identified(metadata.V2, taskStats))
	r.Handle("/v2/stats/{member:.+}", s.identified(metadata.V2, containerStats))

	// The agent's own form: an endpoint id, or a container's name. It comes
	// last, so that the short forms above win over a container of that name.
	for _, v := range []metadata.Version{metadata.V4, metadata.V3} {
		s.ofContainer(r, v, versions[v].prefix+"/{id}")
	}

	taskProtection, networkFault := s.taskProtection(), s.networkFault()
	for _, at := range []string{"/api", "/api/containers/{id}", "/api/{id}"} {
		r.Handle(at+"/task-protection/v1/state", taskProtection)
		r.Handle(at+"/fault/v1/{kind:network-blackhole-port|network-latency|network-packet-loss}/{action:start|stop|status}", networkFault)
	}

	r.NotFoundHandler = s.unrouted(ecsFamily)
	return r
}

// ofContainer adds what metadata 3 and 4 have below the path of a container.
func (s *server) ofContainer(r *mux.Router, v metadata.Version, at string) {
	r.Handle(at, s.identified(v, containerMetadata))
	r.Handle(at+"/task", s.identified(v, taskMetadata))
	r.Handle(at+"/taskWithTags", s.identified(v, taskMetadataWithTags))
	r.Handle(at+"/stats", s.identified(v, containerStats))
	r.Handle(at+"/task/stats", s.identified(v, taskStats))
	r.Handle(at+"/associations/{type:[^/]*}", s.associations(v))
	r.Handle(at+"/associations/{type:[^/]*}/{name:.*}", s.association(v))
}
