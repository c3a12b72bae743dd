package handlers

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
	"github.com/ecs-local/ecs-local/local/protection"
)

// protectionOf is the scale-in protection of one task, as GET /v1/protection
// shows it.
type protectionOf struct {
	Task              string             `json:"task"`
	TaskARN           string             `json:"taskArn"`
	ServiceTask       bool               `json:"serviceTask"` // else it cannot be protected
	ProtectionEnabled bool               `json:"protectionEnabled"`
	ExpirationDate    *time.Time         `json:"expirationDate"` // null without protection
	Refuse            protection.Refusal `json:"refuse"`
}

// protections serves GET /v1/protection.
func (c *control) protections(*http.Request) (any, error) {
	if c.deps.Protection == nil {
		return nil, errNoAgentAPI
	}
	dir, _ := c.runtime.Current()
	docs := make([]protectionOf, 0, len(dir.Tasks()))
	for _, task := range dir.Tasks() {
		docs = append(docs, c.protectionOf(task))
	}
	return docs, nil
}

func (c *control) protectionOf(task *local.Task) protectionOf {
	state := c.deps.Protection.State(task.ARN)
	doc := protectionOf{Task: task.Name, TaskARN: task.ARN, ServiceTask: !task.Standalone,
		ProtectionEnabled: state.Enabled, Refuse: c.deps.Protection.Refusal(task.ARN)}
	if state.Enabled {
		doc.ExpirationDate = &state.Expires
	}
	return doc
}

// errNoAgentAPI is the answer of a control API that knows nothing of the agent
// API.
var errNoAgentAPI = local.Errorf(local.NotFound, "this control API knows of no agent API: ask that of the ecs-local which serves the tasks")

// protectionChange is the body of PUT /v1/protection/{task}.
type protectionChange struct {
	ProtectionEnabled *bool               `json:"protectionEnabled"`
	ExpiresInMinutes  *int64              `json:"expiresInMinutes"`
	Refuse            *protection.Refusal `json:"refuse"`
}

// putProtection serves PUT /v1/protection/{task}: the task is protected, or no
// longer, whatever it is refused; or what it asks for is refused from now on.
func (c *control) putProtection(r *http.Request) (any, error) {
	if c.deps.Protection == nil {
		return nil, errNoAgentAPI
	}
	const example = `{"protectionEnabled": true, "expiresInMinutes": 60}, {"protectionEnabled": false}, or `
	var change protectionChange
	if err := readJSON(r, &change, example+refuseExample()); err != nil {
		return nil, err
	}
	if change.ProtectionEnabled == nil && (change.Refuse == nil || change.ExpiresInMinutes != nil) {
		return nil, local.Errorf(local.Invalid, "the body does not say whether to protect the task: send %s", example+refuseExample())
	}
	task, err := c.task(mux.Vars(r)["task"])
	if err != nil {
		return nil, err
	}
	if err := checkRefusal(change.Refuse); err != nil {
		return nil, err
	}
	if change.ProtectionEnabled != nil {
		if err := c.protect(task, *change.ProtectionEnabled, change.ExpiresInMinutes); err != nil {
			return nil, err
		}
	}
	if change.Refuse != nil {
		c.deps.Protection.Refuse(task.ARN, *change.Refuse)
	}
	return c.protectionOf(task), nil
}

// protect changes the protection of a task. An error says what to do.
func (c *control) protect(task *local.Task, enabled bool, minutes *int64) error {
	_, err := c.deps.Protection.Set(task, enabled, minutes)
	if _, ok := errors.AsType[*protection.Failure](err); ok {
		return local.Errorf(local.Invalid, "no service started task %q, so it cannot be protected: remove the label %s from its containers", task.Name, local.LabelServiceTask)
	}
	if refused, ok := errors.AsType[*protection.Exception](err); ok {
		return local.Errorf(local.Invalid, "%s: send expiresInMinutes in these bounds, or leave it out for %d", refused.Message, protection.DefaultMinutes)
	}
	return err
}

