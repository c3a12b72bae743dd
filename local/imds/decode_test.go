package imds_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/imds"
)

type (
	object = map[string]any
	list   = []any
)

func TestDecode(t *testing.T) {
	t.Parallel()
	network := object{
		"mac": "0e:ff:d5:40:fe:7d", "interface-id": "eni-03bbce4789a0e4976", "device-number": "0", "network-card": "1", "owner-id": "111122223333",
		"local-ipv4": "10.0.0.5", "local-ipv4s": list{"10.0.0.6"}, "ipv6s": list{"2001:db8::1"}, "ipv4-prefix": list{"10.0.0.16/28"},
		"ipv6-prefix": list{"2001:db8::/80"}, "public-ipv4": "203.0.113.25", "ipv4-associations": object{"203.0.113.26": list{"10.0.0.6"}},
		"ipv6-only": "true", "efa-only": "true", "subnet-id": "subnet-0d0a0b215479ae014", "subnet-ipv4-cidr-block": "10.0.0.0/24",
		"subnet-ipv6-cidr-blocks": list{"2001:db8::/64"}, "vpc-id": "vpc-05bcc4ceabe1df195", "vpc-ipv4-cidr-block": "10.0.0.0/16",
		"vpc-ipv4-cidr-blocks": list{"10.1.0.0/16"}, "vpc-ipv6-cidr-blocks": list{"2001:db8::/56"}, "security-groups": list{"web"},
		"security-group-ids": list{"sg-0acbe6d1132ff8f15"},
	}
	instance := object{
		"instance-id": "i-04b098f5de41d11e6", "instance-type": "m7g.large", "architecture": "arm64", "system": "nitro", "account-id": "111122223333",
		"region": "us-east-1", "availability-zone": "us-east-1a", "availability-zone-id": "use1-az6", "ami-id": "ami-0fef201115eefe936",
		"ami-launch-index": "2", "ami-manifest-path": "(unknown)", "ancestor-ami-ids": list{"ami-0fef201115eefe937"}, "instance-action": "none",
		"instance-life-cycle": "spot", "profile": "default-hvm", "reservation-id": "r-0f1866af1f1a14d3c", "kernel-id": "aki-919dcaf8",
		"ramdisk-id": "ari-a51cf9cc", "key-name": "my-key", "public-key": "ssh-ed25519 AAAA", "pending-time": "2026-09-26T13:03:58+02:00",
		"hostname-type": "resource-name", "dns-hostnames": "false", "group-name": "group", "partition-number": "3", "host-id": "h-0123456789abcdef0",
		"outpost-arn": "arn:aws:outposts:us-east-1:111122223333:outpost/op-0123456789abcdef0", "hibernation-configured": "false",
		"detailed-monitoring": "true", "auto-scaling-group": "asg", "target-lifecycle-state": "Standby", "product-codes": list{"a"},
		"billing-products": list{"bp-1"}, "marketplace-product-codes": list{"m"}, "devpay-product-codes": list{"d"},
		"block-device-mapping": object{"ebs1": "sdf"}, "interfaces": list{network},
	}
	for key, value := range network {
		instance[key] = value
	}
	got, problems := imds.Decode(object{
		"tokens": "required", "endpoint": "disabled", "hop-limit": "2", "ipv6": "enabled", "instance-metadata-tags": "enabled",
		"tags": object{"Name": "web"}, "instance": instance, "role": "ecsInstanceRole", "instance-profile": "web", "user-data": "#!/bin/sh\n",
		"metadata": object{"custom/rack": "r12", "spot": nil}, "namespace-format": "code",
		"namespaces": object{
			"iam-ecs-1": list{object{"task": "5f0c", "role-type": "TaskApplication", "role": "shop"}},
			"iam-ecs-2": nil,
		},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	f := imds.Interface{
		MAC: "0e:ff:d5:40:fe:7d", InterfaceID: "eni-03bbce4789a0e4976", DeviceNumber: pointer(0), NetworkCard: pointer(1), OwnerID: "111122223333",
		LocalIPv4: "10.0.0.5", LocalIPv4s: []string{"10.0.0.6"}, IPv6s: []string{"2001:db8::1"}, IPv4Prefixes: []string{"10.0.0.16/28"},
		IPv6Prefixes: []string{"2001:db8::/80"}, PublicIPv4: "203.0.113.25", IPv4Associations: map[string][]string{"203.0.113.26": {"10.0.0.6"}},
		IPv6Only: true, EFAOnly: true, SubnetID: "subnet-0d0a0b215479ae014", SubnetIPv4CIDRBlock: "10.0.0.0/24",
		SubnetIPv6CIDRBlocks: []string{"2001:db8::/64"}, VPCID: "vpc-05bcc4ceabe1df195", VPCIPv4CIDRBlock: "10.0.0.0/16",
		VPCIPv4CIDRBlocks: []string{"10.1.0.0/16"}, VPCIPv6CIDRBlocks: []string{"2001:db8::/56"}, SecurityGroups: []string{"web"},
		SecurityGroupIDs: []string{"sg-0acbe6d1132ff8f15"},
	}
	want := imds.Config{
		Options: imds.Options{HTTPTokens: "required", HTTPEndpoint: "disabled", HTTPPutResponseHopLimit: 2, HTTPProtocolIPv6: "enabled", InstanceMetadataTags: "enabled"},
		Tags:    map[string]string{"Name": "web"}, Role: "ecsInstanceRole", InstanceProfile: "web", UserData: []byte("#!/bin/sh\n"),
		Metadata: map[string]*string{"custom/rack": pointer("r12"), "spot": nil}, NamespaceFormat: imds.FormatCode,
		Namespaces: map[string][]imds.TaskRole{"iam-ecs-1": {{Task: "5f0c", RoleType: "TaskApplication", Role: "shop"}}, "iam-ecs-2": {}},
		Instance: imds.Instance{
			InstanceID: "i-04b098f5de41d11e6", InstanceType: "m7g.large", Architecture: "arm64", System: "nitro", AccountID: "111122223333",
			Region: "us-east-1", AvailabilityZone: "us-east-1a", AvailabilityZoneID: "use1-az6", AMIID: "ami-0fef201115eefe936",
			AMILaunchIndex: 2, AMIManifestPath: "(unknown)", AncestorAMIIDs: []string{"ami-0fef201115eefe937"}, InstanceAction: "none",
			InstanceLifeCycle: "spot", Profile: "default-hvm", ReservationID: "r-0f1866af1f1a14d3c", KernelID: "aki-919dcaf8",
			RamdiskID: "ari-a51cf9cc", KeyName: "my-key", PublicKey: "ssh-ed25519 AAAA", PendingTime: time.Date(2026, 9, 26, 11, 3, 58, 0, time.UTC),
			HostnameType: "resource-name", DNSHostnames: pointer(false), GroupName: "group", PartitionNumber: 3, HostID: "h-0123456789abcdef0",
			OutpostARN:  "arn:aws:outposts:us-east-1:111122223333:outpost/op-0123456789abcdef0",
			Hibernation: pointer(false), DetailedMonitoring: true, AutoScalingGroup: "asg", TargetLifecycleState: "Standby",
			ProductCodes: []string{"a"}, BillingProducts: []string{"bp-1"}, MarketplaceProducts: []string{"m"}, DevpayProductCodes: []string{"d"},
			BlockDevices: map[string]string{"ebs1": "sdf"}, Interface: f, Interfaces: []imds.Interface{f},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A field that no key sets was forgotten.
	for _, v := range []reflect.Value{reflect.ValueOf(got), reflect.ValueOf(got.Options), reflect.ValueOf(got.Instance), reflect.ValueOf(got.Instance.Interface)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("no key sets %s.%s", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
}

func TestDecodeNothing(t *testing.T) {
	t.Parallel()
	for name, section := range map[string]object{
		"no section":     nil,
		"empty section":  {},
		"empty children": {"tags": nil, "instance": nil, "metadata": object{}, "namespaces": nil},
		"empty lists":    {"instance": object{"security-groups": nil, "interfaces": list{}}},
	} {
		got, problems := imds.Decode(section)
		if diff := cmp.Diff(imds.Config{}, got); diff != "" || len(problems) > 0 {
			t.Errorf("%s: %v (-want +got):\n%s", name, problems, diff)
		}
	}
}

func TestDecodeTakesTheTypesOfOtherDecoders(t *testing.T) {
	t.Parallel()
	got, problems := imds.Decode(object{"hop-limit": 2.0, "instance": object{"detailed-monitoring": true, "ami-launch-index": 3}})
	if len(problems) > 0 || got.Options.HTTPPutResponseHopLimit != 2 || !got.Instance.DetailedMonitoring || got.Instance.AMILaunchIndex != 3 {
		t.Errorf("got %+v, %v", got, problems)
	}
}

func TestDecodeProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		section object
		want    []string
	}{
		"a key that is nearly right": {object{"token": "required"}, []string{`token: unknown key: did you mean "tokens"?`}},
		"in another spelling": {object{"instance": object{"instanceId": "i-1"}},
			[]string{`instance.instanceId: unknown key: did you mean "instance-id"?`}},
		"like no other": {object{"namespaces": object{"iam-ecs-1": list{object{"colour": "blue"}}}},
			[]string{"namespaces.iam-ecs-1[0].colour: unknown key: the keys here are task, role-type, role"}},
		"text for a map":  {object{"tags": "Name=web"}, []string{`tags: must be a map of keys and values, not "Name=web"`}},
		"a list as a map": {object{"instance": list{}}, []string{"instance: must be a map of keys and values, not a list"}},
		"text for a list": {object{"instance": object{"security-groups": "web"}},
			[]string{`instance.security-groups: must be a list, such as [a, b], not "web"`}},
		"a map in a list": {object{"instance": object{"ipv6s": list{"2001:db8::1", object{}}}},
			[]string{"instance.ipv6s[1]: must be text, not a map"}},
		"a list for text":  {object{"role": list{"a"}}, []string{"role: must be text, not a list"}},
		"nothing for text": {object{"role": nil}, []string{"role: has no value: it must be text; to say nothing, remove the key"}},
		"a word as number": {object{"hop-limit": "two"}, []string{`hop-limit: must be a whole number, not "two"`}},
		"none of what counts": {object{"hop-limit": 0, "instance": object{"partition-number": 0}}, []string{
			"hop-limit: must be 1 or more, not 0; to say nothing, remove the key", "instance.partition-number: must be 1 or more, not 0; to say nothing, remove the key",
		}},
		"half a number":     {object{"hop-limit": "1.5"}, []string{`hop-limit: must be a whole number, not "1.5"`}},
		"a number too long": {object{"hop-limit": "99999999999999999999"}, []string{`hop-limit: must be a whole number, not "99999999999999999999"`}},
		"yes":               {object{"instance": object{"dns-hostnames": "yes"}}, []string{`instance.dns-hostnames: must be true or false, not "yes"`}},
		"a date": {object{"instance": object{"pending-time": "2026-09-26"}},
			[]string{`instance.pending-time: must be a time such as 2026-09-26T11:03:58Z, not "2026-09-26"`}},
		"a tag without a value": {object{"tags": object{"a.b": nil}},
			[]string{`tags.a.b: has no value: it must be text ("" for an empty one); to say nothing, remove the key`}},
		"a directory as value": {object{"metadata": object{"spot/instance-action": object{}}},
			[]string{"metadata.spot/instance-action: must be text, or null to remove the value, not a map"}},
		"a file": {object{"user-data-file": "x"}, []string{"user-data-file: no file is read here: give the content as user-data"}},
		"all at once": {object{"hop": "2", "instance": object{"interfaces": list{object{"mack": "x"}, "eni-1"}}, "tokens": nil}, []string{
			"hop: unknown key: the keys here are tokens, endpoint, hop-limit, ipv6, instance-metadata-tags, tags, instance, role, instance-profile, " +
				"user-data, user-data-file, metadata, namespaces, namespace-format",
			`instance.interfaces[0].mack: unknown key: did you mean "mac"?`,
			`instance.interfaces[1]: must be a map of keys and values, not "eni-1"`,
			"tokens: has no value: it must be text; to say nothing, remove the key",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := imds.Decode(test.section)
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
