package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// requestTimeout is how long a request may take, the wait for others included.
const requestTimeout = 5 * time.Second

// mostRunning is how many faults a target can have: each is kept, and there are
// as many black holes as ports, protocols and directions.
const mostRunning = 256

// Options say how faults work.
type Options struct {
	// Injector makes faults real. Nil: Record.
	Injector Injector
	// Bridge is what becomes of tasks on Docker networks. Empty: BridgeServed.
	Bridge Bridge
}

// Service knows which faults run where. It is safe for concurrent use;
// requests for one target are done one after the other. The errors of Target,
// Start, Stop and Status are *Errors with the agent's texts.
type Service struct {
	injector Injector
	bridge   Bridge

	mu     sync.Mutex
	places map[key]*place // that somebody uses, or where something runs
}

// place is a target and what runs there.
type place struct {
	turn  chan struct{} // holds one value while a request is being done
	users int           // requests that are done, or wait; under Service.mu
	// What follows is changed by whoever has the turn, under Service.mu.
	target  Target
	running []Running // replaced, never changed
}

// New returns a Service in which no fault runs.
func New(o Options) *Service {
	s := &Service{injector: o.Injector, bridge: cmp.Or(o.Bridge, BridgeServed), places: map[key]*place{}}
	if s.injector == nil {
		s.injector = Record{}
	}
	return s
}

// Start starts a fault. A black hole that is there already stays as it is.
// While there is latency or a loss, neither can be started: status 409.
func (s *Service) Start(ctx context.Context, target Target, f Fault) error {
	return s.do(ctx, target, Start, f.Kind, func(ctx context.Context, p *place) error {
		if f.Kind == BlackholePort {
			if there, err := s.check(ctx, p, f); there || err != nil {
				return err
			}
			if len(p.running) >= mostRunning {
				return invalid(fmt.Sprintf("There are already %d faults running, which is the most that one task can have: stop one first", mostRunning))
			}
		} else {
			for _, kind := range []Kind{Latency, PacketLoss} {
				there, err := s.check(ctx, p, Fault{Kind: kind})
				if err != nil {
					return err
				}
				if there {
					return &Error{HTTPStatus: http.StatusConflict, Text: "There is already one " + kind.noun() + " fault running"}
				}
			}
		}
		if err := s.injector.Apply(ctx, p.target, f); err != nil {
			return fmt.Errorf("apply %s: %w", f.Kind, err)
		}
		s.set(p, append(slices.Clone(p.running), Running{Target: p.target, Fault: f, Since: time.Now().UTC()}))
		return nil
	})
}

// Stop stops a fault. One that does not run is no error.
func (s *Service) Stop(ctx context.Context, target Target, f Fault) error {
	return s.do(ctx, target, Stop, f.Kind, func(ctx context.Context, p *place) error {
		return s.remove(ctx, p, f)
	})
}

// Status reports whether a fault runs.
func (s *Service) Status(ctx context.Context, target Target, f Fault) (running bool, err error) {
	err = s.do(ctx, target, Status, f.Kind, func(ctx context.Context, p *place) error {
		running, err = s.check(ctx, p, f)
		return err
	})
	return running, err
}

// List returns what runs, by task and age; the host comes first.
func (s *Service) List() []Running {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Running
	for _, p := range s.places {
		list = append(list, p.running...)
	}
	slices.SortStableFunc(list, func(a, b Running) int {
		return cmp.Or(cmp.Compare(a.Target.Name, b.Target.Name), cmp.Compare(a.Target.ARN, b.Target.ARN), a.Since.Compare(b.Since))
	})
	return list
}

// Sync brings faults to the containers that have come to a task since, and
// forgets those of tasks that are gone or have started anew. It is called with
// each snapshot of the containers; a request does the same for its own task.
func (s *Service) Sync(ctx context.Context, dir *local.Directory) error {
	now := map[key]Target{}
	for _, task := range dir.Tasks() {
		target := targetOf(task)
		now[target.key()] = target
		if slices.ContainsFunc(task.Containers, func(c *local.Container) bool { return c.State.Alive() && modeOf(task, c) == modeHost }) {
			now[key{}] = hostTarget()
		}
	}
	var errs []error
	for _, target := range s.used() {
		next, ok := now[target.key()]
		if !ok {
			next = Target{Name: target.Name, ARN: target.ARN}
		}
		errs = append(errs, s.turn(ctx, next, func(ctx context.Context, p *place) error { return s.follow(ctx, p, next) }))
	}
	return errors.Join(errs...)
}

// Reset stops all faults. What cannot be stopped goes on, and is in the error.
func (s *Service) Reset(ctx context.Context) error {
	_, err := s.stopAll(ctx, func(Running) bool { return true })
	return err
}

// StopOlder stops the faults that began before a time, and returns them. What
// cannot be stopped goes on, and is in the error.
func (s *Service) StopOlder(ctx context.Context, before time.Time) (stopped []Running, err error) {
	return s.stopAll(ctx, func(r Running) bool { return r.Since.Before(before) })
}

