package fault_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

var begun = time.Date(2026, 6, 30, 17, 2, 5, 0, time.UTC)

// running makes a running container of the project shop. The id is its name
// too.
func running(id, mode string, change ...func(*local.Container)) *local.Container {
	c := &local.Container{ID: id, EndpointID: local.EndpointID(id), Name: id, DockerName: "shop-" + id + "-1", Project: "shop", Service: id,
		State: local.Running, NetworkMode: mode, CreatedAt: begun, StartedAt: begun, Labels: map[string]string{}}
	for _, f := range change {
		f(c)
	}
	return c
}

func label(key, value string) func(*local.Container) {
	return func(c *local.Container) { c.Labels[key] = value }
}

func shares(id string) func(*local.Container) {
	return func(c *local.Container) { c.NetworkMode, c.SharesWith = "container:"+id, id }
}

func exited(c *local.Container) { c.State = local.Exited }

func restarted(c *local.Container) { c.StartedAt = begun.Add(time.Minute) }

func directory(cs ...*local.Container) *local.Directory {
	return local.NewDirectory(cs, "", local.Facts{})
}

func TestTargetCheck20(t *testing.T) {
	t.Parallel()
	arn := "arn:aws:ecs:us-east-1:000000000000:task/ecs-local/" + local.TaskID("shop")
	in := func(list ...fault.Namespace) fault.Target {
		return fault.Target{Name: "shop", ARN: arn, Namespaces: list}
	}
	web := fault.Namespace{ContainerID: "web", StartedAt: begun}
	const broken = "500 failed to get task metadata due to internal server error for container: path-id"
	for _, test := range []struct {
		name       string
		containers []*local.Container
		asks       int // index of the container; -1 for none
		bridge     fault.Bridge
		want       fault.Target
		refused    string
	}{
		{"on a Docker network", []*local.Container{running("web", "shop_default")}, 0, "", in(web), ""},
		{"on a Docker network, as on EC2", []*local.Container{running("web", "bridge")}, 0, fault.BridgeBroken, fault.Target{}, broken},
		{"on a Docker network, as documented", []*local.Container{running("web", "shop_default")}, 0, fault.BridgeRefused, fault.Target{},
			"400 bridge mode is not supported. Please use either host or awsvpc mode."},
		{"awsvpc by label, as on EC2", []*local.Container{running("web", "shop_default", label(local.LabelNetworkMode, "awsvpc"))}, 0, fault.BridgeBroken, in(web), ""},
		{"without a network", []*local.Container{running("web", "none")}, 0, "", fault.Target{}, "400 none mode is not supported. Please use either host or awsvpc mode."},
		{"the host's network", []*local.Container{running("web", "host")}, 0, fault.BridgeBroken, fault.Target{Namespaces: []fault.Namespace{{}}}, ""},
		{"the network of one on the host's", []*local.Container{running("a", "host"), running("web", "", shares("a"))}, 1, "", fault.Target{Namespaces: []fault.Namespace{{}}}, ""},
		{"the whole task, without those that have no network of their own or do not run", []*local.Container{
			running("a", "host"), running("b", "none"), running("c", "shop_default", exited), running("d", "", shares("web")), running("web", "shop_default"), running("z", "bridge", restarted),
		}, 4, "", in(web, fault.Namespace{ContainerID: "z", StartedAt: begun.Add(time.Minute)}), ""},
		{"the network of a container of no task", []*local.Container{running("web", "", shares("elsewhere"))}, 0, "", in(fault.Namespace{ContainerID: "elsewhere"}), ""},
		{"nothing runs", []*local.Container{running("web", "shop_default", exited)}, 0, "", fault.Target{}, broken},
		{"who asks is not known", []*local.Container{running("a", "bridge", exited), running("web", "bridge")}, -1, "", in(web), ""},
		{"who asks is not known, and nothing runs", []*local.Container{running("web", "bridge", exited)}, -1, "", fault.Target{}, broken},
		{"faults are off", []*local.Container{running("web", "none", label(local.LabelFaultInjection, "false"))}, 0, fault.BridgeBroken, fault.Target{},
			"400 enableFaultInjection is not enabled for task: " + arn},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var asks *local.Container
			if test.asks >= 0 {
				asks = test.containers[test.asks]
			}
			got, err := fault.New(fault.Options{Bridge: test.bridge}).Target(directory(test.containers...).Tasks()[0], asks, "path-id")
			refused := ""
			if e, ok := errors.AsType[*fault.Error](err); ok {
				refused = fmt.Sprint(e.HTTPStatus, " ", e.Text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || refused != test.refused {
				t.Errorf("error %q, want %q (-want +got):\n%s", refused, test.refused, diff)
			}
			if refused == "" && got.Host() != (test.want.Name == "") {
				t.Errorf("host: %t", got.Host())
			}
		})
	}
}

