package handlers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
)

// taskCredentialsFake knows one role of each kind of state.
type taskCredentialsFake struct {
	known map[string]bool             // false: not delivered yet
	of    func(id string) *local.Task // whose role it is; nil: nobody asks
	due   []string                    // ids whose credentials can be had at once
}

var _ handlers.TaskCredentials = (*taskCredentialsFake)(nil)

func (f *taskCredentialsFake) ID(task *local.Task, roleType string) string {
	if f.of != nil {
		id := "id-of-" + task.Name
		if _, ok := f.known[id]; ok && roleType == "TaskApplication" {
			return id
		}
		return ""
	}
	if task.Name != "shop" {
		return ""
	}
	return "id-of-" + roleType
}

func (f *taskCredentialsFake) Get(id string) (local.Credentials, *local.Task, error) {
	delivered, ok := f.known[id]
	var task *local.Task
	if f.of != nil {
		task = f.of(id)
	}
	switch {
	case !ok:
		return local.Credentials{}, nil, local.Errorf(local.NotFound, "no role of a task has this id")
	case !delivered:
		return local.Credentials{}, task, local.Errorf(local.Unavailable, "not delivered yet")
	}
	return local.Credentials{RoleARN: "arn:aws:iam::111122223333:role/shop-web-task", AccessKeyID: "ASIAEXAMPLEWEB000001",
		SecretAccessKey: secretKey, SessionToken: token, Expiration: expiration}, task, nil
}

func (f *taskCredentialsFake) Deliver(context.Context) {
	for _, id := range f.due {
		f.known[id] = true
	}
}

func TestCredentialsOnTheirWayAreWaitedFor(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(f *fixture, h http.Handler) *httptest.ResponseRecorder{
		"by id": func(f *fixture, h http.Handler) *httptest.ResponseRecorder {
			return f.serve(h, "GET", "/v2/credentials/id-of-shop")
		},
		"Pod Identity": func(f *fixture, h http.Handler) *httptest.ResponseRecorder {
			return f.podIdentityOf(h, "172.18.0.3", "any")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			fake := rolesOf(containers(), "shop")
			fake.known["id-of-shop"] = false
			if w := ask(f, f.with(handlers.Deps{TaskCredentials: fake})); w.Code != http.StatusServiceUnavailable {
				t.Errorf("not on their way: got %d, want 503", w.Code)
			}
			fake.due = []string{"id-of-shop"}
			if w := ask(f, f.with(handlers.Deps{TaskCredentials: fake})); w.Code != http.StatusOK {
				t.Errorf("on their way: got %d %s, want 200", w.Code, w.Body)
			}
		})
	}
}

