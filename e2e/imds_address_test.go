package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A namespace is a network namespace of the test. It has loopback and, at most,
// links to other namespaces of the test, so that nothing in it can reach
// anything outside.
type namespace string

var makingNamespace sync.Mutex

// newNamespace makes a network namespace that has only loopback, with further
// addresses.
func newNamespace(t *testing.T, addresses ...string) namespace {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "a network namespace needs root on Linux")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no ip (package iproute2): "+err.Error())
	}
	n := namespace(unique("ns"))
	// The first of a machine makes a mount for all, and two at once may both try.
	makingNamespace.Lock()
	defer makingNamespace.Unlock()
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", string(n)).CombinedOutput(); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", fmt.Sprintf("this machine lets us make no network namespace: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "delete", string(n)).CombinedOutput(); err != nil {
			t.Errorf("delete network namespace: %v: %s", err, out)
		}
	})
	n.run(t, nil, "ip", "link", "set", "lo", "up")
	for _, address := range addresses {
		n.run(t, nil, "ip", "address", "add", address, "dev", "lo")
	}
	var links []struct{ Ifname string }
	if err := json.Unmarshal([]byte(n.run(t, nil, "ip", "-json", "link", "show", "up")), &links); err != nil || len(links) != 1 || links[0].Ifname != "lo" {
		t.Fatalf("the namespace has the interfaces %+v, %v; want lo and no other", links, err)
	}
	return n
}

// command returns a command that runs in the namespace.
func (n namespace) command(t *testing.T, env []string, words ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", string(n)}, words...)...)
	if env == nil {
		env = pointedAt(t, "")
	}
	cmd.Env = env
	return cmd
}

// run runs a program in the namespace to its end and returns what it wrote to
// stdout. A program that fails, or takes too long, fails the test.
func (n namespace) run(t *testing.T, env []string, words ...string) string {
	t.Helper()
	cmd := n.command(t, env, words...)
	timer := time.AfterFunc(longest, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return command(t, cmd)
}

// serve starts the instance of imdsFile at its true address.
func (n namespace) serve(t *testing.T) {
	t.Helper()
	background(t, n.command(t, append(pointedAt(t, ""), "AWS_EC2_METADATA_DISABLED=true"), program(t), "serve",
		"--runtime", "static", "--credentials", "offline", "--config", absolute(t, imdsFile), "--log-level", "debug",
		"--listen", imdsAddress+":80", "--control-listen", "127.0.0.1:51680"))
	eventually(t, longest, func() error {
		out, err := n.command(t, nil, program(t), "ready").CombinedOutput()
		if err != nil {
			return fmt.Errorf("ecs-local ready: %w: %s", err, out)
		}
		return nil
	})
}

// These tools know one address only, which is written down in them.
func TestToolsOfDebianFindTheInstanceAtTheTrueAddress(t *testing.T) {
	t.Parallel()
	n := newNamespace(t, imdsAddress+"/32")
	packages := clients(t, "debian")
	if _, err := exec.LookPath("curl"); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no curl, which ec2-metadata runs: "+err.Error())
	}
	n.serve(t)

	t.Run("ec2metadata of cloud-guest-utils", func(t *testing.T) {
		t.Parallel()
		script := filepath.Join(packages, "usr/bin/ec2metadata")
		got := map[string]string{}
		name := ""
		for line := range strings.Lines(n.run(t, nil, "/usr/bin/python3", script)) {
			if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok && ec2metadata[key] != "" {
				name = key
				got[name] = value
			} else {
				got[name] += "\n" + strings.TrimSuffix(line, "\n")
			}
		}
		if diff := cmp.Diff(ec2metadata, got); diff != "" {
			t.Errorf("ec2metadata (-want +got):\n%s", diff)
		}
		if got := n.run(t, nil, "/usr/bin/python3", script, "--user-data"); got != "#cloud-config\nhostname: web\n" {
			t.Errorf("got user data %q", got)
		}
		if got := n.run(t, nil, "/usr/bin/python3", script, "--url", "http://"+imdsAddress+"/2021-03-23", "--region"); got != "eu-west-1\n" {
			t.Errorf("got region %q of a newer version", got)
		}
	})
	t.Run("ec2-metadata of amazon-ec2-utils", func(t *testing.T) {
		t.Parallel()
		script := filepath.Join(packages, "usr/bin/ec2-metadata")
		if diff := cmp.Diff(amazonEC2Utils, n.run(t, nil, "bash", script, "--all")); diff != "" {
			t.Errorf("ec2-metadata --all (-want +got):\n%s", diff)
		}
		if got, want := n.run(t, nil, "bash", script, "-z", "-i"), "placement: eu-west-1b\ninstance-id: i-04b098f5de41d11e6\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("ecs-local imds get", func(t *testing.T) {
		t.Parallel()
		for _, words := range [][]string{
			{"imds", "get", "instance-id"}, {"imds", "get", "--path", "instance-id"}, {"imds", "get", "/latest/meta-data/instance-id"},
		} {
			if got := n.run(t, nil, append([]string{program(t)}, words...)...); got != "i-04b098f5de41d11e6" {
				t.Errorf("%s: got %q", strings.Join(words, " "), got)
			}
		}
		cmd := n.command(t, nil, program(t), "imds", "get", "spot/instance-action")
		var said strings.Builder
		cmd.Stderr = &said
		if out, err := cmd.Output(); cmd.ProcessState.ExitCode() != 1 || len(out) > 0 || !strings.Contains(said.String(), "spot/instance-action") {
			t.Errorf("a value that is not there: got %v, %q; want exit code 1 and the reason on stderr", err, out)
		}
	})
}

