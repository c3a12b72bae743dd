package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/protection"
)

// ControlDeps is what the control API needs.
type ControlDeps struct {
	Runtime Runtime
	// IMDS is the instance metadata service. Nil: there is none.
	IMDS *imds.Service
	// OnReset is called when POST /v1/reset has made the configuration all
	// there is, to add what else belongs to it. May be nil.
	OnReset func()
	// Status describes the process; it is asked at every request.
	Status func() Status
	// Ready returns the parts that must work, and nil or the reason for each.
	Ready func() map[string]error
	// TaskCredentials has the ids that GET /v1/tasks shows. May be nil.
	TaskCredentials TaskCredentials
	// Rotate drops the credentials that are kept: all, or with a role only its
	// own (of the zero Role: the developer's session). Nil: none are kept.
	Rotate func(ctx context.Context, role *local.Role) (Rotated, error)
	// MFA begins a session with a code of the developer's MFA device. Its
	// errors never hold the code. Nil: nothing waits for one.
	MFA func(ctx context.Context, code string) error
	// CA returns the certificate authority of the TLS listener as PEM, without
	// its key. Nil or empty: there is none.
	CA func() []byte
	// Protection is what Deps.Protection is. Nil: nothing is shown of it.
	Protection *protection.Store
	// Faults is what Deps.Faults is. Nil: nothing is shown of them.
	Faults *fault.Service
	// Metrics writes the metrics in the Prometheus text format. May be nil.
	Metrics      func(io.Writer)
	AllowedHosts []string
	Log          *slog.Logger
}

// Status is the answer of GET /v1/status. It holds no secret.
type Status struct {
	Version     string            `json:"version"`
	Started     time.Time         `json:"started"`
	Listen      map[string]string `json:"listen"` // what → address
	Runtime     string            `json:"runtime"`
	Containers  int               `json:"containers"`
	Tasks       int               `json:"tasks"`
	Region      string            `json:"region"` // what containers are told
	Strict      bool              `json:"strict"`
	Faults      string            `json:"faults"` // what network faults are: record or apply
	Credentials CredentialsStatus `json:"credentials"`
	Config      *ConfigStatus     `json:"config,omitempty"`
}

// CredentialsStatus says where credentials come from.
type CredentialsStatus struct {
	Mode     string    `json:"mode"`
	Identity string    `json:"identity,omitempty"` // ARN of the base credentials, once known
	Account  string    `json:"account,omitempty"`
	Error    string    `json:"error,omitempty"` // why none can be had, while that lasts
	Since    time.Time `json:"since,omitzero"`  // when Error came up or went away
	// Authorization says whether requests for credentials need a token,
	// Isolated whether a task's credentials are for its containers only, and
	// Expired whether what is handed out says that it is expired.
	Authorization bool `json:"authorization"`
	Isolated      bool `json:"isolated"`
	Expired       bool `json:"expired,omitempty"`
	// MFA is nil when the base credentials ask for no code.
	MFA *MFAStatus `json:"mfa,omitempty"`
}

// ConfigStatus says which configuration file is in force.
type ConfigStatus struct {
	File   string    `json:"file"`
	Loaded time.Time `json:"loaded"`
	Error  string    `json:"error,omitempty"` // why a newer version was refused
}

// readyDocument is the answer of GET /readyz.
type readyDocument struct {
	Ready bool                 `json:"ready"`
	Parts map[string]readyPart `json:"parts"`
}

type readyPart struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

// controlError is an error of the control API.
type controlError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

var controlDialect = dialect{
	family: "control",
	status: httpStatus,
	body:   func(_ int, err error) any { return controlError{Code: errorName(err), Message: local.MessageOf(err)} },
}

// taskDocument is one task of GET /v1/tasks.
type taskDocument struct {
	Name       string              `json:"name"`
	ARN        string              `json:"arn"`
	Cluster    string              `json:"cluster"`
	Family     string              `json:"family"`
	Revision   string              `json:"revision"`
	Containers []containerDocument `json:"containers"`
	// Credentials has the path of each of the task's roles, by its type.
	Credentials map[string]string `json:"credentials,omitempty"`
}

type containerDocument struct {
	Name       string            `json:"name"`
	Service    string            `json:"service,omitempty"` // of Compose
	DockerName string            `json:"dockerName"`
	ID         string            `json:"id"`
	EndpointID string            `json:"endpointId"`
	State      string            `json:"state"`
	Addresses  map[string]string `json:"addresses,omitempty"` // network → address
	// The variables that the agent gives to the container.
	Environment map[string]string `json:"environment"`
}

type control struct {
	*server
	deps ControlDeps
}

