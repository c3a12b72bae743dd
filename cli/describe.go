package cli

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ecs-local/ecs-local/local/imds"
)

// describer turns a tree into the description of the instance that has it.
type describer struct {
	tree
	covered map[string]bool // values that follow from the description, though not to the byte
}

const metaData = "meta-data/"

// What the keys of an instance and of an interface are in the tree. Lists are
// marked.
var (
	instanceLeaves = map[string]string{
		"ami-id": "ami-id", "ami-launch-index": "ami-launch-index", "ami-manifest-path": "ami-manifest-path", "ancestor-ami-ids": "ancestor-ami-ids[]",
		"autoscaling/target-lifecycle-state": "target-lifecycle-state", "hibernation/configured": "hibernation-configured",
		"instance-action": "instance-action", "instance-id": "instance-id", "instance-life-cycle": "instance-life-cycle",
		"instance-type": "instance-type", "kernel-id": "kernel-id", "outpost-arn": "outpost-arn", "placement/availability-zone": "availability-zone",
		"placement/availability-zone-id": "availability-zone-id", "placement/group-name": "group-name", "placement/host-id": "host-id",
		"placement/partition-number": "partition-number", "placement/region": "region", "product-codes": "product-codes[]", "profile": "profile",
		"ramdisk-id": "ramdisk-id", "reservation-id": "reservation-id", "system": "system",
	}
	interfaceLeaves = map[string]string{
		"device-number": "device-number", "interface-id": "interface-id", "ipv4-prefix": "ipv4-prefix[]", "ipv6-prefix": "ipv6-prefix[]",
		"ipv6s": "ipv6s[]", "mac": "mac", "network-card": "network-card", "owner-id": "owner-id", "security-group-ids": "security-group-ids[]",
		"security-groups": "security-groups[]", "subnet-id": "subnet-id", "subnet-ipv4-cidr-block": "subnet-ipv4-cidr-block",
		"subnet-ipv6-cidr-blocks": "subnet-ipv6-cidr-blocks[]", "vpc-id": "vpc-id", "vpc-ipv4-cidr-block": "vpc-ipv4-cidr-block",
		"vpc-ipv4-cidr-blocks": "vpc-ipv4-cidr-blocks[]", "vpc-ipv6-cidr-blocks": "vpc-ipv6-cidr-blocks[]",
	}
)

func (d *describer) section() map[string]any {
	section := map[string]any{"instance": d.instance()}
	set := func(key string, value string) {
		if value != "" {
			section[key] = value
		}
	}
	if data, ok := d.values["user-data"]; ok && data != "" {
		section["user-data"] = data
	}
	if tags := d.below(metaData + "tags/instance/"); len(tags) > 0 {
		section["tags"] = plain(tags)
	} else if _, ok := d.values[metaData+"tag-sets/instance"]; ok {
		section["instance-metadata-tags"] = imds.Enabled
	}
	if role := d.role(); role != "" {
		section["role"] = role
		var info struct{ InstanceProfileArn string }
		d.json(metaData+"iam/info", &info)
		_, profile, _ := strings.Cut(info.InstanceProfileArn, ":instance-profile/")
		set("instance-profile", profile)
	}
	d.namespaces(section)
	return section
}

// role returns the name of the role of the instance profile, or "".
func (d *describer) role() string {
	for _, path := range slices.Sorted(d.paths()) {
		if role, ok := strings.CutPrefix(path, metaData+"iam/security-credentials/"); ok && !strings.Contains(role, "/") {
			return role
		}
	}
	return ""
}

// paths are all that exist.
func (d *describer) paths() func(yield func(string) bool) {
	return slices.Values(append(slices.Collect(maps.Keys(d.values)), d.hidden...))
}

// below returns the values in a directory, by name.
func (d *describer) below(dir string) map[string]string {
	values := map[string]string{}
	for path, value := range d.values {
		if name, ok := strings.CutPrefix(path, dir); ok && !strings.Contains(name, "/") {
			values[name] = value
		}
	}
	return values
}

// json reads a value; what is not as it should be leaves v as it is.
func (d *describer) json(path string, v any) { _ = json.Unmarshal([]byte(d.values[path]), v) }

// plain makes data of a map that decoders of configurations take.
func plain(m map[string]string) map[string]any {
	p := make(map[string]any, len(m))
	for key, value := range m {
		p[key] = value
	}
	return p
}

func list(values []string) []any {
	l := make([]any, len(values))
	for i, v := range values {
		l[i] = v
	}
	return l
}

// take copies values of a directory to the keys that they stand for.
func (d *describer) take(to map[string]any, dir string, leaves map[string]string) {
	for name, key := range leaves {
		value := d.values[dir+name]
		key, many := strings.CutSuffix(key, "[]")
		switch {
		case value == "":
		case many:
			to[key] = list(strings.Split(value, "\n"))
		default:
			to[key] = value
		}
	}
}

