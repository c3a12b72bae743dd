package creds

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/ecs-local/ecs-local/local"
)

// stsProvider asks STS, on every call.
type stsProvider struct {
	base                  *base
	sharedTokenExpiration time.Duration
	lifetime              time.Duration // 0: STS decides
	roles                 atomic.Pointer[roleOptions]
	// sources has the credentials of roles that others are assumed with.
	sources Provider
}

// Credentials implements Provider.
func (p *stsProvider) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	a, err := p.base.account(ctx)
	if err != nil {
		return local.Credentials{}, err
	}
	if !role.Session() {
		return p.assume(ctx, a, role, session)
	}
	own, err := a.Retrieve(ctx)
	if err != nil {
		return local.Credentials{}, a.explain(err, stsCall{})
	}
	if own.SessionToken != "" {
		return p.handOn(own), nil
	}
	return p.session(ctx, a)
}

// handOn passes temporary base credentials on: GetSessionToken cannot be
// called with them.
func (p *stsProvider) handOn(own aws.Credentials) local.Credentials {
	c := local.Credentials{
		AccessKeyID:     own.AccessKeyID,
		SecretAccessKey: own.SecretAccessKey,
		SessionToken:    own.SessionToken,
		Expiration:      own.Expires.UTC(),
	}
	if !own.CanExpire {
		c.Expiration = time.Now().UTC().Add(p.sharedTokenExpiration).Truncate(time.Second)
	}
	return shorten(c, p.lifetime)
}

// shorten lets credentials end after a lifetime, if that is not 0 and they
// live longer. It ends at a full second: clients get no fractions of one.
func shorten(c local.Credentials, lifetime time.Duration) local.Credentials {
	if lifetime == 0 {
		return c
	}
	end := time.Now().UTC().Add(lifetime + time.Second - 1).Truncate(time.Second)
	if end.Before(c.Expiration) {
		c.Expiration = end
	}
	return c
}

// askFor returns the DurationSeconds for a lifetime, nil for 0. A lifetime
// that is shorter than STS knows is asked for as the shortest, and has to be
// shortened.
func askFor(lifetime time.Duration) *int32 {
	if lifetime == 0 {
		return nil
	}
	return aws.Int32(int32(max(lifetime, shortestSession) / time.Second))
}

// session calls GetSessionToken.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func (p *stsProvider) session(ctx context.Context, a *account) (local.Credentials, error) {
	out, err := a.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: askFor(p.lifetime)})
	if err != nil {
		a.distrust(err)
		return local.Credentials{}, a.explain(err, stsCall{doing: "GetSessionToken"})
	}
	c, err := fromSTS("", out.Credentials)
	if p.lifetime < shortestSession {
		c = shorten(c, p.lifetime)
	}
	return c, err
}

// assume calls AssumeRole.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (p *stsProvider) assume(ctx context.Context, a *account, role local.Role, session string) (local.Credentials, error) {
	roles := *p.roles.Load()
	var id *identity // of the base credentials, where it matters
	if role.Name != "" || roles.needsAccount(role) {
		var err error
		if id, err = a.whoami(ctx); err != nil {
			a.distrust(err)
			return local.Credentials{}, a.explain(err, stsCall{doing: "GetCallerIdentity"})
		}
	}
	opts := roles.find(role, id)
	call := stsCall{roleARN: arnOf(role, id), options: opts, lifetime: p.lifetimeOf(opts)}
	call.doing = "AssumeRole of " + call.roleARN

	client := a.sts
	if opts.Source == "" {
		// First, and not when the call is signed: that would be tried again
		// as often as the call.
		if _, err := a.Retrieve(ctx); err != nil {
			return local.Credentials{}, a.explain(err, call)
		}
	} else {
		source, err := p.source(ctx, a, roles, role, session)
		if err != nil {
			return local.Credentials{}, err
		}
		call.by = source.RoleARN
		call.secrets = []string{source.AccessKeyID, source.SecretAccessKey, source.SessionToken}
		client = sts.New(client.Options(), withCredentials(aws.Credentials{
			AccessKeyID: source.AccessKeyID, SecretAccessKey: source.SecretAccessKey, SessionToken: source.SessionToken,
			CanExpire: true, Expires: source.Expiration,
		}))
	}
	if opts.Region != "" {
		client = sts.New(client.Options(), func(o *sts.Options) { o.Region = opts.Region })
	}
	out, err := client.AssumeRole(ctx, assumeRoleInput(call, session))
	if err != nil {
		if call.by == "" {
			a.distrust(err)
		}
		if isAccessDenied(err) && call.by == "" {
			_, _ = a.whoami(ctx) // the message does without who asked when that fails, too
		}
		return local.Credentials{}, a.explain(err, call)
	}
	c, err := fromSTS(call.roleARN, out.Credentials)
	if call.lifetime < shortestSession {
		c = shorten(c, call.lifetime)
	}
	return c, err
}

