package handlers_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/metadata"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	offlineAccount = "111122223333"
	appRole        = "arn:aws:iam::111122223333:role/team/app"
	otherRole      = "arn:aws-cn:iam::444455556666:role/other"
)

// stsFixture is a live server that answers about the credentials of a real
// service in offline mode.
type stsFixture struct {
	t       *testing.T
	service *creds.Service
	url     string
	log     *lockedBuffer

	mu      sync.Mutex
	secrets []string // that no log may hold
}

// lockedBuffer is written by the server while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSTSFixture(t *testing.T, opts creds.Options) *stsFixture {
	t.Helper()
	f := &stsFixture{t: t, log: &lockedBuffer{}}
	opts.Mode, opts.Account = creds.ModeOffline, offlineAccount
	var err error
	if f.service, err = creds.New(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.service.Close)
	f.url = f.serve(nil)
	t.Cleanup(func() {
		for _, secret := range f.secrets {
			if strings.Contains(f.log.String(), secret) {
				t.Error("the log holds a key, a secret or a token")
			}
		}
	})
	return f
}

// serve starts a server, with an instance metadata service or without one.
func (f *stsFixture) serve(instance *imds.Service) string {
	f.t.Helper()
	runtime := &runtimeFake{}
	runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
	live := httptest.NewServer(onceOnly{f.t, handlers.New(handlers.Deps{
		Runtime: runtime, Credentials: f.service, STS: f.service.Issuer(), IMDS: instance,
		Documents: metadata.New(metadata.Options{}), Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})})
	f.t.Cleanup(live.Close)
	return live.URL
}

// hides adds credentials to what the log must not hold.
func (f *stsFixture) hides(c aws.Credentials) aws.Credentials {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets = append(f.secrets, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	return c
}

// of returns the credentials that the service hands out for a role.
func (f *stsFixture) of(role local.Role) aws.Credentials {
	f.t.Helper()
	c, err := f.service.Credentials(f.t.Context(), role, "web-1")
	if err != nil {
		f.t.Fatal(err)
	}
	return f.hides(aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken})
}

// client is the real one.
func (f *stsFixture) client(c aws.Credentials) *sts.Client {
	return sts.New(sts.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(f.url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	})
}

// refusal returns the status, the code and the message of an error of STS.
func refusal(t *testing.T, err error) (status int, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("not an error of STS: %v", err)
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	return status, api.ErrorCode(), api.ErrorMessage()
}

func TestSTSTellsWhoAsks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		role           local.Role
		region         string
		arn, id, owner string
	}{
		"a role":                  {role: local.Role{ARN: appRole}, arn: "arn:aws:sts::111122223333:assumed-role/app/ecs-local-web-1", id: `^AROA[A-Z2-7]{17}:ecs-local-web-1$`, owner: offlineAccount},
		"a role by name":          {role: local.Role{Name: "app"}, arn: "arn:aws:sts::111122223333:assumed-role/app/ecs-local-web-1", id: `^AROA[A-Z2-7]{17}:ecs-local-web-1$`, owner: offlineAccount},
		"a role of another":       {role: local.Role{ARN: otherRole}, arn: "arn:aws-cn:sts::444455556666:assumed-role/other/ecs-local-web-1", id: `^AROA[A-Z2-7]{17}:ecs-local-web-1$`, owner: "444455556666"},
		"the session":             {arn: "arn:aws:iam::111122223333:user/ecs-local", id: `^AIDA[A-Z2-7]{17}$`, owner: offlineAccount},
		"the session in GovCloud": {region: "us-gov-west-1", arn: "arn:aws-us-gov:iam::111122223333:user/ecs-local", id: `^AIDA[A-Z2-7]{17}$`, owner: offlineAccount},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSTSFixture(t, creds.Options{Region: test.region})
			keys := f.of(test.role)
			client := f.client(keys)
			out, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			if err != nil {
				t.Fatal(err)
			}
			if *out.Arn != test.arn || *out.Account != test.owner || !regexp.MustCompile(test.id).MatchString(*out.UserId) {
				t.Errorf("got %s, %s, %s", *out.Arn, *out.Account, *out.UserId)
			}
			info, err := client.GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: &keys.AccessKeyID})
			if err != nil || *info.Account != test.owner {
				t.Errorf("the key is of %v, %v", info, err)
			}
			if !strings.Contains(f.log.String(), "family=sts route=GetCallerIdentity") || !strings.Contains(f.log.String(), "route=GetAccessKeyInfo") {
				t.Errorf("the log does not show the calls: %d bytes", len(f.log.String()))
			}
		})
	}
}

