package imds_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

var (
	taskA = strings.Repeat("0a", 16)
	taskB = strings.Repeat("0b", 16)
)

// info is a namespace's info document.
type info struct {
	LastUpdated     time.Time
	TaskCredentials map[string]any
}

func (c caller) info(namespace string) info {
	c.t.Helper()
	var i info
	if err := json.Unmarshal([]byte(c.get(namespace+"/info")), &i); err != nil {
		c.t.Fatal(err)
	}
	return i
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &counter{fails: func(a imds.Ask) error {
			switch a.Role.Name {
			case "forbidden":
				return local.Errorf(local.Denied, "no")
			case "broken":
				return errors.New("no answer")
			}
			return nil
		}}
		s, err := imds.New(imds.Config{
			Instance: imds.Instance{AccountID: "111122223333"},
			Namespaces: map[string][]imds.TaskRole{
				"iam-ecs-1": {
					{Task: taskA, RoleType: imds.TaskApplication, Role: "shop-web"},
					{Task: taskA, RoleType: imds.TaskExecution, Role: "forbidden"},
					{Task: taskB, RoleType: imds.TaskApplication, Role: "broken"},
				},
				"iam-ecs-10": nil,
			},
		}, imds.Deps{Provider: p.provide, Identity: identity()})
		if err != nil {
			t.Fatal(err)
		}
		c := v2(t, s)
		if got := c.get("iam-ecs-1"); got != "info" {
			t.Errorf("before the first refresh: %q", got)
		}
		if err := s.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "iam-ecs-1/"+taskB+"-TaskApplication") {
			t.Errorf("error %v", err)
		}
		if got := c.get(""); !strings.Contains(got, "\niam-ecs-1/\niam-ecs-10/\n") {
			t.Errorf("root: %q", got)
		}
		for _, version := range imds.Versions() {
			r := c.do("GET", "/"+version+"/meta-data/iam-ecs-1/info")
			if want := map[bool]int{true: 200, false: 404}[version == "latest"]; r.Status != want {
				t.Errorf("%s: %d", version, r.Status)
			}
		}
		want := `{
  "LastUpdated" : "` + c.info("iam-ecs-1").LastUpdated.Format("2006-01-02T15:04:05.000Z") + `",
  "TaskCredentials" : {
    "` + taskA + `-TaskApplication" : {
      "RoleARN" : "arn:aws:iam::111122223333:role/shop-web",
      "Code" : "Success"
    },
    "` + taskA + `-TaskExecution" : {
      "RoleARN" : "arn:aws:iam::111122223333:role/forbidden",
      "Code" : "AssumeRoleUnauthorizedAccess"
    }
  }
}`
		if diff := cmp.Diff(want, c.get("iam-ecs-1/info")); diff != "" {
			t.Error(diff)
		}
		if got := c.get("iam-ecs-1/security-credentials"); got != taskA+"-TaskApplication" {
			t.Errorf("credentials: %q", got)
		}
		k := c.keys("iam-ecs-1/security-credentials/" + taskA + "-TaskApplication")
		if k.AccessKeyId == "" || k.SecretAccessKey == "" || k.Token == "" || k.Expiration != "2000-01-01T06:00:00Z" {
			t.Error("a field is missing")
		}
		if got := c.get("iam-ecs-10"); got != "info" {
			t.Errorf("empty namespace: %q", got)
		}
		if got := c.info("iam-ecs-10"); len(got.TaskCredentials) != 0 || got.LastUpdated.IsZero() {
			t.Errorf("empty namespace: %+v", got)
		}

		before := c.info("iam-ecs-1").LastUpdated
		if err := s.SetNamespaceFormat(imds.FormatCode); err != nil {
			t.Fatal(err)
		}
		got := c.info("iam-ecs-1")
		if diff := cmp.Diff(map[string]any{taskA + "-TaskApplication": "0", taskA + "-TaskExecution": "1"}, got.TaskCredentials); diff != "" {
			t.Error(diff)
		}
		if !got.LastUpdated.After(before) {
			t.Error("the form changed and LastUpdated did not")
		}
		if s.SetNamespaceFormat("xml") == nil {
			t.Error("a bad format is taken")
		}

		states := s.Namespaces()
		if len(states) != 2 || len(states[0].Roles) != 3 || !states[0].LastUpdated.Equal(got.LastUpdated) {
			t.Fatalf("%+v", states)
		}
		codes := []string{}
		for _, r := range states[0].Roles {
			codes = append(codes, r.Code)
		}
		if diff := cmp.Diff([]string{"Success", "AssumeRoleUnauthorizedAccess", ""}, codes); diff != "" {
			t.Error(diff)
		}
	})
}

