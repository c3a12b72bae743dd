package netfault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/vishvananda/netns"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

// Injector puts faults into network namespaces. It keeps no list of them: what
// is there is asked of the kernel. It is safe for concurrent use.
type Injector struct {
	proc  string         // where the processes are seen
	own   netns.NsHandle // the namespace of this process
	netem error          // why the kernel has no netem; nil when it has
	mu    sync.Mutex     // one change at a time: there are few, and they are short
}

// New returns an Injector when this process may make faults and the kernel can.
// The error, a *local.Error, names the capability or the module that is
// missing, and how to give it.
func New() (*Injector, error) {
	if err := checkPrivileges(); err != nil {
		return nil, err
	}
	const proc = "/proc"
	own, err := openFile(proc + "/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the network namespace of ecs-local: %w", err)
	}
	i := &Injector{proc: proc, own: own}
	if i.netem, err = probe(); err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return i, nil
}

// Lacks returns an error that says why the kernel cannot make one of the kinds
// of fault, latency, and what to do about it; nil when it can make all.
func (i *Injector) Lacks() error { return i.netem }

// Apply puts a fault into a namespace, or replaces the same one there. There is
// at most one latency or loss: the newer one replaces the other. On an error
// nothing of it stays. The error is a *local.Error where somebody can do
// something about it.
func (i *Injector) Apply(ctx context.Context, n Namespace, f Fault) error {
	if err := check(f); err != nil {
		return err
	}
	if f.Kind == fault.Latency && i.netem != nil {
		return i.netem
	}
	return i.do(ctx, n, func(in *inside) error {
		if f.Kind == fault.BlackholePort {
			return in.install(tableName(f), blackhole(f))
		}
		if err := in.clear(isShape); err != nil {
			return err
		}
		if err := i.applyShape(in, f); err != nil {
			return errors.Join(err, in.clear(isShape))
		}
		return nil
	})
}

func (i *Injector) applyShape(in *inside, f Fault) error {
	if i.netem != nil {
		err := in.install(tableName(f), lose(f))
		if err != nil && local.CodeOf(err) == local.Internal {
			err = &local.Error{Code: local.Unavailable, Err: err, Msg: "the kernel can lose packets neither by netem nor by nftables where they " +
				"leave: load the modules sch_prio and sch_netem (modprobe -a sch_prio sch_netem, as root on the host)"}
		}
		return err
	}
	if err := in.shape(f); err != nil {
		return err
	}
	return in.install(tableName(f), toNetem(f))
}

// Remove takes a fault out of a namespace. Of latency and loss the kind alone
// counts. One that is not there, or in a namespace that is not there, is no
// error.
func (i *Injector) Remove(ctx context.Context, n Namespace, f Fault) error {
	err := i.do(ctx, n, func(in *inside) error {
		if _, err := in.uninstall(func(name string) bool { return name == tableName(f) }); err != nil || f.Kind == fault.BlackholePort {
			return err
		}
		// What is left of the queues is of this fault, or of one before that was
		// not removed to its end, unless the other kind is there.
		tables, err := in.ours()
		if err != nil || slices.ContainsFunc(tables, func(t *nftables.Table) bool { return isShape(t.Name) }) {
			return err
		}
		_, err = in.unshape()
		return err
	})
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// Check reports whether a fault is in a namespace. Of latency and loss the kind
// alone counts. In a namespace that is not there it is not.
func (i *Injector) Check(ctx context.Context, n Namespace, f Fault) (there bool, err error) {
	err = i.do(ctx, n, func(in *inside) error {
		tables, err := in.ours()
		if err != nil {
			return err
		}
		there = slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName(f) })
		if !there || f.Kind == fault.BlackholePort || i.netem != nil {
			return nil
		}
		_, there, err = in.shapes()
		return err
	})
	if errors.Is(err, errGone) {
		return false, nil
	}
	return there, err
}

// Sweep removes all faults from the namespaces: what an earlier process, which
// was killed, has left in the containers that run. It returns in how many there
// was something. Namespaces that are not there are passed over, as are those of
// the host and of ecs-local, into which no fault goes.
func (i *Injector) Sweep(ctx context.Context, all []Namespace) (found int, err error) {
	var errs []error
	for _, n := range all {
		err := i.do(ctx, n, func(in *inside) error {
			tables, err := in.uninstall(func(string) bool { return true })
			shapes, shapeErr := in.unshape()
			if tables || shapes {
				found++
			}
			return errors.Join(err, shapeErr)
		})
		if err != nil && !errors.Is(err, errGone) && !errors.Is(err, errOwn) {
			errs = append(errs, fmt.Errorf("sweep %s: %w", n, err))
		}
	}
	return found, errors.Join(errs...)
}

// do does some work in a namespace.
func (i *Injector) do(ctx context.Context, n Namespace, work func(*inside) error) (err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for the change before: %w", err)
	}
	in, err := i.enter(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return work(in)
}

// isShape reports whether a table belongs to latency or a loss.
func isShape(name string) bool {
	return name == tableName(Fault{Kind: fault.Latency}) || name == tableName(Fault{Kind: fault.PacketLoss})
}

// clear deletes tables, and the queueing disciplines.
func (in *inside) clear(meant func(name string) bool) error {
	_, err := in.uninstall(meant)
	_, shapeErr := in.unshape()
	return errors.Join(err, shapeErr)
}
