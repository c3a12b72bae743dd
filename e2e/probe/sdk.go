package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
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
	Region          string    `json:"region"`
}

// sdk runs the AWS SDK's default credential chain as an application does: it
// sets nothing but a region, and not even that with --region-of-instance. With
// --sts it asks that STS who it is; with --identity the one that the SDK finds.
func sdk(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("sdk", flag.ContinueOnError)
	endpoint := flags.String("sts", "", "`URL` of an STS to ask for the caller's identity")
	identity := flags.Bool("identity", false, "ask STS for the caller's identity")
	ofInstance := flags.Bool("region-of-instance", false, "take the region from the instance metadata service")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	region := config.WithRegion("us-east-1")
	if *ofInstance {
		region = config.WithEC2IMDSRegion()
	}
	cfg, err := config.LoadDefaultConfig(ctx, region)
	if err != nil {
		return complain("load configuration: %v", err)
	}
	f, err := retrieve(ctx, cfg)
	if err != nil {
		return complain("%v", err)
	}
	if *endpoint != "" || *identity {
		if f.CallerARN, f.CallerAccountID, err = caller(ctx, cfg, *endpoint); err != nil {
			return complain("%v", err)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
		return complain("write result: %v", err)
	}
	return 0
}

// caller asks STS who signs with the SDK's credentials. Without an endpoint
// the SDK knows which STS that is.
func caller(ctx context.Context, cfg aws.Config, endpoint string) (arn, account string, err error) {
	id, err := sts.NewFromConfig(cfg, func(o *sts.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", "", fmt.Errorf("get caller identity: %w", err)
	}
	return aws.ToString(id.Arn), aws.ToString(id.Account), nil
}

// retrieve returns what the SDK's credentials are now.
func retrieve(ctx context.Context, cfg aws.Config) (found, error) {
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return found{}, fmt.Errorf("retrieve credentials: %w", err)
	}
	sum := sha256.Sum256([]byte(credentials.AccessKeyID))
	return found{
		Source:    credentials.Source,
		KeySHA256: hex.EncodeToString(sum[:]),
		HasSecret: credentials.SecretAccessKey != "",
		HasToken:  credentials.SessionToken != "",
		CanExpire: credentials.CanExpire,
		Expires:   credentials.Expires,
		Region:    cfg.Region,
	}, nil
}

// holding serves what the SDK of this process holds, as that of an application
// that runs for long: it is set up once. To refresh is what the SDK does when
// its credentials end.
func holding() http.HandlerFunc {
	load := sync.OnceValues(func() (aws.Config, error) {
		return config.LoadDefaultConfig(context.Background(), config.WithRegion("us-east-1"))
	})
	return func(w http.ResponseWriter, r *http.Request) {
		cfg, err := load()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if r.URL.Query().Get("refresh") == "true" {
			cache, ok := cfg.Credentials.(*aws.CredentialsCache)
			if !ok {
				http.Error(w, "the SDK does not keep its credentials", http.StatusInternalServerError)
				return
			}
			cache.Invalidate()
		}
		f, err := retrieve(r.Context(), cfg)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(f)
	}
}
