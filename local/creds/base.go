package creds

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

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
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/sync/singleflight"

	"github.com/ecs-local/ecs-local/local"
)

// maxAttempts of one call to STS or another service of the SDK's chain.
const maxAttempts = 3

// basePause is the least time between two attempts to renew base credentials
// that are still valid.
const basePause = 10 * time.Second

// base finds the developer's base credentials the way every AWS tool does.
// The environment and the AWS files are read again for each call to STS, which
// are few, so that what `aws configure` or a login tool writes is seen
// without a restart. As long as nothing has changed, the account stays the same.
type base struct {
	opts    Options
	mu      sync.Mutex              // one resolves at a time
	current atomic.Pointer[account] // nil until there is one
	files   watchedFiles

	// replaced, when it is set, is told that there is another account than
	// before.
	replaced func()
}

func newBase(opts Options) *base { return &base{opts: opts} }

// account resolves the configuration. It makes no call to AWS.
func (b *base) account(ctx context.Context) (*account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// First without the credentials: the SDK looks up host names while it
	// resolves container credentials, even those that we leave out.
	cfg, err := b.load(ctx, nil, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	if err != nil {
		if lost := unreadable(); lost != nil {
			return nil, lost
		}
		return nil, explainConfig(err)
	}
	env, shared := sources(cfg)
	b.files.watch(env, shared)
	if a := b.current.Load(); a != nil && reflect.DeepEqual(a.env, env) && reflect.DeepEqual(a.shared, shared) {
		return a, nil
	}
	if err := b.admit(env, shared); err != nil {
		return nil, err
	}
	device := newMFA(env, shared)
	cfg, err = b.load(ctx, device)
	if err != nil {
		return nil, explainConfig(err)
	}
	if !b.opts.AllowIMDS && aws.IsCredentialsProvider(cfg.Credentials, (*ec2rolecreds.Provider)(nil)) ||
		!b.opts.AllowContainer && aws.IsCredentialsProvider(cfg.Credentials, (*endpointcreds.Provider)(nil)) {
		return nil, b.none()
	}
	a := &account{env: env, shared: shared, region: cfg.Region, chain: cfg.Credentials, mfa: device, opts: b.opts}
	if device != nil && device.client == nil { // no role is assumed: the session is the base
		device.client = sts.NewFromConfig(cfg)
		a.chain = aws.NewCredentialsCache(device)
	}
	cfg.Credentials = a
	a.sts = sts.NewFromConfig(cfg)
	if b.current.Swap(a) != nil && b.replaced != nil {
		b.replaced()
	}
	return a, nil
}

// region returns the region that is configured, or the default.
func (b *base) region(ctx context.Context) string {
	cfg, err := b.load(ctx, nil, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
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

func (b *base) load(ctx context.Context, device *mfa, more ...func(*config.LoadOptions) error) (aws.Config, error) {
	// The clients that the SDK makes for profiles with a role_arn and for web
	// identities exist before service options apply.
	endpoint := func(o *sts.Options) {
		if b.opts.STSEndpoint != "" {
			o.BaseEndpoint = aws.String(b.opts.STSEndpoint)
		}
	}
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
		config.WithAPIOptions([]func(*middleware.Stack) error{limitAnswers}),
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
	opts = append(opts,
		config.WithServiceOptions(func(_ string, o any) {
			if o, ok := o.(*sts.Options); ok {
				endpoint(o)
			}
		}),
		config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			c, ok := o.Client.(*sts.Client)
			if ok {
				c = sts.New(c.Options(), endpoint)
				o.Client = c
			}
			// The SDK asks first without a client whether a code could be had.
			device.take(o, c)
		}),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
			if c, ok := o.Client.(*sts.Client); ok {
				o.Client = sts.New(c.Options(), endpoint)
			}
		}))
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
	}
	// They may be in a file that only others can read.
	if lost := unreadable(); lost != nil {
		return lost
	}
	switch {
	case container && b.opts.AllowContainer, b.opts.AllowIMDS && !container:
		return nil
	case role:
		return &local.Error{Code: local.Denied, Name: "NoCredentials",
			Msg: "profile " + shared.Profile + " has a role_arn but no credentials to assume it with: give it a source_profile"}
	case container:
		return b.none()
	default:
		return nil // the SDK's answer decides
	}
}

