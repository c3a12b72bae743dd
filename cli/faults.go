package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker"
	"github.com/ecs-local/ecs-local/local/fault"
	"github.com/ecs-local/ecs-local/local/netfault"
)

// What --faults makes of a fault.
const (
	faultsRecorded = "record"
	faultsApplied  = "apply"
)

// faultsTimeout is how long ending faults may take.
const faultsTimeout = 5 * time.Second

// newFaults makes the service of the network faults, and removes from the
// containers what an earlier process has left there.
func (s *service) newFaults(ctx context.Context, flags serverFlags) (*fault.Service, error) {
	if flags.FaultsExpire < 0 {
		return nil, misuse{fmt.Errorf("--faults-expire %s is less than no time: give the longest time that a fault may last", flags.FaultsExpire)}
	}
	if flags.Faults != faultsApplied {
		return fault.New(fault.Options{Bridge: s.bridge()}), nil
	}
	client, ok := s.containers.Runtime.(*docker.Client)
	if !ok {
		return nil, misuse{errors.New("--faults apply needs the containers of a Docker engine: leave out --faults, or use --runtime docker")}
	}
	injector, err := netfault.New()
	if err != nil {
		return nil, fmt.Errorf("--faults apply: %w", said(err))
	}
	if err := injector.Lacks(); err != nil {
		s.log.Warn("latency cannot be made real", slog.String("reason", local.MessageOf(err)))
	}
	applied := realFaults{injector, client}
	if err := applied.sweep(ctx, s.log); err != nil {
		return nil, err
	}
	return fault.New(fault.Options{Injector: applied, Bridge: s.bridge()}), nil
}

// realFaults puts faults into the network namespaces of containers.
type realFaults struct {
	injector *netfault.Injector
	client   *docker.Client
}

var _ fault.Injector = realFaults{}

// Apply implements fault.Injector. A container that has ended meanwhile needs
// no fault, as long as there is another.
func (r realFaults) Apply(ctx context.Context, target fault.Target, f fault.Fault) error {
	var done []fault.Namespace
	var ended error
	for _, n := range target.Namespaces {
		err := r.each(ctx, n, func(in netfault.Namespace) error { return r.injector.Apply(ctx, in, f) })
		switch {
		case err == nil:
			done = append(done, n)
		case errors.Is(err, errEnded):
			ended = err
		default:
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), faultsTimeout)
			defer cancel()
			target.Namespaces = append(done, n)
			return errors.Join(err, r.Remove(undo, target, f))
		}
	}
	if len(done) == 0 {
		return ended
	}
	return nil
}

// Remove implements fault.Injector.
func (r realFaults) Remove(ctx context.Context, target fault.Target, f fault.Fault) error {
	var errs []error
	for _, n := range target.Namespaces {
		err := r.each(ctx, n, func(in netfault.Namespace) error { return r.injector.Remove(ctx, in, f) })
		if !errors.Is(err, errEnded) { // what has ended has taken its network along
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Check implements fault.Injector. Containers that have ended do not count.
func (r realFaults) Check(ctx context.Context, target fault.Target, f fault.Fault) (bool, error) {
	seen := false
	for _, n := range target.Namespaces {
		there := false
		err := r.each(ctx, n, func(in netfault.Namespace) (err error) {
			there, err = r.injector.Check(ctx, in, f)
			return err
		})
		switch {
		case errors.Is(err, errEnded):
		case err != nil, !there:
			return false, err
		default:
			seen = true
		}
	}
	return seen, nil
}

// errEnded is the error of a container that does not run any more.
var errEnded = errors.New("not in a container that has ended")

// each works in the network namespace of a running container.
func (r realFaults) each(ctx context.Context, n fault.Namespace, work func(netfault.Namespace) error) error {
	if n.ContainerID == "" {
		return local.Errorf(local.Denied, "the task is in the network of the host, where ecs-local makes no fault real: give its containers a network of their own, or use --faults record")
	}
	in, err := r.namespace(ctx, n.ContainerID)
	if local.CodeOf(err) == local.NotFound {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	if err != nil {
		return err
	}
	return work(in)
}

func (r realFaults) namespace(ctx context.Context, id string) (netfault.Namespace, error) {
	pid, file, err := r.client.Namespace(ctx, id)
	return netfault.Namespace{Path: file, Pid: pid}, err
}

// sweep ends the faults that a process which was killed has left in running
// containers.
func (r realFaults) sweep(ctx context.Context, log *slog.Logger) error {
	dir, err := r.client.Refresh(ctx, nil)
	if err != nil {
		return fmt.Errorf("look for faults that an earlier process has left: %w", said(err))
	}
	var all []netfault.Namespace
	for _, c := range dir.Containers() {
		if !c.State.Alive() || c == dir.Self() || c.NetworkMode == "host" || c.SharesWith != "" {
			continue
		}
		if n, err := r.namespace(ctx, c.ID); err == nil { // else it has ended meanwhile
			all = append(all, n)
		}
	}
	found, err := r.injector.Sweep(ctx, all)
	if err != nil {
		log.Warn("some containers were not searched for faults of an earlier process", slog.String("reason", err.Error()))
	}
	if found > 0 {
		log.Info("faults of an earlier process ended", slog.Int("namespaces", found))
	}
	return nil
}

// expiryCheck is how often faults are looked at that may have run long enough.
const expiryCheck = time.Second

// followFaults ends the faults of tasks that have ended, those that have run
// for longer than expiry unless that is zero, and all of them with the server.
func (s *service) followFaults(ctx context.Context, expiry time.Duration) {
	changed := s.containers.changes.subscribe()
	ticker := time.NewTicker(expiryCheck)
	defer ticker.Stop()
	trouble := ""
	for {
		select {
		case <-ctx.Done():
			s.endFaults(context.WithoutCancel(ctx))
			return
		case now := <-ticker.C:
			if expiry > 0 {
				trouble = s.expireFaults(ctx, now.Add(-expiry), trouble)
			}
		case <-changed:
			dir, _ := s.containers.Current()
			if err := s.faults.Sync(ctx, dir); err != nil && ctx.Err() == nil {
				s.log.Warn("network faults do not follow the containers", slog.String("error", err.Error()))
			}
		}
	}
}

// expireFaults ends the faults that began before a time. It returns what keeps
// it from that, which is logged when it was not so the last time.
func (s *service) expireFaults(ctx context.Context, before time.Time, last string) (trouble string) {
	ctx, cancel := context.WithTimeout(ctx, faultsTimeout)
	defer cancel()
	stopped, err := s.faults.StopOlder(ctx, before)
	for _, r := range stopped {
		s.log.Info("network fault ended, its time is up", slog.String("task", r.Target.Name), slog.String("type", string(r.Fault.Kind)))
	}
	if err == nil {
		return ""
	}
	if err.Error() != last {
		s.log.Warn("network faults not ended on time", slog.String("error", err.Error()))
	}
	return err.Error()
}

func (s *service) endFaults(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, faultsTimeout)
	defer cancel()
	if err := s.faults.Reset(ctx); err != nil {
		s.log.Warn("network faults not ended", slog.String("error", err.Error()))
	}
}
