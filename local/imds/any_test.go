package imds_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/imds"
)

// TestAnyInstance walks every version of instances of all kinds and says that
// what is listed can be fetched and that all of it agrees.
func TestAnyInstance(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := anyInstance(rand.New(rand.NewPCG(seed, 0)))
			if problems := c.Validate(); len(problems) > 0 {
				t.Fatalf("refused: %v", problems)
			}
			coherent(t, c)
		})
	}
}

// FuzzInstance does the same, and lets one thing be what it should not be:
// then the instance is refused, or whole all the same.
func FuzzInstance(f *testing.F) {
	f.Add(uint64(1), uint8(0), "")
	f.Add(uint64(2), uint8(1), "10.0.0.0/8")
	f.Add(uint64(3), uint8(8), "a\nb/")
	f.Add(uint64(1), uint8(20), "/a/b/")
	f.Add(uint64(148), uint8(7), "/")
	f.Add(uint64(33), uint8(20), "0") // a role, and services/partition is removed
	f.Add(uint64(1525088308772867462), uint8(12), "0e:00:00:00:00:00")
	f.Add(uint64(1525088308772867467), uint8(16), "203.0.113.3") // which is associated already
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, text string) {
		c := anyInstance(rand.New(rand.NewPCG(seed, 1)))
		i := &c.Instance
		places := []*string{
			&i.InstanceID, &i.InstanceType, &i.AccountID, &i.Region, &i.AvailabilityZone, &i.AvailabilityZoneID, &i.AMIID, &i.KeyName, &i.PublicKey,
			&i.GroupName, &i.OutpostARN, &i.AutoScalingGroup, &i.MAC, &i.LocalIPv4, &i.SubnetIPv4CIDRBlock, &i.VPCIPv4CIDRBlock, &i.PublicIPv4,
			&i.AMIManifestPath, &i.VPCID, &i.SubnetID, &c.Role, &c.InstanceProfile,
		}
		if n := int(which); n < len(places) {
			*places[n] = text
		} else {
			c.Tags = map[string]string{text: text}
		}
		if len(c.Validate()) == 0 {
			coherent(t, c)
		}
	})
}

