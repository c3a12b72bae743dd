package metadata

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

// launchTask is a task of which every fact differs by launch type: two
// containers on two networks, one of them without limits.
func launchTask(launch string) *local.Task {
	shop := func(host byte) local.Network {
		return local.Network{
			Name: "shop_default", IPv4: netip.AddrFrom4([4]byte{172, 18, 0, host}), IPv4Subnet: netip.MustParsePrefix("172.18.0.0/16"),
			IPv4Gateway: netip.MustParseAddr("172.18.0.1"), MAC: "02:42:ac:12:00:05",
		}
	}
	agent := local.Network{
		Name: "ecs-local", IPv4: netip.MustParseAddr("169.254.172.3"), IPv4Subnet: netip.MustParsePrefix("169.254.168.0/21"),
		IPv4Gateway: netip.MustParseAddr("169.254.168.1"), MAC: "02:42:a9:fe:ac:03",
	}
	first := web(func(c *local.Container) {
		c.Networks = []local.Network{agent, shop(5)}
		c.Ports = []local.Port{{Container: 8080, Host: 32768, HostIP: "0.0.0.0", Protocol: "tcp"}, {Container: 8080, Host: 32768, HostIP: "::", Protocol: "tcp"}}
	})
	second := redis(func(c *local.Container) { c.Networks, c.RestartCount = []local.Network{shop(6)}, nil })
	t := task(first, second)
	t.LaunchType, t.CPU, t.Memory = launch, 0, 0
	return t
}

// TestLaunchTypes has a golden file for each launch type and version.
func TestLaunchTypes(t *testing.T) {
	t.Parallel()
	for _, launch := range []string{local.LaunchEC2, local.LaunchFargate, local.LaunchExternal, local.LaunchManaged} {
		for family, v := range map[string]Version{"v3": V3, "v4": V4} {
			t.Run(launch+" "+family, func(t *testing.T) {
				t.Parallel()
				r, ok, tk := New(Options{}), must(t), launchTask(launch)
				whole := ok(r.Task(v, tk, true))
				golden(t, "launch-"+strings.ReplaceAll(strings.ToLower(launch), "_", "-")+"-"+family, whole)
				var docs []json.RawMessage
				if err := json.Unmarshal(keys(t, whole)["Containers"], &docs); err != nil {
					t.Fatal(err)
				}
				for i, c := range tk.Containers {
					if alone := ok(r.Container(v, tk, c)); string(alone) != string(docs[i]) {
						t.Errorf("container alone:\n%s\nin its task:\n%s", alone, docs[i])
					}
				}
				if again := ok(r.Task(v, launchTask(launch), true)); string(again) != string(whole) {
					t.Errorf("the same facts give another document:\n%s\n%s", whole, again)
				}
			})
		}
	}
}

// TestFargateIsConfigured shows what the configuration says, and its defaults.
func TestFargateIsConfigured(t *testing.T) {
	t.Parallel()
	tk := launchTask(local.LaunchFargate)
	tk.Fargate = local.Fargate{EphemeralStorage: 40, StorageUtilized: 281, ClockErrorBound: 0.75, ClockStatus: "NOT_SYNCHRONIZED", Snapshotter: "soci"}
	doc := keys(t, must(t)(New(Options{}).Task(V4, tk, false)))
	for key, want := range map[string]string{
		"ClockDrift":              `{"ClockErrorBound":0.75,"ReferenceTimestamp":"2026-06-30T17:02:06Z","ClockSynchronizationStatus":"NOT_SYNCHRONIZED"}`,
		"EphemeralStorageMetrics": `{"Utilized":281,"Reserved":40976}`,
	} {
		if got := string(doc[key]); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if n := strings.Count(string(doc["Containers"]), `"Snapshotter":"soci"`); n != 2 {
		t.Errorf("%d containers say soci: %s", n, doc["Containers"])
	}
	for _, c := range tk.Containers {
		c.StartedAt = time.Time{}
	}
	doc = keys(t, must(t)(New(Options{}).Task(V4, tk, false)))
	if got := string(doc["ClockDrift"]); strings.Contains(got, "ReferenceTimestamp") {
		t.Errorf("before the first start: %s", got)
	}
}

func TestFargateSize(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ cpu, memory, wantCPU, wantMemory float64 }{
		"nothing said":           {0, 0, 0.25, 512},
		"both said":              {1, 3072, 1, 3072},
		"only processors":        {4, 0, 4, 8192},
		"only a little memory":   {0, 1024, 0.25, 1024},
		"memory at a limit":      {0, 8192, 1, 8192},
		"memory beyond a limit":  {0, 8193, 2, 8193},
		"more memory than exist": {0, 1 << 20, 16, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if cpu, memory := fargateSize(test.cpu, int64(test.memory)); cpu != test.wantCPU || memory != int64(test.wantMemory) {
				t.Errorf("got %v and %d, want %v and %v", cpu, memory, test.wantCPU, test.wantMemory)
			}
		})
	}
}

