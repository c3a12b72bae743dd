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

// Decode reads a configuration from plain data, such as the section imds of a
// configuration file: text, nil for what is empty, []any and map[string]any.
// The keys are those that the comments of Instance and Interface give, and
// those of Problem.Path. What cannot be read is a Problem; all are found at
// once. What a real instance could not have is for Config.Validate to find.
func Decode(section map[string]any) (Config, Problems) {
	d := &decoder{}
	var c Config
	d.object("", section, d.config(&c))
	return c, d.problems
}

// decoder collects problems.
type decoder struct{ problems Problems }

// reader reads the value at a path.
type reader func(path string, v any)

// field is a known key and what reads its value.
type field struct {
	key  string
	read reader
}

func (d *decoder) config(c *Config) []field {
	return []field{
		{"tokens", d.text(&c.Options.HTTPTokens)},
		{"endpoint", d.text(&c.Options.HTTPEndpoint)},
		{"hop-limit", d.positive(&c.Options.HTTPPutResponseHopLimit)},
		{"ipv6", d.text(&c.Options.HTTPProtocolIPv6)},
		{"instance-metadata-tags", d.text(&c.Options.InstanceMetadataTags)},
		{"tags", d.texts(&c.Tags)},
		{"instance", func(path string, v any) { d.object(path, v, d.instance(&c.Instance)) }},
		{"role", d.text(&c.Role)},
		{"instance-profile", d.text(&c.InstanceProfile)},
		{"user-data", d.bytes(&c.UserData)},
		{"user-data-file", func(path string, _ any) {
			d.add(path, "no file is read here: give the content as user-data")
		}},
		{"metadata", d.values(&c.Metadata)},
		{"namespaces", d.namespaces(&c.Namespaces)},
		{"namespace-format", d.text((*string)(&c.NamespaceFormat))},
	}
}

func (d *decoder) instance(i *Instance) []field {
	return append([]field{
		{"instance-id", d.text(&i.InstanceID)},
		{"instance-type", d.text(&i.InstanceType)},
		{"architecture", d.text(&i.Architecture)},
		{"system", d.text(&i.System)},
		{"account-id", d.text(&i.AccountID)},
		{"region", d.text(&i.Region)},
		{"availability-zone", d.text(&i.AvailabilityZone)},
		{"availability-zone-id", d.text(&i.AvailabilityZoneID)},
		{"ami-id", d.text(&i.AMIID)},
		{"ami-launch-index", d.number(&i.AMILaunchIndex)},
		{"ami-manifest-path", d.text(&i.AMIManifestPath)},
		{"ancestor-ami-ids", d.list(&i.AncestorAMIIDs)},
		{"instance-action", d.text(&i.InstanceAction)},
		{"instance-life-cycle", d.text(&i.InstanceLifeCycle)},
		{"profile", d.text(&i.Profile)},
		{"reservation-id", d.text(&i.ReservationID)},
		{"kernel-id", d.text(&i.KernelID)},
		{"ramdisk-id", d.text(&i.RamdiskID)},
		{"key-name", d.text(&i.KeyName)},
		{"public-key", d.text(&i.PublicKey)},
		{"pending-time", d.instant(&i.PendingTime)},
		{"hostname-type", d.text(&i.HostnameType)},
		{"dns-hostnames", given(&i.DNSHostnames, d.flag)},
		{"group-name", d.text(&i.GroupName)},
		{"partition-number", d.positive(&i.PartitionNumber)},
		{"host-id", d.text(&i.HostID)},
		{"outpost-arn", d.text(&i.OutpostARN)},
		{"hibernation-configured", given(&i.Hibernation, d.flag)},
		{"detailed-monitoring", d.flag(&i.DetailedMonitoring)},
		{"auto-scaling-group", d.text(&i.AutoScalingGroup)},
		{"target-lifecycle-state", d.text(&i.TargetLifecycleState)},
		{"product-codes", d.list(&i.ProductCodes)},
		{"billing-products", d.list(&i.BillingProducts)},
		{"marketplace-product-codes", d.list(&i.MarketplaceProducts)},
		{"devpay-product-codes", d.list(&i.DevpayProductCodes)},
		{"block-device-mapping", d.texts(&i.BlockDevices)},
		{"interfaces", func(path string, v any) {
			d.entries(path, v, func(path string, v any) {
				var f Interface
				d.object(path, v, d.network(&f))
				i.Interfaces = append(i.Interfaces, f)
			})
		}},
	}, d.network(&i.Interface)...)
}

