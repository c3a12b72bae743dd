package imds

import (
	"regexp"
	"slices"
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

// zoneID returns the id that a zone would have if the account's zones were in
// the order of AWS's: us-east-1a → use1-az1.
func zoneID(region, zone string) string {
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
	n := "1"
	if letter := strings.TrimPrefix(zone, region); len(letter) == 1 && 'a' <= letter[0] && letter[0] <= 'i' {
		n = string('1' + letter[0] - 'a')
	}
	return code + "-az" + n
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
