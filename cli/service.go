package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sync/errgroup"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/authority"
	"github.com/ecs-local/ecs-local/local/creds"
	"github.com/ecs-local/ecs-local/local/fault"
	"github.com/ecs-local/ecs-local/local/metadatafile"
	"github.com/ecs-local/ecs-local/local/protection"
)

// service is the whole server: the containers, their credentials, the
// instance, and the listeners. newService makes it, run runs it, close ends
// what making it began.
type service struct {
	settings    *settings
	containers  *source
	credentials *creds.Service
	instance    *instance
	state       state
	authority   *authority.Authority // nil without TLS
	protection  *protection.Store
	faults      *fault.Service
	faultsMode  string // faultsRecorded or faultsApplied
	// faultsExpiry is how long a fault lasts that nobody ends; zero: for ever.
	faultsExpiry time.Duration

	metadataFiles *metadatafile.Writer
	servers       []server // that of the containers is the first
	log           *slog.Logger

	authorization func() (string, error) // nil: none is wanted
	expired       bool                   // what is handed out says that it is expired
	isolated      bool                   // a task's credentials are for its containers
	strict        bool                   // the agent's own routes and answers only

	followed chan error // how following the containers ended
	closers  []func()   // in the order in which they were made
}

// newService makes everything and opens the listeners. Unless authorization is
// nil, requests for credentials need the token that it returns.
func newService(ctx context.Context, flags serverFlags, listen listenFlags, authorization func() (string, error), env environment, log *slog.Logger) (_ *service, err error) {
	s := &service{log: log, protection: protection.New(), faultsMode: flags.Faults, faultsExpiry: flags.FaultsExpire,
		followed: make(chan error, 1), authorization: authorization, isolated: listen.IsolateCredentials, strict: listen.Strict, expired: flags.CredentialsExpired}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if l := flags.CredentialsLifetime; l != 0 && l < shortestLife {
		return nil, misuse{fmt.Errorf("--credentials-lifetime %s is too short to deliver credentials in: give %s to 12h", l, shortestLife)}
	}
	if listen.AllowedHosts, err = listen.hosts(); err != nil {
		return nil, err
	}
	inherited, err := inherit()
	if err != nil {
		return nil, misuse{err}
	}
	if s.settings, err = loadSettings(flags.Config, inherited.facts, flags.IMDSTokens); err != nil {
		return nil, misuse{err}
	}
	s.closers = append(s.closers, s.settings.close)
	if s.containers, err = newSource(ctx, flags.Runtime, inherited, s.settings, log); err != nil {
		return nil, err
	}
	spendMemory()
	s.follow(ctx)
	if s.state, err = openState(flags.StateDir, log); err != nil {
		return nil, err
	}
	secret, err := s.state.secret(flags.StateKey)
	if err != nil {
		return nil, fmt.Errorf("keep the key of the ids of task credentials: %w", err)
	}
	if s.credentials, err = creds.New(ctx, flags.credentialsOptions(s.settings.current(), inherited, secret, log)); err != nil {
		return nil, misuse{err}
	}
	s.closers = append(s.closers, s.credentials.Close)
	if s.faults, err = s.newFaults(ctx, flags); err != nil {
		return nil, err
	}
	if s.metadataFiles, err = newMetadataFiles(flags.MetadataFileRoot, s); err != nil {
		return nil, err
	}
	counted := newMetrics(s.containers)
	if s.instance, err = flags.newInstance(s, secret, newScanMetrics(counted)); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.instance.close)
	if listen.TLSListen != "" {
		if s.authority, err = s.state.authority(); err != nil {
			return nil, err
		}
	}
	s.addServers(listen, env, inherited, counted)
	if err := distinct(s.servers); err != nil {
		return nil, err
	}
	for i := range s.servers {
		if err := s.servers[i].listen(s.containers, log); err != nil {
			return nil, err
		}
		s.closers = append(s.closers, func() { s.servers[i].listener.Close() })
	}
	return s, nil
}

// follow begins to follow the containers. The engine takes a while to tell
// about many of them: everything else is made meanwhile.
func (s *service) follow(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { s.followed <- s.containers.run(ctx) })
	s.closers = append(s.closers, func() { end(); following.Wait() })
}

// close ends what was begun, the latest first.
func (s *service) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// addServers adds a listener for each address that is given.
func (s *service) addServers(listen listenFlags, env environment, inherited inherited, counted *metrics.Set) {
	containers := handlers.New(s.deps(listen, inherited))
	s.servers = []server{{name: "ecs", flag: "--listen", address: listen.Listen, handler: containers, writeTimeout: s.writeTimeout()}}
	if s.authority != nil {
		s.servers = append(s.servers, server{
			name: "tls", flag: "--tls-listen", address: listen.TLSListen, handler: containers,
			tls: s.authority.TLSConfig(handlers.AllowedHost(listen.AllowedHosts)), writeTimeout: s.writeTimeout(),
		})
	}
	if listen.ControlListen != "" {
		s.servers = append(s.servers, server{
			name: "control", flag: "--control-listen", address: listen.ControlListen,
			handler: handlers.NewControl(s.controlDeps(listen, env, counted)),
		})
	}
	if listen.IntrospectionListen != "" {
		s.servers = append(s.servers, server{
			name: "introspection", flag: "--introspection-listen", address: listen.IntrospectionListen,
			handler: handlers.NewIntrospection(handlers.IntrospectionDeps{
				Runtime: s.containers, Version: env.Version, License: env.License, AllowedHosts: listen.AllowedHosts, Log: s.log,
			}),
		})
	}
}