func TestSTSAssumesRoles(t *testing.T) {
	t.Parallel()
	f := newSTSFixture(t, creds.Options{})
	assume := func(c aws.Credentials, in sts.AssumeRoleInput) (*sts.AssumeRoleOutput, aws.Credentials) {
		t.Helper()
		out, err := f.client(c).AssumeRole(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out, f.hides(aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken})
	}
	out, first := assume(f.of(local.Role{}), sts.AssumeRoleInput{RoleArn: aws.String(appRole), RoleSessionName: aws.String("one"),
		DurationSeconds: aws.Int32(43200), SourceIdentity: aws.String("alice"), Policy: aws.String(`{"Version":"2012-10-17","Statement":[]}`), ExternalId: aws.String("ex/ternal")})
	if life := time.Until(*out.Credentials.Expiration); life < 12*time.Hour-time.Minute || life > 12*time.Hour {
		t.Errorf("they live for %s", life)
	}
	if *out.AssumedRoleUser.Arn != "arn:aws:sts::111122223333:assumed-role/app/one" || !strings.HasSuffix(*out.AssumedRoleUser.AssumedRoleId, ":one") {
		t.Errorf("the session is %s, %s", *out.AssumedRoleUser.Arn, *out.AssumedRoleUser.AssumedRoleId)
	}
	if aws.ToString(out.SourceIdentity) != "alice" || int(aws.ToInt32(out.SessionTokenSize)) != len(first.SessionToken) {
		t.Errorf("source identity %q, a token of %d bytes", aws.ToString(out.SourceIdentity), aws.ToInt32(out.SessionTokenSize))
	}

	// One role assumes the next.
	out, second := assume(first, sts.AssumeRoleInput{RoleArn: aws.String(otherRole), RoleSessionName: aws.String("two")})
	if life := time.Until(*out.Credentials.Expiration); life < time.Hour-time.Minute || life > time.Hour {
		t.Errorf("they live for %s", life)
	}
	if aws.ToString(out.SourceIdentity) != "alice" {
		t.Errorf("source identity %q", aws.ToString(out.SourceIdentity))
	}
	who, err := f.client(second).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws-cn:sts::444455556666:assumed-role/other/two" || *who.UserId != *out.AssumedRoleUser.AssumedRoleId {
		t.Errorf("the next session is %+v, %v", who, err)
	}
	again, err := f.client(first).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *again.Arn != "arn:aws:sts::111122223333:assumed-role/app/one" {
		t.Errorf("the first session is %+v, %v", again, err)
	}
}

