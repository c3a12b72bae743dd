package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// strictAgent is a handler in strict mode over fakes.
type strictAgent struct {
	*agent
	roles *taskCredentialsFake
	log   *bytes.Buffer
}

// newStrict serves two tasks: shop, in the network mode awsvpc, with a running
// and a stopped container, and blog on a Docker network. A container of each
// has an odd endpoint id.
func newStrict(t *testing.T, change ...func(*handlers.Deps)) *strictAgent {
	t.Helper()
	cs := containers()
	cs[0].Labels = map[string]string{local.LabelNetworkMode: local.AWSVPC}
	cs[1].Labels = cs[0].Labels
	odd := container("4"+otherID[1:], "blog", "odd", "172.18.0.5", local.Running)
	odd.EndpointID = "task"
	a := &strictAgent{
		agent: &agent{t: t, runtime: &runtimeFake{}},
		roles: &taskCredentialsFake{known: map[string]bool{"id-known": true, "id/known": true, "id-pending": false}},
		log:   &bytes.Buffer{},
	}
	a.runtime.dir.Store(local.NewDirectory(append(cs, odd), selfID, local.Facts{}))
	deps := handlers.Deps{
		Runtime: a.runtime, Credentials: &credentialsFake{}, TaskCredentials: a.roles, Documents: metadata.New(metadata.Options{}),
		Strict: true, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: a.log}, nil)),
	}
	for _, c := range change {
		c(&deps)
	}
	a.handler = onceOnly{t, handlers.New(deps)}
	return a
}

var (
	webEID   = local.EndpointID(webID)
	redisEID = local.EndpointID(redisID)
	blogEID  = local.EndpointID(otherID)
)

const noRoute = "404 404 page not found\n"

// strictCheck sends requests, each to be answered with status and body. A body
// that ends in … goes on.
func (a *strictAgent) strictCheck(from string, calls []agentCall) {
	a.t.Helper()
	for _, c := range calls {
		got := answer(a.send(a.handler, from, c.request))
		want, begins := strings.CutSuffix(c.want, "…")
		if got != want && !(begins && strings.HasPrefix(got, want)) {
			a.t.Errorf("%s\n got %s\nwant %s", c.request, redacted(got), redacted(c.want))
		}
	}
}

// unknownID are the errors for an endpoint id that no container has.
func unknownID(version, what, id string) string {
	if what == "container metadata" {
		return `"` + version + ` container metadata handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: ` + id + `"`
	}
	return `"` + version + ` ` + what + ` handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: ` + id + `"`
}

