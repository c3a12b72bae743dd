package imds

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// leaves is a tree under construction: path, without the version → value.
type leaves map[string]*node

func (l leaves) text(path, value string) { l.bytes(path, []byte(value)) }

func (l leaves) bytes(path string, value []byte) { l[path] = &node{v1: value, v2: value} }

// optional adds a value that is absent when empty.
func (l leaves) optional(path, value string) {
	if value != "" {
		l.text(path, value)
	}
}

// lines adds a list; an empty one is absent.
func (l leaves) lines(path string, values []string) { l.optional(path, strings.Join(values, "\n")) }

func (l leaves) json(path string, o object) { l.bytes(path, o.bytes()) }

// derive makes the tree of an instance, without credentials and namespaces.
func derive(c Config, document []byte, signed func() signatures) leaves {
	l, i := leaves{}, c.Instance
	const m = "meta-data/"
	l.text(m+"ami-id", i.AMIID)
	l.text(m+"ami-launch-index", strconv.Itoa(i.AMILaunchIndex))
	l.text(m+"ami-manifest-path", i.AMIManifestPath)
	l.lines(m+"ancestor-ami-ids", i.AncestorAMIIDs)
	l.optional(m+"autoscaling/target-lifecycle-state", i.TargetLifecycleState)
	for name, device := range i.BlockDevices {
		l.text(m+"block-device-mapping/"+name, device)
	}
	l.text(m+"events/maintenance/history", "[]")
	l.text(m+"events/maintenance/scheduled", "[]")
	if i.Hibernation != nil {
		l.text(m+"hibernation/configured", strconv.FormatBool(*i.Hibernation))
	}
	l.text(m+"hostname", i.hostname(i.Interface))
	l.text(m+"instance-action", i.InstanceAction)
	l.text(m+"instance-id", i.InstanceID)
	l.text(m+"instance-life-cycle", i.InstanceLifeCycle)
	l.text(m+"instance-type", i.InstanceType)
	if len(i.IPv6s) > 0 {
		l.text(m+"ipv6", i.IPv6s[0])
	}
	l.optional(m+"kernel-id", i.KernelID)
	l.text(m+"local-hostname", i.hostname(i.Interface))
	l.optional(m+"local-ipv4", i.LocalIPv4)
	l.text(m+"mac", i.MAC)
	l.text(m+"metrics/vhostmd", `<?xml version="1.0" encoding="UTF-8"?>`)
	l.optional(m+"outpost-arn", i.OutpostARN)
	l.text(m+"placement/availability-zone", i.AvailabilityZone)
	l.text(m+"placement/availability-zone-id", i.AvailabilityZoneID)
	l.text(m+"placement/region", i.Region)
	l.optional(m+"placement/group-name", i.GroupName)
	l.optional(m+"placement/host-id", i.HostID)
	if i.PartitionNumber > 0 {
		l.text(m+"placement/partition-number", strconv.Itoa(i.PartitionNumber))
	}
	l.lines(m+"product-codes", i.ProductCodes)
	l.text(m+"profile", i.Profile)
	l.optional(m+"public-hostname", i.publicHostname(i.PublicIPv4))
	l.optional(m+"public-ipv4", i.PublicIPv4)
	if i.PublicKey != "" {
		l.text(m+"public-keys/0/openssh-key", i.PublicKey+" "+i.KeyName+"\n")
	}
	l.optional(m+"ramdisk-id", i.RamdiskID)
	l.text(m+"reservation-id", i.ReservationID)
	l.lines(m+"security-groups", i.SecurityGroups)
	l.text(m+"services/domain", serviceDomain(i.Region))
	l.text(m+"services/partition", local.Partition(i.Region))
	l.text(m+"system", i.System)
	for _, f := range append([]Interface{i.Interface}, i.Interfaces...) {
		l.network(i, f)
	}
	l.tags(c)

	if i.DetailedMonitoring {
		l.text("dynamic/fws/instance-monitoring", "enabled")
	}
	l.bytes(documentPath, document)
	l["dynamic/instance-identity/signature"] = &node{lazy: func() []byte { return signed().signature }}
	l["dynamic/instance-identity/pkcs7"] = &node{lazy: func() []byte { return signed().pkcs7 }}
	l["dynamic/instance-identity/rsa2048"] = &node{lazy: func() []byte { return signed().rsa2048 }}
	if c.UserData != nil {
		l.bytes(userData, c.UserData)
	}
	return l
}

