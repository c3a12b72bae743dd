package cli

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

// shortestLife is that of credentials which the scanner can still deliver in
// time: it looks every second.
const shortestLife = 5 * time.Second

// credentialsOptions are the options of the providers of credentials. secret
// makes offline credentials known again after a restart.
func (c serverFlags) credentialsOptions(l loaded, inherited inherited, secret []byte, log *slog.Logger) creds.Options {
	return creds.Options{
		Mode:                  creds.Mode(c.Credentials),
		Region:                l.facts.Region,
		Account:               l.facts.Account,
		STSEndpoint:           inherited.stsEndpoint,
		SharedTokenExpiration: inherited.sharedTokenExpiration,
		KeysExpire:            inherited.keysExpire,
		MissingKey:            inherited.missingKey,
		AllowIMDS:             c.AllowIMDSCredentials,
		AllowContainer:        c.AllowContainerCredentials,
		Lifetime:              c.CredentialsLifetime,
		Roles:                 l.roles(),
		Secret:                secret,
		Log:                   log,
	}
}

// rotate makes the credentials that have been handed out be replaced: those
// that are kept for /creds and roles, and those of tasks, which are in the
// namespaces of the instance metadata service. With a role, only its own.
func (s *service) rotate(ctx context.Context, role *local.Role) (handlers.Rotated, error) {
	var done handlers.Rotated
	for _, r := range s.credentials.Rotate(role) {
		done.Rotated = append(done.Rotated, r.String())
	}
	imds := s.instance.service
	for _, namespace := range imds.Namespaces() {
		for _, state := range namespace.Roles {
			of, err := local.ParseRole(state.Role)
			if err != nil || role != nil && s.roleARN(*role) != s.roleARN(of) {
				continue
			}
			if err := imds.RotateTaskRole(ctx, namespace.Name, state.Task, state.RoleType); err != nil {
				return done, err
			}
			done.Rotated = append(done.Rotated, of.String())
		}
	}
	s.instance.roles.Deliver(ctx) // the next request gets the new ones
	if role == nil {
		if err := imds.Rotate(ctx); err != nil {
			return done, err
		}
	}
	return done, nil
}

// roleARN returns the ARN of a role, in the developer's account unless the
// role says another.
func (s *service) roleARN(role local.Role) string {
	if role.Name == "" {
		return role.ARN
	}
	account := cmp.Or(s.credentials.Status().Account, local.DefaultAccount)
	return local.RoleARN(local.Partition(s.region()), account, role.Name)
}

// longAgo is when credentials have expired that are to look so.
var longAgo = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)

// expired makes credentials say that they have expired.
type expired struct{ next handlers.Credentials }

func (e expired) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	c, err := e.next.Credentials(ctx, role, session)
	c.Expiration = longAgo
	return c, err
}

// expiredTask is expired for the credentials of tasks.
type expiredTask struct{ handlers.TaskCredentials }

func (e expiredTask) Get(id string) (local.Credentials, *local.Task, error) {
	c, task, err := e.TaskCredentials.Get(id)
	c.Expiration = longAgo
	return c, task, err
}
