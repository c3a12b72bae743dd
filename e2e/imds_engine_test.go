package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/client"
)

// asked makes the container send a request.
func (p probe) asked(t *testing.T, method, target string, header http.Header) answer {
	t.Helper()
	query := url.Values{"method": {method}, "url": {target}}
	for name, values := range header {
		for _, value := range values {
			query.Add("header", name+": "+value)
		}
	}
	a := fromHost(t, "http://"+p.address+"/fetch?"+query.Encode())
	if err := json.Unmarshal([]byte(a.Body), &a); err != nil {
		t.Fatalf("decode answer of the probe %s: %v", p.name, err)
	}
	if a.Error != "" {
		t.Fatalf("%s sent %s %s: %s", p.name, method, target, a.Error)
	}
	handedOut.note(a.Body)
	return a
}

var instanceID = regexp.MustCompile(`^i-[0-9a-f]{17}$`)

func TestExampleComposeFileServesTheInstanceToContainersWithoutAnySetting(t *testing.T) {
	c := requireDocker(t)
	example(t, c)
	plain := startProbe(t, c, spec{networks: []attachment{{network: "ecs-local"}}})
	const base = "http://" + imdsAddress

	token := plain.asked(t, http.MethodPut, base+"/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"60"}})
	if token.Status != http.StatusOK || len(token.Body) != 56 || token.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "60" {
		t.Fatalf("token: got status %d, %d bytes, %v", token.Status, len(token.Body), token.Header)
	}
	with := http.Header{"X-Aws-Ec2-Metadata-Token": {token.Body}}
	id := plain.asked(t, http.MethodGet, base+"/latest/meta-data/instance-id", with)
	if id.Status != http.StatusOK || !instanceID.MatchString(id.Body) || id.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "" {
		t.Errorf("instance-id with the token: got status %d, %q, %v", id.Status, id.Body, id.Header)
	}
	if a := plain.asked(t, http.MethodGet, base+"/latest/meta-data/instance-id", http.Header{"X-Aws-Ec2-Metadata-Token": {"x" + token.Body[1:]}}); a.Status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: got status %d, want 401", a.Status)
	}
	for path, want := range map[string]int{"/latest/meta-data/": http.StatusOK, "/latest/meta-data/nothing": http.StatusNotFound, "/v4": http.StatusNotFound} {
		if a := plain.asked(t, http.MethodGet, base+path, with); a.Status != want {
			t.Errorf("%s: got status %d, want %d", path, a.Status, want)
		}
	}
	if err := plain.own(sidecar{url: "http://" + ecsAddress}); err != nil {
		t.Errorf("the other address: %v", err)
	}
}

// instanceSidecar starts ecs-local with imdsFile at the true addresses of a
// network. The test itself asks it at an address of another network, which is
// nobody's but the side-car's and has everything.
func instanceSidecar(t *testing.T, c *client.Client, env ...string) (side sidecar, network string) {
	t.Helper()
	lockAddresses(t)
	network = trueNetwork(t, c)
	own, prefix := newNetwork(t, c)
	s := spec{
		networks: []attachment{{network: own, address: prefix + "2"}, {network: network, address: ecsAddress, linkLocal: imdsAddress}},
		env:      append([]string{"ECS_LOCAL_CONFIG=/imds.yml"}, env...),
	}
	s.host.Binds = []string{absolute(t, imdsFile) + ":/imds.yml:ro"}
	return startSidecar(t, c, s), network
}

