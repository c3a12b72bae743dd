package handlers

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// namespaceDocument is one namespace of GET /v1/namespaces. It holds no
// secret.
type namespaceDocument struct {
	Name        string             `json:"name"`
	LastUpdated time.Time          `json:"lastUpdated"`
	Credentials []taskRoleDocument `json:"credentials"`
}

// taskRoleDocument is one entry of a namespace.
type taskRoleDocument struct {
	TaskID     string    `json:"taskId"`
	RoleType   string    `json:"roleType"`
	Role       string    `json:"role"`
	Code       string    `json:"code,omitempty"` // none while there are no credentials
	Expiration time.Time `json:"expiration,omitzero"`
}

func documentOf(state imds.TaskState) taskRoleDocument {
	return taskRoleDocument{TaskID: state.Task, RoleType: state.RoleType, Role: state.Role, Code: state.Code, Expiration: state.Expiration}
}

// namespaces serves GET /v1/namespaces.
func namespaces(service *imds.Service, _ *http.Request) (any, error) {
	docs := []namespaceDocument{}
	for _, n := range service.Namespaces() {
		doc := namespaceDocument{Name: n.Name, LastUpdated: n.LastUpdated, Credentials: []taskRoleDocument{}}
		for _, state := range n.Roles {
			doc.Credentials = append(doc.Credentials, documentOf(state))
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

// entry returns what the path names.
func entry(r *http.Request) (namespace, task, roleType string) {
	vars := mux.Vars(r)
	return vars["namespace"], vars["taskId"], vars["roleType"]
}

// putTaskRole serves PUT on the credentials of a task. It answers when they
// are in the tree, or when it is known why they are not.
func putTaskRole(service *imds.Service, r *http.Request) (any, error) {
	const example = `{"role": "NAME or ARN"}`
	var body struct {
		Role string `json:"role"`
	}
	if err := readJSON(r, &body, example); err != nil {
		return nil, err
	}
	if body.Role == "" {
		return nil, local.Errorf(local.Invalid, "the body has no role: send %s", example)
	}
	namespace, task, roleType := entry(r)
	if err := service.PutTaskRoles(namespace, imds.TaskRole{Task: task, RoleType: roleType, Role: body.Role}); err != nil {
		return nil, err
	}
	err := service.Refresh(r.Context())
	if state, ok := stateOf(service, r); err == nil && ok && state.Code == "" {
		// It failed before and waits for its next attempt: this is one.
		err = service.RotateTaskRole(r.Context(), namespace, task, roleType)
	}
	return outcome(service, r, err)
}

// deleteTaskRole serves DELETE on the credentials of a task.
func deleteTaskRole(service *imds.Service, r *http.Request) (any, error) {
	namespace, task, roleType := entry(r)
	return nothing{}, service.DeleteTaskRole(namespace, task, roleType)
}

// rotateTaskRole serves POST …/rotate: other keys, and a new LastUpdated.
func rotateTaskRole(service *imds.Service, r *http.Request) (any, error) {
	namespace, task, roleType := entry(r)
	if err := service.RotateTaskRole(r.Context(), namespace, task, roleType); err != nil {
		return nil, err
	}
	return outcome(service, r, nil)
}

// outcome returns what became of an entry. err is why some credentials could
// not be had; it counts when those of the entry are among them.
func outcome(service *imds.Service, r *http.Request, err error) (any, error) {
	state, ok := stateOf(service, r)
	switch {
	case !ok:
		return nil, local.Errorf(local.NotFound, "somebody removed the credentials meanwhile: put them again")
	case state.Code == "" && err != nil:
		return nil, err
	}
	return documentOf(state), nil
}

// stateOf returns the entry that the path names.
func stateOf(service *imds.Service, r *http.Request) (imds.TaskState, bool) {
	name, task, roleType := entry(r)
	for _, n := range service.Namespaces() {
		for _, state := range n.Roles {
			if n.Name == name && state.Task == task && state.RoleType == roleType {
				return state, true
			}
		}
	}
	return imds.TaskState{}, false
}
