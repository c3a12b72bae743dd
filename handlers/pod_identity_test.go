package handlers_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
)

func TestPodIdentity(t *testing.T) {
	t.Parallel()
	const (
		keys = `{"AccessKeyId":"ASIAEXAMPLEWEB000001","SecretAccessKey":"` + secretKey + `","Token":"` + token + `","AccountId":"111122223333","Expiration":"2026-06-30T23:05:12Z"}`
		text = "text/plain; charset=utf-8"
		json = "application/json"

		noToken  = "Service account token cannot be empty\n"
		noRole   = "(ResourceNotFoundException): the task blog has no task role: label the container ecs-local.task-role with the name or the ARN of one, fault: client\n"
		stranger = "(ResourceNotFoundException): the caller is not known to be a container of a task: ask from a container on a network with ecs-local, and label it ecs-local.task-role, fault: client\n"
		nothing  = "404 page not found\n"
		agentNo  = `{"code":"NoIdInRequest","message":"CredentialsV1Request: No Credential ID in the request","HTTPErrorCode":400}`
	)
	const other = "172.18.0.2"
	for name, test := range map[string]struct {
		at, from, method, path, token string
		status                        int
		kind, body                    string
	}{
		"the task role of the caller":   {local.PodIdentityAddress, "172.18.0.3", "GET", "/v1/credentials", "any", 200, json, keys},
		"over IPv6":                     {local.PodIdentityAddress6, "172.18.0.3", "GET", "/v1/credentials", "any", 200, json, keys},
		"HEAD":                          {local.PodIdentityAddress, "172.18.0.3", "HEAD", "/v1/credentials", "any", 200, json, ""},
		"a slash at the end":            {local.PodIdentityAddress, "172.18.0.3", "GET", "/v1/credentials/", "any", 200, json, keys},
		"an id means nothing here":      {local.PodIdentityAddress, "172.18.0.3", "GET", "/v1/credentials?id=id-of-blog", "any", 200, json, keys},
		"no token":                      {local.PodIdentityAddress, "172.18.0.3", "GET", "/v1/credentials", "", 400, text, noToken},
		"a task without a role":         {local.PodIdentityAddress, "172.18.0.4", "GET", "/v1/credentials", "any", 404, text, noRole},
		"the machine itself":            {local.PodIdentityAddress, "127.0.0.1", "GET", "/v1/credentials", "any", 404, text, stranger},
		"nobody":                        {local.PodIdentityAddress, "172.18.0.99", "GET", "/v1/credentials", "any", 404, text, stranger},
		"a form cannot ask":             {local.PodIdentityAddress, "172.18.0.3", "POST", "/v1/credentials", "any", 405, json, `{"code":"MethodNotAllowed","message":"POST is not allowed here: ask for credentials with GET","HTTPErrorCode":405}`},
		"nothing of the ECS agent":      {local.PodIdentityAddress, "172.18.0.3", "GET", "/creds", "any", 404, text, nothing},
		"no task credentials by id":     {local.PodIdentityAddress, "172.18.0.3", "GET", "/v2/credentials/id-of-shop", "any", 404, text, nothing},
		"no metadata":                   {local.PodIdentityAddress6, "172.18.0.3", "GET", "/v4", "", 404, text, nothing},
		"no instance metadata":          {local.PodIdentityAddress, "172.18.0.3", "GET", "/latest/meta-data/", "", 404, text, nothing},
		"another address, with a token": {other, "172.18.0.3", "GET", "/v1/credentials", "any", 200, json, keys},
		"another address, with a token and without id": {other, "172.18.0.4", "GET", "/v1/credentials?x=1", "any", 404, text, noRole},
		"another address, with a token and an id":      {other, "172.18.0.3", "GET", "/v1/credentials?id=id-of-shop", "any", 200, json, taskKeys},
		"another address, with an empty id":            {other, "172.18.0.3", "GET", "/v1/credentials?id=", "any", 400, json, agentNo},
		"another address, without a token":             {other, "172.18.0.3", "GET", "/v1/credentials", "", 400, json, agentNo},
		"the address of the ECS agent":                 {local.ECSAddress, "172.18.0.3", "GET", "/v1/credentials", "any", 400, json, agentNo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			h := f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop"), IsolateCredentials: true})
			r := httptest.NewRequest(test.method, test.path, nil)
			if test.token != "" {
				r.Header.Set("Authorization", test.token)
			}
			r = atAddress(r, test.at)
			r.RemoteAddr = net.JoinHostPort(test.from, "40000")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.status || w.Header().Get("Content-Type") != test.kind || w.Body.String() != test.body {
				t.Errorf("got %d %q, want %d %q; body (-want +got):\n%s", w.Code, w.Header().Get("Content-Type"), test.status, test.kind,
					cmp.Diff(redacted(test.body), redacted(w.Body.String())))
			}
			if strings.Contains(f.log.String(), secretKey) || strings.Contains(f.log.String(), token) || strings.Contains(f.log.String(), "id-of-") {
				t.Errorf("the log holds a secret or an id")
			}
		})
	}
}

// podIdentityOf asks as a pod does.
func (f *fixture) podIdentityOf(h http.Handler, from, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/v1/credentials", nil)
	r.Header.Set("Authorization", token)
	r = atAddress(r, local.PodIdentityAddress)
	r.RemoteAddr = net.JoinHostPort(from, "40000")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPodIdentityWithAnAuthorizationToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop"), Authorization: wantsToken})
	if w := f.podIdentityOf(h, "172.18.0.3", authorizationToken); w.Code != http.StatusOK {
		t.Errorf("the token: status %d", w.Code)
	}
	if w := f.podIdentityOf(h, "172.18.0.3", "another"); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "InvalidAuthorizationToken") {
		t.Errorf("another: %d %s", w.Code, w.Body)
	}
	if strings.Contains(f.log.String(), authorizationToken) {
		t.Errorf("the log holds the token")
	}
}

func TestPodIdentityThatCannotAnswerYet(t *testing.T) {
	t.Parallel()
	late := container("3"+otherID[1:], "shop", "late", "172.18.0.9", local.Running)
	t.Run("a container that has just started", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.runtime.refresh = func() (*local.Directory, error) {
			return local.NewDirectory(append(containers(), late), selfID, local.Facts{}), nil
		}
		if w := f.podIdentityOf(f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop")}), "172.18.0.9", "any"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, redacted(w.Body.String()))
		}
	})
	t.Run("credentials that are not delivered yet", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		w := f.podIdentityOf(f.with(handlers.Deps{TaskCredentials: undelivered{}}), "172.18.0.3", "any")
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "ask again in a second") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("a runtime that is away", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.runtime.refresh = func() (*local.Directory, error) {
			return nil, local.Errorf(local.Unavailable, "the Docker engine does not answer: start it")
		}
		w := f.podIdentityOf(f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop")}), "172.18.0.9", "any")
		if w.Code != http.StatusServiceUnavailable || w.Body.String() != "the Docker engine does not answer: start it\n" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("no tasks have roles", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		if w := f.podIdentityOf(f.with(handlers.Deps{}), "172.18.0.3", "any"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), local.LabelTaskRole) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// undelivered has a role for every task, and credentials for none.
type undelivered struct{}

func (undelivered) ID(*local.Task, string) string { return "id" }

func (undelivered) Deliver(context.Context) {}

func (undelivered) Get(string) (local.Credentials, *local.Task, error) {
	return local.Credentials{}, nil, local.Errorf(local.Unavailable, "no scan yet")
}
