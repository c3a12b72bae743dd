package handlers_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
)

// The AWS SDK for Go, as applications use it, against a live handler.
func TestSDKReadsCredentials(t *testing.T) {
	f := newFixture(t)
	live := httptest.NewServer(f.handler)
	t.Cleanup(live.Close)

	t.Run("endpoint credentials", func(t *testing.T) {
		got, err := endpointcreds.New(live.URL + "/role/app").Retrieve(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got.SecretAccessKey != secretKey || got.SessionToken != token || !got.Expires.Equal(expiration) || !got.CanExpire {
			t.Errorf("the client read something else than was sent")
		}
	})

	t.Run("default chain with the full-URI variable", func(t *testing.T) {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
			t.Setenv(name, "")
		}
		t.Setenv("AWS_CONFIG_FILE", "/dev/null")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", live.URL+"/creds")
		cfg, err := config.LoadDefaultConfig(context.Background(), config.WithRegion("us-east-1"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := cfg.Credentials.Retrieve(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got.SecretAccessKey != secretKey || got.SessionToken != token {
			t.Errorf("the client read something else than was sent")
		}
	})
}
