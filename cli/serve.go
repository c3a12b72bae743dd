package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// serverFlags are the flags of every command that starts the server.
type serverFlags struct {
	Credentials string `env:"ECS_LOCAL_CREDENTIALS" enum:"auto,sts,offline" default:"auto" help:"auto: sts when there are base credentials, else offline. sts: real credentials only. offline: made-up credentials, no AWS account."`
	Runtime     string `env:"ECS_LOCAL_RUNTIME" enum:"auto,docker,static" default:"auto" help:"auto: docker when there is a socket, else static. static: tasks from the file, or one built-in task."`
	IMDSTokens  string `name:"imds-tokens" env:"ECS_LOCAL_IMDS_TOKENS" enum:",optional,required" default:"" help:"optional or required: whether instance metadata is for requests with a token only (optional, or what the file says)."`
	Config      string `env:"ECS_LOCAL_CONFIG" placeholder:"FILE" help:"Configuration file (YAML)."`
	StateDir    string `env:"ECS_LOCAL_STATE_DIR" placeholder:"DIR" help:"Where to keep what is to be the same after a restart: the keys of the instance's identity, of the ids of task credentials, and of the certificate authority."`
	StateKey    string `env:"ECS_LOCAL_STATE_KEY" placeholder:"SECRET" help:"What ids of task credentials and offline credentials are made from, instead of a key in the state directory: 16 characters or more."`

	CredentialsLifetime time.Duration `env:"ECS_LOCAL_CREDENTIALS_LIFETIME" placeholder:"DURATION" help:"How long credentials live, 5s to 12h: a short time such as 2m shows how a program renews them (what STS gives)."`
	CredentialsExpired  bool          `env:"ECS_LOCAL_CREDENTIALS_EXPIRED" help:"Hand out credentials that say they are expired already, to see what a program does."`

	Faults       string        `env:"ECS_LOCAL_FAULTS" enum:"record,apply" default:"record" help:"What the fault injection endpoints do. record: the agent's answers only. apply: faults are real, which needs privileges."`
	FaultsExpire time.Duration `env:"ECS_LOCAL_FAULTS_EXPIRE" placeholder:"DURATION" help:"End a fault that nobody has ended after this time (never)."`

	MetadataFileRoot string `env:"ECS_LOCAL_METADATA_FILE_ROOT" placeholder:"DIR" help:"Where the directories are that labels ecs-local.metadata-file name: containers that have it get their metadata as a file there (off)."`

	ScanEndpoint string        `env:"ECS_LOCAL_SCAN_ENDPOINT" placeholder:"URL" help:"Instance metadata service whose iam-ecs namespaces are scanned for task credentials (our own)."`
	ScanInterval time.Duration `env:"ECS_LOCAL_SCAN_INTERVAL" placeholder:"DURATION" help:"Time between two scans (1s; 15m with --scan-endpoint)."`

	AllowIMDSCredentials      bool `env:"ECS_LOCAL_ALLOW_IMDS_CREDENTIALS" help:"Let base credentials come from a real instance's metadata service too."`
	AllowContainerCredentials bool `env:"ECS_LOCAL_ALLOW_CONTAINER_CREDENTIALS" help:"Let base credentials come from AWS_CONTAINER_CREDENTIALS_* too."`
}

// serveCommand is "ecs-local serve".
type serveCommand struct {
	listenFlags
	authorizationFlags
	serverFlags
	LogLevel  string `env:"ECS_LOCAL_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	LogFormat string `env:"ECS_LOCAL_LOG_FORMAT" enum:"text,json" default:"text" help:"text or json."`
}

// listenFlags say where the server listens, and who is answered there.
type listenFlags struct {
	Listen              string   `env:"ECS_LOCAL_LISTEN" default:"127.0.0.1:51679" placeholder:"ADDRESS" help:"Where to serve containers (${default}). The image sets :80."`
	ControlListen       string   `env:"ECS_LOCAL_CONTROL_LISTEN" default:"127.0.0.1:51680" placeholder:"ADDRESS" help:"Where to serve the control API (${default}); empty turns it off. The image sets :51680."`
	IntrospectionListen string   `env:"ECS_LOCAL_INTROSPECTION_LISTEN" default:"" placeholder:"ADDRESS" help:"Where to serve the agent's introspection API (off). The image sets :51678."`
	TLSListen           string   `name:"tls-listen" env:"ECS_LOCAL_TLS_LISTEN" default:"" placeholder:"ADDRESS" help:"Where to serve containers by HTTPS too, with certificates of an authority of its own (off)."`
	Strict              bool     `env:"ECS_LOCAL_STRICT" help:"Serve the ECS agent's own routes only, exactly as it does, with its limit of requests and its random order (off)."`
	IsolateCredentials  bool     `env:"ECS_LOCAL_ISOLATE_CREDENTIALS" default:"true" negatable:"" help:"Give a task's credentials to containers of that task only (on)."`
	AllowedHosts        []string `env:"ECS_LOCAL_ALLOWED_HOSTS" placeholder:"NAME" help:"Host names to answer beside addresses, localhost and single-label names."`
}

// hosts returns the allowed host names, and an error for what is none.
func (f listenFlags) hosts() ([]string, error) {
	var names []string
	for _, name := range f.AllowedHosts {
		name = strings.TrimSpace(name)
		if strings.ContainsAny(name, "*/ ") {
			return nil, misuse{fmt.Errorf("--allowed-hosts: %q is not a host name: give names such as app.example.com, each in full, separated by commas", name)}
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// Run serves until the context ends.
func (c serveCommand) Run(ctx context.Context, env environment) error {
	log, flush := newLog(env.stderr, c.LogLevel, c.LogFormat)
	defer flush()
	authorization, err := c.authorization()
	if err != nil {
		return misuse{said(err)}
	}
	s, err := newService(ctx, c.serverFlags, c.listenFlags, authorization, env, log)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx, s.announce)
}

// announce says what is served and what to try first.
func (s *service) announce() {
	try := s.url() + "/creds"
	switch {
	case s.strict:
		try = s.url() + "/v2/credentials/" // every other path needs an id
	case s.containers.kind == runtimeStatic:
		try = s.url() + "/v4/task"
	}
	attrs := []slog.Attr{slog.String("url", s.url())}
	for _, other := range s.servers[1:] {
		attrs = append(attrs, slog.String(other.name, other.url()))
	}
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "serving", append(attrs, slog.String("runtime", s.containers.kind),
		slog.String("credentials", string(s.credentials.Status().Mode)), slog.String("try", "curl "+try))...)
}
