package metadatafile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ecs-local/ecs-local/local"
)

// Host is what the file says about the machine. Empty fields are left out.
type Host struct {
	PrivateIPv4 string
	PublicIPv4  string
	IPv6        string
}

// content is the file. Keys without a value are left out.
type content struct {
	Cluster                string    `json:",omitempty"`
	ContainerInstanceARN   string    `json:",omitempty"`
	TaskARN                string    `json:",omitempty"`
	TaskDefinitionFamily   string    `json:",omitempty"`
	TaskDefinitionRevision string    `json:",omitempty"`
	ContainerID            string    `json:",omitempty"`
	ContainerName          string    `json:",omitempty"`
	DockerContainerName    string    `json:",omitempty"`
	ImageID                string    `json:",omitempty"`
	ImageName              string    `json:",omitempty"`
	PortMappings           []port    `json:",omitempty"`
	Networks               []network `json:",omitempty"`
	MetadataFileStatus     string    `json:",omitempty"`
	AvailabilityZone       string    `json:",omitempty"`
	HostPrivateIPv4Address string    `json:",omitempty"`
	HostPublicIPv4Address  string    `json:",omitempty"`
	HostIPv6Address        string    `json:",omitempty"`
}

// port is a published port, with every key.
type port struct {
	ContainerPort      uint16
	ContainerPortRange string // always empty
	HostPort           uint16
	BindIP             string `json:"BindIp"`
	Protocol           string
}

type network struct {
	NetworkMode   string   `json:",omitempty"`
	IPv4Addresses []string `json:",omitempty"`
	IPv6Addresses []string `json:",omitempty"`
}

// Render returns the content of the file for a container of a task. Before the
// container runs and its address is known, that is what the task says, without
// a status; then all of it, with the status READY.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-metadata.html
func Render(i local.Instance, t *local.Task, c *local.Container, h Host) ([]byte, error) {
	f := content{
		Cluster:                t.Cluster,
		ContainerInstanceARN:   i.ARN,
		TaskARN:                t.ARN,
		TaskDefinitionFamily:   t.Family,
		TaskDefinitionRevision: t.Revision,
		ContainerName:          c.Name,
		AvailabilityZone:       t.AvailabilityZone,
		HostPrivateIPv4Address: h.PrivateIPv4,
		HostPublicIPv4Address:  h.PublicIPv4,
		HostIPv6Address:        h.IPv6,
	}
	if t.LaunchType == local.LaunchExternal {
		f.AvailabilityZone = ""
	}
	if ready(c) {
		f.MetadataFileStatus = "READY"
		f.ContainerID = c.ID
		f.DockerContainerName = "/" + c.DockerName
		f.ImageID, f.ImageName = c.ImageID, c.Image
		f.Networks = networks(t, c)
		f.PortMappings = ports(t, c)
	}
	body, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode container metadata: %w", err)
	}
	return body, nil
}

// ready reports whether all of the container is known: it runs, and has an
// address where it has a network of its own.
func ready(c *local.Container) bool {
	if c.State != local.Running && c.State != local.Paused {
		return false
	}
	return len(c.Networks) == 0 || c.SharesWith != "" || slices.Contains([]string{"host", "none"}, c.NetworkMode) ||
		slices.ContainsFunc(c.Networks, func(n local.Network) bool { return n.IPv4.IsValid() || n.IPv6.IsValid() })
}

// networks lists the networks of a container. One in a task with an elastic
// network interface uses the network of the agent's pause container, as it
// says here; the address is that container's.
func networks(t *local.Task, c *local.Container) []network {
	mode := t.NetworkModeOf(c)
	if mode == local.AWSVPC {
		return []network{{NetworkMode: "container:" + pauseID(t), IPv4Addresses: []string{""}}}
	}
	var list []network
	for _, n := range c.Networks {
		list = append(list, network{NetworkMode: cmp.Or(mode, n.Name), IPv4Addresses: []string{text(n.IPv4)}})
	}
	if mode = cmp.Or(mode, c.NetworkMode); len(list) == 0 && mode != "" {
		list = []network{{NetworkMode: mode, IPv4Addresses: []string{""}}}
	}
	return list
}

// ports lists the published ports. With an elastic network interface they would
// be those of the pause container.
func ports(t *local.Task, c *local.Container) []port {
	if t.NetworkModeOf(c) == local.AWSVPC {
		return nil
	}
	var list []port
	for _, p := range c.Ports {
		list = append(list, port{ContainerPort: p.Container, HostPort: p.Host, BindIP: p.HostIP, Protocol: p.Protocol})
	}
	return list
}

// pauseID is the id that a task's pause container would have.
func pauseID(t *local.Task) string {
	sum := sha256.Sum256([]byte("ecs-local pause " + t.ARN))
	return hex.EncodeToString(sum[:])
}

func text(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}
