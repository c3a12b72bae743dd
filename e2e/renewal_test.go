package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/google/go-cmp/cmp"
)

// An application is a process of this machine whose Go SDK holds credentials.
func startApplication(t *testing.T, env ...string) probe {
	t.Helper()
	path, err := probeProgram()
	if err != nil {
		t.Fatal(err)
	}
	p := probe{name: "application", address: "127.0.0.1:" + freePort(t, "127.0.0.1")}
	cmd := exec.Command(path, "serve", p.address)
	cmd.Env = pointedAt(t, "", append(env, "AWS_EC2_METADATA_DISABLED=true")...)
	background(t, cmd)
	p.wait(t)
	return p
}

// keyAt returns the hash of the key id that is served at a URL.
func keyAt(t *testing.T, url string) string {
	t.Helper()
	return hashOf(document[credentialsDocument](t, fromHost(t, url)).AccessKeyID)
}

// goSDKWindow is how long before their end the SDK for Go has container
// credentials end.
// https://pkg.go.dev/github.com/aws/aws-sdk-go-v2/aws#CredentialsCacheOptions
const goSDKWindow = 5 * time.Minute

func TestApplicationsRenewShortLivedCredentialsByThemselves(t *testing.T) {
	t.Parallel()
	const lifetime = 20 * time.Second
	python, _ := pythonClients(t)
	s := startServer(t, "127.0.0.1", nil, "--credentials", "offline", "--runtime", "static", "--credentials-lifetime", lifetime.String())
	url := s.url + "/role/shop-web"
	first := document[credentialsDocument](t, fromHost(t, url))
	if left := time.Until(first.Expiration); left <= 0 || left > lifetime {
		t.Errorf("what is served lives for %s, want at most %s", left, lifetime)
	}

	t.Run("Go SDK", func(t *testing.T) {
		t.Parallel()
		app := startApplication(t, fullURI+url)
		before := app.holds(t, false)
		eventually(t, longest, func() error {
			asked := time.Now() // what it holds then may end before its answer is here
			now := app.holds(t, false)
			if left := now.Expires.Sub(asked) + goSDKWindow; left <= 0 {
				t.Errorf("the SDK held what had ended %s before", -left)
			}
			if now.KeySHA256 == before.KeySHA256 {
				return errors.New("the SDK holds the same key")
			}
			return nil
		})
		if keyAt(t, url) == before.KeySHA256 {
			t.Error("the old key is served")
		}
	})
	t.Run("boto3", func(t *testing.T) {
		t.Parallel()
		cmd := exec.CommandContext(within(t, longest), python, "testdata/holding.py")
		cmd.Env = pointedAt(t, "", "AWS_EC2_METADATA_DISABLED=true", fullURI+url)
		out := json.NewDecoder(strings.NewReader(command(t, cmd)))
		var keys [2]seen
		for n := range keys {
			if err := out.Decode(&keys[n]); err != nil {
				t.Fatalf("key %d: %v", n+1, err)
			}
			if k := keys[n]; k.Method != "container-role" || !k.HasSecret || !k.HasToken {
				t.Errorf("key %d: got %+v, want temporary credentials of a container", n+1, k)
			}
		}
		if between := keys[1].Expires.Sub(keys[0].Expires); between <= 0 || between > 2*lifetime {
			t.Errorf("the second key ends %s after the first", between)
		}
		keyAt(t, url)
	})
}

// rotated runs ecs-local rotate and returns the lines that it wrote.
func rotated(t *testing.T, control string, args ...string) []string {
	t.Helper()
	args = append([]string{"rotate", "--control-listen", strings.TrimPrefix(control, "http://")}, args...)
	return strings.Split(strings.TrimSpace(command(t, exec.CommandContext(within(t, longest), program(t), args...))), "\n")
}

func TestRotateGivesApplicationsOtherKeys(t *testing.T) {
	t.Parallel()
	s := startServer(t, "127.0.0.1", nil, "--credentials", "offline", "--runtime", "static")
	urls := []string{s.url + "/role/shop-web", s.url + "/role/bank", s.url + "/creds"}
	keys := func() (all [3]string) {
		for n, url := range urls {
			all[n] = keyAt(t, url)
		}
		return all
	}
	changed := func(before, after [3]string) (all [3]bool) {
		for n := range before {
			all[n] = before[n] != after[n]
		}
		return all
	}
	app := startApplication(t, fullURI+urls[0])
	start := app.holds(t, false)
	for _, step := range []struct {
		args  []string
		lines []string
		want  [3]bool
	}{
		{[]string{"--role", "shop-web"}, []string{"rotated shop-web"}, [3]bool{true, false, false}},
		{[]string{"--session"}, []string{"rotated session"}, [3]bool{false, false, true}},
		{nil, []string{"rotated bank", "rotated session", "rotated shop-web"}, [3]bool{true, true, true}},
	} {
		before := keys()
		if diff := cmp.Diff(step.lines, rotated(t, s.control, step.args...)); diff != "" {
			t.Errorf("rotate %v (-want +got):\n%s", step.args, diff)
		}
		if got := changed(before, keys()); got != step.want {
			t.Errorf("rotate %v: other keys %v, want %v", step.args, got, step.want)
		}
	}
	if got := app.holds(t, false); got.KeySHA256 != start.KeySHA256 {
		t.Error("the SDK has another key before its credentials end")
	}
	if got := app.holds(t, true); got.KeySHA256 != keyAt(t, urls[0]) {
		t.Error("after a refresh the SDK's key is not the one that is served")
	}
	searched(t, s.control, s.output.String())
}

