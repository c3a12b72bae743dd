package handlers

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// credentialsDocument is the agent's answer: five strings, always all there.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
type credentialsDocument struct {
	RoleArn         string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      string // RFC 3339, UTC, whole seconds
}

// credentialsError is the agent's error.
type credentialsError struct {
	Code          string `json:"code"`
	Message       string `json:"message"`
	HTTPErrorCode int
}

var credentialsDialect = dialect{
	family: "credentials",
	status: httpStatus,
	body: func(status int, err error) any {
		return credentialsError{Code: errorName(err), Message: local.MessageOf(err), HTTPErrorCode: status}
	},
}

// errorName is the name of an error on the wire.
func errorName(err error) string {
	if e, ok := errors.AsType[*local.Error](err); ok && e.Name != "" {
		return e.Name
	}
	return string(local.CodeOf(err))
}

// httpStatus is the status of an error that has no other by its family.
func httpStatus(code local.Code) int {
	switch code {
	case local.NotFound:
		return http.StatusNotFound
	case local.Ambiguous, local.Invalid:
		return http.StatusBadRequest
	case local.Denied:
		return http.StatusForbidden
	case local.Unavailable:
		return http.StatusServiceUnavailable
	case local.Timeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// sessionCredentials serves GET /creds: the developer's own session.
func sessionCredentials(*http.Request) (local.Role, error) { return local.Role{}, nil }

// roleCredentials serves GET /role/<name>, /role/<path/name> and
// /role/<percent-encoded ARN>.
func roleCredentials(r *http.Request) (local.Role, error) {
	role, _ := variable(r, "role")
	return local.ParseRole(role)
}

// roleARNCredentials serves GET /role-arn/<arn>.
func roleARNCredentials(r *http.Request) (local.Role, error) {
	arn, _ := variable(r, "arn")
	return local.ParseRoleARN(arn)
}

// credentialed serves the credentials of the role that the path names.
func (s *server) credentialed(role func(*http.Request) (local.Role, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: credentialsDialect.family, route: routeOf(r)}
		if !s.reads(w, r, rec, begun) || !s.authorized(w, r, rec, begun) {
			return
		}
		// Anybody who reaches this address may ask; who it is makes the
		// session's name.
		rec.who, _ = s.caller(r)
		var body any
		wanted, err := role(r)
		if err == nil {
			body, err = s.credentialsOf(r, wanted, rec.who)
		}
		s.answer(w, r, credentialsDialect, rec, begun, body, err)
	})
}

// methodDialect is the credentials' own for a wrong method.
var methodDialect = dialect{
	family: credentialsDialect.family,
	status: func(local.Code) int { return http.StatusMethodNotAllowed },
	body: func(status int, err error) any {
		return credentialsError{Code: "MethodNotAllowed", Message: local.MessageOf(err), HTTPErrorCode: status}
	},
}

// credentialsOf asks for a role's credentials in the name of the caller.
func (s *server) credentialsOf(r *http.Request, role local.Role, who local.Caller) (any, error) {
	session := ""
	switch {
	case who.Container != nil:
		session = who.Container.DockerName
	case who.Task != nil:
		session = who.Task.Name
	}
	c, err := s.credentials.Credentials(r.Context(), role, session)
	if err != nil {
		return nil, err
	}
	return s.encoded.document(role, c), nil
}

// mostEncoded is how many roles' documents are kept. Nobody has as many.
const mostEncoded = 256

// encodedCredentials keeps the document of the latest credentials of each
// role.
type encodedCredentials struct {
	byRole sync.Map // local.Role → encodedRole
	roles  atomic.Int64
}

type encodedRole struct {
	of   local.Credentials
	body document
}

// document encodes credentials, once.
func (e *encodedCredentials) document(role local.Role, c local.Credentials) document {
	if kept, ok := e.byRole.Load(role); ok && kept.(encodedRole).of == c {
		return kept.(encodedRole).body
	}
	body := mustEncode(newCredentialsDocument(c))
	if _, known := e.byRole.Swap(role, encodedRole{c, body}); !known && e.roles.Add(1) > mostEncoded {
		e.byRole.Clear()
		e.roles.Store(0)
	}
	return body
}

func newCredentialsDocument(c local.Credentials) credentialsDocument {
	return credentialsDocument{
		RoleArn:         c.RoleARN,
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		Token:           c.SessionToken,
		Expiration:      c.Expiration.UTC().Format(time.RFC3339),
	}
}
