package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/config"
	"github.com/ecs-local/ecs-local/local/creds"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/scan"
)

const (
	keyUserData     = "user-data"
	keyUserDataFile = "user-data-file"
)

// instanceConfig reads the section imds of the configuration file, in which
// other files are relative to a folder; nil is an empty one, and has no
// problems. The instance is in the region and the account of everything else
// unless the section says where it is.
func instanceConfig(folder string, section *config.Section, facts local.Facts) (imds.Config, imds.Problems) {
	var problems imds.Problems
	var values map[string]any
	if section != nil {
		values = section.Values
		var problem *imds.Problem
		if values, problem = withUserData(values, folder); problem != nil {
			problems = append(problems, *problem)
		}
	}
	c, wrong := imds.Decode(values)
	problems = append(problems, wrong...)
	home := imds.Config{Instance: imds.Instance{Region: facts.Region, AccountID: facts.Account}}
	if len(home.Validate()) == 0 { // AWS_REGION may name a place that is no region
		if c.Instance.Region == "" && c.Instance.AvailabilityZone == "" {
			c.Instance.Region = facts.Region
		}
		c.Instance.AccountID = cmp.Or(c.Instance.AccountID, facts.Account)
	}
	if len(problems) == 0 {
		problems = c.Validate()
	}
	return c, problems
}

// withUserData puts the content of user-data-file, which is relative to a
// folder, in the place of user-data.
func withUserData(values map[string]any, folder string) (map[string]any, *imds.Problem) {
	name, ok := values[keyUserDataFile].(string)
	if !ok {
		return values, nil // absent, or a problem that Decode names
	}
	values = maps.Clone(values)
	delete(values, keyUserDataFile)
	if _, both := values[keyUserData]; both {
		return values, &imds.Problem{Path: keyUserDataFile, Msg: "there is user-data already: leave one out"}
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return values, &imds.Problem{Path: keyUserDataFile, Msg: fmt.Sprintf("cannot be read: %v", err)}
	}
	values[keyUserData] = string(content)
	return values, nil
}

// placed says on which lines of the file the problems of a section are.
func placed(section *config.Section, problems imds.Problems) []config.Problem {
	lines := make([]config.Problem, len(problems))
	for i, p := range problems {
		lines[i] = config.Problem{Line: section.Line(p.Path), Reason: fmt.Sprintf("imds.%s", p)}
	}
	return lines
}

// instanceProvider gets the credentials that the instance metadata service
// shows from where those of the ECS endpoints come. The service keeps and
// renews them itself, and wants other keys for each of its purposes.
func instanceProvider(source creds.Provider) imds.Provider {
	return func(ctx context.Context, a imds.Ask) (local.Credentials, error) {
		c, err := source.Credentials(ctx, a.Role, a.Session)
		if local.CodeOf(err) == local.Denied && !creds.RoleRefused(err) {
			// The base credentials are the reason. That does not make a role
			// one that cannot be assumed.
			err = &local.Error{Code: local.Unavailable, Msg: local.MessageOf(err), Err: errors.Unwrap(err)}
		}
		return c, err
	}
}

// instance is the instance metadata service of the server, and what belongs to
// it.
type instance struct {
	service   *imds.Service
	roles     *taskRoles
	refresher *scan.Refresher
	private   *server // what our own scanner reads; nil when it reads another's
	state     state
	kept      bool // the identity is in the state directory
	log       *slog.Logger
}

func (c serverFlags) newInstance(s *service, secret []byte, counted *scanMetrics) (*instance, error) {
	log := s.log
	identity, err := s.state.identity()
	if err != nil {
		return nil, err
	}
	i := &instance{state: s.state, kept: identity != nil, log: log}
	i.service, err = imds.New(s.settings.current().imds, imds.Deps{
		Provider: instanceProvider(s.credentials.Uncached()), Identity: identity, MakeIdentity: i.makeIdentity, Logger: log,
	})
	if err != nil {
		return nil, misuse{err}
	}
	endpoint, dial := c.ScanEndpoint, dialer(nil)
	if endpoint == "" {
		// The public listener may be bound to an address that has ECS only,
		// and it logs every request. This one asks nobody for a token, so
		// nobody else may reach it.
		memory := newPipes()
		i.private = &server{name: "scanner", handler: handlers.NewIMDS(i.service, slog.New(slog.DiscardHandler)), listener: memory}
		i.private.prepare(log)
		i.private.http.ConnContext = nil // a hop limit is for packets
		endpoint, dial = "http://localhost", memory.dial
	}
	i.refresher, err = newRefresher(endpoint, dial, c.ScanInterval, counted, log)
	if err != nil {
		i.close()
		return nil, err
	}
	i.roles = &taskRoles{runtime: s.containers, service: i.service, refresher: i.refresher, own: i.private != nil, secret: secret, arn: s.roleARN, log: log}
	return i, nil
}

func (i *instance) close() {
	if i.private != nil {
		i.private.listener.Close()
	}
}

// apply takes over a new configuration.
func (i *instance) apply(l loaded) {
	if err := i.service.Reload(l.imds); err != nil {
		i.log.Error("instance metadata not loaded; the old one stays in force", slog.String("error", err.Error()))
	}
}

// run keeps everything up to date until the context ends.
func (i *instance) run(ctx context.Context, group *errgroup.Group) {
	background := func(f func(context.Context)) {
		group.Go(func() error { f(ctx); return nil })
	}
	background(i.service.Run)
	background(i.roles.run)
	background(i.refresher.Run)
	if i.private != nil {
		group.Go(func() error { return i.private.serve(ctx) })
	}
	if i.state.dir != "" && !i.kept {
		background(func(context.Context) { _, _ = i.service.Identity() }) // what failed is logged
	}
}

// makeIdentity makes the keys that sign the identity document and keeps them,
// unless somebody else has kept some meanwhile. It takes longer than a server
// may take to start.
func (i *instance) makeIdentity() (*imds.Identity, error) {
	identity, err := i.state.makeIdentity()
	if err != nil {
		i.log.Warn("keys of the instance's identity not kept", slog.String("error", err.Error()))
	}
	if identity == nil {
		return imds.NewIdentity()
	}
	return identity, nil
}
