package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	localconfig "github.com/ecs-local/ecs-local/local/config"
	"github.com/ecs-local/ecs-local/local/imds"
	"github.com/ecs-local/ecs-local/local/scan"
)

const taskID = "5f0c1b7e9a2d4c3e8b6a7d1f20394857"

const taskConfig = `
region: us-east-1
account-id: "111122223333"
tasks:
  shop:
    arn: arn:aws:ecs:us-east-1:111122223333:task/demo/` + taskID + `
    containers: { web: { image: web } }
  blog:
    task-role: blog-role
    containers: { web: { image: web } }
imds:
  namespaces:
    iam-ecs-1:
      - { task: ` + taskID + `, role-type: TaskApplication, role: shop-web-task }
      - { task: ` + taskID + `, role-type: TaskExecution, role: shop-exec }
`

// eventually waits until something is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(longest); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come true", what)
		}
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// send sends a request to the control API that must succeed.
func (s *running) send(method, path, body string) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.control+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(response.Body)
		s.t.Fatalf("%s %s: %s: %s", method, path, response.Status, text)
	}
}

// paths returns where the credentials of a task's roles are.
func (s *running) paths(task string) map[string]string {
	s.t.Helper()
	type document struct {
		Name        string
		Credentials map[string]string
	}
	for _, doc := range decode[[]document](s.t, get(s.t, s.control+"/v1/tasks", 200)) {
		if doc.Name == task {
			return doc.Credentials
		}
	}
	s.t.Fatalf("no task %s", task)
	return nil
}

func keyID(t *testing.T, body []byte) string {
	t.Helper()
	return decode[struct {
		AccessKeyID string `json:"AccessKeyId"`
	}](t, body).AccessKeyID
}

func writeConfigFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ecs-local.yaml")
	write(t, path, text)
	return path
}

// The whole way: the namespace of the file, the scanner, the endpoint, the
// application's SDK.
func TestServeDeliversTheCredentialsOfATaskCheck25(t *testing.T) {
	s := start(t, "--config", writeConfigFile(t, taskConfig))
	eventually(t, "both roles", func() bool { return len(s.paths("shop")) == 2 })
	path := s.paths("shop")["TaskApplication"]
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", s.url+path)
	retrieve := func() (id, session string) {
		cfg, err := config.LoadDefaultConfig(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		c, err := cfg.Credentials.Retrieve(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return c.AccessKeyID, c.SessionToken
	}
	leaf := s.url + "/latest/meta-data/iam-ecs-1/security-credentials/" + taskID + "-TaskApplication"
	before, _ := retrieve()
	if want := keyID(t, get(t, leaf, 200)); before != want {
		t.Fatal("the SDK has other keys than the namespace")
	}
	role := decode[struct{ RoleArn string }](t, get(t, s.url+path, 200)).RoleArn
	if role != "arn:aws:iam::111122223333:role/shop-web-task" {
		t.Errorf("RoleArn %q", role)
	}

	s.send("POST", "/v1/namespaces/iam-ecs-1/credentials/"+taskID+"-TaskApplication/rotate", "")
	after := keyID(t, get(t, leaf, 200))
	if after == before {
		t.Fatal("the namespace holds the same keys after a rotation")
	}
	eventually(t, "the rotation", func() bool { id, _ := retrieve(); return id == after })

	if got := keyID(t, get(t, s.url+"/v1/credentials?id="+strings.TrimPrefix(path, "/v2/credentials/"), 200)); got != after {
		t.Error("version 1 has other keys")
	}
	s.send("DELETE", "/v1/namespaces/iam-ecs-1/credentials/"+taskID+"-TaskApplication", "")
	eventually(t, "the removal", func() bool { return status(t, s.url+path) == http.StatusBadRequest })
	for _, secret := range []string{before, after, strings.TrimPrefix(path, "/v2/credentials/")} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("the log holds keys or an id")
		}
	}
}