func (l leaves) network(i Instance, f Interface) {
	at := macs + f.MAC + "/"
	l.text(at+"device-number", strconv.Itoa(*f.DeviceNumber))
	l.text(at+"interface-id", f.InterfaceID)
	public := []string{}
	if f.PublicIPv4 != "" {
		public = append(public, f.PublicIPv4)
	}
	for _, address := range slices.Sorted(maps.Keys(f.IPv4Associations)) {
		if address != f.PublicIPv4 {
			public = append(public, address)
		}
		l.lines(at+"ipv4-associations/"+address, f.IPv4Associations[address])
	}
	if f.PublicIPv4 != "" && !slices.Contains(f.IPv4Associations[f.PublicIPv4], f.LocalIPv4) {
		l.lines(at+"ipv4-associations/"+f.PublicIPv4, prepend(f.LocalIPv4, f.IPv4Associations[f.PublicIPv4]))
	}
	l.lines(at+"public-ipv4s", public)
	if len(public) > 0 {
		l.optional(at+"public-hostname", i.publicHostname(public[0]))
	}
	l.lines(at+"ipv4-prefix", f.IPv4Prefixes)
	l.lines(at+"ipv6-prefix", f.IPv6Prefixes)
	l.lines(at+"ipv6s", f.IPv6s)
	if !f.EFAOnly {
		l.text(at+"local-hostname", i.hostname(f))
		l.lines(at+"local-ipv4s", f.LocalIPv4s)
	}
	l.text(at+"mac", f.MAC)
	if f.NetworkCard != nil {
		l.text(at+"network-card", strconv.Itoa(*f.NetworkCard))
	}
	l.text(at+"owner-id", f.OwnerID)
	l.lines(at+"security-group-ids", f.SecurityGroupIDs)
	l.lines(at+"security-groups", f.SecurityGroups)
	l.text(at+"subnet-id", f.SubnetID)
	l.optional(at+"subnet-ipv4-cidr-block", f.SubnetIPv4CIDRBlock)
	l.lines(at+"subnet-ipv6-cidr-blocks", f.SubnetIPv6CIDRBlocks)
	l.text(at+"vpc-id", f.VPCID)
	l.text(at+"vpc-ipv4-cidr-block", f.VPCIPv4CIDRBlock)
	l.lines(at+"vpc-ipv4-cidr-blocks", f.VPCIPv4CIDRBlocks)
	l.lines(at+"vpc-ipv6-cidr-blocks", f.VPCIPv6CIDRBlocks)
}

const documentPath = "dynamic/instance-identity/document"

const (
	tagPath    = "meta-data/tags/instance/"
	tagSetPath = "meta-data/tag-sets/instance"
)

// tags adds the tags.
func (l leaves) tags(c Config) {
	if c.Options.InstanceMetadataTags != Enabled {
		return
	}
	for key, value := range c.Tags {
		l.text(tagPath+key, value)
	}
	l.tagSet()
}

// tagSet makes the set of all tags from the tags that are there. Without any
// it is there too, and empty.
func (l leaves) tagSet() {
	set := object{}
	for _, path := range slices.Sorted(maps.Keys(l)) {
		if key, ok := strings.CutPrefix(path, tagPath); ok {
			set = append(set, member{key, string(l[path].v2)})
		}
	}
	l.json(tagSetPath, set)
}

// hostname returns the private name of an interface: made of its address, or
// of the instance's id where names are resource names.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-naming.html
func (i Instance) hostname(f Interface) string {
	if i.HostnameType == "resource-name" || f.LocalIPv4 == "" {
		return i.InstanceID + "." + internalDomain(i.Region)
	}
	return "ip-" + strings.ReplaceAll(f.LocalIPv4, ".", "-") + "." + internalDomain(i.Region)
}

func (i Instance) publicHostname(address string) string {
	if address == "" || i.DNSHostnames != nil && !*i.DNSHostnames {
		return ""
	}
	return publicHostname(i.Region, address)
}

// document returns the identity document.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func (i Instance) document() []byte {
	return object{
		{"accountId", i.AccountID},
		{"architecture", i.Architecture},
		{"availabilityZone", i.AvailabilityZone},
		{"billingProducts", i.BillingProducts},
		{"devpayProductCodes", i.DevpayProductCodes},
		{"marketplaceProductCodes", i.MarketplaceProducts},
		{"imageId", i.AMIID},
		{"instanceId", i.InstanceID},
		{"instanceType", i.InstanceType},
		{"kernelId", optional(i.KernelID)},
		{"pendingTime", instant(i.PendingTime)},
		{"privateIp", optional(i.LocalIPv4)},
		{"ramdiskId", optional(i.RamdiskID)},
		{"region", i.Region},
		{"version", "2017-09-30"},
	}.bytes()
}

// credentials adds iam/ and identity-credentials/.
func (s *Service) credentials(l leaves, now time.Time) {
	i := s.config.Instance
	l.json("meta-data/identity-credentials/ec2/info", object{
		{"Code", "Success"}, {"LastUpdated", instant(s.checked)}, {"AccountId", i.AccountID},
	})
	s.keys(l, "meta-data/identity-credentials/ec2/security-credentials/ec2-instance", InstanceIdentity, now)
	if s.config.Role == "" {
		return
	}
	name := roleName(role(s.config.Role))
	profile := s.config.InstanceProfile
	if profile == "" {
		profile = name
	}
	arn := fmt.Sprintf("arn:%s:iam::%s:instance-profile/%s", local.Partition(i.Region), i.AccountID, profile)
	l.json("meta-data/iam/info", object{
		{"Code", "Success"}, {"LastUpdated", instant(s.checked)}, {"InstanceProfileArn", arn}, {"InstanceProfileId", profileID(arn)},
	})
	s.keys(l, "meta-data/iam/security-credentials/"+name, InstanceProfile, now)
}

// keys adds the leaf of one role, whose value differs between requests with
// and without a token.
func (s *Service) keys(l leaves, path string, use Use, now time.Time) {
	v1 := s.holders[holderKey{use: use, delivery: V1}].document(now)
	v2 := s.holders[holderKey{use: use, delivery: V2}].document(now)
	if v1 == nil && v2 == nil {
		return
	}
	l[path] = &node{v1: v1, v2: v2}
	if v1 == nil {
		l[path].v1 = v2
	}
	if v2 == nil {
		l[path].v2 = v1
	}
}

// roleName returns a role's name without its path.
func roleName(r local.Role) string {
	s := r.String()
	return s[strings.LastIndexByte(s, '/')+1:]
}
