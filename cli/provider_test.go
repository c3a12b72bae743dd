package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

type sourceFunc func(role local.Role, session string) (local.Credentials, error)

func (f sourceFunc) Credentials(_ context.Context, role local.Role, session string) (local.Credentials, error) {
	return f(role, session)
}

// Base credentials that are expired do not make a role one that cannot be
// assumed: the namespace would say so.
func TestInstanceProviderKeepsBaseCredentialsAndRolesApart(t *testing.T) {
	t.Parallel()
	provide := instanceProvider(sourceFunc(func(role local.Role, session string) (local.Credentials, error) {
		if role.Session() {
			return local.Credentials{AccessKeyID: "for " + session}, nil
		}
		return local.Credentials{}, &local.Error{Code: local.Denied, Name: "ExpiredToken", Msg: "your AWS credentials are expired"}
	}))
	c, err := provide(t.Context(), imds.Ask{Use: imds.InstanceIdentity, Session: "i-1"})
	if err != nil || c.AccessKeyID != "for i-1" {
		t.Errorf("%v, %v", c, err)
	}
	_, err = provide(t.Context(), imds.Ask{Use: imds.InstanceProfile, Role: local.Role{Name: "app"}, Session: "i-1"})
	if local.CodeOf(err) != local.Unavailable || local.MessageOf(err) != "your AWS credentials are expired" {
		t.Errorf("%s: %v", local.CodeOf(err), err)
	}
}

// A developer who starts without base credentials reads one reason, not four.
func TestInstanceCredentialsFailWithOneReason(t *testing.T) {
	developer(t, newAmazon(t), "", "", nil)
	s := start(t, "--credentials", "sts")
	line := s.await(`msg="instance metadata credentials not renewed".*no AWS credentials found.*`)[0]
	if n := strings.Count(line, "no AWS credentials found"); n != 1 {
		t.Errorf("the reason is there %d times: %s", n, line)
	}
}
