package imds

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// withDefaults returns the instance with everything filled in that follows
// from the rest. It does not judge: what cannot be read stays as it is, for
// Validate to find.
func (i Instance) withDefaults(now time.Time) Instance {
	i.InstanceID = cmp.Or(i.InstanceID, "i-04b098f5de41d11e6")
	i.InstanceType = cmp.Or(i.InstanceType, "t3.nano")
	i.Architecture = cmp.Or(i.Architecture, architectureOf(i.InstanceType))
	i.System = cmp.Or(i.System, systemOf(i.InstanceType))
	i.AccountID = cmp.Or(i.AccountID, local.DefaultAccount)
	i.Region = cmp.Or(i.Region, regionOf(i.AvailabilityZone), local.DefaultRegion)
	i.AvailabilityZone = cmp.Or(i.AvailabilityZone, i.Region+"a")
	i.AvailabilityZoneID = cmp.Or(i.AvailabilityZoneID, zoneID(i.Region, i.AvailabilityZone))
	i.AMIID = cmp.Or(i.AMIID, "ami-0fef201115eefe936")
	i.AMIManifestPath = cmp.Or(i.AMIManifestPath, "(unknown)")
	i.InstanceAction = cmp.Or(i.InstanceAction, "none")
	i.InstanceLifeCycle = cmp.Or(i.InstanceLifeCycle, "on-demand")
	i.Profile = cmp.Or(i.Profile, "default-hvm")
	i.ReservationID = cmp.Or(i.ReservationID, "r-0f1866af1f1a14d3c")
	if i.PendingTime.IsZero() {
		i.PendingTime = now
	}
	i.HostnameType = cmp.Or(i.HostnameType, "ip-name")
	if i.AutoScalingGroup != "" {
		i.TargetLifecycleState = cmp.Or(i.TargetLifecycleState, "InService")
	}
	if i.PublicKey != "" {
		algorithm, rest, _ := strings.Cut(strings.TrimSpace(i.PublicKey), " ")
		blob, comment, _ := strings.Cut(rest, " ")
		i.KeyName = cmp.Or(i.KeyName, comment, "my-key")
		i.PublicKey = algorithm + " " + blob
	}
	device := cmp.Or(i.BlockDevices["root"], i.BlockDevices["ami"], "xvda")
	devices := map[string]string{"ami": device, "root": device}
	maps.Copy(devices, i.BlockDevices)
	for name, device := range devices {
		device = strings.TrimPrefix(device, "/dev/")
		if name == "root" {
			device = "/dev/" + device
		}
		devices[name] = device
	}
	i.BlockDevices = devices

	all := append([]Interface{i.Interface}, i.Interfaces...)
	use := newUsage(all)
	for n := range all {
		all[n] = all[n].withDefaults(&i, all[:n], use)
		if n == 0 { // its address does not give way to another
			use.take(all)
		}
	}
	share(all)
	i.Interface, i.Interfaces = all[0], all[1:]
	return i
}

