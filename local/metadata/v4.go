package metadata

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Version 4.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html

type taskV4 struct {
	taskHead

	Limits                *limits           `json:"Limits,omitempty"`
	ExecutionStoppedAt    *time.Time        `json:"ExecutionStoppedAt,omitempty"`
	AvailabilityZone      string            `json:"AvailabilityZone,omitempty"`
	TaskTags              map[string]string `json:"TaskTags,omitempty"`
	ContainerInstanceTags map[string]string `json:"ContainerInstanceTags,omitempty"`
	LaunchType            string            `json:"LaunchType,omitempty"`
	Containers            []containerV4     `json:"Containers,omitempty"`
	VPCID                 string            `json:"VPCID,omitempty"`
	ServiceName           string            `json:"ServiceName,omitempty"`
	ClockDrift            *clockDrift       `json:"ClockDrift,omitempty"`
	EphemeralStorage      *ephemeralStorage `json:"EphemeralStorageMetrics,omitempty"`
	FaultInjectionEnabled bool              `json:"FaultInjectionEnabled"`
	AvailabilityZoneID    string            `json:"AvailabilityZoneID,omitempty"`
}

type containerV4 struct {
	containerHead

	Health       *health           `json:"Health,omitempty"`
	Volumes      []volume          `json:"Volumes,omitempty"`
	LogDriver    string            `json:"LogDriver,omitempty"`
	LogOptions   map[string]string `json:"LogOptions,omitempty"`
	ContainerARN string            `json:"ContainerARN,omitempty"`
	Networks     []networkV4       `json:"Networks,omitempty"`
	Snapshotter  string            `json:"Snapshotter,omitempty"`
	RestartCount *int              `json:"RestartCount,omitempty"`
}

// networkV4 shows of a Docker network some of what the agent shows of an
// elastic network interface only, because locally both are known. (The
// gateways' keys are spelled Ipv4 and Ipv6, all others IPv4 and IPv6.)
type networkV4 struct {
	NetworkMode              string   `json:"NetworkMode,omitempty"`
	IPv4Addresses            []string `json:"IPv4Addresses,omitempty"`
	IPv6Addresses            []string `json:"IPv6Addresses,omitempty"`
	AttachmentIndex          *int     `json:"AttachmentIndex,omitempty"`
	MACAddress               string   `json:"MACAddress,omitempty"`
	IPv4SubnetCIDRBlock      string   `json:"IPv4SubnetCIDRBlock,omitempty"`
	IPv6SubnetCIDRBlock      string   `json:"IPv6SubnetCIDRBlock,omitempty"`
	DomainNameServers        []string `json:"DomainNameServers,omitempty"`
	DomainNameSearchList     []string `json:"DomainNameSearchList,omitempty"`
	PrivateDNSName           string   `json:"PrivateDNSName,omitempty"`
	SubnetGatewayIPv4Address string   `json:"SubnetGatewayIpv4Address,omitempty"`
	SubnetGatewayIPv6Address string   `json:"SubnetGatewayIpv6Address,omitempty"`
}

func newTaskV4(t *local.Task, withTags bool) taskV4 {
	doc := taskV4{
		taskHead:           newTaskHead(t),
		Limits:             newTaskLimits(t),
		ExecutionStoppedAt: timestamp(stoppedAt(t)),
		AvailabilityZone:   availabilityZone(t),
		LaunchType:         t.LaunchType,
		ServiceName:        t.ServiceName,

		FaultInjectionEnabled: t.FaultInjection,
	}
	doc.VPCID, doc.AvailabilityZoneID = vpcID(t), availabilityZoneID(t)
	doc.ClockDrift, doc.EphemeralStorage = newClockDrift(t), newEphemeralStorage(t)
	for _, c := range pausesFirst(t) {
		doc.Containers = append(doc.Containers, newContainerV4(t, c))
	}
	if withTags {
		doc.TaskTags, doc.ContainerInstanceTags = t.Tags, instanceTags(t)
	}
	return doc
}