// NewControl returns the handler of the control listener. It refuses callers
// that are containers of a task.
func NewControl(d ControlDeps) http.Handler {
	c := &control{server: &server{runtime: d.Runtime, log: d.Log}, deps: d}
	return c.guard(controlDialect.family, d.AllowedHosts, c.outsiders(tidyPath(c.router())))
}

// router is the route table of the control API.
func (c *control) router() *mux.Router {
	r := mux.NewRouter().SkipClean(true)

	r.Handle("/healthz", c.get(c.health))
	r.Handle("/readyz", http.HandlerFunc(c.ready))
	r.Handle("/metrics", http.HandlerFunc(c.metrics))
	r.Handle("/v1/status", c.get(c.status))
	r.Handle("/v1/tasks", c.get(c.tasks))

	r.Handle("/v1/credentials/rotate", c.on(verb{http.MethodPost, c.rotate}))
	r.Handle("/v1/credentials/mfa", c.on(verb{http.MethodPost, c.mfa}))
	r.Handle("/v1/tls/ca", c.get(c.ca))

	r.Handle("/v1/imds/options", c.on(verb{http.MethodGet, c.instance(imdsOptions)}, verb{http.MethodPatch, c.instance(setIMDSOptions)}))
	r.Handle("/v1/imds/values/{path:.+}", c.on(verb{http.MethodGet, c.instance(imdsValue)},
		verb{http.MethodPut, c.instance(setIMDSValue)}, verb{http.MethodDelete, c.instance(removeIMDSValue)}))
	r.Handle("/v1/namespaces", c.get(c.instance(namespaces)))
	const entry = "/v1/namespaces/{namespace}/credentials/{taskId:[^-/]+}-{roleType}"
	r.Handle(entry, c.on(verb{http.MethodPut, c.instance(putTaskRole)}, verb{http.MethodDelete, c.instance(deleteTaskRole)}))
	r.Handle(entry+"/rotate", c.on(verb{http.MethodPost, c.instance(rotateTaskRole)}))
	r.Handle("/v1/protection", c.on(verb{http.MethodGet, c.protections}, verb{http.MethodPut, c.refuseAll}))
	r.Handle("/v1/protection/{task:.+}", c.on(verb{http.MethodPut, c.putProtection}))
	r.Handle("/v1/faults/network", c.get(c.networkFaults))
	r.Handle("/v1/reset", c.on(verb{http.MethodPost, c.instance(c.reset)}))

	r.NotFoundHandler = http.HandlerFunc(c.nothing)
	return r
}

// nothing answers every method on a path that does not exist.
func (c *control) nothing(w http.ResponseWriter, r *http.Request) {
	c.answer(w, r, controlDialect, record{family: controlDialect.family, route: "none"}, time.Now(), nil,
		local.Errorf(local.NotFound, "there is nothing at this path: see docs/endpoints.md for the paths of the control API"))
}

// outsiders refuses the containers that ecs-local serves: they must not steer
// what they are given. Nobody else has a link-local address, or one on their
// networks, but the machine, whose addresses there are known.
func (c *control) outsiders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		who, err := c.insider(r)
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		status := httpStatus(local.CodeOf(err))
		writeBody(w, r, status, "application/json", mustEncode(controlDialect.body(status, err)))
		c.logRefusal(r, controlDialect.family, who, status, begun, local.MessageOf(err))
	})
}

// insider returns an error for a caller that is a container of a task, or may
// be one.
func (c *control) insider(r *http.Request) (local.Caller, error) {
	addr, err := remote(r)
	if err != nil || addr.IsLoopback() {
		return local.Caller{}, nil
	}
	who, unknown := c.caller(r)
	dir, _ := c.runtime.Current()
	if !dir.HasAddresses() && !dir.HasContainerAt(addr) {
		// Who is taken for the container that is configured may as well be the
		// host, through a published port.
		return local.Caller{}, nil
	}
	if unknown == nil || local.CodeOf(unknown) == local.Ambiguous {
		return who, local.Errorf(local.Denied, "the control API does not answer containers of a task%s: call it from the host", named(who))
	}
	switch {
	case dir.IsHost(addr), addr.WithZone("") == arrivedAt(r).WithZone(""):
		return local.Caller{}, nil
	case dir.IsNeighbour(addr):
		return local.Caller{}, local.Errorf(local.Denied,
			"the control API does not answer containers of a task, and %s is an address on their networks: call it from the host, by a port that is published on 127.0.0.1", addr)
	case away(unknown):
		return local.Caller{}, &local.Error{Code: local.CodeOf(unknown), Err: unknown,
			Msg: "the control API does not answer containers of a task, and whether " + addr.String() + " is one cannot be told: " + local.MessageOf(unknown)}
	default:
		return local.Caller{}, nil
	}
}

func named(who local.Caller) string {
	if who.Container == nil {
		return ""
	}
	return " (you are " + who.Container.DockerName + ")"
}