// none says that there are no base credentials, or only half of some.
func (b *base) none() *local.Error {
	if b.opts.MissingKey != "" {
		return incompleteKeys(b.opts.MissingKey)
	}
	return noBase()
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
	mfa    *mfa // nil: no code is asked for
	opts   Options

	held     atomic.Pointer[heldBase]
	expired  atomic.Int64 // counts the calls of expire
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

// expire makes the next call get new credentials from the chain. The old ones
// stand in if there are none.
func (a *account) expire() {
	a.expired.Add(1)
	for {
		old := a.held.Load()
		if old == nil || a.held.CompareAndSwap(old, &heldBase{value: old.value, refreshAt: time.Now()}) {
			return
		}
	}
}

// distrust takes an error of STS. When it is that the base credentials are
// good no more, whatever expiry they have, the next call gets others.
func (a *account) distrust(err error) {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return
	}
	switch api.ErrorCode() {
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException":
		a.expire()
	}
}

func (a *account) renew(ctx context.Context) (aws.Credentials, error) {
	expired := a.expired.Load()
	old := a.held.Load()
	if c, ok := a.chain.(*aws.CredentialsCache); ok && old != nil {
		c.Invalidate() // or it would return the old ones until they expire
	}
	v, err := a.chain.Retrieve(ctx)
	if v.SessionToken != "" && a.env.Credentials.HasKeys() && !a.opts.KeysExpire.IsZero() {
		v.CanExpire, v.Expires = true, a.opts.KeysExpire // the SDK does not know
	}
	now := time.Now()
	switch {
	case err != nil && old != nil && now.Before(old.value.Expires):
		a.opts.Log.Warn("base credentials not renewed; the old ones are used until they expire",
			"expiration", old.value.Expires, "reason", a.explain(&baseError{err}, stsCall{}).Msg)
		a.held.CompareAndSwap(old, &heldBase{value: old.value, refreshAt: now.Add(basePause)})
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
	if a.expired.Load() != expired { // meanwhile: these may be older than that
		h.refreshAt = now
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
	leaf := leafOf(&a.shared)
	switch {
	case leaf.Credentials.HasKeys():
		return "put new ones into profile " + leaf.Profile
	case usesSSO(leaf):
		return "run " + a.loginCommand("aws sso login", leaf)
	case leaf.LoginSession != "":
		return "run " + a.loginCommand("aws login", leaf)
	case leaf.CredentialProcess != "":
		return "check the credential_process of profile " + leaf.Profile
	default:
		return "renew them where they come from"
	}
}

// loginCommand writes a command of the AWS CLI for the profile that has the
// login: the command does not follow source_profile itself.
func (a *account) loginCommand(command string, leaf *config.SharedConfig) string {
	profile := leaf.Profile
	if strings.ContainsFunc(profile, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && r != '/' && r != '@' && r != '+' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		profile = "'" + strings.ReplaceAll(profile, "'", `'\''`) + "'"
	}
	text := "`" + command + " --profile " + profile + "`"
	if leaf.Profile != a.shared.Profile {
		text += " (profile " + a.shared.Profile + " gets its credentials from it)"
	}
	return text
}

// leafOf returns the profile at the end of a chain of source_profile.
func leafOf(c *config.SharedConfig) *config.SharedConfig {
	for c.Source != nil {
		c = c.Source
	}
	return c
}

func usesSSO(c *config.SharedConfig) bool { return c.SSOSessionName != "" || c.SSOStartURL != "" }

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
	if a.mfa != nil {
		if session := a.mfa.session.Load(); session != nil {
			add(session.value)
		}
	}
	return s
}
