package handlers_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
)

const (
	notYours = `{"code":"AccessDenied","message":"CredentialsV2Request: these credentials are for the containers of another task: ` +
		`ask from a container of that task, on a network with ecs-local; --isolate-credentials=false (ECS_LOCAL_ISOLATE_CREDENTIALS) allows anybody who knows the id","HTTPErrorCode":403}`
	notFound = `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found","HTTPErrorCode":400}`
	pending  = `{"code":"CredentialsUninitialized","message":"CredentialsV2Request: Credentials uninitialized for ID","HTTPErrorCode":503}`
	taskKeys = `{"RoleArn":"arn:aws:iam::111122223333:role/shop-web-task","AccessKeyId":"ASIAEXAMPLEWEB000001",` +
		`"SecretAccessKey":"` + secretKey + `","Token":"` + token + `","Expiration":"2026-06-30T23:05:12Z"}`
)

// rolesOf knows one role of each of some tasks, "id-of-<task>", and the same
// not delivered yet, "pending-of-<task>". The tasks come from a snapshot of
// their own, as they do when containers come and go between two looks.
func rolesOf(containers []*local.Container, names ...string) *taskCredentialsFake {
	f := &taskCredentialsFake{known: map[string]bool{}}
	for _, name := range names {
		f.known["id-of-"+name], f.known["pending-of-"+name] = true, false
	}
	dir := local.NewDirectory(containers, selfID, local.Facts{})
	f.of = func(id string) *local.Task {
		for _, t := range dir.Tasks() {
			if strings.HasSuffix(id, "-of-"+t.Name) {
				return t
			}
		}
		return nil
	}
	return f
}

// dockerLike are two tasks, one of which has a container that uses another's
// network, and the container of ecs-local.
func dockerLike() []*local.Container {
	shared := container("1"+otherID[1:], "shop", "proxy", "", local.Running)
	shared.NetworkMode, shared.SharesWith = "container:"+webID, webID
	onHost := container("2"+otherID[1:], "shop", "monitor", "", local.Running)
	onHost.NetworkMode = "host"
	return append(containers(), shared, onHost)
}

func TestTaskCredentialsAreForTheirTask(t *testing.T) {
	t.Parallel()
	late := container("3"+otherID[1:], "shop", "late", "172.18.0.9", local.Running)
	for name, test := range map[string]struct {
		from, path string
		status     int
		body       string
	}{
		"a container of the task":                              {"172.18.0.3", "/v2/credentials/id-of-shop", 200, taskKeys},
		"… over IPv6 sockets":                                  {"::ffff:172.18.0.3", "/v2/credentials/id-of-shop", 200, taskKeys},
		"the other task's container asks for its own":          {"172.18.0.4", "/v2/credentials/id-of-blog", 200, taskKeys},
		"another task":                                         {"172.18.0.4", "/v2/credentials/id-of-shop", 403, notYours},
		"and the other way round":                              {"172.18.0.3", "/v2/credentials/id-of-blog", 403, notYours},
		"version 1":                                            {"172.18.0.3", "/v1/credentials?id=id-of-shop", 200, taskKeys},
		"version 1, another task":                              {"172.18.0.4", "/v1/credentials?id=id-of-shop", 403, strings.Replace(notYours, "V2", "V1", 1)},
		"the machine itself":                                   {"127.0.0.1", "/v2/credentials/id-of-shop", 403, notYours},
		"the gateway, so a published port or network_mode":     {"172.18.0.1", "/v2/credentials/id-of-shop", 403, notYours},
		"an address that nobody has":                           {"172.18.0.99", "/v2/credentials/id-of-shop", 403, notYours},
		"ecs-local's own container":                            {"172.18.0.2", "/v2/credentials/id-of-shop", 403, notYours},
		"the first request of a container, before its event":   {"172.18.0.9", "/v2/credentials/id-of-shop", 200, taskKeys},
		"… of another task":                                    {"172.18.0.9", "/v2/credentials/id-of-blog", 403, notYours},
		"an unknown id is unknown to all":                      {"172.18.0.4", "/v2/credentials/id-guessed", 400, notFound},
		"… to the host too":                                    {"127.0.0.1", "/v2/credentials/id-guessed", 400, notFound},
		"no id":                                                {"127.0.0.1", "/v2/credentials", 400, `{"code":"NoIdInRequest","message":"CredentialsV2Request: No Credential ID in the request","HTTPErrorCode":400}`},
		"not delivered yet":                                    {"172.18.0.3", "/v2/credentials/pending-of-shop", 503, pending},
		"not delivered yet, and another task's":                {"172.18.0.4", "/v2/credentials/pending-of-shop", 403, notYours},
		"not delivered yet, and the machine itself asks":       {"127.0.0.1", "/v2/credentials/pending-of-shop", 403, notYours},
		"a task that is gone has no containers that could ask": {"172.18.0.3", "/v2/credentials/id-of-gone", 403, notYours},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.runtime.dir.Store(local.NewDirectory(dockerLike(), selfID, local.Facts{}))
			f.runtime.refresh = func() (*local.Directory, error) {
				return local.NewDirectory(append(dockerLike(), late), selfID, local.Facts{}), nil
			}
			h := f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop", "blog", "gone"), IsolateCredentials: true})
			w := f.do(h, call{path: test.path, from: test.from})
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("status %d, want %d; body (-want +got):\n%s", w.Code, test.status, cmp.Diff(redacted(test.body), redacted(w.Body.String())))
			}
			for _, hidden := range []string{secretKey, token, "-of-shop", "-of-blog"} {
				if strings.Contains(f.log.String(), hidden) {
					t.Errorf("the log holds a secret or an id")
				}
			}
			for _, other := range []string{"shop", "blog"} {
				if test.status == 403 && strings.Contains(w.Body.String(), other) {
					t.Errorf("the refusal names the task")
				}
			}
		})
	}
}

