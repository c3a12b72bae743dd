package imds

import (
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Config is all that the service shows. The zero value describes a whole,
// sensible instance.
type Config struct {
	Instance Instance
	Options  Options

	// Tags of the instance. They are shown when
	// Options.InstanceMetadataTags says so.
	Tags map[string]string

	// Role is the role of the instance profile: name, path/name, or ARN. Empty:
	// the instance has no profile, and iam/ does not exist.
	Role string
	// InstanceProfile is the name of the profile; empty: that of the role.
	InstanceProfile string

	// UserData is served as it is. Nil: there is none.
	UserData []byte

	// Metadata adds, replaces or (nil) removes values of the tree, after
	// everything else. A path is relative to meta-data/ unless it begins with
	// meta-data/ or dynamic/, or is user-data. Removing a directory removes
	// all below it.
	Metadata map[string]*string

	// Namespaces hold the credentials of tasks: iam-ecs-<N> → roles.
	Namespaces map[string][]TaskRole
	// NamespaceFormat is the form of their info documents.
	NamespaceFormat NamespaceFormat
}

// TaskRole is one entry of a namespace.
type TaskRole struct {
	Task     string // the task's id, without "-"
	RoleType string // TaskApplication or TaskExecution
	Role     string // name, path/name, or ARN
}

// The types of a task's roles.
const (
	TaskApplication = "TaskApplication" // the task role
	TaskExecution   = "TaskExecution"   // the execution role
)

// NamespaceFormat is the form of a namespace's info document.
type NamespaceFormat string

// The forms.
const (
	FormatObject NamespaceFormat = "object" // the default: {"RoleARN": …, "Code": "Success"}
	FormatCode   NamespaceFormat = "code"   // "0" delivered, "1" the role could not be assumed
)

// Options are the instance metadata options. An empty field is the default.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceMetadataOptionsResponse.html
type Options struct {
	HTTPTokens              string // optional (default), required
	HTTPEndpoint            string // enabled (default), disabled
	HTTPPutResponseHopLimit int    // 1 (default) to 64; the transport applies it
	HTTPProtocolIPv6        string // enabled, disabled (default); the transport applies it
	// InstanceMetadataTags is enabled or disabled. Empty: enabled when the
	// instance has tags.
	InstanceMetadataTags string
}

// Values of Options.
const (
	Optional = "optional"
	Required = "required"
	Enabled  = "enabled"
	Disabled = "disabled"
)

// Instance is the machine. Keys in the comments are those of the
// configuration file and of Problem.Path; where a leaf of the tree holds the
// value, they are its name. What is left out is derived from the rest or has a
// default, so that every instance is whole and agrees with itself.
type Instance struct {
	InstanceID           string    // instance-id
	InstanceType         string    // instance-type; says what architecture, system and network-card are
	Architecture         string    // architecture: x86_64, arm64, i386, …
	System               string    // system: nitro, xen
	AccountID            string    // account-id
	Region               string    // region
	AvailabilityZone     string    // availability-zone
	AvailabilityZoneID   string    // availability-zone-id
	AMIID                string    // ami-id
	AMILaunchIndex       int       // ami-launch-index
	AMIManifestPath      string    // ami-manifest-path
	AncestorAMIIDs       []string  // ancestor-ami-ids
	InstanceAction       string    // instance-action
	InstanceLifeCycle    string    // instance-life-cycle: on-demand, spot, scheduled, capacity-block
	Profile              string    // profile: default-hvm, default-paravirtual
	ReservationID        string    // reservation-id
	KernelID             string    // kernel-id
	RamdiskID            string    // ramdisk-id
	KeyName              string    // key-name
	PublicKey            string    // public-key, in OpenSSH's form; needs no comment
	PendingTime          time.Time // pending-time: the last launch or start
	HostnameType         string    // hostname-type: ip-name (default), resource-name
	DNSHostnames         *bool     // dns-hostnames: whether public addresses have names; default true
	GroupName            string    // group-name: placement group
	PartitionNumber      int       // partition-number: 1 to 7, within the placement group
	HostID               string    // host-id: dedicated host
	OutpostARN           string    // outpost-arn
	Hibernation          *bool     // hibernation-configured
	DetailedMonitoring   bool      // detailed-monitoring
	AutoScalingGroup     string    // auto-scaling-group; adds its tag and the leaf below
	TargetLifecycleState string    // target-lifecycle-state; InService in a group
	ProductCodes         []string  // product-codes
	BillingProducts      []string  // billing-products
	MarketplaceProducts  []string  // marketplace-product-codes
	DevpayProductCodes   []string  // devpay-product-codes
	// BlockDevices is block-device-mapping: ami, root, ebs1…, ephemeral0…,
	// swap → device, with or without /dev/. Ami and root have defaults.
	BlockDevices map[string]string

	// Interface is the primary one. Its keys stand beside those above.
	Interface
	// Interfaces are further ones (interfaces). What they leave out they have
	// from those before them in the same VPC, the primary's if they name none,
	// except addresses and ids.
	Interfaces []Interface
}

// Interface is a network interface.
type Interface struct {
	MAC                  string              // mac, lower case with colons
	InterfaceID          string              // interface-id
	DeviceNumber         *int                // device-number; default: the position
	NetworkCard          *int                // network-card; default: 0 on types with several cards, else absent
	OwnerID              string              // owner-id; default: the account
	LocalIPv4            string              // local-ipv4: the primary private address
	LocalIPv4s           []string            // local-ipv4s: further private addresses; the primary may be repeated, or be the first
	IPv6s                []string            // ipv6s
	IPv4Prefixes         []string            // ipv4-prefix: delegated, /28
	IPv6Prefixes         []string            // ipv6-prefix: delegated, /80
	PublicIPv4           string              // public-ipv4, mapped to the primary private address
	IPv4Associations     map[string][]string // ipv4-associations: further public address → private addresses
	IPv6Only             bool                // ipv6-only: a subnet without IPv4
	EFAOnly              bool                // efa-only: no address at all
	SubnetID             string              // subnet-id
	SubnetIPv4CIDRBlock  string              // subnet-ipv4-cidr-block
	SubnetIPv6CIDRBlocks []string            // subnet-ipv6-cidr-blocks
	VPCID                string              // vpc-id
	VPCIPv4CIDRBlock     string              // vpc-ipv4-cidr-block
	VPCIPv4CIDRBlocks    []string            // vpc-ipv4-cidr-blocks: further ones; the primary may be repeated
	VPCIPv6CIDRBlocks    []string            // vpc-ipv6-cidr-blocks
	SecurityGroups       []string            // security-groups: names
	SecurityGroupIDs     []string            // security-group-ids
}

// withDefaults returns the options with every field set.
func (o Options) withDefaults(tagged bool) Options {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&o.HTTPTokens, Optional)
	set(&o.HTTPEndpoint, Enabled)
	set(&o.HTTPProtocolIPv6, Disabled)
	if tagged {
		set(&o.InstanceMetadataTags, Enabled)
	}
	set(&o.InstanceMetadataTags, Disabled)
	if o.HTTPPutResponseHopLimit == 0 {
		o.HTTPPutResponseHopLimit = 1
	}
	return o
}

// patched returns the options with the fields that p sets.
func (o Options) patched(p Options) Options {
	set := func(s *string, v string) {
		if v != "" {
			*s = v
		}
	}
	set(&o.HTTPTokens, p.HTTPTokens)
	set(&o.HTTPEndpoint, p.HTTPEndpoint)
	set(&o.HTTPProtocolIPv6, p.HTTPProtocolIPv6)
	set(&o.InstanceMetadataTags, p.InstanceMetadataTags)
	if p.HTTPPutResponseHopLimit != 0 {
		o.HTTPPutResponseHopLimit = p.HTTPPutResponseHopLimit
	}
	return o
}

// role returns the role of a text that has been validated.
func role(s string) local.Role {
	r, err := local.ParseRole(s)
	if err != nil {
		return local.Role{}
	}
	return r
}