// linked connects two namespaces: each gets an interface with an address.
func linked(t *testing.T, a, b namespace, nameA, addressA, nameB, addressB string) {
	t.Helper()
	a.run(t, nil, "ip", "link", "add", nameA, "type", "veth", "peer", "name", nameB, "netns", string(b))
	for _, end := range []struct {
		n             namespace
		name, address string
	}{{a, nameA, addressA}, {b, nameB, addressB}} {
		end.n.run(t, nil, "ip", "address", "add", end.address, "dev", end.name)
		end.n.run(t, nil, "ip", "link", "set", end.name, "up")
	}
}

// A client behind a router, as a container of a bridge network is on a real
// instance, is one hop further away.
func TestHopLimitKeepsTokensFromClientsBehindARouter(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no curl: "+err.Error())
	}
	client, router, host := newNamespace(t), newNamespace(t), newNamespace(t, imdsAddress+"/32")
	linked(t, client, router, "uplink", "192.0.2.2/30", "inside", "192.0.2.1/30")
	linked(t, router, host, "outside", "198.51.100.1/30", "uplink", "198.51.100.2/30")
	client.run(t, nil, "ip", "route", "add", "default", "via", "192.0.2.1")
	host.run(t, nil, "ip", "route", "add", "default", "via", "198.51.100.1")
	router.run(t, nil, "ip", "route", "add", imdsAddress+"/32", "via", "198.51.100.2")
	router.run(t, nil, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	host.serve(t)
	set := func(options string) {
		t.Helper()
		host.run(t, nil, "curl", "--silent", "--show-error", "--fail", "--request", "PATCH", "--data", options, "http://127.0.0.1:51680/v1/imds/options")
	}
	token := func(from namespace, seconds string) (string, int) {
		cmd := from.command(t, nil, "curl", "--silent", "--max-time", seconds, "--request", "PUT",
			"--header", "X-aws-ec2-metadata-token-ttl-seconds: 60", "http://"+imdsAddress+"/latest/api/token")
		out, _ := cmd.Output() // its exit code says it all
		return string(out), cmd.ProcessState.ExitCode()
	}

	// https://curl.se/libcurl/c/libcurl-errors.html
	const timedOut = 28
	const impatient, patient = "3", "60"
	if got, code := token(client, impatient); code != timedOut {
		t.Errorf("hop limit 1: got exit code %d and %d bytes behind the router, want %d and none: no answer", code, len(got), timedOut)
	}
	if got, code := token(host, patient); code != 0 || len(got) != 56 {
		t.Errorf("hop limit 1: got exit code %d and %d bytes on the instance, want a token", code, len(got))
	}
	set(`{"httpTokens": "optional"}`)
	if got := client.run(t, nil, "curl", "--silent", "--show-error", "--fail", "--max-time", patient, "http://"+imdsAddress+"/latest/meta-data/instance-id"); got != "i-04b098f5de41d11e6" {
		t.Errorf("got %q without a token: the limit is for tokens only", got)
	}
	set(`{"httpTokens": "required", "httpPutResponseHopLimit": 2}`)
	if got, code := token(client, patient); code != 0 || len(got) != 56 {
		t.Errorf("hop limit 2: got exit code %d and %d bytes behind the router, want a token", code, len(got))
	}
	if got := client.run(t, nil, program(t), "imds", "get", "instance-id"); got != "i-04b098f5de41d11e6" {
		t.Errorf("hop limit 2: ecs-local imds get: got %q", got)
	}
}

