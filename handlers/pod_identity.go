package handlers

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// The Pod Identity agent of Amazon EKS has one path, whose answer depends on
// the service account token in the Authorization header. Here it depends on
// who is calling: the token says nothing about a local task.
// https://github.com/aws/eks-pod-identity-agent/blob/main/pkg/handlers/eks_credential_handler.go

// podCredentialsDocument is the agent's answer.
// https://github.com/aws/eks-pod-identity-agent/blob/main/pkg/credentials/model.go
type podCredentialsDocument struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	AccountID       string `json:"AccountId,omitempty"`
	Expiration      string // RFC 3339, UTC, whole seconds
}

// podIdentityDialect is plain text, with the statuses of the agent.
// https://github.com/aws/eks-pod-identity-agent/blob/main/pkg/errors/errors.go
var podIdentityDialect = dialect{
	family: "pod-identity",
	status: httpStatus,
	body: func(_ int, err error) any {
		text := local.MessageOf(err)
		if agent, ok := errors.AsType[*agentError](err); ok {
			text = agent.text
		}
		return plain{"text/plain; charset=utf-8", []byte(text + "\n")}
	},
}

// asksPodIdentity reports whether a request for /v1/credentials is in the form
// of Pod Identity. At the address of the ECS agent none is.
func asksPodIdentity(r *http.Request) bool {
	return r.Header.Get("Authorization") != "" && arrivedAt(r) != ecsAddress && !r.URL.Query().Has("id")
}

// podIdentityOnly is all there is at the address of Pod Identity.
func (s *server) podIdentityOnly() http.Handler {
	credentials, none := s.podIdentity(), s.unrouted(podIdentityDialect.family)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == podIdentityPath {
			credentials.ServeHTTP(w, r)
			return
		}
		none.ServeHTTP(w, r)
	})
}

const podIdentityPath = "/v1/credentials"

// podIdentity serves GET /v1/credentials with a token: the task role of the
// calling container.
func (s *server) podIdentity() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: podIdentityDialect.family, route: podIdentityPath}
		if !s.reads(w, r, rec, begun) || !s.authorized(w, r, rec, begun) {
			return
		}
		var body any
		var err error
		rec.who, err = s.caller(r)
		if err == nil || !away(err) {
			body, err = s.podCredentials(r, rec.who)
		}
		s.answer(w, r, podIdentityDialect, rec, begun, body, err)
	})
}

// podCredentials returns the document of the task role of a caller, who may be
// nobody that is known.
func (s *server) podCredentials(r *http.Request, who local.Caller) (any, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, &agentError{http.StatusBadRequest, "Service account token cannot be empty"}
	}
	if who.Task == nil {
		return nil, noAssociation("the caller is not known to be a container of a task: ask from a container on a network with ecs-local, and label it " + local.LabelTaskRole)
	}
	id := ""
	if s.taskCredentials != nil {
		id = s.taskCredentials.ID(who.Task, taskApplication)
	}
	if id == "" {
		return nil, noAssociation("the task " + who.Task.Name + " has no task role: label the container " + local.LabelTaskRole + " with the name or the ARN of one")
	}
	c, _, err := s.byID(r.Context(), id)
	if local.CodeOf(err) == local.Unavailable {
		c, err = s.awaited(r.Context(), id)
	}
	switch local.CodeOf(err) {
	case local.NotFound:
		return nil, noAssociation("the task " + who.Task.Name + " no longer runs: start it again")
	case local.Unavailable:
		return nil, &local.Error{Code: local.Unavailable, Msg: "the credentials of the task role have not been delivered yet: ask again in a second, and if that does not help look into the log of ecs-local", Err: err}
	}
	if err != nil {
		return nil, err
	}
	return podCredentialsDocument{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		Token:           c.SessionToken,
		AccountID:       partOfARN(c.RoleARN, 4),
		Expiration:      c.Expiration.UTC().Format(time.RFC3339),
	}, nil
}

// noAssociation is what EKS says when a service account has no role.
// https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html
func noAssociation(why string) error {
	return &agentError{http.StatusNotFound, "(ResourceNotFoundException): " + why + ", fault: client"}
}

// partOfARN returns a part of an ARN, counted from 0; empty when there is no
// such part.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
func partOfARN(arn string, n int) string {
	part := strings.SplitN(arn, ":", 6)
	if len(part) != 6 {
		return ""
	}
	return part[n]
}
