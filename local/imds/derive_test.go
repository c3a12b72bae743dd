package imds_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/imds"
)

// TestDerived says what follows from what. An empty want is an absent value.
func TestDerived(t *testing.T) {
	t.Parallel()
	const mac = "network/interfaces/macs/0e:ff:d5:40:fe:7d/"
	instance := func(i imds.Instance) imds.Config { return imds.Config{Instance: i} }
	tests := map[string]struct {
		config imds.Config
		want   map[string]string
	}{
		"nothing given": {imds.Config{}, map[string]string{
			"hostname": "ip-10-237-0-16.ec2.internal", "local-hostname": "ip-10-237-0-16.ec2.internal", "local-ipv4": "10.237.0.16",
			"placement/availability-zone": "us-east-1a", "placement/availability-zone-id": "use1-az1", "placement/region": "us-east-1",
			"services/domain": "amazonaws.com", "services/partition": "aws", "system": "nitro", "instance-life-cycle": "on-demand",
			"block-device-mapping": "ami\nroot", "block-device-mapping/ami": "xvda", "block-device-mapping/root": "/dev/xvda",
			"security-groups": "default", mac + "owner-id": "000000000000", mac + "device-number": "0",
			"public-ipv4": "", "public-hostname": "", mac + "public-ipv4s": "", mac + "public-hostname": "", mac + "ipv4-associations": "",
			"ipv6": "", mac + "ipv6s": "", mac + "network-card": "", mac + "ipv4-prefix": "", mac + "ipv6-prefix": "",
			"tags": "", "tag-sets": "", "iam": "", "public-keys": "", "spot": "", "autoscaling": "", "kernel-id": "", "ramdisk-id": "",
			"product-codes": "", "outpost-arn": "", "hibernation": "", "placement/group-name": "", "managed-ssh-keys": "",
			"iam/security-credentials-extended": "", "events": "maintenance/", "events/maintenance": "history\nscheduled",
			"events/maintenance/history": "[]", "events/maintenance/scheduled": "[]",
			"metrics": "vhostmd", "metrics/vhostmd": `<?xml version="1.0" encoding="UTF-8"?>`,
		}},
		"another region": {instance(imds.Instance{Region: "eu-central-1", Interface: imds.Interface{PublicIPv4: "203.0.113.25"}}), map[string]string{
			"hostname": "ip-10-237-0-16.eu-central-1.compute.internal", "placement/availability-zone": "eu-central-1a",
			"placement/availability-zone-id": "euc1-az1", "public-hostname": "ec2-203-0-113-25.eu-central-1.compute.amazonaws.com",
		}},
		"China": {instance(imds.Instance{Region: "cn-north-1", Interface: imds.Interface{PublicIPv4: "203.0.113.25"}}), map[string]string{
			"services/domain": "amazonaws.com.cn", "services/partition": "aws-cn", "placement/availability-zone-id": "cnn1-az1",
			"public-hostname": "ec2-203-0-113-25.cn-north-1.compute.amazonaws.com.cn",
		}},
		"GovCloud": {imds.Config{Instance: imds.Instance{Region: "us-gov-west-1", AvailabilityZone: "us-gov-west-1c"}, Role: "web"}, map[string]string{
			"services/domain": "amazonaws.com", "services/partition": "aws-us-gov", "placement/availability-zone-id": "usgw1-az3",
			"iam/info": `"arn:aws-us-gov:iam::000000000000:instance-profile/web"`,
		}},
		"isolated": {instance(imds.Instance{Region: "us-isob-east-1"}), map[string]string{
			"services/domain": "sc2s.sgov.gov", "services/partition": "aws-iso-b", "placement/availability-zone-id": "usibe1-az1",
		}},
		"isolated, in Europe": {instance(imds.Instance{Region: "eu-isoe-west-1"}), map[string]string{
			"services/domain": "cloud.adc-e.uk", "services/partition": "aws-iso-e", "placement/availability-zone-id": "euiew1-az1",
		}},
		"isolated, in the South": {instance(imds.Instance{Region: "us-isof-south-1"}), map[string]string{
			"services/domain": "csp.hci.ic.gov", "services/partition": "aws-iso-f", "placement/availability-zone-id": "usifs1-az1",
		}},
		"European sovereign": {instance(imds.Instance{Region: "eusc-de-east-1"}), map[string]string{
			"services/domain": "amazonaws.eu", "services/partition": "aws-eusc",
		}},
		"public address of two private ones": {instance(imds.Instance{Interface: imds.Interface{
			LocalIPv4: "10.0.0.5", LocalIPv4s: []string{"10.0.0.6"}, PublicIPv4: "203.0.113.25", IPv4Associations: map[string][]string{"203.0.113.25": {"10.0.0.6"}},
		}}), map[string]string{
			"public-ipv4": "203.0.113.25", mac + "public-ipv4s": "203.0.113.25", mac + "ipv4-associations/203.0.113.25": "10.0.0.5\n10.0.0.6",
		}},
		"nothing left of dynamic": {
			imds.Config{Metadata: map[string]*string{"dynamic/instance-identity": nil}, UserData: []byte("x")},
			map[string]string{"..": "meta-data\nuser-data", "../dynamic": ""},
		},
		"public address": {instance(imds.Instance{Interface: imds.Interface{PublicIPv4: "203.0.113.25"}}), map[string]string{
			"public-ipv4": "203.0.113.25", "public-hostname": "ec2-203-0-113-25.compute-1.amazonaws.com",
			mac + "public-ipv4s": "203.0.113.25", mac + "public-hostname": "ec2-203-0-113-25.compute-1.amazonaws.com",
			mac + "ipv4-associations": "203.0.113.25", mac + "ipv4-associations/203.0.113.25": "10.237.0.16",
		}},
		"public address without a name": {
			instance(imds.Instance{DNSHostnames: pointer(false), Interface: imds.Interface{PublicIPv4: "203.0.113.25"}}),
			map[string]string{"public-ipv4": "203.0.113.25", "public-hostname": "", mac + "public-hostname": ""},
		},
		"resource names": {instance(imds.Instance{InstanceID: "i-0123456789abcdef0", Region: "us-west-2", HostnameType: "resource-name"}), map[string]string{
			"hostname": "i-0123456789abcdef0.us-west-2.compute.internal", mac + "local-hostname": "i-0123456789abcdef0.us-west-2.compute.internal",
		}},
		"IPv6": {instance(imds.Instance{Interface: imds.Interface{IPv6s: []string{"2001:db8:0:1ff::5", "2001:db8:0:1ff::6"}}}), map[string]string{
			"ipv6": "2001:db8:0:1ff::5", mac + "ipv6s": "2001:db8:0:1ff::5\n2001:db8:0:1ff::6",
			mac + "subnet-ipv6-cidr-blocks": "2001:db8:0:1ff::/64", mac + "vpc-ipv6-cidr-blocks": "2001:db8:0:100::/56",
		}},
		"IPv6 only": {instance(imds.Instance{Interface: imds.Interface{IPv6Only: true, IPv6s: []string{"2001:db8::5"}}}), map[string]string{
			"local-ipv4": "", mac + "local-ipv4s": "", mac + "subnet-ipv4-cidr-block": "", "ipv6": "2001:db8::5",
			"hostname": "i-04b098f5de41d11e6.ec2.internal",
		}},
		"address alone": {instance(imds.Instance{Interface: imds.Interface{LocalIPv4: "172.31.5.9"}}), map[string]string{
			mac + "subnet-ipv4-cidr-block": "172.31.0.0/20", mac + "vpc-ipv4-cidr-block": "172.31.0.0/16", mac + "vpc-ipv4-cidr-blocks": "172.31.0.0/16",
		}},
		"address far into its VPC": {instance(imds.Instance{Interface: imds.Interface{LocalIPv4: "172.31.77.9"}}), map[string]string{
			mac + "subnet-ipv4-cidr-block": "172.31.64.0/20", mac + "vpc-ipv4-cidr-block": "172.31.0.0/16",
		}},
		"VPC's blocks alone": {instance(imds.Instance{Interface: imds.Interface{VPCIPv4CIDRBlocks: []string{"10.9.0.0/16", "10.8.0.0/16"}}}), map[string]string{
			"local-ipv4": "10.9.0.16", mac + "subnet-ipv4-cidr-block": "10.9.0.0/20", mac + "vpc-ipv4-cidr-block": "10.9.0.0/16", mac + "vpc-ipv4-cidr-blocks": "10.9.0.0/16\n10.8.0.0/16",
		}},
		"subnet alone": {instance(imds.Instance{Interface: imds.Interface{SubnetIPv4CIDRBlock: "192.168.7.0/24"}}), map[string]string{
			"local-ipv4": "192.168.7.16", mac + "vpc-ipv4-cidr-block": "192.168.0.0/16",
		}},
		"VPC alone": {instance(imds.Instance{Interface: imds.Interface{VPCIPv4CIDRBlock: "192.168.0.0/24", VPCIPv4CIDRBlocks: []string{"100.64.0.0/16"}}}), map[string]string{
			"local-ipv4": "192.168.0.16", mac + "subnet-ipv4-cidr-block": "192.168.0.0/24", mac + "vpc-ipv4-cidr-blocks": "192.168.0.0/24\n100.64.0.0/16",
		}},
		"several addresses": {
			instance(imds.Instance{Interface: imds.Interface{
				LocalIPv4: "10.0.0.10", LocalIPv4s: []string{"10.0.0.11"}, PublicIPv4: "203.0.113.1",
				IPv4Associations: map[string][]string{"203.0.113.2": {"10.0.0.11"}}, IPv4Prefixes: []string{"10.0.0.16/28", "10.0.0.32/28"},
			}}),
			map[string]string{
				mac + "local-ipv4s": "10.0.0.10\n10.0.0.11", mac + "public-ipv4s": "203.0.113.1\n203.0.113.2",
				mac + "ipv4-associations/203.0.113.2": "10.0.0.11", mac + "ipv4-prefix": "10.0.0.16/28\n10.0.0.32/28",
			},
		},
		"several interfaces": {
			instance(imds.Instance{Interfaces: []imds.Interface{
				{MAC: "02:00:00:00:00:01"},
				{MAC: "02:00:00:00:00:02", SubnetIPv4CIDRBlock: "10.237.0.64/27", SecurityGroups: []string{"db"}, DeviceNumber: pointer(5)},
				{MAC: "02:00:00:00:00:03", EFAOnly: true},
			}}),
			map[string]string{
				"network/interfaces/macs":                                               "02:00:00:00:00:01/\n02:00:00:00:00:02/\n02:00:00:00:00:03/\n0e:ff:d5:40:fe:7d/",
				"network/interfaces/macs/02:00:00:00:00:01/device-number":               "1",
				"network/interfaces/macs/02:00:00:00:00:01/local-ipv4s":                 "10.237.0.17",
				"network/interfaces/macs/02:00:00:00:00:01/local-hostname":              "ip-10-237-0-17.ec2.internal",
				"network/interfaces/macs/02:00:00:00:00:01/subnet-id":                   "subnet-0d0a0b215479ae014",
				"network/interfaces/macs/02:00:00:00:00:01/security-groups":             "default",
				"network/interfaces/macs/02:00:00:00:00:02/device-number":               "5",
				"network/interfaces/macs/02:00:00:00:00:02/local-ipv4s":                 "10.237.0.80",
				"network/interfaces/macs/02:00:00:00:00:02/subnet-ipv4-cidr-block":      "10.237.0.64/27",
				"network/interfaces/macs/02:00:00:00:00:02/vpc-ipv4-cidr-block":         "10.237.0.0/24",
				"network/interfaces/macs/02:00:00:00:00:02/security-groups":             "db",
				"network/interfaces/macs/02:00:00:00:00:03/local-ipv4s":                 "",
				"network/interfaces/macs/02:00:00:00:00:03/local-hostname":              "",
				"network/interfaces/macs/02%3A00%3A00%3A00%3A00%3A03/device-number":     "3",
				"network/interfaces/macs/02:00:00:00:00:01/../0e:ff:d5:40:fe:7d/vpc-id": "vpc-05bcc4ceabe1df195",
			},
		},
		"addresses alone": {instance(imds.Instance{Interface: imds.Interface{LocalIPv4s: []string{"10.0.0.5", "10.0.0.6"}}, Interfaces: []imds.Interface{{MAC: "02:00:00:00:00:01", LocalIPv4s: []string{"10.0.0.7"}}}}), map[string]string{
			"local-ipv4": "10.0.0.5", mac + "local-ipv4s": "10.0.0.5\n10.0.0.6", "hostname": "ip-10-0-0-5.ec2.internal",
			"network/interfaces/macs/02:00:00:00:00:01/local-ipv4s": "10.0.0.7",
		}},
		"public address by association": {instance(imds.Instance{Interface: imds.Interface{IPv4Associations: map[string][]string{"203.0.113.7": {"10.237.0.16"}}}}), map[string]string{
			"public-ipv4": "203.0.113.7", "public-hostname": "ec2-203-0-113-7.compute-1.amazonaws.com", mac + "public-ipv4s": "203.0.113.7",
			mac + "ipv4-associations/203.0.113.7": "10.237.0.16",
		}},
		"prefix where the address would be": {instance(imds.Instance{Interface: imds.Interface{IPv4Prefixes: []string{"10.237.0.16/28"}}}), map[string]string{
			"local-ipv4": "10.237.0.4", mac + "ipv4-prefix": "10.237.0.16/28",
		}},
		"further subnets": {
			instance(imds.Instance{Interfaces: []imds.Interface{
				{MAC: "02:00:00:00:00:01", SubnetID: "subnet-00000000000000001"},
				{MAC: "02:00:00:00:00:02", SubnetID: "subnet-00000000000000001"},
				{MAC: "02:00:00:00:00:03", SubnetIPv4CIDRBlock: "10.237.0.0/27"},
				{MAC: "02:00:00:00:00:04", IPv6Only: true, IPv6s: []string{"2001:db8:0:101::7"}},
				{MAC: "02:00:00:00:00:05", VPCID: "vpc-00000000000000001", IPv6s: []string{"2001:db8:1::7"}},
			}}),
			map[string]string{
				"network/interfaces/macs/02:00:00:00:00:01/subnet-ipv4-cidr-block":  "10.237.0.32/27",
				"network/interfaces/macs/02:00:00:00:00:01/local-ipv4s":             "10.237.0.48",
				"network/interfaces/macs/02:00:00:00:00:02/subnet-ipv4-cidr-block":  "10.237.0.32/27",
				"network/interfaces/macs/02:00:00:00:00:02/local-ipv4s":             "10.237.0.49",
				"network/interfaces/macs/02:00:00:00:00:03/subnet-id":               "subnet-0d0a0b215479ae014",
				"network/interfaces/macs/02:00:00:00:00:04/subnet-ipv4-cidr-block":  "",
				"network/interfaces/macs/02:00:00:00:00:04/subnet-ipv6-cidr-blocks": "2001:db8:0:101::/64",
				"network/interfaces/macs/02:00:00:00:00:04/vpc-ipv4-cidr-block":     "10.237.0.0/24",
				mac + "vpc-ipv6-cidr-blocks":                                        "2001:db8:0:100::/56",
				mac + "subnet-ipv6-cidr-blocks":                                     "",
				"network/interfaces/macs/02:00:00:00:00:05/vpc-ipv4-cidr-block":     "172.31.0.0/16",
				"network/interfaces/macs/02:00:00:00:00:05/subnet-ipv4-cidr-block":  "172.31.0.0/20",
				"network/interfaces/macs/02:00:00:00:00:05/vpc-ipv6-cidr-blocks":    "2001:db8:1::/56",
			},
		},
		"IPv6 of one subnet": {
			instance(imds.Instance{Interfaces: []imds.Interface{{MAC: "02:00:00:00:00:01", IPv6s: []string{"2001:db8:0:101::7"}}}}),
			map[string]string{"ipv6": "", mac + "ipv6s": "", mac + "subnet-ipv6-cidr-blocks": "2001:db8:0:101::/64", mac + "vpc-ipv6-cidr-blocks": "2001:db8:0:100::/56"},
		},
		"zone alone": {instance(imds.Instance{AvailabilityZone: "eu-west-1c"}), map[string]string{
			"placement/region": "eu-west-1", "placement/availability-zone-id": "euw1-az3", "hostname": "ip-10-237-0-16.eu-west-1.compute.internal",
		}},
		"local zone": {instance(imds.Instance{AvailabilityZone: "us-west-2-lax-1b"}), map[string]string{
			"placement/region": "us-west-2", "placement/availability-zone-id": "usw2-lax1-az2",
		}},
		"Wavelength Zone": {instance(imds.Instance{AvailabilityZone: "us-west-2-wl1-las-wlz-1"}), map[string]string{
			"placement/region": "us-west-2", "placement/availability-zone-id": "usw2-wl1-las-wlz1",
		}},
		"several network cards": {instance(imds.Instance{InstanceType: "p5.48xlarge"}), map[string]string{mac + "network-card": "0"}},
		"Xen":                   {instance(imds.Instance{InstanceType: "t2.micro"}), map[string]string{"system": "xen"}},
		"bare metal":            {instance(imds.Instance{InstanceType: "i3.metal"}), map[string]string{"system": "nitro"}},
		"key pair": {
			instance(imds.Instance{KeyName: "my-key", PublicKey: recordedInstance().Instance.PublicKey + " somebody@laptop"}),
			map[string]string{
				"public-keys": "0=my-key", "public-keys/0": "openssh-key",
				"public-keys/0/openssh-key": recordedInstance().Instance.PublicKey + " my-key\n", "public-keys/0=my-key": "",
			},
		},
		"key pair named in the key": {
			instance(imds.Instance{PublicKey: recordedInstance().Instance.PublicKey + " my key"}),
			map[string]string{"public-keys": "0=my key"},
		},
		"devices": {instance(imds.Instance{BlockDevices: map[string]string{"root": "sda1", "ebs1": "/dev/sdf", "ephemeral0": "sdb"}}), map[string]string{
			"block-device-mapping": "ami\nebs1\nephemeral0\nroot", "block-device-mapping/ami": "sda1", "block-device-mapping/root": "/dev/sda1",
			"block-device-mapping/ebs1": "sdf", "block-device-mapping/ephemeral0": "sdb",
		}},
		"device of the image": {instance(imds.Instance{BlockDevices: map[string]string{"ami": "sda1"}}), map[string]string{
			"block-device-mapping": "ami\nroot", "block-device-mapping/ami": "sda1", "block-device-mapping/root": "/dev/sda1",
		}},
		"tags that metadata cannot show": {imds.Config{Tags: map[string]string{"My Key": "1"}, Options: imds.Options{InstanceMetadataTags: imds.Disabled}}, map[string]string{
			"tags": "", "tag-sets": "",
		}},
		"placement": {instance(imds.Instance{GroupName: "spread", PartitionNumber: 2, HostID: "h-0123456789abcdef0"}), map[string]string{
			"placement":            "availability-zone\navailability-zone-id\ngroup-name\nhost-id\npartition-number\nregion",
			"placement/group-name": "spread", "placement/partition-number": "2", "placement/host-id": "h-0123456789abcdef0",
		}},
		"Auto Scaling": {imds.Config{
			Instance: imds.Instance{AutoScalingGroup: "web"}, Options: imds.Options{InstanceMetadataTags: imds.Enabled},
		}, map[string]string{
			"autoscaling/target-lifecycle-state": "InService", "tags/instance/aws:autoscaling:groupName": "web", "tags/instance/aws%3Aautoscaling%3AgroupName": "web",
		}},
		"Spot":        {instance(imds.Instance{InstanceLifeCycle: "spot"}), map[string]string{"instance-life-cycle": "spot", "spot": ""}},
		"hibernation": {instance(imds.Instance{Hibernation: pointer(false)}), map[string]string{"hibernation": "configured", "hibernation/configured": "false"}},
		"product codes": {instance(imds.Instance{ProductCodes: []string{"abc", "def"}}), map[string]string{
			"product-codes": "abc\ndef",
		}},
		"tags on": {imds.Config{Tags: map[string]string{"b": `say "<hi>"`, "A": "", "a-c": "3"}}, map[string]string{
			"tags": "instance/", "tags/instance": "A\na-c\nb", "tags/instance/b": `say "<hi>"`, "tag-sets": "instance",
			"tag-sets/instance": "{\n  \"A\" : \"\",\n  \"a-c\" : \"3\",\n  \"b\" : \"say \\\"<hi>\\\"\"\n}", "tags/instance/absent": "",
		}},
		"tags off": {imds.Config{Tags: map[string]string{"a": "1"}, Options: imds.Options{InstanceMetadataTags: imds.Disabled}}, map[string]string{
			"tags": "", "tags/instance": "", "tags/instance/a": "", "tag-sets": "", "tag-sets/instance": "",
		}},
		"tags on without tags": {imds.Config{Options: imds.Options{InstanceMetadataTags: imds.Enabled}}, map[string]string{
			"tags": "", "tags/instance": "", "tag-sets": "instance", "tag-sets/instance": "{}",
		}},
		"values": {imds.Config{Metadata: map[string]*string{
			"spot/instance-action": pointer("{}"), "/latest/meta-data/custom/rack": pointer("r12"), "meta-data/mac": pointer("x"),
			"placement": nil, "instance-action": nil, "metrics/vhostmd": nil, "no/such": nil,
			"dynamic/fws/instance-monitoring": pointer("enabled"),
		}}, map[string]string{
			"spot": "instance-action", "spot/instance-action": "{}", "custom": "rack", "custom/rack": "r12", "mac": "x",
			"placement": "", "placement/region": "", "instance-action": "", "metrics": "", "../dynamic/fws/instance-monitoring": "enabled",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := v2(t, serve(t, test.config, nil))
			for path, want := range test.want {
				r := c.do("GET", "/latest/meta-data/"+path)
				switch got := string(r.Body); {
				case want == "" && r.Status != 404:
					t.Errorf("%s: %d %q, want 404", path, r.Status, got)
				case strings.HasPrefix(want, `"arn:`):
					if !strings.Contains(got, want) {
						t.Errorf("%s: %q, want %q in it", path, got, want)
					}
				case want != "" && (r.Status != 200 || got != want):
					t.Errorf("%s: %d %q, want %q", path, r.Status, got, want)
				}
			}
		})
	}
}

