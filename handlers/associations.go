package handlers

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// associationNames is the document that lists associations: null without any.
type associationNames struct {
	Associations []string
}

// associationDialect is that of the associations: all errors of the agent are
// 400.
var associationDialect = metadataDialect(http.StatusBadRequest)

// associations lists the names of the associations of a type that the
// container has: GET /v3/<id>/associations/<type> and the same with v4.
// https://github.com/aws/amazon-ecs-agent/tree/master/ecs-agent/tmds/handlers
func (s *server) associations(v metadata.Version) http.Handler {
	return s.associated(v, func(r *http.Request) (local.Caller, any, error) {
		who, err := s.subjectOfAssociations(r, v, "container id", "docker ID")
		if err != nil {
			return who, nil, err
		}
		container, err := who.One()
		if err != nil {
			return who, nil, err
		}
		var list associationNames
		for _, a := range who.Task.Associations {
			if a.Type == mux.Vars(r)["type"] && a.Of(container) {
				list.Associations = append(list.Associations, a.Name)
			}
		}
		return who, list, nil
	})
}

// association serves the content of one association of the task, whichever of
// its containers asks: GET /v3/<id>/associations/<type>/<name> and the same
// with v4. The content is called JSON, whatever it is.
func (s *server) association(v metadata.Version) http.Handler {
	return s.associated(v, func(r *http.Request) (local.Caller, any, error) {
		kind, name := mux.Vars(r)["type"], mux.Vars(r)["name"]
		who, err := s.subjectOfAssociations(r, v, "task arn", "task Arn")
		if err != nil {
			return who, nil, err
		}
		if name == "" {
			return who, nil, badAssociation(versions[v].name + " container associations handler: unable to get association name from request")
		}
		for _, a := range who.Task.Associations {
			if a.Type == kind && a.Name == name {
				return who, document(a.Content), nil
			}
		}
		return who, nil, badAssociation("Unable to write container association response: unable to get association from association type " + kind +
			" and association name " + name)
	})
}

// associated writes what an endpoint returns.
func (s *server) associated(v metadata.Version, endpoint func(*http.Request) (local.Caller, any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		who, body, err := endpoint(r)
		rec := record{family: versions[v].dialect.family, route: routeOf(r), who: who}
		s.answer(w, r, associationDialect, rec, begun, body, err)
	})
}

// subjectOfAssociations says whose associations are asked for. The agent says
// in two words what it could not get, and from what.
func (s *server) subjectOfAssociations(r *http.Request, v metadata.Version, what, from string) (local.Caller, error) {
	id, ok := variable(r, "id")
	if !ok {
		return s.caller(r)
	}
	who, err := s.named(r, id)
	if local.CodeOf(err) == local.NotFound {
		err = badAssociation(versions[v].name + " container associations handler: unable to get " + what +
			" from request: unable to get " + from + " from v3 endpoint ID: " + id)
	}
	return who, err
}

func badAssociation(text string) error { return &agentError{http.StatusBadRequest, text} }
