package imds

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ecs-local/ecs-local/local"
)

// Limits of EC2.
const (
	maxUserData = 16 << 10 // bytes, before base64
	maxTags     = 50       // without those that AWS sets
	maxTagKey   = 255      // characters
	maxTagValue = 256
	maxHopLimit = 64

	// The largest and the smallest block of a VPC and a subnet, in bits.
	mostBlock, leastBlock = 16, 28

	// maxName is how long names may be. A limit in a pattern instead would make
	// the pattern, and with it the start of the program, slow.
	maxName = 255
)

func idOf(prefix string) *regexp.Regexp {
	return regexp.MustCompile(`^` + prefix + `-([0-9a-f]{8}|[0-9a-f]{17})$`)
}

var (
	instanceIDs    = idOf("i")
	imageIDs       = idOf("ami")
	reservationIDs = idOf("r")
	kernelIDs      = idOf("aki")
	ramdiskIDs     = idOf("ari")
	hostIDs        = idOf("h")
	interfaceIDs   = idOf("eni")
	subnetIDs      = idOf("subnet")
	vpcIDs         = idOf("vpc")
	groupIDs       = idOf("sg")

	accountIDs    = regexp.MustCompile(`^\d{12}$`)
	regionNames   = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d+$`)
	zoneIDs       = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*-(az|wlz)\d+$`)
	instanceTypes = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9-]+$`)
	macAddresses  = regexp.MustCompile(`^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$`)
	outpostARNs   = regexp.MustCompile(`^arn:aws[a-z-]*:outposts:[a-z0-9-]+:\d{12}:outpost/op-[0-9a-f]{17}$`)
	deviceKeys    = regexp.MustCompile(`^(ami|root|swap|ebs[1-9]\d*|ephemeral\d+)$`)
	deviceNames   = regexp.MustCompile(`^(/dev/)?[a-z][a-z0-9]*$`)
	productCodes  = regexp.MustCompile(`^[0-9A-Za-z-]+$`)
	printable     = regexp.MustCompile(`^[ -~]+$`)
	profileNames  = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
	tagKeys = regexp.MustCompile(`^[0-9a-zA-Z\-_+=,.@:]+$`)
)

// Values of keys that have a fixed set of them.
var (
	architectures   = []string{"x86_64", "arm64", "i386", "x86_64_mac", "arm64_mac"}
	systems         = []string{"nitro", "xen"}
	lifeCycles      = []string{"on-demand", "spot", "scheduled", "capacity-block"}
	actions         = []string{"none", "shutdown", "bundle-pending"}
	profiles        = []string{"default-hvm", "default-paravirtual"}
	hostnameTypes   = []string{"ip-name", "resource-name"}
	lifecycleStates = []string{
		"InService", "Standby", "Detached", "Terminated",
		"Warmed:Hibernated", "Warmed:Running", "Warmed:Stopped", "Warmed:Terminated",
	}
)

// checker collects problems.
type checker struct{ problems []Problem }

func (c *checker) add(path, format string, args ...any) {
	c.problems = append(c.problems, Problem{path, fmt.Sprintf(format, args...)})
}

// match objects to a value that is set and does not match.
func (c *checker) match(path, value string, re *regexp.Regexp, example string) bool {
	if value == "" || re.MatchString(value) {
		return true
	}
	c.add(path, "%q is not valid: it looks like %s", value, example)
	return false
}

// oneOf objects to a value that is set and not in the list.
func (c *checker) oneOf(path, value string, allowed []string) {
	if value != "" && !slices.Contains(allowed, value) {
		c.add(path, "%q is not valid: use %s", value, strings.Join(allowed, ", "))
	}
}

// Validate returns what a real instance could not have. Each problem names the
// key it is about; when a value clashes with one that was derived, the key is
// that of the value that was given.
func (c Config) Validate() []Problem {
	k := &checker{}
	full := c.resolved(time.Unix(0, 0))
	k.instance(c.Instance, full.Instance)
	k.problems = append(k.problems, c.Options.validate()...)
	k.tags(c.Tags, full.Options.InstanceMetadataTags == Enabled)
	if c.Role != "" {
		if _, err := local.ParseRole(c.Role); err != nil {
			k.add("role", "%s", local.MessageOf(err))
		}
	}
	k.match("instance-profile", c.InstanceProfile, profileNames, "web-profile: letters, digits and +=,.@-_")
	if c.InstanceProfile != "" && c.Role == "" {
		k.add("instance-profile", "a profile without a role is not shown: give the role too")
	}
	if len(c.UserData) > maxUserData {
		k.add("user-data", "%d bytes are too many: user data is at most %d", len(c.UserData), maxUserData)
	}
	k.namespaces(c)
	k.metadata(c, full)
	return k.problems
}

func (o Options) validate() []Problem {
	k := &checker{}
	states := []string{Enabled, Disabled}
	k.oneOf("tokens", o.HTTPTokens, []string{Optional, Required})
	k.oneOf("endpoint", o.HTTPEndpoint, states)
	k.oneOf("ipv6", o.HTTPProtocolIPv6, states)
	k.oneOf("instance-metadata-tags", o.InstanceMetadataTags, states)
	if o.HTTPPutResponseHopLimit < 0 || o.HTTPPutResponseHopLimit > maxHopLimit {
		k.add("hop-limit", "%d is not valid: use 1 to %d", o.HTTPPutResponseHopLimit, maxHopLimit)
	}
	return k.problems
}

const mustTagKey = "use at most 255 letters, digits and -_+=,.@:, and not ., .. or _index"

// validTagKey reports whether instance metadata can show a tag.
func validTagKey(key string) bool {
	return len(key) <= maxName && tagKeys.MatchString(key) && key != "." && key != ".." && key != "_index"
}

// tags checks tags. Only where instance metadata shows them are their keys
// those that it can show.
func (c *checker) tags(tags map[string]string, shown bool) {
	own := 0
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		path := "tags." + key
		switch n := len([]rune(key)); {
		case !utf8.ValidString(key):
			c.add(path, "the key is not text in UTF-8")
		case shown && !validTagKey(key):
			c.add(path, "instance metadata cannot show this key: %s, or set instance-metadata-tags to disabled", mustTagKey)
		case n == 0 || n > maxTagKey:
			c.add(path, "a key of %d characters is not valid: use 1 to %d", n, maxTagKey)
		}
		switch n := len([]rune(tags[key])); {
		case !utf8.ValidString(tags[key]):
			c.add(path, "the value is not text in UTF-8")
		case n > maxTagValue:
			c.add(path, "a value of %d characters is too long: use at most %d", n, maxTagValue)
		}
		if !strings.HasPrefix(key, "aws:") {
			own++
		}
	}
	if own > maxTags {
		c.add("tags", "%d tags are too many: an instance has at most %d", own, maxTags)
	}
}

func (c *checker) namespaces(config Config) {
	c.oneOf("namespace-format", string(config.NamespaceFormat), []string{string(FormatObject), string(FormatCode)})
	for _, name := range slices.Sorted(maps.Keys(config.Namespaces)) {
		path := "namespaces." + name
		if !namespaceName.MatchString(name) {
			c.add(path, "the name of a namespace %s", mustNamespace)
		}
		seen := map[string]bool{}
		for n, r := range config.Namespaces[name] {
			at := fmt.Sprintf("%s[%d]", path, n)
			c.problems = append(c.problems, r.validate(at)...)
			if seen[r.key()] {
				c.add(at, "%s is there twice: leave one out", r.key())
			}
			seen[r.key()] = true
		}
	}
}

// metadata objects to values that cannot be where they are put.
func (c *checker) metadata(config, full Config) {
	paths := map[string]string{} // in the tree → as written
	for _, p := range slices.Sorted(maps.Keys(config.Metadata)) {
		path, err := treePath(p)
		if err != nil {
			c.add("metadata."+p, "%s", local.MessageOf(err))
			continue
		}
		if other, ok := paths[path]; ok {
			c.add("metadata."+p, "this is the same path as %s: leave one out", other)
			continue
		}
		paths[path] = p
	}
	if len(c.problems) > 0 || len(paths) == 0 {
		return // the tree makes sense only for an instance that does
	}
	l := derive(full, nil, nil)
	o, err := configured(config.Metadata)
	if err != nil {
		return // reported above
	}
	overlay{remove: o.remove}.apply(l)
	dirs := map[string]bool{}
	grow := func(path string) {
		for i := range len(path) {
			if path[i] == '/' {
				dirs[path[:i]] = true
			}
		}
	}
	for path := range l {
		grow(path)
	}
	for _, path := range slices.Sorted(maps.Keys(o.set)) {
		err := conflict(path, func(p string) (is, exists bool) { return dirs[p], dirs[p] || l[p] != nil })
		if err != nil {
			c.add("metadata."+paths[path], "%s", local.MessageOf(err))
			continue
		}
		l.bytes(path, o.set[path])
		grow(path)
	}
}

// instance checks a description: as it was given, and with what was derived.
func (c *checker) instance(given, i Instance) {
	const at = "instance."
	c.match(at+"instance-id", given.InstanceID, instanceIDs, "i-04b098f5de41d11e6")
	c.match(at+"ami-id", given.AMIID, imageIDs, "ami-0fef201115eefe936")
	c.match(at+"reservation-id", given.ReservationID, reservationIDs, "r-0f1866af1f1a14d3c")
	c.match(at+"kernel-id", given.KernelID, kernelIDs, "aki-919dcaf8")
	c.match(at+"ramdisk-id", given.RamdiskID, ramdiskIDs, "ari-a51cf9cc")
	c.match(at+"host-id", given.HostID, hostIDs, "h-0123456789abcdef0")
	c.match(at+"outpost-arn", given.OutpostARN, outpostARNs, "arn:aws:outposts:us-east-1:111122223333:outpost/op-0123456789abcdef0")
	c.match(at+"account-id", given.AccountID, accountIDs, `"111122223333", the 12 digits of an account`)
	c.match(at+"instance-type", given.InstanceType, instanceTypes, "t3.nano")
	c.match(at+"ami-manifest-path", given.AMIManifestPath, printable, "bucket/image.manifest.xml")
	for n, id := range given.AncestorAMIIDs {
		c.match(fmt.Sprintf("%sancestor-ami-ids[%d]", at, n), id, imageIDs, "ami-0fef201115eefe936")
	}
	if given.AMILaunchIndex < 0 {
		c.add(at+"ami-launch-index", "%d is not valid: use 0 or more", given.AMILaunchIndex)
	}
	place := c.match(at+"region", given.Region, regionNames, "us-east-1")
	if place && regionOf(i.AvailabilityZone) != i.Region {
		c.add(at+"availability-zone", "%q is not a zone of %s: it looks like %sa", i.AvailabilityZone, i.Region, i.Region)
		place = false
	}
	if c.match(at+"availability-zone-id", given.AvailabilityZoneID, zoneIDs, "use1-az6") && place && given.AvailabilityZoneID != "" &&
		slices.Contains([]string{"aws", "aws-cn", "aws-us-gov"}, local.Partition(i.Region)) { // others may have a form of their own
		if code := regionCode(i.Region); !strings.HasPrefix(given.AvailabilityZoneID, code+"-") {
			c.add(at+"availability-zone-id", "%q is not the id of a zone of %s: it looks like %s-az1", given.AvailabilityZoneID, i.Region, code)
		}
	}
	if part := strings.Split(given.OutpostARN, ":"); len(part) > 3 && place && part[3] != i.Region {
		c.add(at+"outpost-arn", "the Outpost is in %s, the instance in %s: make them the same", part[3], i.Region)
	}
	c.oneOf(at+"architecture", given.Architecture, architectures)
	c.oneOf(at+"system", given.System, systems)
	c.oneOf(at+"instance-life-cycle", given.InstanceLifeCycle, lifeCycles)
	c.oneOf(at+"instance-action", given.InstanceAction, actions)
	c.oneOf(at+"profile", given.Profile, profiles)
	c.oneOf(at+"hostname-type", given.HostnameType, hostnameTypes)
	c.oneOf(at+"target-lifecycle-state", given.TargetLifecycleState, lifecycleStates)
	if (i.KernelID != "" || i.RamdiskID != "") && i.Profile != "default-paravirtual" {
		c.add(at+"kernel-id", "only paravirtual instances have a kernel or RAM disk: set profile to default-paravirtual, or leave it out")
	}
	c.match(at+"group-name", given.GroupName, printable, "my-placement-group")
	c.match(at+"auto-scaling-group", given.AutoScalingGroup, printable, "my-group")
	if n := given.PartitionNumber; n < 0 || n > 7 {
		c.add(at+"partition-number", "%d is not valid: use 1 to 7", n)
	} else if n > 0 && given.GroupName == "" {
		c.add(at+"partition-number", "a partition belongs to a placement group: set group-name too")
	}
	for _, list := range []struct {
		key    string
		values []string
	}{
		{"product-codes", given.ProductCodes}, {"billing-products", given.BillingProducts},
		{"marketplace-product-codes", given.MarketplaceProducts}, {"devpay-product-codes", given.DevpayProductCodes},
	} {
		for n, v := range list.values {
			if !productCodes.MatchString(v) {
				c.add(fmt.Sprintf("%s%s[%d]", at, list.key, n), "%q is not a product code: use letters and digits", v)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(given.BlockDevices)) {
		path := at + "block-device-mapping." + key
		if !deviceKeys.MatchString(key) {
			c.add(path, "%q is not a virtual device: use ami, root, swap, ebs1 and up, ephemeral0 and up", key)
		} else if !deviceNames.MatchString(given.BlockDevices[key]) {
			c.add(path, "%q is not a device: it looks like /dev/sdf", given.BlockDevices[key])
		}
	}
	devices := map[string]string{i.BlockDevices["root"]: "root"}
	for _, key := range slices.Sorted(maps.Keys(i.BlockDevices)) {
		device := "/dev/" + i.BlockDevices[key]
		switch other, taken := devices[device]; {
		case key == "root":
		case key == "ami" && !taken:
			c.add(at+"block-device-mapping.ami", "the image is on the root device, %s: leave ami or root out", i.BlockDevices["root"])
		case key != "ami" && taken:
			c.add(at+"block-device-mapping."+key, "%s is %s, too: give each device its own name", device, other)
		default:
			devices[device] = cmp.Or(other, key)
		}
	}
	c.keyPair(given, i)
	c.interfaces(given, i)
}

// keyPair checks that a key pair has both its parts.
func (c *checker) keyPair(given, i Instance) {
	if name := i.KeyName; name != "" && (!printable.MatchString(name) || strings.TrimSpace(name) != name || len(name) > 255) {
		c.add("instance.key-name", "%q is not the name of a key pair: use at most 255 printable characters, no space at either end", name)
	}
	if given.PublicKey == "" {
		if given.KeyName != "" {
			c.add("instance.public-key", "give the public key of the key pair %q: a line such as ssh-ed25519 AAAA…", given.KeyName)
		}
		return
	}
	algorithm, blob, _ := strings.Cut(i.PublicKey, " ")
	raw, err := base64.StdEncoding.DecodeString(blob)
	if err != nil || len(raw) < 4+len(algorithm) || !slices.Contains([]string{"ssh-rsa", "ssh-ed25519"}, algorithm) ||
		int(binary.BigEndian.Uint32(raw)) != len(algorithm) || string(raw[4:4+len(algorithm)]) != algorithm {
		c.add("instance.public-key", "this is not an OpenSSH public key: it looks like ssh-ed25519 AAAA…, or ssh-rsa AAAA…")
	}
}

// interfaces checks each interface and that no two have the same of what is
// unique.
func (c *checker) interfaces(given, i Instance) {
	type placed struct {
		path         string
		given, whole Interface
	}
	all := []placed{{"instance.", given.Interface, i.Interface}}
	for n := range i.Interfaces {
		all = append(all, placed{fmt.Sprintf("instance.interfaces[%d].", n), given.Interfaces[n], i.Interfaces[n]})
	}
	seen := map[string]string{}
	unique := func(path, what string) {
		if other, ok := seen[what]; ok {
			c.add(path, "%s is also %s: give each its own", what, other)
			return
		}
		seen[what] = path
	}
	for _, f := range all {
		c.one(f.path, f.given, f.whole)
		unique(f.path+"mac", f.whole.MAC)
		unique(f.path+"interface-id", f.whole.InterfaceID)
		card := 0
		if f.whole.NetworkCard != nil {
			card = *f.whole.NetworkCard
		}
		unique(f.path+"device-number", fmt.Sprintf("device %d of network card %d", *f.whole.DeviceNumber, card))
		if *f.whole.DeviceNumber < 0 {
			c.add(f.path+"device-number", "%d is not valid: use 0 or more", *f.whole.DeviceNumber)
		}
		if card < 0 {
			c.add(f.path+"network-card", "%d is not valid: use 0 or more", card)
		}
		for _, a := range f.whole.LocalIPv4s {
			key := "local-ipv4s"
			if a == f.whole.LocalIPv4 {
				key = "local-ipv4"
			}
			unique(f.path+key, a)
		}
		for _, a := range f.whole.IPv6s {
			unique(f.path+"ipv6s", a)
		}
		if f.whole.PublicIPv4 != "" {
			unique(f.path+"public-ipv4", f.whole.PublicIPv4)
		}
		for _, a := range slices.Sorted(maps.Keys(f.whole.IPv4Associations)) {
			if a != f.whole.PublicIPv4 {
				unique(f.path+"ipv4-associations."+a, a)
			}
		}
	}
	for n := range all {
		for _, other := range all[:n] {
			c.together(all[n].path, all[n].whole, strings.TrimSuffix(other.path, "."), other.whole)
		}
	}
	if *i.DeviceNumber != 0 {
		c.add("instance.device-number", "the primary interface is device 0")
	}
	if i.EFAOnly {
		c.add("instance.efa-only", "the primary interface has an address: move this to interfaces")
	}
}

// together checks that an interface and another before it say the same of what
// they share, and share nothing else.
func (c *checker) together(at string, f Interface, name string, other Interface) {
	if f.VPCID != other.VPCID {
		if f.SubnetID == other.SubnetID {
			c.add(at+"subnet-id", "%s is the subnet of %s, which is in %s: a subnet is in one VPC", f.SubnetID, name, other.VPCID)
		}
		return
	}
	alike := func(key, a, b string) {
		if a != b {
			c.add(at+key, "%s has %s in the same place: leave it out here, or make it the same", name, cmp.Or(b, "none"))
		}
	}
	joined := func(texts []string) string { return strings.Join(texts, ", ") }
	alike("vpc-ipv4-cidr-block", f.VPCIPv4CIDRBlock, other.VPCIPv4CIDRBlock)
	if f.VPCIPv4CIDRBlock == other.VPCIPv4CIDRBlock {
		alike("vpc-ipv4-cidr-blocks", joined(f.VPCIPv4CIDRBlocks), joined(other.VPCIPv4CIDRBlocks))
	}
	alike("vpc-ipv6-cidr-blocks", joined(f.VPCIPv6CIDRBlocks), joined(other.VPCIPv6CIDRBlocks))
	if f.SubnetID == other.SubnetID {
		alike("subnet-ipv4-cidr-block", f.SubnetIPv4CIDRBlock, other.SubnetIPv4CIDRBlock)
		alike("subnet-ipv6-cidr-blocks", joined(f.SubnetIPv6CIDRBlocks), joined(other.SubnetIPv6CIDRBlocks))
	} else {
		c.apart(at+"subnet-ipv4-cidr-block", []string{f.SubnetIPv4CIDRBlock}, "the subnet of "+name, []string{other.SubnetIPv4CIDRBlock})
		c.apart(at+"subnet-ipv6-cidr-blocks", f.SubnetIPv6CIDRBlocks, "the subnet of "+name, other.SubnetIPv6CIDRBlocks)
	}
	c.apart(at+"ipv4-prefix", f.IPv4Prefixes, name, slices.Concat(other.IPv4Prefixes, other.LocalIPv4s))
	c.apart(at+"local-ipv4s", f.LocalIPv4s, name, other.IPv4Prefixes)
	c.apart(at+"ipv6-prefix", f.IPv6Prefixes, name, other.IPv6Prefixes)
}

// apart objects to blocks or addresses that overlap others. What is neither is
// reported elsewhere.
func (c *checker) apart(path string, texts []string, whose string, others []string) {
	for _, text := range texts {
		for _, other := range others {
			if a, b := block(text), block(other); a.IsValid() && b.IsValid() && a.Overlaps(b) {
				c.add(path, "%s overlaps %s of %s: choose another", text, other, whose)
			}
		}
	}
}

// twice objects to what is in a list more than once.
func (c *checker) twice(path string, texts []string) {
	for n, text := range texts {
		if slices.Contains(texts[:n], text) {
			c.add(path, "%s is there twice: leave one out", text)
		}
	}
}

// block reads a block, or an address as the block that has nothing else.
func block(text string) netip.Prefix {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	p, _ := netip.ParsePrefix(text)
	return p
}

// one checks an interface.
func (c *checker) one(at string, given, f Interface) {
	if !macAddresses.MatchString(f.MAC) {
		c.add(at+"mac", "%q is not the address of an interface: it looks like 0e:ff:d5:40:fe:7d", given.MAC)
	}
	c.match(at+"interface-id", given.InterfaceID, interfaceIDs, "eni-03bbce4789a0e4976")
	c.match(at+"owner-id", given.OwnerID, accountIDs, `"111122223333", the 12 digits of an account`)
	c.match(at+"subnet-id", given.SubnetID, subnetIDs, "subnet-0d0a0b215479ae014")
	c.match(at+"vpc-id", given.VPCID, vpcIDs, "vpc-05bcc4ceabe1df195")
	for n, id := range given.SecurityGroupIDs {
		c.match(fmt.Sprintf("%ssecurity-group-ids[%d]", at, n), id, groupIDs, "sg-0acbe6d1132ff8f15")
	}
	for n, name := range given.SecurityGroups {
		if !printable.MatchString(name) || len(name) > 255 {
			c.add(fmt.Sprintf("%ssecurity-groups[%d]", at, n), "%q is not the name of a security group: use at most 255 printable characters", name)
		}
	}
	if len(f.SecurityGroups) != len(f.SecurityGroupIDs) {
		c.add(at+"security-group-ids", "%d ids for %d security groups: give one for each, or none", len(f.SecurityGroupIDs), len(f.SecurityGroups))
	}
	if f.EFAOnly && (given.LocalIPv4 != "" || given.PublicIPv4 != "" || given.IPv6Only ||
		len(given.LocalIPv4s)+len(given.IPv6s)+len(given.IPv4Prefixes)+len(given.IPv6Prefixes)+len(given.IPv4Associations) > 0) {
		c.add(at+"efa-only", "an EFA-only interface has no addresses: leave them out")
	}
	c.ipv4(at, given, f)
	c.ipv6(at, f)
	c.public(at, f)
}

// blocks reads CIDR blocks of one family.
func (c *checker) blocks(path string, texts []string, v6 bool, least, most int, example string) []netip.Prefix {
	var blocks []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4() == v6 || p != p.Masked() || p.Bits() < least || p.Bits() > most {
			c.add(path, "%q is not a block from /%d to /%d: it looks like %s", text, least, most, example)
			continue
		}
		blocks = append(blocks, p)
	}
	return blocks
}

// within reports whether one of the blocks holds the whole of p.
func within(blocks []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.Bits() <= p.Bits() && b.Contains(p.Addr()) })
}

// noVPC are the blocks that a VPC cannot have.
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
var noVPC = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
}

func (c *checker) ipv4(at string, given, f Interface) {
	if given.SubnetIPv4CIDRBlock == "" && !f.IPv6Only && f.LocalIPv4 != "" {
		if addr, err := netip.ParseAddr(f.LocalIPv4); err != nil || !addr.Is4() {
			key := at + "local-ipv4"
			if given.LocalIPv4 == "" {
				key += "s"
			}
			c.add(key, "%q is not an IPv4 address", f.LocalIPv4)
			return // the subnet would follow from it
		}
	}
	vpc := c.blocks(at+"vpc-ipv4-cidr-block", f.VPCIPv4CIDRBlocks, false, mostBlock, leastBlock, "10.0.0.0/16")
	for _, p := range vpc {
		if slices.ContainsFunc(noVPC, p.Overlaps) {
			key := "vpc-ipv4-cidr-block"
			switch { // it follows from what was given
			case given.VPCIPv4CIDRBlock != "" || len(given.VPCIPv4CIDRBlocks) > 0:
			case given.SubnetIPv4CIDRBlock != "":
				key = "subnet-ipv4-cidr-block"
			case given.LocalIPv4 != "":
				key = "local-ipv4"
			}
			c.add(at+key, "no VPC can have the block %s: use one such as 10.0.0.0/16", p)
		}
	}
	if f.IPv6Only {
		if given.LocalIPv4 != "" || given.SubnetIPv4CIDRBlock != "" || given.PublicIPv4 != "" ||
			len(given.LocalIPv4s)+len(given.IPv4Prefixes)+len(given.IPv4Associations) > 0 {
			c.add(at+"ipv6-only", "an interface without IPv4 has no IPv4 address or subnet: leave them out")
		}
		if len(f.IPv6s) == 0 {
			c.add(at+"ipv6-only", "an interface without IPv4 needs an IPv6 address: set ipv6s")
		}
		return
	}
	subnets := c.blocks(at+"subnet-ipv4-cidr-block", []string{f.SubnetIPv4CIDRBlock}, false, mostBlock, leastBlock, "10.0.0.0/24")
	if len(subnets) == 0 {
		return
	}
	subnet := subnets[0]
	if len(vpc) > 0 && !within(vpc, subnet) {
		c.add(at+"subnet-ipv4-cidr-block", "%s is not in the VPC's %s", subnet, strings.Join(f.VPCIPv4CIDRBlocks, ", "))
	}
	for _, text := range f.LocalIPv4s {
		key := at + "local-ipv4s"
		if text == f.LocalIPv4 && (given.LocalIPv4 != "" || len(given.LocalIPv4s) == 0) {
			key = at + "local-ipv4"
		}
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil || !addr.Is4():
			c.add(key, "%q is not an IPv4 address", text)
		case !subnet.Contains(addr):
			c.add(key, "%s is not in the subnet %s: choose an address in it, or set subnet-ipv4-cidr-block", addr, subnet)
		case reserved(subnet, addr):
			c.add(key, "%s is reserved: the first four addresses and the last of a subnet (%s) belong to AWS", addr, subnet)
		}
	}
	if f.LocalIPv4 == "" && !f.EFAOnly {
		c.add(at+"local-ipv4", "the subnet %s has no free address left: choose a larger subnet-ipv4-cidr-block", subnet)
	}
	for _, p := range c.blocks(at+"ipv4-prefix", f.IPv4Prefixes, false, 28, 28, "10.0.1.16/28") {
		if !within(subnets, p) {
			c.add(at+"ipv4-prefix", "%s is not in the subnet %s", p, subnet)
		}
		c.apart(at+"ipv4-prefix", []string{p.String()}, "the same interface", f.LocalIPv4s)
	}
	c.twice(at+"ipv4-prefix", f.IPv4Prefixes)
}

// reserved reports whether AWS keeps an address of a subnet for itself.
// https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
func reserved(subnet netip.Prefix, addr netip.Addr) bool {
	as := func(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }
	offset, size := as(addr)-as(subnet.Addr()), uint32(1)<<(32-subnet.Bits())
	return offset < 4 || offset == size-1
}

func (c *checker) ipv6(at string, f Interface) {
	vpc := c.blocks(at+"vpc-ipv6-cidr-blocks", f.VPCIPv6CIDRBlocks, true, 44, 64, "2001:db8:0:100::/56")
	subnets := c.blocks(at+"subnet-ipv6-cidr-blocks", f.SubnetIPv6CIDRBlocks, true, 44, 64, "2001:db8:0:100::/64")
	for _, p := range subnets {
		if len(vpc) > 0 && !within(vpc, p) {
			c.add(at+"subnet-ipv6-cidr-blocks", "%s is not in the VPC's %s", p, strings.Join(f.VPCIPv6CIDRBlocks, ", "))
		}
	}
	for _, text := range f.IPv6s {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" || !addr.IsGlobalUnicast():
			c.add(at+"ipv6s", "%q is not an IPv6 address that an instance can have: it looks like 2001:db8:0:100::5", text)
		case addr.String() != text:
			c.add(at+"ipv6s", "%q is not the short form of the address: write %s", text, addr)
		case !within(subnets, netip.PrefixFrom(addr, 128)):
			c.add(at+"ipv6s", "%s is not in the subnet's %s: choose an address in it, or set subnet-ipv6-cidr-blocks",
				addr, strings.Join(f.SubnetIPv6CIDRBlocks, ", "))
		}
	}
	for _, p := range c.blocks(at+"ipv6-prefix", f.IPv6Prefixes, true, 80, 80, "2001:db8::/80") {
		if !within(subnets, p) {
			c.add(at+"ipv6-prefix", "%s is not in the subnet's %s", p, strings.Join(f.SubnetIPv6CIDRBlocks, ", "))
		}
	}
	c.twice(at+"ipv6-prefix", f.IPv6Prefixes)
}

// public checks public addresses and what they are mapped to.
func (c *checker) public(at string, f Interface) {
	one := func(path, text string) {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil || !addr.Is4():
			c.add(path, "%q is not an IPv4 address", text)
		case addr.IsPrivate() || !addr.IsGlobalUnicast():
			c.add(path, "%s is not a public address", addr)
		}
	}
	mapped := map[string]string{} // private address → public one
	if f.PublicIPv4 != "" {
		one(at+"public-ipv4", f.PublicIPv4)
		mapped[f.LocalIPv4] = f.PublicIPv4
	}
	for _, address := range slices.Sorted(maps.Keys(f.IPv4Associations)) {
		path := at + "ipv4-associations." + address
		one(path, address)
		if len(f.IPv4Associations[address]) == 0 {
			c.add(path, "name the private address that it is mapped to")
		}
		for _, private := range f.IPv4Associations[address] {
			if !slices.Contains(f.LocalIPv4s, private) {
				c.add(path, "%s is not an address of the interface: add it to local-ipv4s", private)
			}
			if other, ok := mapped[private]; ok && other != address {
				c.add(path, "%s has the public address %s already: it can have one", private, other)
			}
			mapped[private] = address
		}
	}
}
