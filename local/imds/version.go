package imds

import (
	"slices"
	"strings"
)

// versions are the served versions, oldest first, as a current Nitro instance
// lists them. A date that is missing here is not served, even when it lies
// between two that are.
var versions = []string{
	"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
	"2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19",
	"2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03",
	"2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "2025-10-04", "2026-04-15", "latest",
}

// latest is the index of the version that hides nothing.
var latest = len(versions) - 1

var versionIndex = func() map[string]int {
	m := make(map[string]int, len(versions))
	for i, v := range versions {
		m[v] = i
	}
	return m
}()

var versionList = []byte(strings.Join(versions, "\n"))

// Versions returns the served versions, oldest first; the last is "latest".
func Versions() []string { return slices.Clone(versions) }

// introduced says with which version a path appeared. What is below a path is
// at least as new; a path that stands nowhere is as old as the service. A
// star stands for the address of an interface.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
var introduced = map[string]string{
	"dynamic": "2009-04-04",

	"meta-data/local-hostname":                 "2007-01-19",
	"meta-data/public-hostname":                "2007-01-19",
	"meta-data/public-ipv4":                    "2007-01-19",
	"meta-data/product-codes":                  "2007-03-01",
	"meta-data/instance-type":                  "2007-08-29",
	"meta-data/ancestor-ami-ids":               "2007-10-10",
	"meta-data/ramdisk-id":                     "2007-10-10",
	"meta-data/block-device-mapping":           "2007-12-15",
	"meta-data/profile":                        "2007-12-15",
	"meta-data/kernel-id":                      "2008-02-01",
	"meta-data/placement":                      "2008-02-01",
	"meta-data/instance-action":                "2008-09-01",
	"meta-data/mac":                            "2011-01-01",
	"meta-data/network":                        "2011-01-01",
	"meta-data/metrics":                        "2011-05-01",
	"meta-data/iam":                            "2012-01-12",
	"meta-data/services":                       "2014-02-25",
	"meta-data/spot":                           "2014-11-05",
	"meta-data/spot/instance-action":           "2018-03-28",
	"meta-data/services/partition":             "2015-10-20",
	"meta-data/identity-credentials":           "2018-03-28",
	"meta-data/events":                         "2018-08-17",
	"meta-data/hibernation":                    "2018-09-24",
	"meta-data/instance-life-cycle":            "2019-10-01",
	"meta-data/outpost-arn":                    "2019-10-01",
	"meta-data/placement/availability-zone-id": "2019-10-01",
	"meta-data/placement/region":               "2019-10-01",
	"meta-data/events/recommendations":         "2020-10-27",
	"meta-data/placement/group-name":           "2020-10-27",
	"meta-data/placement/host-id":              "2020-10-27",
	"meta-data/placement/partition-number":     "2020-10-27",
	"meta-data/ipv6":                           "2021-01-03",
	"meta-data/tags":                           "2021-03-23",
	"meta-data/autoscaling":                    "2021-07-15",
	"meta-data/system":                         "2022-09-24",
	"meta-data/tag-sets":                       "2025-10-04",

	"meta-data/network/interfaces/macs/*/ipv6s":                   "2016-06-30",
	"meta-data/network/interfaces/macs/*/subnet-ipv6-cidr-blocks": "2016-06-30",
	"meta-data/network/interfaces/macs/*/vpc-ipv4-cidr-blocks":    "2016-06-30",
	"meta-data/network/interfaces/macs/*/vpc-ipv6-cidr-blocks":    "2016-06-30",
	"meta-data/network/interfaces/macs/*/ipv4-prefix":             "2021-01-03",
	"meta-data/network/interfaces/macs/*/ipv6-prefix":             "2021-01-03",
	"meta-data/network/interfaces/macs/*/network-card":            "2021-01-03",
}

const macs = "meta-data/network/interfaces/macs/"

// since returns the index of the first version that shows a path, given
// without a version.
func since(path string) int {
	if rest, ok := strings.CutPrefix(path, macs); ok {
		if _, leaf, ok := strings.Cut(rest, "/"); ok {
			path = macs + "*/" + leaf
		}
	}
	if strings.HasPrefix(path, "meta-data/"+namespacePrefix) {
		return latest
	}
	first := 0
	for end := 0; end < len(path); end++ {
		next := strings.IndexByte(path[end:], '/')
		if next < 0 {
			next = len(path) - end
		}
		end += next
		if v, ok := introduced[path[:end]]; ok {
			first = max(first, versionIndex[v])
		}
	}
	return first
}
