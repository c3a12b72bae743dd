package netfault

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ecs-local/ecs-local/local/fault"
)

func TestBlackholeKillsOnePortAndNothingElse(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	for _, test := range []struct {
		name    string
		fault   Fault
		addr    netip.Addr // of the peer, or of the task for ingress
		inverse string     // the other protocol
	}{
		{"egress tcp", Fault{Protocol: fault.TCP, TrafficType: fault.Egress}, peer, fault.UDP},
		{"egress udp", Fault{Protocol: fault.UDP, TrafficType: fault.Egress}, peer, fault.TCP},
		{"ingress tcp", Fault{Protocol: fault.TCP, TrafficType: fault.Ingress}, taskAddress, fault.UDP},
		{"ingress udp", Fault{Protocol: fault.UDP, TrafficType: fault.Ingress}, taskAddress, fault.TCP},
		{"egress tcp, IPv6", Fault{Protocol: fault.TCP, TrafficType: fault.Egress}, peer6, fault.UDP},
		{"ingress udp, IPv6", Fault{Protocol: fault.UDP, TrafficType: fault.Ingress}, taskAddress6, fault.TCP},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f := test.fault
			f.Kind, f.Port = fault.BlackholePort, port
			from, other, otherWay := w.task, w.peers, taskAddress
			if f.TrafficType == fault.Ingress {
				from, other, otherWay = w.peers, w.task, peer
			}
			to := netip.AddrPortFrom(test.addr, port)
			wantAlive(t, from, f.Protocol, to)
			open, err := connect(t, from, f.Protocol, to, patience)
			try(t, err)
			defer func() { _ = open.Close() }()
			_, err = ping(open, patience)
			try(t, err)

			w.apply(t, i, f)
			wantDead(t, from, f.Protocol, to)
			if _, err := ping(open, impatience); err == nil {
				t.Error("an open connection goes on")
			}
			wantAlive(t, from, test.inverse, to)
			wantAlive(t, other, f.Protocol, netip.AddrPortFrom(otherWay, port))
			if f.TrafficType == fault.Egress {
				wantAlive(t, from, f.Protocol, netip.AddrPortFrom(test.addr, otherPort))
			}

			w.remove(t, i, f)
			wantAlive(t, from, f.Protocol, to)
		})
	}
}

func TestBlackholeLeavesFilteredPeersAlone(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	w := newWorld(t)
	egress := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress, SourcesToFilter: []netip.Prefix{alone(otherPeer)}}
	w.apply(t, i, egress)
	wantAlive(t, w.task, fault.TCP, netip.AddrPortFrom(otherPeer, port))
	wantDead(t, w.task, fault.TCP, netip.AddrPortFrom(peer, port))
	w.remove(t, i, egress)

	ingress := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Ingress, SourcesToFilter: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/31")}}
	w.apply(t, i, ingress)
	wantAlive(t, w.peers, fault.TCP, netip.AddrPortFrom(taskAddress, port)) // from 10.77.0.1
	wantDead(t, w.peers, fault.TCP, netip.AddrPortFrom(taskAddress6, port))
	ingress.SourcesToFilter = []netip.Prefix{alone(otherPeer)}
	w.apply(t, i, ingress) // the newer one replaces the other
	wantDead(t, w.peers, fault.TCP, netip.AddrPortFrom(taskAddress, port))
}

func TestBlackholeOfPort80LeavesTheEndpointsAlone(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	w := newWorld(t)
	f := Fault{Kind: fault.BlackholePort, Port: httpPort, Protocol: fault.TCP, TrafficType: fault.Egress}
	w.apply(t, i, f)
	wantDead(t, w.task, fault.TCP, netip.AddrPortFrom(peer, httpPort))
	wantAlive(t, w.task, fault.TCP, netip.AddrPortFrom(endpoints, httpPort))
	// Another port of the endpoints is like any other.
	f.Port = port
	w.apply(t, i, f)
	wantDead(t, w.task, fault.TCP, netip.AddrPortFrom(endpoints, port))
}

func TestBlackholesOfDifferentPortsAreIndependent(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	w := newWorld(t)
	one := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress, SourcesToFilter: []netip.Prefix{alone(otherPeer)}}
	two := Fault{Kind: fault.BlackholePort, Port: otherPort, Protocol: fault.TCP, TrafficType: fault.Egress}
	w.apply(t, i, one)
	w.apply(t, i, two)
	wantDead(t, w.task, fault.TCP, netip.AddrPortFrom(peer, port))
	wantDead(t, w.task, fault.TCP, netip.AddrPortFrom(otherPeer, otherPort)) // filtered by the other one only
	w.remove(t, i, one)
	w.wantThere(t, i, two, true)
	wantAlive(t, w.task, fault.TCP, netip.AddrPortFrom(peer, port))
	wantDead(t, w.task, fault.TCP, netip.AddrPortFrom(peer, otherPort))
}