func TestSTSRefusesWhatSTSRefuses(t *testing.T) {
	t.Parallel()
	f := newSTSFixture(t, creds.Options{})
	session, role := f.of(local.Role{}), f.of(local.Role{ARN: appRole})
	_, guided := func() (*sts.AssumeRoleOutput, aws.Credentials) {
		out, err := f.client(session).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(appRole), RoleSessionName: aws.String("one"), SourceIdentity: aws.String("alice")})
		if err != nil {
			t.Fatal(err)
		}
		return out, f.hides(aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken})
	}()
	whoever, err := local.RoleSession(appRole, "past")
	if err != nil {
		t.Fatal(err)
	}
	past := f.service.Issuer().Issue(whoever, -time.Second)
	ended := f.hides(aws.Credentials{AccessKeyID: past.AccessKeyID, SecretAccessKey: past.SecretAccessKey, SessionToken: past.SessionToken})
	assume := func(arn, name string, more ...func(*sts.AssumeRoleInput)) func(context.Context, *sts.Client) error {
		in := &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: &name}
		for _, m := range more {
			m(in)
		}
		return func(ctx context.Context, c *sts.Client) error { _, err := c.AssumeRole(ctx, in); return err }
	}
	whose := func(keyID string) func(context.Context, *sts.Client) error {
		return func(ctx context.Context, c *sts.Client) error {
			_, err := c.GetAccessKeyInfo(ctx, &sts.GetAccessKeyInfoInput{AccessKeyId: &keyID})
			return err
		}
	}
	lasting := func(seconds int32) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.DurationSeconds = &seconds }
	}
	long := strings.Repeat("s", 65)
	for name, test := range map[string]struct {
		as      aws.Credentials
		call    func(context.Context, *sts.Client) error
		status  int
		code    string
		message string
	}{
		"a session token": {session, func(ctx context.Context, c *sts.Client) error {
			_, err := c.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
			return err
		}, 403, "AccessDenied", "Cannot call GetSessionToken with session credentials"},
		"credentials that have ended": {ended, func(ctx context.Context, c *sts.Client) error {
			_, err := c.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return err
		}, 403, "ExpiredToken", "The security token included in the request is expired"},
		"an action that is not there": {session, func(ctx context.Context, c *sts.Client) error {
			_, err := c.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("x")})
			return err
		}, 400, "InvalidAction", "Could not find operation GetFederationToken for version 2011-06-15"},
		"too short":             {session, assume(appRole, "one", lasting(899)), 400, "ValidationError", "1 validation error detected: Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"},
		"too long":              {session, assume(appRole, "one", lasting(43201)), 400, "ValidationError", "1 validation error detected: Value '43201' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to 43200"},
		"too long in a chain":   {role, assume(appRole, "one", lasting(3601)), 400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."},
		"a long name":           {session, assume(appRole, long), 400, "ValidationError", "1 validation error detected: Value '" + long + "' at 'roleSessionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		"an odd name":           {session, assume(appRole, "Power/User"), 400, "ValidationError", `1 validation error detected: Value 'Power/User' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		"two mistakes":          {session, assume("short", "x"), 400, "ValidationError", "2 validation errors detected: Value 'short' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20; Value 'x' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		"not a role":            {session, assume("arn:aws:iam::111122223333:user/dev", "one"), 400, "ValidationError", "arn:aws:iam::111122223333:user/dev is invalid"},
		"a policy that is none": {session, assume(appRole, "one", func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{") }), 400, "MalformedPolicyDocument", "This policy contains invalid Json"},
		"another source identity": {guided, assume(appRole, "two", func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("bob") }), 403, "AccessDenied",
			"User: arn:aws:sts::111122223333:assumed-role/app/one is not authorized to perform: sts:SetSourceIdentity on resource: " + appRole},
		"a key of AWS":                      {session, whose("AKIAIOSFODNN7EXAMPLE"), 403, "InvalidClientTokenId", "The security token included in the request is invalid."},
		"a key that looks like one of ours": {session, whose("ASIAOFFLINEAAAAAAAAA"), 403, "InvalidClientTokenId", "The security token included in the request is invalid."},
		"a key that is none":                {session, whose("short"), 400, "ValidationError", "1 validation error detected: Value at 'accessKeyId' failed to satisfy constraint: Member must have length greater than or equal to 16"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, code, message := refusal(t, test.call(t.Context(), f.client(test.as)))
			if status != test.status || code != test.code || message != test.message {
				t.Errorf("%d %s %q, want %d %s %q", status, code, message, test.status, test.code, test.message)
			}
		})
	}
}

func TestSTSRefusesForeignKeys(t *testing.T) {
	t.Parallel()
	f := newSTSFixture(t, creds.Options{})
	mine, other := f.of(local.Role{ARN: appRole}), newSTSFixture(t, creds.Options{}).of(local.Role{ARN: appRole})
	with := func(change func(*aws.Credentials)) aws.Credentials {
		c := mine
		change(&c)
		return c
	}
	for name, test := range map[string]struct {
		keys aws.Credentials
		code string
	}{
		"keys of AWS":                {aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "made up for this test"}, "InvalidClientTokenId"},
		"keys of another ecs-local":  {other, "InvalidClientTokenId"},
		"without the token":          {with(func(c *aws.Credentials) { c.SessionToken = "" }), "InvalidClientTokenId"},
		"with another's token":       {with(func(c *aws.Credentials) { c.SessionToken = f.of(local.Role{}).SessionToken }), "InvalidClientTokenId"},
		"with a cut token":           {with(func(c *aws.Credentials) { c.SessionToken = c.SessionToken[:len(c.SessionToken)-8] }), "InvalidClientTokenId"},
		"with a token of other text": {with(func(c *aws.Credentials) { c.SessionToken = "OFFLINE*" }), "InvalidClientTokenId"},
		"with another key id":        {with(func(c *aws.Credentials) { c.AccessKeyID = f.of(local.Role{}).AccessKeyID }), "InvalidClientTokenId"},
		"with another secret key":    {with(func(c *aws.Credentials) { c.SecretAccessKey = other.SecretAccessKey }), "SignatureDoesNotMatch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := f.client(test.keys).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			if status, code, _ := refusal(t, err); status != 403 || code != test.code {
				t.Errorf("%d %s, want 403 %s", status, code, test.code)
			}
		})
	}
}