func TestContainersAtTheTrueAddressAreOnTheInstance(t *testing.T) {
	c := requireDocker(t)
	side, network := instanceSidecar(t, c)
	on := []attachment{{network: network}}
	i := instanceAt(t, side.url)

	t.Run("the Go SDK finds credentials and region", func(t *testing.T) {
		// The image of the probe turns the instance off, as all of these tests do.
		id := started(t, c, spec{networks: on, cmd: []string{"/probe", "sdk", "--region-of-instance"}, env: []string{"AWS_EC2_METADATA_DISABLED=false"}})
		if code, err := ended(within(t, longest), c, id); err != nil || code != 0 {
			t.Fatalf("the SDK's default chain failed: exit code %d, %v\n%s", code, err, logs(t, c, id))
		}
		var got found
		if err := json.Unmarshal([]byte(printed(t, c, id)), &got); err != nil {
			t.Fatalf("decode what the probe found: %v", err)
		}
		if got.Source != "EC2RoleProvider" || !got.HasSecret || !got.HasToken || !got.CanExpire || got.Region != "eu-west-1" {
			t.Errorf("got %+v; want the credentials and the region of the instance", got)
		}
		if got.KeySHA256 != i.key(t, "iam/security-credentials/"+instanceRole) {
			t.Error("the key is not the one that the instance serves")
		}
	})
	t.Run("ecs-local imds get", func(t *testing.T) {
		get := func(path string) (code int, value, all string) {
			id := started(t, c, spec{image: imageOf(t, sidecarImage), networks: on, cmd: []string{"imds", "get", path}})
			code, err := ended(within(t, longest), c, id)
			if err != nil {
				t.Fatal(err)
			}
			return code, printed(t, c, id), logs(t, c, id)
		}
		if code, value, all := get("instance-id"); code != 0 || value != "i-04b098f5de41d11e6" {
			t.Errorf("instance-id: got exit code %d and %q\n%s", code, value, all)
		}
		if code, value, all := get("spot/instance-action"); code != 1 || value != "" || !strings.Contains(all, "spot/instance-action") {
			t.Errorf("a value that is not there: got exit code %d and %q, want 1 and the reason:\n%s", code, value, all)
		}
	})
	t.Run("the hop limit of 1 holds where there is no router between", func(t *testing.T) {
		var options struct {
			HTTPPutResponseHopLimit int `json:"httpPutResponseHopLimit"`
		}
		a := fromHost(t, side.control+"/v1/imds/options")
		if err := json.Unmarshal([]byte(a.Body), &options); err != nil || options.HTTPPutResponseHopLimit != 1 {
			t.Fatalf("got %+v, %v; want the default hop limit, 1", options, err)
		}
		plain := startProbe(t, c, spec{networks: on})
		for n := range 3 {
			a := plain.asked(t, http.MethodPut, "http://"+imdsAddress+"/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"60"}})
			if a.Status != http.StatusOK {
				t.Errorf("token %d: got status %d", n, a.Status)
			}
		}
	})
}

// taskOfControl is what the tests look at in GET /v1/tasks.
type taskOfControl struct {
	Name        string            `json:"name"`
	ARN         string            `json:"arn"`
	Credentials map[string]string `json:"credentials"`
}

// The namespace tree, the scanner, the agent's endpoint and an SDK, one behind
// the other.
func TestTaskRoleGoesFromTheNamespaceThroughTheScannerToTheSDK(t *testing.T) {
	c := requireDocker(t)
	side, network := instanceSidecar(t, c, "ECS_LOCAL_SCAN_INTERVAL=200ms")
	const task = "0123456789abcdef0123456789abcdef"
	arn := "arn:aws:ecs:eu-west-1:123456789012:task/default/" + task
	s := spec{
		networks: []attachment{{network: network}},
		labels:   map[string]string{"ecs-local.task-role": "shop-web-task", "ecs-local.execution-role": "shop-exec", "com.amazonaws.ecs.task-arn": arn},
	}
	first := startProbe(t, c, s)

	var uri, ofExecution string
	eventually(t, soon, func() error {
		for _, task := range document[[]taskOfControl](t, fromHost(t, side.control+"/v1/tasks")) {
			uri, ofExecution = task.Credentials["TaskApplication"], task.Credentials["TaskExecution"]
			if task.ARN == arn && uri != "" && ofExecution != "" {
				return nil
			}
		}
		return fmt.Errorf("GET /v1/tasks has no paths of the credentials of %s", arn)
	})
	if !regexp.MustCompile(`^/v2/credentials/[0-9a-f-]{36}$`).MatchString(uri) {
		t.Fatalf("got the path %q, want /v2/credentials/ and an id", uri)
	}
	leaf := "iam-ecs-1/security-credentials/" + task + "-TaskApplication"
	i := instanceAt(t, side.url)
	// As Compose does when the variable is added to the file. The scanner may
	// see the time between the two or not: the credentials of the first are to
	// be gone before those of the second are looked at.
	remove(t, c, first.id)
	eventually(t, soon, func() error {
		if a := i.get(t, "/latest/meta-data/"+leaf); a.Status != http.StatusNotFound {
			return fmt.Errorf("%s of a container that was removed: got status %d", leaf, a.Status)
		}
		return nil
	})
	s.env = []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=" + uri}
	web := startProbe(t, c, s)

	eventually(t, soon, func() error {
		if a := i.get(t, "/latest/meta-data/"+leaf); a.Status != http.StatusOK {
			return fmt.Errorf("%s: got status %d", leaf, a.Status)
		}
		return nil
	})
	before := i.key(t, leaf)
	got := web.holds(t, false)
	if got.Source != "CredentialsEndpointProvider" || !got.HasSecret || !got.HasToken || !got.CanExpire {
		t.Errorf("got %+v; want temporary credentials of the endpoint", got)
	}
	if got.KeySHA256 != before {
		t.Error("the SDK's key is not the one that the namespace holds")
	}
	if other := i.key(t, "iam-ecs-1/security-credentials/5f0c1b7e9a2d4c3e8b6a7d1f20394857-TaskApplication"); other == before {
		t.Error("the namespace holds the same key for another task")
	}
	execution := document[credentialsDocument](t, web.asked(t, http.MethodGet, "http://"+ecsAddress+ofExecution, nil))
	if !strings.HasSuffix(execution.RoleArn, ":role/shop-exec") ||
		hashOf(execution.AccessKeyID) != i.key(t, "iam-ecs-1/security-credentials/"+task+"-TaskExecution") {
		t.Errorf("%s has the credentials of %s; want those of the execution role that the namespace holds", ofExecution, execution.RoleArn)
	}

	updated := lastUpdated(t, i)
	if a := request(t, http.MethodPost, side.control+"/v1/namespaces/iam-ecs-1/credentials/"+task+"-TaskApplication/rotate", "", nil); a.Status != http.StatusOK {
		t.Fatalf("rotate: got status %d: %s", a.Status, a.Body)
	}
	after := i.key(t, leaf)
	if after == before {
		t.Error("the namespace holds the same key after the rotation")
	}
	if now := lastUpdated(t, i); now == updated {
		t.Errorf("LastUpdated is %s as before the rotation", now)
	}
	if got := web.holds(t, false); got.KeySHA256 != before {
		t.Error("the SDK has another key before its credentials end")
	}
	eventually(t, soon, func() error {
		if got := web.holds(t, true); got.KeySHA256 != after {
			return fmt.Errorf("the SDK's key after a refresh is not the one that the namespace holds; the old one: %t", got.KeySHA256 == before)
		}
		return nil
	})

	stopped(t, c, web.id)
	eventually(t, soon, func() error {
		if a := i.get(t, "/latest/meta-data/"+leaf); a.Status != http.StatusNotFound {
			return fmt.Errorf("the task has ended, and its credentials are still in the namespace: got status %d", a.Status)
		}
		return nil
	})
}

// holds returns what the container's SDK holds.
func (p probe) holds(t *testing.T, refreshed bool) found {
	t.Helper()
	return document[found](t, fromHost(t, fmt.Sprintf("http://%s/sdk?refresh=%t", p.address, refreshed)))
}

// lastUpdated returns when the content of iam-ecs-1 last changed.
func lastUpdated(t *testing.T, i instance) string {
	t.Helper()
	var info struct{ LastUpdated string }
	if err := json.Unmarshal([]byte(i.value(t, "meta-data/iam-ecs-1/info")), &info); err != nil || info.LastUpdated == "" {
		t.Fatalf("read info: %+v, %v", info, err)
	}
	return info.LastUpdated
}