// roundTrips returns how long so many pings take, the shortest first. A busy
// machine may lose a packet by itself: then the next one goes over another
// connection, to which no late echo comes.
func roundTrips(t *testing.T, w *world, protocol string, to netip.Addr, pings int) []time.Duration {
	t.Helper()
	var all []time.Duration
	over := func(conn net.Conn) error {
		defer func() { _ = conn.Close() }()
		for len(all) < pings {
			took, err := ping(conn, patience)
			if err != nil {
				return err
			}
			all = append(all, took)
		}
		return nil
	}
	const most = 3
	for lost := 0; ; lost++ {
		conn, err := connect(t, w.task, protocol, netip.AddrPortFrom(to, port), patience)
		try(t, err)
		if err := over(conn); err == nil {
			break
		} else if lost == most {
			t.Fatalf("%d of the pings to %s are lost: %v", lost+1, to, err)
		}
	}
	slices.Sort(all)
	return all
}

// TestLatencyRisesAndFalls needs netem.
func TestLatencyRisesAndFalls(t *testing.T) {
	t.Parallel()
	i := requireNetem(t)
	w := newWorld(t)
	const delay = 100 * time.Millisecond
	f := Fault{Kind: fault.Latency, Delay: delay, Sources: []netip.Prefix{alone(peer), alone(peer6), alone(endpoints)}}
	want := func(protocol string, to netip.Addr, more time.Duration) {
		t.Helper()
		// No packet is early. On a busy machine some are late: not the
		// fastest of many.
		const pings, tolerance = 21, 50 * time.Millisecond
		if got := roundTrips(t, w, protocol, to, pings)[0]; got < more || got > more+tolerance {
			t.Errorf("%s to %s takes %s, want %s to %s", protocol, to, got, more, more+tolerance)
		}
	}
	for _, protocol := range []string{fault.TCP, fault.UDP} {
		want(protocol, peer, 0)
	}
	w.apply(t, i, f)
	for _, protocol := range []string{fault.TCP, fault.UDP} {
		want(protocol, peer, delay)
		want(protocol, peer6, delay)
		want(protocol, otherPeer, 0) // not among the sources
		want(protocol, endpoints, 0)
	}
	w.remove(t, i, f)
	for _, protocol := range []string{fault.TCP, fault.UDP} {
		want(protocol, peer, 0)
	}
	f.Sources, f.SourcesToFilter = everybody, []netip.Prefix{alone(peer)}
	w.apply(t, i, f)
	want(fault.UDP, peer, 0)
	want(fault.UDP, otherPeer, delay)
	want(fault.UDP, endpoints, 0)
}

// TestJitterSpreadsLatency needs netem.
func TestJitterSpreadsLatency(t *testing.T) {
	t.Parallel()
	i := requireNetem(t)
	w := newWorld(t)
	const delay, jitter, tolerance = 100 * time.Millisecond, 80 * time.Millisecond, 50 * time.Millisecond
	const pings = 41
	// By chance, or on a busy machine, the one in the middle of many can be
	// late: not three times in a row.
	measure := func(most time.Duration) (shortest, middle, spread time.Duration) {
		t.Helper()
		const measurements = 3
		for range measurements {
			all := roundTrips(t, w, fault.UDP, peer, pings)
			if shortest, middle, spread = all[0], all[pings/2], all[pings-1]-all[0]; middle <= most {
				break
			}
		}
		return shortest, middle, spread
	}
	w.apply(t, i, Fault{Kind: fault.Latency, Delay: delay, Jitter: jitter, Sources: everybody})
	if shortest, middle, spread := measure(delay + tolerance); shortest < delay-jitter || middle > delay+tolerance || spread < jitter {
		t.Errorf("round trips of %s, %s in the middle, %s apart, want at least %s, about %s, at least %s", shortest, middle, spread, delay-jitter, delay, jitter)
	}
	w.apply(t, i, Fault{Kind: fault.Latency, Jitter: jitter, Sources: everybody})
	if _, middle, _ := measure(jitter + tolerance); middle > jitter+tolerance {
		t.Errorf("jitter alone makes %s, want at most %s", middle, jitter)
	}
}

// lossWays are the two ways to lose packets.
func lossWays(t *testing.T, test func(t *testing.T, i *Injector)) {
	t.Run("netem", func(t *testing.T) {
		t.Parallel()
		test(t, requireNetem(t))
	})
	t.Run("nftables", func(t *testing.T) {
		t.Parallel()
		test(t, without(requireInjector(t)))
	})
}

