package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// kind is one of the documents of the metadata endpoints.
type kind int

const (
	containerMetadata kind = iota
	taskMetadata
	taskMetadataWithTags
	containerStats
	taskStats
)

// ofContainer reports whether the document is about one container.
func (k kind) ofContainer() bool { return k == containerMetadata || k == containerStats }

// versions says how the versions differ in what is not the document itself.
//
// The agent's statuses for the same mistake differ by version:
// https://github.com/aws/amazon-ecs-agent/tree/master/ecs-agent/tmds/handlers
var versions = map[metadata.Version]struct {
	prefix string
	name   string
	// unknownID is the status when no container has the id in the path.
	unknownID func(kind) int
	// noStats is the status when a container has no stats.
	noStats int
	// dialect spells errors.
	dialect dialect
}{
	metadata.V2: {"/v2", "V2", func(kind) int { return http.StatusBadRequest }, http.StatusBadRequest, metadataDialect(http.StatusBadRequest)},
	metadata.V3: {"/v3", "V3", unknownIDV3, http.StatusBadRequest, metadataDialect(http.StatusNotFound)},
	metadata.V4: {"/v4", "V4", func(kind) int { return http.StatusNotFound }, http.StatusInternalServerError, metadataDialect(http.StatusNotFound)},
}

func unknownIDV3(k kind) int {
	if k == containerStats || k == taskStats {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// metadataDialect is that of the metadata endpoints: an error is a JSON
// string.
func metadataDialect(unknownCaller int) dialect {
	return dialect{
		family: "metadata",
		status: func(code local.Code) int {
			if code == local.NotFound {
				return unknownCaller
			}
			return httpStatus(code)
		},
		body: func(_ int, err error) any {
			if agent, ok := errors.AsType[*agentError](err); ok {
				return agent.text
			}
			return local.MessageOf(err)
		},
	}
}

// identified serves a document about the caller, or about the container that
// the path names.
func (s *server) identified(v metadata.Version, k kind) http.Handler {
	version := versions[v]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: version.dialect.family, route: routeOf(r)}
		who, err := s.subject(r, v, k)
		var body document
		if err == nil {
			rec.who = who
			body, err = s.document(r, v, k, who)
		}
		s.answer(w, r, version.dialect, rec, begun, body, err)
	})
}

// subject says whom the document is about.
func (s *server) subject(r *http.Request, v metadata.Version, k kind) (local.Caller, error) {
	if id, ok := variable(r, "id"); ok {
		return s.find(r, v, k, id)
	}
	if s.strict {
		return s.strictSubject(r, k)
	}
	if id, ok := variable(r, "member"); ok {
		return s.member(r, k, id)
	}
	who, err := s.caller(r)
	if err != nil {
		return local.Caller{}, unknownCaller(r, v, err)
	}
	return who, nil
}

// find resolves an identifier in the path for the metadata endpoints.
func (s *server) find(r *http.Request, v metadata.Version, k kind, id string) (local.Caller, error) {
	who, err := s.named(r, id)
	if local.CodeOf(err) == local.NotFound {
		text := unknownIDText(v, k, id)
		if strings.Contains(routeOf(r), "/containers/") { // no path of the agent
			text += ": " + local.MessageOf(err)
		}
		return who, &agentError{versions[v].unknownID(k), text}
	}
	return who, err
}

// named resolves an identifier in the path, from the point of view of the
// caller if that is a container.
func (s *server) named(r *http.Request, id string) (local.Caller, error) {
	if s.strict {
		return s.endpoint(r, id)
	}
	addr, err := remote(r)
	if err != nil {
		return local.Caller{}, err
	}
	return s.lookUp(r.Context(), question{
		ask: func(d *local.Directory) (local.Caller, error) {
			from, _ := d.WhoIs(addr) // who is no container can still name one
			return d.Find(from, id)
		},
		settled: func(d *local.Directory, err error) bool {
			if err != nil {
				return false
			}
			// A part of a name can mean another container once it is known
			// who asks.
			_, unknown := d.WhoIs(addr)
			return unknown == nil && !d.Passing(addr) || d.Exact(id) || d.IsHost(addr)
		},
	})
}

