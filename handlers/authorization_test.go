package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// authorizationToken is a secret as the others: no log and no error may hold
// it.
const authorizationToken = "handlersTestAuthorizationToken0000001"

func wantsToken() (string, error) { return authorizationToken, nil }

var credentialRoutes = []string{"/creds", "/creds/", "/role/app", "/role-arn/arn:aws:iam::444455556666:role/app", "/v1/credentials?id=id-of-shop", "/v2/credentials/id-of-shop", "/v2/credentials/id-guessed", "/v1/credentials", "/v2/credentials"}

func TestAuthorizationToken(t *testing.T) {
	t.Parallel()
	const refused = `{"code":"InvalidAuthorizationToken","message":"the request's Authorization header is not the token that ecs-local was given: ` +
		`set AWS_CONTAINER_AUTHORIZATION_TOKEN to that token, or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to a file with it, where the request comes from","HTTPErrorCode":401}`
	for name, test := range map[string]struct {
		header []string // nil: none is sent
		wrong  bool
	}{
		"the token":                  {[]string{authorizationToken}, false},
		"none":                       {nil, true},
		"an empty one":               {[]string{""}, true},
		"another":                    {[]string{"another"}, true},
		"one byte more":              {[]string{authorizationToken + "1"}, true},
		"one byte less":              {[]string{authorizationToken[:len(authorizationToken)-1]}, true},
		"in other letters":           {[]string{strings.ToUpper(authorizationToken)}, true},
		"with a scheme before it":    {[]string{"Bearer " + authorizationToken}, true},
		"the token as second header": {[]string{"another", authorizationToken}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			h := f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop"), Authorization: wantsToken})
			for _, path := range credentialRoutes {
				w := f.do(h, call{path: path, header: http.Header{"Authorization": test.header}})
				if got := w.Code == http.StatusUnauthorized; got != test.wrong {
					t.Errorf("%s: status %d", path, w.Code)
				}
				if test.wrong && w.Body.String() != refused {
					t.Errorf("%s (-want +got):\n%s", path, cmp.Diff(refused, redacted(w.Body.String())))
				}
				if strings.Contains(w.Body.String(), authorizationToken) {
					t.Errorf("%s: the answer holds the token", path)
				}
			}
			if strings.Contains(f.log.String(), authorizationToken) {
				t.Errorf("the log holds the token")
			}
			if test.wrong && len(f.credentials.asked) > 0 {
				t.Errorf("somebody without the token made %d questions", len(f.credentials.asked))
			}
		})
	}
}

func TestAuthorizationTokenIsForCredentialsOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := f.with(handlers.Deps{Authorization: wantsToken})
	f.check(h, []call{
		{name: "a wrong method comes first", method: "POST", path: "/creds", status: 405, contains: "MethodNotAllowed"},
		{name: "Pod Identity", path: "/v1/credentials", header: http.Header{"Authorization": {"another"}}, status: 401, contains: "InvalidAuthorizationToken"},
	})
	if w := f.do(f.handler, call{path: "/v4"}); w.Code != http.StatusOK {
		t.Errorf("metadata: status %d", w.Code)
	}
}

