package imds

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ecs-local/ecs-local/local"
)

// serviceDomain returns the domain of a region's AWS services.
func serviceDomain(region string) string {
	switch local.Partition(region) {
	case "aws-cn":
		return "amazonaws.com.cn"
	case "aws-iso":
		return "c2s.ic.gov"
	case "aws-iso-b":
		return "sc2s.sgov.gov"
	case "aws-iso-e":
		return "cloud.adc-e.uk"
	case "aws-iso-f":
		return "csp.hci.ic.gov"
	case "aws-eusc":
		return "amazonaws.eu"
	default:
		return "amazonaws.com"
	}
}

// internalDomain returns the domain of private names.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-naming.html
func internalDomain(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

// publicHostname returns the public name of an address.
func publicHostname(region, ipv4 string) string {
	host := "ec2-" + strings.ReplaceAll(ipv4, ".", "-")
	if region == "us-east-1" {
		return host + ".compute-1.amazonaws.com"
	}
	return host + "." + region + ".compute." + serviceDomain(region)
}

// zones cuts a zone: us-west-2|a, us-west-2|-lax-1|a, us-west-2|-wl1-las-wlz-|1.
var zones = regexp.MustCompile(`^([a-z]{2,}(?:-[a-z]+)+-\d+)(?:([a-z])|-([a-z]{3})-(\d+)([a-z])|-(wl\d)-([a-z]{3})-wlz-(\d+))$`)

// regionOf returns the region that a zone is in, or nothing when it is not a
// zone.
func regionOf(zone string) string {
	if part := zones.FindStringSubmatch(zone); part != nil {
		return part[1]
	}
	return ""
}

// regionCode returns what the ids of a region's zones begin with: us-east-1 →
// use1.
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/az-ids.html
func regionCode(region string) string {
	part := strings.Split(region, "-")
	code := part[0]
	for _, p := range part[1:] {
		switch p {
		case "northeast", "northwest", "southeast", "southwest":
			code += p[:1] + p[5:6]
		case "isob":
			code += "ib"
		case "isoe":
			code += "ie"
		case "isof":
			code += "if"
		default:
			code += p[:min(1, len(p))]
		}
	}
	return code
}

// zoneID returns the id that a zone would have if the account's zones were in
// the order of AWS's: us-east-1a → use1-az1.
func zoneID(region, zone string) string {
	code := regionCode(region)
	number := func(letter string) string { return strconv.Itoa(int(letter[0]-'a') + 1) }
	part := zones.FindStringSubmatch(zone)
	switch {
	case part == nil:
		return code + "-az1"
	case part[3] != "": // a local zone
		return code + "-" + part[3] + part[4] + "-az" + number(part[5])
	case part[6] != "": // a Wavelength Zone
		return code + "-" + part[6] + "-" + part[7] + "-wlz" + part[8]
	default:
		return code + "-az" + number(part[2])
	}
}

// xenFamilies are the instance families on the Xen hypervisor.
// https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-nitro-instances.html
var xenFamilies = []string{
	"c1", "c3", "c4", "cc1", "cc2", "cg1", "cr1", "d2", "f1", "g2", "g3", "g3s", "h1", "hi1", "hs1", "i2", "i3",
	"m1", "m2", "m3", "m4", "p2", "p3", "r3", "r4", "t1", "t2", "x1", "x1e",
}

func systemOf(instanceType string) string {
	family, size, _ := strings.Cut(instanceType, ".")
	if slices.Contains(xenFamilies, family) && !strings.HasPrefix(size, "metal") {
		return "xen"
	}
	return "nitro"
}

// A Graviton family has a g behind its generation: t4g, m7gd, c6gn, im4gn.
var (
	graviton = regexp.MustCompile(`^(a1|[a-z]+\d+[a-z]*g[a-z]*)$`)
	appleARM = regexp.MustCompile(`^mac(2|-m)`)
)

func architectureOf(instanceType string) string {
	family, _, _ := strings.Cut(instanceType, ".")
	switch {
	case appleARM.MatchString(family):
		return "arm64_mac"
	case family == "mac1":
		return "x86_64_mac"
	case graviton.MatchString(family):
		return "arm64"
	default:
		return "x86_64"
	}
}

// manyCards are the instance types with more than one network card.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-eni.html#network-cards
var manyCards = regexp.MustCompile(`^(` + strings.Join([]string{
	`(c6in|m6in|m6idn|r6in|r6idn)\.(32xlarge|metal)`, `(c8gn|m8gn|r8gn|m8gb|r8gb|c8gb)\.(48xlarge|metal-48xl)`,
	`dl1\.24xlarge`, `dl2q\.24xlarge`, `g6e\.(24|48)xlarge`, `g7e\.(24|48)xlarge`, `hpc(6id\.32xlarge|7a\..*|8a\..*)`,
	`p4de?\.24xlarge`, `p5(e|en)?\.48xlarge`, `p6.*\..*`, `trn1n?\.32xlarge`, `trn2u?\.48xlarge`, `u7inh?-.*\..*`,
}, "|") + `)$`)