// withDefaults fills in an interface. The first is the primary one; the others
// have from those before them what is the same in one VPC or subnet.
func (f Interface) withDefaults(i *Instance, before []Interface, use usage) Interface {
	position := len(before)
	primary := position == 0
	seed := sha256.Sum256(fmt.Appendf(nil, "ecs-local interface %s %d", i.InstanceID, position))
	digits := hex.EncodeToString(seed[:])
	if primary {
		f.MAC = cmp.Or(f.MAC, "0e:ff:d5:40:fe:7d")
		f.InterfaceID = cmp.Or(f.InterfaceID, "eni-03bbce4789a0e4976")
		f.SubnetID = cmp.Or(f.SubnetID, "subnet-0d0a0b215479ae014")
		f.VPCID = cmp.Or(f.VPCID, "vpc-05bcc4ceabe1df195")
	} else {
		f.MAC = cmp.Or(f.MAC, fmt.Sprintf("0e:%s:%s:%s:%s:%s", digits[:2], digits[2:4], digits[4:6], digits[6:8], digits[8:10]))
		f.InterfaceID = cmp.Or(f.InterfaceID, "eni-0"+digits[10:26])
		f = f.beside(before)
		f.SubnetID = cmp.Or(f.SubnetID, "subnet-0"+digits[26:42])
	}
	f.MAC = strings.ToLower(f.MAC)
	f.OwnerID = cmp.Or(f.OwnerID, i.AccountID)
	if f.DeviceNumber == nil {
		f.DeviceNumber = &position
	}
	if f.NetworkCard == nil && manyCards.MatchString(i.InstanceType) {
		f.NetworkCard = new(int)
	}
	if f.SecurityGroups == nil && f.SecurityGroupIDs == nil {
		f.SecurityGroups = []string{"default"}
	}
	if f.SecurityGroupIDs == nil {
		for _, name := range f.SecurityGroups {
			f.SecurityGroupIDs = append(f.SecurityGroupIDs, "sg-0"+hexOf("ecs-local security group " + f.VPCID + " " + name)[:16])
		}
	}
	if f.SecurityGroups == nil {
		f.SecurityGroups = f.SecurityGroupIDs
	}
	if len(f.LocalIPv4s) > 0 {
		f.LocalIPv4 = cmp.Or(f.LocalIPv4, f.LocalIPv4s[0])
	}
	f = f.withIPv4Blocks(before)
	if !f.IPv6Only && !f.EFAOnly {
		if f.LocalIPv4 == "" {
			f.LocalIPv4 = use.firstFree(f.SubnetIPv4CIDRBlock)
		}
		f.LocalIPv4s = prepend(f.LocalIPv4, f.LocalIPv4s)
		use.take([]Interface{f})
	}
	for _, address := range slices.Sorted(maps.Keys(f.IPv4Associations)) {
		if f.LocalIPv4 != "" && f.PublicIPv4 == "" && slices.Contains(f.IPv4Associations[address], f.LocalIPv4) {
			f.PublicIPv4 = address
		}
	}
	f.VPCIPv4CIDRBlocks = prepend(f.VPCIPv4CIDRBlock, f.VPCIPv4CIDRBlocks)
	if len(f.IPv6s) > 0 || len(f.IPv6Prefixes) > 0 {
		one := slices.Concat(f.IPv6s, f.IPv6Prefixes)[0]
		f.SubnetIPv6CIDRBlocks = either(f.SubnetIPv6CIDRBlocks, around(one, 64))
	}
	if len(f.SubnetIPv6CIDRBlocks) > 0 {
		f.VPCIPv6CIDRBlocks = either(f.VPCIPv6CIDRBlocks, around(f.SubnetIPv6CIDRBlocks[0], 56))
	}
	return f
}

// beside gives a further interface what it has in common with those before it:
// the VPC, that of the primary one unless it says otherwise, and the subnet.
func (f Interface) beside(before []Interface) Interface {
	f.VPCID = cmp.Or(f.VPCID, before[0].VPCID)
	for _, o := range before {
		if o.VPCID != f.VPCID {
			continue
		}
		f.VPCIPv4CIDRBlock = cmp.Or(f.VPCIPv4CIDRBlock, o.VPCIPv4CIDRBlock)
		f.VPCIPv4CIDRBlocks = either(f.VPCIPv4CIDRBlocks, o.VPCIPv4CIDRBlocks)
		f.VPCIPv6CIDRBlocks = either(f.VPCIPv6CIDRBlocks, o.VPCIPv6CIDRBlocks)
		if f.SecurityGroups == nil && f.SecurityGroupIDs == nil {
			f.SecurityGroups, f.SecurityGroupIDs = o.SecurityGroups, o.SecurityGroupIDs
		}
	}
	silent := f.SubnetIPv4CIDRBlock == "" && len(f.SubnetIPv6CIDRBlocks) == 0
	for _, o := range before {
		switch {
		case o.VPCID != f.VPCID:
		case f.SubnetID == o.SubnetID,
			f.SubnetID == "" && silent && f.IPv6Only == o.IPv6Only,
			f.SubnetID == "" && f.SubnetIPv4CIDRBlock != "" && f.SubnetIPv4CIDRBlock == o.SubnetIPv4CIDRBlock:
			f.SubnetID = o.SubnetID
			f.SubnetIPv4CIDRBlock = cmp.Or(f.SubnetIPv4CIDRBlock, o.SubnetIPv4CIDRBlock)
			f.SubnetIPv6CIDRBlocks = either(f.SubnetIPv6CIDRBlocks, o.SubnetIPv6CIDRBlocks)
			return f
		}
	}
	return f
}

