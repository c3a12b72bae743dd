package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
)

// found is what the probe's command sdk prints.
type found struct {
	Source    string    `json:"source"`
	KeySHA256 string    `json:"keySHA256"`
	HasSecret bool      `json:"hasSecret"`
	HasToken  bool      `json:"hasToken"`
	CanExpire bool      `json:"canExpire"`
	Expires   time.Time `json:"expires"`
	CallerARN string    `json:"callerARN"`
	Region    string    `json:"region"`
}

func TestGoSDKInAContainerFindsCredentialsAtTheTrueAddress(t *testing.T) {
	c := requireDocker(t)
	lockAddresses(t)
	net := trueNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net, address: ecsAddress, linkLocal: imdsAddress}}})
	on := []attachment{{network: net}}

	for _, path := range []string{"/creds", "/role/x", "/role/team/x", "/role-arn/arn:aws:iam::111122223333:role/team/x", "/role/arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fteam%2Fx"} {
		t.Run(path, func(t *testing.T) {
			id := started(t, c, spec{networks: on, cmd: []string{"/probe", "sdk"}, env: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=" + path}})
			if code, err := ended(within(t, longest), c, id); err != nil || code != 0 {
				t.Fatalf("the SDK's default chain failed: exit code %d, %v\n%s", code, err, logs(t, c, id))
			}
			side.engine.waitTold(t, events.ActionDie, id) // the next one may have its address
			var got found
			if err := json.Unmarshal([]byte(printed(t, c, id)), &got); err != nil {
				t.Fatalf("decode what the probe found: %v", err)
			}
			if got.Source != "CredentialsEndpointProvider" || !got.HasSecret || !got.HasToken || !got.CanExpire {
				t.Errorf("got %+v; want temporary credentials of the endpoint", got)
			}
			if left := time.Until(got.Expires); left < 5*time.Minute {
				t.Errorf("they expire in %s; want them fresh", left)
			}
			served := document[credentialsDocument](t, fromHost(t, side.url+path))
			if sum := sha256.Sum256([]byte(served.AccessKeyID)); got.KeySHA256 != hex.EncodeToString(sum[:]) {
				t.Error("the key is not the one that is served for this path")
			}
		})
	}
	t.Run("each address answers only for its own family", func(t *testing.T) {
		p := startProbe(t, c, spec{networks: on})
		if err := p.own(sidecar{url: "http://" + ecsAddress}); err != nil {
			t.Error(err)
		}
		for _, url := range []string{
			"http://" + imdsAddress + "/creds", "http://" + imdsAddress + "/v4", "http://" + imdsAddress + "/role/x",
			"http://" + ecsAddress + "/latest/meta-data/",
		} {
			if a := p.get(t, url); a.Status != http.StatusNotFound {
				t.Errorf("%s: got status %d, want 404", url, a.Status)
			}
		}
	})
}

// sts is moto_server as STS, at a port of this machine.
func sts(t *testing.T) string {
	t.Helper()
	moto, err := exec.LookPath("moto_server")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no moto_server: "+err.Error())
	}
	port := freePort(t, "127.0.0.1")
	cmd := exec.Command(moto, "-H", "127.0.0.1", "-p", port)
	background(t, cmd)
	url := "http://127.0.0.1:" + port
	playing(t, url)
	return url
}

// playing waits until moto plays STS at a URL. What it needs for that it loads
// with the first request, and on a busy machine that takes longer than clients
// wait for credentials.
func playing(t *testing.T, url string) {
	t.Helper()
	answering(t, url+"/moto-api/")
	eventually(t, longest, func() error {
		a := request(t, http.MethodPost, url+"/", "Action=GetCallerIdentity&Version=2011-06-15", http.Header{
			"Authorization": {"AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0"},
			"Content-Type":  {"application/x-www-form-urlencoded"},
		})
		if a.Status != http.StatusOK {
			return fmt.Errorf("moto as STS: got status %d: %s", a.Status, a.Body)
		}
		return nil
	})
}

// The account that moto plays.
const motoAccount = "123456789012"

// callers are the ways to ask "who am I" of an STS, each an unmodified client.
// The endpoint of the STS follows as the last argument; the answer's ARN is
// all that they print.
var callers = map[string][]string{
	"boto3": {"python3", "-c", `import boto3, sys
session = boto3.Session(region_name="us-east-1")
found = session.get_credentials()
assert found.method == "container-role", found.method
print(session.client("sts", endpoint_url=sys.argv[1]).get_caller_identity()["Arn"])`},
	"AWS CLI": {"aws", "sts", "get-caller-identity", "--region", "us-east-1", "--query", "Arn", "--output", "text", "--endpoint-url"},
}

func TestBoto3AndTheCLIGetRolesThroughTheFullURI(t *testing.T) {
	t.Parallel()
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no boto3: "+err.Error())
	}
	if _, err := exec.LookPath("aws"); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no AWS CLI: "+err.Error())
	}
	endpoint := sts(t)
	s := startServer(t, "127.0.0.1", []string{
		"STS_ENDPOINT=" + endpoint, "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=not-a-secret",
	}, "--credentials", "sts", "--runtime", "static")

	for client, words := range callers {
		for path, want := range map[string]string{
			"/role/shop-web": "arn:aws:sts::" + motoAccount + ":assumed-role/shop-web/ecs-local",
			"/role-arn/arn:aws:iam::" + motoAccount + ":role/team/deploy": "arn:aws:sts::" + motoAccount + ":assumed-role/deploy/ecs-local",
			"/creds": "arn:aws:sts::" + motoAccount + ":user/",
		} {
			t.Run(client+path, func(t *testing.T) {
				cmd := exec.Command(words[0], append(words[1:len(words):len(words)], endpoint)...)
				none := written(t, "none", "")
				cmd.Env = append(os.Environ(), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none,
					"AWS_CONTAINER_CREDENTIALS_FULL_URI="+s.url+path)
				if got := strings.TrimSpace(command(t, cmd)); !strings.HasPrefix(got, want) {
					t.Errorf("got identity %q, want %q…", got, want)
				}
			})
		}
	}
	for _, secret := range []string{"not-a-secret", "SecretAccessKey"} {
		if strings.Contains(s.output.String(), secret) {
			t.Error("the log of ecs-local shows a secret")
		}
	}
}
