package handlers_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
	"github.com/ecs-local/ecs-local/local/metadata"
	"github.com/ecs-local/ecs-local/local/protection"
)

// agent is a handler of the agent API over fakes, and the control API beside
// it.
type agent struct {
	t          *testing.T
	runtime    *runtimeFake
	protection *protection.Store
	faults     *fault.Service
	handler    http.Handler
	control    http.Handler
}

func newAgent(t *testing.T, strict bool, cs ...*local.Container) *agent {
	t.Helper()
	a := &agent{t: t, runtime: &runtimeFake{}, protection: protection.New(), faults: fault.New(fault.Options{})}
	if cs == nil {
		cs = containers()
	}
	a.runtime.dir.Store(local.NewDirectory(cs, selfID, local.Facts{}))
	log := slog.New(slog.DiscardHandler)
	a.handler = onceOnly{t, handlers.New(handlers.Deps{
		Runtime: a.runtime, Credentials: &credentialsFake{}, Documents: metadata.New(metadata.Options{}),
		Protection: a.protection, Faults: a.faults, Strict: strict, Log: log,
	})}
	a.control = onceOnly{t, handlers.NewControl(handlers.ControlDeps{
		Runtime: a.runtime, Protection: a.protection, Faults: a.faults, Log: log,
		Ready: func() map[string]error { return nil }, Status: func() handlers.Status { return handlers.Status{} },
	})}
	return a
}