// unknownIDText is the agent's text for an endpoint id that no container has.
func unknownIDText(v metadata.Version, k kind, id string) string {
	name := versions[v].name
	const noTask = "unable to get task arn from request: unable to get task Arn from v3 endpoint ID: "
	switch k {
	case containerMetadata:
		return name + " container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: " + id
	case containerStats:
		return name + " container stats handler: " + noTask + id
	case taskStats:
		return name + " task stats handler: " + noTask + id
	default:
		return name + " task metadata handler: " + noTask + id
	}
}

// unknownCaller words the error for a caller that is no container: v2 begins
// with the agent's own text, and all say what to do.
func unknownCaller(r *http.Request, v metadata.Version, err error) error {
	addr, addrErr := remote(r)
	if v != metadata.V2 || addrErr != nil || local.CodeOf(err) != local.NotFound {
		return err
	}
	return &agentError{http.StatusBadRequest, fmt.Sprintf(
		"Unable to get task arn from request: unable to associate '%s' with task: %s", addr, local.MessageOf(err))}
}

// member resolves a container id of v2. A container finds those of its own
// task only (the agent looks among all tasks); the host finds all.
func (s *server) member(r *http.Request, k kind, id string) (local.Caller, error) {
	addr, err := remote(r)
	if err != nil {
		return local.Caller{}, err
	}
	who, err := s.lookUp(r.Context(), question{
		ask: func(d *local.Directory) (local.Caller, error) {
			from, unknown := d.WhoIs(addr)
			if unknown != nil && !d.IsHost(addr) {
				return local.Caller{}, unknownCaller(r, metadata.V2, unknown)
			}
			found, err := d.Find(from, id)
			if err == nil && unknown == nil && found.Task != from.Task {
				err = local.Errorf(local.NotFound, "container %q is in another task", id)
			}
			return found, err
		},
		settled: func(d *local.Directory, err error) bool { return err == nil && !d.Passing(addr) },
	})
	if local.CodeOf(err) != local.NotFound {
		return who, err
	}
	return local.Caller{}, unknownMember(k, id)
}

// unknownMember is the error of v2 for a container that the caller cannot have.
func unknownMember(k kind, id string) error {
	text := "Unable to generate metadata for container '" + id + "'"
	if k == containerStats {
		text = "Unable to get container stats for: " + id
	}
	return &agentError{http.StatusBadRequest, text}
}

// document returns the body.
func (s *server) document(r *http.Request, v metadata.Version, k kind, who local.Caller) (document, error) {
	if k.ofContainer() {
		if _, err := who.One(); err != nil {
			return nil, err
		}
	}
	switch k {
	case containerStats:
		return s.containerStats(r, v, who)
	case taskStats:
		return s.taskStats(r, v, who.Task)
	default:
		if s.strict {
			return s.documents.shuffled(v, k, who)
		}
		dir, _ := s.runtime.Current()
		return s.documents.metadata(dir, v, k, who)
	}
}

// documents keeps what was rendered from the current snapshot, so that a
// document is rendered once per change and not once per request.
type documents struct {
	renderer *metadata.Renderer
	current  atomic.Pointer[rendered]
}

// rendered is what was made of one snapshot. The next snapshot starts anew, so
// nothing of a container that is gone stays.
type rendered struct {
	dir     *local.Directory
	bytes   sync.Map // documentKey → document
	samples sync.Map // sampleKey → renderedSample
	joined  sync.Map // joinedKey → *joinedSamples
}

type documentKey struct {
	task      *local.Task
	container *local.Container
	version   metadata.Version
	kind      kind
}

// of returns what is kept for a snapshot.
func (d *documents) of(dir *local.Directory) *rendered {
	kept := d.current.Load()
	if kept == nil || kept.dir != dir {
		kept = &rendered{dir: dir}
		d.current.Store(kept)
	}
	return kept
}

// metadata returns the document about a container or a task.
func (d *documents) metadata(dir *local.Directory, v metadata.Version, k kind, who local.Caller) (document, error) {
	kept := d.of(dir)
	key := documentKey{task: who.Task, version: v, kind: k}
	if k == containerMetadata {
		key.container = who.Container
	}
	if body, ok := kept.bytes.Load(key); ok {
		return body.(document), nil
	}
	var body []byte
	var err error
	if k == containerMetadata {
		body, err = d.renderer.Container(v, who.Task, who.Container)
	} else {
		body, err = d.renderer.Task(v, who.Task, k == taskMetadataWithTags)
	}
	if err != nil {
		return nil, err
	}
	kept.bytes.Store(key, document(body))
	return body, nil
}