// A restart with the same secret changes nothing for who has credentials.
func TestSTSKnowsCredentialsAfterARestart(t *testing.T) {
	t.Parallel()
	secret := []byte("kept in the state directory")
	before := newSTSFixture(t, creds.Options{Secret: secret})
	keys, foreign := before.of(local.Role{ARN: appRole}), before.of(local.Role{ARN: otherRole})
	after := newSTSFixture(t, creds.Options{Secret: secret})
	out, err := after.client(after.hides(keys)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *out.Arn != "arn:aws:sts::111122223333:assumed-role/app/ecs-local-web-1" {
		t.Fatalf("got %+v, %v", out, err)
	}
	whose := func(keyID string) (string, error) {
		out, err := after.client(keys).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: &keyID})
		if err != nil {
			return "", err
		}
		return *out.Account, nil
	}
	if account, err := whose(keys.AccessKeyID); err != nil || account != offlineAccount {
		t.Errorf("the key is of %q, %v", account, err)
	}
	// Whose the key of another account is shows once it is used.
	if account, err := whose(foreign.AccessKeyID); err == nil {
		t.Errorf("the key of another account is of %q", account)
	}
	if _, err := after.client(after.hides(foreign)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Fatal(err)
	}
	if account, err := whose(foreign.AccessKeyID); err != nil || account != "444455556666" {
		t.Errorf("the key of another account is of %q, %v", account, err)
	}

	other := newSTSFixture(t, creds.Options{Secret: []byte("another")})
	_, err = other.client(other.hides(keys)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if status, code, _ := refusal(t, err); status != 403 || code != "InvalidClientTokenId" {
		t.Errorf("with another secret: %d %s", status, code)
	}
}

// stsAnswer is what came back.
type stsAnswer struct {
	status int
	header http.Header
	body   string
}

// send sends a request as it is.
func (f *stsFixture) send(t *testing.T, method, to, body string) stsAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	got, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return stsAnswer{w.StatusCode, w.Header, string(got)}
}

// code returns the code in an error document.
func (a stsAnswer) code() string {
	var doc struct {
		Error struct{ Code string }
	}
	_ = xml.Unmarshal([]byte(a.body), &doc) // no code in what is no XML
	return doc.Error.Code
}

func TestSTSTakesPresignedURLs(t *testing.T) {
	t.Parallel()
	f := newSTSFixture(t, creds.Options{})
	signed, err := sts.NewPresignClient(f.client(f.of(local.Role{ARN: appRole}))).PresignGetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.send(t, signed.Method, signed.URL, ""); got.status != http.StatusOK || !strings.Contains(got.body, "<Arn>arn:aws:sts::111122223333:assumed-role/app/ecs-local-web-1</Arn>") {
		t.Errorf("%d: %s", got.status, got.code())
	}
	for name, test := range map[string]struct{ from, to, code string }{
		"another action":        {"Action=GetCallerIdentity", "Action=GetSessionToken", "SignatureDoesNotMatch"},
		"one parameter more":    {"&X-Amz-Algorithm", "&RoleArn=x&X-Amz-Algorithm", "SignatureDoesNotMatch"},
		"another signature":     {"X-Amz-Signature=", "X-Amz-Signature=0", "SignatureDoesNotMatch"},
		"another service":       {"%2Fsts%2Faws4_request", "%2Fs3%2Faws4_request", "SignatureDoesNotMatch"},
		"another region":        {"%2Feu-central-1%2F", "%2Feu-central-2%2F", "SignatureDoesNotMatch"},
		"a longer life":         {"X-Amz-Date=2", "X-Amz-Date=3", "SignatureDoesNotMatch"},
		"a date that is none":   {"X-Amz-Date=2", "X-Amz-Date=x", "IncompleteSignature"},
		"an algorithm unknown":  {"AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "IncompleteSignature"},
		"a signature left out":  {"X-Amz-Signature=", "Left-Out=", "IncompleteSignature"},
		"a credential cut":      {"%2Faws4_request", "", "IncompleteSignature"},
		"another token's start": {"X-Amz-Security-Token=OFFLINE", "X-Amz-Security-Token=OFFLIME", "InvalidClientTokenId"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(signed.URL, test.from, test.to, 1)
			if changed == signed.URL {
				t.Fatal("the test changes nothing")
			}
			if got := f.send(t, signed.Method, changed, ""); got.code() != test.code {
				t.Errorf("%d %q, want %s", got.status, got.code(), test.code)
			}
		})
	}
}

