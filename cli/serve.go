package cli

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

// serveCommand is "ecs-local serve".
type serveCommand struct {
	Listen              string   `env:"ECS_LOCAL_LISTEN" default:"127.0.0.1:51679" placeholder:"ADDRESS" help:"Where to serve containers (${default}). The image sets :80."`
	ControlListen       string   `env:"ECS_LOCAL_CONTROL_LISTEN" default:"127.0.0.1:51680" placeholder:"ADDRESS" help:"Where to serve the control API (${default}); empty turns it off. The image sets :51680."`
	IntrospectionListen string   `env:"ECS_LOCAL_INTROSPECTION_LISTEN" default:"" placeholder:"ADDRESS" help:"Where to serve the agent's introspection API (off). The image sets :51678."`
	Credentials         string   `env:"ECS_LOCAL_CREDENTIALS" enum:"auto,sts,offline" default:"auto" help:"auto: sts when there are base credentials, else offline. sts: real credentials only. offline: made-up credentials, no AWS account."`
	Runtime             string   `env:"ECS_LOCAL_RUNTIME" enum:"auto,docker,static" default:"auto" help:"auto: docker when there is a socket, else static. static: tasks from the file, or one built-in task."`
	IMDSTokens          string   `name:"imds-tokens" env:"ECS_LOCAL_IMDS_TOKENS" enum:",optional,required" default:"" help:"optional or required: whether instance metadata is for requests with a token only (optional, or what the file says)."`
	Config              string   `env:"ECS_LOCAL_CONFIG" placeholder:"FILE" help:"Configuration file (YAML)."`
	AllowedHosts        []string `env:"ECS_LOCAL_ALLOWED_HOSTS" placeholder:"NAME" help:"Host names to answer beside addresses, localhost and single-label names."`
	StateDir            string   `env:"ECS_LOCAL_STATE_DIR" placeholder:"DIR" help:"Where to keep what is to be the same after a restart: the keys of the instance's identity, and of the ids of task credentials."`
	LogLevel            string   `env:"ECS_LOCAL_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	LogFormat           string   `env:"ECS_LOCAL_LOG_FORMAT" enum:"text,json" default:"text" help:"text or json."`

	ScanEndpoint string        `env:"ECS_LOCAL_SCAN_ENDPOINT" placeholder:"URL" help:"Instance metadata service whose iam-ecs namespaces are scanned for task credentials (our own)."`
	ScanInterval time.Duration `env:"ECS_LOCAL_SCAN_INTERVAL" placeholder:"DURATION" help:"Time between two scans (1s; 15m with --scan-endpoint)."`

	AllowIMDSCredentials      bool `env:"ECS_LOCAL_ALLOW_IMDS_CREDENTIALS" help:"Let base credentials come from a real instance's metadata service too."`
	AllowContainerCredentials bool `env:"ECS_LOCAL_ALLOW_CONTAINER_CREDENTIALS" help:"Let base credentials come from AWS_CONTAINER_CREDENTIALS_* too."`
}

// Run serves until the context ends.
func (c serveCommand) Run(ctx context.Context, env environment) error {
	log, flush := newLog(env.stderr, c.LogLevel, c.LogFormat)
	defer flush()
	inherited, err := inherit()
	if err != nil {
		return misuse{err}
	}
	settings, err := loadSettings(c.Config, inherited.facts, c.IMDSTokens)
	if err != nil {
		return misuse{err}
	}
	defer settings.close()

	containers, err := newSource(ctx, c.Runtime, inherited.dockerHost, settings, log)
	if err != nil {
		return err
	}
	// The engine takes a while to tell about many containers: what follows is
	// made meanwhile.
	spendMemory()
	early, end := context.WithCancel(ctx)
	followed := make(chan error, 1)
	var following sync.WaitGroup
	following.Go(func() { followed <- containers.run(early) })
	defer following.Wait()
	defer end()
	service, err := creds.New(ctx, creds.Options{
		Mode:                  creds.Mode(c.Credentials),
		Region:                settings.current().facts.Region,
		Account:               settings.current().facts.Account,
		STSEndpoint:           inherited.stsEndpoint,
		SharedTokenExpiration: inherited.sharedTokenExpiration,
		AllowIMDS:             c.AllowIMDSCredentials,
		AllowContainer:        c.AllowContainerCredentials,
		Log:                   log,
	})
	if err != nil {
		return err
	}
	defer service.Close()
	counted := newMetrics(containers)
	i, err := c.newInstance(containers, settings, service, newScanMetrics(counted), log)
	if err != nil {
		return err
	}
	defer i.close()

	servers := []server{{
		name: "ecs", flag: "--listen", address: c.Listen,
		handler: handlers.New(handlers.Deps{
			Runtime: containers, Credentials: service, IMDS: i.service, TaskCredentials: i.roles, Documents: inherited.documents, AllowedHosts: c.AllowedHosts, Log: log,
		}),
	}}
	if c.ControlListen != "" {
		started := time.Now().UTC()
		servers = append(servers, server{
			name: "control", flag: "--control-listen", address: c.ControlListen,
			handler: handlers.NewControl(handlers.ControlDeps{
				Runtime: containers, IMDS: i.service, OnReset: i.roles.refeed, TaskCredentials: i.roles, AllowedHosts: c.AllowedHosts, Log: log,
				Metrics: counted.WritePrometheus,
				Ready: func() map[string]error {
					return map[string]error{"containers": containers.Status(), "credentials": credentialsReady(service.Status())}
				},
				Status: func() handlers.Status {
					return handlers.Status{
						Version: env.version, Started: started, Runtime: containers.kind,
						Listen: addresses(servers), Credentials: credentialsStatus(service.Status()), Config: settings.status(),
					}
				},
			}),
		})
	}
	if c.IntrospectionListen != "" {
		servers = append(servers, server{
			name: "introspection", flag: "--introspection-listen", address: c.IntrospectionListen,
			handler: handlers.NewIntrospection(handlers.IntrospectionDeps{
				Runtime: containers, Version: env.version, License: env.license, AllowedHosts: c.AllowedHosts, Log: log,
			}),
		})
	}
	for i := range servers {
		if err := servers[i].listen(log); err != nil {
			return err
		}
		defer servers[i].listener.Close()
	}

	hangup, stop := hangups()
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case err := <-followed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	group.Go(func() error {
		return settings.watch(ctx, hangup, log, func(l loaded) {
			containers.apply(l)
			i.apply(l)
		})
	})
	i.run(ctx, group)
	for _, s := range servers {
		group.Go(func() error { return s.serve(ctx) })
	}
	c.announce(log, servers[0], containers, service)
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	log.Info("stopped")
	return nil
}

// announce says what is served and what to try first.
func (c serveCommand) announce(log *slog.Logger, ecs server, containers *source, service *creds.Service) {
	url := "http://" + dialable(ecs.listener.Addr().String())
	try := url + "/creds"
	if containers.kind == runtimeStatic {
		try = url + "/v4/task"
	}
	log.Info("serving", slog.String("url", url), slog.String("runtime", containers.kind),
		slog.String("credentials", string(service.Status().Mode)), slog.String("try", "curl "+try))
}

// credentialsReady returns why no credentials can be had, or nil.
func credentialsReady(status creds.Status) error {
	if status.LastError == "" {
		return nil
	}
	return local.Errorf(local.Unavailable, "%s", status.LastError)
}

func credentialsStatus(status creds.Status) handlers.CredentialsStatus {
	return handlers.CredentialsStatus{
		Mode: string(status.Mode), Identity: status.Identity, Account: status.Account, Error: status.LastError, Since: status.Since,
	}
}

// addresses returns where the servers listen, by name.
func addresses(servers []server) map[string]string {
	at := make(map[string]string, len(servers))
	for _, s := range servers {
		at[s.name] = s.listener.Addr().String()
	}
	return at
}
