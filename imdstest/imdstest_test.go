package imdstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/imdstest"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

func TestMain(m *testing.M) {
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	os.Exit(m.Run())
}

const task = "5f0c1b7e9a2d4c3e8b6a7d1f20394857"

// fetch asks a server; an empty token is none.
func fetch(t *testing.T, s *imdstest.Server, method, path, token string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("X-aws-ec2-metadata-token", token)
	}
	if method == http.MethodPut {
		r.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "60")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// get returns the status and the body of a path below /latest/meta-data.
func get(t *testing.T, s *imdstest.Server, path string) (int, string) {
	t.Helper()
	status, body, err := fetch(t, s, http.MethodGet, "/latest/meta-data/"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func TestValuesTagsAndOptions(t *testing.T) {
	t.Parallel()
	s := imdstest.New(t, imdstest.Options{Config: imds.Config{Tags: map[string]string{"Name": "web"}}})
	s.Set("spot/instance-action", "{}")
	if status, body := get(t, s, "spot/instance-action"); status != 200 || body != "{}" {
		t.Errorf("set: %d %q", status, body)
	}
	s.Remove("spot")
	s.Remove("spot") // what is gone may be removed
	if status, _ := get(t, s, "spot/instance-action"); status != 404 {
		t.Errorf("removed: %d", status)
	}
	s.SetTags(map[string]string{"Team": "shop", "Env": "dev"})
	if _, body := get(t, s, "tags/instance"); body != "Env\nTeam" {
		t.Errorf("tags %q", body)
	}
	if _, body := get(t, s, "tag-sets/instance"); body != "{\n  \"Env\" : \"dev\",\n  \"Team\" : \"shop\"\n}" {
		t.Errorf("set of tags %q", body)
	}
	s.SetOptions(imds.Options{HTTPTokens: imds.Required})
	if status, _ := get(t, s, "instance-id"); status != 401 {
		t.Errorf("required: %d", status)
	}
	s.Reset()
	if status, body := get(t, s, "tags/instance"); status != 200 || body != "Name" {
		t.Errorf("after Reset: %d %q", status, body)
	}
}

// A change that cannot be is told, and changes nothing.
func TestImpossibleChangesAreTold(t *testing.T) {
	t.Parallel()
	var told []error
	s, err := imdstest.Start(imdstest.Options{}, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Set("placement", "x")
	s.SetTags(map[string]string{"a key": "x"})
	s.SetOptions(imds.Options{HTTPTokens: "sometimes"})
	s.PutTaskRole("team-1", task, imds.TaskApplication, "x")
	s.RemoveTaskRole("iam-ecs-1", task, imds.TaskApplication)
	s.Deny("no spaces")
	// Faults that no request could ever have.
	s.Fail("instance-id", 500, 1)
	s.Fail("/latest/meta-data/instance-id", 99, 1)
	s.Fail("/latest/meta-data/instance-id", 0, 1)
	s.Slow("/latest/meta-data/instance-id", time.Hour, -1)
	if len(told) != 10 {
		t.Errorf("told of %d changes, want 10: %v", len(told), errors.Join(told...))
	}
	if status, _ := get(t, s, "instance-id"); status != 200 {
		t.Errorf("instance-id: %d", status)
	}
	if status, _ := get(t, s, "placement/region"); status != 200 {
		t.Errorf("placement/region: %d", status)
	}
	if _, err := imdstest.Start(imdstest.Options{Config: imds.Config{Role: "no spaces"}}, nil); err == nil {
		t.Error("an instance that cannot be started")
	}
}

func TestTaskRoles(t *testing.T) {
	t.Parallel()
	s := imdstest.New(t, imdstest.Options{})
	const leaf = "iam-ecs-1/security-credentials/" + task + "-TaskApplication"
	type credentials struct{ Code, AccessKeyID, SecretAccessKey, Token, Expiration string }
	type entry struct{ RoleARN, Code string }
	read := func() (c credentials) {
		t.Helper()
		status, body := get(t, s, leaf)
		if err := json.Unmarshal([]byte(body), &c); err != nil || status != 200 {
			t.Fatalf("%d, %v", status, err)
		}
		return c
	}
	info := func() (updated string, e entry) {
		t.Helper()
		_, body := get(t, s, "iam-ecs-1/info")
		var doc struct {
			LastUpdated     string
			TaskCredentials map[string]entry
		}
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.LastUpdated, doc.TaskCredentials[task+"-TaskApplication"]
	}

	s.PutTaskRole("iam-ecs-1", task, imds.TaskApplication, "shop")
	first := read()
	if first.Code != "Success" || len(first.AccessKeyID) != 20 || len(first.SecretAccessKey) != 40 || first.Token == "" {
		t.Errorf("the form of the credentials: code %q", first.Code)
	}
	if end, err := time.Parse(time.RFC3339, first.Expiration); err != nil || time.Until(end) < 5*time.Hour {
		t.Errorf("they end %q", first.Expiration)
	}
	before, is := info()
	if diff := cmp.Diff(entry{"arn:aws:iam::" + local.DefaultAccount + ":role/shop", "Success"}, is); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}

	s.RotateTaskRole("iam-ecs-1", task, imds.TaskApplication)
	if second := read(); second.AccessKeyID == first.AccessKeyID || second.Token == first.Token {
		t.Error("the same keys after a rotation")
	}
	after, _ := info()
	if after <= before {
		t.Errorf("LastUpdated %s, before the rotation %s", after, before)
	}

	s.Deny("shop")
	if status, _ := get(t, s, leaf); status != 404 {
		t.Errorf("denied: %d", status)
	}
	if _, is := info(); is.Code != "AssumeRoleUnauthorizedAccess" {
		t.Errorf("denied: code %q", is.Code)
	}
	s.Allow("shop")
	read()
	s.SetNamespaceFormat(imds.FormatCode)
	if _, body := get(t, s, "iam-ecs-1/info"); !strings.Contains(body, `"`+task+`-TaskApplication" : "0"`) {
		t.Errorf("as a code: %s", body)
	}
	s.RemoveTaskRole("iam-ecs-1", task, imds.TaskApplication)
	if status, _ := get(t, s, leaf); status != 404 {
		t.Errorf("removed: %d", status)
	}
	s.RemoveNamespace("iam-ecs-1")
	if status, _ := get(t, s, "iam-ecs-1/info"); status != 404 {
		t.Errorf("namespace removed: %d", status)
	}
}

func TestProvider(t *testing.T) {
	t.Parallel()
	var uses []imds.Use
	s := imdstest.New(t, imdstest.Options{
		Config: imds.Config{Role: "web"},
		Provider: func(_ context.Context, a imds.Ask) (local.Credentials, error) {
			if a.Delivery == imds.V2 && a.Use == imds.InstanceProfile {
				uses = append(uses, a.Use)
			}
			return local.Credentials{AccessKeyID: "ASIAEXAMPLE000000001", SecretAccessKey: "x", SessionToken: "x", Expiration: time.Now().Add(time.Hour)}, nil
		},
	})
	if _, body := get(t, s, "iam/security-credentials/web"); !strings.Contains(body, "ASIAEXAMPLE000000001") || len(uses) != 1 {
		t.Errorf("asked %d times", len(uses))
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := imdstest.New(t, imdstest.Options{Config: imds.Config{Role: "web"}})
	status := func(path string) int {
		t.Helper()
		got, _ := get(t, s, path)
		return got
	}
	statuses := func(path string, n int) (all []int) {
		for range n {
			all = append(all, status(path))
		}
		return all
	}

	t.Run("a status, so many times", func(t *testing.T) {
		s.Fail("/latest/meta-data/placement/*", 503, 2)
		if got := status("instance-id"); got != 200 {
			t.Errorf("another path: %d", got)
		}
		if diff := cmp.Diff([]int{503, 503, 200}, statuses("placement/region", 3)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a slash at the end does not count", func(t *testing.T) {
		s.Fail("/latest/meta-data/placement/", 500, 2)
		if diff := cmp.Diff([]int{500, 500, 200}, append(statuses("placement/", 1), statuses("placement", 2)...)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("404 is that of an absent path", func(t *testing.T) {
		s.Fail("/latest/meta-data/instance-id", 404, imdstest.Always)
		_, absent := get(t, s, "no/such/path")
		if got, body := get(t, s, "instance-id/"); got != 404 || body != absent {
			t.Errorf("%d %q", got, body)
		}
		s.Heal()
		if got := status("instance-id"); got != 200 {
			t.Errorf("healed: %d", got)
		}
	})
	t.Run("half a document", func(t *testing.T) {
		s.BadJSON("/latest/meta-data/iam/security-credentials/*", 1)
		if got, body := get(t, s, "iam/security-credentials/web"); got != 200 || body == "" || json.Valid([]byte(body)) {
			t.Errorf("%d, valid %v", got, json.Valid([]byte(body)))
		}
		if _, body := get(t, s, "iam/security-credentials/web"); !json.Valid([]byte(body)) {
			t.Error("the next is broken too")
		}
	})
	t.Run("no answer", func(t *testing.T) {
		s.Drop("*", 1)
		// A client sends a GET again whose kept connection ends: a new one does not.
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if answer, err := client.Get(s.URL() + "/latest/meta-data/instance-id"); err == nil {
			answer.Body.Close()
			t.Errorf("dropped: %s", answer.Status)
		}
		if got := status("instance-id"); got != 200 {
			t.Errorf("the next: %d", got)
		}
	})
	t.Run("slow", func(t *testing.T) {
		s.Slow("/latest/meta-data/instance-id", time.Hour, imdstest.Always)
		s.ForgetRequests()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/latest/meta-data/instance-id", nil)
		ended := make(chan error, 1)
		go func() {
			answer, err := http.DefaultClient.Do(r)
			if err == nil {
				answer.Body.Close()
			}
			ended <- err
		}()
		// It has to be there: later it would use up the fault that comes next.
		for len(s.Requests()) == 0 && len(ended) == 0 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
		if len(ended) != 0 {
			t.Error("an answer that should take an hour is there")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got an answer, or %v", err)
		}
		s.Heal()
		s.Slow("/latest/meta-data/instance-id", 30*time.Millisecond, 1)
		begun := time.Now()
		if got := status("instance-id"); got != 200 || time.Since(begun) < 30*time.Millisecond {
			t.Errorf("%d after %s", got, time.Since(begun))
		}
	})
	t.Run("tokens", func(t *testing.T) {
		token := func() (int, string) {
			t.Helper()
			code, body, err := fetch(t, s, http.MethodPut, "/latest/api/token", "")
			if err != nil {
				t.Fatal(err)
			}
			return code, body
		}
		_, old := token()
		s.ExpireTokens()
		_, fresh := token()
		for sent, want := range map[string]int{old: 401, fresh: 200} {
			if got, _, err := fetch(t, s, http.MethodGet, "/latest/meta-data/instance-id", sent); got != want || err != nil {
				t.Errorf("%d, %v, want %d", got, err, want)
			}
		}
		s.RefuseTokens()
		if got, _ := token(); got != 403 {
			t.Errorf("refused: %d", got)
		}
		s.Reset()
		if got, _ := token(); got != 200 {
			t.Errorf("after Reset: %d", got)
		}
	})
}

func TestAChangeThatNobodyIsToldOfPanics(t *testing.T) {
	t.Parallel()
	s, err := imdstest.Start(imdstest.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer func() {
		if said, _ := recover().(string); !strings.Contains(said, "placement") {
			t.Errorf("panic %q", said)
		}
	}()
	s.Set("placement", "x")
}

// tolerant is a test that notes who leaves themselves out of its lines.
type tolerant struct {
	testing.TB
	helpers map[string]bool
	said    []string
}

func (t *tolerant) Helper() {
	if pc, _, _, ok := runtime.Caller(1); ok {
		name := runtime.FuncForPC(pc).Name()
		t.helpers[name[strings.LastIndex(name, ".")+1:]] = true
	}
}

func (t *tolerant) Errorf(format string, args ...any) {
	t.said = append(t.said, fmt.Sprintf(format, args...))
}

// What is wrong is told at the line of the test, not at one of this package.
func TestImpossibleChangesAreToldWhereTheyAre(t *testing.T) {
	t.Parallel()
	test := &tolerant{TB: t, helpers: map[string]bool{}}
	s := imdstest.New(test, imdstest.Options{})
	for name, change := range map[string]func(){
		"Set":                func() { s.Set("placement", "x") },
		"Remove":             func() { s.Remove("/") },
		"SetTags":            func() { s.SetTags(map[string]string{"a key": "x"}) },
		"SetOptions":         func() { s.SetOptions(imds.Options{HTTPTokens: "sometimes"}) },
		"PutTaskRole":        func() { s.PutTaskRole("team-1", task, imds.TaskApplication, "x") },
		"RotateTaskRole":     func() { s.RotateTaskRole("iam-ecs-1", task, imds.TaskApplication) },
		"RemoveTaskRole":     func() { s.RemoveTaskRole("iam-ecs-1", task, imds.TaskApplication) },
		"RemoveNamespace":    func() { s.RemoveNamespace("iam-ecs-1") },
		"SetNamespaceFormat": func() { s.SetNamespaceFormat("xml") },
		"Deny":               func() { s.Deny("no spaces") },
		"Allow":              func() { s.Allow("no spaces") },
		"Fail":               func() { s.Fail("*", 99, 1) },
		"BadJSON":            func() { s.BadJSON("x", 1) },
		"Slow":               func() { s.Slow("x", time.Hour, 1) },
		"Drop":               func() { s.Drop("x", 1) },
	} {
		clear(test.helpers)
		test.said = nil
		change()
		if len(test.said) != 1 || !test.helpers[name] || !test.helpers["check"] {
			t.Errorf("%s: said %q, without the lines of %v", name, test.said, test.helpers)
		}
	}
}

// A role is the same by its name and by its ARN.
func TestDenyByNameAndByARN(t *testing.T) {
	t.Parallel()
	const account = "111122223333"
	arn := "arn:aws-cn:iam::" + account + ":role/shop"
	for _, test := range []struct{ put, deny string }{{"shop", arn}, {arn, "shop"}} {
		s := imdstest.New(t, imdstest.Options{Config: imds.Config{
			Role: test.put, Instance: imds.Instance{Region: "cn-north-1", AccountID: account},
		}})
		s.PutTaskRole("iam-ecs-1", task, imds.TaskApplication, test.put)
		const leaf = "iam-ecs-1/security-credentials/" + task + "-TaskApplication"
		denied := func() bool {
			_, own := get(t, s, "iam/security-credentials/shop")
			status, _ := get(t, s, leaf)
			if is := strings.Contains(own, "AssumeRoleUnauthorizedAccess"); is != (status == 404) {
				t.Errorf("the instance's role is denied: %t, that of the task: %d", is, status)
			}
			return status == 404
		}
		if s.Deny(test.deny); !denied() {
			t.Errorf("%s is not denied as %s", test.put, test.deny)
		}
		if s.Allow(test.deny); denied() {
			t.Errorf("%s is not allowed as %s", test.put, test.deny)
		}
	}
}

// A test may end the service before it ends itself.
func TestCloseTwice(t *testing.T) {
	t.Parallel()
	s := imdstest.New(t, imdstest.Options{})
	s.Close()
	if answer, err := http.Get(s.URL()); err == nil {
		answer.Body.Close()
	}
	// Whoever has the port by now counts for itself.
	if counts := s.Requests(); len(counts) != 0 {
		t.Errorf("it still answers: %v", counts)
	}
}

// Close does not wait for answers that a fault delays.
func TestCloseEndsDelays(t *testing.T) {
	t.Parallel()
	s, err := imdstest.Start(imdstest.Options{}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	s.Slow("*", time.Hour, imdstest.Always)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if answer, err := http.Get(s.URL()); err == nil {
			answer.Body.Close()
		}
	}()
	for len(s.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	<-ended
}

func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	s := imdstest.New(t, imdstest.Options{})
	for _, path := range []string{"instance-id", "instance-id/", "/instance-id", "no/such/path"} {
		get(t, s, path)
	}
	s.Fail("*", 500, 1)
	get(t, s, "instance-id")
	if _, _, err := fetch(t, s, http.MethodPut, "/latest/api/token", ""); err != nil {
		t.Fatal(err)
	}
	counts := s.Requests()
	if diff := cmp.Diff(map[string]int{"GET /latest/meta-data/instance-id": 4, "GET /latest/meta-data/no/such/path": 1, "PUT /latest/api/token": 1}, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.ForgetRequests()
	if counts := s.Requests(); len(counts) != 0 {
		t.Errorf("forgotten: %v", counts)
	}
}

// The default client of the AWS SDK needs nothing but the environment, and
// gets a new token when its own has ended.
func TestSetenv(t *testing.T) {
	s := imdstest.New(t, imdstest.Options{Config: imds.Config{Role: "web", Options: imds.Options{HTTPTokens: imds.Required}, Instance: imds.Instance{Region: "ap-south-1"}}})
	s.Setenv(t)
	// The SDK gives a connection 250 ms, an answer 500 ms and all of it 5 s, and
	// asks again then; a busy machine may take longer.
	t.Setenv("AWS_CA_BUNDLE", "") // which only the SDK's own client can have
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSRegion(), config.WithHTTPClient(&http.Client{}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Region != "ap-south-1" || got.Source != "EC2RoleProvider" || !strings.HasPrefix(got.AccessKeyID, "ASIAIMDSTEST") {
		t.Errorf("region %q, source %q, key %q", cfg.Region, got.Source, got.AccessKeyID)
	}
	client := sdk.NewFromConfig(cfg, func(o *sdk.Options) { o.EnableFallback = aws.FalseTernary })
	read := func() {
		t.Helper()
		answer, err := client.GetMetadata(ctx, &sdk.GetMetadataInput{Path: "instance-id"})
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Content.Close()
	}
	read()
	s.ForgetRequests()
	s.ExpireTokens()
	read()
	want := map[string]int{"GET /latest/meta-data/instance-id": 2, "PUT /latest/api/token": 1}
	if diff := cmp.Diff(want, maps.Clone(s.Requests())); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