func TestSTSAsksForASignature(t *testing.T) {
	t.Parallel()
	f := newSTSFixture(t, creds.Options{})
	const call = "Action=GetCallerIdentity&Version=2011-06-15"
	for name, test := range map[string]struct {
		method, query, body string
		status              int
		code                string
	}{
		"POST":                    {"POST", "", call, 403, "MissingAuthenticationToken"},
		"GET":                     {"GET", "?" + call, "", 403, "MissingAuthenticationToken"},
		"no version":              {"GET", "?Action=GetCallerIdentity", "", 400, "InvalidAction"},
		"another version":         {"POST", "", "Action=GetCallerIdentity&Version=2010-01-01", 400, "InvalidAction"},
		"an unknown action":       {"POST", "", "Action=DropTables&Version=2011-06-15", 400, "InvalidAction"},
		"no action":               {"POST", "", "", 400, "MissingAction"},
		"what is no form":         {"POST", "", "Action=%zz", 400, "MalformedQueryString"},
		"more than anybody sends": {"POST", "", "Action=" + strings.Repeat("x", 64<<10), 400, "MalformedInput"},
		"GET without an action":   {"GET", "", "", 404, ""},
		"PUT":                     {"PUT", "?" + call, "", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := f.send(t, test.method, f.url+"/"+test.query, test.body)
			if got.status != test.status || got.code() != test.code {
				t.Errorf("%d %q, want %d %q", got.status, got.code(), test.status, test.code)
			}
			if test.code != "" && (got.header.Get("Content-Type") != "text/xml" || !strings.Contains(got.body, "<RequestId>"+got.header.Get("X-Amzn-Requestid")+"</RequestId>")) {
				t.Errorf("header %v", got.header)
			}
		})
	}
}

// The root is shared: with the list of versions of the instance metadata
// service, and at its address it is that service's alone.
func TestSTSSharesTheRoot(t *testing.T) {
	t.Parallel()
	f := newSTSFixture(t, creds.Options{})
	withIMDS := f.serve(newService(t, imds.Config{}))
	const call = "Action=GetCallerIdentity&Version=2011-06-15"
	if got := f.send(t, "GET", withIMDS+"/", ""); got.status != http.StatusOK || !strings.HasPrefix(got.body, "1.0\n") {
		t.Errorf("the root of IMDS: %d", got.status)
	}
	if got := f.send(t, "POST", withIMDS+"/", call); got.code() != "MissingAuthenticationToken" {
		t.Errorf("POST beside IMDS: %s", got.code())
	}
	if got := f.send(t, "GET", withIMDS+"/?"+call, ""); got.code() != "MissingAuthenticationToken" {
		t.Errorf("GET beside IMDS: %s", got.code())
	}
	if got := f.send(t, "POST", withIMDS+"/latest/meta-data/", call); got.header.Get("Server") != "EC2ws" {
		t.Errorf("POST to IMDS is answered by another: %d", got.status)
	}

	runtime := &runtimeFake{}
	runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
	for name, test := range map[string]struct {
		sts  handlers.STS
		imds *imds.Service
		at   string
		want int
	}{
		"at the address of ECS":                  {f.service.Issuer(), newService(t, imds.Config{}), local.ECSAddress, http.StatusForbidden},
		"at the address of IMDS":                 {f.service.Issuer(), nil, local.IMDSAddress, http.StatusNotFound},
		"where there are no offline credentials": {nil, nil, local.ECSAddress, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := handlers.New(handlers.Deps{Runtime: runtime, STS: test.sts, IMDS: test.imds, Log: slog.New(slog.DiscardHandler)})
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(call))
			r.Host = test.at
			at := &net.TCPAddr{IP: net.ParseIP(test.at), Port: 80}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at))))
			if w.Code != test.want {
				t.Errorf("status %d, want %d", w.Code, test.want)
			}
		})
	}
}