// TestLastUpdated says that LastUpdated moves with every change of content,
// strictly forward even within a millisecond, and with nothing else.
func TestLastUpdated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &counter{}
		s := serve(t, imds.Config{}, p.provide)
		const ns, other = "iam-ecs-1", "iam-ecs-2"
		entry := func(task, role string) imds.TaskRole {
			return imds.TaskRole{Task: task, RoleType: imds.TaskApplication, Role: role}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(s.PutTaskRoles(other))
		must(s.PutTaskRoles(ns))
		c := v2(t, s)
		before, quiet := c.info(ns), c.info(other)
		for _, step := range []struct {
			name  string
			do    func() error
			moves bool
		}{
			{"asked for, not there yet", func() error { return s.PutTaskRoles(ns, entry(taskA, "web"), entry(taskB, "db")) }, false},
			{"there", func() error { return s.Refresh(t.Context()) }, true},
			{"nothing due", func() error { return s.Refresh(t.Context()) }, false},
			{"put again", func() error { return s.PutTaskRoles(ns, entry(taskA, "web")) }, false},
			{"another value", func() error { return s.SetValue("custom/x", []byte("y")) }, false},
			{"rotated", func() error { return s.RotateTaskRole(t.Context(), ns, taskA, imds.TaskApplication) }, true},
			{"rotated again", func() error { return s.RotateTaskRole(t.Context(), ns, taskA, imds.TaskApplication) }, true},
			{"another role, not there yet", func() error { return s.PutTaskRoles(ns, entry(taskB, "other")) }, true},
			{"another role, there", func() error { return s.Refresh(t.Context()) }, true},
			{"deleted", func() error { return s.DeleteTaskRole(ns, taskA, imds.TaskApplication) }, true},
			{"renewed", func() error { time.Sleep(5*time.Hour + time.Minute); return s.Refresh(t.Context()) }, true},
			{"last one deleted", func() error { return s.DeleteTaskRole(ns, taskB, imds.TaskApplication) }, true},
			{"made again", func() error { return errors.Join(s.DeleteNamespace(ns), s.PutTaskRoles(ns)) }, true},
		} {
			must(step.do())
			after := c.info(ns)
			if moved := after.LastUpdated.After(before.LastUpdated); moved != step.moves || !moved && !after.LastUpdated.Equal(before.LastUpdated) {
				t.Errorf("%s: %s → %s", step.name, before.LastUpdated, after.LastUpdated)
			}
			before = after
		}
		if got := c.info(other); !got.LastUpdated.Equal(quiet.LastUpdated) {
			t.Errorf("another namespace moved to %s", got.LastUpdated)
		}
		if c.get(ns) != "info" {
			t.Error("without entries there are credentials")
		}
		must(s.DeleteNamespace(ns))
		if c.status(ns) != 404 {
			t.Error("a deleted namespace is there")
		}
	})
}

func TestRotateTaskRole(t *testing.T) {
	t.Parallel()
	p := &counter{}
	entries := []imds.TaskRole{
		{Task: taskA, RoleType: imds.TaskApplication, Role: "web"}, {Task: taskA, RoleType: imds.TaskExecution, Role: "exec"},
	}
	s := serve(t, imds.Config{Namespaces: map[string][]imds.TaskRole{"iam-ecs-1": entries}}, p.provide)
	c := v2(t, s)
	const dir = "iam-ecs-1/security-credentials/"
	app, exec, asked := c.keys(dir+taskA+"-TaskApplication"), c.keys(dir+taskA+"-TaskExecution"), p.count()
	if err := s.RotateTaskRole(t.Context(), "iam-ecs-1", taskA, imds.TaskApplication); err != nil {
		t.Fatal(err)
	}
	if c.keys(dir+taskA+"-TaskApplication").AccessKeyId == app.AccessKeyId {
		t.Error("not rotated")
	}
	if c.keys(dir+taskA+"-TaskExecution") != exec {
		t.Error("another one was rotated")
	}
	if n := p.count() - asked; n != 1 || !p.asks[asked].Fresh {
		t.Errorf("%d calls", n)
	}
}

// TestPutBringsBack says that what is put is there, whatever was removed.
func TestPutBringsBack(t *testing.T) {
	t.Parallel()
	entry := imds.TaskRole{Task: taskA, RoleType: imds.TaskApplication, Role: "web"}
	s := serve(t, imds.Config{Namespaces: map[string][]imds.TaskRole{"iam-ecs-1": {entry}}}, (&counter{}).provide)
	c := v2(t, s)
	const dir = "iam-ecs-1/security-credentials"
	for _, path := range []string{"iam-ecs-1", "iam-ecs-1/info", dir, dir + "/" + taskA + "-TaskApplication"} {
		if err := s.RemoveValue(path); err != nil {
			t.Fatal(err)
		}
		if c.status(path) != 404 {
			t.Errorf("%s is there", path)
		}
		if err := errors.Join(s.PutTaskRoles("iam-ecs-1", entry), s.Refresh(t.Context())); err != nil {
			t.Fatal(err)
		}
		c.keys(dir + "/" + taskA + "-TaskApplication")
		if c.status(path) != 200 || len(c.info("iam-ecs-1").TaskCredentials) != 1 {
			t.Errorf("%s does not come back", path)
		}
	}
}

