package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/client"
)

// An identifier is an unmodified client that prints its ARN, as STS tells it.
type identifier struct {
	name string
	// words are the command.
	words []string
	// trust returns what the client needs, beside the variables of ecs-local env
	// --form tls, to trust the certificate in a file for its container's endpoint.
	// It may be nil.
	trust func(t *testing.T, ca string) []string
	// deaf are variables of that kind that it does not heed there.
	deaf []string
}

// identifiers are those of all languages.
func identifiers(t *testing.T) []identifier {
	t.Helper()
	python, cli := pythonClients(t)
	node, err := exec.LookPath("node")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no Node.js: "+err.Error())
	}
	goSDK, err := probeProgram()
	if err != nil {
		t.Fatal(err)
	}
	deaf := []string{"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"}
	return []identifier{
		{"boto3", []string{python, absolute(t, "testdata/credentials.py")}, certifi(python), deaf},
		{"AWS CLI", []string{cli, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"}, certifi(python), deaf},
		{"aws-sdk-go-v2", []string{goSDK, "aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text"}, nil, deaf[:1]},
		{"AWS SDK for JavaScript", []string{node, javaScript(t, "credentials.mjs")}, nil, deaf},
	}
}

// javaScript returns the path of a script of e2e/clients, beside the modules
// that it imports.
func javaScript(t *testing.T, name string) string {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("clients", name))
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	path := written(t, name, string(script))
	if err := os.Symlink(filepath.Join(clients(t, "javascript"), "node_modules"), filepath.Join(filepath.Dir(path), "node_modules")); err != nil {
		t.Fatalf("link modules: %v", err)
	}
	return path
}

// certifi is how botocore is told whom to trust: what it asks the endpoint of
// a container with knows no setting, only the list of certificates of the
// package certifi. So that package is copied and given one more.
func certifi(python string) func(*testing.T, string) []string {
	return func(t *testing.T, ca string) []string {
		t.Helper()
		list := strings.TrimSpace(command(t, exec.CommandContext(t.Context(), python, "-c", "import certifi; print(certifi.where())")))
		dir := freeDir(t)
		if err := os.CopyFS(filepath.Join(dir, "certifi"), os.DirFS(filepath.Dir(list))); err != nil {
			t.Fatalf("copy certifi: %v", err)
		}
		more, err := os.ReadFile(ca)
		if err != nil {
			t.Fatalf("read certificate: %v", err)
		}
		file, err := os.OpenFile(filepath.Join(dir, "certifi", filepath.Base(list)), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatalf("open list: %v", err)
		}
		defer func() { _ = file.Close() }()
		if _, err := file.Write(append([]byte("\n"), more...)); err != nil {
			t.Fatalf("write list: %v", err)
		}
		return []string{"PYTHONPATH=" + dir}
	}
}

// run runs the client, in the network namespace of a process unless that is 0,
// and returns its ARN, or what it said when it failed.
func (i identifier) run(t *testing.T, process int, env ...string) (string, error) {
	t.Helper()
	words := i.words
	if process != 0 {
		words = append([]string{"nsenter", "--net=/proc/" + strconv.Itoa(process) + "/ns/net"}, words...)
	}
	cmd := exec.CommandContext(within(t, longest), words[0], words[1:]...)
	cmd.Env = pointedAt(t, "", append([]string{"AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1"}, env...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	handedOut.keptIn(t, "the output of "+i.name, string(out)+said.String())
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", i.name, err, tail(said.String(), 8))
	}
	return strings.TrimSpace(string(out)), nil
}

// is fails the test unless the client is in a session of the role.
func (i identifier) is(t *testing.T, role string, process int, env ...string) {
	t.Helper()
	arn, err := i.run(t, process, env...)
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::000000000000:assumed-role/" + role + "/"; !strings.HasPrefix(arn, want) {
		t.Errorf("%s is %q, want %s…", i.name, arn, want)
	}
}

// processOf returns the process of a container, whose network namespace other
// programs can enter.
func processOf(t *testing.T, c *client.Client, id string) int {
	t.Helper()
	requireRoot(t)
	if _, err := exec.LookPath("nsenter"); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no nsenter: "+err.Error())
	}
	info, err := c.ContainerInspect(within(t, longest), id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	return info.State.Pid
}

const relativeURI, fullURI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=", "AWS_CONTAINER_CREDENTIALS_FULL_URI="