func TestTaskCredentialsWithoutIsolation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop")})
	for _, from := range []string{"172.18.0.3", "172.18.0.4", "172.18.0.1", "127.0.0.1", "172.18.0.99"} {
		if w := f.do(h, call{path: "/v2/credentials/id-of-shop", from: from}); w.Code != 200 {
			t.Errorf("from %s: status %d", from, w.Code)
		}
	}
}

// While Docker is away nobody can say who a new caller is. That passes, so it
// is no refusal.
func TestIsolationWhileTheRuntimeIsAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runtime.refresh = func() (*local.Directory, error) {
		return nil, local.Errorf(local.Unavailable, "the Docker engine does not answer: start it")
	}
	h := f.with(handlers.Deps{TaskCredentials: rolesOf(containers(), "shop"), IsolateCredentials: true})
	f.check(h, []call{
		{name: "a known caller", path: "/v2/credentials/id-of-shop", from: "172.18.0.3", status: 200},
		{name: "a known caller of another task", path: "/v2/credentials/id-of-shop", from: "172.18.0.4", status: 403},
		{name: "a new caller", path: "/v2/credentials/id-of-shop", from: "172.18.0.99", status: 503,
			body: `{"code":"Unavailable","message":"CredentialsV2Request: the Docker engine does not answer: start it","HTTPErrorCode":503}`},
	})
}

// Without Docker, callers have no addresses of their own.
func TestIsolationInAStaticDirectory(t *testing.T) {
	t.Parallel()
	configured := func(id, task, name string) *local.Container {
		return &local.Container{ID: id, EndpointID: local.EndpointID(id), Name: name, DockerName: task + "-" + name, Project: task, State: local.Running}
	}
	web, redis, blog := configured(webID, "shop", "web"), configured(redisID, "shop", "redis"), configured(otherID, "blog", "web")
	withAddress := *blog
	withAddress.Networks = []local.Network{{Name: "n", IPv4: netip.MustParseAddr("172.18.0.4")}}
	for name, test := range map[string]struct {
		containers []*local.Container
		from       string
		status     int
	}{
		"the only container":                 {[]*local.Container{web}, "127.0.0.1", 200},
		"a container of the only task":       {[]*local.Container{web, redis}, "127.0.0.1", 200},
		"one of several tasks":               {[]*local.Container{web, blog}, "127.0.0.1", 200},
		"no task at all":                     {nil, "127.0.0.1", 200},
		"known to be of another task":        {[]*local.Container{web, &withAddress}, "172.18.0.4", 403},
		"the only container, another's id":   {[]*local.Container{blog}, "127.0.0.1", 403},
		"nobody, beside one with an address": {[]*local.Container{web, &withAddress}, "127.0.0.1", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.runtime.dir.Store(local.NewDirectory(test.containers, "", local.Facts{}).Static())
			h := f.with(handlers.Deps{TaskCredentials: rolesOf([]*local.Container{web}, "shop"), IsolateCredentials: true})
			if w := f.do(h, call{path: "/v2/credentials/id-of-shop", from: test.from}); w.Code != test.status {
				t.Errorf("status %d, want %d: %s", w.Code, test.status, redacted(w.Body.String()))
			}
		})
	}
}