// lifetimeOf returns how long the credentials of a role are to live; 0: STS
// decides.
func (p *stsProvider) lifetimeOf(o local.SessionOptions) time.Duration {
	lifetime := p.lifetime
	if o.Duration != 0 && (lifetime == 0 || o.Duration < lifetime) {
		return o.Duration
	}
	if o.Source != "" {
		lifetime = min(lifetime, chainedMost)
	}
	return lifetime
}

// source returns the credentials of the role that another is assumed with.
func (p *stsProvider) source(ctx context.Context, a *account, roles roleOptions, role local.Role, session string) (local.Credentials, error) {
	// Whether roles come in a circle is known once each has its ARN: waiting
	// for one another they would wait in vain.
	id, err := a.whoami(ctx)
	if err != nil {
		a.distrust(err)
		return local.Credentials{}, a.explain(err, stsCall{doing: "GetCallerIdentity"})
	}
	path := []string{arnOf(role, id)}
	for at := role; ; {
		next := roles.find(at, id).Source
		if next == "" {
			break
		}
		at, _ = local.ParseRole(next) // parseRoles has checked it
		at = local.Role{ARN: arnOf(at, id)}
		if slices.Contains(path, at.ARN) {
			return local.Credentials{}, chainError(path, at.ARN)
		}
		path = append(path, at.ARN)
	}
	source := local.Role{ARN: path[1]}
	c, err := p.sources.Credentials(ctx, source, session)
	if err == nil {
		return c, nil
	}
	var of *local.Error
	if !errors.As(err, &of) {
		return c, err
	}
	with := *of
	with.Msg = path[0] + " is assumed with " + source.ARN + ", whose credentials cannot be had: " + of.Msg
	return c, &with
}

// arnOf returns the ARN of a role. For a name it needs the identity whose
// account it is in.
func arnOf(role local.Role, id *identity) string {
	if role.ARN == "" {
		return id.otherName(role).ARN
	}
	return role.ARN
}

func assumeRoleInput(call stsCall, session string) *sts.AssumeRoleInput {
	o := call.options
	in := &sts.AssumeRoleInput{
		RoleArn:           &call.roleARN,
		RoleSessionName:   aws.String(cmp.Or(o.SessionName, sessionName(session))),
		DurationSeconds:   askFor(call.lifetime),
		ExternalId:        given(o.ExternalID),
		Policy:            given(o.Policy),
		SourceIdentity:    given(o.SourceIdentity),
		TransitiveTagKeys: o.TransitiveTags,
	}
	for _, policy := range o.PolicyARNs {
		in.PolicyArns = append(in.PolicyArns, types.PolicyDescriptorType{Arn: aws.String(policy)})
	}
	for _, key := range slices.Sorted(maps.Keys(o.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(o.Tags[key])})
	}
	return in
}

// given returns nil for what is not said.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func fromSTS(roleARN string, c *types.Credentials) (local.Credentials, error) {
	if c == nil || aws.ToString(c.AccessKeyId) == "" || aws.ToString(c.SecretAccessKey) == "" || c.Expiration == nil {
		return local.Credentials{}, local.Errorf(local.Unavailable,
			"STS answered without complete credentials: check the STS endpoint that is configured")
	}
	return local.Credentials{
		RoleARN:         roleARN,
		AccessKeyID:     *c.AccessKeyId,
		SecretAccessKey: *c.SecretAccessKey,
		SessionToken:    aws.ToString(c.SessionToken),
		Expiration:      c.Expiration.UTC(),
	}, nil
}

// sessionName makes a RoleSessionName of a container's name. STS takes 2 to 64
// characters of [\w+=,.@-].
func sessionName(container string) string {
	if container == "" {
		return "ecs-local"
	}
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_+=,.@-", r) {
			return r
		}
		return '-'
	}, "ecs-local-"+container)
	return name[:min(len(name), 64)]
}
