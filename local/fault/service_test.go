package fault_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

// injector is the network: which fault is in which namespace. It records what
// it is told.
type injector struct {
	mu    sync.Mutex
	calls []string
	err   error                       // of every call
	wait  func(context.Context) error // before every call
	gone  bool                        // somebody else took the faults away
}

var _ fault.Injector = (*injector)(nil)

func (i *injector) call(ctx context.Context, what string, target fault.Target, f fault.Fault) error {
	if i.wait != nil {
		if err := i.wait(ctx); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	var ids []string
	for _, ns := range target.Namespaces {
		ids = append(ids, ns.ContainerID)
	}
	i.calls = append(i.calls, what+" "+string(f.Kind)+" "+strings.Join(ids, ","))
	return i.err
}

func (i *injector) Apply(ctx context.Context, target fault.Target, f fault.Fault) error {
	return i.call(ctx, "apply", target, f)
}

func (i *injector) Remove(ctx context.Context, target fault.Target, f fault.Fault) error {
	return i.call(ctx, "remove", target, f)
}

func (i *injector) Check(ctx context.Context, target fault.Target, f fault.Fault) (bool, error) {
	return !i.gone, i.call(ctx, "check", target, f)
}

// told returns what the injector was told to change since the last call.
func (i *injector) told() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	told := slices.DeleteFunc(i.calls, func(call string) bool { return strings.HasPrefix(call, "check") })
	i.calls = nil
	return told
}

func hole(port uint16, protocol, traffic string) fault.Fault {
	return fault.Fault{Kind: fault.BlackholePort, Port: port, Protocol: protocol, TrafficType: traffic}
}

var (
	late  = fault.Fault{Kind: fault.Latency, Delay: time.Second, FlowsPercent: 100}
	lossy = fault.Fault{Kind: fault.PacketLoss, LossPercent: 5, FlowsPercent: 100}
	shop  = fault.Target{Name: "shop", ARN: "arn:shop", Namespaces: []fault.Namespace{{ContainerID: "web"}, {ContainerID: "redis"}}}
	blog  = fault.Target{Name: "blog", ARN: "arn:blog", Namespaces: []fault.Namespace{{ContainerID: "blog"}}}
)

// act does what a step says and returns the answer on the wire.
func act(ctx context.Context, s *fault.Service, action fault.Action, target fault.Target, f fault.Fault) string {
	var err error
	answer := "running"
	switch action {
	case fault.Start:
		err = s.Start(ctx, target, f)
	case fault.Stop:
		answer, err = "stopped", s.Stop(ctx, target, f)
	default:
		var running bool
		if running, err = s.Status(ctx, target, f); !running {
			answer = "not-running"
		}
	}
	if refused, ok := errors.AsType[*fault.Error](err); ok {
		return fmt.Sprint(refused.HTTPStatus, " ", refused.Text)
	}
	if err != nil {
		return "another error: " + err.Error()
	}
	return answer
}

type step struct {
	action fault.Action
	f      fault.Fault
	want   string
}

