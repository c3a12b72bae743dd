package creds

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// offline makes up credentials. They have the form of real ones, so that
// every SDK takes them, and say what they are in the key id and the token.
type offline struct {
	region   string
	account  string
	lifetime time.Duration // 0: offlineLifetime
}

func (o *offline) Credentials(_ context.Context, role local.Role, _ string) (local.Credentials, error) {
	lifetime := o.lifetime
	if lifetime == 0 {
		lifetime = offlineLifetime
	}
	arn := role.ARN
	if role.Name != "" {
		arn = local.RoleARN(local.Partition(o.region), o.account, role.Name)
	}
	return local.Credentials{
		RoleARN:         arn,
		AccessKeyID:     "ASIAOFFLINE" + rand.Text()[:9],                    // 20 characters of A-Z2-7
		SecretAccessKey: base64.StdEncoding.EncodeToString(randomBytes(30)), // 40 characters
		SessionToken:    "OFFLINE" + base64.StdEncoding.EncodeToString(randomBytes(96)),
		Expiration:      time.Now().UTC().Add(lifetime).Truncate(time.Second),
	}, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its documentation
	return b
}