func (d *describer) instance() map[string]any {
	i := map[string]any{}
	d.take(i, metaData, instanceLeaves)
	var document struct {
		AccountID, Architecture, PendingTime, KernelID, RamdiskID    string
		Region                                                       string
		BillingProducts, MarketplaceProductCodes, DevpayProductCodes []string
	}
	d.json("dynamic/instance-identity/document", &document)
	for key, value := range map[string]string{
		"account-id": document.AccountID, "architecture": document.Architecture, "pending-time": document.PendingTime,
		"kernel-id": document.KernelID, "ramdisk-id": document.RamdiskID, "region": document.Region,
	} {
		if value != "" {
			i[key] = value
		}
	}
	for key, values := range map[string][]string{
		"billing-products": document.BillingProducts, "marketplace-product-codes": document.MarketplaceProductCodes,
		"devpay-product-codes": document.DevpayProductCodes,
	} {
		if len(values) > 0 {
			i[key] = list(values)
		}
	}
	if devices := d.below(metaData + "block-device-mapping/"); len(devices) > 0 {
		i["block-device-mapping"] = plain(devices)
	}
	if part := strings.SplitN(strings.TrimSpace(d.values[metaData+"public-keys/0/openssh-key"]), " ", 3); len(part) == 3 {
		i["public-key"], i["key-name"] = part[0]+" "+part[1], part[2]
	}
	if d.values["dynamic/fws/instance-monitoring"] == "enabled" {
		i["detailed-monitoring"] = "true"
	}
	if strings.HasPrefix(d.values[metaData+"hostname"], "i-") {
		i["hostname-type"] = "resource-name"
	}
	if d.values[metaData+"public-ipv4"] != "" && d.values[metaData+"public-hostname"] == "" {
		i["dns-hostnames"] = "false"
	}
	d.interfaces(i)
	return i
}

// interfaces adds the network interfaces, the primary one among the keys of
// the instance.
func (d *describer) interfaces(i map[string]any) {
	const macs = metaData + "network/interfaces/macs/"
	names := map[string]bool{}
	for path := range d.values {
		if rest, ok := strings.CutPrefix(path, macs); ok {
			mac, _, _ := strings.Cut(rest, "/")
			names[mac] = true
		}
	}
	primary := d.values[metaData+"mac"]
	number := func(mac string) int {
		n, _ := strconv.Atoi(d.values[macs+mac+"/device-number"])
		return n
	}
	var others []any
	for _, mac := range slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(number(a), number(b)), strings.Compare(a, b))
	}) {
		f := d.network(macs + mac + "/")
		if mac == primary {
			maps.Copy(i, f)
		} else {
			others = append(others, f)
		}
	}
	if len(others) > 0 {
		i["interfaces"] = others
	}
}

// network describes the interface in a directory.
func (d *describer) network(dir string) map[string]any {
	f := map[string]any{}
	d.take(f, dir, interfaceLeaves)
	private := lines(d.values[dir+"local-ipv4s"])
	if len(private) > 0 {
		f["local-ipv4"] = private[0]
		if len(private) > 1 {
			f["local-ipv4s"] = list(private[1:])
		}
	}
	others := map[string]any{}
	for n, address := range lines(d.values[dir+"public-ipv4s"]) {
		mapped := lines(d.values[dir+"ipv4-associations/"+address])
		switch {
		case n == 0 && len(mapped) == 1 && len(private) > 0 && mapped[0] == private[0]:
			f["public-ipv4"] = address
		case len(mapped) > 0:
			others[address] = list(mapped)
		}
	}
	if len(others) > 0 {
		f["ipv4-associations"] = others
	}
	switch {
	case len(private) > 0:
	case f["ipv6s"] != nil && f["subnet-ipv4-cidr-block"] == nil:
		f["ipv6-only"] = "true"
	case f["ipv6s"] == nil && d.values[dir+"local-hostname"] == "":
		f["efa-only"] = "true"
	}
	return f
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// namespaces adds the roles of tasks. A namespace that cannot be described is
// left to stand in metadata as it is.
func (d *describer) namespaces(section map[string]any) {
	all := map[string]any{}
	format := imds.NamespaceFormat("")
	for _, path := range slices.Sorted(maps.Keys(d.values)) {
		name, ok := strings.CutSuffix(strings.TrimPrefix(path, metaData), "/info")
		if !ok || !strings.HasPrefix(name, "iam-ecs-") {
			continue
		}
		roles, as, ok := taskRolesOf(name, d.values[path])
		if !ok || as != "" && format != "" && as != format {
			continue
		}
		format = cmp.Or(format, as)
		all[name] = roles
		d.covered[path] = true
	}
	if len(all) > 0 {
		section["namespaces"] = all
	}
	if format == imds.FormatCode {
		section["namespace-format"] = string(format)
	}
}

// taskRolesOf reads the info document of a namespace.
func taskRolesOf(name, info string) (roles []any, format imds.NamespaceFormat, ok bool) {
	var wire struct{ TaskCredentials map[string]any }
	if json.Unmarshal([]byte(info), &wire) != nil || wire.TaskCredentials == nil {
		return nil, "", false
	}
	roles = []any{}
	for _, key := range slices.Sorted(maps.Keys(wire.TaskCredentials)) {
		task, roleType, _ := strings.Cut(key, "-")
		// The form with codes keeps the role to itself, so it is called after
		// what it is for.
		role, as := roleType, imds.FormatCode
		if entry, object := wire.TaskCredentials[key].(map[string]any); object {
			role, _ = entry["RoleARN"].(string)
			as = imds.FormatObject
		}
		if format != "" && as != format {
			return nil, "", false
		}
		format = as
		roles = append(roles, map[string]any{"task": task, "role-type": roleType, "role": role})
	}
	c, problems := imds.Decode(map[string]any{"namespaces": map[string]any{name: roles}})
	return roles, format, len(problems) == 0 && len(c.Validate()) == 0
}