func TestFaultsCheck19(t *testing.T) {
	t.Parallel()
	const (
		hasLatency = "409 There is already one network latency fault running"
		hasLoss    = "409 There is already one network packet loss fault running"
	)
	redis := hole(6379, "tcp", "egress")
	filtered := redis
	filtered.SourcesToFilter = prefixes("10.0.0.1/32")
	for _, test := range []struct {
		name  string
		steps []step
		told  []string // to the injector
	}{
		{"a black hole comes and goes", []step{
			{fault.Status, redis, "not-running"},
			{fault.Start, redis, "running"},
			{fault.Status, redis, "running"},
			{fault.Stop, redis, "stopped"},
			{fault.Status, redis, "not-running"},
		}, []string{"apply network-blackhole-port web,redis", "remove network-blackhole-port web,redis"}},
		{"started twice, stopped twice: what it filters does not count", []step{
			{fault.Start, redis, "running"},
			{fault.Start, filtered, "running"},
			{fault.Status, filtered, "running"},
			{fault.Stop, filtered, "stopped"},
			{fault.Stop, redis, "stopped"},
		}, []string{"apply network-blackhole-port web,redis", "remove network-blackhole-port web,redis"}},
		{"black holes of other ports, protocols and directions", []step{
			{fault.Start, redis, "running"},
			{fault.Start, hole(6379, "udp", "egress"), "running"},
			{fault.Start, hole(6379, "tcp", "ingress"), "running"},
			{fault.Start, hole(6380, "tcp", "egress"), "running"},
			{fault.Stop, redis, "stopped"},
			{fault.Status, redis, "not-running"},
			{fault.Status, hole(6379, "udp", "egress"), "running"},
			{fault.Status, hole(6379, "tcp", "ingress"), "running"},
			{fault.Status, hole(6380, "tcp", "egress"), "running"},
			{fault.Status, hole(6380, "udp", "egress"), "not-running"},
		}, slices.Concat(slices.Repeat([]string{"apply network-blackhole-port web,redis"}, 4), []string{"remove network-blackhole-port web,redis"})},
		{"latency and latency", []step{{fault.Start, late, "running"}, {fault.Start, late, hasLatency}, {fault.Status, late, "running"}},
			[]string{"apply network-latency web,redis"}},
		{"latency and a loss", []step{{fault.Start, late, "running"}, {fault.Start, lossy, hasLatency}, {fault.Status, lossy, "not-running"}},
			[]string{"apply network-latency web,redis"}},
		{"a loss and latency", []step{{fault.Start, lossy, "running"}, {fault.Start, late, hasLoss}, {fault.Status, late, "not-running"}},
			[]string{"apply network-packet-loss web,redis"}},
		{"a loss and a loss", []step{{fault.Start, lossy, "running"}, {fault.Start, lossy, hasLoss}},
			[]string{"apply network-packet-loss web,redis"}},
		{"stopping the other kind stops nothing", []step{
			{fault.Start, lossy, "running"},
			{fault.Stop, late, "stopped"},
			{fault.Status, lossy, "running"},
			{fault.Stop, lossy, "stopped"},
			{fault.Stop, lossy, "stopped"},
			{fault.Start, late, "running"},
			{fault.Stop, lossy, "stopped"},
			{fault.Status, late, "running"},
		}, []string{"apply network-packet-loss web,redis", "remove network-packet-loss web,redis", "apply network-latency web,redis"}},
		{"black holes beside latency", []step{
			{fault.Start, late, "running"}, {fault.Start, redis, "running"}, {fault.Stop, late, "stopped"}, {fault.Status, redis, "running"},
		}, []string{"apply network-latency web,redis", "apply network-blackhole-port web,redis", "remove network-latency web,redis"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			network := &injector{}
			for name, s := range map[string]*fault.Service{"recorded": fault.New(fault.Options{}), "injected": fault.New(fault.Options{Injector: network})} {
				for i, step := range test.steps {
					if got := act(t.Context(), s, step.action, shop, step.f); got != step.want {
						t.Errorf("%s, step %d, %s %s: %s, want %s", name, i, step.action, step.f.Kind, got, step.want)
					}
					if got := act(t.Context(), s, fault.Status, blog, step.f); got != "not-running" {
						t.Errorf("%s, step %d: the other task: %s", name, i, got)
					}
				}
			}
			if diff := cmp.Diff(test.told, network.told()); diff != "" {
				t.Errorf("the injector was told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := fault.New(fault.Options{})
		begun := time.Now().UTC()
		host := fault.Target{Namespaces: []fault.Namespace{{}}}
		for _, start := range []fault.Running{{Target: shop, Fault: late}, {Target: blog, Fault: lossy}, {Target: shop, Fault: hole(1, "tcp", "egress")}, {Target: host, Fault: late}} {
			if err := s.Start(t.Context(), start.Target, start.Fault); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		want := []fault.Running{
			{Target: host, Fault: late, Since: begun.Add(3 * time.Second)},
			{Target: blog, Fault: lossy, Since: begun.Add(time.Second)},
			{Target: shop, Fault: late, Since: begun},
			{Target: shop, Fault: hole(1, "tcp", "egress"), Since: begun.Add(2 * time.Second)},
		}
		if diff := cmp.Diff(want, s.List(), comparePrefixes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := s.Reset(t.Context()); err != nil || len(s.List()) != 0 {
			t.Errorf("after a reset: %v, error %v", s.List(), err)
		}
	})
}

// A fault that somebody else took away no longer runs, and can be started.
func TestFaultThatIsGone(t *testing.T) {
	t.Parallel()
	network := &injector{}
	s := fault.New(fault.Options{Injector: network})
	if got := act(t.Context(), s, fault.Start, shop, late); got != "running" {
		t.Fatal(got)
	}
	network.gone = true
	if got := act(t.Context(), s, fault.Status, shop, late); got != "not-running" {
		t.Error(got)
	}
	if got := act(t.Context(), s, fault.Start, shop, lossy); got != "running" {
		t.Error(got)
	}
}

func TestWhatFailsIsAnInternalError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"of the system", errors.New("exit status 2"), "500 internal error"},
		{"with advice", fmt.Errorf("open namespace: %w", local.Errorf(local.Denied, "no permission: give it NET_ADMIN")), "500 no permission: give it NET_ADMIN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			network := &injector{err: test.err}
			s := fault.New(fault.Options{Injector: network})
			if got := act(t.Context(), s, fault.Start, shop, late); got != test.want {
				t.Errorf("start: %s", got)
			}
			if len(s.List()) != 0 {
				t.Errorf("runs although it failed: %v", s.List())
			}
			network.err = nil
			if err := s.Start(t.Context(), shop, late); err != nil {
				t.Fatal(err)
			}
			network.err = test.err
			for _, action := range []fault.Action{fault.Status, fault.Stop} {
				if got := act(t.Context(), s, action, shop, late); got != test.want {
					t.Errorf("%s: %s", action, got)
				}
			}
			if err := s.Reset(t.Context()); !errors.Is(err, test.err) || len(s.List()) != 1 {
				t.Errorf("reset: error %v, %d run", err, len(s.List()))
			}
		})
	}
}

func TestARequestTakesFiveSecondsAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		network := &injector{}
		s := fault.New(fault.Options{Injector: network})
		if err := s.Start(t.Context(), shop, lossy); err != nil {
			t.Fatal(err)
		}
		network.wait = hang
		for _, step := range []step{
			{fault.Start, hole(1, "tcp", "egress"), "500 start network-blackhole-port: request timed out"},
			{fault.Start, late, "500 start network-latency: request timed out"},
			{fault.Stop, lossy, "500 stop network-packet-loss: request timed out"},
			{fault.Status, lossy, "500 check status network-packet-loss: request timed out"},
		} {
			begun := time.Now()
			if got := act(t.Context(), s, step.action, shop, step.f); got != step.want || time.Since(begun) != 5*time.Second {
				t.Errorf("%s %s: %s after %v", step.action, step.f.Kind, got, time.Since(begun))
			}
		}

		// The wait for another request counts too.
		go act(t.Context(), s, fault.Stop, shop, lossy)
		time.Sleep(time.Second)
		waiting := make(chan string)
		go func() { waiting <- act(t.Context(), s, fault.Status, shop, late) }()
		if got := <-waiting; got != "not-running" {
			t.Errorf("after the other one had ended: %s", got)
		}

		// A client that goes away changes nothing.
		network.wait = nil
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := act(ctx, s, fault.Stop, shop, lossy); got != "stopped" || len(s.List()) != 0 {
			t.Errorf("without a client: %s", got)
		}
	})
}