// stsFake issues always the same.
type stsFake struct{ err error }

var _ handlers.STS = stsFake{}

func (f stsFake) Authenticate(*http.Request, []byte) (local.Identity, error) {
	return local.Identity{Partition: "aws", Account: offlineAccount, Name: "ecs-local", SourceIdentity: "alice"}, f.err
}

func (f stsFake) Issue(whose local.Identity, _ time.Duration) local.Credentials {
	return local.Credentials{RoleARN: whose.RoleARN, AccessKeyID: "ASIAEXAMPLEWEB000001", SecretAccessKey: "exampleSecret", SessionToken: "exampleToken+/==", Expiration: expiration}
}

func (f stsFake) AccountOf(string) (string, bool) { return offlineAccount, true }

func TestSTSDocuments(t *testing.T) {
	t.Parallel()
	requestID := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	for name, test := range map[string]struct {
		form string
		err  error
	}{
		"GetCallerIdentity": {form: "Action=GetCallerIdentity"},
		"GetAccessKeyInfo":  {form: "Action=GetAccessKeyInfo&AccessKeyId=ASIAEXAMPLEWEB000001"},
		"AssumeRole":        {form: "Action=AssumeRole&RoleArn=arn:aws:iam::111122223333:role/app&RoleSessionName=one"},
		"AssumeRole-policy": {form: "Action=AssumeRole&RoleArn=arn:aws:iam::111122223333:role/app&RoleSessionName=one&Policy=" + url.QueryEscape(`{"Version":"2012-10-17","Statement":[]}`)},
		"nothing":           {form: "Action=AssumeRole"},
		"no-key":            {form: "Action=GetAccessKeyInfo"},
		"mistakes":          {form: "Action=AssumeRole&DurationSeconds=soon&RoleArn=" + strings.Repeat("a", 2049)},
		"error":             {form: "Action=AssumeRole&RoleArn=arn:aws:iam::111122223333:role/%3Ca%26b%3E&RoleSessionName=one"},
		"refused":           {form: "Action=GetCallerIdentity", err: &local.Error{Code: local.Denied, Name: "ExpiredToken", Msg: "The security token included in the request is expired"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runtime := &runtimeFake{}
			runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
			h := handlers.New(handlers.Deps{Runtime: runtime, STS: stsFake{test.err}, Log: slog.New(slog.DiscardHandler)})
			r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(test.form+"&Version=2011-06-15"))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if ids := requestID.FindAllString(w.Body.String(), -1); len(ids) != 1 || ids[0] != w.Header().Get("X-Amzn-Requestid") {
				t.Errorf("ids of the request: %v", ids)
			}
			got := requestID.ReplaceAll(w.Body.Bytes(), []byte("REQUEST-ID"))
			path := filepath.Join("testdata", "sts-"+name+".golden.xml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSTSUnderLoad(t *testing.T) {
	t.Parallel()
	f := newSTSFixture(t, creds.Options{})
	var wait sync.WaitGroup
	for n := range 16 {
		wait.Go(func() {
			role := local.RoleARN("aws", "10000000000"+string(rune('0'+n%10)), "load")
			keys, err := f.service.Uncached().Credentials(t.Context(), local.Role{ARN: role}, "web-1")
			if err != nil {
				t.Error(err)
				return
			}
			client := f.client(f.hides(aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}))
			for range 8 {
				out, err := client.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("load")})
				if err != nil {
					t.Error(err)
					return
				}
				info, err := client.GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: out.Credentials.AccessKeyId})
				if err != nil || !strings.Contains(role, *info.Account) {
					t.Errorf("%v: the key of %s is another's", err, role)
				}
			}
		})
	}
	wait.Wait()
}