func (d *decoder) network(f *Interface) []field {
	return []field{
		{"mac", d.text(&f.MAC)},
		{"interface-id", d.text(&f.InterfaceID)},
		{"device-number", given(&f.DeviceNumber, d.number)},
		{"network-card", given(&f.NetworkCard, d.number)},
		{"owner-id", d.text(&f.OwnerID)},
		{"local-ipv4", d.text(&f.LocalIPv4)},
		{"local-ipv4s", d.list(&f.LocalIPv4s)},
		{"ipv6s", d.list(&f.IPv6s)},
		{"ipv4-prefix", d.list(&f.IPv4Prefixes)},
		{"ipv6-prefix", d.list(&f.IPv6Prefixes)},
		{"public-ipv4", d.text(&f.PublicIPv4)},
		{"ipv4-associations", d.lists(&f.IPv4Associations)},
		{"ipv6-only", d.flag(&f.IPv6Only)},
		{"efa-only", d.flag(&f.EFAOnly)},
		{"subnet-id", d.text(&f.SubnetID)},
		{"subnet-ipv4-cidr-block", d.text(&f.SubnetIPv4CIDRBlock)},
		{"subnet-ipv6-cidr-blocks", d.list(&f.SubnetIPv6CIDRBlocks)},
		{"vpc-id", d.text(&f.VPCID)},
		{"vpc-ipv4-cidr-block", d.text(&f.VPCIPv4CIDRBlock)},
		{"vpc-ipv4-cidr-blocks", d.list(&f.VPCIPv4CIDRBlocks)},
		{"vpc-ipv6-cidr-blocks", d.list(&f.VPCIPv6CIDRBlocks)},
		{"security-groups", d.list(&f.SecurityGroups)},
		{"security-group-ids", d.list(&f.SecurityGroupIDs)},
	}
}

func (d *decoder) namespaces(to *map[string][]TaskRole) reader {
	return func(path string, v any) {
		d.pairs(path, v, func(name, path string, v any) {
			roles := []TaskRole{} // a namespace may be empty
			d.entries(path, v, func(path string, v any) {
				var r TaskRole
				d.object(path, v, []field{{"task", d.text(&r.Task)}, {"role-type", d.text(&r.RoleType)}, {"role", d.text(&r.Role)}})
				roles = append(roles, r)
			})
			put(to, name, roles)
		})
	}
}

func (d *decoder) add(path, format string, args ...any) {
	d.problems = append(d.problems, Problem{path, fmt.Sprintf(format, args...)})
}

// pairs calls read for each entry of a map, in the order of the keys. What is
// empty is an empty map.
func (d *decoder) pairs(path string, v any, read func(key, path string, v any)) {
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		d.add(path, "must be a map of keys and values, not %s", kindOf(v))
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := key
		if path != "" {
			at = path + "." + key
		}
		read(key, at, m[key])
	}
}

// object reads a map with known keys only.
func (d *decoder) object(path string, v any, fields []field) {
	d.pairs(path, v, func(key, path string, v any) {
		if i := slices.IndexFunc(fields, func(f field) bool { return f.key == key }); i >= 0 {
			fields[i].read(path, v)
			return
		}
		known := make([]string, len(fields))
		for i, f := range fields {
			known[i] = f.key
		}
		if meant := local.Nearest(key, known); meant != "" {
			d.add(path, "unknown key: did you mean %q?", meant)
		} else {
			d.add(path, "unknown key: the keys here are %s", strings.Join(known, ", "))
		}
	})
}

