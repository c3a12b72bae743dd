package creds_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

// The base credentials of the tests.
const (
	baseKey    = "AKIATESTBASE00000001"
	baseSecret = "testBaseSecret/0000000000000000000000001"
	baseToken  = "testBaseToken//////////000000000000000000000000000000000000000001=="
)

func TestMain(m *testing.M) {
	if err := os.Setenv("AWS_EC2_METADATA_DISABLED", "true"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, name := range []string{"HTTP_PROXY", "http_proxy"} { // of the machine: it would answer for names that do not exist
		if err := os.Unsetenv(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// call is one request that the fake STS received.
type call struct {
	Action  string
	RoleARN string
	Session string
	KeyID   string // that signed it
	Token   string // of the signing credentials
	Region  string // that it is signed for
	Seconds string
}

// fakeSTS speaks the Query protocol of STS.
// https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
type fakeSTS struct {
	URL       string
	expires   time.Time
	callerARN string

	// follow makes the clock of the requests the server's own: tests with a
	// clock of their own need that. Sessions then last as long as was asked
	// for, or an hour.
	follow bool

	mu       sync.Mutex
	calls    []call
	forms    []url.Values
	secrets  []string
	behave   func(w http.ResponseWriter, r *http.Request, c call) bool // true: answered
	sequence int
}

func newFakeSTS(t *testing.T) *fakeSTS {
	t.Helper()
	f := &fakeSTS{
		expires:   time.Now().Add(time.Hour).UTC().Truncate(time.Second),
		callerARN: "arn:aws:iam::111122223333:user/dev",
	}
	srv := httptest.NewServer(f)
	srv.Config.SetKeepAlivesEnabled(false) // idle connections would hold up a clock of synctest
	t.Cleanup(srv.Close)
	f.URL = srv.URL
	return f
}

func (f *fakeSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		stsError(w, 400, "MalformedInput", err.Error())
		return
	}
	c := call{
		Action:  r.PostForm.Get("Action"),
		RoleARN: r.PostForm.Get("RoleArn"),
		Session: r.PostForm.Get("RoleSessionName"),
		Seconds: r.PostForm.Get("DurationSeconds"),
		Token:   r.Header.Get("X-Amz-Security-Token"),
	}
	if _, scope, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		part := strings.Split(scope, "/")
		c.KeyID, c.Region = part[0], part[2]
	}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	f.forms = append(f.forms, r.PostForm)
	f.sequence++
	n, behave := f.sequence, f.behave
	f.mu.Unlock()
	expires := f.expires
	if f.follow {
		if now, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); err == nil {
			w.Header().Set("Date", now.Format(http.TimeFormat))
			life := time.Hour
			if seconds, err := strconv.Atoi(c.Seconds); err == nil {
				life = time.Duration(seconds) * time.Second
			}
			expires = now.Add(life)
		}
	}
	if behave != nil && behave(w, r, c) {
		return
	}

	key := fmt.Sprintf("ASIATESTISSUED%06d", n)
	secret := fmt.Sprintf("testIssuedSecret/%023d", n)
	token := fmt.Sprintf("testIssuedToken/%060d==", n)
	f.mu.Lock()
	f.secrets = append(f.secrets, key, secret, token)
	f.mu.Unlock()
	credentials := fmt.Sprintf("<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>",
		key, secret, token, expires.Format(time.RFC3339))
	var body string
	switch c.Action {
	case "GetSessionToken", "AssumeRoleWithWebIdentity":
		body = credentials
	case "AssumeRole":
		body = credentials + "<AssumedRoleUser><Arn>" + c.RoleARN + "</Arn><AssumedRoleId>AROATEST:" + c.Session + "</AssumedRoleId></AssumedRoleUser>"
	case "GetCallerIdentity":
		body = "<Arn>" + f.callerARN + "</Arn><UserId>AIDATEST</UserId><Account>" + strings.Split(f.callerARN, ":")[4] + "</Account>"
	default:
		stsError(w, 400, "InvalidAction", "Could not find operation "+c.Action)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, c.Action, body)
}

func stsError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>0</RequestId></ErrorResponse>`, code, message)
}

func (f *fakeSTS) setBehaviour(b func(w http.ResponseWriter, r *http.Request, c call) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave = b
}

func (f *fakeSTS) received(action string) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var got []call
	for _, c := range f.calls {
		if action == "" || c.Action == action {
			got = append(got, c)
		}
	}
	return got
}

// form returns the parameters of the last call of an action.
func (f *fakeSTS) form(action string) url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, form := range slices.Backward(f.forms) {
		if form.Get("Action") == action {
			return form
		}
	}
	return nil
}

// setAWS gives the test an environment with no AWS configuration but this.
// The home directory is returned.
func setAWS(t *testing.T, env map[string]string) string {
	t.Helper()
	home := t.TempDir()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") && name != "AWS_EC2_METADATA_DISABLED" {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	for k, v := range env {
		t.Setenv(k, v)
	}
	return home
}

func longTermKeys() map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": baseKey, "AWS_SECRET_ACCESS_KEY": baseSecret}
}

// writeFile writes a file at a later time than its content before: a person
// does not edit a file twice in one tick of the file system's clock, a test on
// a fast machine does.
func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	before, absent := os.Stat(path)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if absent == nil && !after.ModTime().After(before.ModTime()) {
		later := before.ModTime().Add(time.Millisecond)
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// service is the Service under test. When the test ends, it checks that no
// secret came out in a log line or an error.
type service struct {
	*creds.Service
	t   *testing.T
	log *lockedBuffer

	mu  sync.Mutex
	out []string // texts of errors
	own []string // secrets handed out, and others that must not come out
}

// keep adds secrets that must not come out.
func (s *service) keep(secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own = append(s.own, secrets...)
}

// failed checks an error, and remembers its texts.
func (s *service) failed(err error) *local.Error {
	s.t.Helper()
	var e *local.Error
	if !errors.As(err, &e) {
		s.t.Fatalf("got %v, want a local.Error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(err)
	return e
}

func (s *service) remember(err error) {
	for e := err; e != nil; e = errors.Unwrap(e) {
		s.out = append(s.out, fmt.Sprintf("%v %+v %#v", e, e, e))
	}
	s.out = append(s.out, local.MessageOf(err))
}

// mustFail asks for credentials that cannot be had.
func (s *service) mustFail(role local.Role) *local.Error {
	s.t.Helper()
	_, err := s.get(role, "web")
	return s.failed(err)
}

func newService(t *testing.T, f *fakeSTS, opts creds.Options) *service {
	t.Helper()
	s := &service{t: t, log: &lockedBuffer{}}
	opts.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if f != nil && opts.STSEndpoint == "" {
		opts.STSEndpoint = f.URL
	}
	svc, err := creds.New(context.Background(), opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	s.Service = svc
	t.Cleanup(func() {
		svc.Close()
		secrets := append([]string{baseKey, baseSecret, baseToken}, s.own...)
		if f != nil {
			f.mu.Lock()
			secrets = append(secrets, f.secrets...)
			f.mu.Unlock()
		}
		status := svc.Status()
		texts := append([]string{s.log.String(), fmt.Sprintf("%+v %+v", status, status.MFA)}, s.out...)
		for _, text := range texts {
			for i, secret := range secrets {
				if secret != "" && strings.Contains(text, secret) {
					t.Errorf("secret %d came out in a text of %d bytes", i, len(text))
				}
			}
		}
	})
	return s
}

func (s *service) get(role local.Role, session string) (local.Credentials, error) {
	c, err := s.Credentials(context.Background(), role, session)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.remember(err)
		return c, err
	}
	s.out = append(s.out, fmt.Sprintf("%v %+v %#v", c, c, c))
	s.own = append(s.own, c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	return c, err
}

func (s *service) mustGet(role local.Role, session string) local.Credentials {
	s.t.Helper()
	c, err := s.get(role, session)
	if err != nil {
		s.t.Fatalf("credentials of %s: %v", role, err)
	}
	return c
}

// lockedBuffer is an io.Writer for logs.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
