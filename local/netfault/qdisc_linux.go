package netfault

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local"
)

// The queueing disciplines are the agent's: a prio in which nothing takes the
// first band by itself, and a netem on that band. The handles are our own; the
// agent's are 1: and 10:.
// https://github.com/aws/amazon-ecs-agent/blob/master/ecs-agent/tmds/handlers/fault/v1/handlers/handlers.go
const (
	rootMajor  = 0xec51
	netemMajor = 0xec52
)

var (
	rootHandle  = netlink.MakeHandle(rootMajor, 0)
	faultyBand  = netlink.MakeHandle(rootMajor, 1)
	netemHandle = netlink.MakeHandle(netemMajor, 0)
)

// prioOn returns the discipline for the packets of an interface.
func prioOn(index int) *netlink.Prio {
	prio := netlink.NewPrio(netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_ROOT, Handle: rootHandle})
	for i := range prio.PriorityMap {
		prio.PriorityMap[i] = 2 // the third band
	}
	return prio
}

// netemOn returns the discipline that delays or loses what is in the first
// band.
func netemOn(index int, f Fault) *netlink.Netem {
	netem := netlink.NewNetem(
		netlink.QdiscAttrs{LinkIndex: index, Parent: faultyBand, Handle: netemHandle},
		netlink.NetemQdiscAttrs{Latency: microseconds(f.Delay), Loss: float32(f.LossPercent)})
	netem.Jitter = ticks(f.Jitter) // the constructor forgets it where there is no delay
	return netem
}

func microseconds(d time.Duration) uint32 { return uint32(d.Microseconds()) }

// ticks returns a time in the unit of the kernel's queues.
func ticks(d time.Duration) uint32 {
	return netlink.NewNetem(netlink.QdiscAttrs{}, netlink.NetemQdiscAttrs{Latency: microseconds(d)}).Latency
}

// faulty reports whether packets that leave by the interface can be at fault.
// What passes the port of a bridge passes another interface too.
func faulty(link netlink.Link) bool {
	a := link.Attrs()
	return a.Flags&net.FlagLoopback == 0 && a.Flags&net.FlagUp != 0 && a.MasterIndex == 0 && link.Type() != "bridge"
}

// shape puts the disciplines on the interfaces. Until packets are put into the
// first band, they change nothing.
func (in *inside) shape(f Fault) error {
	links, err := in.faultyLinks()
	if err != nil {
		return err
	}
	for _, link := range links {
		if err := in.shapeLink(link, f); err != nil {
			return err
		}
	}
	return nil
}

func (in *inside) shapeLink(link netlink.Link, f Fault) error {
	a := link.Attrs()
	err := in.links.QdiscAdd(prioOn(a.Index))
	switch {
	case errors.Is(err, unix.EEXIST):
		return &local.Error{Code: local.Unavailable, Err: err, Msg: fmt.Sprintf("the interface %s of the container has a queueing discipline "+
			"already, which %s would replace: remove it there with tc qdisc del dev %s root", a.Name, f.Kind, a.Name)}
	case err != nil:
		return fmt.Errorf("add prio to %s: %w", a.Name, err)
	}
	if err := in.links.QdiscAdd(netemOn(a.Index, f)); err != nil {
		return fmt.Errorf("add netem to %s: %w", a.Name, err)
	}
	return nil
}

func (in *inside) faultyLinks() ([]netlink.Link, error) {
	links, err := dump(in.links.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var all []netlink.Link
	for _, link := range links {
		if faulty(link) {
			all = append(all, link)
		}
	}
	if len(all) == 0 {
		return nil, local.Errorf(local.Unavailable, "the container has no network interface that packets could leave by: connect it to a network")
	}
	return all, nil
}

// shapes returns our disciplines: the roots, and whether there is a netem.
func (in *inside) shapes() (roots []netlink.Qdisc, netem bool, err error) {
	links, err := dump(in.links.LinkList)
	if err != nil {
		return nil, false, fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		all, err := dump(func() ([]netlink.Qdisc, error) { return in.links.QdiscList(link) })
		if err != nil {
			return nil, false, fmt.Errorf("list queueing disciplines of %s: %w", link.Attrs().Name, err)
		}
		for _, q := range all {
			switch q.Attrs().Handle {
			case rootHandle:
				roots = append(roots, q)
			case netemHandle:
				netem = true
			}
		}
	}
	return roots, netem, nil
}

// unshape takes our disciplines off all interfaces, and reports whether there
// were any.
func (in *inside) unshape() (found bool, err error) {
	roots, _, err := in.shapes()
	if err != nil {
		return false, err
	}
	for _, root := range roots {
		err := in.links.QdiscDel(root)
		// The interface, or the whole container, can go at any time.
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			return true, fmt.Errorf("delete queueing discipline: %w", err)
		}
	}
	return len(roots) > 0, nil
}

// dump repeats a listing that something changed meanwhile.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	const attempts = 5
	for range attempts {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}
