package netfault

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local/fault"
)

// tablePrefix is how the names of our tables begin.
const tablePrefix = "ecs_local_fault_"

// tableName returns the name of the fault's table: the same for faults that are
// the same to the agent.
func tableName(f Fault) string {
	if f.Kind == fault.BlackholePort {
		return fmt.Sprintf("%sblackhole_%s_%s_%d", tablePrefix, f.TrafficType, f.Protocol, f.Port)
	}
	return tablePrefix + strings.TrimPrefix(strings.ReplaceAll(string(f.Kind), "-", "_"), "network_")
}

// ruleset is what a table holds: one chain that sees the packets and, for
// latency and loss, one for those that are at fault.
type ruleset struct {
	family nftables.TableFamily
	hook   *nftables.ChainHook
	sees   [][]expr.Any
	faulty [][]expr.Any
}

// Names of chains.
const (
	seesChain   = "sees"
	faultyChain = "faulty"
)

// blackhole drops what goes to a port. Packets of peers that are left alone
// leave the chain before. As in the agent, a dropped packet of the container's
// own is an error to the program that sends it with UDP.
func blackhole(f Fault) ruleset {
	set := ruleset{family: nftables.TableFamilyINet, hook: nftables.ChainHookOutput}
	peer := destination
	if f.TrafficType == fault.Ingress {
		set.hook, peer = nftables.ChainHookInput, source
	}
	protocol := byte(unix.IPPROTO_TCP)
	if f.Protocol == fault.UDP {
		protocol = unix.IPPROTO_UDP
	}
	for _, prefix := range f.Exempt() {
		set.sees = append(set.sees, rule(within(prefix, peer), verdict(expr.VerdictAccept)))
	}
	const portOffset = 2 // of the destination, in both protocols
	set.sees = append(set.sees, rule(transport(expr.CmpOpEq, protocol), []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: binaryutil.BigEndian.PutUint16(f.Port)},
	}, verdict(expr.VerdictDrop)))
	return set
}

// toNetem puts packets into the band that has the netem.
func toNetem(f Fault) ruleset {
	return ruleset{
		family: nftables.TableFamilyINet, hook: nftables.ChainHookPostrouting, sees: choose(f),
		faulty: [][]expr.Any{{
			&expr.Counter{},
			&expr.Immediate{Register: unix.NFT_REG_1, Data: binaryutil.NativeEndian.PutUint32(faultyBand)},
			&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: unix.NFT_REG_1},
		}},
	}
}

// lose drops packets without a netem, where they leave by an interface. There
// a loss is no error to the program that sends.
func lose(f Fault) ruleset {
	return ruleset{
		family: nftables.TableFamilyNetdev, hook: nftables.ChainHookEgress, sees: choose(f),
		faulty: [][]expr.Any{rule(
			[]expr.Any{&expr.Numgen{Register: unix.NFT_REG_1, Modulus: hundred, Type: unix.NFT_NG_RANDOM}},
			below(f.LossPercent, expr.CmpOpLt), verdict(expr.VerdictDrop))},
	}
}

// choose sends the packets that are meant on to the other chain, each at most
// once.
func choose(f Fault) (rules [][]expr.Any) {
	for _, prefix := range f.Exempt() {
		rules = append(rules, rule(within(prefix, destination), verdict(expr.VerdictAccept)))
	}
	rules = append(rules, rule(neighbours(), verdict(expr.VerdictAccept)))
	if f.FlowsPercent > 0 && f.FlowsPercent < hundred {
		for _, v := range []version{ipv4, ipv6} {
			for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
				rules = append(rules, rule(v.match(), transport(expr.CmpOpEq, protocol), v.flow(true), below(f.FlowsPercent, expr.CmpOpGte), verdict(expr.VerdictAccept)))
			}
			rules = append(rules, rule(v.match(), transport(expr.CmpOpNeq, unix.IPPROTO_TCP), transport(expr.CmpOpNeq, unix.IPPROTO_UDP),
				v.flow(false), below(f.FlowsPercent, expr.CmpOpGte), verdict(expr.VerdictAccept)))
		}
	}
	for _, prefix := range f.Sources {
		rules = append(rules, rule(within(prefix, destination), []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: faultyChain}}))
	}
	return rules
}

// rule is the parts of a rule, one after the other.
func rule(parts ...[]expr.Any) (all []expr.Any) {
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func verdict(kind expr.VerdictKind) []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: kind}}
}

// transport compares the protocol above IP.
func transport(op expr.CmpOp, protocol byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: []byte{protocol}},
	}
}

// side is one of a packet's addresses.
type side int

const (
	source side = iota
	destination
)

// version is where the addresses are in a version of IP.
type version struct {
	etherType uint16
	addresses uint32 // where the source's begins; the destination's comes next
	length    uint32
}