func TestExpiredCredentialsShowWhatSDKsDo(t *testing.T) {
	t.Parallel()
	s := startServer(t, "127.0.0.1", nil, "--credentials", "offline", "--runtime", "static", "--credentials-expired")
	for _, path := range []string{"/creds", "/role/shop-web"} {
		if got := document[credentialsDocument](t, fromHost(t, s.url+path)); !got.Expiration.Before(time.Now()) {
			t.Errorf("%s: they end at %s, want a time that is past", path, got.Expiration)
		}
	}
	type status struct{ Credentials struct{ Expired bool } }
	if !document[status](t, fromHost(t, s.control+"/v1/status")).Credentials.Expired {
		t.Error("GET /v1/status does not say that what is handed out has expired")
	}
	for _, i := range identifiers(t) {
		t.Run(i.name, func(t *testing.T) {
			where := []string{fullURI + s.url + "/role/shop-web", "AWS_ENDPOINT_URL_STS=" + s.url}
			switch i.name {
			case "boto3", "AWS CLI":
				const refusal = "the refreshed credentials are still expired"
				if arn, err := i.run(t, 0, where...); err == nil || !strings.Contains(err.Error(), refusal) {
					t.Errorf("got %q, %v; want an error that says %q", arn, err, refusal)
				}
			default: // they leave it to the service to refuse
				i.is(t, "shop-web", 0, where...)
			}
		})
	}
	searched(t, s.control, s.output.String())
}

// What env prints for a service is what a container of it needs, and no more.
func TestEnvPrintsWhatAContainerOfTheServiceNeeds(t *testing.T) {
	c := requireDocker(t)
	docker, err := exec.LookPath("docker")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", "no docker client: "+err.Error())
	}
	lockAddresses(t)
	network := trueNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: network, address: ecsAddress, linkLocal: imdsAddress}}})
	shop, bank := newRoleProject(t, side, network, "shop-web"), newRoleProject(t, side, network, "bank-ledger")
	env := func(p roleProject, format string) string {
		return command(t, exec.CommandContext(within(t, longest), program(t), "env", "--control-listen", ecsAddress+":51680",
			"--task", p.name, "--service", "web", "--format", format))
	}

	for format, line := range map[string]string{
		"shell":   "export AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=" + shop.path + "\n",
		"dotenv":  "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=" + shop.path + "\n",
		"compose": `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: "` + shop.path + "\"\n",
		"json":    `"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "` + shop.path + `"`,
	} {
		if text := env(shop, format); !strings.Contains(text, line) || strings.Contains(text, bank.path) {
			t.Errorf("--format %s: want %q in\n%s", format, line, text)
		}
	}
	t.Run("--service is enough where only one task has it", func(t *testing.T) {
		bank.compose(t, "down", "--timeout", "1")
		var text string
		eventually(t, soon, func() error {
			out, err := exec.Command(program(t), "env", "--control-listen", ecsAddress+":51680", "--service", "web", "--format", "dotenv").CombinedOutput()
			text = string(out)
			return err
		})
		if !strings.Contains(text, shop.path) {
			t.Errorf("want %s in\n%s", shop.path, text)
		}
	})
	container := func(p roleProject, file string) (found, error) {
		cid := filepath.Join(freeDir(t), "id")
		out, err := exec.CommandContext(within(t, longest), docker, "run", "--rm", "--cidfile", cid, "--network", network, "--env-file", file, "--label", labelRun+"="+run,
			"--label", "com.docker.compose.project="+p.name, "--label", "com.docker.compose.service=job", imageOf(t, probeImage), "/probe", "sdk", "--identity").Output()
		id, readErr := os.ReadFile(cid)
		if readErr != nil {
			t.Fatalf("read the container's id: %v (%v)", readErr, err)
		}
		side.engine.waitTold(t, events.ActionDie, string(id)) // the next one may have its address
		if err != nil {
			return found{}, err
		}
		return document[found](t, good(string(out))), nil
	}
	file := written(t, "shop.env", env(shop, "dotenv"))
	got, err := container(shop, file)
	if err != nil {
		t.Fatalf("docker run --env-file: %v", err)
	}
	if !strings.HasPrefix(got.CallerARN, "arn:aws:sts::000000000000:assumed-role/shop-web/") {
		t.Errorf("the container is %q, want a session of its task role", got.CallerARN)
	}
	if _, err := container(bank, file); err == nil {
		t.Error("a container of another project gets the role by the same variables")
	}

	t.Run("after ecs-local rotate the next request has another key", func(t *testing.T) {
		web := shop.web(t, c, network)
		for range 3 {
			before := document[credentialsDocument](t, web.get(t, "http://"+ecsAddress+shop.path))
			if lines := rotated(t, side.control, "--role", "shop-web"); len(lines) == 0 || !strings.Contains(lines[0], "shop-web") {
				t.Errorf("rotate said %q", lines)
			}
			after := document[credentialsDocument](t, web.get(t, "http://"+ecsAddress+shop.path))
			if after.AccessKeyID == before.AccessKeyID {
				t.Error("the key is the same after the rotation")
			}
		}
	})
	searched(t, side.control, logs(t, c, side.id))
}