// send sends "METHOD path body" to a handler, from shop's web unless from says
// otherwise.
func (a *agent) send(h http.Handler, from, request string) *httptest.ResponseRecorder {
	a.t.Helper()
	part := append(strings.SplitN(request, " ", 3), "")
	r := httptest.NewRequest(part[0], part[1], strings.NewReader(part[2]))
	r.Host, r.RemoteAddr = local.ECSAddress, "172.18.0.3:40000"
	if from != "" {
		r.RemoteAddr = from + ":40000"
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// agentCall is a request and what must come back: status and body.
type agentCall struct{ request, want string }

var requestID = regexp.MustCompile(`"requestID":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"`)

// answer is status and body of a response, with one request id for all.
func answer(w *httptest.ResponseRecorder) string {
	return fmt.Sprint(w.Code, " ", requestID.ReplaceAllString(w.Body.String(), `"requestID":"REQUEST"`))
}

func (a *agent) check(exchanges []agentCall) {
	a.t.Helper()
	for _, e := range exchanges {
		w := a.send(a.handler, "", e.request)
		if diff := cmp.Diff(e.want, answer(w)); diff != "" {
			a.t.Errorf("%s (-want +got):\n%s", e.request, diff)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			a.t.Errorf("%s: Content-Type %q", e.request, got)
		}
	}
}

// standalone are the containers of a task that no service started, with faults
// turned off.
func standalone() []*local.Container {
	c := container(webID, "shop", "web", "172.18.0.3", local.Running)
	c.Labels = map[string]string{local.LabelServiceTask: "false", local.LabelFaultInjection: "false"}
	return []*local.Container{c}
}

var (
	shopARN   = "arn:aws:ecs:us-east-1:000000000000:task/ecs-local/" + local.TaskID("shop")
	statePath = "/api/" + local.EndpointID(webID) + "/task-protection/v1/state"
)

// Every answer of the agent about task protection that a local task can get.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
func TestTaskProtectionAnswersAsTheAgentChecks16And17(t *testing.T) {
	t.Parallel()
	const (
		unknownPath = "/api/00000000-0000-4000-8000-000000000000/task-protection/v1/state"
		unknown     = `404 {"error":{"Code":"ResourceNotFoundException","Message":"Failed to find a task for the request"}}`
		undecoded   = `400 {"error":{"Code":"InvalidParameterException","Message":"UpdateTaskProtection: failed to decode request"}}`
	)
	off := `200 {"protection":{"ExpirationDate":null,"ProtectionEnabled":false,"TaskArn":"` + shopARN + `"}}`
	noField := `400 {"error":{"Arn":"` + shopARN + `","Code":"InvalidParameterException","Message":"Invalid request: does not contain 'ProtectionEnabled' field"}}`
	badMinutes := `400 {"requestID":"REQUEST","error":{"Arn":"` + shopARN + `","Code":"InvalidParameterException","Message":"expiresInMinutes must be between 1 and 2880"}}`
	notValid := `200 {"failure":{"Arn":"` + shopARN + `","Detail":null,"Reason":"TASK_NOT_VALID"}}`
	noRole := `403 {"error":{"Arn":"` + shopARN + `","Code":"AccessDeniedException","Message":"Invalid Request: no task IAM role credentials available for task"}}`
	refused := func(status int, code, message string) string {
		return fmt.Sprint(status, ` {"requestID":"REQUEST","error":{"Arn":"`+shopARN+`","Code":"`+code+`","Message":"`+message+`"}}`)
	}
	timedOut := `504 {"error":{"Arn":"` + shopARN + `","Code":"RequestCanceled","Message":"Timed out calling ECS Task Protection API"}}`
	put := "PUT " + statePath + " "

	for _, test := range []struct {
		name       string
		strict     bool
		containers []*local.Container
		refuse     protection.Refusal
		exchanges  []agentCall
	}{
		{name: "an unprotected task", exchanges: []agentCall{{"GET " + statePath, off}, {put + `{"ProtectionEnabled":false}`, off}}},
		{name: "an unknown endpoint id", exchanges: []agentCall{{"GET " + unknownPath, unknown}, {"PUT " + unknownPath + ` {"ProtectionEnabled":true}`, unknown}, {"PUT " + unknownPath + " {}", unknown}}},
		{name: "what cannot be decoded, even for an unknown endpoint id", exchanges: []agentCall{
			{"PUT " + unknownPath + ` {"ProtectionEnabled":true,"Colour":"red"}`, undecoded},
			{put + `{"ProtectionEnabled":true,"Colour":"red"}`, undecoded},
			{put + `{"ProtectionEnabled":"true"}`, undecoded},
			{put + `{"ProtectionEnabled":true,"ExpiresInMinutes":1.5}`, undecoded},
			{put + `{"ProtectionEnabled":true,"ExpiresInMinutes":"60"}`, undecoded},
			{put + `{"ProtectionEnabled":true,"ExpiresInMinutes":9223372036854775808}`, undecoded},
			{put + `[]`, undecoded}, {put + `{`, undecoded}, {put, undecoded}, {put + `{"ProtectionEnabled":` + strings.Repeat(" ", 70<<10) + `true}`, undecoded},
		}},
		{name: "ProtectionEnabled is missing", exchanges: []agentCall{
			{put + `{}`, noField}, {put + `null`, noField}, {put + `{"ProtectionEnabled":null}`, noField}, {put + `{"ExpiresInMinutes":0}`, noField},
		}},
		{name: "minutes out of bounds", exchanges: []agentCall{
			{put + `{"ProtectionEnabled":true,"ExpiresInMinutes":0}`, badMinutes}, {put + `{"ProtectionEnabled":true,"ExpiresInMinutes":2881}`, badMinutes},
			{put + `{"ProtectionEnabled":true,"ExpiresInMinutes":4294967301}`, badMinutes}, {put + `{"ProtectionEnabled":false,"ExpiresInMinutes":0}`, off},
		}},
		{name: "keys in any case, more after the object", exchanges: []agentCall{{put + `{"protectionenabled":false} trailing`, off}}},
		{name: "a task that no service started", containers: standalone(), exchanges: []agentCall{
			{"GET " + statePath, notValid}, {put + `{"ProtectionEnabled":true}`, notValid}, {put + `{"ProtectionEnabled":true,"ExpiresInMinutes":0}`, badMinutes},
		}},
		{name: "a task without a role, strictly", strict: true, exchanges: []agentCall{
			{"GET " + statePath, noRole}, {put + `{"ProtectionEnabled":true}`, noRole}, {put + `{}`, noField},
		}},
		{name: "no credentials", refuse: protection.NoCredentials, exchanges: []agentCall{{"GET " + statePath, noRole}, {put + `{"ProtectionEnabled":true}`, noRole}}},
		{name: "throttled", refuse: protection.Throttled, exchanges: []agentCall{
			{"GET " + statePath, refused(400, "ThrottlingException", "Rate exceeded")},
			{put + `{"ProtectionEnabled":true}`, refused(400, "ThrottlingException", "Rate exceeded")},
			{put + `{}`, noField}, {"GET " + unknownPath, unknown},
		}},
		{name: "access denied", refuse: protection.AccessDenied, exchanges: []agentCall{
			{"GET " + statePath, refused(400, "AccessDeniedException", "User is not authorized to perform: ecs:GetTaskProtection")},
			{put + `{"ProtectionEnabled":true}`, refused(400, "AccessDeniedException", "User is not authorized to perform: ecs:UpdateTaskProtection")},
		}},
		{name: "timed out", refuse: protection.TimedOut, exchanges: []agentCall{{"GET " + statePath, timedOut}, {put + `{"ProtectionEnabled":true}`, timedOut}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t, test.strict, test.containers...)
				if test.refuse != "" {
					a.protection.Refuse("", test.refuse)
				}
				a.check(test.exchanges)
				if a.protection.State(shopARN).Enabled {
					t.Error("the task is protected")
				}
			})
		})
	}
}

