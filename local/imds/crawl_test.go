package imds_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/imds"
)

// everything is an instance that has all that an instance can have.
func everything() imds.Config {
	c := recordedInstance()
	c.Options.HTTPTokens = imds.Optional
	i := &c.Instance
	i.InstanceType, i.Architecture = "p4d.24xlarge", "x86_64"
	i.AncestorAMIIDs = []string{"ami-0aaaaaaaaaaaaaaaa"}
	i.Profile, i.KernelID, i.RamdiskID = "default-paravirtual", "aki-919dcaf8", "ari-a51cf9cc"
	i.GroupName, i.PartitionNumber, i.HostID = "spread", 3, "h-0123456789abcdef0"
	i.OutpostARN = "arn:aws:outposts:us-east-1:111122223333:outpost/op-0123456789abcdef0"
	i.Hibernation, i.DetailedMonitoring, i.AutoScalingGroup = pointer(true), true, "web"
	i.ProductCodes = []string{"abc", "def"}
	i.BlockDevices = map[string]string{"ebs1": "/dev/sdf", "ephemeral0": "sdb", "swap": "sda3"}
	i.LocalIPv4, i.LocalIPv4s, i.PublicIPv4 = "10.237.0.16", []string{"10.237.0.17", "10.237.0.18"}, "203.0.113.25"
	i.IPv4Associations = map[string][]string{"203.0.113.26": {"10.237.0.17", "10.237.0.18"}}
	i.IPv6s = []string{"2001:db8:0:100::5", "2001:db8:0:100::6"}
	i.SubnetIPv4CIDRBlock, i.VPCIPv4CIDRBlock = "10.237.0.0/26", "10.237.0.0/24"
	i.IPv4Prefixes, i.IPv6Prefixes = []string{"10.237.0.32/28"}, []string{"2001:db8:0:100::/80"}
	i.Interfaces = []imds.Interface{{}, {EFAOnly: true}, {
		IPv6Only: true, IPv6s: []string{"2001:db8:0:101::7"}, SubnetID: "subnet-0123456789abcdef0", SubnetIPv6CIDRBlocks: []string{"2001:db8:0:101::/64"},
	}}
	c.Tags = map[string]string{"Name": "web", "empty": "", "aws:ec2:x": "=y"}
	c.Metadata = map[string]*string{
		"spot/instance-action":             pointer(`{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`),
		"spot/termination-time":            pointer("2017-09-18T08:22:00Z"),
		"events/recommendations/rebalance": pointer(`{"noticeTime": "2020-11-05T08:22:00Z"}`),
		"custom/rack":                      pointer("r12"),
		"dynamic/custom/deep/er":           pointer(""),
	}
	c.Namespaces = map[string][]imds.TaskRole{"iam-ecs-1": {
		{Task: strings.Repeat("5f0c", 8), RoleType: imds.TaskApplication, Role: "shop-web-task"},
		{Task: strings.Repeat("5f0c", 8), RoleType: imds.TaskExecution, Role: "arn:aws:iam::111122223333:role/team/exec"},
	}}
	return c
}

// TestCrawl walks the whole tree of each version as cloud-init does: what is
// listed can be fetched, with and without a slash; no directory is empty; no
// listing ends in a newline; a listed leaf is not a directory.
func TestCrawl(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]imds.Config{
		"default": {}, "recorded": recordedInstance(), "everything": everything(),
		"tags without tags": {Options: imds.Options{InstanceMetadataTags: imds.Enabled}},
	} {
		s := serve(t, config, (&counter{}).provide)
		for _, version := range imds.Versions() {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				c := v2(t, s)
				if paths := crawl(t, c, version); len(paths) < 8 {
					t.Errorf("only %d values: %v", len(paths), slices.Sorted(maps.Keys(paths)))
				}
			})
		}
	}
}

