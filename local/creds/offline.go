package creds

import (
	"context"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// offlineUser is the IAM user that the developer's own session belongs to.
const offlineUser = "ecs-local"

// offline makes up credentials. They have the form of real ones, so that
// every SDK takes them, and say what they are in the key id and the token.
type offline struct {
	region   string
	account  string
	lifetime time.Duration
	issuer   *Issuer
}

func newOffline(region string, opts Options) *offline {
	o := &offline{region: region, account: opts.Account, lifetime: opts.Lifetime, issuer: NewIssuer(opts.Account, opts.Secret)}
	if o.lifetime == 0 {
		o.lifetime = offlineLifetime
	}
	return o
}

// identity tells which account is the developer's own.
func (o *offline) identity() *identity {
	return &identity{account: o.account, partition: local.Partition(o.region)}
}

func (o *offline) Credentials(_ context.Context, role local.Role, session string) (local.Credentials, error) {
	partition := local.Partition(o.region)
	if role.Session() {
		return o.issuer.Issue(local.Identity{Partition: partition, Account: o.account, Name: offlineUser}, o.lifetime), nil
	}
	arn := role.ARN
	if role.Name != "" {
		arn = local.RoleARN(partition, o.account, role.Name)
	}
	whose, err := local.RoleSession(arn, sessionName(session))
	if err != nil {
		return local.Credentials{}, err
	}
	return o.issuer.Issue(whose, o.lifetime), nil
}
