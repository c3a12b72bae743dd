package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// own makes the probe ask for itself and returns an error unless it is
// answered about itself.
func (p probe) own(side sidecar) error {
	for _, path := range []string{"/v3", "/v4"} {
		a, err := p.ask(side.url + path)
		if err != nil {
			return err
		}
		got, err := decode[containerDocument](a)
		if err != nil {
			return err
		}
		if got.DockerID != p.id {
			return fmt.Errorf("%s asked for %s and was answered about %s, not about itself", p.name, path, got.DockerName)
		}
	}
	return nil
}

func TestComposeContainersGetThemselvesAndTheirTask(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	p := newProject(t, []string{"PROBE=" + imageOf(t, probeImage), "NETWORK=" + net}, "e2e/testdata/callers.yml")
	p.compose(t, "up", "--detach")
	outsider := startProbe(t, c, spec{networks: []attachment{{network: net}}})

	var web []probe
	for _, id := range p.containers(t, c, "web") {
		web = append(web, probeOn(t, c, id, net))
	}
	worker, db := probeOn(t, c, p.one(t, c, "worker"), net), probeOn(t, c, p.one(t, c, "db"), net)
	sharer := probe{id: p.one(t, c, "sharer"), name: p.name + "-sharer-1", address: strings.Replace(db.address, ":8080", ":8081", 1)}
	sharer.wait(t)
	members := map[string]bool{worker.id: true, db.id: true, sharer.id: true}
	for _, w := range web {
		members[w.id] = true
	}
	if len(members) != 6 {
		t.Fatalf("the project has %d containers, want 6", len(members))
	}

	// Who is known is answered before the events of the others have arrived.
	eventually(t, soon, func() error {
		task := document[taskDocument](t, worker.get(t, side.url+"/v4/task"))
		if diff := cmp.Diff(members, task.ids()); diff != "" {
			return fmt.Errorf("containers of the task (-want +got):\n%s", diff)
		}
		return nil
	})

	t.Run("each is answered about itself", func(t *testing.T) {
		for _, each := range append(slices.Clone(web), worker, db, outsider) {
			if err := each.own(side); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("the task is the project, whoever asks", func(t *testing.T) {
		arns := map[string]bool{}
		for _, each := range append(slices.Clone(web), worker, db, sharer) {
			for _, path := range []string{"/v4/task", "/v3/task", "/v2/metadata", "/v4/task/", "/v4/taskWithTags"} {
				task := document[taskDocument](t, each.get(t, side.url+path))
				if diff := cmp.Diff(members, task.ids()); diff != "" {
					t.Errorf("%s asked for %s: containers (-want +got):\n%s", each.name, path, diff)
				}
				arns[task.TaskARN] = true
			}
		}
		if len(arns) != 1 {
			t.Errorf("got %d task ARNs, want 1: %v", len(arns), arns)
		}
	})
	t.Run("replicas have the service's name and are containers of their own", func(t *testing.T) {
		task := document[taskDocument](t, worker.get(t, side.url+"/v4/task"))
		names := map[string]int{}
		for _, member := range task.Containers {
			names[member.Name]++
		}
		if diff := cmp.Diff(map[string]int{"web": 3, "worker": 1, "db": 1, "sharer": 1}, names); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
	})
	t.Run("a container outside Compose is in a task without them and without ecs-local", func(t *testing.T) {
		task := document[taskDocument](t, outsider.get(t, side.url+"/v4/task"))
		ids := task.ids()
		if !ids[outsider.id] {
			t.Errorf("the task lacks the container that asked")
		}
		for id := range members {
			if ids[id] {
				t.Errorf("the task holds %s of the Compose project", id)
			}
		}
		if ids[side.id] {
			t.Errorf("the task holds the container of ecs-local")
		}
	})
	t.Run("who shares a network namespace is answered as its owner, unless the path says who", func(t *testing.T) {
		for target, want := range map[string]string{
			"/v4":                           db.id,
			"/v4/containers/" + sharer.name: sharer.id,
			"/v3/containers/" + sharer.name: sharer.id,
			"/v4/containers/sharer":         sharer.id,
			"/v4/" + sharer.id:              sharer.id,
			"/v4/" + sharer.id[:12]:         sharer.id,
		} {
			if got := document[containerDocument](t, sharer.get(t, side.url+target)).DockerID; got != want {
				t.Errorf("%s: got container %s, want %s", target, got, want)
			}
		}
	})
	t.Run("an ambiguous name is an error that names the candidates", func(t *testing.T) {
		a := worker.get(t, side.url+"/v4/containers/web")
		if a.Status == http.StatusOK {
			t.Fatalf("got 200, want an error: %s", a.Body)
		}
		for _, w := range web {
			if !strings.Contains(a.Body, w.name) {
				t.Errorf("the error does not name %s: %s", w.name, a.Body)
			}
		}
	})
}

func TestTwentyContainersGetThemselvesWhileOthersComeAndGo(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	const many, duration = 20, 8 * time.Second
	ids := make([]string, many)
	for i := range ids {
		ids[i] = created(t, c, spec{
			cmd: []string{"/probe", "serve"}, networks: []attachment{{network: net}},
			labels: map[string]string{"com.docker.compose.project": unique("p"), "com.docker.compose.service": fmt.Sprintf("s%d", i)},
		})
	}
	var starting errgroup.Group
	starting.SetLimit(4)
	for _, id := range ids {
		starting.Go(func() error {
			return c.ContainerStart(context.Background(), id, container.StartOptions{})
		})
	}
	if err := starting.Wait(); err != nil {
		t.Fatalf("start containers: %v", err)
	}
	probes := make([]probe, many)
	for i, id := range ids {
		probes[i] = probeOn(t, c, id, net)
	}
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var all errgroup.Group
	cycles := 0
	all.Go(func() error { // others come and go, one at least
		for cycles == 0 || ctx.Err() == nil {
			id, err := create(context.Background(), c, spec{cmd: []string{"/probe", "serve"}, networks: []attachment{{network: net}}})
			if err == nil {
				err = c.ContainerStart(context.Background(), id, container.StartOptions{})
			}
			remove(t, c, id)
			if err != nil {
				return err
			}
			cycles++
		}
		return nil
	})
	asked := make([]int, many)
	for i, p := range probes {
		all.Go(func() error {
			for asked[i] == 0 || ctx.Err() == nil {
				if err := p.own(side); err != nil {
					return err
				}
				asked[i]++
				time.Sleep(50 * time.Millisecond) // leaves the two processors of a small runner to the engine
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	if slices.Min(asked) == 0 || cycles == 0 {
		t.Fatalf("asked %v times while %d containers came and went: not a test", asked, cycles)
	}
	t.Logf("asked %v times while %d containers came and went", asked, cycles)
}

func TestContainerOnTwoNetworksIsItselfOnBoth(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	netA, prefixA := newNetwork(t, c)
	netB, prefixB := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: netA, address: prefixA + "2"}, {network: netB, address: prefixB + "2"}}})
	both := startProbe(t, c, spec{networks: []attachment{{network: netA, address: prefixA + "3"}, {network: netB, address: prefixB + "4"}}})
	onlyB := startProbe(t, c, spec{networks: []attachment{{network: netB, address: prefixB + "3"}}})
	for _, each := range []struct {
		who probe
		url string
	}{{both, "http://" + prefixA + "2"}, {both, "http://" + prefixB + "2"}, {onlyB, "http://" + prefixB + "2"}} {
		if err := each.who.own(sidecar{url: each.url}); err != nil {
			t.Errorf("at %s: %v", each.url, err)
		}
	}
	got := document[containerDocument](t, both.get(t, side.url+"/v4"))
	addresses := map[string][]string{}
	for _, n := range got.Networks {
		addresses[n.NetworkMode] = n.IPv4Addresses
	}
	if diff := cmp.Diff(map[string][]string{netA: {prefixA + "3"}, netB: {prefixB + "4"}}, addresses); diff != "" {
		t.Errorf("Networks (-want +got):\n%s", diff)
	}
}

// Over loopback nobody has an address of its own.
func TestContainersInTheNetworkOfECSLocalAreKnown(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	on := []attachment{{network: net}}
	sharing := func(t *testing.T, side sidecar, port string) probe {
		t.Helper()
		name := unique("sharer")
		id := started(t, c, spec{name: name, mode: "container:" + side.id, cmd: []string{"/probe", "serve", ":" + port}})
		p := probe{id: id, name: name, address: side.address + ":" + port}
		p.wait(t)
		// Before its event has come, loopback is nobody's but the machine's.
		side.engine.waitTold(t, events.ActionCreate, id)
		return p
	}
	loopback := sidecar{url: "http://127.0.0.1"}

	t.Run("a container uses the network of ecs-local", func(t *testing.T) {
		side := startSidecar(t, c, spec{networks: on})
		far := startProbe(t, c, spec{networks: on})
		near := sharing(t, side, "8080")
		for _, each := range []struct {
			who probe
			at  sidecar
		}{{near, loopback}, {near, side}, {far, side}} {
			if err := each.who.own(each.at); err != nil {
				t.Error(err)
			}
		}
		second := sharing(t, side, "8081")
		eventually(t, soon, func() error { // the event that there is a second one may take its time
			a := near.get(t, "http://127.0.0.1/v4")
			if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "/v4/containers/") {
				return fmt.Errorf("with two of them: got %d %s", a.Status, a.Body)
			}
			return nil
		})
		task := document[taskDocument](t, near.get(t, "http://127.0.0.1/v4/task"))
		if !task.ids()[near.id] || !task.ids()[second.id] {
			t.Errorf("the task of both lacks one: %v", task.ids())
		}
		if got := document[containerDocument](t, second.get(t, "http://127.0.0.1/v4/containers/"+second.name)).DockerID; got != second.id {
			t.Errorf("with its own name in the path: got %s, want %s", got, second.id)
		}
	})
	t.Run("ecs-local uses the network of a container", func(t *testing.T) {
		owner := startProbe(t, c, spec{networks: on})
		side := startSidecar(t, c, spec{mode: "container:" + owner.id, networks: on})
		far := startProbe(t, c, spec{networks: on})
		if err := owner.own(loopback); err != nil {
			t.Error(err)
		}
		for _, p := range []probe{owner, far} {
			if err := p.own(side); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestNetworkJoinedLaterIsKnown(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	netA, _ := newNetwork(t, c)
	netB, prefixB := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: netB}}})
	p := startProbe(t, c, spec{networks: []attachment{{network: netA}}})
	if err := c.NetworkConnect(within(t, longest), netB, p.id, endpoint(attachment{network: netB, address: prefixB + "9"})); err != nil {
		t.Fatalf("connect network: %v", err)
	}
	// At once: not even the event need have arrived.
	if err := p.own(side); err != nil {
		t.Error(err)
	}
	if err := c.NetworkDisconnect(within(t, longest), netB, p.id, false); err != nil {
		t.Fatalf("disconnect network: %v", err)
	}
	side.engine.waitTold(t, events.ActionDisconnect, p.id)
	other := startProbe(t, c, spec{networks: []attachment{{network: netB, address: prefixB + "9"}}})
	if err := other.own(side); err != nil {
		t.Errorf("the address that another container left: %v", err)
	}
}

func TestCallerWithoutAContainerAddressGetsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, prefix := newNetwork(t, c)
	side := startSidecar(t, c, spec{
		networks: []attachment{{network: net}},
		host: container.HostConfig{PortBindings: nat.PortMap{
			"80/tcp":    {{HostIP: "127.0.0.1"}},
			"51680/tcp": {{HostIP: "127.0.0.1"}},
		}},
	})
	p := startProbe(t, c, spec{networks: []attachment{{network: net}}})
	info, err := c.ContainerInspect(within(t, longest), side.id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	published := "http://127.0.0.1:" + info.NetworkSettings.Ports["80/tcp"][0].HostPort

	t.Run("the host, through a published port", func(t *testing.T) {
		for _, path := range []string{"/v3", "/v4", "/v4/task", "/v4/stats", "/v2/metadata"} {
			a := fromHost(t, published+path)
			if a.Status == http.StatusOK {
				t.Errorf("%s: got 200, want an error: %s", path, a.Body)
				continue
			}
			for _, want := range []string{prefix + "1", "gateway", net, "/v4/containers/"} {
				if !strings.Contains(a.Body, want) {
					t.Errorf("%s: the error does not say %q: %s", path, want, a.Body)
				}
			}
		}
	})
	t.Run("the host, with the container in the path", func(t *testing.T) {
		for _, path := range []string{"/v4/containers/" + p.name, "/v3/containers/" + p.name, "/v4/" + p.id, "/v3/" + p.id[:12]} {
			if got := document[containerDocument](t, fromHost(t, published+path)).DockerID; got != p.id {
				t.Errorf("%s: got container %s, want %s", path, got, p.id)
			}
		}
		task := document[taskDocument](t, fromHost(t, published+"/v4/containers/"+p.name+"/task"))
		if !task.ids()[p.id] {
			t.Errorf("the task of %s lacks it", p.name)
		}
	})
	t.Run("a container with network_mode host", func(t *testing.T) {
		host := "127.0.0.1:" + freePort(t, "127.0.0.1")
		name := unique("host")
		id := started(t, c, spec{name: name, mode: "host", cmd: []string{"/probe", "serve", host}})
		onHost := probe{id: id, name: name, address: host}
		onHost.wait(t)
		var a answer
		eventually(t, soon, func() error {
			a = onHost.get(t, side.url+"/v4")
			if a.Status == http.StatusOK || !strings.Contains(a.Body, name) {
				return fmt.Errorf("want an error that names %s, got %d %s", name, a.Status, a.Body)
			}
			return nil
		})
		for _, want := range []string{prefix + "1", "network_mode host", "/v4/containers/"} {
			if !strings.Contains(a.Body, want) {
				t.Errorf("the error does not say %q: %s", want, a.Body)
			}
		}
		if got := document[containerDocument](t, onHost.get(t, side.url+"/v4/containers/"+name)).DockerID; got != id {
			t.Errorf("with its own name in the path: got %s, want %s", got, id)
		}
	})
}

// A lane is a network for containers that come and go one after the other.
// (Those that come and go on one network at the same time make engines of the
// 20.10 line lose count of a network's endpoints.)
type lane struct {
	network, prefix string
	side            sidecar // its address on this network
}

// startLanes starts ecs-local on several networks.
func startLanes(t *testing.T, c *client.Client, count int) []lane {
	t.Helper()
	lanes := make([]lane, count)
	on := make([]attachment, count)
	for i := range lanes {
		lanes[i].network, lanes[i].prefix = newNetwork(t, c)
		on[i] = attachment{network: lanes[i].network, address: lanes[i].prefix + "2"}
	}
	side := startSidecar(t, c, spec{networks: on})
	for i := range lanes {
		lanes[i].side = side
		lanes[i].side.url = "http://" + lanes[i].prefix + "2"
	}
	return lanes
}

// firstRequest does the same as the function, for a container of this lane that
// has an address, or any when it is empty. Then it waits until ecs-local can know
// of the container's end, because the next one may have the same address.
func (l lane) firstRequest(c *client.Client, address string) error {
	id, err := firstRequest(c, l.side, spec{networks: []attachment{{network: l.network, address: address}}})
	if err != nil {
		return err
	}
	for end := time.Now().Add(longest); ; time.Sleep(5 * time.Millisecond) {
		if err = l.side.engine.hasTold(events.ActionDie, id); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// Each container takes the address that the one before it had, asks who it is
// as its first action, and is gone again.
func TestReusedAddressIsNeverAnsweredForTheContainerThatHadIt(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	const cycles = 8
	var all errgroup.Group
	for _, l := range startLanes(t, c, 3) {
		all.Go(func() error {
			for cycle := range cycles {
				if err := l.firstRequest(c, l.prefix+"9"); err != nil {
					return fmt.Errorf("in cycle %d: %w", cycle, err)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

func TestFirstRequestOfAFreshContainerIsRightEveryTime(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	const starts, atOnce = 100, 4
	var all errgroup.Group
	for _, l := range startLanes(t, c, atOnce) {
		all.Go(func() error {
			for range starts / atOnce {
				if err := l.firstRequest(c, ""); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

// firstRequest starts a container whose very first action is to ask who it
// is, and removes it. It returns its id.
func firstRequest(c *client.Client, side sidecar, s spec) (id string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	s.cmd = []string{"/probe", "first", side.url + "/v4"}
	id, err = create(ctx, c, s)
	if err != nil {
		return id, err
	}
	defer func() {
		_ = c.ContainerRemove(context.Background(), id, container.RemoveOptions{Force: true})
	}()
	if err := c.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return id, fmt.Errorf("start container: %w", err)
	}
	code, err := ended(ctx, c, id)
	if err != nil {
		return id, err
	}
	if code != 0 {
		text, _ := logsOf(c, id)
		return id, fmt.Errorf("%s was not answered about itself (exit code %d): %s", id[:12], code, text)
	}
	return id, nil
}

func TestRestartThatChangesTheAddressIsFollowed(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	moved := startProbe(t, c, spec{networks: []attachment{{network: net}}})
	before := moved.address
	if err := moved.own(side); err != nil {
		t.Fatal(err)
	}
	stopped(t, c, moved.id)
	side.engine.waitTold(t, events.ActionDie, moved.id)
	free, _, _ := strings.Cut(before, ":")
	heir := startProbe(t, c, spec{networks: []attachment{{network: net, address: free}}})
	start(t, c, moved.id)
	moved = probeOn(t, c, moved.id, net)
	if moved.address == before || heir.address != before {
		t.Fatalf("the engine gave %s to the heir and %s after the restart; the test needs %s to change hands", heir.address, moved.address, before)
	}
	for _, each := range []probe{moved, heir} {
		if err := each.own(side); err != nil {
			t.Error(err)
		}
	}
}

// As Compose does when it makes a container anew: the old one gets another
// name, and the new one the old name.
func TestNameIsAnsweredForWhoHasItNow(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	name := unique("heir")
	before := created(t, c, spec{name: name, cmd: []string{"/probe", "serve"}, networks: []attachment{{network: net}}})
	for range 15 {
		if err := c.ContainerRename(within(t, longest), before, unique("retired")); err != nil {
			t.Fatalf("rename container: %v", err)
		}
		heir := created(t, c, spec{name: name, cmd: []string{"/probe", "serve"}, networks: []attachment{{network: net}}})
		// Until the event has arrived the name is that of the old one: no path
		// asks the engine about what is known. Somebody always has it.
		asked := func() error {
			if got := document[containerDocument](t, fromHost(t, side.url+"/v4/containers/"+name)).DockerID; got != heir {
				return fmt.Errorf("who is %s: got %.12s, want %.12s; %.12s had the name before", name, got, heir, before)
			}
			return nil
		}
		eventually(t, longest, asked)
		if err := asked(); err != nil {
			t.Fatalf("the old one came back: %v", err)
		}
		before = heir
	}
}

func TestControlListenerAnswersTheHostAndNoContainerOfATask(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	p := startProbe(t, c, spec{networks: []attachment{{network: net}}})
	if err := p.own(side); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/status", "/v1/tasks"} {
		if a := p.get(t, side.control+path); a.Status != http.StatusForbidden {
			t.Errorf("%s for a container: got status %d, want 403: %s", path, a.Status, a.Body)
		}
		if a := fromHost(t, side.control+path); a.Status != http.StatusOK {
			t.Errorf("%s for the host: got status %d, want 200: %s", path, a.Status, a.Body)
		}
	}
	if a := fromHost(t, side.control+"/v1/tasks"); !strings.Contains(a.Body, p.name) || strings.Contains(a.Body, side.id) {
		t.Errorf("/v1/tasks: want %s and not the container of ecs-local, got %s", p.name, a.Body)
	}
}

func TestExitedContainerStaysInItsTaskWithItsExitCode(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: net}}})
	labels := map[string]string{"com.docker.compose.project": unique("p"), "com.docker.compose.service": "web"}
	p := startProbe(t, c, spec{networks: []attachment{{network: net}}, labels: labels})
	gone := started(t, c, spec{cmd: []string{"/probe", "no-such-command"}, networks: []attachment{{network: net}}, labels: labels})
	if code, err := ended(within(t, longest), c, gone); err != nil || code != 2 {
		t.Fatalf("got exit code %d, %v; want 2", code, err)
	}
	eventually(t, soon, func() error {
		task := document[taskDocument](t, p.get(t, side.url+"/v4/task"))
		for _, member := range task.Containers {
			if member.DockerID == gone && member.KnownStatus == "STOPPED" && member.ExitCode != nil && *member.ExitCode == 2 {
				return nil
			}
		}
		return fmt.Errorf("want %s as STOPPED with exit code 2, got %+v", gone[:12], task.Containers)
	})
	remove(t, c, gone)
	eventually(t, soon, func() error {
		if document[taskDocument](t, p.get(t, side.url+"/v4/task")).ids()[gone] {
			return fmt.Errorf("the removed container is still in the task")
		}
		return nil
	})
}