func TestNamespaceErrors(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{}, (&counter{}).provide)
	if err := s.PutTaskRoles("iam-ecs-1"); err != nil {
		t.Fatal(err)
	}
	good := imds.TaskRole{Task: taskA, RoleType: imds.TaskApplication, Role: "web"}
	for name, test := range map[string]struct {
		err  error
		code local.Code
	}{
		"namespace":               {s.PutTaskRoles("iam-ecs-x", good), local.Invalid},
		"task with a dash":        {s.PutTaskRoles("iam-ecs-1", imds.TaskRole{Task: "a-b", RoleType: imds.TaskApplication, Role: "web"}), local.Invalid},
		"one bad among good ones": {s.PutTaskRoles("iam-ecs-1", good, imds.TaskRole{}), local.Invalid},
		"delete, no namespace":    {s.DeleteTaskRole("iam-ecs-9", taskA, imds.TaskApplication), local.NotFound},
		"delete, no entry":        {s.DeleteTaskRole("iam-ecs-1", taskA, imds.TaskApplication), local.NotFound},
		"delete namespace":        {s.DeleteNamespace("iam-ecs-9"), local.NotFound},
		"rotate":                  {s.RotateTaskRole(t.Context(), "iam-ecs-1", taskA, imds.TaskApplication), local.NotFound},
	} {
		if test.err == nil || local.CodeOf(test.err) != test.code {
			t.Errorf("%s: %v, want %s", name, test.err, test.code)
		}
	}
	if n := len(s.Namespaces()[0].Roles); n != 0 {
		t.Errorf("%d entries came of it", n)
	}
}

// TestRunningRoles says that the roles of running tasks are beside all others,
// that an entry of the configuration goes before them, and that neither Reload
// nor Reset touches them.
func TestRunningRoles(t *testing.T) {
	t.Parallel()
	p := &counter{}
	entry := func(task, role string) imds.TaskRole {
		return imds.TaskRole{Task: task, RoleType: imds.TaskApplication, Role: role}
	}
	const ns = "iam-ecs-1"
	explicit := imds.Config{Namespaces: map[string][]imds.TaskRole{ns: {entry(taskA, "explicit")}}}
	s := serve(t, explicit, p.provide)
	running := func(roles ...imds.TaskRole) {
		t.Helper()
		if err := errors.Join(s.SetRunningRoles(ns, roles...), s.Refresh(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	roles := func() string {
		t.Helper()
		var all []string
		for _, n := range s.Namespaces() {
			for _, r := range n.Roles {
				all = append(all, strings.TrimPrefix(n.Name, "iam-ecs-")+":"+r.Task[:2]+"="+r.Role+"/"+r.Code)
			}
		}
		return strings.Join(all, " ")
	}
	want := func(what, want string) {
		t.Helper()
		if got := roles(); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	running(entry(taskA, "label"), entry(taskB, "label"))
	want("two run", "1:0a=explicit/Success 1:0b=label/Success")
	c, asked := v2(t, s), p.count()
	before, updated := c.keys(ns+"/security-credentials/"+taskB+"-TaskApplication"), c.info(ns).LastUpdated

	s.Reset()
	want("reset", "1:0a=explicit/Success 1:0b=label/Success")
	if err := s.Reload(explicit); err != nil {
		t.Fatal(err)
	}
	running(entry(taskB, "label"), entry(taskA, "label"))
	if c.keys(ns+"/security-credentials/"+taskB+"-TaskApplication") != before || !c.info(ns).LastUpdated.Equal(updated) || p.count() != asked {
		t.Error("something changed")
	}

	if err := s.DeleteTaskRole(ns, taskB, imds.TaskApplication); err != nil {
		t.Fatal(err)
	}
	running(entry(taskA, "label"), entry(taskB, "label"))
	want("what was deleted stays so", "1:0a=explicit/Success")
	s.Reset()
	want("until a reset", "1:0a=explicit/Success 1:0b=label/")
	if err := s.Reload(imds.Config{}); err != nil {
		t.Fatal(err)
	}
	running(entry(taskA, "label"), entry(taskB, "other"))
	want("nothing explicit, another role", "1:0a=label/Success 1:0b=other/Success")
	running(entry(taskB, "other"))
	want("one has ended", "1:0b=other/Success")

	err := s.SetRunningRoles(ns, entry("a-b", "x"), entry(taskA, "no spaces"), entry(taskA, "good"))
	if local.CodeOf(err) != local.Invalid || !strings.Contains(err.Error(), "a-b") || !strings.Contains(err.Error(), ".role: must be the name") {
		t.Errorf("error %v", err)
	}
	want("bad ones beside a good one", "1:0a=good/")
	if err := s.SetRunningRoles("ecs", entry(taskA, "x")); local.CodeOf(err) != local.Invalid {
		t.Errorf("error %v", err)
	}
	running()
	want("none", "")
	if c.status(ns) != 200 {
		t.Error("the namespace does not stay")
	}
}
