package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/scan"
)

// labelNamespace is where the roles of running tasks are put.
const labelNamespace = "iam-ecs-1"

// taskRoles connects local tasks with the credentials of their roles: it puts
// the roles into a namespace of the instance metadata service, and finds by id
// what the scanner has read there, or elsewhere.
type taskRoles struct {
	runtime   *source
	service   *imds.Service
	refresher *scan.Refresher
	own       bool   // the refresher scans our own service
	secret    []byte // makes ids
	arn       func(local.Role) string
	log       *slog.Logger

	ids atomic.Pointer[taskIDs]

	mu   sync.Mutex
	said string // what is wrong with roles, as far as the log says it
}

var _ handlers.TaskCredentials = (*taskRoles)(nil)

// taskIDs are the ids for one snapshot of the containers.
type taskIDs struct {
	of  *local.Directory
	all map[string]taskRole
}

type taskRole struct {
	task *local.Task
	key  scan.Key
}

// run puts roles into the namespace when containers come and go.
func (t *taskRoles) run(ctx context.Context) {
	changed := t.runtime.changes.subscribe()
	t.feed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			t.feed()
		}
	}
}

// feed makes the namespace hold the roles of the tasks that run.
func (t *taskRoles) feed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, _ := t.runtime.Current()
	var roles []imds.TaskRole
	for _, task := range dir.Tasks() {
		for _, roleType := range []string{scan.TaskApplication, scan.TaskExecution} {
			if role := roleOf(task, roleType); role != "" {
				roles = append(roles, imds.TaskRole{Task: keyOf(task, roleType).TaskID, RoleType: roleType, Role: role})
			}
		}
	}
	wrong := ""
	if err := t.service.SetRunningRoles(labelNamespace, roles...); err != nil {
		wrong = local.MessageOf(err)
	}
	if wrong != "" && wrong != t.said {
		t.log.Warn("role of a task not put into its namespace", slog.String("reason", wrong))
	}
	t.said = wrong
}

// roleOf returns the role of a task that runs, or "".
func roleOf(task *local.Task, roleType string) string {
	if !slices.ContainsFunc(task.Containers, func(c *local.Container) bool { return c.State.Alive() }) {
		return ""
	}
	if roleType == scan.TaskExecution {
		return task.ExecutionRole
	}
	return task.TaskRole
}

// keyOf returns what a namespace calls a role of a task. Old task ids have
// dashes, which a namespace cannot hold.
func keyOf(task *local.Task, roleType string) scan.Key {
	return scan.Key{TaskID: strings.ReplaceAll(task.ID(), "-", ""), RoleType: roleType}
}

// ID implements handlers.TaskCredentials.
func (t *taskRoles) ID(task *local.Task, roleType string) string {
	if roleOf(task, roleType) == "" {
		key := keyOf(task, roleType)
		if _, ok := t.refresher.Credentials(key.TaskID, key.RoleType); !ok {
			return ""
		}
	}
	return t.id(task, roleType)
}

// id derives an id from what names the role, so that it stays the same, and
// from the secret, so that nobody can guess it. It has the form of a UUID.
func (t *taskRoles) id(task *local.Task, roleType string) string {
	return taskRoleID(t.secret, roleType, task.ARN)
}

func taskRoleID(secret []byte, roleType, arn string) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s %s", roleType, arn)
	b := mac.Sum(nil)[:16]
	b[6] = b[6]&0x0f | 0x80 // version 8: made by the application's own rule (RFC 9562)
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// Get implements handlers.TaskCredentials.
func (t *taskRoles) Get(id string) (local.Credentials, *local.Task, error) {
	role, ok := t.current().all[id]
	if !ok {
		return local.Credentials{}, nil, local.Errorf(local.NotFound, "no role of a task has this id")
	}
	c, ok := t.refresher.Credentials(role.key.TaskID, role.key.RoleType)
	known := roleOf(role.task, role.key.RoleType)
	_, scanned := t.refresher.Report()
	switch {
	case ok && c.RoleARN == "":
		// A namespace of the form "code" does not say.
		if role, err := local.ParseRole(known); err == nil {
			c.RoleARN = t.arn(role)
		}
		return c, role.task, nil
	case ok:
		return c, role.task, nil
	case known == "" && scanned:
		return local.Credentials{}, nil, local.Errorf(local.NotFound, "the task has no such role")
	default:
		return local.Credentials{}, role.task, local.Errorf(local.Unavailable, "no scan has found credentials of %s for %s yet", known, role.key)
	}
}

// Deliver implements handlers.TaskCredentials: our own service is scanned once
// it has what it is asking for. Another's is left to its interval.
func (t *taskRoles) Deliver(ctx context.Context) {
	if !t.own {
		return
	}
	t.feed()
	_ = t.service.Refresh(ctx) // what failed is logged, and the rest is there
	if err := t.refresher.Now(ctx); err != nil {
		t.log.Debug("task credentials not delivered in time", slog.String("reason", err.Error()))
	}
}

// current returns the ids for the latest snapshot.
func (t *taskRoles) current() *taskIDs {
	dir, _ := t.runtime.Current()
	if ids := t.ids.Load(); ids != nil && ids.of == dir {
		return ids
	}
	ids := &taskIDs{of: dir, all: map[string]taskRole{}}
	for _, task := range dir.Tasks() {
		for _, roleType := range []string{scan.TaskApplication, scan.TaskExecution} {
			ids.all[t.id(task, roleType)] = taskRole{task, keyOf(task, roleType)}
		}
	}
	t.ids.Store(ids)
	return ids
}
