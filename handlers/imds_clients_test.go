package handlers_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/ecs-local/ecs-local/local/imds"
)

// The AWS SDK for Go, as applications use it, on an instance that requires
// tokens.
func TestSDKReadsIMDS(t *testing.T) {
	c := imds.Config{
		Instance: imds.Instance{Region: "eu-central-1"}, Role: "web", UserData: []byte("#!/bin/sh\n\x00"),
		Options: imds.Options{HTTPTokens: imds.Required},
	}
	var h atomic.Pointer[http.Handler]
	handler := newHandler(newService(t, c), nopLog)
	h.Store(&handler)
	server := live(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*h.Load()).ServeHTTP(w, r) }))

	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	ctx := t.Context()
	client := sdk.New(sdk.Options{Endpoint: server.URL, EnableFallback: aws.FalseTernary})

	t.Run("region and user data", func(t *testing.T) {
		region, err := client.GetRegion(ctx, nil)
		if err != nil || region.Region != "eu-central-1" {
			t.Errorf("%+v, %v", region, err)
		}
		data, err := client.GetUserData(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(data.Content); err != nil || string(got) != "#!/bin/sh\n\x00" {
			t.Errorf("user data %q, %v", got, err)
		}
	})

	t.Run("the instance profile", func(t *testing.T) {
		info, err := client.GetIAMInfo(ctx, nil)
		if err != nil || info.Code != "Success" {
			t.Errorf("%+v, %v", info, err)
		}
		document, err := client.GetInstanceIdentityDocument(ctx, nil)
		if err != nil || document.Region != "eu-central-1" {
			t.Errorf("%+v, %v", document, err)
		}
	})

	t.Run("the default chain", func(t *testing.T) {
		cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSRegion())
		if err != nil {
			t.Fatal(err)
		}
		got, err := cfg.Credentials.Retrieve(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Region != "eu-central-1" || got.SecretAccessKey != secretKey || got.SessionToken != token || !got.CanExpire || got.Source != "EC2RoleProvider" {
			t.Errorf("region %q, source %q", cfg.Region, got.Source)
		}
	})

	t.Run("a token that is no longer good", func(t *testing.T) {
		region := func() {
			t.Helper()
			got, err := client.GetMetadata(ctx, &sdk.GetMetadataInput{Path: "placement/region"})
			if err != nil {
				t.Fatal(err)
			}
			_ = got.Content.Close()
		}
		region()
		another := newHandler(newService(t, c), nopLog) // which knows nothing of the client's token
		refused := atomic.Int64{}
		var counting http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			another.ServeHTTP(statusWriter{w, func(status int) {
				if status == http.StatusUnauthorized {
					refused.Add(1)
				}
			}}, r)
		})
		h.Store(&counting)
		region()
		if refused.Load() == 0 {
			t.Error("no request was refused: the client's token was never tried")
		}
	})

	t.Run("a client without tokens", func(t *testing.T) {
		answer, err := http.Get(server.URL + "/latest/meta-data/placement/region")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s", answer.Status)
		}
	})

	t.Run("a role that does not exist", func(t *testing.T) {
		none := newHandler(newService(t, imds.Config{}), nopLog)
		h.Store(&none)
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"))
		if err != nil {
			t.Fatal(err)
		}
		cancelled, cancel := context.WithCancel(ctx)
		defer cancel()
		if got, err := cfg.Credentials.Retrieve(cancelled); err == nil {
			t.Errorf("credentials from %s of an instance without a role", got.Source)
		}
	})
}

// statusWriter tells what status is written.
type statusWriter struct {
	http.ResponseWriter
	tell func(int)
}

func (w statusWriter) WriteHeader(status int) {
	w.tell(status)
	w.ResponseWriter.WriteHeader(status)
}
