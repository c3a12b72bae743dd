package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The role of imdsFile.
const instanceRole = "shop-web"

// seen is what a client in another language than Go prints.
type seen struct {
	Method     string    `json:"method"`
	KeySHA256  string    `json:"keySHA256"`
	HasSecret  bool      `json:"hasSecret"`
	HasToken   bool      `json:"hasToken"`
	Expires    time.Time `json:"expires"`
	Region     string    `json:"region"`
	InstanceID string    `json:"instanceID"`
}

// check compares what a client saw with what the instance at a URL serves.
func (s seen) check(t *testing.T, url string) {
	t.Helper()
	i := instanceAt(t, url)
	if s.KeySHA256 != i.key(t, "iam/security-credentials/"+instanceRole) {
		t.Error("the client's key is not the one that the instance serves to those with a token")
	}
	if !s.HasSecret || !s.HasToken {
		t.Errorf("got secret %t, token %t; want both", s.HasSecret, s.HasToken)
	}
	if left := time.Until(s.Expires); left < 20*time.Minute || left > 12*time.Hour {
		t.Errorf("the client thinks that they expire in %s", left)
	}
	if want := i.value(t, "meta-data/placement/region"); s.Region != want {
		t.Errorf("got region %q, want %q", s.Region, want)
	}
}

func TestInstanceAnswersNobodyWithoutAToken(t *testing.T) {
	t.Parallel()
	s := startInstance(t, nil, "--credentials", "offline")
	for _, path := range []string{"/latest/meta-data/instance-id", "/latest/meta-data/iam/security-credentials/" + instanceRole, "/"} {
		if a := request(t, http.MethodGet, s.url+path, "", nil); a.Status != http.StatusUnauthorized || a.Body != "" {
			t.Errorf("%s: got status %d, %q; want an empty 401", path, a.Status, a.Body)
		}
	}
}

func TestBoto3AndTheCLIFindTheInstance(t *testing.T) {
	t.Parallel()
	python, cli := pythonClients(t)
	endpoint := sts(t)
	s := startInstance(t, []string{
		"STS_ENDPOINT=" + endpoint, "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=not-a-secret",
	}, "--credentials", "sts")
	run := func(t *testing.T, program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		// They give an instance one second to answer. A busy machine may need longer.
		cmd.Env = pointedAt(t, s.url, "AWS_METADATA_SERVICE_TIMEOUT=10")
		return strings.TrimSpace(command(t, cmd))
	}

	t.Run("boto3", func(t *testing.T) {
		t.Parallel()
		var got seen
		if err := json.Unmarshal([]byte(run(t, python, "testdata/imds.py")), &got); err != nil {
			t.Fatalf("decode what boto3 saw: %v", err)
		}
		if got.Method != "iam-role" {
			t.Errorf("boto3 has its credentials from %q, want iam-role", got.Method)
		}
		got.check(t, s.url)
	})
	t.Run("aws configure list", func(t *testing.T) {
		t.Parallel()
		if got := run(t, cli, "configure", "list"); strings.Count(got, "iam-role") != 2 {
			t.Errorf("want access key and secret key from iam-role, got:\n%s", got)
		}
	})
	t.Run("aws sts get-caller-identity", func(t *testing.T) {
		t.Parallel()
		got := run(t, cli, "sts", "get-caller-identity", "--query", "Arn", "--output", "text", "--region", "eu-west-1", "--endpoint-url", endpoint)
		if want := "arn:aws:sts::" + motoAccount + ":assumed-role/" + instanceRole + "/"; !strings.HasPrefix(got, want) {
			t.Errorf("got identity %q, want %q…", got, want)
		}
	})
}

// pythonClients returns the Python that has boto3, and the AWS CLI.
func pythonClients(t *testing.T) (python, cli string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err == nil {
		err = exec.CommandContext(t.Context(), python, "-c", "import boto3").Run()
	}
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no Python with boto3: "+err.Error())
	}
	cli, err = exec.LookPath("aws")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no AWS CLI: "+err.Error())
	}
	return python, cli
}

func TestJavaScriptSDKFindsTheInstance(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no Node.js: "+err.Error())
	}
	script, err := os.ReadFile("clients/imds.mjs")
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	path := written(t, "imds.mjs", string(script))
	if err := os.Symlink(filepath.Join(clients(t, "javascript"), "node_modules"), filepath.Join(filepath.Dir(path), "node_modules")); err != nil {
		t.Fatalf("link modules: %v", err)
	}
	s := startInstance(t, nil, "--credentials", "offline")

	cmd := exec.CommandContext(within(t, longest), node, path)
	cmd.Env = pointedAt(t, s.url)
	var got seen
	if err := json.Unmarshal([]byte(command(t, cmd)), &got); err != nil {
		t.Fatalf("decode what the SDK saw: %v", err)
	}
	got.check(t, s.url)
	if want := "i-04b098f5de41d11e6"; got.InstanceID != want {
		t.Errorf("got instance id %q, want %q", got.InstanceID, want)
	}
}
