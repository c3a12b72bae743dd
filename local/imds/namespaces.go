package imds

import (
	"bytes"
	"context"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// namespacePrefix is what the names of all namespaces begin with; a number
// follows.
const namespacePrefix = "iam-ecs-"

// namespace holds the roles of tasks.
type namespace struct {
	roles   map[string]TaskRole // by key
	content []byte              // what is served, without LastUpdated
	updated time.Time           // when content last changed
}

// key names an entry: <task>-<role type>. Readers cut it at the first "-".
func (r TaskRole) key() string { return r.Task + "-" + r.RoleType }

// tasks adds the namespaces. An entry appears once it is known whether its
// role can be assumed. LastUpdated moves when the content does, and only then.
func (s *Service) tasks(l leaves, now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(s.namespaces)) {
		n, dir := s.namespaces[name], "meta-data/"+name
		entries := object{}
		var content bytes.Buffer
		for _, key := range slices.Sorted(maps.Keys(n.roles)) {
			h := s.holders[holderKey{use: TaskCredentials, delivery: V2, namespace: name, task: key}]
			if h == nil || !h.denied && !h.alive(now) {
				continue
			}
			entries = append(entries, member{key, s.entry(h)})
			if h.denied {
				continue
			}
			document := h.document(now)
			l.bytes(dir+"/security-credentials/"+key, document)
			content.Write(document)
		}
		content.Write(entries.bytes())
		if n.updated.IsZero() || !bytes.Equal(n.content, content.Bytes()) {
			n.content = content.Bytes()
			s.stamp = later(now.UTC().Truncate(time.Millisecond), s.stamp.Add(time.Millisecond))
			n.updated = s.stamp
		}
		l.json(dir+"/info", object{
			{"LastUpdated", n.updated.Format("2006-01-02T15:04:05.000Z")},
			{"TaskCredentials", entries},
		})
	}
}