// share gives every interface what was said, or derived, of its VPC and its
// subnet at an interface after it.
func share(all []Interface) {
	for n := range all {
		f := &all[n]
		for _, o := range all {
			if o.VPCID != f.VPCID {
				continue
			}
			f.VPCIPv6CIDRBlocks = either(f.VPCIPv6CIDRBlocks, o.VPCIPv6CIDRBlocks)
			if o.SubnetID == f.SubnetID {
				f.SubnetIPv6CIDRBlocks = either(f.SubnetIPv6CIDRBlocks, o.SubnetIPv6CIDRBlocks)
			}
		}
	}
}

// withIPv4Blocks derives subnet and VPC from each other and from the address.
func (f Interface) withIPv4Blocks(before []Interface) Interface {
	if f.LocalIPv4 == "" && f.SubnetIPv4CIDRBlock == "" && f.VPCIPv4CIDRBlock == "" && len(f.VPCIPv4CIDRBlocks) == 0 {
		f.VPCIPv4CIDRBlock = "10.237.0.0/24"
		if len(before) > 0 { // another VPC than that of the primary one
			f.VPCIPv4CIDRBlock = "172.31.0.0/16"
		} else if !f.IPv6Only {
			f.SubnetIPv4CIDRBlock = "10.237.0.0/27"
		}
	}
	if f.VPCIPv4CIDRBlock == "" && len(f.VPCIPv4CIDRBlocks) > 0 {
		f.VPCIPv4CIDRBlock = f.VPCIPv4CIDRBlocks[0]
	}
	if f.VPCIPv4CIDRBlock == "" {
		f.VPCIPv4CIDRBlock = strings.Join(around(cmp.Or(f.SubnetIPv4CIDRBlock, f.LocalIPv4), 16), "")
	}
	if f.SubnetIPv4CIDRBlock == "" && !f.IPv6Only {
		f.SubnetIPv4CIDRBlock = f.subnet(before)
	}
	return f
}

// subnet returns a block for the subnet of an interface: the one that its
// address is in, or the first of the VPC that no other subnet is in.
func (f Interface) subnet(before []Interface) string {
	vpc, err := netip.ParsePrefix(f.VPCIPv4CIDRBlock)
	bits := 20
	if err == nil {
		bits = max(bits, vpc.Bits())
		if len(before) > 0 { // leave room for more
			bits = max(bits, min(vpc.Bits()+3, 28))
		}
	}
	var others []netip.Prefix
	for _, o := range before {
		if p, err := netip.ParsePrefix(o.SubnetIPv4CIDRBlock); err == nil && o.VPCID == f.VPCID {
			others = append(others, p)
			bits = max(bits, min(p.Bits(), leastBlock))
		}
	}
	if f.LocalIPv4 != "" || err != nil || vpc.Bits() < mostBlock { // there is no such VPC, and no end to a search in it
		return strings.Join(around(cmp.Or(f.LocalIPv4, f.VPCIPv4CIDRBlock), bits), "")
	}
	addr := vpc.Masked().Addr()
	for vpc.Contains(addr) && addr.Is4() && bits <= 32 {
		block := netip.PrefixFrom(addr, bits)
		if !slices.ContainsFunc(others, block.Overlaps) {
			return block.String()
		}
		b := addr.As4()
		n := binary.BigEndian.Uint32(b[:]) + 1<<(32-bits)
		if n == 0 {
			break
		}
		binary.BigEndian.PutUint32(b[:], n)
		addr = netip.AddrFrom4(b)
	}
	return strings.Join(around(f.VPCIPv4CIDRBlock, bits), "") // the VPC is full: Validate will say so
}

