package imds_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/imds"
)

// TestValidate names the keys that are objected to, and one word of what is
// said about the first.
func TestValidate(t *testing.T) {
	t.Parallel()
	instance := func(i imds.Instance) imds.Config { return imds.Config{Instance: i} }
	eni := func(f imds.Interface) imds.Config { return instance(imds.Instance{Interface: f}) }
	metadata := func(paths ...string) imds.Config {
		c := imds.Config{Metadata: map[string]*string{}}
		for _, p := range paths {
			c.Metadata[p] = pointer("x")
		}
		return c
	}
	entry := func(task, kind, role string) imds.TaskRole {
		return imds.TaskRole{Task: task, RoleType: kind, Role: role}
	}
	namespace := func(name string, entries ...imds.TaskRole) imds.Config {
		return imds.Config{Namespaces: map[string][]imds.TaskRole{name: entries}}
	}
	task := strings.Repeat("0a", 16)
	many := map[string]string{}
	for n := range 51 {
		many[fmt.Sprintf("key%d", n)] = ""
	}
	tests := map[string]struct {
		config imds.Config
		keys   string // separated by spaces
		word   string
	}{
		"nothing given":                  {config: imds.Config{}},
		"the recorded instance":          {config: recordedInstance()},
		"everything":                     {config: everything()},
		"tag key with a space":           {imds.Config{Tags: map[string]string{"My Key": "x"}}, "tags.My|Key", "letters"},
		"tag key with a slash":           {imds.Config{Tags: map[string]string{"a/b": "x"}}, "tags.a/b", "letters"},
		"tag key of dots":                {imds.Config{Tags: map[string]string{"..": "x"}}, "tags...", "_index"},
		"tag key _index":                 {imds.Config{Tags: map[string]string{"_index": "x"}}, "tags._index", "_index"},
		"tag key empty":                  {imds.Config{Tags: map[string]string{"": "x"}}, "tags.", "letters"},
		"tag value too long":             {imds.Config{Tags: map[string]string{"a": strings.Repeat("ä", 257)}}, "tags.a", "256"},
		"tag value that is no text":      {imds.Config{Tags: map[string]string{"a": "\xff"}}, "tags.a", "UTF-8"},
		"tag key that is no text":        {imds.Config{Tags: map[string]string{"\xff": "a"}, Options: imds.Options{InstanceMetadataTags: imds.Disabled}}, "tags.\xff", "UTF-8"},
		"a key without a number":         {imds.Config{Metadata: map[string]*string{"public-keys/0=a/openssh-key": pointer("x")}}, "metadata.public-keys/0=a/openssh-key", "public-keys/0/openssh-key"},
		"tag value just right":           {config: imds.Config{Tags: map[string]string{"a": strings.Repeat("ä", 256)}}},
		"tags, too many":                 {imds.Config{Tags: many}, "tags", "50"},
		"address outside its subnet":     {eni(imds.Interface{LocalIPv4: "10.0.1.9", SubnetIPv4CIDRBlock: "10.0.0.0/24"}), "instance.local-ipv4", "10.0.0.0/24"},
		"address not one":                {eni(imds.Interface{LocalIPv4: "ten", SubnetIPv4CIDRBlock: "10.0.0.0/24"}), "instance.local-ipv4", "IPv4"},
		"address not one, no subnet":     {eni(imds.Interface{LocalIPv4: "10.0.0.300"}), "instance.local-ipv4", `"10.0.0.300" is not`},
		"address of IPv6, no subnet":     {eni(imds.Interface{LocalIPv4: "2001:db8::5"}), "instance.local-ipv4", "IPv4"},
		"first address not one":          {eni(imds.Interface{LocalIPv4s: []string{"10.0.0.300"}}), "instance.local-ipv4s", `"10.0.0.300" is not`},
		"address reserved":               {eni(imds.Interface{LocalIPv4: "10.0.0.3", SubnetIPv4CIDRBlock: "10.0.0.0/24"}), "instance.local-ipv4", "reserved"},
		"address the last":               {eni(imds.Interface{LocalIPv4: "10.0.0.255", SubnetIPv4CIDRBlock: "10.0.0.0/24"}), "instance.local-ipv4", "reserved"},
		"second address outside":         {eni(imds.Interface{LocalIPv4s: []string{"10.0.1.9"}, SubnetIPv4CIDRBlock: "10.0.0.0/24"}), "instance.local-ipv4s", "10.0.1.9"},
		"subnet outside its VPC":         {eni(imds.Interface{SubnetIPv4CIDRBlock: "10.0.0.0/24", VPCIPv4CIDRBlock: "10.1.0.0/16"}), "instance.subnet-ipv4-cidr-block", "10.1.0.0/16"},
		"subnet in a further block":      {config: eni(imds.Interface{SubnetIPv4CIDRBlock: "10.0.0.0/24", VPCIPv4CIDRBlock: "10.1.0.0/16", VPCIPv4CIDRBlocks: []string{"10.0.0.0/16"}})},
		"subnet not a block":             {eni(imds.Interface{SubnetIPv4CIDRBlock: "10.0.0.1/24", LocalIPv4: "10.0.0.9"}), "instance.subnet-ipv4-cidr-block", "block"},
		"subnet too small":               {eni(imds.Interface{SubnetIPv4CIDRBlock: "10.0.0.0/29", LocalIPv4: "10.0.0.5"}), "instance.subnet-ipv4-cidr-block", "/28"},
		"prefix not delegated":           {eni(imds.Interface{IPv4Prefixes: []string{"10.237.0.0/27"}}), "instance.ipv4-prefix", "/28"},
		"prefix outside":                 {eni(imds.Interface{IPv4Prefixes: []string{"10.238.0.16/28"}}), "instance.ipv4-prefix", "not in"},
		"IPv6 prefix":                    {eni(imds.Interface{IPv6Prefixes: []string{"2001:db8::/64"}}), "instance.ipv6-prefix", "/80"},
		"IPv6 outside its subnet":        {eni(imds.Interface{IPv6s: []string{"2001:db8::5"}, SubnetIPv6CIDRBlocks: []string{"2001:db8:1::/64"}}), "instance.ipv6s", "not in"},
		"IPv6 subnet outside its VPC":    {eni(imds.Interface{SubnetIPv6CIDRBlocks: []string{"2001:db8:1::/64"}, VPCIPv6CIDRBlocks: []string{"2001:db8:2::/56"}}), "instance.subnet-ipv6-cidr-blocks", "not in the VPC's 2001:db8:2::/56"},
		"IPv6 VPC that is none":          {eni(imds.Interface{SubnetIPv6CIDRBlocks: []string{"2001:db8:1::/64"}, VPCIPv6CIDRBlocks: []string{"2001:db8::/32"}}), "instance.vpc-ipv6-cidr-blocks", "/44"},
		"IPv6 prefix outside its subnet": {eni(imds.Interface{IPv6Prefixes: []string{"2001:db8:2::/80"}, SubnetIPv6CIDRBlocks: []string{"2001:db8:1::/64"}}), "instance.ipv6-prefix", "not in the subnet's 2001:db8:1::/64"},
		"IPv6 written long":              {eni(imds.Interface{IPv6s: []string{"2001:DB8::5"}}), "instance.ipv6s", "2001:db8::5"},
		"IPv6 only without":              {eni(imds.Interface{IPv6Only: true}), "instance.ipv6-only", "ipv6s"},
		"IPv6 only with IPv4":            {eni(imds.Interface{IPv6Only: true, IPv6s: []string{"2001:db8::5"}, LocalIPv4: "10.0.0.9"}), "instance.ipv6-only", "leave"},
		"public address that is none":    {eni(imds.Interface{PublicIPv4: "2001:db8::5"}), "instance.public-ipv4", "not an IPv4"},
		"public address that is private": {eni(imds.Interface{PublicIPv4: "10.0.0.1"}), "instance.public-ipv4", "not a public"},
		"association with nobody":        {eni(imds.Interface{IPv4Associations: map[string][]string{"203.0.113.1": {}}}), "instance.ipv4-associations.203.0.113.1", "name the private"},
		"association with a stranger":    {eni(imds.Interface{IPv4Associations: map[string][]string{"203.0.113.1": {"10.0.0.99"}}}), "instance.ipv4-associations.203.0.113.1", "local-ipv4s"},
		"ids": {
			instance(imds.Instance{
				InstanceID: "i-1", AMIID: "ami", ReservationID: "x", HostID: "h", AccountID: "1", OutpostARN: "op", AncestorAMIIDs: []string{"y"},
				Interface: imds.Interface{InterfaceID: "e", SubnetID: "s", VPCID: "v", SecurityGroupIDs: []string{"sg"}, OwnerID: "me"},
			}),
			"instance.instance-id instance.ami-id instance.reservation-id instance.host-id instance.outpost-arn instance.account-id " +
				"instance.ancestor-ami-ids[0] instance.interface-id instance.owner-id instance.subnet-id instance.vpc-id instance.security-group-ids[0]",
			"i-04b098f5de41d11e6",
		},
		"id with capitals":              {instance(imds.Instance{InstanceID: "i-04B098F5DE41D11E6"}), "instance.instance-id", "i-04b0"},
		"MAC":                           {eni(imds.Interface{MAC: "0e:ff:d5:40:fe"}), "instance.mac", "0e:ff"},
		"MAC for many":                  {eni(imds.Interface{MAC: "01:ff:d5:40:fe:7d"}), "instance.mac", "0e:ff"},
		"MAC twice":                     {instance(imds.Instance{Interfaces: []imds.Interface{{MAC: "0E:FF:D5:40:FE:7D"}}}), "instance.interfaces[0].mac", "instance.mac"},
		"interface twice":               {instance(imds.Instance{Interfaces: []imds.Interface{{}, {InterfaceID: "eni-03bbce4789a0e4976"}}}), "instance.interfaces[1].interface-id", "instance.interface-id"},
		"device number below":           {instance(imds.Instance{Interfaces: []imds.Interface{{DeviceNumber: pointer(-1)}}}), "instance.interfaces[0].device-number", "0 or more"},
		"device number twice":           {instance(imds.Instance{Interfaces: []imds.Interface{{DeviceNumber: new(int)}}}), "instance.interfaces[0].device-number", "network card 0"},
		"device number on another card": {config: instance(imds.Instance{InstanceType: "p5.48xlarge", Interfaces: []imds.Interface{{DeviceNumber: new(int), NetworkCard: pointer(1)}}})},
		"address twice":                 {instance(imds.Instance{Interfaces: []imds.Interface{{LocalIPv4: "10.237.0.16"}}}), "instance.interfaces[0].local-ipv4", "instance.local-ipv4"},
		"another VPC":                   {config: instance(imds.Instance{Interfaces: []imds.Interface{{VPCID: "vpc-0123456789abcdef0"}}})},
		"subnet of another VPC":         {instance(imds.Instance{Interfaces: []imds.Interface{{VPCID: "vpc-0123456789abcdef0", SubnetID: "subnet-0d0a0b215479ae014"}}}), "instance.interfaces[0].subnet-id", "one VPC"},
		"one VPC, two blocks":           {instance(imds.Instance{Interfaces: []imds.Interface{{VPCIPv4CIDRBlock: "10.0.0.0/16", SubnetIPv4CIDRBlock: "10.0.0.0/24"}}}), "instance.interfaces[0].vpc-ipv4-cidr-block", "10.237.0.0/24"},
		"one VPC, more blocks":          {instance(imds.Instance{Interfaces: []imds.Interface{{VPCIPv4CIDRBlocks: []string{"10.1.0.0/16"}}}}), "instance.interfaces[0].vpc-ipv4-cidr-blocks", "10.237.0.0/24"},
		"one subnet, two blocks":        {instance(imds.Instance{Interfaces: []imds.Interface{{SubnetID: "subnet-0d0a0b215479ae014", SubnetIPv4CIDRBlock: "10.237.0.64/27"}}}), "instance.interfaces[0].subnet-ipv4-cidr-block", "10.237.0.0/27"},
		"subnets that overlap":          {instance(imds.Instance{Interfaces: []imds.Interface{{SubnetIPv4CIDRBlock: "10.237.0.0/26"}}}), "instance.interfaces[0].subnet-ipv4-cidr-block", "instance"},
		"VPC full of subnets":           {instance(imds.Instance{Interface: imds.Interface{VPCIPv4CIDRBlock: "10.0.0.0/28"}, Interfaces: []imds.Interface{{SubnetID: "subnet-0123456789abcdef0"}}}), "instance.interfaces[0].subnet-ipv4-cidr-block", "overlaps"},
		"subnet without room":           {instance(imds.Instance{Interface: imds.Interface{SubnetIPv4CIDRBlock: "10.0.0.0/28", IPv4Prefixes: []string{"10.0.0.0/28"}}}), "instance.local-ipv4", "no free address"},
		"VPC that cannot be":            {eni(imds.Interface{LocalIPv4: "127.0.0.9"}), "instance.local-ipv4", "10.0.0.0/16"},
		"VPC block that cannot be":      {eni(imds.Interface{VPCIPv4CIDRBlock: "169.254.0.0/16"}), "instance.vpc-ipv4-cidr-block", "10.0.0.0/16"},
		"subnet that cannot be":         {eni(imds.Interface{SubnetIPv4CIDRBlock: "240.0.0.0/24"}), "instance.subnet-ipv4-cidr-block", "10.0.0.0/16"},
		"address in a prefix":           {eni(imds.Interface{LocalIPv4: "10.0.0.20", IPv4Prefixes: []string{"10.0.0.16/28"}}), "instance.ipv4-prefix", "10.0.0.20"},
		"prefix twice":                  {eni(imds.Interface{LocalIPv4: "10.0.0.9", IPv4Prefixes: []string{"10.0.0.16/28", "10.0.0.16/28"}}), "instance.ipv4-prefix", "twice"},
		"prefix of another": {instance(imds.Instance{
			Interface: imds.Interface{LocalIPv4: "10.0.0.9", IPv4Prefixes: []string{"10.0.0.16/28"}}, Interfaces: []imds.Interface{{IPv4Prefixes: []string{"10.0.0.16/28"}}},
		}), "instance.interfaces[0].ipv4-prefix", "of instance"},
		"address in another's prefix": {instance(imds.Instance{
			Interface: imds.Interface{LocalIPv4: "10.0.0.9", IPv4Prefixes: []string{"10.0.0.16/28"}}, Interfaces: []imds.Interface{{LocalIPv4: "10.0.0.17"}},
		}), "instance.interfaces[0].local-ipv4s", "of instance"},
		"IPv6 prefix twice":              {eni(imds.Interface{IPv6Prefixes: []string{"2001:db8::/80", "2001:db8::/80"}}), "instance.ipv6-prefix", "twice"},
		"IPv6 of a link":                 {eni(imds.Interface{IPv6s: []string{"fe80::5"}}), "instance.ipv6s", "2001:db8"},
		"IPv6 only with a prefix":        {eni(imds.Interface{IPv6Only: true, IPv6s: []string{"2001:db8::5"}, IPv4Prefixes: []string{"10.237.0.16/28"}}), "instance.ipv6-only", "leave"},
		"EFA with a prefix":              {instance(imds.Instance{Interfaces: []imds.Interface{{EFAOnly: true, IPv4Prefixes: []string{"10.237.0.16/28"}}}}), "instance.interfaces[0].efa-only", "leave"},
		"network card":                   {eni(imds.Interface{NetworkCard: pointer(-1)}), "instance.network-card", "0 or more"},
		"one address, two public ones":   {eni(imds.Interface{PublicIPv4: "203.0.113.1", IPv4Associations: map[string][]string{"203.0.113.2": {"10.237.0.16"}}}), "instance.ipv4-associations.203.0.113.2", "already"},
		"one device, two names":          {instance(imds.Instance{BlockDevices: map[string]string{"ebs1": "sdf", "ebs2": "/dev/sdf"}}), "instance.block-device-mapping.ebs2", "ebs1"},
		"root and image apart":           {instance(imds.Instance{BlockDevices: map[string]string{"ami": "sda1", "root": "xvda"}}), "instance.block-device-mapping.ami", "root"},
		"key pair with a space":          {instance(imds.Instance{KeyName: "my-key ", PublicKey: recordedInstance().Instance.PublicKey}), "instance.key-name", "space"},
		"zone id of another region":      {instance(imds.Instance{Region: "eu-west-1", AvailabilityZoneID: "use1-az6"}), "instance.availability-zone-id", "euw1-az1"},
		"Outpost in another region":      {instance(imds.Instance{Region: "eu-west-1", OutpostARN: "arn:aws:outposts:us-east-1:111122223333:outpost/op-0123456789abcdef0"}), "instance.outpost-arn", "in us-east-1, the instance in eu-west-1"},
		"zone that is none":              {instance(imds.Instance{AvailabilityZone: "here"}), "instance.availability-zone", "us-east-1a"},
		"tag that nobody sees":           {config: imds.Config{Tags: map[string]string{"My Key": "x"}, Options: imds.Options{InstanceMetadataTags: imds.Disabled}}},
		"tag that nobody sees, too long": {imds.Config{Tags: map[string]string{strings.Repeat("k", 256): "x"}, Options: imds.Options{InstanceMetadataTags: imds.Disabled}}, "tags." + strings.Repeat("k", 256), "255"},
		"group with a line break":        {eni(imds.Interface{SecurityGroups: []string{"a\nb"}}), "instance.security-groups[0]", "printable"},
		"groups without ids":             {eni(imds.Interface{SecurityGroups: []string{"a", "b"}, SecurityGroupIDs: []string{"sg-0acbe6d1132ff8f15"}}), "instance.security-group-ids", "one for each"},
		"first device":                   {eni(imds.Interface{DeviceNumber: pointer(1)}), "instance.device-number", "device 0"},
		"EFA only as primary":            {eni(imds.Interface{EFAOnly: true}), "instance.efa-only", "interfaces"},
		"EFA with an address":            {instance(imds.Instance{Interfaces: []imds.Interface{{EFAOnly: true, LocalIPv4: "10.237.0.18"}}}), "instance.interfaces[0].efa-only", "leave"},
		"zone of another region":         {instance(imds.Instance{Region: "eu-west-1", AvailabilityZone: "us-east-1a"}), "instance.availability-zone", "eu-west-1a"},
		"local zone":                     {config: instance(imds.Instance{Region: "us-west-2", AvailabilityZone: "us-west-2-lax-1a", AvailabilityZoneID: "usw2-lax1-az1"})},
		"region":                         {instance(imds.Instance{Region: "Frankfurt"}), "instance.region", "us-east-1"},
		"words": {
			instance(imds.Instance{
				Architecture: "vax", System: "kvm", InstanceLifeCycle: "always", InstanceAction: "reboot", Profile: "hvm", HostnameType: "dns",
				TargetLifecycleState: "Pending", InstanceType: "large", AvailabilityZoneID: "?",
			}),
			"instance.instance-type instance.availability-zone-id instance.architecture instance.system instance.instance-life-cycle " +
				"instance.instance-action instance.profile instance.hostname-type instance.target-lifecycle-state",
			"t3.nano",
		},
		"kernel of an HVM instance":     {instance(imds.Instance{KernelID: "aki-919dcaf8"}), "instance.kernel-id", "paravirtual"},
		"partition without a group":     {instance(imds.Instance{PartitionNumber: 1}), "instance.partition-number", "group-name"},
		"partition too high":            {instance(imds.Instance{PartitionNumber: 8, GroupName: "x"}), "instance.partition-number", "7"},
		"launch index":                  {instance(imds.Instance{AMILaunchIndex: -1}), "instance.ami-launch-index", "0"},
		"product code":                  {instance(imds.Instance{ProductCodes: []string{"a b"}}), "instance.product-codes[0]", "letters"},
		"device":                        {instance(imds.Instance{BlockDevices: map[string]string{"ebs0": "sdf", "ebs1": "/dev/"}}), "instance.block-device-mapping.ebs0 instance.block-device-mapping.ebs1", "ebs1"},
		"key pair without its key":      {instance(imds.Instance{KeyName: "my-key"}), "instance.public-key", "ssh-ed25519"},
		"key that is none":              {instance(imds.Instance{KeyName: "my-key", PublicKey: "ssh-ed25519 AAAA"}), "instance.public-key", "OpenSSH"},
		"options":                       {imds.Config{Options: imds.Options{HTTPTokens: "maybe", HTTPEndpoint: "on", HTTPPutResponseHopLimit: 65, HTTPProtocolIPv6: "yes", InstanceMetadataTags: "x"}}, "tokens endpoint ipv6 instance-metadata-tags hop-limit", "optional"},
		"hop limit below":               {imds.Config{Options: imds.Options{HTTPPutResponseHopLimit: -1}}, "hop-limit", "64"},
		"hop limit":                     {config: imds.Config{Options: imds.Options{HTTPPutResponseHopLimit: 64}}},
		"role":                          {imds.Config{Role: "a role"}, "role", "role"},
		"profile without a role":        {imds.Config{InstanceProfile: "web"}, "instance-profile", "role"},
		"user data too long":            {imds.Config{UserData: make([]byte, 16385)}, "user-data", "16384"},
		"user data just right":          {config: imds.Config{UserData: make([]byte, 16384)}},
		"namespace name":                {namespace("iam-ecs-x"), "namespaces.iam-ecs-x", "iam-ecs-1"},
		"namespace entry":               {namespace("iam-ecs-1", entry("a-b", "Task", "")), "namespaces.iam-ecs-1[0].task namespaces.iam-ecs-1[0].role-type namespaces.iam-ecs-1[0].role", "32 hex"},
		"namespace entry twice":         {namespace("iam-ecs-1", entry(task, imds.TaskExecution, "a"), entry(task, imds.TaskExecution, "b")), "namespaces.iam-ecs-1[1]", "twice"},
		"namespace format":              {imds.Config{NamespaceFormat: "xml"}, "namespace-format", "object"},
		"value below a value":           {metadata("instance-id/x"), "metadata.instance-id/x", "is a value"},
		"value in place of a directory": {metadata("placement"), "metadata.placement", "is a directory"},
		"value below another":           {metadata("a", "a/b"), "metadata.a/b", "is a value"},
		"value below user data":         {metadata("user-data/x"), "metadata.user-data/x", "nothing is below"},
		"paths":                         {metadata("", "a//b", "../x", "a\nb", "meta-data"), "metadata. metadata.../x metadata.a|b metadata.a//b metadata.meta-data", "path"},
		"a tag with a space as a value": {metadata("tags/instance/My Key"), "metadata.tags/instance/My|Key", "letters"},
		"the same path twice":           {metadata("mac", "meta-data/mac"), "metadata.meta-data/mac", "mac"},
		"a directory made a value":      {config: imds.Config{Metadata: map[string]*string{"placement": nil, "placement/x": pointer("y")}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problems := test.config.Validate()
			keys := []string{}
			for _, p := range problems {
				keys = append(keys, strings.NewReplacer(" ", "|", "\n", "|").Replace(p.Path))
			}
			if diff := cmp.Diff(strings.Fields(test.keys), keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s\n%v", diff, problems)
			}
			if len(problems) > 0 && !strings.Contains(problems[0].Msg, test.word) {
				t.Errorf("%q lacks %q", problems[0].Msg, test.word)
			}
			_, err := imds.New(test.config, imds.Deps{Identity: identity()})
			if (err != nil) != (len(problems) > 0) {
				t.Errorf("New: %v", err)
			}
		})
	}
}

// TestValidateEnds: what no VPC can be is not searched for a free subnet.
func TestValidateEnds(t *testing.T) {
	t.Parallel()
	c := imds.Config{Instance: imds.Instance{
		Interface:  imds.Interface{VPCIPv4CIDRBlock: "0.0.0.0/0", SubnetIPv4CIDRBlock: "0.0.0.0/0"},
		Interfaces: []imds.Interface{{SubnetIPv4CIDRBlock: "1.2.3.4/30"}},
	}}
	for n := range 100 {
		c.Instance.Interfaces = append(c.Instance.Interfaces, imds.Interface{SubnetID: fmt.Sprintf("subnet-%017x", n)})
	}
	ended := make(chan []imds.Problem, 1)
	go func() { ended <- c.Validate() }()
	select {
	case problems := <-ended:
		if len(problems) == 0 || problems[0].Path != "instance.vpc-ipv4-cidr-block" {
			t.Errorf("problems: %v", problems)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it searches 4 thousand million addresses")
	}
}
