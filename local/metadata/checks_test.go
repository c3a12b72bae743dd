package metadata

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

// The tests here repeat the checks of the agent's own tests that are about
// documents. What those check that cannot be here is in docs/launch-types.md.

// keyOrder lists the keys of an object in their order.
func keyOrder(t *testing.T, doc []byte) []string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(doc))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	var order []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, key.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return order
}

// Check 8 of the agent's own: the order of keys in v4 containers, tasks,
// networks and stats; FaultInjectionEnabled always printed; RestartCount 0
// printed. The tasks together have every key but Errors and Group, which are
// never set here, and the times of the image's pull, which nobody knows.
func TestKeyOrderCheck8(t *testing.T) {
	t.Parallel()
	r, ok := New(Options{}), must(t)
	full := web(func(c *local.Container) {
		code := 0
		c.RestartCount = &code
		c.Volumes = redis().Volumes
		c.ExitCode, c.Labels = 137, map[string]string{local.LabelNetworkMode: local.AWSVPC}
		stopped(c)
		c.Networks[0] = local.Network{
			Name: "shop", IPv4: netip.MustParseAddr("10.0.0.5"), IPv6: netip.MustParseAddr("fd00::5"), IPv4Subnet: netip.MustParsePrefix("10.0.0.0/24"),
			IPv4Gateway: netip.MustParseAddr("10.0.0.1"), MAC: "02:42:0a:00:00:05",
		}
	})
	fargate, ec2 := task(full), task(full)
	fargate.LaunchType = local.LaunchFargate
	containerKeys := strings.Fields(`DockerId Name DockerName Image ImageID Ports Labels DesiredStatus KnownStatus ExitCode Limits CreatedAt StartedAt
		FinishedAt Type Health Volumes LogDriver LogOptions ContainerARN Networks Snapshotter RestartCount`)
	container := ok(r.Container(V4, fargate, full))
	if diff := cmp.Diff(containerKeys, keyOrder(t, container)); diff != "" {
		t.Errorf("keys of a container (-want +got):\n%s", diff)
	}
	if !bytes.HasSuffix(container, []byte(`"RestartCount":0}`)) {
		t.Errorf("no restart yet: %s", container)
	}
	var networks []json.RawMessage
	if err := json.Unmarshal(keys(t, container)["Networks"], &networks); err != nil || len(networks) != 1 {
		t.Fatalf("networks %s: %v", networks, err)
	}
	want := strings.Fields(`NetworkMode IPv4Addresses IPv6Addresses AttachmentIndex MACAddress IPv4SubnetCIDRBlock IPv6SubnetCIDRBlock DomainNameServers
		DomainNameSearchList PrivateDNSName SubnetGatewayIpv4Address`)
	if diff := cmp.Diff(want, keyOrder(t, networks[0])); diff != "" {
		t.Errorf("keys of a network (-want +got):\n%s", diff)
	}
	taskKeys := strings.Fields(`Cluster TaskARN Family Revision DesiredStatus KnownStatus Limits ExecutionStoppedAt AvailabilityZone TaskTags
		ContainerInstanceTags LaunchType Containers VPCID ServiceName ClockDrift EphemeralStorageMetrics FaultInjectionEnabled AvailabilityZoneID`)
	without := func(keys ...string) []string {
		return slices.DeleteFunc(slices.Clone(taskKeys), func(k string) bool { return slices.Contains(keys, k) })
	}
	for _, test := range []struct {
		task *local.Task
		want []string
	}{
		{fargate, without("ContainerInstanceTags", "VPCID", "AvailabilityZoneID")},
		{ec2, without("ClockDrift", "EphemeralStorageMetrics")},
	} {
		if diff := cmp.Diff(test.want, keyOrder(t, ok(r.Task(V4, test.task, true)))); diff != "" {
			t.Errorf("keys of a task on %s (-want +got):\n%s", test.task.LaunchType, diff)
		}
	}
	stats := strings.Fields(`read preread pids_stats blkio_stats num_procs storage_stats cpu_stats precpu_stats memory_stats name id networks network_rate_stats`)
	sample := &local.Stats{JSON: []byte(`{"name":"/web","id":"` + webID + `","networks":{"eth0":{}}}`), Rates: &local.NetworkRates{}}
	if diff := cmp.Diff(stats, keyOrder(t, ok(Stats(V4, ec2, full, sample)))); diff != "" {
		t.Errorf("keys of stats (-want +got):\n%s", diff)
	}
}

// Check 10 of the agent's own: processors 0 and 1 of a container are shown as
// 2; health is an empty object before the first result, and absent without a
// health check.
func TestSmallestLimitAndHealthCheck10(t *testing.T) {
	t.Parallel()
	for cpu, want := range map[float64]string{0: `{"CPU":2,"Memory":512}`, 1: `{"CPU":2,"Memory":512}`, 2: `{"CPU":2,"Memory":512}`, 3: `{"CPU":3,"Memory":512}`} {
		c := web(func(c *local.Container) { c.CPU = cpu })
		for _, v := range []Version{V2, V3, V4} {
			if got := string(keys(t, must(t)(New(Options{}).Container(v, task(c), c)))["Limits"]); got != want {
				t.Errorf("version %d: CPU %v is shown as %s, want %s", v, cpu, got, want)
			}
		}
	}
	for want, h := range map[string]*local.Health{"{}": {}, "": nil} {
		c := web(func(c *local.Container) { c.Health = h })
		for _, v := range []Version{V2, V3, V4} {
			if got := string(keys(t, must(t)(New(Options{}).Container(v, task(c), c)))["Health"]); got != want {
				t.Errorf("version %d: health is %q, want %q", v, got, want)
			}
		}
	}
}

