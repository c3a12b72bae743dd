package handlers

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// tokenDialect is the credentials' own for a request that lacks the token.
var tokenDialect = dialect{
	family: credentialsDialect.family,
	status: func(code local.Code) int {
		if code == local.Denied {
			return http.StatusUnauthorized
		}
		return httpStatus(code)
	},
	body: credentialsDialect.body,
}

// authorized reports whether a request for credentials has the token that is
// wanted, if one is, and answers any other.
func (s *server) authorized(w http.ResponseWriter, r *http.Request, rec record, begun time.Time) bool {
	if s.authorization == nil {
		return true
	}
	err := s.authorize(r)
	if err == nil {
		return true
	}
	s.answer(w, r, tokenDialect, rec, begun, nil, err)
	return false
}

// authorize compares the Authorization header, as it is, with the token: SDKs
// put nothing before it.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
func (s *server) authorize(r *http.Request) error {
	want, err := s.authorization()
	if err != nil || want == "" {
		msg := "ecs-local has no authorization token to compare with: put one into the file that it was given, and let it read the file"
		if err != nil && local.CodeOf(err) != local.Internal {
			msg = local.MessageOf(err)
		}
		return &local.Error{Code: local.Unavailable, Name: "AuthorizationTokenUnavailable", Msg: msg, Err: err}
	}
	// Hashes are of one length, so that the time says nothing of the token.
	expected, got := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(r.Header.Get("Authorization")))
	if subtle.ConstantTimeCompare(expected[:], got[:]) == 1 {
		return nil
	}
	return &local.Error{Code: local.Denied, Name: "InvalidAuthorizationToken",
		Msg: "the request's Authorization header is not the token that ecs-local was given: set AWS_CONTAINER_AUTHORIZATION_TOKEN to that token, or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to a file with it, where the request comes from"}
}