// crawl returns the values of a version.
func crawl(t *testing.T, c caller, version string) map[string]string {
	t.Helper()
	values := map[string]string{}
	encode := strings.NewReplacer("%", "%25", "?", "%3F") // as clients do that make a URL of what is listed
	fetch := func(path string) string {
		url := encode.Replace(path)
		plain, slash := c.do("GET", url), c.do("GET", url+"/")
		if plain.Status != 200 || slash.Status != 200 || string(plain.Body) != string(slash.Body) {
			t.Errorf("%s is listed: %d, with a slash %d", path, plain.Status, slash.Status)
		}
		return string(plain.Body)
	}
	var walk func(dir string)
	walk = func(dir string) {
		body := fetch(dir)
		if body == "" || strings.HasSuffix(body, "\n") || strings.Contains(body, "\n\n") {
			t.Errorf("%s lists %q", dir, body)
		}
		lines := strings.Split(body, "\n")
		if !slices.IsSorted(lines) {
			t.Errorf("%s is not sorted: %q", dir, lines)
		}
		for _, line := range lines {
			if number, _, ok := strings.Cut(line, "="); ok && dir == "/"+version+"/meta-data/public-keys" { // the name may end in a slash
				walk(dir + "/" + number)
				continue
			}
			if sub, ok := strings.CutSuffix(line, "/"); ok {
				walk(dir + "/" + sub)
				continue
			}
			path := dir + "/" + line
			values[path] = fetch(path)
			if r := c.do("GET", encode.Replace(path)+"/x"); r.Status != 404 {
				t.Errorf("%s/x: %d", path, r.Status)
			}
		}
	}
	for top := range strings.SplitSeq(string(c.do("GET", "/"+version).Body), "\n") {
		path := "/" + version + "/" + top
		switch {
		case top == "": // all of it was removed
		case top == "user-data":
			values[path] = fetch(path)
		case top == "dynamic" && version < "2009-04-04":
			// Listed all the same, as the real service does.
			if r := c.do("GET", path); r.Status != 404 {
				t.Errorf("%s: %d", path, r.Status)
			}
		default:
			walk(path)
		}
	}
	return values
}

// TestVersionsOnlyGrow says that no version loses what an older one has, and
// that what one shows is the same in all.
func TestVersionsOnlyGrow(t *testing.T) {
	t.Parallel()
	s := serve(t, everything(), (&counter{}).provide)
	c := v2(t, s)
	older := map[string]string{}
	for _, version := range imds.Versions() {
		values := map[string]string{}
		for path, value := range crawl(t, c, version) {
			values[strings.TrimPrefix(path, "/"+version+"/")] = value
		}
		for path, value := range older {
			if values[path] != value {
				t.Errorf("%s: %s is lost or another", version, path)
			}
		}
		older = values
	}
}

