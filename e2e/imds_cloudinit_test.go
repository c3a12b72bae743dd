package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crawl is what testdata/cloudinit.py prints.
type crawl struct {
	Requests []struct {
		URL    string `json:"url"`
		Status int    `json:"status"`
	} `json:"requests"`
	Version          string         `json:"version"`
	Metadata         map[string]any `json:"metadata"`
	Identity         map[string]any `json:"identity"`
	UserData         string         `json:"userData"`
	InstanceID       string         `json:"instanceID"`
	Region           string         `json:"region"`
	AvailabilityZone string         `json:"availabilityZone"`
	PublicKeys       []string       `json:"publicKeys"`
	Network          struct {
		Ethernets map[string]struct {
			Match struct {
				MACAddress string `json:"macaddress"`
			} `json:"match"`
			Addresses []string `json:"addresses"`
		} `json:"ethernets"`
	} `json:"network"`
}

// cloud-init walks the whole tree, and one name that is listed and cannot be
// had costs it all of what it found.
func TestCloudInitCrawlsTheInstance(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3" // the one that the distribution's packages are for
	if _, err := os.Stat(python); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", err.Error())
	}
	modules := filepath.Join(clients(t, "debian"), "usr/lib/python3/dist-packages")
	s := startInstance(t, nil, "--credentials", "offline")
	cmd := exec.CommandContext(within(t, longest), python, "-s", "testdata/cloudinit.py", modules, s.url)
	cmd.Env = pointedAt(t, s.url)
	var got crawl
	if err := json.Unmarshal([]byte(command(t, cmd)), &got); err != nil {
		t.Fatalf("decode what cloud-init found: %v", err)
	}
	if got.Version != "2021-03-23" {
		t.Errorf("it chose version %s, want the newest that it knows, 2021-03-23", got.Version)
	}
	i := instanceAt(t, s.url)
	values := i.walk(t, got.Version)

	asked := map[string]bool{}
	for _, r := range got.Requests {
		if r.Status != http.StatusOK {
			t.Errorf("%s: got status %d", r.URL, r.Status)
		}
		path, err := url.PathUnescape(strings.TrimPrefix(r.URL, s.url+"/"+got.Version+"/meta-data/"))
		if err != nil {
			t.Errorf("decode %s: %v", r.URL, err)
		}
		asked[path] = true
	}
	for path := range values {
		if path != "" && !asked[path] {
			t.Errorf("it did not ask for %s", path)
		}
	}
	if diff := cmp.Diff(asCloudInit(values), got.Metadata); diff != "" {
		t.Errorf("meta-data (-served +found):\n%s", diff)
	}
	for _, name := range []string{"document", "pkcs7", "rsa2048", "signature"} {
		if diff := cmp.Diff(decoded(i.value(t, "dynamic/instance-identity/"+name)), got.Identity[name]); diff != "" {
			t.Errorf("identity %s (-served +found):\n%s", name, diff)
		}
	}
	if want := "#cloud-config\nhostname: web\n"; got.UserData != want {
		t.Errorf("got user data %q, want %q", got.UserData, want)
	}
	if got.InstanceID != "i-04b098f5de41d11e6" || got.Region != "eu-west-1" || got.AvailabilityZone != "eu-west-1b" {
		t.Errorf("got instance %s in %s, %s", got.InstanceID, got.Region, got.AvailabilityZone)
	}
	if len(got.PublicKeys) != 1 || !strings.HasSuffix(got.PublicKeys[0], " my-key") {
		t.Errorf("got public keys %q, want one", got.PublicKeys)
	}
	if eth0, eth1 := got.Network.Ethernets["eth0"], got.Network.Ethernets["eth1"]; eth0.Match.MACAddress != "0e:ff:d5:40:fe:7d" ||
		eth1.Match.MACAddress != "0e:ff:d5:40:fe:7e" || !cmp.Equal(eth0.Addresses, []string{"10.237.0.17/27"}) {
		t.Errorf("got the network %+v", got.Network)
	}
}

// asCloudInit makes of the leaves of a tree what cloud-init makes of them.
func asCloudInit(values map[string]string) map[string]any {
	root := map[string]any{}
	for path, text := range values {
		if path == "" || strings.HasSuffix(path, "/") {
			continue
		}
		names := strings.Split(path, "/")
		if names[0] == "public-keys" { // 0/openssh-key, under the name that the listing gives it
			_, name, _ := strings.Cut(values["public-keys/"], names[1]+"=")
			name, _, _ = strings.Cut(name, "\n")
			names = []string{"public-keys", name}
		}
		node, last := root, len(names)-1
		for _, name := range names[:last] {
			below, ok := node[name].(map[string]any)
			if !ok {
				below = map[string]any{}
				node[name] = below
			}
			node = below
		}
		node[names[last]] = decoded(text)
	}
	return root
}

// decoded reads a leaf as cloud-init does: an object, several lines, or text.
func decoded(text string) any {
	if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "{") && strings.HasSuffix(trimmed, "}") {
		var object any
		if json.Unmarshal([]byte(trimmed), &object) == nil {
			return object
		}
	}
	if !strings.Contains(text, "\n") {
		return text
	}
	var lines []any
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}