// Protection from its beginning to its end, byte for byte.
func TestTaskProtectionLasts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, false)
		until := func(date string) string {
			return `200 {"protection":{"ExpirationDate":"` + date + `","ProtectionEnabled":true,"TaskArn":"` + shopARN + `"}}`
		}
		off := `200 {"protection":{"ExpirationDate":null,"ProtectionEnabled":false,"TaskArn":"` + shopARN + `"}}`
		// Time begins at midnight of the first day of 2000 in a synctest bubble.
		time.Sleep(500 * time.Millisecond)
		a.check([]agentCall{{"PUT " + statePath + ` {"ProtectionEnabled":true}`, until("2000-01-01T02:00:00.5Z")}})
		time.Sleep(time.Hour)
		a.check([]agentCall{
			{"GET " + statePath, until("2000-01-01T02:00:00.5Z")},
			{"GET /api/task-protection/v1/state", until("2000-01-01T02:00:00.5Z")},
			{"GET /api/containers/shop-redis-1/task-protection/v1/state", until("2000-01-01T02:00:00.5Z")},
			{"GET /api/shop-web-1/task-protection/v1/state/", until("2000-01-01T02:00:00.5Z")},
			{"PUT " + statePath + ` {"ProtectionEnabled":true,"ExpiresInMinutes":1}`, until("2000-01-01T01:01:00.5Z")},
		})
		time.Sleep(time.Minute)
		a.check([]agentCall{
			{"GET " + statePath, off},
			{"PUT " + statePath + ` {"ProtectionEnabled":true,"ExpiresInMinutes":2880}`, until("2000-01-03T01:01:00.5Z")},
			{"PUT " + statePath + ` {"ProtectionEnabled":false,"ExpiresInMinutes":60}`, off},
			{"GET " + statePath, off},
		})
		if other := answer(a.send(a.handler, "172.18.0.4", "GET /api/task-protection/v1/state")); !strings.Contains(other, local.TaskID("blog")) {
			t.Errorf("the other project's container got %s", other)
		}
	})
}

// A method that the agent does not have gets an empty answer without Allow.
func TestAgentAPIMethodsCheck2(t *testing.T) {
	t.Parallel()
	a := newAgent(t, false)
	for _, request := range []string{
		"POST " + statePath, "DELETE " + statePath, "HEAD " + statePath, "OPTIONS " + statePath, "PATCH /api/nobody/task-protection/v1/state",
		"GET /api/x/fault/v1/network-latency/status", "PUT /api/x/fault/v1/network-latency/start", "HEAD /api/fault/v1/network-packet-loss/stop",
	} {
		w := a.send(a.handler, "", request)
		if w.Code != http.StatusMethodNotAllowed || w.Body.Len() != 0 || len(w.Header()) != 0 {
			t.Errorf("%s: status %d, headers %v, body %q", request, w.Code, w.Header(), w.Body)
		}
	}
	for _, request := range []string{"GET /api", "GET /api/x/task-protection/v1", "POST /api/x/fault/v1/network-latency", "POST /api/x/fault/v1/network-jam/start", "POST /api/x/fault/v1/network-latency/restart"} {
		if got, want := answer(a.send(a.handler, "", request)), "404 404 page not found\n"; got != want {
			t.Errorf("%s: %q", request, got)
		}
	}
}

