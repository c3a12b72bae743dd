package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ecs-local/ecs-local/local"
)

// authorizationFlags are the token that requests for credentials must bring,
// as SDKs send it when AWS_CONTAINER_AUTHORIZATION_TOKEN or …_TOKEN_FILE is set.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
type authorizationFlags struct {
	AuthorizationToken     string `env:"ECS_LOCAL_AUTHORIZATION_TOKEN" placeholder:"TOKEN" help:"Answer requests for credentials only with this token in the Authorization header."`
	AuthorizationTokenFile string `env:"ECS_LOCAL_AUTHORIZATION_TOKEN_FILE" placeholder:"FILE" help:"The same, with a token that is in a file, which may change."`
}

// authorization returns what gives the token; nil when none is wanted.
func (f authorizationFlags) authorization() (func() (string, error), error) {
	switch {
	case f.AuthorizationToken != "" && f.AuthorizationTokenFile != "":
		return nil, errors.New("--authorization-token and --authorization-token-file contradict each other: leave one out")
	case f.AuthorizationTokenFile != "":
		if _, err := tokenIn(f.AuthorizationTokenFile); err != nil {
			return nil, err
		}
		return func() (string, error) { return tokenIn(f.AuthorizationTokenFile) }, nil
	case f.AuthorizationToken != "":
		if !sendable(f.AuthorizationToken) {
			return nil, errors.New("--authorization-token has a character that no header can hold: use letters, digits and signs in one line")
		}
		return func() (string, error) { return f.AuthorizationToken, nil }, nil
	default:
		return nil, nil
	}
}

// tokenIn reads a token. The file may end with a line break.
func tokenIn(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", &local.Error{Code: local.Unavailable, Err: err, Msg: fmt.Sprintf("the authorization token cannot be read from %s: check that the file is there and readable for ecs-local", path)}
	}
	token := strings.TrimSpace(string(content))
	if token == "" || !sendable(token) {
		return "", local.Errorf(local.Unavailable, "%s holds no authorization token: write one there, in one line", path)
	}
	return token, nil
}

// sendable reports whether a header can hold a value as it is.
func sendable(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
