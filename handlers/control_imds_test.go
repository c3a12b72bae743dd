package handlers_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// steered is an instance with its control API.
type steered struct {
	t       *testing.T
	service *imds.Service
	control http.Handler
	token   string
}

const taskID = "5f0c1b7e9a2d4c3e8b6a7d1f20394857"

func newSteered(t *testing.T, c imds.Config, provider imds.Provider) *steered {
	t.Helper()
	service, err := imds.New(c, imds.Deps{Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &runtimeFake{}
	f.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
	return &steered{
		t: t, service: service,
		control: onceOnly{t, handlers.NewControl(handlers.ControlDeps{Runtime: f, IMDS: service, Log: nopLog})},
		token:   string(service.Answer(imds.Request{Method: http.MethodPut, Path: "/latest/api/token", TokenTTL: "21600"}).Body),
	}
}

// do asks the control API from this machine. No answer of it holds a secret.
func (s *steered) do(method, path, body string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "127.0.0.1:51680"
	w := httptest.NewRecorder()
	s.control.ServeHTTP(w, r)
	for _, secret := range []string{secretKey, token} {
		if strings.Contains(w.Body.String(), secret) {
			s.t.Errorf("%s %s: the answer holds a secret", method, path)
		}
	}
	return w
}

// check asks and compares status and, unless empty, a part of the body.
func (s *steered) check(method, path, body string, status int, contains string) *httptest.ResponseRecorder {
	s.t.Helper()
	w := s.do(method, path, body)
	if w.Code != status || !strings.Contains(w.Body.String(), contains) {
		s.t.Errorf("%s %s %s: %d %s, want %d with %q", method, path, body, w.Code, w.Body, status, contains)
	}
	if status >= 400 {
		var doc struct{ Code, Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Code == "" || doc.Message == "" {
			s.t.Errorf("%s %s: the error %s", method, path, w.Body)
		}
	}
	return w
}

// get returns what a client of the instance gets.
func (s *steered) get(path string) (int, string) {
	answer := s.service.Answer(imds.Request{Method: http.MethodGet, Path: "/latest/" + path, Token: s.token, HasToken: true})
	return answer.Status, string(answer.Body)
}

func TestControlSetsValues(t *testing.T) {
	t.Parallel()
	s := newSteered(t, imds.Config{Role: "web", UserData: []byte("a\x00b")}, numbered())
	const at = "/v1/imds/values/"

	const notice = `{"action":"terminate","time":"2026-11-21T12:00:00Z"}`
	s.check("GET", at+"spot/instance-action", "", 404, "there is nothing at spot/instance-action")
	s.check("PUT", at+"spot/instance-action", notice, 204, "")
	if status, body := s.get("meta-data/spot/instance-action"); status != 200 || body != notice {
		t.Errorf("a client gets %d %s", status, body)
	}
	if _, root := s.get("meta-data"); !strings.Contains(root, "\nspot/\n") {
		t.Errorf("the listing has no spot/: %s", root)
	}
	s.check("GET", at+"spot", "", 200, "instance-action")
	s.check("PUT", at+"spot/termination-time", "2026-11-21T12:00:00Z", 204, "")
	if _, listing := s.get("meta-data/spot"); listing != "instance-action\ntermination-time" {
		t.Errorf("listing %q", listing)
	}
	s.check("PUT", at+"spot/instance-action", "other", 204, "")
	if got := s.check("GET", at+"spot/instance-action", "", 200, ""); got.Body.String() != "other" || got.Header().Get("Content-Type") != "text/plain" {
		t.Errorf("after it was replaced: %q, %q", got.Body, got.Header().Get("Content-Type"))
	}
	if got := s.do("HEAD", at+"spot/instance-action", ""); got.Code != 200 || got.Body.Len() != 0 || got.Header().Get("Content-Length") != "5" {
		t.Errorf("HEAD: %d, %q", got.Code, got.Header().Get("Content-Length"))
	}
	s.check("DELETE", at+"spot", "", 204, "")
	if _, root := s.get("meta-data"); strings.Contains(root, "spot/") {
		t.Errorf("the listing still has spot/: %s", root)
	}
	s.check("DELETE", at+"spot", "", 404, "there is nothing at spot")

	if got := s.check("GET", at+"user-data", "", 200, ""); got.Body.String() != "a\x00b" || got.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("user data %q, %q", got.Body, got.Header().Get("Content-Type"))
	}
	s.check("PUT", at+"user-data", "\x00\xff", 204, "")
	if _, body := s.get("user-data"); body != "\x00\xff" {
		t.Errorf("user data %q", body)
	}
	s.check("PUT", at+"dynamic/fws/instance-monitoring", "enabled", 204, "")
	if _, body := s.get("dynamic/fws/instance-monitoring"); body != "enabled" {
		t.Errorf("a dynamic value %q", body)
	}
	s.check("PUT", at+"placement", "x", 400, "is a directory")
	s.check("PUT", at+"instance-id/x", "x", 400, "is a value, nothing is below it")
	s.check("PUT", at+"big", strings.Repeat("x", 1<<17), 400, "at most 65536 bytes")

	for _, path := range []string{"iam/security-credentials/web", "latest/meta-data/iam/security-credentials/web", "iam//security-credentials/./web",
		"identity-credentials/ec2/security-credentials/ec2-instance"} {
		s.check("GET", at+path, "", 403, "credentials are not shown here")
	}
	s.check("GET", at+"iam/security-credentials", "", 200, "web")

	got := s.check("POST", at+"custom", "x", 405, "POST is not allowed here: use GET or PUT or DELETE")
	if allow := got.Header().Get("Allow"); allow != "GET, HEAD, PUT, DELETE" {
		t.Errorf("Allow %q", allow)
	}
}

func TestControlChangesOptionsLive(t *testing.T) {
	t.Parallel()
	s := newSteered(t, imds.Config{Tags: map[string]string{"Name": "web"}}, nil)
	const at = "/v1/imds/options"
	if got := s.check("GET", at, "", 200, ""); got.Body.String() != `{"httpTokens":"optional","httpEndpoint":"enabled","httpPutResponseHopLimit":1,"httpProtocolIpv6":"disabled","instanceMetadataTags":"enabled"}` {
		t.Errorf("options %s", got.Body)
	}
	v1 := func() int {
		return s.service.Answer(imds.Request{Method: http.MethodGet, Path: "/latest/meta-data/instance-id"}).Status
	}
	if status := v1(); status != 200 {
		t.Errorf("tokens optional: %d", status)
	}
	s.check("PATCH", at, `{"httpTokens":"required","httpPutResponseHopLimit":2}`, 200, `"httpTokens":"required","httpEndpoint":"enabled","httpPutResponseHopLimit":2`)
	if status := v1(); status != 401 {
		t.Errorf("tokens required: %d", status)
	}
	if status, _ := s.get("meta-data/tags/instance/Name"); status != 200 {
		t.Errorf("tags on: %d", status)
	}
	s.check("PATCH", at, `{"instanceMetadataTags":"disabled"}`, 200, `"httpTokens":"required"`)
	if status, _ := s.get("meta-data/tags/instance/Name"); status != 404 {
		t.Errorf("tags off: %d", status)
	}
	s.check("PATCH", at, `{"httpEndpoint":"disabled"}`, 200, "")
	if status := v1(); status != 403 {
		t.Errorf("the service off: %d", status)
	}
	s.check("PATCH", at, `{}`, 200, `"httpEndpoint":"disabled"`)
	before := s.service.Options()
	for body, want := range map[string]string{
		`{"tokens":"required"}`:                                 "httpTokens",
		`{"httpTokens":"sometimes"}`:                            `httpTokens must be "optional" or "required"`,
		`{"httpTokens":""}`:                                     `httpTokens must be "optional" or "required"`,
		`{"httpEndpoint":"on"}`:                                 `httpEndpoint must be "enabled" or "disabled"`,
		`{"httpPutResponseHopLimit":0}`:                         "httpPutResponseHopLimit must be 1 to 64",
		`{"httpPutResponseHopLimit":65}`:                        "httpPutResponseHopLimit must be 1 to 64",
		`{"httpPutResponseHopLimit":"2"}`:                       "1 to 64",
		`{"httpTokens":"optional","instanceMetadataTags":"no"}`: "instanceMetadataTags must be",
		`{"httpTokens":"optional"} {}`:                          "there is more after the object",
		`[]`:                                                    "httpTokens",
		``:                                                      "httpTokens",
	} {
		s.check("PATCH", at, body, 400, strings.ReplaceAll(want, `"`, `\"`))
	}
	if after := s.service.Options(); after != before {
		t.Errorf("refused changes left %+v, want %+v", after, before)
	}
	s.check("PUT", at, `{}`, 405, "use GET or PATCH")

	hidden := newSteered(t, imds.Config{Tags: map[string]string{"My Key": "web"}, Options: imds.Options{InstanceMetadataTags: imds.Disabled}}, nil)
	hidden.check("PATCH", at, `{"instanceMetadataTags":"enabled"}`, 400, "tags.My Key: ")
}

func TestControlManagesNamespaces(t *testing.T) {
	t.Parallel()
	give, down := numbered(), false
	var asked atomic.Int64
	s := newSteered(t, imds.Config{}, func(ctx context.Context, a imds.Ask) (local.Credentials, error) {
		if a.Use == imds.TaskCredentials {
			asked.Add(1)
		}
		switch {
		case a.Role.Name == "nobody":
			return local.Credentials{}, &local.Error{Code: local.Denied, Msg: "let the role trust you"}
		case down && a.Use == imds.TaskCredentials:
			return local.Credentials{}, local.Errorf(local.Unavailable, "STS does not answer: try again")
		}
		return give(ctx, a)
	})
	const entry = "/v1/namespaces/iam-ecs-1/credentials/" + taskID + "-TaskApplication"
	const leaf = "meta-data/iam-ecs-1/security-credentials/" + taskID + "-TaskApplication"

	s.check("GET", "/v1/namespaces", "", 200, "[]")
	s.check("PUT", entry, `{"role":"shop-web-task"}`, 200, `{"taskId":"`+taskID+`","roleType":"TaskApplication","role":"shop-web-task","code":"Success","expiration":"`)
	if status, body := s.get(leaf); status != 200 || !strings.Contains(body, secretKey) {
		t.Errorf("the credentials are not in the tree when PUT has answered: %d", status)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("PUT asked for the credentials %d times, want once", n)
	}
	s.check("GET", "/v1/imds/values/"+strings.TrimPrefix(leaf, "meta-data/"), "", 403, "")
	s.check("GET", "/v1/namespaces", "", 200, `[{"name":"iam-ecs-1","lastUpdated":"`)

	keyID := func() string {
		_, body := s.get(leaf)
		var doc struct {
			AccessKeyID string `json:"AccessKeyId"`
		}
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatal(err)
		}
		return doc.AccessKeyID
	}
	updated := func() time.Time { return s.service.Namespaces()[0].LastUpdated }
	key, at := keyID(), updated()
	s.check("POST", entry+"/rotate", "", 200, `"code":"Success"`)
	if keyID() == key || !updated().After(at) {
		t.Error("after rotate: the same keys, or the same LastUpdated")
	}

	s.check("PUT", entry, `{"role":"nobody"}`, 200, `"code":"AssumeRoleUnauthorizedAccess"`)
	if status, _ := s.get(leaf); status != 404 {
		t.Errorf("a role that cannot be assumed has credentials: %d", status)
	}
	down = true
	s.check("PUT", entry, `{"role":"other"}`, 503, "STS does not answer: try again")
	down = false
	s.check("PUT", entry, `{"role":"other"}`, 200, `"code":"Success"`)

	s.check("PUT", entry, `{"role":"no spaces"}`, 400, "must be the name")
	s.check("PUT", entry, `{}`, 400, "the body has no role")
	s.check("PUT", entry, `{"arn":"x"}`, 400, "unknown field")
	s.check("PUT", entry, `role`, 400, `send {\"role\"`)
	s.check("PUT", "/v1/namespaces/team-1/credentials/"+taskID+"-TaskApplication", `{"role":"x"}`, 400, "is not a namespace")
	s.check("PUT", "/v1/namespaces/iam-ecs-1/credentials/"+taskID+"-Admin", `{"role":"x"}`, 400, "TaskApplication or TaskExecution")
	s.check("POST", "/v1/namespaces/iam-ecs-9/credentials/"+taskID+"-TaskApplication/rotate", "", 404, "there is no namespace iam-ecs-9")
	if allow := s.check("GET", entry, "", 405, "use PUT or DELETE").Header().Get("Allow"); allow != "PUT, DELETE" {
		t.Errorf("Allow %q", allow)
	}
	s.check("GET", entry+"/rotate", "", 405, "use POST")
	for _, method := range []string{"GET", "PUT", "POST", "DELETE", "PATCH"} { // no method helps where nothing is
		s.check(method, "/v1/namespaces/iam-ecs-1", "", 404, "there is nothing at this path: see docs/endpoints.md")
	}
	s.check("DELETE", entry, "", 204, "")
	s.check("DELETE", entry, "", 404, "has no credentials")
	if status, _ := s.get(leaf); status != 404 {
		t.Errorf("after DELETE: %d", status)
	}
}

func TestControlResets(t *testing.T) {
	t.Parallel()
	s := newSteered(t, imds.Config{Namespaces: map[string][]imds.TaskRole{
		"iam-ecs-1": {{Task: taskID, RoleType: imds.TaskApplication, Role: "shop"}},
	}}, numbered())
	_, before := s.get("meta-data")
	s.check("PUT", "/v1/imds/values/custom/rack", "r12", 204, "")
	s.check("DELETE", "/v1/imds/values/ami-id", "", 204, "")
	s.check("PATCH", "/v1/imds/options", `{"httpTokens":"required"}`, 200, "")
	s.check("DELETE", "/v1/namespaces/iam-ecs-1/credentials/"+taskID+"-TaskApplication", "", 204, "")
	s.check("GET", "/v1/reset", "", 405, "use POST")
	s.check("POST", "/v1/reset", "", 204, "")
	if _, after := s.get("meta-data"); after != before {
		t.Errorf("after a reset %q, before %q", after, before)
	}
	if o := s.service.Options(); o.HTTPTokens != imds.Optional {
		t.Errorf("after a reset tokens are %s", o.HTTPTokens)
	}
	if status, _ := s.get("meta-data/iam-ecs-1/security-credentials/" + taskID + "-TaskApplication"); status != 200 {
		t.Errorf("after a reset the configured credentials: %d", status)
	}
}

func TestControlWithoutIMDS(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.check(f.control, []call{
		{path: "/v1/imds/options", from: "127.0.0.1", status: 404, contains: "the instance metadata service is off"},
		{path: "/v1/namespaces", from: "127.0.0.1", status: 404, contains: "the instance metadata service is off"},
		{name: "a task container", method: "PUT", path: "/v1/imds/values/x", from: "172.18.0.3", status: 403, contains: "you are shop-web-1"},
	})
}
