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
	"slices"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

// Fault is one fault; package fault says what its fields mean. Here each delay
// is at most LongestDelay, FlowsPercent 0 means all, and SourcesToFilter are
// all peers that are left alone, but for the address of the ECS endpoints: it
// is so with latency, loss, and a black hole of port 80 toward others, because
// a request there must be able to end the fault.
type Fault = fault.Fault

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

// check returns what is wrong with the fault.
func check(f Fault) error {
	refuse := func(format string, args ...any) error { return local.Errorf(local.Invalid, format, args...) }
	for _, prefix := range slices.Concat(f.Sources, f.SourcesToFilter) {
		if !prefix.IsValid() {
			return refuse("a fault names a peer that is neither an address nor a CIDR block: name addresses like 10.0.0.1 or 10.0.0.0/24")
		}
	}
	switch f.Kind {
	case fault.BlackholePort:
		if f.Protocol != fault.TCP && f.Protocol != fault.UDP {
			return refuse("a black hole is for tcp or udp, not %q: set one of these", f.Protocol)
		}
		if f.TrafficType != fault.Ingress && f.TrafficType != fault.Egress {
			return refuse("a black hole is for ingress or egress, not %q: set one of these", f.TrafficType)
		}
		return nil
	case fault.Latency:
		if f.Delay < 0 || f.Jitter < 0 || f.Delay+f.Jitter == 0 {
			return refuse("latency needs a delay or a jitter of more than nothing: set one")
		}
		if f.Delay > LongestDelay || f.Jitter > LongestDelay {
			return refuse("the kernel cannot delay packets by %s: set a delay and a jitter of at most %s", max(f.Delay, f.Jitter), LongestDelay)
		}
	case fault.PacketLoss:
		if f.LossPercent < 1 || f.LossPercent > 100 {
			return refuse("packet loss of %d %% is impossible: set 1 to 100", f.LossPercent)
		}
	default:
		return refuse("there is no fault %q: use %s, %s or %s", f.Kind, fault.BlackholePort, fault.Latency, fault.PacketLoss)
	}
	if len(f.Sources) == 0 {
		return refuse("%s needs the peers it is for: 0.0.0.0/0 means all of IPv4", f.Kind)
	}
	if f.FlowsPercent < 0 || f.FlowsPercent > 100 {
		return refuse("%d %% of the flows is impossible: set 1 to 100", f.FlowsPercent)
	}
	return nil
}
