// Package netfault puts network faults into the network namespaces of running
// containers, as the ECS agent does for its tasks: a port that is a black hole,
// latency, and loss of packets. It asks the kernel by netlink and starts no
// other program. Linux only.
//
// What it leaves in a namespace has names and numbers of its own, so that a
// later process finds and removes it: nftables tables whose names begin with
// "ecs_local_fault_", and queueing disciplines with the handles ec51: and ec52:.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fault-injection.html
package netfault

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Kind is a kind of fault, by its name in the agent's API.
type Kind string

// The kinds.
const (
	BlackholePort Kind = "network-blackhole-port"
	Latency       Kind = "network-latency"
	PacketLoss    Kind = "network-packet-loss"
)

// Protocols and types of traffic of a black hole.
const (
	TCP     = "tcp"
	UDP     = "udp"
	Ingress = "ingress"
	Egress  = "egress"
)

// Fault is one fault. Which fields count depends on its kind.
type Fault struct {
	Kind Kind

	// Of a black hole: packets to this port are dropped. Ingress: a port of the
	// container. Egress: a port of others.
	Port        uint16
	Protocol    string // TCP, UDP
	TrafficType string // Ingress, Egress

	// Of latency: packets that leave are delayed by Delay, give or take Jitter.
	// Each is at most LongestDelay, and one of them more than zero.
	Delay  time.Duration
	Jitter time.Duration

	// Of a loss: so many of a hundred packets that leave are lost, 1 to 100.
	LossPercent int

	// Of latency and loss: the peers whose packets are meant, at least one, and
	// how many of a hundred flows to them, 1 to 100; 0 means all.
	Sources      []netip.Prefix
	FlowsPercent int

	// SourcesToFilter are peers that are left alone. The address of the ECS
	// endpoints is so too, with latency, loss, and a black hole of port 80
	// toward others: a request there must be able to end the fault.
	SourcesToFilter []netip.Prefix
}

// LongestDelay is what the kernel can count in the unit of its queues.
const LongestDelay = 4 * time.Minute

// Namespace is where the network namespace of a container is found. One of the
// fields is enough; Path is tried first.
type Namespace struct {
	// Path is the file of the namespace, as Docker names it in
	// NetworkSettings.SandboxKey: /var/run/docker/netns/ and an id.
	Path string
	// Pid is a process of the container, in numbers of the host: State.Pid.
	Pid int
}

// String returns the namespace for messages.
func (n Namespace) String() string {
	switch {
	case n.Path == "":
		return fmt.Sprintf("process %d", n.Pid)
	case n.Pid == 0:
		return n.Path
	default:
		return fmt.Sprintf("%s (process %d)", n.Path, n.Pid)
	}
}

// exempt returns the peers that the fault leaves alone.
func (f Fault) exempt() []netip.Prefix {
	const endpointsPort = 80
	if f.Kind == BlackholePort && (f.TrafficType != Egress || f.Port != endpointsPort) {
		return f.SourcesToFilter
	}
	endpoints := netip.MustParseAddr(local.ECSAddress)
	return append(slices.Clone(f.SourcesToFilter), netip.PrefixFrom(endpoints, endpoints.BitLen()))
}

// check returns what is wrong with the fault.
func (f Fault) check() error {
	refuse := func(format string, args ...any) error { return local.Errorf(local.Invalid, format, args...) }
	for _, prefix := range slices.Concat(f.Sources, f.SourcesToFilter) {
		if !prefix.IsValid() {
			return refuse("a fault names a peer that is neither an address nor a CIDR block: name addresses like 10.0.0.1 or 10.0.0.0/24")
		}
	}
	switch f.Kind {
	case BlackholePort:
		if f.Protocol != TCP && f.Protocol != UDP {
			return refuse("a black hole is for tcp or udp, not %q: set one of these", f.Protocol)
		}
		if f.TrafficType != Ingress && f.TrafficType != Egress {
			return refuse("a black hole is for ingress or egress, not %q: set one of these", f.TrafficType)
		}
		return nil
	case Latency:
		if f.Delay < 0 || f.Jitter < 0 || f.Delay+f.Jitter == 0 {
			return refuse("latency needs a delay or a jitter of more than nothing: set one")
		}
		if f.Delay > LongestDelay || f.Jitter > LongestDelay {
			return refuse("the kernel cannot delay packets by %s: set a delay and a jitter of at most %s", max(f.Delay, f.Jitter), LongestDelay)
		}
	case PacketLoss:
		if f.LossPercent < 1 || f.LossPercent > 100 {
			return refuse("packet loss of %d %% is impossible: set 1 to 100", f.LossPercent)
		}
	default:
		return refuse("there is no fault %q: use %s, %s or %s", f.Kind, BlackholePort, Latency, PacketLoss)
	}
	if len(f.Sources) == 0 {
		return refuse("%s needs the peers it is for: 0.0.0.0/0 means all of IPv4", f.Kind)
	}
	if f.FlowsPercent < 0 || f.FlowsPercent > 100 {
		return refuse("%d %% of the flows is impossible: set 1 to 100", f.FlowsPercent)
	}
	return nil
}
