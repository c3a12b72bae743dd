package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// newTwin makes a network with the same subnet as another. The engine's own
// drivers do not allow that, but those of others do: this one hands out the
// addresses that it is asked for and moves no packet.
// https://github.com/moby/moby/blob/v20.10.24/libnetwork/docs/remote.md
// https://github.com/moby/moby/blob/v20.10.24/libnetwork/docs/ipam.md
func newTwin(t *testing.T, c *client.Client, prefix string) string {
	t.Helper()
	const plugins = "/run/docker/plugins"
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatalf("make folder of plug-ins: %v", err)
	}
	name := unique("twin")
	socket, err := net.Listen("unix", filepath.Join(plugins, name+".sock"))
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	server := &http.Server{ReadHeaderTimeout: longest, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask struct{ Pool, Address string }
		_ = json.NewDecoder(r.Body).Decode(&ask)
		if ask.Address == "" {
			ask.Address = prefix + "1"
		}
		answers := map[string]any{
			"/Plugin.Activate":                    map[string]any{"Implements": []string{"NetworkDriver", "IpamDriver"}},
			"/NetworkDriver.GetCapabilities":      map[string]any{"Scope": "local"},
			"/NetworkDriver.Join":                 map[string]any{"InterfaceName": map[string]any{}, "DisableGatewayService": true},
			"/IpamDriver.GetDefaultAddressSpaces": map[string]any{"LocalDefaultAddressSpace": name, "GlobalDefaultAddressSpace": name},
			"/IpamDriver.RequestPool":             map[string]any{"PoolID": name, "Pool": ask.Pool},
			"/IpamDriver.RequestAddress":          map[string]any{"Address": ask.Address + "/24"},
		}
		w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.1+json")
		if answer, ok := answers[r.URL.Path]; ok {
			_ = json.NewEncoder(w).Encode(answer)
			return
		}
		_, _ = w.Write([]byte("{}"))
	})}
	go func() { _ = server.Serve(socket) }()
	t.Cleanup(func() { _ = server.Close() })

	_, err = c.NetworkCreate(within(t, longest), name, network.CreateOptions{
		Driver: name,
		IPAM:   &network.IPAM{Driver: name, Config: []network.IPAMConfig{{Subnet: prefix + "0/24", Gateway: prefix + "1"}}},
		Labels: map[string]string{labelRun: run},
	})
	if err != nil {
		t.Fatalf("create network: %v", err)
	}
	t.Cleanup(func() { removeNetwork(t, c, name) })
	return name
}

func TestSameAddressOnTwoNetworksIsTheContainerOnTheNetworkOfECSLocal(t *testing.T) {
	t.Parallel()
	c := requireRoot(t)
	if !strings.HasSuffix(c.DaemonHost(), "/run/docker.sock") {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", "the engine at "+c.DaemonHost()+" does not look for plug-ins in /run/docker")
	}
	net, prefix := newNetwork(t, c)
	twin := newTwin(t, c, prefix)
	address := prefix + "30"
	here := startProbe(t, c, spec{networks: []attachment{{network: net, address: address}}})
	other := unique("there")
	there := started(t, c, spec{name: other, cmd: []string{"/probe", "sleep", "infinity"}, networks: []attachment{{network: twin, address: address}}})
	if got := addressOn(t, c, there, twin); got != address {
		t.Fatalf("the other container has %s; the test needs %s", got, address)
	}

	t.Run("ecs-local is on one of them", func(t *testing.T) {
		side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
		if err := here.own(side); err != nil {
			t.Error(err)
		}
	})
	t.Run("ecs-local is on both", func(t *testing.T) {
		side := startSidecar(t, c, spec{networks: []attachment{{network: net, address: prefix + "40"}, {network: twin, address: prefix + "41"}}})
		eventually(t, soon, func() error {
			a := here.get(t, side.url+"/v4")
			switch {
			case a.Status == http.StatusOK:
				// So it is while a busy engine has not described both yet.
				return fmt.Errorf("got an answer where two containers have the address: %s", a.Body)
			case !strings.Contains(a.Body, here.name) || !strings.Contains(a.Body, other) || !strings.Contains(a.Body, address):
				return fmt.Errorf("want an error that names the address and both containers, got %d %s", a.Status, a.Body)
			}
			return nil
		})
	})
}