// pausesFirst returns the task's containers with the pause containers, which a
// task with Service Connect has in the network mode bridge, before the others.
func pausesFirst(t *local.Task) []*local.Container {
	rank := func(c *local.Container) int {
		if c.Type == typePause && t.NetworkModeOf(c) != local.AWSVPC {
			return 0
		}
		return 1
	}
	list := slices.Clone(t.Containers)
	slices.SortStableFunc(list, func(a, b *local.Container) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

func newContainerV4(t *local.Task, c *local.Container) containerV4 {
	return containerV4{
		containerHead: newContainerHead(t, c),
		Health:        newHealth(c.Health),
		Volumes:       newVolumes(c),
		LogDriver:     c.LogDriver,
		LogOptions:    c.LogOptions,
		ContainerARN:  containerARN(t, c),
		Networks:      newNetworksV4(t, c),
		Snapshotter:   snapshotter(t),
		RestartCount:  c.RestartCount,
	}
}

// newNetworksV4 lists what newNetworksV2 lists, and all that is known of it.
func newNetworksV4(t *local.Task, c *local.Container) []networkV4 {
	mode := t.NetworkModeOf(c)
	if mode == local.AWSVPC {
		return []networkV4{interfaceOf(t, c).v4()}
	}
	var list []networkV4
	for _, n := range c.Networks {
		list = append(list, newNetworkV4(cmp.Or(mode, n.Name), n))
	}
	if mode = cmp.Or(mode, c.NetworkMode); len(list) == 0 && mode != "" {
		list = []networkV4{{NetworkMode: mode, IPv4Addresses: addresses(netip.Addr{})}}
	}
	return list
}

func newNetworkV4(mode string, n local.Network) networkV4 {
	doc := networkV4{NetworkMode: mode, IPv4Addresses: addresses(n.IPv4), MACAddress: n.MAC}
	if n.IPv4.IsValid() {
		doc.IPv4SubnetCIDRBlock = block(n.IPv4Subnet)
		doc.SubnetGatewayIPv4Address = gateway(n.IPv4Gateway, n.IPv4Subnet)
	}
	if n.IPv6.IsValid() {
		doc.IPv6Addresses = addresses(n.IPv6)
		doc.IPv6SubnetCIDRBlock = block(n.IPv6Subnet)
		if !n.IPv4.IsValid() {
			doc.SubnetGatewayIPv6Address = gateway(n.IPv6Gateway, n.IPv6Subnet)
		}
	}
	return doc
}

// block writes a subnet; an unknown one is left out.
func block(subnet netip.Prefix) string {
	if !subnet.IsValid() {
		return ""
	}
	return subnet.Masked().String()
}

// gateway writes a gateway with the length of its subnet's prefix, as in
// 10.0.2.1/24; what is not fully known is left out.
func gateway(addr netip.Addr, subnet netip.Prefix) string {
	if !addr.IsValid() || !subnet.IsValid() {
		return ""
	}
	return netip.PrefixFrom(addr, subnet.Bits()).String()
}

// containerARN derives the container's ARN from that of its task. It is empty,
// and left out, when the task's ARN, which users may set, is not one.
func containerARN(t *local.Task, c *local.Container) string {
	part := strings.SplitN(t.ARN, ":", 6)
	if len(part) != 6 || part[0] != "arn" {
		return ""
	}
	path, ok := strings.CutPrefix(part[5], "task/")
	if !ok {
		return ""
	}
	if !strings.Contains(path, "/") { // the old form, without the cluster
		path = t.Cluster[strings.LastIndexByte(t.Cluster, '/')+1:] + "/" + path
	}
	part[5] = "container/" + path + "/" + cmp.Or(c.EndpointID, local.EndpointID(c.ID))
	return strings.Join(part, ":")
}