var (
	ipv4 = version{unix.ETH_P_IP, 12, 4}
	ipv6 = version{unix.ETH_P_IPV6, 8, 16}
)

func (v version) match() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: binaryutil.BigEndian.PutUint16(v.etherType)},
	}
}

// within matches packets with one of their addresses in a prefix.
func within(prefix netip.Prefix, s side) []expr.Any {
	v := ipv6
	if prefix.Addr().Is4() {
		v = ipv4
	}
	all := v.match()
	if prefix.Bits() == 0 {
		return all
	}
	mask := make([]byte, v.length)
	for i := range prefix.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(all,
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: v.addresses + uint32(s)*v.length, Len: v.length},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: v.length, Mask: mask, Xor: make([]byte, v.length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: prefix.Masked().Addr().AsSlice()})
}

// neighbours matches what asks for the hardware addresses of IPv6. IPv4 has ARP
// for it, which no fault reaches.
func neighbours() []expr.Any {
	const firstType, lastType = 133, 137 // router solicitation to redirect, RFC 4861
	return rule(ipv6.match(), transport(expr.CmpOpEq, unix.IPPROTO_ICMPV6), []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpGte, Register: unix.NFT_REG_1, Data: []byte{firstType}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: unix.NFT_REG_1, Data: []byte{lastType}},
	})
}

// flow computes a number below 100 that is the same for all packets of a flow:
// of its addresses and, where it has them, ports.
func (v version) flow(ports bool) []expr.Any {
	const wordSize, portsLength = 4, 4
	length := 2 * v.length
	all := []expr.Any{&expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseNetworkHeader, Offset: v.addresses, Len: length}}
	if ports {
		all = append(all, &expr.Payload{DestRegister: unix.NFT_REG32_00 + length/wordSize, Base: expr.PayloadBaseTransportHeader, Len: portsLength})
		length += portsLength
	}
	return append(all, &expr.Hash{
		SourceRegister: unix.NFT_REG32_00, DestRegister: unix.NFT_REG_1, Length: length, Modulus: hundred, Type: expr.HashTypeJenkins})
}

// below compares a number with a percentage.
func below(percent int, op expr.CmpOp) []expr.Any {
	const wordSize = 4
	return []expr.Any{
		// The kernel compares bytes in order.
		&expr.Byteorder{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Op: expr.ByteorderHton, Len: wordSize, Size: wordSize},
		&expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: binaryutil.BigEndian.PutUint32(uint32(percent))},
	}
}

const hundred = 100

// install makes the table, in one transaction. One that is there is replaced.
func (in *inside) install(name string, set ruleset) error {
	table := &nftables.Table{Name: name, Family: set.family}
	chain := nftables.Chain{Name: seesChain, Table: table, Type: nftables.ChainTypeFilter, Hooknum: set.hook, Priority: nftables.ChainPriorityFilter}
	chains := []nftables.Chain{chain}
	if set.family == nftables.TableFamilyNetdev {
		links, err := in.faultyLinks()
		if err != nil {
			return err
		}
		chains = nil
		for _, link := range links {
			chain.Name, chain.Device = fmt.Sprintf("%s_%d", seesChain, link.Attrs().Index), link.Attrs().Name
			chains = append(chains, chain)
		}
	}
	in.tables.AddTable(table)
	in.tables.DelTable(table)
	in.tables.AddTable(table)
	if len(set.faulty) > 0 {
		in.fill(&nftables.Chain{Name: faultyChain, Table: table}, set.faulty)
	}
	for _, chain := range chains {
		in.fill(&chain, set.sees)
	}
	if err := in.tables.Flush(); err != nil {
		return fmt.Errorf("add nftables table %s: %w", name, err)
	}
	return nil
}

func (in *inside) fill(chain *nftables.Chain, rules [][]expr.Any) {
	in.tables.AddChain(chain)
	for _, exprs := range rules {
		in.tables.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: exprs})
	}
}

// ours returns our tables, of all families.
func (in *inside) ours() ([]*nftables.Table, error) {
	all, err := in.tables.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	return slices.DeleteFunc(all, func(t *nftables.Table) bool { return !strings.HasPrefix(t.Name, tablePrefix) }), nil
}

// uninstall deletes those of our tables that are meant, and reports whether
// there were any.
func (in *inside) uninstall(meant func(name string) bool) (found bool, err error) {
	tables, err := in.ours()
	if err != nil {
		return false, err
	}
	for _, table := range tables {
		if !meant(table.Name) {
			continue
		}
		found = true
		in.tables.DelTable(table)
		if err := in.tables.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return true, fmt.Errorf("delete nftables table %s: %w", table.Name, err)
		}
	}
	return found, nil
}
