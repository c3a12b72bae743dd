package docker

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/ecs-local/ecs-local/local"
)

const (
	unitsPerCPU   = 1024
	defaultPeriod = 100_000 // microseconds, of the kernel's CPU quota
	mib           = 1 << 20
)

// containerOf reads the engine's description of a container. before is what
// was known of it, or nil. Any field may be missing: engines of different
// versions, and those that only look like Docker, leave out different ones.
// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerInspect
func containerOf(id string, r *container.InspectResponse, before *local.Container) *local.Container {
	base, config, host, settings := parts(r)
	name := strings.TrimPrefix(base.Name, "/")
	c := &local.Container{
		ID:         id,
		EndpointID: local.EndpointID(id),
		DockerName: name,
		Labels:     config.Labels,
		Project:    config.Labels[local.LabelComposeProject],
		Service:    config.Labels[local.LabelComposeService],
		Name:       nameOf(config.Labels, name),
		Type:       cmp.Or(config.Labels[local.LabelType], "NORMAL"),
		Image:      config.Image,
		ImageID:    base.Image,

		State:     stateOf(base.State),
		CreatedAt: timeOf(base.Created),
		StartedAt: timeOf(base.State.StartedAt),

		CPU:    cpuOf(host.Resources),
		Memory: memoryOf(host.Memory),

		NetworkMode: string(host.NetworkMode),
		Networks:    networksOf(settings),
		Ports:       portsOf(settings),
		Volumes:     volumesOf(r.Mounts),

		LogDriver:  host.LogConfig.Type,
		LogOptions: host.LogConfig.Config,
	}
	if shared, ok := strings.CutPrefix(c.NetworkMode, "container:"); ok {
		c.SharesWith = shared // a name, perhaps; the index knows the ids
	}
	if !c.State.Alive() {
		c.FinishedAt = timeOf(base.State.FinishedAt)
		c.ExitCode = base.State.ExitCode
	}
	if hasHealth(config, base.State) {
		c.Health = healthOf(config.Healthcheck, base.State.Health, c, before)
	}
	if policy := host.RestartPolicy.Name; policy != "" && policy != container.RestartPolicyDisabled {
		count := base.RestartCount
		c.RestartCount = &count
	}
	return c
}

// nameOf returns what the task definition would call a container.
func nameOf(labels map[string]string, dockerName string) string {
	return cmp.Or(labels[local.LabelContainerName], labels[local.LabelComposeService], dockerName)
}

// parts returns the parts of a description, empty ones for those it lacks.
func parts(r *container.InspectResponse) (*container.ContainerJSONBase, *container.Config, *container.HostConfig, *container.NetworkSettings) {
	var base container.ContainerJSONBase
	if r.ContainerJSONBase != nil {
		base = *r.ContainerJSONBase
	}
	if base.State == nil {
		base.State = &container.State{}
	}
	return &base, cmp.Or(r.Config, &container.Config{}), cmp.Or(base.HostConfig, &container.HostConfig{}), cmp.Or(r.NetworkSettings, &container.NetworkSettings{})
}

// stateOf falls back on the single flags where the status is missing.
func stateOf(s *container.State) local.State {
	switch {
	case s.Status != "":
		return local.State(s.Status)
	case s.Paused:
		return local.Paused
	case s.Restarting:
		return local.Restarting
	case s.Running:
		return local.Running
	case s.Dead:
		return local.Dead
	case timeOf(s.StartedAt).IsZero():
		return local.Created
	default:
		return local.Exited
	}
}

// timeOf reads a time; the engine's "never" is the zero time.
func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return moment(t)
}

// moment returns a time that a document can hold, or the zero time.
func moment(t time.Time) time.Time {
	if t = t.UTC(); t.Year() <= 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// cpuOf returns CPU units, of which ECS knows whole ones only. The three ways
// to limit a container exclude each other, but for shares, which are no more
// than a weight.
func cpuOf(r container.Resources) float64 {
	switch {
	case r.NanoCPUs > 0:
		return math.Round(float64(r.NanoCPUs) * unitsPerCPU / 1e9)
	case r.CPUQuota > 0:
		return math.Round(float64(r.CPUQuota) * unitsPerCPU / float64(cmp.Or(max(r.CPUPeriod, 0), defaultPeriod)))
	default:
		return float64(max(r.CPUShares, 0))
	}
}

func memoryOf(bytes int64) int64 {
	if bytes <= 0 {
		return 0
	}
	return max(bytes/mib, 1)
}

func networksOf(settings *container.NetworkSettings) []local.Network {
	var list []local.Network
	for name, e := range settings.Networks {
		n := local.Network{Name: name}
		if e != nil {
			n.IPv4, n.IPv4Subnet = addressOf(netip.Addr.Is4, e.IPAddress, e.IPPrefixLen)
			n.IPv6, n.IPv6Subnet = addressOf(netip.Addr.Is6, e.GlobalIPv6Address, e.GlobalIPv6PrefixLen)
			n.IPv4Gateway, _ = addressOf(netip.Addr.Is4, e.Gateway, 0)
			n.IPv6Gateway, _ = addressOf(netip.Addr.Is6, e.IPv6Gateway, 0)
			n.MAC = e.MacAddress
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b local.Network) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// addressOf returns an address of a family, and the network of that many bits
// around it.
func addressOf(family func(netip.Addr) bool, s string, bits int) (netip.Addr, netip.Prefix) {
	addr, err := netip.ParseAddr(s)
	addr = addr.Unmap().WithZone("")
	if err != nil || addr.IsUnspecified() || !family(addr) {
		return netip.Addr{}, netip.Prefix{}
	}
	if bits <= 0 {
		return addr, netip.Prefix{}
	}
	subnet, err := addr.Prefix(bits)
	if err != nil {
		return addr, netip.Prefix{}
	}
	return addr, subnet
}

func portsOf(settings *container.NetworkSettings) []local.Port {
	var list []local.Port
	for port, bindings := range settings.Ports {
		for _, b := range bindings {
			published, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil || published == 0 {
				continue
			}
			list = append(list, local.Port{Container: uint16(port.Int()), Host: uint16(published), HostIP: b.HostIP, Protocol: port.Proto()})
		}
	}
	slices.SortFunc(list, func(a, b local.Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.HostIP, b.HostIP), cmp.Compare(a.Host, b.Host))
	})
	return list
}

func volumesOf(mounts []container.MountPoint) []local.Volume {
	var list []local.Volume
	for _, m := range mounts {
		v := local.Volume{Source: m.Source, Destination: m.Destination}
		if m.Type != mount.TypeBind {
			v.Name = m.Name
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b local.Volume) int { return strings.Compare(a.Destination, b.Destination) })
	return list
}