// around returns the block of this size around an address or a block, or
// nothing when the text is neither.
func around(s string, bits int) []string {
	addr, err := netip.ParseAddr(s)
	if p, perr := netip.ParsePrefix(s); perr == nil {
		addr, err, bits = p.Addr(), nil, min(bits, p.Bits())
	}
	if err != nil {
		return nil
	}
	block, err := addr.Prefix(bits)
	if err != nil {
		return nil
	}
	return []string{block.String()}
}

// usage is what of the private IPv4 addresses is not free.
type usage struct {
	addresses map[string]bool
	prefixes  []netip.Prefix // delegated
}

// newUsage returns what is delegated to the interfaces.
func newUsage(all []Interface) usage {
	u := usage{addresses: map[string]bool{}}
	for _, f := range all {
		for _, text := range f.IPv4Prefixes {
			if p, err := netip.ParsePrefix(text); err == nil && p.Bits() == 28 {
				u.prefixes = append(u.prefixes, p)
			}
		}
	}
	return u
}

// take notes the addresses that are given to the interfaces.
func (u usage) take(all []Interface) {
	for _, f := range all {
		for _, a := range append(slices.Clone(f.LocalIPv4s), f.LocalIPv4) {
			u.addresses[a] = true
		}
	}
}

// firstFree returns the first free address of a subnet, from the sixteenth on
// where it is large enough, or nothing.
func (u usage) firstFree(subnet string) string {
	p, err := netip.ParsePrefix(subnet)
	if err != nil || !p.Addr().Is4() || p.Bits() > 28 {
		return ""
	}
	p = p.Masked()
	search := func(skip int) string {
		addr := p.Addr()
		for range skip {
			addr = addr.Next()
		}
		for ; p.Contains(addr.Next()); addr = addr.Next() { // the last is reserved
			delegated := func(d netip.Prefix) bool { return d.Contains(addr) }
			if !u.addresses[addr.String()] && !slices.ContainsFunc(u.prefixes, delegated) {
				return addr.String()
			}
		}
		return ""
	}
	if p.Bits() <= 27 {
		if addr := search(16); addr != "" {
			return addr
		}
	}
	return search(4)
}

func either(a, b []string) []string {
	if len(a) > 0 {
		return a
	}
	return b
}

// prepend puts the first before the rest, once.
func prepend(first string, rest []string) []string {
	if first == "" {
		return rest
	}
	return append([]string{first}, slices.DeleteFunc(slices.Clone(rest), func(s string) bool { return s == first })...)
}

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// profileID returns a well-formed id of an instance profile.
func profileID(arn string) string {
	sum := sha256.Sum256([]byte("ecs-local instance profile " + arn))
	return "AIPA" + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// allTags returns the tags that the instance shows.
func (c Config) allTags() map[string]string {
	tags := maps.Clone(c.Tags)
	if c.Instance.AutoScalingGroup != "" {
		const key = "aws:autoscaling:groupName"
		if _, ok := tags[key]; !ok {
			if tags == nil {
				tags = map[string]string{}
			}
			tags[key] = c.Instance.AutoScalingGroup
		}
	}
	return tags
}

// resolved returns the configuration with everything filled in.
func (c Config) resolved(now time.Time) Config {
	c.Tags = c.allTags()
	c.Options = c.Options.withDefaults(len(c.Tags) > 0)
	c.Instance = c.Instance.withDefaults(now)
	c.NamespaceFormat = cmp.Or(c.NamespaceFormat, FormatObject)
	return c
}