// Check 1 of the agent's tests: what is a path, and what is none. Every row is
// one that the agent's router was seen to answer so.
func TestStrictRoutesCheck1(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	const (
		noID    = `400 {"code":"NoIdInRequest","message":"CredentialsV2Request: No Credential ID in the request","HTTPErrorCode":400}`
		keys    = `200 {"RoleArn":"arn:aws:iam::111122223333:role/shop-web-task",…`
		shopDoc = `200 {"Cluster":"ecs-local","TaskARN":"arn:aws:ecs:us-east-1:000000000000:task/ecs-local/…`
	)
	webDoc := `200 {"DockerId":"` + webID + `",…`
	calls := []agentCall{
		{"GET /v2/credentials", noRoute},
		{"GET /v1/credentials/", noRoute},
		{"GET /v1/credentials/id-known", noRoute},
		{"GET /v1/metadata", noRoute},
		{"GET /v2", noRoute},
		{"GET /v2/meta", noRoute},
		{"GET /v2/statss", noRoute},
		{"GET /v2/metadataWithTags/x", noRoute},
		{"GET /v5/" + webEID, noRoute},
		{"GET /", noRoute},
		{"GET /api", noRoute},
		{"GET " + statePath + "/", noRoute},
		{"GET /api/" + webEID + "/task-protection/v1", noRoute},
		{"POST /api/" + webEID + "/fault/v1/network-latency", noRoute},
		{"POST /api/" + webEID + "/fault/v1/network-jam/start", noRoute},
		{"POST /api/" + webEID + "/fault/v1/network-latency/restart", noRoute},
		{"POST /api/" + webEID + "/fault/v1/network-latency/status/", noRoute},

		// What ecs-local has beside the agent's paths is not there.
		{"GET /creds", noRoute},
		{"GET /role/app", noRoute},
		{"GET /role-arn/arn:aws:iam::111122223333:role/app", noRoute},
		{"GET /v4/containers/shop-web-1", noRoute},
		{"GET /v3/containers/shop-web-1/task", noRoute},
		{"GET /api/task-protection/v1/state", noRoute},
		{"GET /api/containers/shop-web-1/task-protection/v1/state", noRoute},
		{"POST /api/fault/v1/network-latency/status", noRoute},

		{"GET /v2/metadata", shopDoc},
		{"GET /v2/metadata/", shopDoc},
		{"GET /v2/metadataWithTags", shopDoc},
		{"GET /v2/metadataWithTags/", shopDoc},
		{"GET /v2/stats", `200 {"…`},
		{"GET /v2/stats/", `200 {"…`},
		{"GET /v2/metadata/" + webID, webDoc},
		{"GET /v2/metadata/" + webID + "/", `400 "Unable to generate metadata for container '` + webID + `/'"`},
		{"GET /v2/metadata/a/b", `400 "Unable to generate metadata for container 'a/b'"`},
		{"GET /v2/stats/a/b", `400 "Unable to get container stats for: a/b"`},
		{"GET /v2/credentials/", noID},
		{"GET /v2/credentials/id/known", keys},
		{"GET /v2/credentials/id%2Fknown", keys},
		{"GET /%76%32/credentials/id-known", keys},
		{"GET /v2/credentials/id-known/", `400 {"code":"InvalidIdInRequest",…`},
		{"GET /v2/credentials/id%0Aknown", noRoute},
		{"GET /v4/" + webEID + "%0A", noRoute},
		{"GET /v4/%0A" + webEID, noRoute},
	}
	for version, status := range map[string]int{"V3": 500, "V4": 404} {
		at := "GET /" + strings.ToLower(version)
		unknown := func(id string) string {
			return fmt.Sprint(status, " ", unknownID(version, "container metadata", id))
		}
		calls = append(calls, []agentCall{
			{at, noRoute},
			{at + "/", unknown("")},
			{at + "/stats", unknown("stats")},
			{at + "/taskWithTags", unknown("taskWithTags")},
			{at + "/task", `200 {"DockerId":"4…`},
			{at + "/task/stats", map[string]string{"V3": "200 null", "V4": "200 {}"}[version]},
			{at + "/task/task", `200 {"Cluster":…`},
			{at + "/task/task/stats", "200 {…"},
			{at + "/stats/task", fmt.Sprint(status, " ", unknownID(version, "task metadata", "stats"))},
			{at + "/" + webEID, webDoc},
			{at + "/" + webEID + "?x=/", webDoc},
			{at + "/" + webEID[:8] + "%2D" + webEID[9:], webDoc},
			{at + "/" + webEID + "%2Ftask", shopDoc},
			{at + "/" + webEID + "/task", shopDoc},
			{at + "/" + webEID + "/taskWithTags", shopDoc},
			{at + "/" + webEID + "/", noRoute},
			{at + "/" + webEID + "/task/", noRoute},
			{at + "/" + webEID + "/taskWithTags/", noRoute},
			{at + "/" + webEID + "/stats/", noRoute},
			{at + "/" + webEID + "/task/stats/", noRoute},
			{at + "/" + webEID + "/task/stats/y", noRoute},
			{at + "/" + webEID + "/anything", noRoute},
			{at + "/" + webEID + "/associations", noRoute},
			{at + "/" + webEID + "/associations/", `200 {"Associations":null}`},
			{at + "/" + webEID + "/associations/gpu", `200 {"Associations":null}`},
			{at + "/" + webEID + "/associations/gpu/", `400 "` + version + ` container associations handler: unable to get association name from request"`},
			{at + "/" + webEID + "/associations/t/n/m", `400 "Unable to write container association response: unable to get association from association type t and association name n/m"`},

			// Only endpoint ids name a container.
			{at + "/shop-web-1", unknown("shop-web-1")},
			{at + "/web", unknown("web")},
			{at + "/" + webID, unknown(webID)},
			{at + "/" + webID[:12], unknown(webID[:12])},
			{at + "/" + webEID[:12], unknown(webEID[:12])},
			{at + "/" + strings.ToUpper(webEID), unknown(strings.ToUpper(webEID))},
		}...)
	}
	a.strictCheck("", calls)
}

