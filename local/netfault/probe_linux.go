package netfault

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

// probe tries in a namespace of its own, which ends with it, what the kernel
// can do. The first error says why there is no netem, the second why no fault
// can be made.
func probe() (netem, err error) {
	err = elsewhere(func(ns netns.NsHandle) (err error) {
		in, err := socketsIn(ns)
		if err != nil {
			return errors.Join(err, ns.Close())
		}
		defer func() { err = errors.Join(err, in.close()) }()
		netem, err = in.probe()
		return err
	})
	switch {
	case errors.Is(err, unix.EPERM):
		err = notPermitted(err)
	case errors.Is(err, unix.EPROTONOSUPPORT):
		err = noTables(err)
	}
	return netem, err
}

// noTables is the error of a kernel without nftables, or without one of the
// expressions that are used.
func noTables(err error) error {
	return &local.Error{Code: local.Unavailable, Err: err, Msg: "the kernel lacks nftables, which real faults need: load the modules " +
		"nf_tables, nft_hash and nft_numgen (modprobe -a nf_tables nft_hash nft_numgen, as root on the host), or record faults only"}
}

func (in *inside) probe() (netem, err error) {
	lo, err := in.links.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find the loopback interface: %w", err)
	}
	if err := in.links.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("raise the loopback interface: %w", err)
	}
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	const half = 50 // of the flows, so that every kind of rule is tried
	latency := Fault{Kind: fault.Latency, Delay: time.Millisecond, Sources: all, FlowsPercent: half}
	for _, set := range []ruleset{blackhole(Fault{Kind: fault.BlackholePort, Protocol: fault.TCP, TrafficType: fault.Egress}), toNetem(latency)} {
		if err := in.install(tablePrefix+"probe", set); errors.Is(err, unix.EPERM) {
			return nil, err
		} else if err != nil {
			return nil, noTables(err)
		}
	}
	if err := in.shapeLink(lo, latency); errors.Is(err, unix.EPERM) {
		return nil, err
	} else if err != nil {
		return &local.Error{Code: local.Unavailable, Err: err, Msg: "the kernel lacks the queueing disciplines prio and netem, which latency needs: " +
			"load the modules sch_prio and sch_netem (modprobe -a sch_prio sch_netem, as root on the host; some systems have them in a package " +
			"like kernel-modules-extra), or record faults only"}, nil
	}
	return nil, nil
}

// elsewhere calls a function with a new network namespace, which lasts as long
// as something has it open.
func elsewhere(f func(netns.NsHandle) error) error {
	return onOwnThread(func() error {
		ns, err := netns.New()
		if err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		return f(ns)
	})
}

// onOwnThread calls a function on a thread that nothing else runs on, and that
// ends with it: the function may leave it in another namespace.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread stands for the process in /proc, and stays where
			// it is. While it waits here, the work gets another one.
			err := onOwnThread(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}
