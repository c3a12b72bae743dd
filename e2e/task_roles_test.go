package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/client"
)

// rolePath returns the path of a task's credentials, as the control API shows
// it.
func rolePath(t *testing.T, control, task string) string {
	t.Helper()
	var path string
	eventually(t, soon, func() error {
		for _, each := range document[[]taskOfControl](t, fromHost(t, control+"/v1/tasks")) {
			if each.Name == task && each.Credentials["TaskApplication"] != "" {
				path = each.Credentials["TaskApplication"]
				return nil
			}
		}
		return fmt.Errorf("GET /v1/tasks has no path of the credentials of %s", task)
	})
	return path
}

// A roleProject is a Compose project whose one service has a task role.
type roleProject struct {
	project
	role string
	path string // of its credentials
}

func newRoleProject(t *testing.T, side sidecar, network, role string) roleProject {
	t.Helper()
	p := newProject(t, []string{"PROBE=" + imageOf(t, probeImage), "NETWORK=" + network, "ROLE=" + role}, "e2e/testdata/roles.yml")
	p.compose(t, "up", "--detach")
	return roleProject{project: p, role: role, path: rolePath(t, side.control, p.name)}
}

// web returns the probe of its service.
func (p roleProject) web(t *testing.T, c *client.Client, network string) probe {
	t.Helper()
	return probeOn(t, c, p.one(t, c, "web"), network)
}

// holder returns an error unless an answer is the credentials of the role.
func (p roleProject) holder(a answer) error {
	got, err := decode[credentialsDocument](a)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(got.RoleArn, ":role/"+p.role) || got.AccessKeyID == "" || got.SecretAccessKey == "" || got.Token == "" {
		return fmt.Errorf("got credentials of %s, want those of %s, with key, secret and token", got.RoleArn, p.role)
	}
	return nil
}

// refused fails the test unless an answer refuses and tells nothing of the
// project whose credentials were asked for.
func (p roleProject) refused(t *testing.T, a answer) {
	t.Helper()
	var said struct {
		Code, Message string
		HTTPErrorCode int
	}
	if err := json.Unmarshal([]byte(a.Body), &said); err != nil || a.Status != http.StatusForbidden || said.Code != "AccessDenied" || said.HTTPErrorCode != http.StatusForbidden {
		t.Errorf("got status %d and code %q (%v), want 403 AccessDenied", a.Status, said.Code, err)
	}
	for what, name := range map[string]string{
		"the role": p.role, "the project": p.name, "the id": strings.TrimPrefix(p.path, "/v2/credentials/"), "credentials": "SecretAccessKey",
	} {
		if strings.Contains(a.Body, name) || strings.Contains(fmt.Sprint(a.Header), name) {
			t.Errorf("the refusal tells %s: %s", what, said.Message)
		}
	}
}

func TestEachComposeProjectGetsItsOwnTaskRoleAndNoOther(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	shop, bank := newRoleProject(t, side, net, "shop-web"), newRoleProject(t, side, net, "bank-ledger")
	if shop.path == bank.path {
		t.Fatal("both projects have one path")
	}
	for _, each := range []struct{ own, other roleProject }{{shop, bank}, {bank, shop}} {
		web := each.own.web(t, c, net)
		for _, form := range []func(string) string{
			func(path string) string { return path },
			func(path string) string { return strings.Replace(path, "/v2/credentials/", "/v1/credentials?id=", 1) },
		} {
			if err := each.own.holder(web.get(t, side.url+form(each.own.path))); err != nil {
				t.Error(err)
			}
			each.other.refused(t, web.get(t, side.url+form(each.other.path)))
		}
	}
	outsider := startProbe(t, c, spec{networks: []attachment{{network: net}}})
	shop.refused(t, outsider.get(t, side.url+shop.path))
	shop.refused(t, fromHost(t, side.url+shop.path))

	t.Run("a container that is made anew keeps the id", func(t *testing.T) {
		before := shop.one(t, c, "web")
		shop.compose(t, "up", "--detach", "--force-recreate")
		web := shop.web(t, c, net)
		if web.id == before {
			t.Fatal("the container is the same")
		}
		if err := shop.holder(web.get(t, side.url+shop.path)); err != nil {
			t.Error(err)
		}
		bank.refused(t, web.get(t, side.url+bank.path))
		if now := rolePath(t, side.control, shop.name); now != shop.path {
			t.Error("the path has changed")
		}
	})
	t.Run("the bank's role is not the shop's once the shop has the bank's address", func(t *testing.T) {
		had := bank.one(t, c, "web")
		before := addressOn(t, c, had, net)
		bank.compose(t, "down", "--timeout", "1")
		side.engine.waitTold(t, events.ActionDie, had)
		heir := startProbe(t, c, spec{networks: []attachment{{network: net, address: before}}, labels: map[string]string{"com.docker.compose.project": shop.name}})
		if err := shop.holder(heir.get(t, side.url+shop.path)); err != nil {
			t.Error(err)
		}
		if a := heir.get(t, side.url+bank.path); a.Status == http.StatusOK {
			t.Error("the heir of the address gets the bank's credentials")
		}
	})
	t.Run("without isolation whoever knows an id is answered", func(t *testing.T) {
		open := startSidecar(t, c, spec{networks: []attachment{{network: net}}, env: []string{"ECS_LOCAL_ISOLATE_CREDENTIALS=false"}})
		path := rolePath(t, open.control, shop.name)
		for who, a := range map[string]answer{"another container": outsider.get(t, open.url+path), "the host": fromHost(t, open.url+path)} {
			if err := shop.holder(a); err != nil {
				t.Errorf("%s: %v", who, err)
			}
		}
	})
	searched(t, side.control, logs(t, c, side.id))
}

// What ECS does: the credentials are there before the container is.
func TestFirstRequestForTheTaskRoleIsRightEveryTime(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	p := roleProject{role: "shop-web", project: project{name: unique("p")}}
	s := spec{networks: []attachment{{network: net}}, labels: map[string]string{
		"com.docker.compose.project": p.name, "com.docker.compose.service": "web", "ecs-local.task-role": p.role,
	}}
	known := startProbe(t, c, s)
	p.path = rolePath(t, side.control, p.name)
	remove(t, c, known.id)

	s.cmd = []string{"/probe", "get", side.url + p.path}
	for n := range 10 {
		id := started(t, c, s)
		if code, err := ended(within(t, longest), c, id); err != nil || code != 0 {
			t.Fatalf("container %d: exit code %d, %v", n, code, err)
		}
		var a answer
		if err := json.Unmarshal([]byte(printed(t, c, id)), &a); err != nil {
			t.Fatalf("container %d: decode answer: %v", n, err)
		}
		handedOut.note(a.Body)
		if err := p.holder(a); err != nil {
			t.Errorf("container %d, as the first of its task: %v", n, err)
		}
		remove(t, c, id)
	}
}