// TestVersions says with which version a path appears.
func TestVersions(t *testing.T) {
	t.Parallel()
	s := serve(t, everything(), (&counter{}).provide)
	c := v2(t, s)
	const mac = "network/interfaces/macs/0e:ff:d5:40:fe:7d/"
	for path, want := range map[string]string{
		"ami-id": "1.0", "public-keys/0/openssh-key": "1.0", "custom/rack": "1.0",
		"local-hostname": "2007-01-19", "public-hostname": "2007-01-19", "public-ipv4": "2007-01-19",
		"product-codes": "2007-03-01", "instance-type": "2007-08-29", "ancestor-ami-ids": "2007-10-10", "ramdisk-id": "2007-10-10",
		"block-device-mapping/ami": "2007-12-15", "profile": "2007-12-15",
		"placement/availability-zone": "2008-02-01", "kernel-id": "2008-02-01", "instance-action": "2008-09-01",
		"mac": "2011-01-01", mac + "device-number": "2011-01-01", "metrics/vhostmd": "2011-05-01", "iam/info": "2012-01-12",
		"services/domain": "2014-02-25", "spot/termination-time": "2014-11-05", "services/partition": "2015-10-20",
		mac + "vpc-ipv4-cidr-blocks": "2016-06-30", mac + "ipv6s": "2016-06-30",
		"identity-credentials/ec2/info": "2018-03-28", "spot/instance-action": "2018-03-28", "events/maintenance/scheduled": "2018-08-17",
		"instance-life-cycle": "2019-10-01", "placement/availability-zone-id": "2019-10-01", "placement/region": "2019-10-01",
		"events/recommendations/rebalance": "2020-10-27", "placement/group-name": "2020-10-27", "placement/host-id": "2020-10-27",
		"placement/partition-number": "2020-10-27", "ipv6": "2021-01-03", mac + "network-card": "2021-01-03",
		"tags/instance/Name": "2021-03-23", "autoscaling/target-lifecycle-state": "2021-07-15", "system": "2022-09-24",
		"tag-sets/instance": "2025-10-04", "iam-ecs-1/info": "latest",
	} {
		first := "never"
		for _, version := range imds.Versions() {
			if c.do("GET", "/"+version+"/meta-data/"+path).Status == 200 {
				first = version
				break
			}
		}
		if first != want {
			t.Errorf("%s: since %s, want %s", path, first, want)
		}
	}
}

// TestReplay says that a tree made of nothing but another tree's values is the
// same tree.
func TestReplay(t *testing.T) {
	t.Parallel()
	original := serve(t, everything(), (&counter{}).provide)
	want := crawl(t, v2(t, original), "latest")
	config := imds.Config{Metadata: map[string]*string{"network/interfaces/macs": nil, "block-device-mapping": nil}}
	for path, value := range want {
		config.Metadata[path] = &value
	}
	got := crawl(t, v2(t, serve(t, config, nil)), "latest")
	if !maps.Equal(want, got) {
		t.Errorf("(-original +replay):\n%s", cmp.Diff(redacted(want), redacted(got)))
	}
}

func BenchmarkAnswer(b *testing.B) {
	s := serve(b, recordedInstance(), (&counter{}).provide)
	if err := s.SetOptions(imds.Options{HTTPTokens: imds.Optional}); err != nil {
		b.Fatal(err)
	}
	token := v2(b, s).token
	for _, bench := range []struct {
		name    string
		request imds.Request
		status  int
		most    float64 // allocations
	}{
		{"v1 leaf", imds.Request{Method: "GET", Path: "/latest/meta-data/instance-id"}, 200, 0},
		{"v2 leaf", imds.Request{Method: "GET", Path: "/latest/meta-data/instance-id", Token: token, HasToken: true}, 200, 0},
		{"v2 credentials", imds.Request{Method: "GET", Path: "/latest/meta-data/iam/security-credentials/ecsInstanceRole", Token: token, HasToken: true}, 200, 0},
		{"v2 absent", imds.Request{Method: "GET", Path: "/latest/meta-data/spot/instance-action", Token: token, HasToken: true}, 404, 0},
		{"PUT token", imds.Request{Method: "PUT", Path: "/latest/api/token", TokenTTL: "21600"}, 200, 1},
	} {
		b.Run(bench.name, func(b *testing.B) {
			if n := testing.AllocsPerRun(100, func() { s.Answer(bench.request) }); n > bench.most {
				b.Errorf("%v allocations, want at most %v", n, bench.most)
			}
			b.ReportAllocs()
			for b.Loop() {
				if r := s.Answer(bench.request); r.Status != bench.status {
					b.Fatal(r.Status)
				}
			}
		})
	}
}

func BenchmarkSetValue(b *testing.B) {
	s := serve(b, everything(), (&counter{}).provide)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := s.SetValue("custom/rack", fmt.Append(nil, n)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNew is the time that a server waits for its instance. Keys are made
// later, when somebody first wants a signature.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := imds.New(everything(), imds.Deps{}); err != nil {
			b.Fatal(err)
		}
	}
}
