package creds

import (
	"context"
	"strings"
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
}

// Credentials implements Provider.
func (p *stsProvider) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	a, err := p.base.account(ctx)
	if err != nil {
		return local.Credentials{}, err
	}
	own, err := a.Retrieve(ctx)
	if err != nil {
		return local.Credentials{}, a.explain(err, "")
	}
	switch {
	case !role.Session():
		return p.assume(ctx, a, role, session)
	case own.SessionToken != "":
		return p.handOn(own), nil
	default:
		return p.session(ctx, a)
	}
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
	return c
}

// session calls GetSessionToken.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func (p *stsProvider) session(ctx context.Context, a *account) (local.Credentials, error) {
	out, err := a.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	if err != nil {
		return local.Credentials{}, a.explain(err, "GetSessionToken")
	}
	return fromSTS("", out.Credentials)
}

// assume calls AssumeRole.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (p *stsProvider) assume(ctx context.Context, a *account, role local.Role, session string) (local.Credentials, error) {
	roleARN := role.ARN
	if roleARN == "" {
		id, err := a.whoami(ctx)
		if err != nil {
			return local.Credentials{}, a.explain(err, "GetCallerIdentity")
		}
		roleARN = local.RoleARN(id.partition, id.account, role.Name)
	}
	in := &sts.AssumeRoleInput{RoleArn: &roleARN, RoleSessionName: aws.String(sessionName(session))}
	if p.lifetime != 0 {
		in.DurationSeconds = aws.Int32(int32(p.lifetime / time.Second))
	}
	out, err := a.sts.AssumeRole(ctx, in)
	if err != nil {
		return local.Credentials{}, a.explain(err, "AssumeRole of "+roleARN)
	}
	return fromSTS(roleARN, out.Credentials)
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
