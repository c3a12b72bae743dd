package cli

import (
	"context"
	"crypto/sha1" //nolint:gosec // the name of the AWS CLI's cache files
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The keys of the tests. None may come out anywhere but in an answer.
const (
	testKey    = "AKIATESTBASE00000001"
	testSecret = "testBaseSecret/0000000000000000000000001"
	testToken  = "testBaseToken//////////000000000000000000000000000000000000000001=="
	testCode   = "135790"
	ssoToken   = "testAccessToken-000000000000000000000001"
)

// amazon plays the services that base credentials come from: STS, and the
// portal of IAM Identity Center.
type amazon struct {
	url    string
	refuse func(form map[string]string) (status int, code, message string)

	mu     sync.Mutex
	issued []string
}

func newAmazon(t *testing.T) *amazon {
	t.Helper()
	a := &amazon{}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func (a *amazon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.URL.Path == "/federation/credentials" {
		if r.Header.Get("X-Amz-Sso_bearer_token") != ssoToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"roleCredentials": map[string]any{
			"accessKeyId": "ASIATESTSSO000000001", "secretAccessKey": testSecret, "sessionToken": testToken,
			"expiration": time.Now().Add(time.Hour).UnixMilli(),
		}})
		return
	}
	_ = r.ParseForm()
	form := map[string]string{}
	for name := range r.PostForm {
		form[name] = r.PostForm.Get(name)
	}
	if a.refuse != nil {
		if status, code, message := a.refuse(form); status != 0 {
			w.Header().Set("Content-Type", "text/xml")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>`, code, message)
			return
		}
	}
	n := len(a.issued)
	key, secret, token := fmt.Sprintf("ASIATESTISSUED%06d", n), fmt.Sprintf("testIssuedSecret/%023d", n), fmt.Sprintf("testIssuedToken/%060d==", n)
	body := fmt.Sprintf("<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>",
		key, secret, token, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	action := form["Action"]
	switch action {
	case "GetCallerIdentity":
		body = "<Arn>arn:aws:iam::111122223333:user/dev</Arn><UserId>AIDATEST</UserId><Account>111122223333</Account>"
	default:
		a.issued = append(a.issued, key, secret, token)
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, body)
}

// secrets are what must be in no log and no answer of the control API.
func (a *amazon) secrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string{testKey, testSecret, testToken, testCode, ssoToken, "ASIATESTSSO000000001"}, a.issued...)
}

// developer is a home directory with AWS files, in which the server runs.
func developer(t *testing.T, a *amazon, config, credentials string, env map[string]string) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	t.Setenv("STS_ENDPOINT", a.url)
	t.Setenv("AWS_ENDPOINT_URL_SSO", a.url)
	t.Setenv("AWS_ENDPOINT_URL_SSO_OIDC", a.url)
	for name, value := range env {
		t.Setenv(name, strings.ReplaceAll(value, "$HOME", home))
	}
	write(t, filepath.Join(home, "config"), strings.ReplaceAll(config, "$HOME", home))
	write(t, filepath.Join(home, "credentials"), credentials)
	return home
}

// loggedIn writes what `aws sso login` leaves.
func loggedIn(t *testing.T, home string, until time.Time) {
	t.Helper()
	dir := filepath.Join(home, ".aws", "sso", "cache")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte("corp")) //nolint:gosec // as the AWS CLI names its files
	write(t, filepath.Join(dir, hex.EncodeToString(sum[:])+".json"),
		fmt.Sprintf(`{"accessToken": %q, "expiresAt": %q}`, ssoToken, until.UTC().Format(time.RFC3339)))
}

const (
	keysProfile = "[default]\naws_access_key_id = " + testKey + "\naws_secret_access_key = " + testSecret + "\n"
	ssoProfile  = "[profile dev]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = dev\n" +
		"[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\nsso_registration_scopes = sso:account:access\n"
	mfaProfile = "[profile dev]\nrole_arn = arn:aws:iam::111122223333:role/dev\nsource_profile = default\nmfa_serial = arn:aws:iam::111122223333:mfa/dev\n"
)

// settled asks until the answer is another than that STS, or a process, took
// too long: on a busy machine it does now and then.
func settled(t *testing.T, url string) (body []byte, status int) {
	t.Helper()
	eventually(t, "an answer of "+url, func() bool {
		body, status = answerOf(t, url)
		return status != http.StatusGatewayTimeout
	})
	return body, status
}

// getSettled is get for what has to ask STS.
func getSettled(t *testing.T, url string, status int) []byte {
	t.Helper()
	body, got := settled(t, url)
	if got != status {
		t.Fatalf("%s: status %d, want %d: %s", url, got, status, body)
	}
	return body
}

// clean fails the test when a secret is in what may be seen.
func clean(t *testing.T, a *amazon, s *running) {
	t.Helper()
	seen := map[string]string{"the log": s.log.String()}
	for _, path := range []string{"/v1/status", "/v1/tasks", "/metrics", "/v1/namespaces"} {
		seen[path] = string(get(t, s.control+path, http.StatusOK))
	}
	for where, text := range seen {
		for _, secret := range a.secrets() {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in %s", where)
			}
		}
	}
}

func TestBaseCredentialsOfEveryKindReachContainers(t *testing.T) {
	for name, test := range map[string]struct {
		config, credentials string
		env                 map[string]string
		sso                 bool
	}{
		"profile":            {credentials: keysProfile},
		"environment":        {env: map[string]string{"AWS_ACCESS_KEY_ID": testKey, "AWS_SECRET_ACCESS_KEY": testSecret}},
		"chain of roles":     {credentials: keysProfile, env: map[string]string{"AWS_PROFILE": "top"}, config: "[profile top]\nrole_arn = arn:aws:iam::111122223333:role/top\nsource_profile = mid\n[profile mid]\nrole_arn = arn:aws:iam::111122223333:role/mid\nsource_profile = default\n"},
		"SSO":                {config: ssoProfile, sso: true, env: map[string]string{"AWS_PROFILE": "dev"}},
		"credential_process": {config: "[default]\ncredential_process = /bin/cat $HOME/process.json\n"},
		"web identity":       {env: map[string]string{"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/web", "AWS_WEB_IDENTITY_TOKEN_FILE": "$HOME/token"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAmazon(t)
			home := developer(t, a, test.config, test.credentials, test.env)
			write(t, filepath.Join(home, "token"), "a.web.token")
			write(t, filepath.Join(home, "process.json"), fmt.Sprintf(`{"Version": 1, "AccessKeyId": %q, "SecretAccessKey": %q}`, testKey, testSecret))
			if test.sso {
				loggedIn(t, home, time.Now().Add(time.Hour))
			}
			s := start(t, "--credentials", "sts")
			for _, path := range []string{"/creds", "/role/web"} {
				served := decode[struct{ AccessKeyID, SecretAccessKey, Token string }](t, getSettled(t, s.url+path, http.StatusOK))
				if served.AccessKeyID == "" || served.SecretAccessKey == "" || served.Token == "" || served.AccessKeyID == testKey {
					t.Errorf("%s: the answer is not temporary credentials", path)
				}
			}
			eventually(t, "the status", func() bool {
				status := decode[struct {
					Credentials struct{ Mode, Identity, Error string }
				}](t, get(t, s.control+"/v1/status", http.StatusOK))
				return status.Credentials.Mode == "sts" && status.Credentials.Error == "" && status.Credentials.Identity == "arn:aws:iam::111122223333:user/dev"
			})
			clean(t, a, s)
		})
	}
}

func TestFailuresOfBaseCredentialsSayWhatToDo(t *testing.T) {
	refusing := func(status int, code, message string, actions ...string) func(map[string]string) (int, string, string) {
		return func(form map[string]string) (int, string, string) {
			for _, action := range actions {
				if form["Action"] == action {
					return status, code, message
				}
			}
			return 0, "", ""
		}
	}
	for name, test := range map[string]struct {
		config, credentials string
		env                 map[string]string
		refuse              func(map[string]string) (int, string, string)
		down                bool // STS does not listen
		path                string
		status              int
		says                string // in the body and in the log: a pattern
		fine                bool   // the status of the server is: only the role is refused
	}{
		"expired SSO login": {config: ssoProfile, env: map[string]string{"AWS_PROFILE": "dev"}, path: "/creds", status: 403, says: "aws sso login --profile dev"},
		"MFA needed":        {config: mfaProfile, credentials: keysProfile, env: map[string]string{"AWS_PROFILE": "dev"}, path: "/creds", status: 403, says: "ecs-local mfa CODE"},
		"access denied": {credentials: keysProfile, path: "/role/web", status: 403, fine: true,
			refuse: refusing(403, "AccessDenied", "User: arn:aws:iam::111122223333:user/dev is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/web", "AssumeRole"),
			says:   `sts:AssumeRole.*arn:aws:iam::111122223333:user/dev`},
		"no such role": {credentials: keysProfile, path: "/role/web", status: 403, fine: true,
			refuse: refusing(403, "AccessDenied", "not authorized", "AssumeRole"), says: "there is no such role .check its name, path and account., or its trust policy does not let"},
		"clock skew": {credentials: keysProfile, path: "/creds", status: 403,
			refuse: refusing(403, "SignatureDoesNotMatch", "Signature expired: 20200101T000000Z is now earlier than 20200101T001500Z", "GetSessionToken"), says: "clock"},
		"no network":     {credentials: keysProfile, path: "/creds", status: 503, down: true, says: "cannot be reached.*check the network"},
		"broken process": {config: "[default]\ncredential_process = /bin/false\n", path: "/creds", status: 403, says: "credential_process"},
		"keys have ended": {env: map[string]string{"AWS_ACCESS_KEY_ID": testKey, "AWS_SECRET_ACCESS_KEY": testSecret, "AWS_SESSION_TOKEN": testToken, "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00+00:00"},
			path: "/creds", status: 403, says: "expired: put new ones into the environment"},
		"half of the keys": {env: map[string]string{"AWS_ACCESS_KEY_ID": testKey}, path: "/creds", status: 403, says: "lack AWS_SECRET_ACCESS_KEY: set it"},
		"the other half":   {env: map[string]string{"AWS_SECRET_ACCESS_KEY": testSecret}, path: "/role/web", status: 403, says: "lack AWS_ACCESS_KEY_ID: set it"},
		"only a token":     {env: map[string]string{"AWS_SESSION_TOKEN": testToken}, path: "/role/web", status: 403, says: "lack AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set"},
		"half a profile":   {credentials: "[default]\naws_access_key_id = " + testKey + "\n", path: "/creds", status: 403, says: `profile \\?"default\\?" has only one of aws_access_key_id and aws_secret_access_key: `},
		"no such profile":  {env: map[string]string{"AWS_PROFILE": "nope"}, path: "/creds", status: 403, says: `profile \\?"nope\\?" does not exist`},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAmazon(t)
			a.refuse = test.refuse
			home := developer(t, a, test.config, test.credentials, test.env)
			if test.down {
				t.Setenv("STS_ENDPOINT", "http://127.0.0.1:1")
			}
			loggedIn(t, home, time.Now().Add(-time.Hour))
			s := start(t, "--credentials", "sts")
			raw, code := settled(t, s.url+test.path)
			body := decode[struct {
				Code, Message string
				HTTPErrorCode int
			}](t, raw)
			if code != test.status || body.HTTPErrorCode != test.status || body.Code == "" {
				t.Errorf("got %d: %s; want status %d", code, raw, test.status)
			}
			says := regexp.MustCompile(test.says)
			if !says.MatchString(body.Message) {
				t.Errorf("the message is %q, want %s", body.Message, test.says)
			}
			line := s.await(fmt.Sprintf(`msg=request family=credentials.* status=%d .*`, code))[0]
			if !says.MatchString(strings.ReplaceAll(line, `\"`, `"`)) {
				t.Errorf("the log says %s, want %s", line, test.says)
			}
			eventually(t, fmt.Sprintf("that the status says %s: %t", test.says, !test.fine), func() bool {
				got := decode[struct{ Credentials struct{ Error string } }](t, get(t, s.control+"/v1/status", http.StatusOK)).Credentials.Error
				return test.fine == (got == "") && (test.fine || says.MatchString(got))
			})
			clean(t, a, s)
		})
	}
}

// The command is what a developer types when the endpoint says so.
func TestMFACommand(t *testing.T) {
	a := newAmazon(t)
	a.refuse = func(form map[string]string) (int, string, string) {
		if form["Action"] == "GetSessionToken" && form["TokenCode"] != "" && form["TokenCode"] != testCode {
			return 403, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code."
		}
		return 0, "", ""
	}
	developer(t, a, mfaProfile, keysProfile, map[string]string{"AWS_PROFILE": "dev"})
	s := start(t, "--credentials", "sts")
	mfa := func(code string) (exit int, out string) {
		for begun := time.Now(); ; {
			said := &output{}
			exit = run(context.Background(), []string{"mfa", "--timeout", longest.String(), "--control-listen", strings.TrimPrefix(s.control, "http://"), code}, environment{stdout: said, stderr: said})
			if out = said.String(); !strings.Contains(out, "no answer from "+a.url) || time.Since(begun) > longest { // on a busy machine
				return exit, out
			}
		}
	}
	getSettled(t, s.url+"/creds", http.StatusForbidden)
	waiting := decode[struct {
		Credentials struct {
			MFA struct {
				Serial string
				Needed bool
			}
		}
	}](t, get(t, s.control+"/v1/status", http.StatusOK))
	if m := waiting.Credentials.MFA; !m.Needed || m.Serial != "arn:aws:iam::111122223333:mfa/dev" {
		t.Errorf("the status says %+v", m)
	}
	if exit, out := mfa("000000"); exit != exitFailure || !strings.Contains(out, "code") {
		t.Errorf("a wrong code: exit %d: %s", exit, out)
	}
	getSettled(t, s.url+"/creds", http.StatusForbidden)
	if exit, out := mfa(testCode); exit != exitOK || !strings.HasPrefix(out, "logged in with arn:aws:iam::111122223333:mfa/dev until ") {
		t.Errorf("the right code: exit %d: %s", exit, out)
	}
	getSettled(t, s.url+"/creds", http.StatusOK)
	getSettled(t, s.url+"/role/web", http.StatusOK)
	clean(t, a, s)
}