// deps are what the containers' endpoints need.
func (s *service) deps(listen listenFlags, inherited inherited) handlers.Deps {
	d := handlers.Deps{
		Runtime: s.containers, Credentials: s.credentials, TaskCredentials: s.instance.roles,
		IsolateCredentials: s.isolated, Authorization: s.authorization, Protection: s.protection, Faults: s.faults,
		IMDS: s.instance.service, Documents: inherited.documents, AllowedHosts: listen.AllowedHosts, Log: s.log,
	}
	if s.strict {
		d.Strict, d.RateLimit = true, s.rateLimit(inherited)
	}
	if s.expired {
		d.Credentials, d.TaskCredentials = expired{d.Credentials}, expiredTask{d.TaskCredentials}
	}
	if issuer := s.credentials.Issuer(); issuer != nil {
		d.STS = issuer
	}
	return d
}

func (s *service) controlDeps(listen listenFlags, env environment, counted *metrics.Set) handlers.ControlDeps {
	started := time.Now().UTC()
	return handlers.ControlDeps{
		Runtime: s.containers, IMDS: s.instance.service, OnReset: s.reset, TaskCredentials: s.instance.roles,
		Protection: s.protection, Faults: s.faults,
		AllowedHosts: listen.AllowedHosts, Log: s.log,
		Metrics: counted.WritePrometheus,
		Ready: func() map[string]error {
			return map[string]error{"containers": s.containers.Status(), "credentials": credentialsReady(s.credentials.Status())}
		},
		Status: func() handlers.Status {
			return handlers.Status{
				Version: env.Version, Started: started, Runtime: s.containers.kind,
				Listen: addresses(s.servers), Region: s.region(), Strict: s.strict, Faults: s.faultsMode, Credentials: s.credentialsStatus(), Config: s.settings.status(),
			}
		},
		Rotate: s.rotate,
		MFA:    s.credentials.MFA,
		CA:     s.authorityPEM,
	}
}

// run serves until the context ends. serving is called once everything runs.
func (s *service) run(ctx context.Context, serving func()) error {
	hangup, stop := hangups()
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case err := <-s.followed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	group.Go(func() error {
		return s.settings.watch(ctx, hangup, s.log, func(l loaded) {
			s.containers.apply(l)
			s.instance.apply(l)
			if err := s.credentials.SetRoles(l.roles()); err != nil {
				s.log.Error("options of roles not loaded; the old ones stay in force", slog.String("error", err.Error()))
			}
		})
	})
	s.instance.run(ctx, group)
	group.Go(func() error { s.followFaults(ctx, s.faultsExpiry); return nil })
	group.Go(func() error {
		s.metadataFiles.Run(ctx, s.containers.changes.subscribe(), func() *local.Directory {
			dir, _ := s.containers.Current()
			return dir
		})
		return nil
	})
	for _, server := range s.servers {
		group.Go(func() error { return server.serve(ctx) })
	}
	serving()
	err := group.Wait()
	// A request that the end came upon may have started one.
	s.endFaults(context.WithoutCancel(ctx))
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	s.log.Info("stopped")
	return nil
}

// url is where the containers' endpoints are, seen from this machine.
func (s *service) url() string { return s.servers[0].url() }

// credentialsReady returns why no credentials can be had, or nil.
func credentialsReady(status creds.Status) error {
	if status.LastError == "" {
		return nil
	}
	return local.Errorf(local.Unavailable, "%s", status.LastError)
}

func (s *service) credentialsStatus() handlers.CredentialsStatus {
	status := s.credentials.Status()
	shown := handlers.CredentialsStatus{
		Mode: string(status.Mode), Identity: status.Identity, Account: status.Account, Error: status.LastError, Since: status.Since,
		Authorization: s.authorization != nil, Isolated: s.isolated, Expired: s.expired,
	}
	if m := status.MFA; m != nil {
		shown.MFA = &handlers.MFAStatus{Serial: m.Serial, Needed: m.Needed, Until: m.Until}
	}
	return shown
}

// authorityPEM is the certificate of the authority behind --tls-listen.
func (s *service) authorityPEM() []byte {
	if s.authority == nil {
		return nil
	}
	return s.authority.CertificatePEM()
}

// addresses returns where the servers listen, by name.
func addresses(servers []server) map[string]string {
	at := make(map[string]string, len(servers))
	for _, s := range servers {
		at[s.name] = s.listener.Addr().String()
	}
	return at
}

// distinct returns an error when two servers have the same address.
func distinct(servers []server) error {
	flags := map[string]string{} // by address
	for _, s := range servers {
		if _, port, err := net.SplitHostPort(s.address); err != nil || port == "0" {
			continue
		}
		if first, taken := flags[s.address]; taken {
			return misuse{fmt.Errorf("%s and %s are both %s: give each an address of its own", first, s.flag, s.address)}
		}
		flags[s.address] = s.flag
	}
	return nil
}

// region is where the programs that the server tells it live.
func (s *service) region() string {
	return cmp.Or(s.settings.current().facts.Region, local.DefaultRegion)
}

// reset brings back what belongs to the configuration, after the control API
// has made it all there is.
func (s *service) reset() {
	s.protection.Reset()
	s.endFaults(context.Background())
}
