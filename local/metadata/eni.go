package metadata

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ecs-local/ecs-local/local"
)

// eni is the elastic network interface that a container in the network mode
// awsvpc shows. It is made of one Docker network of the container.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
type eni struct {
	local.Network
	region string
}

// interfaceOf returns the interface of a container: a container that uses the
// network of another shows the same. A container on several networks shows the
// first with an address that can be reached from elsewhere; link-local ones,
// such as those of the network of ecs-local, cannot.
func interfaceOf(t *local.Task, c *local.Container) eni {
	networks := c.Networks
	if i := slices.IndexFunc(t.Containers, func(other *local.Container) bool { return other.ID == c.SharesWith }); c.SharesWith != "" && i >= 0 {
		networks = t.Containers[i].Networks
	}
	e := eni{region: regionOf(t)}
	if len(networks) == 0 {
		return e
	}
	rank := func(n local.Network) int {
		switch addr := n.IPv4; {
		case !addr.IsValid() && !n.IPv6.IsValid():
			return 2
		case addr.IsLinkLocalUnicast():
			return 1
		default:
			return 0
		}
	}
	e.Network = slices.MinFunc(networks, func(a, b local.Network) int { return cmp.Compare(rank(a), rank(b)) })
	return e
}

// ipv4 lists the address. A container that has none at all has an empty one,
// as in the other network modes.
func (e eni) ipv4() []string {
	if !e.IPv4.IsValid() && e.IPv6.IsValid() {
		return nil
	}
	return addresses(e.IPv4)
}

func (e eni) ipv6() []string {
	if !e.IPv6.IsValid() {
		return nil
	}
	return addresses(e.IPv6)
}

// subnet is the network's; one that is unknown is as large as those of a
// default VPC.
func (e eni) subnet() netip.Prefix {
	if e.IPv4Subnet.IsValid() {
		return e.IPv4Subnet.Masked()
	}
	return netip.PrefixFrom(e.IPv4, 20).Masked()
}

// domain is the one that AWS gives to the hosts of a region.
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-dns.html
func (e eni) domain() string {
	if e.region == "us-east-1" {
		return "ec2.internal"
	}
	return e.region + ".compute.internal"
}

// nameServer is the one that answers: Docker's own, which all networks but the
// default one have. Elsewhere it is where a VPC has it, the third address of
// the subnet.
func (e eni) nameServer() string {
	if !slices.Contains([]string{"", "bridge", "host", "none"}, e.Name) {
		return "127.0.0.11"
	}
	return e.subnet().Addr().Next().Next().String()
}

// mac is Docker's; for a container without Docker, what Docker would derive
// from the address.
func (e eni) mac() string {
	if e.MAC != "" || !e.IPv4.IsValid() {
		return e.MAC
	}
	a := e.IPv4.As4()
	return fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3])
}

// v4 is the document. An address of version 6 has a /64 beside one of version
// 4, and its gateway is shown only without one.
func (e eni) v4() networkV4 {
	doc := networkV4{
		NetworkMode:     local.AWSVPC,
		IPv4Addresses:   e.ipv4(),
		IPv6Addresses:   e.ipv6(),
		AttachmentIndex: new(int), // a task has one interface
		MACAddress:      e.mac(),
	}
	if !e.IPv4.IsValid() && !e.IPv6.IsValid() {
		return doc
	}
	doc.DomainNameSearchList = []string{e.domain()}
	if !e.IPv4.IsValid() {
		doc.IPv6SubnetCIDRBlock = block(e.IPv6Subnet)
		doc.DomainNameServers = []string{"127.0.0.11"} // the default network is never without IPv4
		doc.SubnetGatewayIPv6Address = gateway(e.IPv6Gateway, e.IPv6Subnet)
		return doc
	}
	doc.IPv6SubnetCIDRBlock = block(netip.PrefixFrom(e.IPv6, 64)) // none without an address
	subnet, router := e.subnet(), e.IPv4Gateway
	if !router.IsValid() {
		router = subnet.Addr().Next()
	}
	doc.IPv4SubnetCIDRBlock = block(subnet)
	doc.DomainNameServers = []string{e.nameServer()}
	doc.PrivateDNSName = "ip-" + strings.ReplaceAll(e.IPv4.String(), ".", "-") + "." + e.domain()
	doc.SubnetGatewayIPv4Address = gateway(router, subnet)
	return doc
}

// regionOf returns the region in the task's ARN.
func regionOf(t *local.Task) string {
	if part := strings.SplitN(t.ARN, ":", 6); len(part) == 6 && part[3] != "" {
		return part[3]
	}
	return local.DefaultRegion
}
