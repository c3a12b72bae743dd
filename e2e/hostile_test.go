package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
)

// On a network with IPv6 each container has a link-local address, of which the
// engine says nothing.
func TestControlRefusesALinkLocalContainer(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	name, yes := unique("net6"), true
	prefix := "fd00:" + randomHex(2) + ":" + randomHex(2) + ":"
	if _, err := c.NetworkCreate(within(t, longest), name, network.CreateOptions{
		Driver: "bridge", EnableIPv6: &yes, Labels: map[string]string{labelRun: run},
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: prefix + ":/64"}}},
	}); err != nil {
		t.Fatalf("create network: %v", err)
	}
	t.Cleanup(func() { removeNetwork(t, c, name) })
	side := startSidecar(t, c, spec{networks: []attachment{{network: name}}})
	p := startProbe(t, c, spec{networks: []attachment{{network: name}}})
	info, err := c.ContainerInspect(within(t, longest), side.id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	at := info.NetworkSettings.Networks[name]
	for _, address := range []string{at.IPAddress, "[" + at.GlobalIPv6Address + "]", "[" + linkLocal(t, at.MacAddress) + "%25eth0]"} {
		var got answer
		eventually(t, soon, func() (err error) { // the kernel takes a while to be sure of an address
			got, err = p.ask("http://" + address + ":51680/v1/tasks")
			if err == nil && strings.Contains(address, "fe80") && strings.Contains(got.Body, "you are") {
				err = fmt.Errorf("it still asks from its other address: %s", got.Body)
			}
			return err
		})
		if got.Status != http.StatusForbidden || !strings.Contains(got.Body, "does not answer containers") {
			t.Errorf("by %s: got %d %s, want a refusal", address, got.Status, got.Body)
		}
	}

	ready(t, side.control) // asked by the host
}

// linkLocal returns the address that the kernel makes of a MAC address.
func linkLocal(t *testing.T, mac string) string {
	t.Helper()
	m, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	ip := net.IP{0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
	return ip.String()
}