// The forms that need true addresses, and a container to ask from. Other
// languages' clients enter its network namespace: to the network they are the
// container.
func TestEverySDKFindsTheTaskRoleOnTheEngine(t *testing.T) {
	c := requireRoot(t)
	all := identifiers(t)
	lockAddresses(t)
	network := trueNetwork(t, c)
	own, prefix := newNetwork(t, c)
	side := startSidecar(t, c, spec{
		networks: []attachment{{network: own, address: prefix + "2"}, {network: network, address: ecsAddress, linkLocal: imdsAddress + "," + podsAddress}},
		env:      []string{"ECS_LOCAL_TLS_LISTEN=:443"},
	})
	name := unique("shop")
	labels := map[string]string{"com.docker.compose.project": name, "com.docker.compose.service": "web", "ecs-local.task-role": "shop-web"}
	web := startProbe(t, c, spec{networks: []attachment{{network: network}}, labels: labels})
	inside := processOf(t, c, web.id)
	path := rolePath(t, side.control, name)
	document[credentialsDocument](t, web.get(t, "http://"+ecsAddress+path))
	const sts = "AWS_ENDPOINT_URL_STS=http://" + ecsAddress
	pods := []string{fullURI + "http://" + podsAddress + "/v1/credentials", sts}
	authority := fromHost(t, side.control+"/v1/tls/ca")
	if authority.Status != http.StatusOK || !strings.HasPrefix(authority.Body, "-----BEGIN CERTIFICATE-----") {
		t.Fatalf("GET /v1/tls/ca: got status %d and no certificate", authority.Status)
	}
	ca := written(t, "ca.pem", authority.Body)
	given := variablesOf(t, "--control-listen", strings.TrimPrefix(side.control, "http://"), "--form", "tls", "--url", "https://"+prefix+"2", "--role", "shop-web")
	token := written(t, "token", "of-a-service-account")

	for _, i := range all {
		t.Run(i.name, func(t *testing.T) {
			t.Run("relative URI, by id, in the container", func(t *testing.T) {
				i.is(t, "shop-web", inside, relativeURI+path, sts)
			})
			t.Run("relative URI, by role, on the machine", func(t *testing.T) {
				i.is(t, "team-app", 0, relativeURI+"/role/team-app", sts)
			})
			t.Run("relative URI, by id, is refused elsewhere", func(t *testing.T) {
				if arn, err := i.run(t, 0, relativeURI+path, sts, "AWS_MAX_ATTEMPTS=1"); err == nil {
					t.Errorf("got %s on the machine", arn)
				}
			})
			t.Run("Pod Identity, token", func(t *testing.T) {
				i.is(t, "shop-web", inside, append(pods, "AWS_CONTAINER_AUTHORIZATION_TOKEN=local")...)
			})
			t.Run("Pod Identity, token in a file", func(t *testing.T) {
				i.is(t, "shop-web", inside, append(pods, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+token)...)
			})
			t.Run("full URI to another host", func(t *testing.T) {
				if arn, err := i.run(t, 0, fullURI+"http://"+prefix+"2/role/shop-web", sts); err == nil {
					t.Errorf("by plain HTTP it is %s: docs/networking.md says that it refuses that", arn)
				}
				secure := fullURI + "https://" + prefix + "2/role/shop-web"
				untrusting := []string{secure, sts, "AWS_MAX_ATTEMPTS=1"}
				for _, name := range i.deaf {
					untrusting = append(untrusting, name+"="+ca)
				}
				if arn, err := i.run(t, 0, untrusting...); err == nil {
					t.Errorf("it is %s with %v: docs/networking.md says that it does not heed these", arn, i.deaf)
				}
				env := given
				if i.trust != nil {
					env = append(env[:len(env):len(env)], i.trust(t, ca)...)
				}
				i.is(t, "shop-web", 0, env...)
			})
		})
	}
	t.Run("the Go SDK as a container, Pod Identity", func(t *testing.T) {
		id := started(t, c, spec{networks: []attachment{{network: network}}, labels: labels, cmd: []string{"/probe", "sdk", "--identity"},
			env: append(pods, "AWS_CONTAINER_AUTHORIZATION_TOKEN=local")})
		got := foundBy(t, c, id)
		if !strings.HasPrefix(got.CallerARN, "arn:aws:sts::000000000000:assumed-role/shop-web/") {
			t.Errorf("got identity %q, want the task role", got.CallerARN)
		}
	})
	searched(t, side.control, logs(t, c, side.id))
}

// variablesOf returns what ecs-local env prints, as name=value.
func variablesOf(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(within(t, longest), program(t), append([]string{"env", "--format", "json"}, args...)...)
	cmd.Env = pointedAt(t, "")
	var env []string
	for name, value := range document[map[string]string](t, good(command(t, cmd))) {
		env = append(env, name+"="+value)
	}
	return env
}

