package imdstest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// life is how long made-up credentials last: as long as real ones.
const life = 6 * time.Hour

// madeUp provides credentials that are good for nothing but have the form of
// real ones.
func (s *Server) madeUp(_ context.Context, a imds.Ask) (local.Credentials, error) {
	arn := ""
	if !a.Role.Session() {
		arn = s.arn(a.Role)
	}
	return local.Credentials{
		RoleARN:         arn,
		AccessKeyID:     "ASIAIMDSTEST" + rand.Text()[:8],
		SecretAccessKey: base64.StdEncoding.EncodeToString(random(30)),
		SessionToken:    "IMDSTEST" + base64.StdEncoding.EncodeToString(random(96)),
		Expiration:      time.Now().UTC().Add(life).Truncate(time.Second),
	}, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its documentation
	return b
}