func TestTaskCredentials(t *testing.T) {
	t.Parallel()
	const document = `{"RoleArn":"arn:aws:iam::111122223333:role/shop-web-task","AccessKeyId":"ASIAEXAMPLEWEB000001",` +
		`"SecretAccessKey":"` + secretKey + `","Token":"` + token + `","Expiration":"2026-06-30T23:05:12Z"}`
	for name, test := range map[string]struct {
		method, path string
		status       int
		body         string
	}{
		"version 2":             {"GET", "/v2/credentials/id-known", 200, document},
		"version 1":             {"GET", "/v1/credentials?id=id-known", 200, document},
		"HEAD":                  {"HEAD", "/v2/credentials/id-known", 200, ""},
		"a slash at the end":    {"GET", "/v2/credentials/id-known/", 200, document},
		"no id":                 {"GET", "/v2/credentials", 400, `{"code":"NoIdInRequest","message":"CredentialsV2Request: No Credential ID in the request","HTTPErrorCode":400}`},
		"no id, with a slash":   {"GET", "/v2/credentials/", 400, `{"code":"NoIdInRequest","message":"CredentialsV2Request: No Credential ID in the request","HTTPErrorCode":400}`},
		"no id, version 1":      {"GET", "/v1/credentials", 400, `{"code":"NoIdInRequest","message":"CredentialsV1Request: No Credential ID in the request","HTTPErrorCode":400}`},
		"unknown":               {"GET", "/v2/credentials/id-guessed", 400, `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found","HTTPErrorCode":400}`},
		"unknown, version 1":    {"GET", "/v1/credentials?id=id-guessed", 400, `{"code":"InvalidIdInRequest","message":"CredentialsV1Request: Credentials not found","HTTPErrorCode":400}`},
		"slashes are in the id": {"GET", "/v2/credentials/id-known/more", 400, `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found","HTTPErrorCode":400}`},
		"not yet scanned":       {"GET", "/v2/credentials/id-pending", 503, `{"code":"CredentialsUninitialized","message":"CredentialsV2Request: Credentials uninitialized for ID","HTTPErrorCode":503}`},
		"not yet, version 1":    {"GET", "/v1/credentials?id=id-pending", 503, `{"code":"CredentialsUninitialized","message":"CredentialsV1Request: Credentials uninitialized for ID","HTTPErrorCode":503}`},
		"a form cannot ask":     {"POST", "/v2/credentials/id-known", 405, `{"code":"MethodNotAllowed","message":"POST is not allowed here: ask for credentials with GET","HTTPErrorCode":405}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			fake := &taskCredentialsFake{known: map[string]bool{"id-known": true, "id-pending": false}}
			w := f.serve(f.withTaskCredentials(fake), test.method, test.path)
			if w.Code != test.status || w.Body.String() != test.body || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("got %d %s, %d bytes that differ:\n%s", w.Code, w.Header().Get("Content-Type"), w.Body.Len(),
					cmp.Diff(redacted(test.body), redacted(w.Body.String())))
			}
			for _, secret := range []string{secretKey, token, "id-known", "id-pending", "id-guessed"} {
				if strings.Contains(f.log.String(), secret) {
					t.Errorf("the log holds a secret or an id: %d bytes", f.log.Len())
				}
			}
		})
	}
}

// redacted keeps secrets out of the test's output.
func redacted(s string) string {
	return strings.NewReplacer(secretKey, "(secret)", token, "(token)").Replace(s)
}

// A container can ask before the event of its start has arrived.
func TestTaskCredentialsOfATaskThatJustStarted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	fake := &taskCredentialsFake{known: map[string]bool{}}
	f.runtime.refresh = func() (*local.Directory, error) {
		fake.known["fresh"] = true
		return f.runtime.dir.Load(), nil
	}
	if w := f.serve(f.withTaskCredentials(fake), "GET", "/v2/credentials/fresh"); w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
	f.runtime.refresh = func() (*local.Directory, error) {
		return nil, local.Errorf(local.Unavailable, "Docker does not answer")
	}
	for name, h := range map[string]http.Handler{"the runtime is away": f.withTaskCredentials(fake), "there are none": f.with(handlers.Deps{})} {
		if w := f.serve(h, "GET", "/v2/credentials/other"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "Credentials not found") {
			t.Errorf("an id that nobody knows, and %s: status %d: %s", name, w.Code, w.Body)
		}
	}
	before := f.runtime.asked.Load()
	f.serve(f.withTaskCredentials(fake), "GET", "/v2/credentials/fresh")
	if got := f.runtime.asked.Load(); got != before {
		t.Errorf("asked the runtime again for an id that is known")
	}
}

func TestTasksShowTheirCredentials(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	control := handlers.NewControl(handlers.ControlDeps{Runtime: f.runtime, Log: slog.New(slog.DiscardHandler), TaskCredentials: &taskCredentialsFake{}})
	w := f.serve(control, "GET", "/v1/tasks")
	var tasks []struct {
		Name        string
		Credentials map[string]string
		Containers  []struct{ Environment map[string]string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &tasks); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for _, task := range tasks {
		want := map[string]string(nil)
		if task.Name == "shop" {
			want = map[string]string{"TaskApplication": "/v2/credentials/id-of-TaskApplication", "TaskExecution": "/v2/credentials/id-of-TaskExecution"}
		}
		if diff := cmp.Diff(want, task.Credentials); diff != "" {
			t.Errorf("task %s (-want +got):\n%s", task.Name, diff)
		}
		for _, c := range task.Containers {
			if got := c.Environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]; got != want["TaskApplication"] {
				t.Errorf("a container of %s has %q", task.Name, got)
			}
		}
	}
	if len(tasks) != 2 {
		t.Errorf("%d tasks", len(tasks))
	}
}

func (f *fixture) withTaskCredentials(c handlers.TaskCredentials) http.Handler {
	return f.with(handlers.Deps{TaskCredentials: c})
}

// with returns a handler with these dependencies beside those of the fixture.
func (f *fixture) with(d handlers.Deps) http.Handler {
	d.Runtime, d.Credentials, d.Log = f.runtime, f.credentials, slog.New(slog.NewTextHandler(&lockedWriter{w: f.log}, nil))
	return onceOnly{f.t, handlers.New(d)}
}

func (f *fixture) serve(h http.Handler, method, path string) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+path, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