// refuseAll serves PUT /v1/protection: what any task asks for is refused from
// now on, or no longer.
func (c *control) refuseAll(r *http.Request) (any, error) {
	if c.deps.Protection == nil {
		return nil, errNoAgentAPI
	}
	var change struct {
		Refuse *protection.Refusal `json:"refuse"`
	}
	if err := readJSON(r, &change, refuseExample()); err != nil {
		return nil, err
	}
	if change.Refuse == nil {
		return nil, local.Errorf(local.Invalid, "the body does not say what to refuse: send %s", refuseExample())
	}
	if err := checkRefusal(change.Refuse); err != nil {
		return nil, err
	}
	c.deps.Protection.Refuse("", *change.Refuse)
	return c.protections(r)
}

func checkRefusal(how *protection.Refusal) error {
	if how == nil || how.Valid() {
		return nil
	}
	return local.Errorf(local.Invalid, "there is no refusal %s: send %s", quoteShort(string(*how)), refuseExample())
}

// refuseExample is what a body that refuses looks like.
func refuseExample() string {
	names := make([]string, len(protection.Refusals))
	for i, how := range protection.Refusals {
		names[i] = string(how)
	}
	return `{"refuse": "` + strings.Join(names, "|") + `"}`
}

// task returns the task that a path names: by its name, id or ARN.
func (c *control) task(name string) (*local.Task, error) {
	dir, _ := c.runtime.Current()
	for _, is := range []func(*local.Task) bool{
		func(t *local.Task) bool { return t.Name == name },
		func(t *local.Task) bool { return t.ARN == name },
		func(t *local.Task) bool { return t.ID() == name },
	} {
		var found []*local.Task
		for _, t := range dir.Tasks() {
			if is(t) {
				found = append(found, t)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return nil, local.Errorf(local.Ambiguous, "%s means %d tasks: GET /v1/protection shows their names", quoteShort(name), len(found))
		}
	}
	return nil, local.Errorf(local.NotFound, "there is no task %s: GET /v1/protection shows all", quoteShort(name))
}

// networkFaultDocument is a fault that runs, as GET /v1/faults/network shows
// it. The names of what a fault is made of are those of the request.
type networkFaultDocument struct {
	Type       fault.Kind `json:"type"`
	Task       string     `json:"task,omitempty"` // none: the network of the host
	TaskARN    string     `json:"taskArn,omitempty"`
	Containers []string   `json:"containers,omitempty"` // ids of those whose network it is in
	Since      time.Time  `json:"since"`

	Port        *uint16 `json:"port,omitempty"`
	Protocol    string  `json:"protocol,omitempty"`
	TrafficType string  `json:"trafficType,omitempty"`

	DelayMilliseconds  *int64         `json:"delayMilliseconds,omitempty"`
	JitterMilliseconds *int64         `json:"jitterMilliseconds,omitempty"`
	LossPercent        int            `json:"lossPercent,omitempty"`
	Sources            []netip.Prefix `json:"sources,omitempty"`
	SourcesToFilter    []netip.Prefix `json:"sourcesToFilter,omitempty"` // those of ecs-local's own too
	FlowsPercent       int            `json:"flowsPercent,omitempty"`
}

// networkFaults serves GET /v1/faults/network.
func (c *control) networkFaults(*http.Request) (any, error) {
	if c.deps.Faults == nil {
		return nil, errNoAgentAPI
	}
	docs := []networkFaultDocument{}
	for _, r := range c.deps.Faults.List() {
		docs = append(docs, newNetworkFaultDocument(r))
	}
	return docs, nil
}

func newNetworkFaultDocument(r fault.Running) networkFaultDocument {
	f := r.Fault
	doc := networkFaultDocument{
		Type: f.Kind, Task: r.Target.Name, TaskARN: r.Target.ARN, Since: r.Since,
		Protocol: f.Protocol, TrafficType: f.TrafficType,
		LossPercent: f.LossPercent, Sources: f.Sources, SourcesToFilter: f.Exempt(), FlowsPercent: f.FlowsPercent,
	}
	for _, ns := range r.Target.Namespaces {
		if ns.ContainerID != "" {
			doc.Containers = append(doc.Containers, ns.ContainerID)
		}
	}
	switch f.Kind {
	case fault.BlackholePort:
		doc.Port = &f.Port
	case fault.Latency:
		delay, jitter := f.Delay.Milliseconds(), f.Jitter.Milliseconds()
		doc.DelayMilliseconds, doc.JitterMilliseconds = &delay, &jitter
	}
	return doc
}
