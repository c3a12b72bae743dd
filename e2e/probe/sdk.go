package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// found is what the SDK's default chain came up with. The key itself is not
// shown, and of the secrets only that they are there.
type found struct {
	Source          string    `json:"source"`
	KeySHA256       string    `json:"keySHA256"`
	HasSecret       bool      `json:"hasSecret"`
	HasToken        bool      `json:"hasToken"`
	CanExpire       bool      `json:"canExpire"`
	Expires         time.Time `json:"expires"`
	CallerARN       string    `json:"callerARN,omitempty"`
	CallerAccountID string    `json:"callerAccountID,omitempty"`
}

// sdk runs the AWS SDK's default credential chain as an application does: it
// sets nothing but a region. With --sts it asks that STS who it is.
func sdk(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("sdk", flag.ContinueOnError)
	endpoint := flags.String("sts", "", "`URL` of an STS to ask for the caller's identity")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"))
	if err != nil {
		return complain("load configuration: %v", err)
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return complain("retrieve credentials: %v", err)
	}
	sum := sha256.Sum256([]byte(credentials.AccessKeyID))
	f := found{
		Source:    credentials.Source,
		KeySHA256: hex.EncodeToString(sum[:]),
		HasSecret: credentials.SecretAccessKey != "",
		HasToken:  credentials.SessionToken != "",
		CanExpire: credentials.CanExpire,
		Expires:   credentials.Expires,
	}
	if *endpoint != "" {
		id, err := sts.NewFromConfig(cfg, func(o *sts.Options) { o.BaseEndpoint = endpoint }).
			GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return complain("get caller identity: %v", err)
		}
		f.CallerARN, f.CallerAccountID = aws.ToString(id.Arn), aws.ToString(id.Account)
	}
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
		return complain("write result: %v", err)
	}
	return 0
}
