package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// imdsFile describes the instance of the tests' clients: all of its optional
// parts are there, and it answers only those who bring a token.
const imdsFile = "testdata/imds.yml"

// startInstance starts ecs-local as the instance of imdsFile, on loopback.
func startInstance(t *testing.T, env []string, args ...string) server {
	t.Helper()
	return startServer(t, "127.0.0.1", env, append([]string{"--runtime", "static", "--config", absolute(t, imdsFile)}, args...)...)
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	name, err := filepath.Abs(name)
	if err != nil {
		t.Fatalf("find %s: %v", name, err)
	}
	return name
}

// pointedAt is the whole environment of a client of the instance at a URL. It
// has the settings of nobody, goes through no proxy, and the SDKs look for an
// instance nowhere else. Without a URL they look at 169.254.169.254: only for
// clients in a network of the test, where that address is ecs-local's.
func pointedAt(t *testing.T, url string, more ...string) []string {
	t.Helper()
	none := written(t, "none", "")
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(none), "LANG=C.UTF-8",
		"AWS_CONFIG_FILE=" + none, "AWS_SHARED_CREDENTIALS_FILE=" + none, "NO_PROXY=*", "no_proxy=*",
	}
	if url != "" {
		env = append(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+url)
	}
	return append(env, more...)
}

// An instance is asked with a token, as the tests do it themselves.
type instance struct {
	url   string
	token string
}

// instanceAt gets a token.
func instanceAt(t *testing.T, url string) instance {
	t.Helper()
	a := request(t, http.MethodPut, url+"/latest/api/token", "", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"600"}})
	if a.Status != http.StatusOK {
		t.Fatalf("PUT /latest/api/token: got status %d: %s", a.Status, a.Body)
	}
	return instance{url: url, token: a.Body}
}

func (i instance) get(t *testing.T, path string) answer {
	t.Helper()
	return request(t, http.MethodGet, i.url+path, "", http.Header{"X-Aws-Ec2-Metadata-Token": {i.token}})
}

// value returns the value at a path below /latest.
func (i instance) value(t *testing.T, path string) string {
	t.Helper()
	a := i.get(t, "/latest/"+path)
	if a.Status != http.StatusOK {
		t.Fatalf("GET /latest/%s: got status %d", path, a.Status)
	}
	return a.Body
}

// key returns the SHA-256 of the access key id in the credentials at a path
// below /latest/meta-data.
func (i instance) key(t *testing.T, path string) string {
	t.Helper()
	var c credentialsDocument
	if err := json.Unmarshal([]byte(i.value(t, "meta-data/"+path)), &c); err != nil || c.AccessKeyID == "" {
		t.Fatalf("the value at %s is no credentials: %v", path, err)
	}
	return hashOf(c.AccessKeyID)
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// walk returns what a version of meta-data holds, by path: every leaf that a
// listing names, but for credentials, and every directory, with a slash at its
// end. A name that is listed and cannot be had fails the test.
func (i instance) walk(t *testing.T, version string) map[string]string {
	t.Helper()
	values := map[string]string{}
	var visit func(at string)
	visit = func(at string) {
		a := i.get(t, "/"+version+"/meta-data/"+at)
		if a.Status != http.StatusOK {
			t.Errorf("/%s/meta-data/%s is listed: got status %d", version, at, a.Status)
			return
		}
		values[at] = a.Body
		if at != "" && !strings.HasSuffix(at, "/") {
			return
		}
		for name := range strings.SplitSeq(a.Body, "\n") {
			number, _, isKey := strings.Cut(name, "=")
			switch {
			case name == "":
				t.Errorf("/%s/meta-data/%s lists an empty name: %q", version, at, a.Body)
			case strings.TrimSuffix(name, "/") == "security-credentials":
			case isKey && at == "public-keys/":
				visit(at + number + "/openssh-key")
			default:
				visit(at + name)
			}
		}
	}
	visit("")
	return values
}

// request sends one request of the test itself.
func request(t *testing.T, method, url, body string, header http.Header) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	if header != nil {
		req.Header = header
	}
	res, err := direct.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = res.Body.Close() }()
	answered, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read %s: %v", url, err)
	}
	handedOut.note(string(answered))
	return answer{URL: url, Status: res.StatusCode, Header: res.Header, Body: string(answered)}
}

// clients returns a folder of what scripts/e2e-clients.sh fetched.
func clients(t *testing.T, name string) string {
	t.Helper()
	build := os.Getenv("ECS_LOCAL_BUILD")
	if build == "" {
		build = filepath.Join(repository(), "build")
	}
	dir := filepath.Join(build, "clients", name)
	if _, err := os.Stat(dir); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", fmt.Sprintf("%v: run scripts/e2e-clients.sh, which says what it cannot fetch", err))
	}
	return dir
}
