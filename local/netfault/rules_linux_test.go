package netfault

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

func TestFaultsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	hole := Fault{Kind: fault.BlackholePort, Protocol: fault.TCP, TrafficType: fault.Egress}
	latency := Fault{Kind: fault.Latency, Delay: time.Second, Sources: everybody}
	loss := Fault{Kind: fault.PacketLoss, LossPercent: 1, Sources: everybody}
	with := func(f Fault, change func(*Fault)) Fault { change(&f); return f }
	for _, test := range []struct {
		name string
		f    Fault
		says string
	}{
		{"no kind", Fault{}, "network-latency"},
		{"protocol", with(hole, func(f *Fault) { f.Protocol = "icmp" }), "icmp"},
		{"traffic type", with(hole, func(f *Fault) { f.TrafficType = "" }), "ingress or egress"},
		{"filter", with(hole, func(f *Fault) { f.SourcesToFilter = []netip.Prefix{{}} }), "10.0.0.0/24"},
		{"no delay", with(latency, func(f *Fault) { f.Delay = 0 }), "more than nothing"},
		{"negative delay", with(latency, func(f *Fault) { f.Delay = -1 }), "more than nothing"},
		{"long delay", with(latency, func(f *Fault) { f.Delay = LongestDelay + 1 }), "at most 4m0s"},
		{"long jitter", with(latency, func(f *Fault) { f.Jitter = time.Hour }), "at most 4m0s"},
		{"latency for nobody", with(latency, func(f *Fault) { f.Sources = nil }), "0.0.0.0/0"},
		{"no loss", with(loss, func(f *Fault) { f.LossPercent = 0 }), "1 to 100"},
		{"more than all", with(loss, func(f *Fault) { f.LossPercent = 101 }), "1 to 100"},
		{"loss for nobody", with(loss, func(f *Fault) { f.Sources = nil }), "0.0.0.0/0"},
		{"more than all flows", with(loss, func(f *Fault) { f.FlowsPercent = 101 }), "1 to 100"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, check(test.f), local.Invalid, test.says)
		})
	}
	for _, f := range []Fault{hole, latency, loss, with(latency, func(f *Fault) { f.Delay, f.Jitter = 0, LongestDelay })} {
		if err := check(f); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestTableNames(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]Fault{
		"ecs_local_fault_blackhole_egress_tcp_80": {Kind: fault.BlackholePort, Port: 80, Protocol: fault.TCP, TrafficType: fault.Egress, SourcesToFilter: everybody},
		"ecs_local_fault_blackhole_ingress_udp_0": {Kind: fault.BlackholePort, Protocol: fault.UDP, TrafficType: fault.Ingress},
		"ecs_local_fault_latency":                 {Kind: fault.Latency, Delay: 1},
		"ecs_local_fault_packet_loss":             {Kind: fault.PacketLoss},
	} {
		if got := tableName(f); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestExemptPeers(t *testing.T) {
	t.Parallel()
	filter := []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}
	withEndpoints := []netip.Prefix{filter[0], netip.MustParsePrefix("169.254.170.2/32")}
	for _, test := range []struct {
		name string
		f    Fault
		want []netip.Prefix
	}{
		{"egress of port 80", Fault{Kind: fault.BlackholePort, Port: 80, TrafficType: fault.Egress}, withEndpoints},
		{"egress of another port", Fault{Kind: fault.BlackholePort, Port: 443, TrafficType: fault.Egress}, filter},
		{"ingress of port 80", Fault{Kind: fault.BlackholePort, Port: 80, TrafficType: fault.Ingress}, filter},
		{"latency", Fault{Kind: fault.Latency}, withEndpoints},
		{"loss", Fault{Kind: fault.PacketLoss}, withEndpoints},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.f.SourcesToFilter = filter
			if diff := cmp.Diff(test.want, test.f.Exempt(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBlackholeRules(t *testing.T) {
	t.Parallel()
	got := blackhole(Fault{Kind: fault.BlackholePort, Port: 6379, Protocol: fault.TCP, TrafficType: fault.Ingress,
		SourcesToFilter: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/12")}})
	want := ruleset{
		family: nftables.TableFamilyINet, hook: nftables.ChainHookInput,
		sees: [][]expr.Any{
			{
				&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{8, 0}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 240, 0, 0}, Xor: []byte{0, 0, 0, 0}},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{10, 0, 0, 0}},
				&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept},
			},
			{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x18, 0xeb}},
				&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
			},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(ruleset{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQueueingDisciplines(t *testing.T) {
	t.Parallel()
	prio := prioOn(7)
	if prio.Handle != 0xec510000 || prio.LinkIndex != 7 || prio.Bands != 3 {
		t.Errorf("prio %+v", prio)
	}
	for _, band := range prio.PriorityMap {
		if band != 2 {
			t.Errorf("packets go to band %d by themselves, want 2", band)
		}
	}
	const tickNumerator, tickDenominator = 1000, 64 // a tick is 64 ns
	for _, test := range []struct {
		name                string
		f                   Fault
		delay, jitter, loss uint32
	}{
		{"delay", Fault{Kind: fault.Latency, Delay: 64 * time.Millisecond}, 1000 * tickNumerator, 0, 0},
		{"delay and jitter", Fault{Kind: fault.Latency, Delay: 128 * time.Millisecond, Jitter: 64 * time.Millisecond}, 2000 * tickNumerator, 1000 * tickNumerator, 0},
		{"jitter alone", Fault{Kind: fault.Latency, Jitter: 64 * time.Millisecond}, 0, 1000 * tickNumerator, 0},
		{"the longest delay", Fault{Kind: fault.Latency, Delay: LongestDelay}, uint32(LongestDelay.Microseconds() * tickNumerator / tickDenominator), 0, 0},
		{"loss", Fault{Kind: fault.PacketLoss, LossPercent: 25}, 0, 0, 1 << 30},
		{"total loss", Fault{Kind: fault.PacketLoss, LossPercent: 100}, 0, 0, 1<<32 - 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := netemOn(7, test.f)
			const rounding = 64
			near := func(a, b uint32) bool { return max(a, b)-min(a, b) <= rounding }
			if got.Parent != 0xec510001 || got.Handle != 0xec520000 || !near(got.Latency, test.delay) || !near(got.Jitter, test.jitter) || !near(got.Loss, test.loss) {
				t.Errorf("netem %+v of %08x on %08x", got, got.Handle, got.Parent)
			}
		})
	}
}