// TestEmptyTag says that a tag without a value is there, and empty.
func TestEmptyTag(t *testing.T) {
	t.Parallel()
	c := v2(t, serve(t, imds.Config{Tags: map[string]string{"a": ""}}, nil))
	if r := c.do("GET", "/latest/meta-data/tags/instance/a"); r.Status != 200 || len(r.Body) != 0 || r.ContentType != "text/plain" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
}

// TestDocument says that the identity document agrees with the instance.
func TestDocument(t *testing.T) {
	t.Parallel()
	config := everything()
	config.Instance.Region, config.Instance.AvailabilityZone, config.Instance.AvailabilityZoneID = "eu-west-1", "eu-west-1b", ""
	config.Instance.InstanceType, config.Instance.Architecture = "m7g.large", ""
	config.Instance.MarketplaceProducts = []string{"abc", "def"}
	config.Instance.OutpostARN = ""
	c := v2(t, serve(t, config, nil))
	body := c.do("GET", identityPath+"document").Body
	if !strings.Contains(string(body), `"marketplaceProductCodes" : [ "abc", "def" ],`) || !strings.Contains(string(body), `"billingProducts" : null,`) {
		t.Errorf("%s", body)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"accountId": c.get("network/interfaces/macs/0e:ff:d5:40:fe:7d/owner-id"), "architecture": "arm64",
		"availabilityZone": c.get("placement/availability-zone"), "billingProducts": nil, "devpayProductCodes": nil,
		"marketplaceProductCodes": []any{"abc", "def"}, "imageId": c.get("ami-id"), "instanceId": c.get("instance-id"),
		"instanceType": c.get("instance-type"), "kernelId": c.get("kernel-id"), "pendingTime": "2026-09-26T11:03:58Z",
		"privateIp": c.get("local-ipv4"), "ramdiskId": c.get("ramdisk-id"), "region": c.get("placement/region"), "version": "2017-09-30",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"t3.nano": "x86_64", "g4dn.xlarge": "x86_64", "t4g.nano": "arm64", "a1.large": "arm64", "m7gd.large": "arm64", "c6gn.large": "arm64",
		"im4gn.large": "arm64", "g5g.xlarge": "arm64", "p4d.24xlarge": "x86_64", "u-6tb1.metal": "x86_64", "mac1.metal": "x86_64_mac",
		"mac2-m2.metal": "arm64_mac", "inf2.xlarge": "x86_64", "trn1.2xlarge": "x86_64", "c7i-flex.large": "x86_64",
	} {
		c := v2(t, serve(t, imds.Config{Instance: imds.Instance{InstanceType: kind}}, nil))
		if body := string(c.do("GET", identityPath+"document").Body); !strings.Contains(body, `"architecture" : "`+want+`",`) {
			t.Errorf("%s is not %s", kind, want)
		}
	}
}

// TestMonitoring says that fws/ exists with detailed monitoring only.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	for detailed, want := range map[bool]string{false: "instance-identity/", true: "fws/\ninstance-identity/"} {
		c := v2(t, serve(t, imds.Config{Instance: imds.Instance{DetailedMonitoring: detailed}}, nil))
		if got := string(c.do("GET", "/latest/dynamic").Body); got != want {
			t.Errorf("%t: %q, want %q", detailed, got, want)
		}
	}
}
