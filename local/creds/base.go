package creds

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sync/singleflight"

	"github.com/ecs-local/ecs-local/local"
)

// maxAttempts of one call to STS or another service of the SDK's chain.
const maxAttempts = 3

// base finds the developer's base credentials the way every AWS tool does.
// The environment and the AWS files are read again for each call to STS, which
// are few, so that what `aws configure` or a login tool writes is seen
// without a restart. As long as nothing has changed, the account stays the same.
type base struct {
	opts    Options
	mu      sync.Mutex              // one resolves at a time
	current atomic.Pointer[account] // nil until there is one
}

func newBase(opts Options) *base { return &base{opts: opts} }

// account resolves the configuration. It makes no call to AWS.
func (b *base) account(ctx context.Context) (*account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// First without the credentials: the SDK looks up host names while it
	// resolves container credentials, even those that we leave out.
	cfg, err := b.load(ctx, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	if err != nil {
		return nil, explainConfig(err)
	}
	env, shared := sources(cfg)
	if a := b.current.Load(); a != nil && reflect.DeepEqual(a.env, env) && reflect.DeepEqual(a.shared, shared) {
		return a, nil
	}
	if err := b.admit(env, shared); err != nil {
		return nil, err
	}
	cfg, err = b.load(ctx)
	if err != nil {
		return nil, explainConfig(err)
	}
	if !b.opts.AllowIMDS && aws.IsCredentialsProvider(cfg.Credentials, (*ec2rolecreds.Provider)(nil)) ||
		!b.opts.AllowContainer && aws.IsCredentialsProvider(cfg.Credentials, (*endpointcreds.Provider)(nil)) {
		return nil, noBase()
	}
	a := &account{env: env, shared: shared, region: cfg.Region, chain: cfg.Credentials, opts: b.opts}
	cfg.Credentials = a
	a.sts = sts.NewFromConfig(cfg)
	b.current.Store(a)
	return a, nil
}

// region returns the region that is configured, or the default.
func (b *base) region(ctx context.Context) string {
	cfg, err := b.load(ctx, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	if err != nil {
		// Offline credentials need nothing from the AWS files, so a file that
		// cannot be read must not stand in their way.
		b.opts.Log.Warn("AWS configuration not read; the default region is used for offline credentials",
			"region", b.opts.Region, "reason", local.MessageOf(explainConfig(err)))
		return b.opts.Region
	}
	return cfg.Region
}

// knownIdentity returns the identity of the base credentials if STS was asked.
func (b *base) knownIdentity() *identity {
	if a := b.current.Load(); a != nil {
		return a.identity.Load()
	}
	return nil
}

func (b *base) load(ctx context.Context, more ...func(*config.LoadOptions) error) (aws.Config, error) {
	opts := []func(*config.LoadOptions) error{
		config.WithDefaultRegion(b.opts.Region),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = maxAttempts
				o.MaxBackoff = 500 * time.Millisecond
			})
		}),
		// An attempt that hangs leaves time for another one. It also ends the
		// calls of the SDK's own chain, which no context ends: its cache
		// removes the deadline.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(b.opts.Timeout / 2)),
		config.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, _ ...any) {
			// The arguments stay out: they may be secrets.
			b.opts.Log.Debug("AWS SDK", "message", format)
		})),
		// The chain would report an expiry five minutes early for some sources.
		config.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 0 }),
	}
	if !b.opts.AllowIMDS {
		opts = append(opts, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	if b.opts.STSEndpoint != "" {
		// The clients that the SDK makes for profiles with a role_arn and for
		// web identities exist before service options apply.
		endpoint := func(o *sts.Options) { o.BaseEndpoint = aws.String(b.opts.STSEndpoint) }
		opts = append(opts,
			config.WithServiceOptions(func(_ string, o any) {
				if o, ok := o.(*sts.Options); ok {
					endpoint(o)
				}
			}),
			config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
				if c, ok := o.Client.(*sts.Client); ok {
					o.Client = sts.New(c.Options(), endpoint)
				}
			}),
			config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
				if c, ok := o.Client.(*sts.Client); ok {
					o.Client = sts.New(c.Options(), endpoint)
				}
			}))
	}
	return config.LoadDefaultConfig(ctx, append(opts, more...)...)
}

// sources returns what the SDK has read from the environment and the files.
func sources(cfg aws.Config) (env config.EnvConfig, shared config.SharedConfig) {
	for _, s := range cfg.ConfigSources {
		switch s := s.(type) {
		case config.EnvConfig:
			env = s
		case config.SharedConfig:
			shared = s
		}
	}
	return env, shared
}