// Requests for one target are done one after the other; targets do not wait for
// each other.
func TestRequestsForOneTargetWaitForEachOther(t *testing.T) {
	t.Parallel()
	var inside, most, both atomic.Int64
	network := &injector{}
	s := fault.New(fault.Options{Injector: network})
	synctest.Test(t, func(t *testing.T) {
		network.wait = func(context.Context) error {
			for n := inside.Add(1); ; {
				if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
					break
				}
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			return nil
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := s.Start(t.Context(), shop, hole(1, "tcp", "egress")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most.Load() != 1 {
			t.Errorf("%d requests at a time for one target", most.Load())
		}
		if told := network.told(); len(told) != 1 {
			t.Errorf("applied %d times", len(told))
		}

		network.wait = func(context.Context) error {
			both.Add(1)
			for both.Load() < 2 {
				time.Sleep(time.Millisecond)
			}
			return nil
		}
		all.Go(func() { _ = s.Start(t.Context(), shop, late) })
		all.Go(func() { _ = s.Start(t.Context(), blog, late) })
		all.Wait()
		if len(s.List()) != 3 {
			t.Errorf("run: %v", s.List())
		}
	})
}

func TestServiceIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	s := fault.New(fault.Options{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			target := []fault.Target{shop, blog}[i%2]
			for range 100 {
				_ = s.Start(t.Context(), target, late)
				_, _ = s.Status(t.Context(), target, late)
				s.List()
				_ = s.Stop(t.Context(), target, late)
				_ = s.Sync(t.Context(), local.NewDirectory(nil, "", local.Facts{}))
			}
			_ = s.Stop(t.Context(), target, late)
		})
	}
	all.Wait()
	if len(s.List()) != 0 {
		t.Errorf("still run: %v", s.List())
	}
}

