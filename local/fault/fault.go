// Package fault is the network fault injection of the ECS agent: a port that
// is a black hole, latency, packet loss. It checks requests, keeps what runs in
// which network namespace, and says no where the agent does. What makes a fault
// real is an Injector; the one called Record touches nothing.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fault-injection.html
package fault

import (
	"net/netip"
	"slices"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Kind is a kind of fault, by its name on the wire.
type Kind string

// The kinds.
const (
	BlackholePort Kind = "network-blackhole-port"
	Latency       Kind = "network-latency"
	PacketLoss    Kind = "network-packet-loss"
)

// noun is how a message names a latency or a loss.
func (k Kind) noun() string {
	if k == Latency {
		return "network latency"
	}
	return "network packet loss"
}

// Action is what a request wants of a fault, as timeouts word it.
type Action string

// The actions.
const (
	Start  Action = "start"
	Stop   Action = "stop"
	Status Action = "check status"
)

// Protocols and types of traffic of a black hole.
const (
	TCP     = "tcp"
	UDP     = "udp"
	Ingress = "ingress"
	Egress  = "egress"
)

// Fault is one fault. Which fields count depends on its kind. Values are not
// changed.
type Fault struct {
	Kind Kind

	// Of a black hole: packets to this port are lost. Ingress: a port of the
	// task. Egress: a port of others.
	Port        uint16
	Protocol    string // TCP, UDP
	TrafficType string // Ingress, Egress

	// Of latency: packets that leave the task are delayed by Delay, give or
	// take Jitter.
	Delay  time.Duration
	Jitter time.Duration

	// Of a loss: so many of a hundred packets that leave the task are lost.
	LossPercent int

	// Of latency and loss: the peers whose packets are meant, and how many of
	// a hundred flows to them.
	Sources      []netip.Prefix
	FlowsPercent int

	// SourcesToFilter are peers that are left alone. See Exempt.
	SourcesToFilter []netip.Prefix
}

// same reports whether two faults are the same to the agent: black holes of
// the same port, protocol and direction, whatever they filter, or two faults
// of another kind, of which there is at most one.
func (f Fault) same(other Fault) bool {
	if f.Kind != other.Kind {
		return false
	}
	return f.Kind != BlackholePort || f.Port == other.Port && f.Protocol == other.Protocol && f.TrafficType == other.TrafficType
}

// Exempt returns the peers that the fault must leave alone: SourcesToFilter,
// and the address of the ECS endpoints where the fault could cut the task off
// from what ends it.
func (f Fault) Exempt() []netip.Prefix {
	const endpointsPort = 80
	if f.Kind == BlackholePort && (f.TrafficType != Egress || f.Port != endpointsPort) {
		return f.SourcesToFilter
	}
	endpoints := netip.MustParseAddr(local.ECSAddress)
	return append(slices.Clone(f.SourcesToFilter), netip.PrefixFrom(endpoints, endpoints.BitLen()))
}

// Running is a fault that runs.
type Running struct {
	Target Target
	Fault  Fault
	Since  time.Time // UTC
}
