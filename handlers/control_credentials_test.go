package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
)

// controlOf answers requests to a control API with these dependencies, and
// returns the log.
func controlOf(t *testing.T, d handlers.ControlDeps) (send func(method, path, body string) *httptest.ResponseRecorder, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	f := &runtimeFake{}
	f.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
	d.Runtime, d.Log = f, slog.New(slog.NewTextHandler(&lockedWriter{w: log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h := onceOnly{t, handlers.NewControl(d)}
	return func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:40000"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}, log
}

func TestControlRotatesCredentials(t *testing.T) {
	t.Parallel()
	const all, arn = "everything", "arn:aws:iam::111122223333:role/team/app"
	for name, test := range map[string]struct {
		body   string
		asked  string // what Rotate was called with; empty: it was not
		status int
		answer string // exact, or a part when it is an error
	}{
		"no body":               {"", all, 200, `{"rotated":["` + arn + `","session"]}`},
		"an empty object":       {" {} \n", all, 200, `{"rotated":["` + arn + `","session"]}`},
		"a role by name":        {`{"role":"team/app"}`, "team/app", 200, `{"rotated":["` + arn + `","session"]}`},
		"a role by ARN":         {`{"role":"` + arn + `"}`, arn, 200, `{"rotated":["` + arn + `","session"]}`},
		"the session":           {`{"session":true}`, "session", 200, `{"rotated":["` + arn + `","session"]}`},
		"no name":               {`{"role":""}`, "", 400, `is not a role name`},
		"no role":               {`{"role":"no spaces"}`, "", 400, `is not a role name`},
		"not the session":       {`{"session":false}`, "", 400, `session is true or left out`},
		"two things":            {`{"session":true,"role":"app"}`, "", 400, `two things`},
		"something else":        {`{"roles":["app"]}`, "", 400, `\"session\": true`},
		"no JSON":               {`app`, "", 400, `\"session\": true`},
		"more after the object": {`{} {}`, "", 400, `there is more after the object`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := ""
			send, _ := controlOf(t, handlers.ControlDeps{Rotate: func(_ context.Context, role *local.Role) (handlers.Rotated, error) {
				asked = all
				if role != nil {
					asked = role.String()
				}
				return handlers.Rotated{Rotated: []string{"session", arn, "session"}}, nil
			}})
			w := send("POST", "/v1/credentials/rotate", test.body)
			if w.Code != test.status || asked != test.asked {
				t.Errorf("status %d, want %d; asked for %q, want %q", w.Code, test.status, asked, test.asked)
			}
			if body := w.Body.String(); body != test.answer && (test.status == 200 || !strings.Contains(body, test.answer)) {
				t.Errorf("got %s, want %s", body, test.answer)
			}
		})
	}

	t.Run("nothing was kept", func(t *testing.T) {
		t.Parallel()
		send, _ := controlOf(t, handlers.ControlDeps{Rotate: func(context.Context, *local.Role) (handlers.Rotated, error) { return handlers.Rotated{}, nil }})
		if w := send("POST", "/v1/credentials/rotate", ""); w.Body.String() != `{"rotated":[]}` {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("an error", func(t *testing.T) {
		t.Parallel()
		send, _ := controlOf(t, handlers.ControlDeps{Rotate: func(context.Context, *local.Role) (handlers.Rotated, error) {
			return handlers.Rotated{}, local.Errorf(local.NotFound, "nobody has asked for this role yet")
		}})
		if w := send("POST", "/v1/credentials/rotate", `{"role":"app"}`); w.Code != 404 || w.Body.String() != `{"code":"NotFound","message":"nobody has asked for this role yet"}` {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("nothing to rotate, and wrong methods", func(t *testing.T) {
		t.Parallel()
		send, _ := controlOf(t, handlers.ControlDeps{})
		for _, row := range []struct {
			method, path string
			status       int
		}{
			{"POST", "/v1/credentials/rotate", 404}, {"GET", "/v1/credentials/rotate", 405},
			{"POST", "/v1/credentials/mfa", 400}, {"GET", "/v1/credentials/mfa", 405},
			{"GET", "/v1/tls/ca", 404}, {"POST", "/v1/tls/ca", 405},
		} {
			if w := send(row.method, row.path, ""); w.Code != row.status {
				t.Errorf("%s %s: status %d, want %d", row.method, row.path, w.Code, row.status)
			}
		}
	})
}

func TestControlTakesAnMFACode(t *testing.T) {
	t.Parallel()
	const code = "493817"
	until := time.Date(2026, 6, 30, 23, 5, 12, 0, time.UTC)
	for name, test := range map[string]struct {
		body   string
		err    error
		taken  bool
		status int
		answer string
	}{
		"a code":             {`{"code":"` + code + `"}`, nil, true, 200, `{"mfa":{"serial":"arn:aws:iam::111122223333:mfa/dev","needed":false,"until":"2026-06-30T23:05:12Z"}}`},
		"with spaces around": {`{"code":" ` + code + `\n"}`, nil, true, 200, `"needed":false`},
		"STS refuses it":     {`{"code":"` + code + `"}`, &local.Error{Code: local.Denied, Name: "AccessDenied", Msg: "STS refuses the code: wait for the next one"}, true, 403, `{"code":"AccessDenied","message":"STS refuses the code: wait for the next one"}`},
		"five digits":        {`{"code":"` + code[:5] + `"}`, nil, false, 400, `send {\"code\": \"123456\"}`},
		"other characters":   {`{"code":"` + code[:5] + `x"}`, nil, false, 400, `six digits`},
		"a number":           {`{"code":` + code + `}`, nil, false, 400, `six digits`},
		"the code as a key":  {`{"` + code + `":""}`, nil, false, 400, `six digits`},
		"the code alone":     {code, nil, false, 400, `six digits`},
		"broken JSON":        {`{"code":"` + code, nil, false, 400, `six digits`},
		"nothing":            {``, nil, false, 400, `six digits`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			status := handlers.MFAStatus{Serial: "arn:aws:iam::111122223333:mfa/dev", Needed: true}
			send, log := controlOf(t, handlers.ControlDeps{
				MFA: func(_ context.Context, code string) error {
					got = code
					if test.err == nil {
						status.Needed, status.Until = false, until
					}
					return test.err
				},
				Status: func() handlers.Status { return handlers.Status{Credentials: handlers.CredentialsStatus{MFA: &status}} },
			})
			w := send("POST", "/v1/credentials/mfa", test.body)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.answer) || (got == code) != test.taken {
				t.Errorf("status %d, taken %v: %s", w.Code, got == code, w.Body)
			}
			shown := send("GET", "/v1/status", "").Body.String()
			if !strings.Contains(shown, `"mfa":{"serial":"arn:aws:iam::111122223333:mfa/dev","needed":`) {
				t.Errorf("the status has no MFA: %s", shown)
			}
			for _, where := range []string{log.String(), w.Body.String(), shown} {
				if strings.Contains(where, code) {
					t.Errorf("the code is shown")
				}
			}
		})
	}
	t.Run("nobody waits for one", func(t *testing.T) {
		t.Parallel()
		send, _ := controlOf(t, handlers.ControlDeps{Status: func() handlers.Status { return handlers.Status{} }})
		if w := send("POST", "/v1/credentials/mfa", `{"code":"`+code+`"}`); w.Code != 404 || !strings.Contains(w.Body.String(), "mfa_serial") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if shown := send("GET", "/v1/status", "").Body.String(); strings.Contains(shown, "mfa") {
			t.Errorf("%s", shown)
		}
	})
}

func TestControlShowsTheCertificateAuthority(t *testing.T) {
	t.Parallel()
	send, _ := controlOf(t, handlers.ControlDeps{CA: func() []byte { return []byte("-----BEGIN CERTIFICATE-----\n") }})
	w := send("GET", "/v1/tls/ca", "")
	if body, _ := io.ReadAll(w.Body); w.Code != 200 || w.Header().Get("Content-Type") != "application/x-pem-file" || string(body) != "-----BEGIN CERTIFICATE-----\n" {
		t.Errorf("%d %q %s", w.Code, w.Header().Get("Content-Type"), body)
	}
	for name, ca := range map[string]func() []byte{"no authority": nil, "an empty one": func() []byte { return nil }} {
		send, _ := controlOf(t, handlers.ControlDeps{CA: ca})
		if w := send("GET", "/v1/tls/ca", ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "--tls-listen") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// A container of ECS has these variables, and no other of the agent's.
func TestTasksShowTheWholeEnvironment(t *testing.T) {
	t.Parallel()
	endpoint := local.EndpointID(webID)
	uris := func(more map[string]string) map[string]string {
		all := map[string]string{
			"ECS_CONTAINER_METADATA_URI":    "http://169.254.170.2/v3/" + endpoint,
			"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/" + endpoint,
			"ECS_AGENT_URI":                 "http://169.254.170.2/api/" + endpoint,
		}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	const arn = "arn:aws-cn:ecs:cn-north-1:111122223333:task/demo/5f0c1b7e9a2d4c3e8b6a7d1f20394857"
	for name, test := range map[string]struct {
		labels map[string]string
		facts  local.Facts
		roles  bool
		want   map[string]string
	}{
		"EC2, with a task role": {nil, local.Facts{Region: "eu-central-1"}, true, uris(map[string]string{
			"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1", "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
			"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/id-of-shop",
		})},
		"Fargate, the region of the ARN": {map[string]string{local.LabelLaunchType: "FARGATE", local.LabelTaskARN: arn}, local.Facts{Region: "eu-central-1"}, false, uris(map[string]string{
			"AWS_REGION": "cn-north-1", "AWS_DEFAULT_REGION": "cn-north-1", "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
		})},
		"ECS Anywhere": {map[string]string{local.LabelLaunchType: "EXTERNAL"}, local.Facts{}, false, uris(map[string]string{
			"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
		})},
		"an ARN that is none": {map[string]string{local.LabelTaskARN: "mine"}, local.Facts{}, false, uris(map[string]string{"AWS_EXECUTION_ENV": "AWS_ECS_EC2"})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := container(webID, "shop", "web", "172.18.0.3", local.Running)
			web.Labels, web.Name = test.labels, "frontend"
			f := &runtimeFake{}
			f.dir.Store(local.NewDirectory([]*local.Container{web}, "", test.facts))
			d := handlers.ControlDeps{Runtime: f, Log: nopLog}
			if test.roles {
				d.TaskCredentials = rolesOf(nil, "shop")
			}
			r := httptest.NewRequest(http.MethodGet, "http://localhost/v1/tasks", nil)
			r.RemoteAddr = "127.0.0.1:40000"
			w := httptest.NewRecorder()
			handlers.NewControl(d).ServeHTTP(w, r)
			var tasks []struct {
				Containers []struct {
					Name, Service string
					Environment   map[string]string
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &tasks); err != nil || len(tasks) != 1 || len(tasks[0].Containers) != 1 {
				t.Fatalf("%v: %s", err, w.Body)
			}
			got := tasks[0].Containers[0]
			if diff := cmp.Diff(test.want, got.Environment); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
			if got.Name != "frontend" || got.Service != "web" {
				t.Errorf("name %q, service %q", got.Name, got.Service)
			}
		})
	}
}