// entries calls read for each entry of a list. What is empty is an empty list.
func (d *decoder) entries(path string, v any, read reader) {
	list, ok := v.([]any)
	if !ok && v != nil {
		d.add(path, "must be a list, such as [a, b], not %s", kindOf(v))
	}
	for i, item := range list {
		read(fmt.Sprintf("%s[%d]", path, i), item)
	}
}

// scalar returns a single value as text. must says what it is to be.
func (d *decoder) scalar(path string, v any, must string) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), true
	case nil:
		d.add(path, "has no value: it must be %s; to say nothing, remove the key", must)
	default:
		d.add(path, "must be %s, not %s", must, kindOf(v))
	}
	return "", false
}

// kindOf names a value, for "must be …, not …".
func kindOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	case string:
		return strconv.Quote(v)
	case nil:
		return "empty"
	default:
		return fmt.Sprint(v)
	}
}

func (d *decoder) text(to *string) reader {
	return func(path string, v any) {
		if s, ok := d.scalar(path, v, "text"); ok {
			*to = s
		}
	}
}

// bytes reads user data. None and empty are the same.
func (d *decoder) bytes(to *[]byte) reader {
	return func(path string, v any) {
		if s, ok := d.scalar(path, v, "text"); ok && s != "" {
			*to = []byte(s)
		}
	}
}

func (d *decoder) number(to *int) reader {
	const must = "a whole number"
	return func(path string, v any) {
		s, ok := d.scalar(path, v, must)
		if !ok {
			return
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			d.add(path, "must be %s, not %q", must, s)
			return
		}
		*to = n
	}
}

// positive reads a number of which 0 would say that there is none.
func (d *decoder) positive(to *int) reader {
	return func(path string, v any) {
		known := len(d.problems)
		if d.number(to)(path, v); *to == 0 && len(d.problems) == known {
			d.add(path, "must be 1 or more, not 0; to say nothing, remove the key")
		}
	}
}

func (d *decoder) flag(to *bool) reader {
	const must = "true or false"
	return func(path string, v any) {
		s, ok := d.scalar(path, v, must)
		if !ok {
			return
		}
		if s != "true" && s != "false" {
			d.add(path, "must be %s, not %q", must, s)
			return
		}
		*to = s == "true"
	}
}

// given reads a value that differs from its zero value by being there.
func given[T any](to **T, as func(*T) reader) reader {
	return func(path string, v any) {
		*to = new(T)
		as(*to)(path, v)
	}
}

func (d *decoder) instant(to *time.Time) reader {
	const must = "a time such as 2026-09-26T11:03:58Z"
	return func(path string, v any) {
		s, ok := d.scalar(path, v, must)
		if !ok {
			return
		}
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			d.add(path, "must be %s, not %q", must, s)
			return
		}
		*to = at.UTC()
	}
}

func (d *decoder) list(to *[]string) reader {
	return func(path string, v any) {
		list := []string{}
		d.entries(path, v, func(path string, v any) {
			if s, ok := d.scalar(path, v, "text"); ok {
				list = append(list, s)
			}
		})
		if len(list) > 0 {
			*to = list
		}
	}
}

func (d *decoder) lists(to *map[string][]string) reader {
	return func(path string, v any) {
		d.pairs(path, v, func(key, path string, v any) {
			var list []string
			d.list(&list)(path, v)
			put(to, key, list)
		})
	}
}

func (d *decoder) texts(to *map[string]string) reader {
	return func(path string, v any) {
		d.pairs(path, v, func(key, path string, v any) {
			if s, ok := d.scalar(path, v, `text ("" for an empty one)`); ok {
				put(to, key, s)
			}
		})
	}
}

// values reads values of the tree, of which those without any are to be
// removed.
func (d *decoder) values(to *map[string]*string) reader {
	return func(path string, v any) {
		d.pairs(path, v, func(key, path string, v any) {
			if v == nil {
				put(to, key, nil)
			} else if s, ok := d.scalar(path, v, "text, or null to remove the value"); ok {
				put(to, key, &s)
			}
		})
	}
}

func put[V any](to *map[string]V, key string, v V) {
	if *to == nil {
		*to = map[string]V{}
	}
	(*to)[key] = v
}