// A caller that is no container is told what to do: that cannot happen on ECS.
func TestAgentAPIForUnknownCallers(t *testing.T) {
	t.Parallel()
	a := newAgent(t, false)
	for request, want := range map[string]string{
		"GET /api/task-protection/v1/state":           `404 {"error":{"Code":"ResourceNotFoundException","Message":"no container has the address 172.18.0.99`,
		"POST /api/fault/v1/network-latency/status":   `404 {"Error":"no container has the address 172.18.0.99`,
		"GET /api/web/task-protection/v1/state":       `400 {"error":{"Code":"InvalidParameterException","Message":"\"web\" names 2 containers`,
		"POST /api/web/fault/v1/network-latency/stop": `400 {"Error":"\"web\" names 2 containers`,
	} {
		got := answer(a.send(a.handler, "172.18.0.99", request))
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", request, got)
		}
		if !strings.Contains(request, "web") && !strings.Contains(got, "/api/containers/NAME") {
			t.Errorf("%s does not say what to do: %s", request, got)
		}
	}
	a.runtime.stale.Store(true)
	a.runtime.refresh = func() (*local.Directory, error) {
		return nil, local.Errorf(local.Unavailable, "Docker does not answer: start it")
	}
	for request, want := range map[string]string{
		"GET /api/nobody/task-protection/v1/state":         `500 {"error":{"Code":"ServerException","Message":"Docker does not answer: start it"}}`,
		"POST /api/nobody/fault/v1/network-latency/status": `503 {"Error":"Docker does not answer: start it"}`,
	} {
		if got := answer(a.send(a.handler, "", request)); got != want {
			t.Errorf("%s: %s", request, got)
		}
	}
}

// The answers of the agent about faults: the body comes first, then the task,
// then what runs already.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fault-injection.html
func TestFaultsAnswerAsTheAgentChecks19And20(t *testing.T) {
	t.Parallel()
	const (
		hole    = `{"Port":6379,"Protocol":"tcp","TrafficType":"egress"}`
		latency = `{"DelayMilliseconds":200,"JitterMilliseconds":20,"Sources":["10.0.3.0/24"]}`
		loss    = `{"LossPercent":5,"Sources":["0.0.0.0/0"]}`
		running = `200 {"Status":"running"}`
		stopped = `200 {"Status":"stopped"}`
		not     = `200 {"Status":"not-running"}`
		missing = `400 {"Error":"required request body is missing"}`
		unknown = `404 {"Error":"unable to get task arn from request: unable to get task Arn from v3 endpoint ID: nobody"}`
		none    = "POST /api/nobody/fault/v1/"
	)
	at := "POST /api/" + local.EndpointID(webID) + "/fault/v1/"
	disabled := `400 {"Error":"enableFaultInjection is not enabled for task: ` + shopARN + `"}`
	for _, test := range []struct {
		name       string
		containers []*local.Container
		exchanges  []agentCall
	}{
		{"a black hole", nil, []agentCall{
			{at + "network-blackhole-port/status " + hole, not},
			{at + "network-blackhole-port/start " + hole, running},
			{at + "network-blackhole-port/start " + hole, running},
			{"POST /api/fault/v1/network-blackhole-port/status " + hole, running},
			{"POST /api/containers/shop-redis-1/fault/v1/network-blackhole-port/status " + hole, running},
			{"POST /api/containers/blog-web-1/fault/v1/network-blackhole-port/status " + hole, not},
			{at + "network-blackhole-port/stop " + hole, stopped},
			{at + "network-blackhole-port/stop " + hole, stopped},
			{at + "network-blackhole-port/status " + hole, not},
		}},
		{"latency and a loss", nil, []agentCall{
			{at + "network-latency/start " + latency, running},
			{at + "network-latency/start " + latency, `409 {"Error":"There is already one network latency fault running"}`},
			{at + "network-packet-loss/start " + loss, `409 {"Error":"There is already one network latency fault running"}`},
			{at + "network-packet-loss/status", not},
			{at + "network-packet-loss/stop", stopped},
			{at + "network-latency/status {broken", running},
			{at + "network-latency/stop", stopped},
			{at + "network-latency/status", not},
			{at + "network-packet-loss/start " + loss, running},
			{at + "network-latency/start " + latency, `409 {"Error":"There is already one network packet loss fault running"}`},
			{at + "network-packet-loss/start " + loss, `409 {"Error":"There is already one network packet loss fault running"}`},
		}},
		{"the body comes before the task", standalone(), []agentCall{
			{none + "network-blackhole-port/start", missing}, {none + "network-blackhole-port/stop", missing}, {none + "network-blackhole-port/status", missing},
			{none + "network-latency/start", missing}, {none + "network-packet-loss/start", missing},
			{at + "network-packet-loss/start {}", `400 {"Error":"required parameter LossPercent is missing"}`},
			{at + "network-latency/start []", `400 {"Error":"json: cannot unmarshal array into Go value of type types.NetworkLatencyRequest"}`},
		}},
		{"an unknown endpoint id", nil, []agentCall{
			{none + "network-blackhole-port/start " + hole, unknown}, {none + "network-latency/stop", unknown}, {none + "network-packet-loss/status", unknown},
		}},
		{"faults are off", standalone(), []agentCall{
			{at + "network-blackhole-port/start " + hole, disabled}, {at + "network-latency/stop", disabled}, {at + "network-packet-loss/status", disabled},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAgent(t, false, test.containers...)
			a.t = t
			a.check(test.exchanges)
		})
	}
}

