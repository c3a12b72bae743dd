package imds

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
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
	i.Region = cmp.Or(i.Region, local.DefaultRegion)
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
	devices := map[string]string{"ami": "xvda", "root": "/dev/xvda"}
	if root, ok := i.BlockDevices["root"]; ok {
		devices["ami"] = root
	}
	maps.Copy(devices, i.BlockDevices)
	for name, device := range devices {
		device = strings.TrimPrefix(device, "/dev/")
		if name == "root" {
			device = "/dev/" + device
		}
		devices[name] = device
	}
	i.BlockDevices = devices

	i.Interface = i.Interface.withDefaults(&i, nil, 0)
	i.Interfaces = slices.Clone(i.Interfaces)
	taken := map[string]bool{i.LocalIPv4: true}
	for _, a := range i.LocalIPv4s {
		taken[a] = true
	}
	for n := range i.Interfaces {
		for _, a := range append(slices.Clone(i.Interfaces[n].LocalIPv4s), i.Interfaces[n].LocalIPv4) {
			taken[a] = true
		}
	}
	for n := range i.Interfaces {
		i.Interfaces[n] = i.Interfaces[n].withDefaults(&i, taken, n+1)
		taken[i.Interfaces[n].LocalIPv4] = true
	}
	return i
}

// withDefaults fills in an interface. Position 0 is the primary one; the
// others inherit from it.
func (f Interface) withDefaults(i *Instance, taken map[string]bool, position int) Interface {
	primary := position == 0
	seed := sha256.Sum256(fmt.Appendf(nil, "ecs-local interface %s %d", i.InstanceID, position))
	digits := hex.EncodeToString(seed[:])
	if primary {
		f.MAC = cmp.Or(f.MAC, "0e:ff:d5:40:fe:7d")
		f.InterfaceID = cmp.Or(f.InterfaceID, "eni-03bbce4789a0e4976")
		f.SubnetID = cmp.Or(f.SubnetID, "subnet-0d0a0b215479ae014")
		f.VPCID = cmp.Or(f.VPCID, "vpc-05bcc4ceabe1df195")
	} else {
		p := i.Interface
		f.MAC = cmp.Or(f.MAC, fmt.Sprintf("0e:%s:%s:%s:%s:%s", digits[:2], digits[2:4], digits[4:6], digits[6:8], digits[8:10]))
		f.InterfaceID = cmp.Or(f.InterfaceID, "eni-0"+digits[10:26])
		f.VPCID = cmp.Or(f.VPCID, p.VPCID)
		f.VPCIPv4CIDRBlock = cmp.Or(f.VPCIPv4CIDRBlock, p.VPCIPv4CIDRBlock)
		f.VPCIPv4CIDRBlocks = either(f.VPCIPv4CIDRBlocks, p.VPCIPv4CIDRBlocks)
		f.VPCIPv6CIDRBlocks = either(f.VPCIPv6CIDRBlocks, p.VPCIPv6CIDRBlocks)
		if f.SubnetID == "" && f.SubnetIPv4CIDRBlock == "" {
			f.SubnetIPv4CIDRBlock = p.SubnetIPv4CIDRBlock
			f.SubnetIPv6CIDRBlocks = either(f.SubnetIPv6CIDRBlocks, p.SubnetIPv6CIDRBlocks)
			f.SubnetID = p.SubnetID
		}
		f.SubnetID = cmp.Or(f.SubnetID, "subnet-0"+digits[26:42])
		if f.SecurityGroups == nil && f.SecurityGroupIDs == nil {
			f.SecurityGroups, f.SecurityGroupIDs = p.SecurityGroups, p.SecurityGroupIDs
		}
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
	f = f.withIPv4Blocks(primary)
	if !f.IPv6Only && !f.EFAOnly {
		if f.LocalIPv4 == "" {
			f.LocalIPv4 = firstFree(f.SubnetIPv4CIDRBlock, taken)
		}
		f.LocalIPv4s = prepend(f.LocalIPv4, f.LocalIPv4s)
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

// withIPv4Blocks derives subnet and VPC from each other and from the address.
func (f Interface) withIPv4Blocks(primary bool) Interface {
	bare := f.LocalIPv4 == "" && f.SubnetIPv4CIDRBlock == "" && f.VPCIPv4CIDRBlock == "" && len(f.VPCIPv4CIDRBlocks) == 0
	if primary && bare {
		f.VPCIPv4CIDRBlock = "10.237.0.0/24"
		if !f.IPv6Only {
			f.LocalIPv4, f.SubnetIPv4CIDRBlock = "10.237.0.16", "10.237.0.0/27"
		}
		if f.EFAOnly {
			f.LocalIPv4 = ""
		}
		return f
	}
	if f.VPCIPv4CIDRBlock == "" && len(f.VPCIPv4CIDRBlocks) > 0 {
		f.VPCIPv4CIDRBlock = f.VPCIPv4CIDRBlocks[0]
	}
	if f.VPCIPv4CIDRBlock == "" {
		f.VPCIPv4CIDRBlock = strings.Join(around(cmp.Or(f.SubnetIPv4CIDRBlock, f.LocalIPv4), 16), "")
	}
	if f.SubnetIPv4CIDRBlock == "" && !f.IPv6Only {
		bits := 20
		if vpc, err := netip.ParsePrefix(f.VPCIPv4CIDRBlock); err == nil {
			bits = max(bits, vpc.Bits())
		}
		f.SubnetIPv4CIDRBlock = strings.Join(around(cmp.Or(f.LocalIPv4, f.VPCIPv4CIDRBlock), bits), "")
	}
	return f
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

// firstFree returns the first address of a subnet, from the sixteenth on where
// it is large enough, that is not taken.
func firstFree(subnet string, taken map[string]bool) string {
	p, err := netip.ParsePrefix(subnet)
	if err != nil || !p.Addr().Is4() || p.Bits() > 28 {
		return ""
	}
	addr, skip := p.Masked().Addr(), 16
	if p.Bits() > 27 {
		skip = 4
	}
	for range skip {
		addr = addr.Next()
	}
	for taken[addr.String()] && p.Contains(addr) {
		addr = addr.Next()
	}
	return addr.String()
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