// admit refuses configurations whose credentials come from a place that is
// left out. It follows the order of the SDK's chain:
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
func (b *base) admit(env config.EnvConfig, shared config.SharedConfig) error {
	if env.Credentials.HasKeys() || env.WebIdentityTokenFilePath != "" {
		return nil
	}
	leaf, role := &shared, shared.RoleARN != ""
	for leaf.Source != nil {
		leaf = leaf.Source
		role = role || leaf.RoleARN != ""
	}
	container := env.ContainerCredentialsRelativePath != "" || env.ContainerCredentialsEndpoint != ""
	switch {
	case leaf.Credentials.HasKeys():
		return nil
	case leaf.CredentialSource == "EcsContainer" && !b.opts.AllowContainer,
		leaf.CredentialSource == "Ec2InstanceMetadata" && !b.opts.AllowIMDS:
		return &local.Error{Code: local.Denied, Name: "NoCredentials",
			Msg: "profile " + leaf.Profile + " has credential_source = " + leaf.CredentialSource +
				", which ecs-local leaves out so that it never asks itself: choose another profile with AWS_PROFILE, or allow this source"}
	case leaf.CredentialSource != "", leaf.WebIdentityTokenFile != "", leaf.SSOSessionName != "", leaf.SSOAccountID != "",
		leaf.SSOStartURL != "", leaf.LoginSession != "", leaf.CredentialProcess != "":
		return nil
	case container && b.opts.AllowContainer, b.opts.AllowIMDS && !container:
		return nil
	case role:
		return &local.Error{Code: local.Denied, Name: "NoCredentials",
			Msg: "profile " + shared.Profile + " has a role_arn but no credentials to assume it with: give it a source_profile"}
	case container:
		return noBase()
	default:
		return nil // the SDK's answer decides
	}
}

// account is what one state of the environment and the AWS files leads to. It
// is the aws.CredentialsProvider of its own STS client: in front of the SDK's
// chain it renews credentials before they expire and keeps the old ones when
// that fails.
type account struct {
	env    config.EnvConfig
	shared config.SharedConfig
	region string
	chain  aws.CredentialsProvider
	sts    *sts.Client
	opts   Options

	held     atomic.Pointer[heldBase]
	identity atomic.Pointer[identity]
	flight   singleflight.Group
}

type heldBase struct {
	value     aws.Credentials
	refreshAt time.Time // zero: never
}

// Retrieve implements aws.CredentialsProvider. Concurrent callers share one
// retrieval, which goes on when they leave.
func (a *account) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if h := a.held.Load(); h != nil && (h.refreshAt.IsZero() || time.Now().Before(h.refreshAt)) {
		return h.value, nil
	}
	result := a.flight.DoChan("credentials", func() (any, error) { return a.renew(context.WithoutCancel(ctx)) })
	select {
	case r := <-result:
		if r.Err != nil {
			return aws.Credentials{}, &baseError{r.Err}
		}
		return r.Val.(aws.Credentials), nil
	case <-ctx.Done():
		return aws.Credentials{}, &baseError{ctx.Err()}
	}
}

func (a *account) renew(ctx context.Context) (aws.Credentials, error) {
	old := a.held.Load()
	if c, ok := a.chain.(*aws.CredentialsCache); ok && old != nil {
		c.Invalidate() // or it would return the old ones until they expire
	}
	v, err := a.chain.Retrieve(ctx)
	now := time.Now()
	switch {
	case err != nil && old != nil && now.Before(old.value.Expires):
		a.opts.Log.Warn("base credentials not renewed; the old ones are used until they expire",
			"expiration", old.value.Expires, "reason", a.explain(&baseError{err}, "").Msg)
		return old.value, nil
	case err != nil:
		return aws.Credentials{}, err
	case v.CanExpire && !now.Before(v.Expires):
		return aws.Credentials{}, errBaseExpired
	}
	h := &heldBase{value: v}
	if v.CanExpire {
		h.refreshAt = refreshAt(now, v.Expires)
	}
	a.held.Store(h)
	return v, nil
}

// identity is what GetCallerIdentity says about base credentials.
type identity struct {
	keyID     string // of the credentials it is about
	arn       string
	account   string
	partition string
}

// whoami returns the identity of the base credentials. STS is asked once in
// their life; GetCallerIdentity needs no permission.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (a *account) whoami(ctx context.Context) (*identity, error) {
	v, err := a.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	if id := a.identity.Load(); id != nil && id.keyID == v.AccessKeyID {
		return id, nil
	}
	result := a.flight.DoChan("identity", func() (any, error) {
		if id := a.identity.Load(); id != nil && id.keyID == v.AccessKeyID {
			return id, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Timeout)
		defer cancel()
		out, err := a.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return nil, err
		}
		id := &identity{keyID: v.AccessKeyID, arn: aws.ToString(out.Arn), account: aws.ToString(out.Account)}
		if parsed, err := arn.Parse(id.arn); err == nil {
			id.partition = parsed.Partition
		} else {
			id.partition = local.Partition(a.region) // stand-ins for STS are not always exact
		}
		a.identity.Store(id)
		return id, nil
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*identity), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// renewHint says how to renew the base credentials.
func (a *account) renewHint() string {
	if a.env.Credentials.HasKeys() {
		return "put new ones into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN) and start ecs-local again"
	}
	leaf := &a.shared
	for leaf.Source != nil {
		leaf = leaf.Source
	}
	switch {
	case leaf.Credentials.HasKeys():
		return "put new ones into profile " + leaf.Profile
	case leaf.SSOSessionName != "", leaf.SSOStartURL != "":
		return "run `aws sso login --profile " + leaf.Profile + "`"
	case leaf.LoginSession != "":
		return "run `aws login --profile " + leaf.Profile + "`"
	case leaf.CredentialProcess != "":
		return "check the credential_process of profile " + leaf.Profile
	default:
		return "renew them where they come from"
	}
}

// secrets are the values that no message may hold.
func (a *account) secrets() []string {
	var s []string
	add := func(c aws.Credentials) {
		s = append(s, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	}
	add(a.env.Credentials)
	for c := &a.shared; c != nil; c = c.Source {
		add(c.Credentials)
	}
	if h := a.held.Load(); h != nil {
		add(h.value)
	}
	return s
}