// A fault goes to each container that comes to its task, and ends with the
// last one that had it from the start.
func TestSync(t *testing.T) {
	t.Parallel()
	web, redis := running("web", "shop_default"), running("redis", "shop_default")
	webAgain := running("web", "shop_default", restarted)
	host := running("host", "host", func(c *local.Container) { c.Project = "tools" })
	for _, test := range []struct {
		name string
		then *local.Directory
		told []string
		runs []string // task and fault
	}{
		{"nothing changes", directory(web, host), nil, []string{" network-latency", "shop network-blackhole-port", "shop network-latency"}},
		{"a container comes", directory(web, redis, host), []string{"apply network-blackhole-port redis", "apply network-latency redis"},
			[]string{" network-latency", "shop network-blackhole-port", "shop network-latency"}},
		{"the container is another one", directory(redis, host), []string{"remove network-blackhole-port web", "remove network-latency web"}, []string{" network-latency"}},
		{"the container starts anew", directory(webAgain, host), []string{"remove network-blackhole-port web", "remove network-latency web"}, []string{" network-latency"}},
		{"the container ends", directory(running("web", "shop_default", exited), host), []string{"remove network-blackhole-port web", "remove network-latency web"}, []string{" network-latency"}},
		{"nobody is on the host's network any more", directory(web), []string{"remove network-latency "}, []string{"shop network-blackhole-port", "shop network-latency"}},
		{"all are gone", directory(), []string{"remove network-blackhole-port web", "remove network-latency ", "remove network-latency web"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			network := &injector{}
			s := fault.New(fault.Options{Injector: network})
			for _, task := range directory(web, host).Tasks() {
				target, err := s.Target(task, nil, "")
				if err != nil {
					t.Fatal(err)
				}
				if !target.Host() {
					err = s.Start(t.Context(), target, hole(1, "tcp", "egress"))
				}
				if err := errors.Join(err, s.Start(t.Context(), target, late)); err != nil {
					t.Fatal(err)
				}
			}
			network.told()
			if err := s.Sync(t.Context(), test.then); err != nil {
				t.Fatal(err)
			}
			told := network.told()
			if diff := cmp.Diff(test.told, slices.Sorted(slices.Values(told))); diff != "" {
				t.Errorf("the injector was told (-want +got):\n%s", diff)
			}
			var runs []string
			for _, r := range s.List() {
				runs = append(runs, r.Target.Name+" "+string(r.Fault.Kind))
			}
			if diff := cmp.Diff(test.runs, runs); diff != "" {
				t.Errorf("run (-want +got):\n%s", diff)
			}
		})
	}
}

// A container that a fault could not be brought to is tried again.
func TestSyncThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	web, redis := running("web", "shop_default"), running("redis", "shop_default")
	network := &injector{}
	s := fault.New(fault.Options{Injector: network})
	target, err := s.Target(directory(web).Tasks()[0], web, "")
	if err := errors.Join(err, s.Start(t.Context(), target, late)); err != nil {
		t.Fatal(err)
	}
	network.err = errors.New("no such process")
	if err := s.Sync(t.Context(), directory(web, redis)); !errors.Is(err, network.err) {
		t.Errorf("error %v", err)
	}
	network.err = nil
	network.told()
	both, err := s.Target(directory(web, redis).Tasks()[0], web, "")
	if err != nil {
		t.Fatal(err)
	}
	// A request for the task does what Sync does.
	if got := act(t.Context(), s, fault.Status, both, late); got != "running" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"apply network-latency redis"}, network.told()); diff != "" {
		t.Errorf("the injector was told (-want +got):\n%s", diff)
	}
	if got := act(t.Context(), s, fault.Stop, both, late); got != "stopped" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"remove network-latency redis,web"}, network.told()); diff != "" {
		t.Errorf("the injector was told (-want +got):\n%s", diff)
	}
}
