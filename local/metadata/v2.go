package metadata

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Versions 2 and 3 show the same documents.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v2.html
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v3.html

type taskV2 struct {
	taskHead

	Containers            []containerV2     `json:"Containers,omitempty"`
	Limits                *limits           `json:"Limits,omitempty"`
	ExecutionStoppedAt    *time.Time        `json:"ExecutionStoppedAt,omitempty"`
	AvailabilityZone      string            `json:"AvailabilityZone,omitempty"`
	TaskTags              map[string]string `json:"TaskTags,omitempty"`
	ContainerInstanceTags map[string]string `json:"ContainerInstanceTags,omitempty"`
}

type containerV2 struct {
	containerHead

	Networks []networkV2 `json:"Networks,omitempty"`
	Health   *health     `json:"Health,omitempty"`
	Volumes  []volume    `json:"Volumes,omitempty"`
}

type networkV2 struct {
	NetworkMode   string   `json:"NetworkMode,omitempty"`
	IPv4Addresses []string `json:"IPv4Addresses,omitempty"`
	IPv6Addresses []string `json:"IPv6Addresses,omitempty"`
}

func newTaskV2(t *local.Task, withTags bool) taskV2 {
	doc := taskV2{
		taskHead:           newTaskHead(t),
		Limits:             newTaskLimits(t),
		ExecutionStoppedAt: timestamp(stoppedAt(t)),
		AvailabilityZone:   availabilityZone(t),
	}
	for _, c := range t.Containers {
		doc.Containers = append(doc.Containers, newContainerV2(t, c))
	}
	if withTags {
		doc.TaskTags, doc.ContainerInstanceTags = t.Tags, instanceTags(t)
	}
	return doc
}

func newContainerV2(t *local.Task, c *local.Container) containerV2 {
	doc := containerV2{
		containerHead: newContainerHead(t, c),
		Networks:      newNetworksV2(t, c),
		Health:        newHealth(c.Health),
		Volumes:       newVolumes(c),
	}
	doc.Ports = withoutHostIP(doc.Ports)
	return doc
}

// withoutHostIP takes away what came with version 4.
func withoutHostIP(ports []port) []port {
	for i := range ports {
		ports[i].HostIP = ""
	}
	return ports
}

// newNetworksV2 lists the container's networks; when it has none of its own,
// its network mode. Nothing is listed when neither is known. With an elastic
// network interface, that is listed, and only then an address of version 6.
func newNetworksV2(t *local.Task, c *local.Container) []networkV2 {
	mode := t.NetworkModeOf(c)
	if mode == local.AWSVPC {
		e := interfaceOf(t, c)
		return []networkV2{{NetworkMode: mode, IPv4Addresses: e.ipv4(), IPv6Addresses: e.ipv6()}}
	}
	var list []networkV2
	for _, n := range c.Networks {
		list = append(list, networkV2{NetworkMode: cmp.Or(mode, n.Name), IPv4Addresses: addresses(n.IPv4)})
	}
	if mode = cmp.Or(mode, c.NetworkMode); len(list) == 0 && mode != "" {
		list = []networkV2{{NetworkMode: mode, IPv4Addresses: addresses(netip.Addr{})}}
	}
	return list
}

// addresses lists one address. The agent lists an empty one for a container
// that has none, and so do we.
func addresses(addr netip.Addr) []string {
	if !addr.IsValid() {
		return []string{""}
	}
	return []string{addr.String()}
}
