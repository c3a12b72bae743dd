package cli

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// served is the answer of a credentials endpoint.
type served struct {
	RoleArn     string
	AccessKeyID string `json:"AccessKeyId"`
	Expiration  time.Time
}

func (s *running) served(path string) served {
	s.t.Helper()
	return decode[served](s.t, get(s.t, s.url+path, http.StatusOK))
}

// delivered waits for the credentials of a task's role.
func (s *running) delivered(task string) (path string) {
	s.t.Helper()
	eventually(s.t, "the credentials of "+task, func() bool {
		path = s.paths(task)["TaskApplication"]
		return path != "" && status(s.t, s.url+path) == http.StatusOK
	})
	return path
}

func TestAKeyKeepsIDsWithoutAStateDirectory(t *testing.T) {
	t.Parallel()
	path := func(args ...string) string {
		return start(t, append(args, "--config", writeConfigFile(t, taskConfig), "--state-dir", t.TempDir())...).delivered("blog")
	}
	key := "0123456789abcdef"
	first := path("--state-key", key)
	if again := path("--state-key", key); again != first {
		t.Error("the same key makes another id")
	}
	if other := path("--state-key", key+"x"); other == first {
		t.Error("another key makes the same id")
	}
}

// A namespace of the form "code" does not tell the role of a task; its
// credentials do all the same.
func TestRoleArnIsAlwaysThere(t *testing.T) {
	t.Parallel()
	s := start(t, "--config", writeConfigFile(t, `
account-id: "444455556666"
tasks: { shop: { task-role: team/web, containers: { web: {} } } }
imds: { namespace-format: code }
`))
	if got := s.served(s.delivered("shop")).RoleArn; got != "arn:aws:iam::444455556666:role/team/web" {
		t.Errorf("RoleArn is %q", got)
	}
}

func TestCredentialsLiveAsLongAsWanted(t *testing.T) {
	t.Parallel()
	s := start(t, "--config", writeConfigFile(t, taskConfig), "--credentials-lifetime", "5s")
	task := s.delivered("blog")
	for _, path := range []string{"/creds", "/role/web", task} {
		first := ""
		eventually(t, "new keys at "+path, func() bool {
			asked := time.Now()
			body, code := answerOf(t, s.url+path)
			if path == task && code == http.StatusServiceUnavailable { // the next ones are late
				return false
			}
			if code != http.StatusOK {
				t.Fatalf("%s: status %d", path, code)
			}
			now := decode[served](t, body)
			if now.Expiration.Before(asked.Add(-time.Second)) { // it is told in whole seconds
				t.Errorf("%s: expired credentials are handed out", path)
			}
			if now.Expiration.After(time.Now().Add(5 * time.Second)) {
				t.Errorf("%s: they end at %s, want 5s from now at most", path, now.Expiration)
			}
			if first == "" {
				first = now.AccessKeyID
			}
			return now.AccessKeyID != first
		})
	}
}

func TestCredentialsThatSayTheyHaveExpired(t *testing.T) {
	t.Parallel()
	s := start(t, "--config", writeConfigFile(t, taskConfig), "--credentials-expired")
	for _, path := range []string{"/creds", "/role/web", s.delivered("blog")} {
		if got := s.served(path); got.AccessKeyID == "" || time.Now().Before(got.Expiration) {
			t.Errorf("%s: expires at %s", path, got.Expiration)
		}
	}
}

// Rotation reaches every place from which credentials are handed out.
func TestRotation(t *testing.T) {
	t.Parallel()
	s := start(t, "--config", writeConfigFile(t, taskConfig))
	task := s.delivered("blog")
	paths := []string{"/creds", "/role/one", "/role/two", task}
	keys := func() map[string]string {
		all := map[string]string{}
		for _, path := range paths {
			all[path] = s.served(path).AccessKeyID
		}
		return all
	}
	changed := func(before map[string]string, want ...string) {
		t.Helper()
		for _, path := range paths {
			wanted := strings.Contains(strings.Join(want, " "), path)
			if wanted {
				eventually(t, "other keys at "+path, func() bool { return s.served(path).AccessKeyID != before[path] })
			} else if s.served(path).AccessKeyID != before[path] {
				t.Errorf("%s has other keys", path)
			}
		}
	}
	before := keys()
	s.send("POST", "/v1/credentials/rotate", `{"role": "arn:aws:iam::111122223333:role/one"}`)
	changed(before, "/role/one")
	before = keys()
	s.send("POST", "/v1/credentials/rotate", `{"session": true}`)
	changed(before, "/creds")
	before = keys()
	s.send("POST", "/v1/credentials/rotate", `{"role": "blog-role"}`)
	changed(before, task)
	before = keys()
	s.send("POST", "/v1/credentials/rotate", "")
	changed(before, paths...)
}

// A task's first request waits for credentials that STS is slow to give, and a
// role that STS refuses is named in the log, with what to do.
func TestTaskCredentialsFromASlowSTS(t *testing.T) {
	a := newAmazon(t)
	calls := map[string]int{}
	a.refuse = func(form map[string]string) (int, string, string) {
		if form["Action"] != "AssumeRole" {
			return 0, "", ""
		}
		calls[form["RoleArn"]]++
		if strings.HasSuffix(form["RoleArn"], "/refused") {
			return 403, "AccessDenied", "not authorized"
		}
		time.Sleep(400 * time.Millisecond)
		return 0, "", ""
	}
	developer(t, a, "", keysProfile, nil)
	const tasks = "tasks:\n  shop:\n    containers: { web: { image: web } }\n"
	file := writeConfigFile(t, tasks)
	s := start(t, "--credentials", "sts", "--config", file)
	getSettled(t, s.url+"/creds", 200) // STS knows who we are
	write(t, file, tasks+"    task-role: arn:aws:iam::111122223333:role/slow\n    execution-role: arn:aws:iam::111122223333:role/refused\n")
	eventually(t, "the paths", func() bool { return len(s.paths("shop")) == 2 })
	tries := 0
	eventually(t, "the credentials", func() bool {
		began := time.Now()
		body, code := answerOf(t, s.url+s.paths("shop")["TaskApplication"])
		if tries++; code == http.StatusOK {
			return true
		}
		// On a busy machine a request may have waited for as long as it may.
		if waited := time.Since(began); code != http.StatusServiceUnavailable || waited < 1500*time.Millisecond {
			t.Fatalf("status %d after %s: %s", code, waited, body)
		}
		return false
	})
	get(t, s.url+s.paths("shop")["TaskExecution"], 503)

	id := local.TaskID("shop")
	const ns = "/latest/meta-data/iam-ecs-1/"
	get(t, s.url+ns+"security-credentials/"+id+"-TaskExecution", 404)
	eventually(t, "that info tells of the refused role", func() bool {
		info := decode[struct {
			TaskCredentials map[string]struct{ RoleARN, Code string }
		}](t, get(t, s.url+ns+"info", 200)).TaskCredentials
		got := info[id+"-TaskExecution"]
		return got.Code == "AssumeRoleUnauthorizedAccess" && got.RoleARN == "arn:aws:iam::111122223333:role/refused"
	})
	s.await(`msg="role cannot be assumed" role="arn:aws:iam::111122223333:role/refused for iam-ecs-1/` + id + `-TaskExecution" reason=".*trust policy`)
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := calls["arn:aws:iam::111122223333:role/slow"]; n < 1 || n > tries { // a request that gives up may take its call with it
		t.Errorf("%d calls for one role that was asked for %d times", n, tries)
	}
}