// Everything but /api takes every method, as the agent does.
func TestStrictMethods(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"} {
		for _, path := range []string{"/v2/credentials/id-known", "/v1/credentials?id=id-known", "/v2/metadata", "/v3/" + webEID, "/v4/" + webEID + "/task/stats", "/v4/" + webEID + "/associations/gpu"} {
			w := a.send(a.handler, "", method+" "+path)
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d %s", method, path, w.Code, redacted(w.Body.String()))
			}
			if (w.Body.Len() == 0) != (method == "HEAD") {
				t.Errorf("%s %s: a body of %d bytes", method, path, w.Body.Len())
			}
		}
	}
}

// onTheWire sends bytes to a server and reads the answer.
func onTheWire(t *testing.T, address, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request+"\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if peer := response.Header["X-Rate-Limit-Request-Remote-Addr"]; peer != nil {
		for i := range peer {
			if peer[i] == conn.LocalAddr().String() {
				peer[i] = "PEER"
			}
		}
	}
	response.Header.Del("Date")
	return response, string(body)
}

// Checks 1 and 2 of the agent's tests, on the wire: status, all headers and
// body of what the router answers itself.
func TestStrictRouterAnswersOnTheWire(t *testing.T) {
	t.Parallel()
	a := newStrict(t)
	server := httptest.NewUnstartedServer(a.handler)
	server.Config.DisableGeneralOptionsHandler = true // as every listener has it
	server.Start()
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	host := "\r\nHost: 169.254.170.2"
	rated := func(pairs ...string) http.Header {
		h := http.Header{
			"X-Rate-Limit-Limit": {"40.00"}, "X-Rate-Limit-Duration": {"1"},
			"X-Rate-Limit-Request-Forwarded-For": {""}, "X-Rate-Limit-Request-Remote-Addr": {"PEER"},
		}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	text := []string{"Content-Type", "text/plain; charset=utf-8", "X-Content-Type-Options", "nosniff", "Content-Length", "19"}
	none := rated(text...)
	moved := func(to string) http.Header { return http.Header{"Location": {to}, "Content-Length": {"0"}} }
	empty := rated("Content-Length", "0")
	for _, test := range []struct {
		request string
		status  int
		header  http.Header
		body    string
	}{
		{"GET /nonsense HTTP/1.1" + host, 404, none, "404 page not found\n"},
		{"GET /v3/" + webEID + "/task/ HTTP/1.1" + host, 404, none, "404 page not found\n"},
		{"GET /nonsense HTTP/1.1" + host + "\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2", 404, rated(append(text, "X-Rate-Limit-Request-Forwarded-For", "10.0.0.1, 10.0.0.2")...), "404 page not found\n"},
		{"GET /v2/credentials/a%0Ab HTTP/1.1" + host, 404, http.Header{"Content-Type": {text[1]}, "X-Content-Type-Options": {"nosniff"}, "Content-Length": {"19"}}, "404 page not found\n"},

		{"GET /v3///task/ HTTP/1.1" + host, 301, moved("/v3/task/"), ""},
		{"GET //v2//credentials/test HTTP/1.1" + host, 301, moved("/v2/credentials/test"), ""},
		{"GET //v2//credentials/abc?x=1 HTTP/1.1" + host, 301, moved("/v2/credentials/abc?x=1"), ""},
		{"GET /v2/credentials/../metadata HTTP/1.1" + host, 301, moved("/v2/metadata"), ""},
		{"GET /v2/./metadata/. HTTP/1.1" + host, 301, moved("/v2/metadata"), ""},
		{"GET /v2/credentials/..%2Fmetadata HTTP/1.1" + host, 301, moved("/v2/metadata"), ""},
		{"GET //nonsense%0A HTTP/1.1" + host, 301, moved("/nonsense%0A"), ""},
		{"GET /../../.. HTTP/1.1" + host, 301, moved("/"), ""},
		{"PUT /api//x HTTP/1.1" + host, 301, moved("/api/x"), ""},
		{"GET http://169.254.170.2/v3//task HTTP/1.1" + host, 301, moved("http://169.254.170.2/v3/task"), ""},
		{"GET http://169.254.170.2 HTTP/1.1" + host, 301, moved("http://169.254.170.2/"), ""},

		{"OPTIONS * HTTP/1.1" + host, 200, http.Header{"Content-Length": {"0"}}, ""},

		{"GET /api/" + webEID + "/fault/v1/network-latency/start HTTP/1.1" + host, 405, empty, ""},
		{"PUT /api/nobody/fault/v1/network-blackhole-port/status HTTP/1.1" + host, 405, empty, ""},
		{"POST " + statePath + " HTTP/1.1" + host, 405, empty, ""},
		{"DELETE " + statePath + " HTTP/1.1" + host, 405, empty, ""},
		{"OPTIONS " + statePath + " HTTP/1.1" + host, 405, empty, ""},
		{"HEAD " + statePath + " HTTP/1.1" + host, 405, rated(), ""},
		{"GET /v4/nobody HTTP/1.1" + host, 404, rated("Content-Type", "application/json", "Content-Length", "125"), unknownID("V4", "container metadata", "nobody")},
	} {
		response, body := onTheWire(t, address, test.request) //nolint:bodyclose // it is closed there
		name, _, _ := strings.Cut(test.request, "\r")
		if response.StatusCode != test.status || body != test.body {
			t.Errorf("%s: %d %q, want %d %q", name, response.StatusCode, body, test.status, test.body)
		}
		if diff := cmp.Diff(test.header, response.Header); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", name, diff)
		}
	}
}