// ec2metadata is all that the tool of that name shows of imdsFile. It asks for
// a version of 2009: what came later is unavailable to it.
var ec2metadata = map[string]string{
	"ami-id":               "ami-0fef201115eefe936",
	"ami-launch-index":     "0",
	"ami-manifest-path":    "(unknown)",
	"ancestor-ami-ids":     "ami-0123456789abcdef0\nami-0123456789abcdef1",
	"availability-zone":    "eu-west-1b",
	"availability-zone-id": "unavailable",
	"block-device-mapping": "ami\nebs1\nephemeral0\nroot",
	"group-name":           "unavailable",
	"host-id":              "unavailable",
	"instance-action":      "none",
	"instance-id":          "i-04b098f5de41d11e6",
	"instance-type":        "m5.large",
	"kernel-id":            "unavailable",
	"local-hostname":       "ip-10-237-0-16.eu-west-1.compute.internal",
	"local-ipv4":           "10.237.0.16",
	"mac":                  "unavailable",
	"partition-number":     "unavailable",
	"product-codes":        "abcdefghijklmnopqrstuvwxy\nzyxwvutsrqponmlkjihgfedcb",
	"profile":              "default-hvm",
	"public-hostname":      "ec2-203-0-113-25.eu-west-1.compute.amazonaws.com",
	"public-ipv4":          "203.0.113.25",
	"public-keys":          "['" + publicKey + "']",
	"ramdisk-id":           "unavailable",
	"region":               "unavailable",
	"reservation-id":       "r-0f1866af1f1a14d3c",
	"security-groups":      "web\nssh",
	"user-data":            `b'#cloud-config\nhostname: web\n'`,
}

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKTTvMWwnAfHgPAO3OMTmkW0K8tBF5iqNmmcGOFm2vCf my-key"

// amazonEC2Utils is the same for ec2-metadata, which asks for the version
// latest.
const amazonEC2Utils = `ami-id: ami-0fef201115eefe936
ami-launch-index: 0
ami-manifest-path: (unknown)
ancestor-ami-ids: ami-0123456789abcdef0
ami-0123456789abcdef1
block-device-mapping: 
	 ami: xvda
	 ebs1: sdf
	 ephemeral0: sdb
	 root: /dev/xvda
instance-id: i-04b098f5de41d11e6
instance-type: m5.large
local-hostname: ip-10-237-0-16.eu-west-1.compute.internal
local-ipv4: 10.237.0.16
kernel-id: not available
placement: eu-west-1b
product-codes: abcdefghijklmnopqrstuvwxy
zyxwvutsrqponmlkjihgfedcb
public-hostname: ec2-203-0-113-25.eu-west-1.compute.amazonaws.com
public-ipv4: 203.0.113.25
public-keys: 
keyname:my-key
index:0
format:openssh-key
key:(begins from next line)
` + publicKey + `
ramdisk-id: not available
reservation-id: r-0f1866af1f1a14d3c
security-groups: web
ssh
user-data: #cloud-config
hostname: web
tags: 
	 Environment: dev
	 Name: web
	 aws:autoscaling:groupName: shop
	 team:owner: a=b c
`