// Check 11 of the agent's own: in the network mode bridge the pause containers
// of Service Connect come first in v4, the others stay in their order.
func TestPauseContainersComeFirstCheck11(t *testing.T) {
	t.Parallel()
	pause := func(id string) *local.Container {
		return redis(func(c *local.Container) {
			c.ID, c.Type, c.Name = id, "CNI_PAUSE", "~internal~ecs~pause-"+id
		})
	}
	for mode, want := range map[string][]string{
		"":           {"p1", "p2", webID, redisID},
		"bridge":     {"p1", "p2", webID, redisID},
		local.AWSVPC: {webID, "p1", redisID, "p2"},
	} {
		tk := task(web(), pause("p1"), redis(), pause("p2"))
		tk.NetworkMode = mode
		for v, want := range map[Version][]string{V3: {webID, "p1", redisID, "p2"}, V4: want} {
			var doc struct{ Containers []struct{ DockerID string } }
			if err := json.Unmarshal(must(t)(New(Options{}).Task(v, tk, false)), &doc); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range doc.Containers {
				got = append(got, c.DockerID)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("mode %q, version %d (-want +got):\n%s", mode, v, diff)
			}
		}
	}
}

// Check 12 of the agent's own: an interface with both versions of addresses
// has no gateway of version 6, one with version 6 alone has.
func TestInterfaceGatewaysCheck12(t *testing.T) {
	t.Parallel()
	dual := local.Network{
		Name: "shop", MAC: "02:42:ac:12:00:05",
		IPv4: netip.MustParseAddr("172.18.0.5"), IPv4Subnet: netip.MustParsePrefix("172.18.0.0/16"), IPv4Gateway: netip.MustParseAddr("172.18.0.1"),
		IPv6: netip.MustParseAddr("fd00:18::5"), IPv6Subnet: netip.MustParsePrefix("fd00:18::/56"), IPv6Gateway: netip.MustParseAddr("fd00:18::1"),
	}
	only := dual
	only.IPv4, only.IPv4Subnet, only.IPv4Gateway = netip.Addr{}, netip.Prefix{}, netip.Addr{}
	for name, test := range map[string]struct {
		network    local.Network
		want4      string
		want2, not string
	}{
		"dual-stack": {
			network: dual,
			want4: `[{"NetworkMode":"awsvpc","IPv4Addresses":["172.18.0.5"],"IPv6Addresses":["fd00:18::5"],"AttachmentIndex":0,"MACAddress":"02:42:ac:12:00:05",` +
				`"IPv4SubnetCIDRBlock":"172.18.0.0/16","IPv6SubnetCIDRBlock":"fd00:18::/64","DomainNameServers":["127.0.0.11"],` +
				`"DomainNameSearchList":["us-west-2.compute.internal"],"PrivateDNSName":"ip-172-18-0-5.us-west-2.compute.internal","SubnetGatewayIpv4Address":"172.18.0.1/16"}]`,
			want2: `[{"NetworkMode":"awsvpc","IPv4Addresses":["172.18.0.5"],"IPv6Addresses":["fd00:18::5"]}]`,
			not:   "SubnetGatewayIpv6Address",
		},
		"IPv6 only": {
			network: only,
			want4: `[{"NetworkMode":"awsvpc","IPv6Addresses":["fd00:18::5"],"AttachmentIndex":0,"MACAddress":"02:42:ac:12:00:05","IPv6SubnetCIDRBlock":"fd00:18::/56",` +
				`"DomainNameServers":["127.0.0.11"],"DomainNameSearchList":["us-west-2.compute.internal"],"SubnetGatewayIpv6Address":"fd00:18::1/56"}]`,
			want2: `[{"NetworkMode":"awsvpc","IPv6Addresses":["fd00:18::5"]}]`,
			not:   "SubnetGatewayIpv4Address",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tk := task(web(func(c *local.Container) { c.Networks = []local.Network{test.network} }))
			tk.NetworkMode = local.AWSVPC
			for v, want := range map[Version]string{V2: test.want2, V3: test.want2, V4: test.want4} {
				got := string(keys(t, must(t)(New(Options{}).Container(v, tk, tk.Containers[0])))["Networks"])
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("version %d (-want +got):\n%s", v, diff)
				}
				if strings.Contains(got, test.not) {
					t.Errorf("version %d has %s", v, test.not)
				}
			}
		})
	}
}

// Check 13 of the agent's own, as far as it can be here: unknown networks are
// left out of a v4 document.
func TestUnknownNetworksAreLeftOutCheck13(t *testing.T) {
	t.Parallel()
	c := web(func(c *local.Container) { c.NetworkMode, c.Networks = "", nil })
	if networks, ok := keys(t, must(t)(New(Options{}).Container(V4, task(c), c)))["Networks"]; ok {
		t.Errorf("networks are %s", networks)
	}
}

// Check 14 of the agent's own: stats of a stopped container are null in v2 and
// v3 and an empty object in v4; without containers there is an empty object.
func TestStatsOfStoppedContainers(t *testing.T) {
	t.Parallel()
	c := web(stopped)
	for v, want := range map[Version]string{V2: "null", V3: "null", V4: "{}"} {
		body := must(t)(Stats(v, task(c), c, nil))
		if got := string(TaskStats([]Sample{{ContainerID: webID, JSON: body}})); got != `{"`+webID+`":`+want+`}` {
			t.Errorf("version %d: %s", v, got)
		}
	}
	if got := string(TaskStats(nil)); got != "{}" {
		t.Errorf("no container: %s", got)
	}
}