// TestClusterARN: on Fargate the cluster is always an ARN.
func TestClusterARN(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ launch, arn, cluster, want string }{
		"a name":             {"FARGATE", taskARN, "demo", "arn:aws:ecs:us-west-2:111122223333:cluster/demo"},
		"another partition":  {"FARGATE", strings.Replace(strings.Replace(taskARN, "aws", "aws-cn", 1), "us-west-2", "cn-north-1", 1), "demo", "arn:aws-cn:ecs:cn-north-1:111122223333:cluster/demo"},
		"an ARN":             {"FARGATE", taskARN, "arn:aws:ecs:us-east-1:444455556666:cluster/x", "arn:aws:ecs:us-east-1:444455556666:cluster/x"},
		"a task without one": {"FARGATE", "mine", "demo", "demo"},
		"EC2":                {"EC2", taskARN, "demo", "demo"},
		"managed instances":  {"MANAGED_INSTANCES", taskARN, "demo", "demo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := cluster(&local.Task{LaunchType: test.launch, ARN: test.arn, Cluster: test.cluster}); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestInterface shows the interface that is made of a container's networks.
func TestInterface(t *testing.T) {
	t.Parallel()
	network := func(name, addr string) local.Network {
		return local.Network{Name: name, IPv4: netip.MustParseAddr(addr)}
	}
	tests := map[string]struct {
		change func(*local.Container)
		arn    string
		want   string // without NetworkMode and AttachmentIndex, which all have
	}{
		"derived from the address alone": {
			change: func(c *local.Container) { c.Networks = []local.Network{network("bridge", "10.0.17.9")} },
			want: `"IPv4Addresses":["10.0.17.9"],"MACAddress":"02:42:0a:00:11:09","IPv4SubnetCIDRBlock":"10.0.16.0/20","DomainNameServers":["10.0.16.2"],` +
				`"DomainNameSearchList":["us-west-2.compute.internal"],"PrivateDNSName":"ip-10-0-17-9.us-west-2.compute.internal","SubnetGatewayIpv4Address":"10.0.16.1/20"`,
		},
		"the region that has another domain": {
			change: func(c *local.Container) { c.Networks = []local.Network{network("shop", "10.0.17.9")} },
			arn:    strings.Replace(taskARN, "us-west-2", "us-east-1", 1),
			want: `"IPv4Addresses":["10.0.17.9"],"MACAddress":"02:42:0a:00:11:09","IPv4SubnetCIDRBlock":"10.0.16.0/20","DomainNameServers":["127.0.0.11"],` +
				`"DomainNameSearchList":["ec2.internal"],"PrivateDNSName":"ip-10-0-17-9.ec2.internal","SubnetGatewayIpv4Address":"10.0.16.1/20"`,
		},
		"that of the container whose network it uses": {
			change: func(c *local.Container) { c.SharesWith, c.Networks = redisID, nil },
			want: `"IPv4Addresses":["172.17.0.4"],"MACAddress":"02:42:ac:11:00:04","IPv4SubnetCIDRBlock":"172.17.0.0/20","DomainNameServers":["172.17.0.2"],` +
				`"DomainNameSearchList":["us-west-2.compute.internal"],"PrivateDNSName":"ip-172-17-0-4.us-west-2.compute.internal","SubnetGatewayIpv4Address":"172.17.0.1/20"`,
		},
		"the address that others can reach": {
			change: func(c *local.Container) {
				c.Networks = []local.Network{{Name: "a"}, network("b", "169.254.172.3"), network("c", "10.0.17.9"), network("d", "10.1.0.1")}
			},
			want: `"IPv4Addresses":["10.0.17.9"],"MACAddress":"02:42:0a:00:11:09","IPv4SubnetCIDRBlock":"10.0.16.0/20","DomainNameServers":["127.0.0.11"],` +
				`"DomainNameSearchList":["us-west-2.compute.internal"],"PrivateDNSName":"ip-10-0-17-9.us-west-2.compute.internal","SubnetGatewayIpv4Address":"10.0.16.1/20"`,
		},
		"a container that has ended": {change: func(c *local.Container) { stopped(c) }, want: `"IPv4Addresses":[""]`},
		"no network":                 {change: func(c *local.Container) { c.Networks = nil }, want: `"IPv4Addresses":[""]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tk := task(web(test.change), redis())
			tk.NetworkMode = local.AWSVPC
			if test.arn != "" {
				tk.ARN = test.arn
			}
			doc := keys(t, must(t)(New(Options{}).Container(V4, tk, tk.Containers[0])))
			want := `[{"NetworkMode":"awsvpc",` + strings.Replace(test.want, `],`, `],"AttachmentIndex":0,`, 1) + `}]`
			if !strings.Contains(want, "AttachmentIndex") {
				want = `[{"NetworkMode":"awsvpc",` + test.want + `,"AttachmentIndex":0}]`
			}
			if diff := cmp.Diff(want, string(doc["Networks"])); diff != "" {
				t.Errorf("Networks (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStatsOfLaunchTypes: the id in the stats is that in the documents, so that
// a reader can join them.
func TestStatsOfLaunchTypes(t *testing.T) {
	t.Parallel()
	sample := &local.Stats{JSON: []byte(`{"name":"/shop-web-1","id":"` + webID + `"}`)}
	for launch, want := range map[string]string{
		local.LaunchEC2:     `"name":"/shop-web-1","id":"` + webID + `"}`,
		local.LaunchFargate: `"name":"web","id":"5f0c1b7e9a2d4c3e8b6a7d1f20394857-`,
		local.LaunchManaged: `"name":"/shop-web-1","id":"5f0c1b7e9a2d4c3e8b6a7d1f20394857-`,
	} {
		tk := task(web())
		tk.LaunchType = launch
		body := string(must(t)(Stats(V4, tk, tk.Containers[0], sample)))
		if !strings.Contains(body, want) {
			t.Errorf("%s: %s lacks %s", launch, body, want)
		}
		var stats struct {
			ID string `json:"id"`
		}
		var doc struct{ DockerID string }
		if err := json.Unmarshal([]byte(body), &stats); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(must(t)(New(Options{}).Container(V4, tk, tk.Containers[0])), &doc); err != nil {
			t.Fatal(err)
		}
		if stats.ID != doc.DockerID {
			t.Errorf("%s: stats are of %s, the document of %s", launch, stats.ID, doc.DockerID)
		}
	}
}
