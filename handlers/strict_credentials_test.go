package handlers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/handlers"
)

// Checks 5 and 6 of the agent's tests: credentials and their errors byte for
// byte, by both versions.
func TestStrictCredentialsChecks5And6(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	const document = `200 {"RoleArn":"arn:aws:iam::111122223333:role/shop-web-task","AccessKeyId":"ASIAEXAMPLEWEB000001",` +
		`"SecretAccessKey":"` + secretKey + `","Token":"` + token + `","Expiration":"2026-06-30T23:05:12Z"}`
	for version, at := range map[string]string{"V1": "GET /v1/credentials?id=", "V2": "GET /v2/credentials/"} {
		refused := func(status int, code, text string) string {
			return fmt.Sprintf(`%d {"code":"%s","message":"Credentials%sRequest: %s","HTTPErrorCode":%d}`, status, code, version, text, status)
		}
		pending := refused(503, "CredentialsUninitialized", "Credentials uninitialized for ID")
		a.roles.known["id-pending"] = false
		a.strictCheck("", []agentCall{
			{at, refused(400, "NoIdInRequest", "No Credential ID in the request")},
			{at + "id-guessed", refused(400, "InvalidIdInRequest", "Credentials not found")},
			{at + "id-known", document},
			{at + "id-pending", pending},
		})
		a.strictCheck("172.18.0.99", []agentCall{{at + "id-known", document}}) // whoever knows the id
		a.roles.known["id-pending"] = true
		a.strictCheck("", []agentCall{{at + "id-pending", document}})
	}
	a.strictCheck("", []agentCall{{"GET /v1/credentials", `400 {"code":"NoIdInRequest","message":"CredentialsV1Request: No Credential ID in the request","HTTPErrorCode":400}`}})

	// With an Authorization header this would be Pod Identity elsewhere.
	r := httptest.NewRequest("GET", "/v1/credentials", nil)
	r.Host, r.RemoteAddr = "127.0.0.1:51679", "172.18.0.3:40000"
	r.Header.Set("Authorization", "anything")
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), "NoIdInRequest") {
		t.Errorf("got %d %s", w.Code, redacted(w.Body.String()))
	}
}

// Options that keep credentials for some callers hold in strict mode too.
func TestStrictModeKeepsWhatProtectsCredentials(t *testing.T) {
	t.Parallel()
	a := newStrict(t, func(d *handlers.Deps) {
		d.TaskCredentials, d.IsolateCredentials = rolesOf(containers(), "shop"), true
	})
	a.strictCheck("", []agentCall{{"GET /v2/credentials/id-of-shop", `200 {"RoleArn":…`}})
	a.strictCheck("172.18.0.4", []agentCall{{"GET /v2/credentials/id-of-shop", `403 {"code":"AccessDenied",…`}})

	a = newStrict(t, func(d *handlers.Deps) {
		d.Authorization = func() (string, error) { return "the-token", nil }
	})
	a.strictCheck("", []agentCall{{"POST /v2/credentials/id-known", `401 {"code":"InvalidAuthorizationToken",…`}})

	for _, host := range []string{"attacker.example", "169.254.170.2.attacker.example"} {
		for _, path := range []string{"/v2/credentials/id-known", "//v4", "/nonsense"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host, r.RemoteAddr = host, "172.18.0.3:40000"
			w := httptest.NewRecorder()
			a.handler.ServeHTTP(w, r)
			if w.Code != http.StatusForbidden {
				t.Errorf("%s is answered to a web page of %s: %d", path, host, w.Code)
			}
		}
	}
}