// The agent's error names the endpoint id, also of a caller that did not send it.
func TestARefusedFaultNamesTheEndpoint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := f.with(handlers.Deps{Faults: fault.New(fault.Options{Bridge: fault.BridgeBroken})})
	for _, path := range []string{"/api/fault/v1/", "/api/" + local.EndpointID(webID) + "/fault/v1/"} {
		f.check(h, []call{{path: path + "network-latency/status", method: http.MethodPost, status: 500,
			body: `{"Error":"failed to get task metadata due to internal server error for container: ` + local.EndpointID(webID) + `"}`}})
	}
}

// What v4 says about faults is what the endpoints do.
func TestFaultInjectionEnabledIsTrue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		containers []*local.Container
		enabled    string
		status     int
	}{{nil, "true", http.StatusOK}, {standalone(), "false", http.StatusBadRequest}} {
		a := newAgent(t, false, test.containers...)
		if doc := a.send(a.handler, "", "GET /v4/task").Body.String(); !strings.Contains(doc, `"FaultInjectionEnabled":`+test.enabled) {
			t.Errorf("want %s, got %s", test.enabled, doc)
		}
		if w := a.send(a.handler, "", "POST /api/fault/v1/network-latency/status"); w.Code != test.status {
			t.Errorf("status %d, want %d", w.Code, test.status)
		}
	}
}

func TestFaultsAreNotLimitedUnlessStrict(t *testing.T) {
	t.Parallel()
	a := newAgent(t, false)
	for range 50 {
		w := a.send(a.handler, "", "POST /api/fault/v1/network-latency/status")
		if w.Code != http.StatusOK || w.Header()["X-Rate-Limit-Limit"] != nil {
			t.Fatalf("status %d, headers %v", w.Code, w.Header())
		}
	}
}