// entry returns what info says about one role.
func (s *Service) entry(h *holder) any {
	code := success
	if h.denied {
		code = unauthorized
	}
	if s.format == FormatCode {
		if h.denied {
			return "1"
		}
		return "0"
	}
	arn := h.ask.Role.ARN
	if arn == "" && h.keys != nil {
		arn = h.keys.RoleARN
	}
	if arn == "" {
		i := s.config.Instance
		arn = local.RoleARN(local.Partition(i.Region), i.AccountID, h.ask.Role.Name)
	}
	return object{{"RoleARN", arn}, {"Code", code}}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

var (
	namespaceName = regexp.MustCompile(`^` + namespacePrefix + `(0|[1-9]\d{0,9})$`)
	taskID        = regexp.MustCompile(`^[0-9a-zA-Z_]+$`)
)

const (
	mustNamespace = `must be iam-ecs- and a number, such as iam-ecs-1`
	mustTask      = `must be the id of a task: 32 hex digits, without "-"`
	mustRoleType  = "must be TaskApplication or TaskExecution"
	mustRole      = "must be the name, path/name or ARN of a role"
)

// validate returns what is wrong with the entry.
func (r TaskRole) validate(path string) []Problem {
	var p []Problem
	if len(r.Task) > maxName || !taskID.MatchString(r.Task) {
		p = append(p, Problem{path + ".task", mustTask})
	}
	if r.RoleType != TaskApplication && r.RoleType != TaskExecution {
		p = append(p, Problem{path + ".role-type", mustRoleType})
	}
	if _, err := local.ParseRole(r.Role); err != nil {
		p = append(p, Problem{path + ".role", mustRole})
	}
	return p
}

// PutTaskRoles adds or replaces entries of a namespace, which is made if it
// does not exist, and brought back if RemoveValue took it away. Their
// credentials follow with the next Refresh, which a running Run does at once.
func (s *Service) PutTaskRoles(name string, roles ...TaskRole) error {
	if !namespaceName.MatchString(name) {
		return local.Errorf(local.Invalid, "%q is not a namespace: it %s", name, mustNamespace)
	}
	for _, r := range roles {
		if problems := r.validate(name); len(problems) > 0 {
			return &local.Error{Code: local.Invalid, Msg: Problems(problems).Error()}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaces[name]
	if n == nil {
		n = &namespace{roles: map[string]TaskRole{}}
		s.namespaces[name] = n
	}
	dir := "meta-data/" + name
	for _, p := range []string{dir, dir + "/info", dir + "/security-credentials"} {
		delete(s.live.remove, p) // what is put is there
	}
	for _, r := range roles {
		n.roles[r.key()] = r
		delete(s.live.remove, dir+"/security-credentials/"+r.key())
	}
	s.changed()
	return nil
}

// SetRunningRoles makes these the roles of the tasks that run, in a namespace
// where they are beside others. They outlast Reload and Reset; an entry of the
// configuration goes before them. Only what differs from the last call is put
// or removed, so that what was changed otherwise stays. The error names what
// cannot be an entry; all others are.
func (s *Service) SetRunningRoles(name string, roles ...TaskRole) error {
	if !namespaceName.MatchString(name) {
		return local.Errorf(local.Invalid, "%q is not a namespace: it %s", name, mustNamespace)
	}
	var problems Problems
	want := map[string]TaskRole{}
	for _, r := range roles {
		if wrong := r.validate(name + "/" + r.key()); len(wrong) > 0 {
			problems = append(problems, wrong...)
			continue
		}
		want[r.key()] = r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.running[name]; !maps.Equal(was, want) {
		s.running[name] = want
		s.run(name, was, want)
		s.changed()
	}
	if len(problems) > 0 {
		return &local.Error{Code: local.Invalid, Msg: problems.Error()}
	}
	return nil
}

// run puts and removes what differs between two sets of roles.
func (s *Service) run(name string, was, want map[string]TaskRole) {
	n := s.namespaces[name]
	if n == nil {
		n = &namespace{roles: map[string]TaskRole{}}
		s.namespaces[name] = n
	}
	explicit := map[string]bool{}
	for _, r := range s.config.Namespaces[name] {
		explicit[r.key()] = true
	}
	for key, r := range want {
		if was[key] != r && !explicit[key] {
			n.roles[key] = r
		}
	}
	for key := range was {
		if _, ok := want[key]; !ok && !explicit[key] {
			delete(n.roles, key)
		}
	}
}

// DeleteTaskRole removes the entry of a task and a type of role. An entry that
// does not exist is NotFound. The namespace stays when it was the last.
func (s *Service) DeleteTaskRole(name, task, roleType string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := TaskRole{Task: task, RoleType: roleType}.key()
	if err := s.known(name, key); err != nil {
		return err
	}
	delete(s.namespaces[name].roles, key)
	s.changed()
	return nil
}

// DeleteNamespace removes a namespace with all that is in it. One that does
// not exist is NotFound.
func (s *Service) DeleteNamespace(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.namespaces[name] == nil {
		return local.Errorf(local.NotFound, "there is no namespace %s", name)
	}
	delete(s.namespaces, name)
	s.changed()
	return nil
}

// RotateTaskRole obtains other keys for an entry and returns when they are in
// the tree. An entry that does not exist is NotFound.
func (s *Service) RotateTaskRole(ctx context.Context, name, task, roleType string) error {
	key := TaskRole{Task: task, RoleType: roleType}.key()
	s.mu.Lock()
	err := s.known(name, key)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.rotate(ctx, func(k holderKey) bool { return k.namespace == name && k.task == key })
}

func (s *Service) known(name, key string) error {
	n := s.namespaces[name]
	if n == nil {
		return local.Errorf(local.NotFound, "there is no namespace %s: put credentials into it first", name)
	}
	if _, ok := n.roles[key]; !ok {
		return local.Errorf(local.NotFound, "namespace %s has no credentials %s: put them first", name, key)
	}
	return nil
}

// SetNamespaceFormat changes the form of the info documents.
func (s *Service) SetNamespaceFormat(f NamespaceFormat) error {
	if f != FormatObject && f != FormatCode {
		return local.Errorf(local.Invalid, "%q is not a format: use %s or %s", f, FormatObject, FormatCode)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.format = f
	s.changed()
	return nil
}

// Namespace is a namespace as it is now.
type Namespace struct {
	Name        string
	LastUpdated time.Time
	Roles       []TaskState // sorted by task and type
}

// TaskState is an entry and what became of it.
type TaskState struct {
	TaskRole
	// Code is Success, AssumeRoleUnauthorizedAccess, or empty while there are
	// no credentials.
	Code       string
	Expiration time.Time // of the credentials
}

// Namespaces returns all namespaces, sorted by name.
func (s *Service) Namespaces() []Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := make([]Namespace, 0, len(s.namespaces))
	for _, name := range slices.Sorted(maps.Keys(s.namespaces)) {
		n := Namespace{Name: name, LastUpdated: s.namespaces[name].updated}
		roles := s.namespaces[name].roles
		for _, key := range slices.Sorted(maps.Keys(roles)) {
			state := TaskState{TaskRole: roles[key]}
			switch h := s.holders[holderKey{use: TaskCredentials, delivery: V2, namespace: name, task: key}]; {
			case h == nil:
			case h.denied:
				state.Code = unauthorized
			case h.alive(now):
				state.Code, state.Expiration = success, h.keys.Expiration
			}
			n.Roles = append(n.Roles, state)
		}
		all = append(all, n)
	}
	return all
}