// A role that a label or the file gives to a task is in the namespace while
// the task runs, also after a reload and a reset.
func TestServePutsTheRolesOfTasksIntoTheNamespace(t *testing.T) {
	t.Parallel()
	file := writeConfigFile(t, taskConfig)
	s := start(t, "--config", file)
	leaf := s.url + "/latest/meta-data/iam-ecs-1/security-credentials/" + local.TaskID("blog") + "-TaskApplication"
	there := func() bool { return status(t, leaf) == 200 }
	eventually(t, "the role", there)
	eventually(t, "its credentials", func() bool { return status(t, s.url+s.paths("blog")["TaskApplication"]) == 200 })

	// Neither takes it away for a moment, or gives it other keys.
	before := keyID(t, get(t, leaf, 200))
	kept := func(after string) {
		t.Helper()
		if keyID(t, get(t, leaf, 200)) != before {
			t.Errorf("other keys after a %s", after)
		}
	}
	s.send("POST", "/v1/reset", "")
	kept("reset")
	write(t, file, taskConfig+"  tags: { Name: web }\n")
	s.await(`msg="configuration loaded"`)
	eventually(t, "the reload", func() bool { return status(t, s.url+"/latest/meta-data/tags/instance/Name") == 200 })
	kept("reload")
	get(t, s.url+s.paths("blog")["TaskApplication"], 200)
	write(t, file, strings.Replace(taskConfig, "    task-role: blog-role\n", "", 1))
	eventually(t, "the end of the role", func() bool { return status(t, leaf) == http.StatusNotFound })
	eventually(t, "the end of its path", func() bool { return len(s.paths("blog")) == 0 })
}

func TestServeScansAnotherInstance(t *testing.T) {
	t.Parallel()
	other := start(t, "--config", writeConfigFile(t, taskConfig))
	leaf := other.url + "/latest/meta-data/iam-ecs-1/security-credentials/" + taskID + "-TaskExecution"
	eventually(t, "the credentials", func() bool { return status(t, leaf) == 200 })
	config, _, _ := strings.Cut(taskConfig, "imds:")
	s := start(t, "--config", writeConfigFile(t, config), "--scan-endpoint", other.url, "--scan-interval", "50ms")
	eventually(t, "the path", func() bool { return s.paths("shop")["TaskExecution"] != "" })
	if got, want := keyID(t, get(t, s.url+s.paths("shop")["TaskExecution"], 200)), keyID(t, get(t, leaf, 200)); got != want {
		t.Error("other keys than those of the other instance")
	}
}

func TestServeReloadsTheInstance(t *testing.T) {
	t.Parallel()
	file := writeConfigFile(t, "imds: { instance: { instance-id: i-00000000000000001 } }\n")
	s := start(t, "--config", file)
	id := func() string { return string(get(t, s.url+"/latest/meta-data/instance-id", 200)) }
	if got := id(); got != "i-00000000000000001" {
		t.Fatalf("instance-id %q", got)
	}
	write(t, file, "imds: { instance: { instance-id: i-00000000000000002 } }\n")
	s.await(`msg="configuration loaded"`)
	if got := id(); got != "i-00000000000000002" {
		t.Errorf("instance-id %q after a change", got)
	}
	write(t, file, "imds:\n  instance: { instance-id: i-3 }\n")
	s.await(`configuration refused; the old one stays in force.*ecs-local.yaml:2: imds.instance.instance-id`)
	if got := id(); got != "i-00000000000000002" {
		t.Errorf("instance-id %q after a refused change", got)
	}
}

func TestTokensAreRequiredByFlagThenVariableThenFile(t *testing.T) {
	const required, optional = "imds: { tokens: required }\n", "imds: { tokens: optional }\n"
	for name, test := range map[string]struct {
		file, variable, flag string
		want                 int
	}{
		"nobody says":            {"{}\n", "", "", 200},
		"the file":               {required, "", "", 401},
		"the variable over file": {optional, "required", "", 401},
		"the flag over both":     {required, "required", "optional", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("ECS_LOCAL_IMDS_TOKENS", test.variable)
			args := []string{"--config", writeConfigFile(t, test.file)}
			if test.flag != "" {
				args = append(args, "--imds-tokens", test.flag)
			}
			if got := status(t, start(t, args...).url+"/latest/meta-data/"); got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
		})
	}
}

func TestStateSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "by us")
	config := writeConfigFile(t, taskConfig)
	run := func(state string) (path string, certificate []byte) {
		s := start(t, "--config", config, "--state-dir", state)
		eventually(t, "the path", func() bool { return s.paths("blog")["TaskApplication"] != "" })
		pem := filepath.Join(state, identityFile)
		eventually(t, "the keys", func() bool { _, err := os.Stat(pem); return err == nil })
		text, err := os.ReadFile(pem)
		if err != nil {
			t.Fatal(err)
		}
		identity, err := imds.ParseIdentity(text)
		if err != nil {
			t.Fatal(err)
		}
		return s.paths("blog")["TaskApplication"], identity.Certificates()[0].PEM
	}
	firstPath, firstCertificate := run(dir)
	if !regexp.MustCompile(`^/v2/credentials/[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(firstPath) {
		t.Errorf("the path %q is not that of a UUID", firstPath)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, identityFile): 0o600, filepath.Join(dir, secretFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(path), got, want)
		}
	}
	if path, certificate := run(dir); path != firstPath || !bytes.Equal(certificate, firstCertificate) {
		t.Error("another path or certificate after a restart")
	}
	if path, certificate := run(t.TempDir()); path == firstPath || bytes.Equal(certificate, firstCertificate) {
		t.Error("the same path or certificate with another state directory: it can be guessed")
	}
}

func TestServeWithoutAPlaceForItsState(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", filepath.Join(writeConfigFile(t, ""), "below a file"))
	s := start(t, "--config", writeConfigFile(t, taskConfig))
	s.await(`no state directory`)
	eventually(t, "the path", func() bool { return s.paths("blog")["TaskApplication"] != "" })
}

func TestInstanceConfigInFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"an unknown key": {"imds:\n  instance:\n    instanceid: i-1\n",
			`f.yaml:3: imds.instance.instanceid: unknown key: did you mean "instance-id"?`},
		"the line of what was given": {"imds:\n  instance:\n    region: eu-central-1\n    availability-zone: us-east-1a\n",
			`f.yaml:4: imds.instance.availability-zone: "us-east-1a" is not a zone of eu-central-1: it looks like eu-central-1a`},
		"a path with dots": {"imds:\n  metadata:\n    a/../b: x\n",
			`f.yaml:3: imds.metadata.a/../b: "a/../b" is not a path: leave out empty names, . and ..`},
		"all at once, in the order of the lines": {"imds:\n  tokens: maybe\n  hop-limit: 99\n  endpoint: off\n",
			"f.yaml:2: imds.tokens: \"maybe\" is not valid: use optional, required\n" +
				"f.yaml:3: imds.hop-limit: 99 is not valid: use 1 to 64\n" +
				"f.yaml:4: imds.endpoint: \"off\" is not valid: use enabled, disabled"},
		"with those of the rest of the file": {"imds:\n  tokens: maybe\nregion: x\n",
			"f.yaml:2: imds.tokens: \"maybe\" is not valid: use optional, required\n" +
				"f.yaml:3: region must be a region such as us-east-1, not \"x\""},
		"a list": {"imds:\n  namespaces:\n    iam-ecs-1:\n      - { task: a-b, role-type: Other, role: r }\n",
			"f.yaml:4: imds.namespaces.iam-ecs-1[0].task: must be the id of a task: 32 hex digits, without \"-\"\n" +
				"f.yaml:4: imds.namespaces.iam-ecs-1[0].role-type: must be TaskApplication or TaskExecution"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f.yaml")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := loadSettings(path, local.Facts{}, "")
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), path, "f.yaml")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheInstanceIsWhereEverythingElseIs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		facts           local.Facts
		values          map[string]any
		region, account string
	}{
		"the file or AWS_REGION":  {local.Facts{Region: "eu-central-1", Account: "111122223333"}, nil, "eu-central-1", "111122223333"},
		"the section wins":        {local.Facts{Region: "eu-central-1", Account: "111122223333"}, map[string]any{"instance": map[string]any{"region": "us-west-2", "account-id": "222233334444"}}, "us-west-2", "222233334444"},
		"a zone says the region":  {local.Facts{Region: "eu-central-1"}, map[string]any{"instance": map[string]any{"availability-zone": "us-east-1b"}}, "", ""},
		"AWS_REGION is no region": {local.Facts{Region: "local"}, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, problems := instanceConfig("", &localconfig.Section{Values: test.values}, test.facts)
			if len(problems) > 0 || c.Instance.Region != test.region || c.Instance.AccountID != test.account {
				t.Errorf("%q, %q, %v", c.Instance.Region, c.Instance.AccountID, problems)
			}
		})
	}
}

// A tree that was recorded on a real instance is replayed value for value.
func TestARecordedTreeIsReplayed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../testdata/imds-recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Requests []struct {
			Method, Path string
			Status       int
			Body         *string
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	want := tree{values: map[string]string{}}
	plainPath := regexp.MustCompile(`^/latest/((?:meta-data|dynamic)/[^?%]*[^/?%])$`)
	for _, r := range recorded.Requests {
		if found := plainPath.FindStringSubmatch(r.Path); found != nil && r.Method == "GET" && r.Status == 200 && r.Body != nil && *r.Body != "" {
			want.values[found[1]] = *r.Body
		}
	}
	for path := range want.values { // listings are no values
		name := regexp.MustCompile(`/(tags/instance|placement|services|public-keys|tags|network|network/interfaces|block-device-mapping|instance-identity|0e:ff:d5:40:fe:7d)$`)
		if name.MatchString(path) {
			delete(want.values, path)
		}
	}
	if len(want.values) < 20 {
		t.Fatalf("only %d values", len(want.values))
	}
	section, lost, err := replayable(want)
	if err != nil || len(lost) > 0 {
		t.Fatal(err, lost)
	}
	got := replay(t, section)
	// Nobody recorded these, and the replay signs the document itself.
	if diff := cmp.Diff(want.values, got.values); diff != "" {
		t.Errorf("(-recorded +replayed):\n%s", diff)
	}
}

// replay writes a section to a file, reads it, and returns what it makes.
func replay(t *testing.T, section map[string]any) tree {
	t.Helper()
	return replayAt(t, section, local.Facts{})
}

// replayAt does so where everything else is in a region and an account.
func replayAt(t *testing.T, section map[string]any, facts local.Facts) tree {
	t.Helper()
	var text bytes.Buffer
	if err := writeConfig(&text, "yaml", map[string]any{"imds": section}); err != nil {
		t.Fatal(err)
	}
	file, err := localconfig.Parse("dump.yaml", text.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, text.Bytes())
	}
	c, problems := instanceConfig("", file.IMDS, facts)
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, text.Bytes())
	}
	service, err := imds.New(c, imds.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	got := tree{values: map[string]string{}}
	got.read(service, "")
	return got
}

// What no instance of ours could have is replayed all the same, as values.
func TestAnOddTreeIsReplayed(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]map[string]string{
		"nothing":            {},
		"ids of a mock":      {"meta-data/instance-id": "i-1234567890abcdef", "meta-data/ami-id": "none", "meta-data/mac": "nonsense"},
		"an impossible zone": {"meta-data/placement/region": "moon-1", "meta-data/placement/availability-zone": "mars"},
		"a value for a dir":  {"meta-data/placement": "here", "meta-data/services": ""},
		"a dir for a value":  {"meta-data/instance-id/deep/er": "x"},
		"bytes":              {"user-data": "\x1f\x8b\x00\xff", "meta-data/custom/bytes": "\x00\xff\xfe"},
		"text":               {"meta-data/a": " lead", "meta-data/b": "no", "meta-data/c": "1e3", "meta-data/d": "a: b\n- c\n", "meta-data/e": "\u2028\u0085\ufeff", "meta-data/f": "~", "meta-data/g": "\r\n\t"},
		"namespaces":         {"meta-data/iam-ecs-1/info": "nonsense", "meta-data/iam-ecs-foo/info": `{"LastUpdated":"2026-06-30T17:00:00Z","TaskCredentials":{}}`, "meta-data/iam-ecs-2/info": `{"TaskCredentials":{"a-Other":"0"}}`},
		"a name like a top":  {"meta-data/dynamic/x": "1", "meta-data/meta-data/y": "2", "meta-data/user-data": "3"},
		"user data too long": {"user-data": strings.Repeat("x", 20<<10)},
		"interfaces at odds": {"meta-data/mac": "0e:00:00:00:00:01", "meta-data/network/interfaces/macs/0e:00:00:00:00:01/local-ipv4s": "10.0.0.5", "meta-data/network/interfaces/macs/0e:00:00:00:00:01/subnet-ipv4-cidr-block": "192.168.0.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			section, lost, err := replayable(tree{values: values})
			if err != nil || len(lost) > 0 {
				t.Fatal(err, lost)
			}
			if diff := cmp.Diff(values, replay(t, section).values); diff != "" {
				t.Errorf("(-dumped +replayed):\n%s", diff)
			}
		})
	}
}

// AWS_REGION and the account of whoever replays a dump move nothing, however
// little the dump says of its own.
func TestAReplayIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	document := func(key, value string) map[string]string {
		return map[string]string{"dynamic/instance-identity/document": fmt.Sprintf("{%q: %q}", key, value)}
	}
	for name, values := range map[string]map[string]string{
		"nothing":               {},
		"an id":                 {"meta-data/instance-id": "i-04b098f5de41d11e6"},
		"an impossible address": {"meta-data/mac": "nonsense"},
		"names in a region":     {"meta-data/local-hostname": "ip-10-237-0-16.ec2.internal", "meta-data/services/partition": "aws"},
		"a zone":                {"meta-data/placement/availability-zone": "us-west-2b", "meta-data/local-hostname": "ip-10-0-0-1.us-west-2.compute.internal"},
		"a region":              document("region", "eu-west-1"),
		"an account":            document("accountId", "222233334444"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			section, lost, err := replayable(tree{values: values})
			if err != nil || len(lost) > 0 {
				t.Fatal(err, lost)
			}
			if i, ok := section["instance"].(map[string]any); !ok || i["region"] == nil && i["availability-zone"] == nil || i["account-id"] == nil {
				t.Errorf("region and account are open: %v", section)
			}
			got := replayAt(t, section, local.Facts{Region: "cn-north-1", Account: "999988887777"})
			if diff := cmp.Diff(values, got.values); diff != "" {
				t.Errorf("(-dumped +replayed):\n%s", diff)
			}
			again, _, err := replayable(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(section, again); diff != "" {
				t.Errorf("the dump of the replay (-original +replay):\n%s", diff)
			}
		})
	}
}

// Before there was placement/region, only the identity document told it.
func TestTheDumpOfAnOldInstanceDescribesItsRegion(t *testing.T) {
	t.Parallel()
	section, _, err := replayable(tree{values: map[string]string{
		"meta-data/placement/availability-zone": "us-west-2b",
		"dynamic/instance-identity/document":    `{"region": "us-west-2", "accountId": "222233334444"}`,
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"region": "us-west-2", "availability-zone": "us-west-2b", "account-id": "222233334444"}
	if diff := cmp.Diff(want, section["instance"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestADumpTellsWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	_, lost, err := replayable(tree{values: map[string]string{"meta-data/tags/instance/a b": "c", "meta-data/instance-id": "odd"}})
	if diff := cmp.Diff([]string{"tags/instance/a b"}, lost); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestScanLogTellsWhatChanges(t *testing.T) {
	t.Parallel()
	var out output
	log, flush := newLog(&out, "info", "text")
	s := scanLog{log: log}
	lines := func() int { flush(); return strings.Count(out.String(), "\n") }
	one := scan.Failure{Namespace: "iam-ecs-1", Err: local.Errorf(local.NotFound, "absent")}
	two := scan.Failure{Namespace: "iam-ecs-2", Name: "a-TaskExecution", Err: local.Errorf(local.NotFound, "gone too")}
	refused := scan.Entry{Namespace: "iam-ecs-3", Key: scan.Key{TaskID: "b", RoleType: scan.TaskApplication}, RoleARN: "arn:aws:iam::1:role/no"}
	for i, step := range []struct {
		report scan.Report
		lines  int
		says   string // in the last line
	}{
		{scan.Report{}, 0, ""}, {scan.Report{Changed: 1}, 1, "changed=1"}, {scan.Report{}, 1, ""},
		{scan.Report{Failures: 1, Failed: []scan.Failure{one}}, 2, "read info of iam-ecs-1: absent"},
		{scan.Report{Failures: 1, Failed: []scan.Failure{one}}, 2, ""},
		{scan.Report{Failures: 2, Failed: []scan.Failure{one, two}}, 3, "read credentials a-TaskExecution of iam-ecs-2: gone too"},
		{scan.Report{Err: local.Errorf(local.Denied, "off"), Failures: 1}, 4, "reason=off"},
		{scan.Report{Err: local.Errorf(local.Denied, "off"), Failures: 1}, 4, ""},
		{scan.Report{}, 5, "failures=0"}, {scan.Report{}, 5, ""},
		{scan.Report{Denied: 1, DeniedRoles: []scan.Entry{refused}}, 7, "denied=1"}, {scan.Report{}, 7, ""},
	} {
		s.report(step.report)
		if lines() != step.lines {
			t.Errorf("step %d: %d lines, want %d:\n%s", i, lines(), step.lines, &out)
		}
		all := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := all[len(all)-1]; !strings.Contains(last, step.says) {
			t.Errorf("step %d: %s, want %q", i, last, step.says)
		}
	}
	if want := "namespace=iam-ecs-3 credentials=b-TaskApplication role=arn:aws:iam::1:role/no"; !strings.Contains(out.String(), want) {
		t.Errorf("the role that cannot be assumed is not named: %s", &out)
	}
}

func TestScansAreMeasured(t *testing.T) {
	t.Parallel()
	set := metrics.NewSet()
	m := newScanMetrics(set)
	m.report(scan.Report{Took: time.Second, Namespaces: 9, Credentials: 8, Changed: 3, Failures: 2, Requests: 11})
	m.report(scan.Report{Took: 250 * time.Millisecond, Namespaces: 4, Credentials: 6, Changed: 1, Failures: 5, Requests: 7, Err: local.Errorf(local.Denied, "off")})
	var page bytes.Buffer
	set.WritePrometheus(&page)
	want := strings.Join([]string{
		"ecs_local_scan_credentials 6",
		"ecs_local_scan_credentials_changed_total 4",
		"ecs_local_scan_duration_seconds 0.25",
		"ecs_local_scan_failures_total 7",
		"ecs_local_scan_namespaces 4",
		"ecs_local_scan_requests_total 18",
		"ecs_local_scans_failed_total 1",
		"ecs_local_scans_total 2",
	}, "\n") + "\n"
	if diff := cmp.Diff(want, page.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	docs, err := os.ReadFile("../docs/endpoints.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(want) {
		if name, _, _ := strings.Cut(line, " "); !strings.Contains(string(docs), "`"+name+"`") {
			t.Errorf("%s is not documented", name)
		}
	}
}

func TestExitCodesOfTheClientCommands(t *testing.T) {
	t.Parallel()
	s := start(t)
	patient := longest.String()
	for name, test := range map[string]struct {
		args []string
		want int
	}{
		"a value":     {[]string{"imds", "get", "instance-id", "--timeout", patient, "--endpoint", s.url}, exitOK},
		"a listing":   {[]string{"imds", "ls", "--timeout", patient, "--endpoint", s.url}, exitOK},
		"a dump":      {[]string{"imds", "dump", "--rate", "1000", "--timeout", patient, "--endpoint", s.url}, exitOK},
		"a scan":      {[]string{"scan", "--timeout", patient, "--endpoint", s.url}, exitOK},
		"absent":      {[]string{"imds", "get", "nothing", "--endpoint", s.url}, exitFailure},
		"nobody":      {[]string{"imds", "dump", "--timeout", "500ms", "--endpoint", "http://127.0.0.1:1"}, exitFailure},
		"no scan":     {[]string{"scan", "--timeout", "500ms", "--endpoint", "http://127.0.0.1:1"}, exitFailure},
		"no path":     {[]string{"imds", "get", "--endpoint", s.url}, exitMisuse},
		"no command":  {[]string{"imds"}, exitMisuse},
		"no URL":      {[]string{"scan", "--endpoint", "x"}, exitMisuse},
		"a bad rate":  {[]string{"scan", "--rate=-1", "--endpoint", s.url}, exitMisuse},
		"no format":   {[]string{"imds", "dump", "--format", "toml"}, exitMisuse},
		"a bad state": {[]string{"imds", "cert", "--state-dir", os.DevNull}, exitMisuse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, messages output
			code := run(context.Background(), test.args, environment{stdout: &out, stderr: &messages})
			if code != test.want || (code == exitOK) != (out.String() != "" || name == "a scan") || (code == exitOK) != (messages.String() == "") {
				t.Errorf("exit %d, want %d; %d bytes out; messages %q", code, test.want, len(out.String()), &messages)
			}
		})
	}
}