// foundBy waits for a container whose command is the probe's sdk.
func foundBy(t *testing.T, c *client.Client, id string) found {
	t.Helper()
	if code, err := ended(within(t, longest), c, id); err != nil || code != 0 {
		t.Fatalf("the SDK failed: exit code %d, %v\n%s", code, err, logs(t, c, id))
	}
	return document[found](t, good(printed(t, c, id)))
}

func TestEverySDKSendsTheAuthorizationToken(t *testing.T) {
	t.Parallel()
	all := identifiers(t)
	const token = "token-of-the-test-4f1b"
	handedOut.add("authorization token", token)
	file := written(t, "token", token+"\n")
	clean := written(t, "token", token) // not every SDK trims it
	for how, flag := range map[string]string{"token": "--authorization-token=" + token, "token in a file": "--authorization-token-file=" + file} {
		t.Run("server with a "+how, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "127.0.0.1", nil, "--credentials", "offline", "--runtime", "static", flag)
			if a := fromHost(t, s.url+"/role/shop-web"); a.Status != http.StatusUnauthorized || strings.Contains(a.Body, "SecretAccessKey") {
				t.Errorf("without a token: got status %d, want 401", a.Status)
			}
			document[credentialsDocument](t, request(t, http.MethodGet, s.url+"/role/shop-web", "", http.Header{"Authorization": {token}}))
			where := []string{fullURI + s.url + "/role/shop-web", "AWS_ENDPOINT_URL_STS=" + s.url}
			for _, i := range all {
				t.Run(i.name, func(t *testing.T) {
					i.is(t, "shop-web", 0, append(where, "AWS_CONTAINER_AUTHORIZATION_TOKEN="+token)...)
					i.is(t, "shop-web", 0, append(where, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+clean)...)
					for what, env := range map[string][]string{
						"no token": where, "a wrong token": append(where[:2:2], "AWS_CONTAINER_AUTHORIZATION_TOKEN=x"+token),
					} {
						refusals := strings.Count(s.output.String(), "status=401")
						if arn, err := i.run(t, 0, env...); err == nil {
							t.Errorf("%s: got %s, want a refusal", what, arn)
						}
						eventually(t, soon, func() error {
							if strings.Count(s.output.String(), "status=401") == refusals {
								return fmt.Errorf("%s: the server has refused nothing", what)
							}
							return nil
						})
					}
				})
			}
			searched(t, s.control, s.output.String())
		})
	}
}

// A laptop without Docker, without an account, with settings that would lead
// elsewhere.
func TestExecRunsEverySDKInARole(t *testing.T) {
	t.Parallel()
	all := identifiers(t)
	for _, i := range all {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			under := identifier{name: i.name, words: append([]string{program(t), "exec", "--credentials", "offline", "--role", "web", "--"}, i.words...)}
			under.is(t, "web", 0, "AWS_PROFILE=production", fullURI+"http://127.0.0.1:1/creds", "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE=/none")
		})
	}
	t.Run("AWS CLI on a machine with no account, as people call it", func(t *testing.T) {
		t.Parallel()
		cmd := exec.CommandContext(within(t, longest), program(t), "exec", "--role", "web", "--", "aws", "sts", "get-caller-identity")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + freeDir(t), "DOCKER_HOST=unix:///nowhere/docker.sock"}
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, said.String())
		}
		who := document[struct{ Arn, Account string }](t, good(string(out)))
		if !strings.HasPrefix(who.Arn, "arn:aws:sts::000000000000:assumed-role/web/") || who.Account != "000000000000" {
			t.Errorf("got %+v, want a session of the role web in the account 000000000000", who)
		}
	})
}

// What exec's own server says goes where the command's messages go.
func TestExecSaysNothingOfWhatItHandsOut(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no curl: "+err.Error())
	}
	const script = `curl --silent --show-error --fail --header "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN" "$AWS_CONTAINER_CREDENTIALS_FULL_URI"
echo; echo "$AWS_CONTAINER_AUTHORIZATION_TOKEN"`
	cmd := exec.CommandContext(within(t, longest), program(t), "exec", "--log-level", "debug", "--role", "web", "--", "sh", "-c", script)
	cmd.Env = pointedAt(t, "")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	credentials, token, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	got := document[credentialsDocument](t, good(credentials))
	if got.SecretAccessKey == "" || len(token) < 32 {
		t.Fatalf("got no secret, or a token of %d characters", len(token))
	}
	handedOut.note(credentials)
	handedOut.add("authorization token", token)
	if !strings.Contains(said.String(), "family=credentials") {
		t.Errorf("the request is not in the log:\n%s", said.String())
	}
	handedOut.keptIn(t, "the log of ecs-local exec", said.String())
}