func (s *Service) stopAll(ctx context.Context, meant func(Running) bool) (stopped []Running, err error) {
	var errs []error
	for _, target := range s.used() {
		errs = append(errs, s.turn(ctx, target, func(ctx context.Context, p *place) error {
			var errs []error
			for _, r := range p.running {
				if !meant(r) {
					continue
				}
				err := s.remove(ctx, p, r.Fault)
				if err == nil {
					stopped = append(stopped, r)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}))
	}
	return stopped, errors.Join(errs...)
}

// used returns the targets where something runs.
func (s *Service) used() []Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	var targets []Target
	for _, p := range s.places {
		if len(p.running) > 0 {
			targets = append(targets, p.target)
		}
	}
	return targets
}

// do does a request in its turn, within its time, and words its errors as the
// agent does. What was begun is not given up because the client goes away.
func (s *Service) do(ctx context.Context, target Target, action Action, kind Kind, work func(context.Context, *place) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	err := s.turn(ctx, target, func(ctx context.Context, p *place) error {
		if err := s.follow(ctx, p, target); err != nil {
			return err
		}
		return work(ctx, p)
	})
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	internal := &Error{HTTPStatus: http.StatusInternalServerError, Text: "internal error", Err: err}
	if said, ok := errors.AsType[*local.Error](err); ok {
		internal.Text = said.Msg
	}
	if ctx.Err() != nil {
		internal.Text = fmt.Sprintf("%s %s: request timed out", action, kind)
	}
	return internal
}

// turn waits for the target's turn and does the work.
func (s *Service) turn(ctx context.Context, target Target, work func(context.Context, *place) error) error {
	p := s.enter(target)
	defer s.leave(p)
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the request before: %w", ctx.Err())
	}
	return work(ctx, p)
}

func (s *Service) enter(target Target) *place {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.places[target.key()]
	if p == nil {
		p = &place{turn: make(chan struct{}, 1), target: target}
		s.places[target.key()] = p
	}
	p.users++
	return p
}

func (s *Service) leave(p *place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.users--; p.users == 0 && len(p.running) == 0 {
		delete(s.places, p.target.key())
	}
}

// set replaces what runs at a place.
func (s *Service) set(p *place, running []Running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.running = running
}

// check reports whether a fault runs. One that is no longer there is
// forgotten.
func (s *Service) check(ctx context.Context, p *place, f Fault) (bool, error) {
	i := slices.IndexFunc(p.running, func(r Running) bool { return r.Fault.same(f) })
	if i < 0 {
		return false, nil
	}
	there, err := s.injector.Check(ctx, p.target, p.running[i].Fault)
	if err != nil {
		return false, fmt.Errorf("check %s: %w", f.Kind, err)
	}
	if !there {
		s.set(p, slices.Delete(slices.Clone(p.running), i, i+1))
	}
	return there, nil
}

// remove stops a fault, if it runs.
func (s *Service) remove(ctx context.Context, p *place, f Fault) error {
	i := slices.IndexFunc(p.running, func(r Running) bool { return r.Fault.same(f) })
	if i < 0 {
		return nil
	}
	if err := s.injector.Remove(ctx, p.target, p.running[i].Fault); err != nil {
		return fmt.Errorf("remove %s: %w", f.Kind, err)
	}
	s.set(p, slices.Delete(slices.Clone(p.running), i, i+1))
	return nil
}

// follow takes note of which namespaces a target has now. On ECS, the
// containers of a task share one network namespace that lives as long as the
// task, and its faults with it. Here a fault goes to each container that comes
// to the task, and ends when none is left of those that had it.
func (s *Service) follow(ctx context.Context, p *place, now Target) error {
	before := p.target
	known := func(in Target) func(Namespace) bool {
		return func(ns Namespace) bool { return slices.ContainsFunc(in.Namespaces, ns.equal) }
	}
	if !slices.ContainsFunc(now.Namespaces, known(before)) {
		for _, r := range p.running {
			if err := s.injector.Remove(ctx, before, r.Fault); err != nil {
				return fmt.Errorf("remove %s from what is gone: %w", r.Fault.Kind, err)
			}
		}
		s.move(p, now, nil)
		return nil
	}
	added := now
	added.Namespaces = slices.DeleteFunc(slices.Clone(now.Namespaces), known(before))
	running := slices.Clone(p.running)
	for i, r := range running {
		if len(added.Namespaces) > 0 {
			if err := s.injector.Apply(ctx, added, r.Fault); err != nil {
				return fmt.Errorf("apply %s to a new container: %w", r.Fault.Kind, err)
			}
		}
		running[i].Target = now
	}
	s.move(p, now, running)
	return nil
}

// move replaces a place's namespaces and what runs there.
func (s *Service) move(p *place, now Target, running []Running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.target, p.running = now, running
}