// IMDS, STS and Pod Identity are not the agent's: nothing of theirs changes.
func TestStrictModeLeavesTheRestAlone(t *testing.T) {
	t.Parallel()
	service := newService(t, imds.Config{})
	a := newStrict(t, func(d *handlers.Deps) {
		d.IMDS, d.STS = service, stsFake{local.Errorf(local.Denied, "nobody has these keys")}
		d.TaskCredentials = rolesOf(containers(), "shop")
	})
	const other = "172.18.0.2"
	for _, row := range []struct {
		at, request string
		status      int
		agent       bool // it is the agent's answer
	}{
		{local.IMDSAddress, "GET /latest/meta-data/instance-id", 200, false},
		{local.IMDSAddress, "GET //latest//meta-data/instance-id/", 200, false},
		{local.IMDSAddress, "GET /v2/credentials/id-of-shop", 404, false},
		{other, "GET /latest/meta-data/instance-id", 200, false},
		{other, "GET //latest/./meta-data/instance-id", 200, false},
		{other, "GET /", 200, false},
		{other, "GET /v2/credentials/id-of-shop", 200, true},
		{other, "GET /creds", 404, true},
		{local.PodIdentityAddress, "GET /v1/credentials/", 200, false},
		{local.PodIdentityAddress, "POST /v1/credentials", 405, false},
		{local.PodIdentityAddress, "GET /v2/credentials/id-of-shop", 404, false},
		{local.ECSAddress, "GET /", 404, true},
		{local.ECSAddress, "GET /?Action=GetCallerIdentity&Version=2011-06-15", 403, false},
		{other, "POST /?Action=GetCallerIdentity&Version=2011-06-15", 403, false},
		{local.ECSAddress, "GET /latest/meta-data/instance-id", 404, true},
		{local.ECSAddress, "GET /v2/credentials/id-of-shop", 200, true},
	} {
		for range 70 { // more than the agent's burst
			method, path, _ := strings.Cut(row.request, " ")
			r := httptest.NewRequest(method, path, nil)
			r.RemoteAddr = "172.18.0.3:40000"
			r.Header.Set("Authorization", "anything")
			w := httptest.NewRecorder()
			a.handler.ServeHTTP(w, atAddress(r, row.at))
			if limited := w.Header()["X-Rate-Limit-Limit"] != nil; limited != row.agent {
				t.Fatalf("%s at %s: limited %v", row.request, row.at, limited)
			}
			if w.Code != row.status && !(row.agent && w.Code == http.StatusTooManyRequests) {
				t.Fatalf("%s at %s: %d, want %d", row.request, row.at, w.Code, row.status)
			}
		}
	}
	// "OPTIONS *" is the instance's at its own address.
	r := httptest.NewRequestWithContext(context.Background(), "OPTIONS", "*", nil)
	r.RemoteAddr = "172.18.0.3:40000"
	w := httptest.NewRecorder()
	newHandler(service, nopLog).ServeHTTP(w, atAddress(r, local.IMDSAddress))
	strict := httptest.NewRecorder()
	a.handler.ServeHTTP(strict, atAddress(r, local.IMDSAddress))
	if w.Code != strict.Code || w.Body.String() != strict.Body.String() {
		t.Errorf("got %d, want %d", strict.Code, w.Code)
	}
}