// lost returns how many of so many packets to a peer have no echo. Packets are
// numbered, so that a late echo counts for its own packet.
func lost(t *testing.T, w *world, to netip.Addr, packets int) int {
	t.Helper()
	conn, err := connect(t, w.task, fault.UDP, netip.AddrPortFrom(to, port), patience)
	try(t, err)
	defer func() { _ = conn.Close() }()
	const (
		group = 16                    // so small that no buffer overflows on a busy machine
		pause = 50 * time.Millisecond // after which the next group is sent
		quiet = 3 * time.Second       // after which nothing comes any more
	)
	missing := map[uint16]bool{}
	buffer := make([]byte, 2)
	receive := func(until int, patience time.Duration) {
		for len(missing) > until {
			try(t, conn.SetReadDeadline(time.Now().Add(patience)))
			if _, err := conn.Read(buffer); err != nil {
				return
			}
			delete(missing, binary.BigEndian.Uint16(buffer))
		}
	}
	for sent := 0; sent < packets; sent += group {
		before := len(missing)
		for i := range group {
			number := uint16(sent + i)
			missing[number] = true
			if _, err := conn.Write(binary.BigEndian.AppendUint16(nil, number)); err != nil {
				t.Fatalf("the program that sends gets to know of a loss: %v", err)
			}
		}
		receive(before, pause)
	}
	receive(0, quiet)
	return len(missing)
}

// plausible reports whether so many of n events of a probability are within the
// 99.9 % confidence interval.
func plausible(events, n int, probability float64) bool {
	const z = 3.2905
	return math.Abs(float64(events)-float64(n)*probability) <= z*math.Sqrt(float64(n)*probability*(1-probability))+1
}