func TestStopOlder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &injector{}
		s := fault.New(fault.Options{Injector: network})
		start := func(target fault.Target, f fault.Fault) {
			t.Helper()
			if err := s.Start(t.Context(), target, f); err != nil {
				t.Fatal(err)
			}
		}
		start(shop, late)
		start(blog, late)
		time.Sleep(time.Minute)
		start(shop, hole(1, "tcp", "egress"))
		network.told()
		stopped, err := s.StopOlder(t.Context(), time.Now().Add(-time.Minute))
		if len(stopped) != 0 || err != nil {
			t.Errorf("stopped %v, %v before their time", stopped, err)
		}

		network.err = errors.New("out of order")
		if stopped, err := s.StopOlder(t.Context(), time.Now()); len(stopped) != 0 || !errors.Is(err, network.err) {
			t.Errorf("stopped %v, %v; want nothing, and %v", stopped, err, network.err)
		}
		network.err = nil
		network.told()
		stopped, err = s.StopOlder(t.Context(), time.Now())
		if len(stopped) != 2 || err != nil {
			t.Errorf("stopped %v, %v; want the two that are a minute old", stopped, err)
		}
		told := network.told()
		slices.Sort(told)
		if diff := cmp.Diff([]string{"remove network-latency blog", "remove network-latency web,redis"}, told); diff != "" {
			t.Errorf("the network was told (-want +got):\n%s", diff)
		}
		if list := s.List(); len(list) != 1 || list[0].Fault.Kind != fault.BlackholePort {
			t.Errorf("run: %v, want the younger one", list)
		}
	})
}

func TestATaskHasSoManyFaults(t *testing.T) {
	t.Parallel()
	s := fault.New(fault.Options{})
	for port := range 300 {
		want := "running"
		if port >= 256 {
			want = "400 There are already 256 faults running, which is the most that one task can have: stop one first"
		}
		if got := act(t.Context(), s, fault.Start, shop, hole(uint16(port+1), "tcp", "ingress")); got != want {
			t.Fatalf("black hole %d: %s, want %s", port+1, got, want)
		}
	}
	for _, step := range []step{
		{fault.Start, hole(1, "tcp", "ingress"), "running"}, // it runs already
		{fault.Stop, hole(1, "tcp", "ingress"), "stopped"},
		{fault.Start, hole(300, "tcp", "ingress"), "running"},
	} {
		if got := act(t.Context(), s, step.action, shop, step.f); got != step.want {
			t.Errorf("%s %d: %s, want %s", step.action, step.f.Port, got, step.want)
		}
	}
	if got := act(t.Context(), s, fault.Start, blog, hole(1, "tcp", "ingress")); got != "running" {
		t.Errorf("another task: %s", got)
	}
}