// Instance metadata has the developer's session, as the keys of the instance's
// identity, and the roles of tasks.
func TestAuthorizationTokenGuardsInstanceMetadata(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const task = "5f0c1b7e9a2d4c3e8b6a7d1f20394857"
	h := f.with(handlers.Deps{Authorization: wantsToken, IMDS: newService(t, imds.Config{Role: "web", Namespaces: map[string][]imds.TaskRole{
		"iam-ecs-1": {{Task: task, RoleType: imds.TaskApplication, Role: "shop"}},
	}})})
	const identity, tasks = "identity-credentials/ec2/security-credentials/ec2-instance", "iam-ecs-1/security-credentials/" + task + "-TaskApplication"
	for _, path := range []string{
		"/latest/meta-data/" + identity, "/latest/meta-data/" + identity + "/", "/latest/meta-data/" + tasks, "/2021-03-23/meta-data/" + identity,
		"//latest//meta-data//" + tasks, "/latest/meta-data/x/../" + identity, "/./latest/meta-data/" + tasks, "/latest/meta-data/" + tasks + "?x=/security",
		"/latest/meta-data/" + strings.ReplaceAll(identity, "security-credentials/", "%73ecurity%2dcredentials%2f"),
		"/latest/meta-data/" + strings.ReplaceAll(tasks, "security-credentials/", "security-credentials%2F"), "/latest/meta%2Ddata/%69am-ecs-1/security-credentials/" + task + "-TaskApplication",
	} {
		for _, test := range []struct {
			method, token string
			status        int
		}{{"GET", "", 403}, {"HEAD", "", 403}, {"GET", "another", 403}, {"GET", authorizationToken, 200}, {"HEAD", authorizationToken, 200}} {
			header := http.Header{}
			if test.token != "" {
				header.Set("Authorization", test.token)
			}
			w := f.do(h, call{method: test.method, path: path, header: header})
			if w.Code != test.status || test.status == 403 && w.Body.Len() > 0 || test.status == 200 && w.Header().Get("Content-Length") == "0" {
				t.Errorf("%s %s with %q: status %d, %s", test.method, path, redacted(test.token), w.Code, redacted(w.Body.String()))
			}
		}
	}
	for _, path := range []string{"", "instance-id", "iam/security-credentials/web", "iam-ecs-1/info", "iam-ecs-1/security-credentials/", "identity-credentials/ec2/info"} {
		if w := f.do(h, call{path: "/latest/meta-data/" + path}); w.Code != http.StatusOK {
			t.Errorf("%q without the token: status %d", path, w.Code)
		}
	}
	if log := f.log.String(); strings.Contains(log, authorizationToken) || !strings.Contains(log, "Authorization header is not the token") {
		t.Error("the log holds the token, or no reason")
	}
}

func TestAuthorizationTokenThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const advice = "ecs-local has no authorization token to compare with: put one into the file that it was given, and let it read the file"
	for name, test := range map[string]struct {
		token  string
		err    error
		wanted string
	}{
		"a reason with advice":    {"", local.Errorf(local.Unavailable, "/run/token cannot be read: make it readable"), "/run/token cannot be read: make it readable"},
		"a reason without advice": {"", errors.New("open /run/token: permission denied"), advice},
		"an empty file":           {"", nil, advice},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			h := f.with(handlers.Deps{Authorization: func() (string, error) { return test.token, test.err }})
			f.check(h, []call{{path: "/creds", status: 503,
				body: `{"code":"AuthorizationTokenUnavailable","message":"` + test.wanted + `","HTTPErrorCode":503}`}})
		})
	}
}

// The AWS SDK for Go sends the token of each variable as the header's value.
func TestSDKSendsTheAuthorizationToken(t *testing.T) {
	f := newFixture(t)
	f.runtime.dir.Store(local.NewDirectory(containers()[:1], "", local.Facts{}).Static())
	live := httptest.NewServer(f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop"), Authorization: wantsToken, IsolateCredentials: true}))
	t.Cleanup(live.Close)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	for _, path := range []string{"/creds", "/v2/credentials/id-of-shop", "/v1/credentials"} {
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", live.URL+path)
		t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", authorizationToken)
		cfg, err := config.LoadDefaultConfig(context.Background(), config.WithRegion("us-east-1"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := cfg.Credentials.Retrieve(context.Background())
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got.SecretAccessKey != secretKey || got.SessionToken != token {
			t.Errorf("%s: the client read something else than was sent", path)
		}
		t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another")
		if cfg, err = config.LoadDefaultConfig(context.Background(), config.WithRegion("us-east-1"), config.WithRetryMaxAttempts(1)); err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.Credentials.Retrieve(context.Background()); err == nil || !strings.Contains(err.Error(), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
			t.Errorf("%s: with another token: %v", path, err)
		}
	}
}