// The control API shows and sets what the agent API serves. The bodies are in a
// golden file.
func TestControlOfTheAgentAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, false)
		var got strings.Builder
		step := func(h http.Handler, from, request string) {
			t.Helper()
			w := a.send(h, from, request)
			if kind := w.Header().Get("Content-Type"); kind != "application/json" {
				t.Errorf("%s: Content-Type %q", request, kind)
			}
			fmt.Fprintf(&got, "%s\n%s\n\n", request, answer(w))
		}
		const host = "127.0.0.1"
		for _, request := range []string{
			"GET /v1/protection",
			`PUT /v1/protection/shop {"protectionEnabled":true,"expiresInMinutes":60}`,
			`PUT /v1/protection/` + local.TaskID("blog") + ` {"refuse":"throttled"}`,
			`PUT /v1/protection/` + shopARN + ` {"protectionEnabled":true,"refuse":"access-denied"}`,
			"GET /v1/protection",
			`PUT /v1/protection/shop {"protectionEnabled":false}`,
			`PUT /v1/protection {"refuse":"timeout"}`,
			`PUT /v1/protection {"refuse":"none"}`,
			`PUT /v1/protection {"refuse":"politely"}`,
			`PUT /v1/protection {}`,
			`PUT /v1/protection/shop {}`,
			`PUT /v1/protection/shop {"expiresInMinutes":5,"refuse":"none"}`,
			`PUT /v1/protection/shop {"protectionEnabled":true,"expiresInMinutes":0}`,
			`PUT /v1/protection/shop {"protectionEnabled":true,"refuse":"politely"}`,
			`PUT /v1/protection/shop {"Colour":"red"}`,
			`PUT /v1/protection/nobody {"refuse":"none"}`,
			`DELETE /v1/protection/shop`,
			`PUT /v1/protection {"refuse":`,
			"GET /v1/faults/network",
		} {
			step(a.control, host, request)
		}
		step(a.handler, "", `POST /api/fault/v1/network-blackhole-port/start {"Port":80,"Protocol":"tcp","TrafficType":"egress","SourcesToFilter":["10.0.2.2"]}`)
		step(a.handler, "", `POST /api/fault/v1/network-latency/start {"DelayMilliseconds":200,"JitterMilliseconds":0,"Sources":["10.0.3.0/24"],"FlowsPercent":50}`)
		step(a.handler, "172.18.0.4", `POST /api/fault/v1/network-packet-loss/start {"LossPercent":5,"Sources":["0.0.0.0/0"]}`)
		step(a.control, host, "GET /v1/faults/network")

		if w := a.send(a.control, "172.18.0.3", "GET /v1/protection"); w.Code != http.StatusForbidden {
			t.Errorf("a container of a task got %d", w.Code)
		}
		golden(t, "control-agent", got.String())
	})
}

func TestControlWithoutTheAgentAPI(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.check(f.control, []call{
		{path: "/v1/protection", from: "127.0.0.1", status: 404, contains: `"code":"NotFound"`},
		{path: "/v1/protection", method: http.MethodPut, from: "127.0.0.1", status: 404, contains: `"code":"NotFound"`},
		{path: "/v1/protection/shop", method: http.MethodPut, from: "127.0.0.1", status: 404, contains: `"code":"NotFound"`},
		{path: "/v1/faults/network", from: "127.0.0.1", status: 404, contains: `"code":"NotFound"`},
	})
	// The agent API itself needs nothing to be handed in.
	f.check(f.handler, []call{
		{path: statePath, status: 200, contains: `"ProtectionEnabled":false`},
		{path: "/api/fault/v1/network-latency/status", method: http.MethodPost, status: 200, body: `{"Status":"not-running"}`},
	})
}

// TASK_ARN gives all tasks one ARN.
func TestControlAsksWhichTaskAnARNMeans(t *testing.T) {
	t.Parallel()
	a := newAgent(t, false)
	a.runtime.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{TaskARN: shopARN}))
	got := answer(a.send(a.control, "127.0.0.1", "PUT /v1/protection/"+shopARN+` {"protectionEnabled":true}`))
	if want := "means 2 tasks: GET /v1/protection shows their names"; !strings.Contains(got, want) || !strings.HasPrefix(got, "400 ") {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestControlRefusesToProtectATaskOfNoService(t *testing.T) {
	t.Parallel()
	a := newAgent(t, false, standalone()...)
	got := answer(a.send(a.control, "127.0.0.1", `PUT /v1/protection/shop {"protectionEnabled":true}`))
	want := `400 {"code":"Invalid","message":"no service started task \"shop\", so it cannot be protected: remove the label ecs-local.service-task from its containers"}`
	if got != want {
		t.Errorf("got %s", got)
	}
}

// golden compares a text with testdata/<name>.golden.txt.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: make it with go test ./handlers -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