// coherent serves an instance and compares what it says in several places.
func coherent(t *testing.T, c imds.Config) {
	t.Helper()
	s := serve(t, c, (&counter{}).provide)
	client := v2(t, s)
	if s.Options().HTTPEndpoint == imds.Disabled {
		t.Fatal("these instances answer")
	}
	older := map[string]string{}
	for _, version := range imds.Versions() {
		values := map[string]string{}
		for path, value := range crawl(t, client, version) {
			values[strings.TrimPrefix(path, "/"+version+"/")] = value
		}
		for path, value := range older {
			if values[path] != value {
				t.Errorf("%s: %s is lost or another", version, path)
			}
		}
		older = values
	}
	values := older
	at := func(path string) string { return values["meta-data/"+path] }
	same := func(what, a, b string) {
		t.Helper()
		if a != b {
			t.Errorf("%s: %q and %q", what, a, b)
		}
	}
	mac := "network/interfaces/macs/" + at("mac") + "/"
	same("mac", at(mac+"mac"), at("mac"))
	same("device of the primary interface", at(mac+"device-number"), "0")
	first, _, _ := strings.Cut(at(mac+"local-ipv4s"), "\n")
	same("local-ipv4", first, at("local-ipv4"))
	first, _, _ = strings.Cut(at(mac+"ipv6s"), "\n")
	same("ipv6", first, at("ipv6"))
	same("hostname", at("hostname"), at("local-hostname"))
	same("local-hostname", at(mac+"local-hostname"), at("hostname"))
	same("security-groups", at(mac+"security-groups"), at("security-groups"))
	same("root device", at("block-device-mapping/root"), "/dev/"+at("block-device-mapping/ami"))
	if address := at("public-ipv4"); address != "" {
		same("public-ipv4", strings.Split(at(mac+"public-ipv4s"), "\n")[0], address)
		same("public-hostname", at(mac+"public-hostname"), at("public-hostname"))
		if private := at(mac + "ipv4-associations/" + address); !slices.Contains(strings.Split(private, "\n"), at("local-ipv4")) {
			t.Errorf("%s is associated with %q, not with %s", address, private, at("local-ipv4"))
		}
	}
	if zone := at("placement/availability-zone"); !strings.HasPrefix(zone, at("placement/region")) {
		t.Errorf("zone %s in %s", zone, at("placement/region"))
	}

	var document map[string]any
	if err := json.Unmarshal([]byte(values["dynamic/instance-identity/document"]), &document); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for key, value := range document {
		if text, ok := value.(string); ok {
			got[key] = text
		}
	}
	want := map[string]string{
		"accountId": got["accountId"], "architecture": got["architecture"], "availabilityZone": at("placement/availability-zone"),
		"imageId": at("ami-id"), "instanceId": at("instance-id"), "instanceType": at("instance-type"), "pendingTime": got["pendingTime"],
		"region": at("placement/region"), "version": "2017-09-30",
	}
	for key, path := range map[string]string{"privateIp": "local-ipv4", "kernelId": "kernel-id", "ramdiskId": "ramdisk-id"} {
		if value := at(path); value != "" {
			want[key] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("identity document (-tree +document):\n%s", diff)
	}
	same("account", at(mac+"owner-id"), got["accountId"])
	if info := at("identity-credentials/ec2/info"); !strings.Contains(info, `"AccountId" : "`+got["accountId"]+`"`) {
		t.Errorf("identity-credentials: %s", info)
	}
	if partition, ok := values["meta-data/services/partition"]; ok && c.Role != "" { // it can be removed
		arn := "arn:" + partition + ":iam::" + got["accountId"] + ":instance-profile/"
		if info := at("iam/info"); !strings.Contains(info, arn) {
			t.Errorf("%q lacks %s", info, arn)
		}
	}

	var shown map[string]string
	if set, ok := values["meta-data/tag-sets/instance"]; ok {
		if err := json.Unmarshal([]byte(set), &shown); err != nil {
			t.Error(err)
		}
	}
	for path, value := range values {
		if key, ok := strings.CutPrefix(path, "meta-data/tags/instance/"); ok {
			same("tag "+key, shown[key], value)
			delete(shown, key)
		}
	}
	if len(shown) > 0 {
		t.Errorf("only in tag-sets: %v", shown)
	}
	interfaces(t, values)
}

// interfaces compares the interfaces of a tree: those of one VPC and of one
// subnet say the same of it, and no address is there twice.
func interfaces(t *testing.T, values map[string]string) {
	t.Helper()
	const macs = "meta-data/network/interfaces/macs/"
	facts, blocks, addresses := map[string]string{}, map[string]string{}, map[string]string{}
	note := func(where map[string]string, key, value string) {
		t.Helper()
		if was, ok := where[key]; ok && was != value {
			t.Errorf("%s: %q and %q", key, was, value)
		}
		where[key] = value
	}
	for path := range values {
		mac, ok := strings.CutSuffix(path, "/interface-id")
		if !ok {
			continue
		}
		mac = strings.TrimPrefix(mac, macs)
		at := func(leaf string) string { return values[macs+mac+"/"+leaf] }
		lines := func(leaf string) []string {
			if at(leaf) == "" {
				return nil
			}
			return strings.Split(at(leaf), "\n")
		}
		note(facts, at("subnet-id")+" in", at("vpc-id"))
		for _, leaf := range []string{"vpc-ipv4-cidr-block", "vpc-ipv4-cidr-blocks", "vpc-ipv6-cidr-blocks"} {
			note(facts, at("vpc-id")+" "+leaf, at(leaf))
		}
		for _, leaf := range []string{"subnet-ipv4-cidr-block", "subnet-ipv6-cidr-blocks"} {
			note(facts, at("subnet-id")+" "+leaf, at(leaf))
			for _, block := range lines(leaf) {
				note(blocks, at("vpc-id")+" "+block, at("subnet-id"))
			}
		}
		inside := func(inner, outer string) {
			for _, text := range lines(inner) {
				small, err := netip.ParsePrefix(text)
				if addr, aerr := netip.ParseAddr(text); aerr == nil {
					small, err = netip.PrefixFrom(addr, addr.BitLen()), nil
				}
				if err != nil || !slices.ContainsFunc(lines(outer), func(text string) bool {
					large, err := netip.ParsePrefix(text)
					return err == nil && large.Bits() <= small.Bits() && large.Contains(small.Addr())
				}) {
					t.Errorf("%s: %s %s is not in %s %q", mac, inner, text, outer, lines(outer))
				}
			}
		}
		inside("subnet-ipv4-cidr-block", "vpc-ipv4-cidr-blocks")
		inside("subnet-ipv6-cidr-blocks", "vpc-ipv6-cidr-blocks")
		inside("local-ipv4s", "subnet-ipv4-cidr-block")
		inside("ipv4-prefix", "subnet-ipv4-cidr-block")
		inside("ipv6s", "subnet-ipv6-cidr-blocks")
		inside("ipv6-prefix", "subnet-ipv6-cidr-blocks")
		for _, leaf := range []string{"local-ipv4s", "ipv6s", "public-ipv4s", "ipv4-prefix", "ipv6-prefix"} {
			for _, address := range lines(leaf) {
				key := at("vpc-id") + " " + address
				if leaf == "public-ipv4s" {
					key = address
					if at("ipv4-associations/"+address) == "" {
						t.Errorf("%s: %s is associated with nothing", mac, address)
					}
				}
				note(addresses, key, mac)
			}
		}
		if len(lines("security-groups")) != len(lines("security-group-ids")) || len(lines("security-groups")) == 0 {
			t.Errorf("%s: security groups %q, ids %q", mac, lines("security-groups"), lines("security-group-ids"))
		}
	}
	if len(facts) == 0 {
		t.Error("no interfaces")
	}
}

// anyInstance makes an instance that EC2 could run.
func anyInstance(r *rand.Rand) imds.Config {
	yes := func() bool { return r.IntN(2) == 0 }
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	id := func(prefix string) string { return fmt.Sprintf("%s-%017x", prefix, r.Uint64()>>1) }
	var c imds.Config
	i := &c.Instance
	i.InstanceType = pick("", "t3.nano", "m7g.large", "p5.48xlarge", "t2.micro", "i3.metal")
	i.Region = pick("", "us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "ap-southeast-2")
	if i.Region != "" && yes() {
		i.AvailabilityZone = i.Region + pick("a", "b", "f")
	} else if i.Region == "" {
		i.AvailabilityZone = pick("", "us-west-2-lax-1a", "eu-west-1c")
	}
	if yes() {
		i.InstanceID, i.AMIID, i.AccountID, i.ReservationID = id("i"), id("ami"), "123456789012", id("r")
	}
	if yes() {
		i.GroupName, i.PartitionNumber, i.HostID = "group", r.IntN(8), id("h")
	}
	if yes() {
		i.KeyName, i.PublicKey = pick("key", "a key", "1=x"), recordedInstance().Instance.PublicKey
	}
	if yes() {
		i.BlockDevices = map[string]string{pick("root", "ami"): pick("sda1", "/dev/xvda"), "ebs1": "/dev/sdf", "ephemeral0": "sdb"}
	}
	if yes() {
		i.AutoScalingGroup, i.TargetLifecycleState = "group", pick("", "Standby", "Warmed:Stopped")
	}
	if yes() {
		i.ProductCodes, i.MarketplaceProducts, i.DetailedMonitoring = []string{"abc", "def"}, []string{"abc"}, true
	}
	if yes() {
		i.Profile, i.KernelID, i.RamdiskID, i.AncestorAMIIDs = "default-paravirtual", id("aki"), id("ari"), []string{id("ami"), id("ami")}
	}
	i.Hibernation, i.DNSHostnames = [](*bool){nil, pointer(yes())}[r.IntN(2)], [](*bool){nil, pointer(yes())}[r.IntN(2)]
	i.HostnameType, i.InstanceLifeCycle = pick("", "resource-name"), pick("", "spot", "scheduled")
	anyNetwork(r, i)

	c.Options.HTTPTokens = pick("", imds.Optional, imds.Required)
	c.Options.InstanceMetadataTags = pick("", imds.Enabled, imds.Disabled)
	c.Options.HTTPPutResponseHopLimit = r.IntN(65)
	if yes() {
		c.Tags = map[string]string{}
		for range r.IntN(5) {
			c.Tags[pick("Name", "a-b", "a", "a.b", "aws:x:y", "k@=+,", "Z_")] = pick("", "web", "ü 日本 / \"<&>\\", "0=x", strings.Repeat("v", 256))
		}
	}
	if yes() {
		c.Role = pick("web", "team/web", "arn:aws:iam::111122223333:role/team/web")
		if yes() {
			c.InstanceProfile = "profile"
		}
	}
	if yes() {
		c.UserData = []byte(pick("#!/bin/sh\n", "\x00\xff", "a"))
	}
	for n := range r.IntN(3) {
		if c.Namespaces == nil {
			c.Namespaces = map[string][]imds.TaskRole{}
		}
		var roles []imds.TaskRole
		for m := range r.IntN(3) {
			roles = append(roles, imds.TaskRole{Task: fmt.Sprintf("%032x", m), RoleType: pick(imds.TaskApplication, imds.TaskExecution), Role: pick("a", "b/c")})
		}
		c.Namespaces[fmt.Sprintf("iam-ecs-%d", 9+n)] = roles
	}
	c.NamespaceFormat = imds.NamespaceFormat(pick("", "object", "code"))
	c.Metadata = map[string]*string{}
	for range r.IntN(4) {
		path := pick("spot/instance-action", "events/recommendations/rebalance", "custom/a", "dynamic/x/y", "public-keys/1/openssh-key", "tags/instance/more", "user-data")
		value := pick("x", "{}", "ssh-rsa AAAA two\n", "a\nb", "")
		c.Metadata[path] = &value
	}
	if yes() {
		// No interface can have this address.
		c.Metadata[pick("network/interfaces/macs/0f:00:00:00:00:00", "services/partition", "no/such")] = nil
	}
	if c.Options.InstanceMetadataTags != imds.Enabled {
		delete(c.Metadata, "tags/instance/more") // it would be shown, and not be in tag-sets
	}
	return c
}

// anyNetwork gives an instance interfaces.
func anyNetwork(r *rand.Rand, i *imds.Instance) {
	yes := func() bool { return r.IntN(2) == 0 }
	third := 0 // of the next public address
	public := func() string { third++; return fmt.Sprintf("203.0.113.%d", third) }
	fill := func(f *imds.Interface, subnet string, six int) {
		if six > 0 && yes() {
			f.IPv6s = []string{fmt.Sprintf("2001:db8:0:1%02x::%x", six, 16+third), fmt.Sprintf("2001:db8:0:1%02x::%x", six, 160+third)}[:1+r.IntN(2)]
			if yes() {
				f.IPv6Prefixes = []string{fmt.Sprintf("2001:db8:0:1%02x:%x::/80", six, 1+third)}
			}
		}
		third++
		if yes() {
			f.PublicIPv4 = public()
		}
		if subnet != "" && yes() {
			f.LocalIPv4 = fmt.Sprintf("%s%d", subnet, 100+third)
			f.LocalIPv4s = []string{fmt.Sprintf("%s%d", subnet, 150+third)}
			if yes() {
				f.IPv4Associations = map[string][]string{public(): f.LocalIPv4s}
			}
		}
		if yes() {
			f.SecurityGroups = []string{"a", "b c"}[:1+r.IntN(2)]
		}
	}
	subnet := ""
	switch r.IntN(4) {
	case 0: // as it comes
	case 1:
		i.VPCIPv4CIDRBlock, i.SubnetIPv4CIDRBlock, subnet = "10.0.0.0/16", "10.0.1.0/24", "10.0.1."
		if yes() {
			i.IPv4Prefixes = []string{"10.0.1.16/28", "10.0.1.32/28"}
		}
	case 2:
		i.LocalIPv4, subnet = "172.31.5.9", "172.31.5."
	case 3:
		i.IPv6Only, i.IPv6s = true, []string{"2001:db8:0:101::9"}
	}
	if !i.IPv6Only {
		fill(&i.Interface, subnet, r.IntN(2))
	}
	for n := range r.IntN(5) {
		var f imds.Interface
		switch r.IntN(6) {
		case 0:
			f.EFAOnly = true
		case 1:
			f.IPv6Only, f.IPv6s = true, []string{fmt.Sprintf("2001:db8:0:1%02x::9", 0x20+n)}
			f.SubnetID = fmt.Sprintf("subnet-%017x", 0x20+n)
		case 2: // another subnet
			f.SubnetID = fmt.Sprintf("subnet-%017x", 0x10+n)
			fill(&f, "", 0x10+n)
		case 3: // another VPC
			f.VPCID = "vpc-00000000000000001"
			fill(&f, "", 0)
		default:
			if !i.IPv6Only {
				fill(&f, subnet, 0)
			}
		}
		i.Interfaces = append(i.Interfaces, f)
	}
}