func TestLossIsWithinItsConfidenceInterval(t *testing.T) {
	t.Parallel()
	lossWays(t, func(t *testing.T, i *Injector) {
		w := newWorld(t)
		const packets, percent = 2000, 20
		f := Fault{Kind: fault.PacketLoss, LossPercent: percent, Sources: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/31"), alone(peer), alone(peer6)}}
		// A busy machine may lose some by itself: not twice in a row.
		wantAll := func(to netip.Addr, when string) {
			t.Helper()
			if n := lost(t, w, to, packets); n != 0 {
				if again := lost(t, w, to, packets); again != 0 {
					t.Errorf("%d and %d of %d packets to %s lost %s", n, again, packets, to, when)
				}
			}
		}
		wantAll(peer, "without a fault")
		w.apply(t, i, f)
		for _, to := range []netip.Addr{peer, peer6} {
			n := lost(t, w, to, packets)
			t.Logf("%d of %d packets to %s lost", n, packets, to)
			// One in a thousand measurements is outside: not two in a row.
			if !plausible(n, packets, percent/100.) {
				if n := lost(t, w, to, packets); !plausible(n, packets, percent/100.) {
					t.Errorf("%d of %d packets to %s lost, want %d %%", n, packets, to, percent)
				}
			}
		}
		wantAll(otherPeer, "with a fault of another")
		w.remove(t, i, f)
		wantAll(peer, "after the fault")
	})
}

func TestTotalLossLeavesFilteredPeersAndTheEndpointsAlone(t *testing.T) {
	t.Parallel()
	lossWays(t, func(t *testing.T, i *Injector) {
		w := newWorld(t)
		w.apply(t, i, Fault{Kind: fault.PacketLoss, LossPercent: 100, Sources: everybody, SourcesToFilter: []netip.Prefix{alone(otherPeer)}})
		for _, protocol := range []string{fault.TCP, fault.UDP} {
			wantDead(t, w.task, protocol, netip.AddrPortFrom(peer, port))
			wantDead(t, w.task, protocol, netip.AddrPortFrom(peer6, port))
			wantAlive(t, w.task, protocol, netip.AddrPortFrom(otherPeer, port))
			wantAlive(t, w.task, protocol, netip.AddrPortFrom(endpoints, httpPort))
		}
	})
}

func TestPartOfTheFlows(t *testing.T) {
	t.Parallel()
	lossWays(t, func(t *testing.T, i *Injector) {
		w := newWorld(t)
		const flows, percent = 200, 30
		w.apply(t, i, Fault{Kind: fault.PacketLoss, LossPercent: 100, Sources: everybody, FlowsPercent: percent})
		for _, to := range []netip.Addr{peer, peer6} {
			var conns []net.Conn
			for range flows {
				conn, err := connect(t, w.task, fault.UDP, netip.AddrPortFrom(to, port), patience)
				try(t, err)
				defer func() { _ = conn.Close() }()
				conns = append(conns, conn)
			}
			answers := func() []bool {
				alive := make([]bool, len(conns))
				var all sync.WaitGroup
				for i, conn := range conns {
					all.Go(func() {
						_, err := ping(conn, 3*time.Second)
						alive[i] = err == nil
					})
				}
				all.Wait()
				return alive
			}
			// A busy machine may lose a packet by itself, or take long over it.
			// If it were the fault, no two rounds would be alike.
			const rounds = 4
			last := answers()
			for round := 1; ; round++ {
				again := answers()
				diff := cmp.Diff(last, again)
				last = again
				if diff == "" {
					break
				}
				if round == rounds {
					t.Errorf("packets of one flow fare differently (-one round +the next):\n%s", diff)
					break
				}
			}
			dead := 0
			for _, alive := range last {
				if !alive {
					dead++
				}
			}
			t.Logf("%d of %d flows to %s are at fault", dead, flows, to)
			const z = 5 // nobody has to look at a failure by chance
			if math.Abs(float64(dead)-flows*percent/100.) > z*math.Sqrt(flows*percent/100.*(1-percent/100.)) {
				t.Errorf("%d of %d flows to %s are at fault, want %d %%", dead, flows, to, percent)
			}
		}
	})
}

func TestRemovalLeavesNothing(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	w := newWorld(t)
	before := w.state(t)
	faults := []Fault{
		{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress},
		{Kind: fault.BlackholePort, Port: port, Protocol: fault.UDP, TrafficType: fault.Ingress},
		{Kind: fault.PacketLoss, LossPercent: 10, Sources: everybody},
	}
	for range 2 {
		for _, f := range faults {
			w.apply(t, i, f)
			w.apply(t, i, f)
		}
		for _, f := range faults {
			w.remove(t, i, f)
			w.remove(t, i, f)
		}
		if diff := cmp.Diff(before, w.state(t)); diff != "" {
			t.Fatalf("something stays (-before +after):\n%s", diff)
		}
	}
}

// TestLatencyAndLossReplaceEachOther needs netem.
func TestLatencyAndLossReplaceEachOther(t *testing.T) {
	t.Parallel()
	i := requireNetem(t)
	w := newWorld(t)
	before := w.state(t)
	latency := Fault{Kind: fault.Latency, Delay: time.Millisecond, Sources: everybody}
	loss := Fault{Kind: fault.PacketLoss, LossPercent: 100, Sources: everybody}
	w.apply(t, i, latency)
	w.apply(t, i, loss)
	w.wantThere(t, i, latency, false)
	wantDead(t, w.task, fault.UDP, netip.AddrPortFrom(peer, port))
	w.remove(t, i, latency) // is not there, and takes nothing of the other away
	w.wantThere(t, i, loss, true)
	w.remove(t, i, loss)
	if diff := cmp.Diff(before, w.state(t)); diff != "" {
		t.Errorf("something stays (-before +after):\n%s", diff)
	}
}

// TestRemovalFinishesAnEarlierOne needs netem.
func TestRemovalFinishesAnEarlierOne(t *testing.T) {
	t.Parallel()
	i := requireNetem(t)
	w := newWorld(t)
	before := w.state(t)
	f := Fault{Kind: fault.Latency, Delay: time.Millisecond, Sources: everybody}
	w.apply(t, i, f)
	sockets, err := i.enter(w.container())
	try(t, err)
	_, err = sockets.uninstall(isShape) // and the process is killed
	try(t, err)
	try(t, sockets.close())
	w.remove(t, i, f)
	if diff := cmp.Diff(before, w.state(t)); diff != "" {
		t.Errorf("something stays (-before +after):\n%s", diff)
	}
}

// TestOtherQueueingDisciplineStays needs netem.
func TestOtherQueueingDisciplineStays(t *testing.T) {
	t.Parallel()
	i := requireNetem(t)
	w := newWorld(t)
	h := handleIn(t, w.task)
	eth0, err := h.LinkByName("eth0")
	try(t, err)
	try(t, h.QdiscAdd(netlink.NewPrio(netlink.QdiscAttrs{LinkIndex: eth0.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)})))
	before := w.state(t)
	wantError(t, i.Apply(t.Context(), w.container(), Fault{Kind: fault.Latency, Delay: time.Second, Sources: everybody}), "Unavailable", "tc qdisc del dev eth0 root")
	if diff := cmp.Diff(before, w.state(t)); diff != "" {
		t.Errorf("the namespace has changed (-before +after):\n%s", diff)
	}
}