// verb is a method of a path.
type verb struct {
	method string
	answer func(*http.Request) (any, error)
}

// get serves what answers GET and HEAD only.
func (c *control) get(answer func(*http.Request) (any, error)) http.Handler {
	return c.on(verb{http.MethodGet, answer})
}

// on serves a path. HEAD goes where GET goes.
func (c *control) on(verbs ...verb) http.Handler {
	var names, allow []string
	for _, v := range verbs {
		names, allow = append(names, v.method), append(allow, v.method)
		if v.method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := record{family: controlDialect.family, route: routeOf(r)}
		for _, v := range verbs {
			if r.Method == v.method || r.Method == http.MethodHead && v.method == http.MethodGet {
				result, err := v.answer(r)
				c.answer(w, r, controlDialect, rec, begun, result, err)
				return
			}
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		writeBody(w, r, http.StatusMethodNotAllowed, "application/json", mustEncode(controlError{
			Code: "MethodNotAllowed", Message: r.Method + " is not allowed here: use " + strings.Join(names, " or "),
		}))
		c.logRequest(r, rec, http.StatusMethodNotAllowed, begun, nil)
	})
}

// health serves GET /healthz: the process answers.
func (c *control) health(*http.Request) (any, error) {
	return map[string]string{"status": "ok"}, nil
}

// ready serves GET /readyz: 200 when every part works, else 503 with the
// reason for each part that does not.
func (c *control) ready(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	doc := readyDocument{Ready: true, Parts: map[string]readyPart{}}
	for name, err := range c.deps.Ready() {
		part := readyPart{Ready: err == nil}
		if err != nil {
			doc.Ready = false
			part.Reason = local.MessageOf(err)
		}
		doc.Parts[name] = part
	}
	status := http.StatusOK
	if !doc.Ready {
		status = http.StatusServiceUnavailable
	}
	writeBody(w, r, status, "application/json", mustEncode(doc))
	c.logRequest(r, record{family: controlDialect.family, route: routeOf(r), routine: true}, status, begun, nil)
}

// metrics serves GET /metrics.
// https://prometheus.io/docs/instrumenting/exposition_formats/
func (c *control) metrics(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	var body bytes.Buffer
	if c.deps.Metrics != nil {
		c.deps.Metrics(&body)
	}
	writeBody(w, r, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", body.Bytes())
	c.logRequest(r, record{family: controlDialect.family, route: routeOf(r), routine: true}, http.StatusOK, begun, nil)
}

// status serves GET /v1/status.
func (c *control) status(*http.Request) (any, error) {
	dir, _ := c.runtime.Current()
	status := c.deps.Status()
	status.Containers, status.Tasks = len(dir.Containers()), len(dir.Tasks())
	return status, nil
}

// tasks serves GET /v1/tasks: which containers form which task, and how to ask
// for each.
func (c *control) tasks(*http.Request) (any, error) {
	dir, _ := c.runtime.Current()
	docs := make([]taskDocument, 0, len(dir.Tasks()))
	for _, t := range dir.Tasks() {
		doc := taskDocument{Name: t.Name, ARN: t.ARN, Cluster: t.Cluster, Family: t.Family, Revision: t.Revision,
			Containers: make([]containerDocument, 0, len(t.Containers))}
		for _, member := range t.Containers {
			doc.Containers = append(doc.Containers, describe(member, t))
		}
		c.addCredentials(&doc, t)
		docs = append(docs, doc)
	}
	return docs, nil
}

// addCredentials says where a task's credentials are. Its containers are told
// about the task role, as the agent tells them.
func (c *control) addCredentials(doc *taskDocument, t *local.Task) {
	if c.deps.TaskCredentials == nil {
		return
	}
	for _, roleType := range []string{taskApplication, taskExecution} {
		id := c.deps.TaskCredentials.ID(t, roleType)
		if id == "" {
			continue
		}
		if doc.Credentials == nil {
			doc.Credentials = map[string]string{}
		}
		doc.Credentials[roleType] = credentialsPath(id)
		if roleType == taskApplication {
			for _, member := range doc.Containers {
				member.Environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = credentialsPath(id)
			}
		}
	}
}

func describe(c *local.Container, t *local.Task) containerDocument {
	doc := containerDocument{
		Name: c.Name, Service: c.Service, DockerName: c.DockerName, ID: c.ID, EndpointID: c.EndpointID, State: string(c.State),
		Addresses: map[string]string{}, Environment: environmentOf(c, t),
	}
	for _, n := range c.Networks {
		if n.IPv4.IsValid() {
			doc.Addresses[n.Name] = n.IPv4.String()
		}
	}
	return doc
}

// mustEncode encodes a value of this package that cannot fail to encode.
func mustEncode(v any) document {
	body, err := json.Marshal(v)
	if err != nil {
		return document("{}")
	}
	return body
}
