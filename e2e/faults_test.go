package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Ports at which the containers of these tests echo.
const (
	echoPort  = "9000"
	otherPort = "9001"
	webPort   = "80"
)

// Kinds of faults.
const (
	blackhole = "network-blackhole-port"
	latency   = "network-latency"
	loss      = "network-packet-loss"
)

// applying is a side-car that makes faults real, with the privileges that
// docs/faults.md names and no others.
//
// Such a side-car ends, when it starts, the faults of all containers of the
// engine: tests that have it hold the lock of the addresses, too.
func applying(s spec) spec {
	s.user = "0:0"
	s.host.PidMode = "host"
	s.host.CapAdd = []string{"DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"}
	s.host.SecurityOpt = []string{"no-new-privileges:true"}
	s.env = append([]string{"ECS_LOCAL_FAULTS=apply"}, s.env...)
	return s
}

// A tasker is a container that echoes, and asks for faults.
type tasker struct {
	probe
	agent string // $ECS_AGENT_URI
}

// startTasker starts one in a task.
func startTasker(t *testing.T, c *client.Client, agent, network, task string) tasker {
	t.Helper()
	return tasker{agent: agent, probe: startProbe(t, c, spec{
		networks: []attachment{{network: network}},
		labels:   map[string]string{"com.docker.compose.project": task, "com.docker.compose.service": unique("service")},
		cmd:      []string{"/probe", "echo", echoPort, otherPort, webPort},
	})}
}

// at is the container's address with a port.
func (a tasker) at(port string) string { return strings.TrimSuffix(a.address, "8080") + port }

// do makes the container ask something about a fault.
func (a tasker) do(t *testing.T, kind, action, body string) answer {
	t.Helper()
	res, err := direct.Post("http://"+a.address+"/post?url="+url.QueryEscape(a.agent+"/fault/v1/"+kind+"/"+action), "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatalf("ask the probe %s: %v", a.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	var got answer
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Error != "" {
		t.Fatalf("%s asked to %s %s: %v %s", a.name, action, kind, err, got.Error)
	}
	return got
}

// want makes the container ask something about a fault, and fails the test
// unless the answer is this status.
func (a tasker) want(t *testing.T, kind, action, body, status string) {
	t.Helper()
	got := a.do(t, kind, action, body)
	if want := `{"Status":"` + status + `"}`; got.Status != http.StatusOK || strings.TrimSpace(got.Body) != want {
		t.Fatalf("%s %s: got %d %s, want 200 %s", action, kind, got.Status, got.Body, want)
	}
}

func (a tasker) start(t *testing.T, kind, body string) {
	t.Helper()
	a.want(t, kind, "start", body, "running")
	a.want(t, kind, "status", body, "running")
}

func (a tasker) stop(t *testing.T, kind, body string) {
	t.Helper()
	a.want(t, kind, "stop", body, "stopped")
	a.want(t, kind, "status", body, "not-running")
}

// exchanged is what became of packets or bytes; the probe has the same type.
type exchanged struct {
	Echoed, Refused int
	Median          int64
	Error           string
}

func (a tasker) order(t *testing.T, path string, query url.Values) exchanged {
	t.Helper()
	return document[exchanged](t, fromHost(t, "http://"+a.address+path+"?"+query.Encode()))
}

// ping sends bytes to an echo, one after the other.
func (a tasker) ping(t *testing.T, protocol, address string, times int, limit time.Duration) exchanged {
	t.Helper()
	return a.order(t, "/ping", url.Values{"protocol": {protocol}, "address": {address}, "times": {fmt.Sprint(times)}, "limit": {limit.String()}})
}

// flood sends UDP packets to an echo.
func (a tasker) flood(t *testing.T, address string, packets int) exchanged {
	t.Helper()
	return a.order(t, "/flood", url.Values{"address": {address}, "packets": {fmt.Sprint(packets)}})
}

// wantAlive fails the test unless an echo answers the container.
func (a tasker) wantAlive(t *testing.T, protocol, address string) {
	t.Helper()
	if got := a.ping(t, protocol, address, 1, soon); got.Echoed != 1 {
		t.Errorf("%s: no answer from %s %s: %s", a.name, protocol, address, got.Error)
	}
}

// wantDead fails the test if an echo answers the container.
func (a tasker) wantDead(t *testing.T, protocol, address string) {
	t.Helper()
	const impatience = 300 * time.Millisecond
	if got := a.ping(t, protocol, address, 1, impatience); got.Echoed != 0 || got.Error == "" {
		t.Errorf("%s: an answer from %s %s, want none", a.name, protocol, address)
	}
}

// wantEndpoints fails the test unless the container reaches ecs-local at the
// address of ECS.
func (a tasker) wantEndpoints(t *testing.T) {
	t.Helper()
	if err := a.own(sidecar{url: "http://" + ecsAddress}); err != nil {
		t.Errorf("the endpoints are cut off: %v", err)
	}
}

// wantClean fails the test if there is a table, or a queueing discipline other
// than the kernel's own, in a container's network namespace.
func wantClean(t *testing.T, c *client.Client, all ...tasker) {
	t.Helper()
	for _, a := range all {
		if left := leftIn(t, c, a.id); len(left) > 0 {
			t.Errorf("%s: in its network namespace is %v, want nothing", a.name, left)
		}
	}
}

// leftIn returns what is in a container's network namespace that a fault may
// have put there.
func leftIn(t *testing.T, c *client.Client, id string) (left []string) {
	t.Helper()
	info, err := c.ContainerInspect(within(t, longest), id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	ns, err := netns.GetFromPid(info.State.Pid)
	if err != nil {
		t.Fatalf("open network namespace: %v", err)
	}
	defer func() { _ = ns.Close() }()
	filters, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		t.Fatalf("open nftables: %v", err)
	}
	tables, err := filters.ListTables()
	if err != nil {
		t.Fatalf("list tables: %v", err)
	}
	for _, table := range tables {
		// The engine has tables of its own for the names of containers.
		if strings.HasPrefix(table.Name, "ecs_local") {
			left = append(left, "table "+table.Name)
		}
	}
	links, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatalf("open rtnetlink: %v", err)
	}
	defer links.Close()
	interfaces, err := links.LinkList()
	if err != nil {
		t.Fatalf("list interfaces: %v", err)
	}
	for _, link := range interfaces {
		queues, err := links.QdiscList(link)
		if err != nil {
			t.Fatalf("list queueing disciplines: %v", err)
		}
		for _, q := range queues {
			if q.Type() != "noqueue" {
				left = append(left, "qdisc "+q.Type()+" "+netlink.HandleStr(q.Attrs().Handle))
			}
		}
	}
	return left
}

// runningFaults is what the control API shows of faults.
type runningFaults []struct {
	Type, Task string
	Containers []string
	Port       int
}

func (s sidecar) faults(t *testing.T) runningFaults {
	t.Helper()
	return document[runningFaults](t, fromHost(t, s.control+"/v1/faults/network"))
}

// hole is the body about a black hole.
func hole(port, protocol, direction string) string {
	return fmt.Sprintf(`{"Port":%s,"Protocol":%q,"TrafficType":%q}`, port, protocol, direction)
}

func TestFaultsAreRealInContainers(t *testing.T) {
	c := requireRoot(t)
	lockAddresses(t)
	network := trueNetwork(t, c)
	side := startSidecar(t, c, applying(spec{networks: []attachment{{network: network, address: ecsAddress}}}))
	const agent = "http://" + ecsAddress + "/api"
	shop := unique("shop")
	web, worker := startTasker(t, c, agent, network, shop), startTasker(t, c, agent, network, shop)
	peer := startTasker(t, c, agent, network, unique("peer"))
	members := []tasker{web, worker}
	everythingLives := func(t *testing.T) {
		t.Helper()
		for _, member := range members {
			for _, protocol := range []string{"tcp", "udp"} {
				for _, port := range []string{echoPort, otherPort, webPort} {
					member.wantAlive(t, protocol, peer.at(port))
					peer.wantAlive(t, protocol, member.at(port))
				}
			}
		}
		if got := side.faults(t); len(got) != 0 {
			t.Errorf("the control API shows %+v, want no fault", got)
		}
		wantClean(t, c, web, worker, peer)
	}
	everythingLives(t)

	for _, protocol := range []string{"tcp", "udp"} {
		other := map[string]string{"tcp": "udp", "udp": "tcp"}[protocol]
		t.Run("black hole, egress, "+protocol, func(t *testing.T) {
			body := hole(echoPort, protocol, "egress")
			web.start(t, blackhole, body)
			for _, member := range members {
				member.wantDead(t, protocol, peer.at(echoPort))
				member.wantAlive(t, protocol, peer.at(otherPort))
				member.wantAlive(t, other, peer.at(echoPort))
				peer.wantAlive(t, protocol, member.at(echoPort))
			}
			// It is the task's: whoever of it asks is answered so.
			worker.want(t, blackhole, "status", body, "running")
			peer.want(t, blackhole, "status", body, "not-running")
			wantClean(t, c, peer)
			worker.stop(t, blackhole, body)
			everythingLives(t)
		})
		t.Run("black hole, ingress, "+protocol, func(t *testing.T) {
			body := hole(echoPort, protocol, "ingress")
			web.start(t, blackhole, body)
			for _, member := range members {
				peer.wantDead(t, protocol, member.at(echoPort))
				peer.wantAlive(t, protocol, member.at(otherPort))
				peer.wantAlive(t, other, member.at(echoPort))
				member.wantAlive(t, protocol, peer.at(echoPort))
			}
			web.stop(t, blackhole, body)
			everythingLives(t)
		})
	}
	t.Run("black hole of the port of the endpoints", func(t *testing.T) {
		body := hole(webPort, "tcp", "egress")
		web.start(t, blackhole, body)
		for _, member := range members {
			member.wantDead(t, "tcp", peer.at(webPort))
			member.wantEndpoints(t)
		}
		web.stop(t, blackhole, body) // by a request to that port
		everythingLives(t)
	})
	t.Run("loss of some packets", func(t *testing.T) {
		const packets, percent = 2000, 20
		web.start(t, loss, fmt.Sprintf(`{"LossPercent":%d,"Sources":[%q]}`, percent, strings.TrimSuffix(peer.at(""), ":")))
		for _, member := range members {
			wantLoss(t, member, peer, packets, percent)
		}
		if got := web.flood(t, worker.at(echoPort), packets); got.Echoed != packets {
			t.Errorf("%d of %d packets to somebody else lost", packets-got.Echoed, packets)
		}
		web.stop(t, loss, "")
		if got := web.flood(t, peer.at(echoPort), packets); got.Echoed != packets {
			t.Errorf("%d of %d packets lost after the fault", packets-got.Echoed, packets)
		}
		everythingLives(t)
	})
	t.Run("loss of all packets", func(t *testing.T) {
		// The test itself speaks with the containers from the gateway.
		web.start(t, loss, `{"LossPercent":100,"Sources":["0.0.0.0/0"],"SourcesToFilter":["`+addresses.Gateway+`"]}`)
		for _, member := range members {
			for _, protocol := range []string{"tcp", "udp"} {
				member.wantDead(t, protocol, peer.at(echoPort))
				peer.wantDead(t, protocol, member.at(echoPort))
			}
			member.wantEndpoints(t)
		}
		if got := web.do(t, latency, "start", `{"DelayMilliseconds":1,"JitterMilliseconds":0,"Sources":["0.0.0.0/0"]}`); got.Status != http.StatusConflict {
			t.Errorf("latency beside a loss: got %d %s, want 409", got.Status, got.Body)
		}
		web.stop(t, loss, "")
		everythingLives(t)
	})
	t.Run("latency", func(t *testing.T) {
		const delay, tolerance = 100 * time.Millisecond, 50 * time.Millisecond
		body := fmt.Sprintf(`{"DelayMilliseconds":%d,"JitterMilliseconds":0,"Sources":[%q]}`, delay.Milliseconds(), strings.TrimSuffix(peer.at(""), ":"))
		if got := web.do(t, latency, "start", body); got.Status != http.StatusOK {
			for _, want := range []string{`{"Error":"`, "sch_prio", "sch_netem", "modprobe"} {
				if got.Status != http.StatusInternalServerError || !strings.Contains(got.Body, want) {
					t.Errorf("got %d %s, want 500 and in it %s", got.Status, got.Body, want)
				}
			}
			web.want(t, latency, "status", "", "not-running")
			everythingLives(t)
			leaveOut(t, "ECS_LOCAL_REQUIRE_NETEM", got.Body)
		}
		wantLatency := func(more time.Duration) {
			t.Helper()
			for _, member := range members {
				for _, protocol := range []string{"tcp", "udp"} {
					eventually(t, soon, func() error { // a busy machine may add to some round trips
						got := member.ping(t, protocol, peer.at(echoPort), 21, soon)
						median := time.Duration(got.Median) * time.Microsecond
						t.Logf("round trip of %s: %s, with a delay of %s", protocol, median, more)
						if got.Error != "" || median < more {
							t.Fatalf("%s: %s takes %s (%s), want %s at least", member.name, protocol, median, got.Error, more)
						}
						if median > more+tolerance {
							return fmt.Errorf("%s: %s takes %s, want %s to %s", member.name, protocol, median, more, more+tolerance)
						}
						return nil
					})
				}
			}
		}
		web.want(t, latency, "status", "", "running")
		wantLatency(delay)
		peer.wantAlive(t, "tcp", web.at(echoPort))
		for _, member := range members {
			member.wantEndpoints(t)
		}
		web.stop(t, latency, "")
		wantLatency(0)
		everythingLives(t)
	})
	t.Run("what runs is shown", func(t *testing.T) {
		body := hole(echoPort, "tcp", "egress")
		web.start(t, blackhole, body)
		ids := []string{web.id, worker.id}
		slices.Sort(ids)
		got := side.faults(t)
		for _, f := range got {
			slices.Sort(f.Containers)
		}
		if diff := cmp.Diff(runningFaults{{Type: blackhole, Task: shop, Containers: ids, Port: 9000}}, got); diff != "" {
			t.Errorf("faults of the control API (-want +got):\n%s", diff)
		}
		shown := command(t, exec.Command(program(t), "status", "--control-listen", strings.TrimPrefix(side.control, "http://")))
		for line := range strings.Lines(shown) {
			if strings.HasPrefix(line, shop+" ") != strings.Contains(line, blackhole) {
				t.Errorf("ecs-local status: the line %q; want the fault in that of the task %s and no other", line, shop)
			}
		}
		if !strings.Contains(shown, shop) {
			t.Errorf("ecs-local status has no task %s:\n%s", shop, shown)
		}
		web.stop(t, blackhole, body)
	})
}

// wantLoss fails the test unless the share of lost packets is within the 99.9 %
// confidence interval. One in a thousand measurements is outside: not two in a
// row.
func wantLoss(t *testing.T, from, to tasker, packets, percent int) {
	t.Helper()
	const z = 3.2905
	n, p := float64(packets), float64(percent)/100
	var lost int
	for range 2 {
		got := from.flood(t, to.at(echoPort), packets)
		if got.Error != "" {
			t.Fatalf("the program that sends gets to know of a loss: %s", got.Error)
		}
		lost = packets - got.Echoed
		t.Logf("%d of %d packets lost: %.1f %%, asked for %d %%", lost, packets, 100*float64(lost)/n, percent)
		if math.Abs(float64(lost)-n*p) <= z*math.Sqrt(n*p*(1-p))+1 {
			return
		}
	}
	t.Errorf("%d of %d packets lost, want %d %%", lost, packets, percent)
}

func TestFaultsEnd(t *testing.T) {
	c := requireRoot(t)
	lockAddresses(t) // for the reason that applying has
	network, prefix := newNetwork(t, c)
	at := []attachment{{network: network, address: prefix + "2"}}
	side := startSidecar(t, c, applying(spec{networks: at}))
	agent := side.url + "/api"
	pair := unique("pair")
	web, one, two := startTasker(t, c, agent, network, unique("web")), startTasker(t, c, agent, network, pair), startTasker(t, c, agent, network, pair)
	peer := startTasker(t, c, agent, network, unique("peer"))
	body := hole(echoPort, "tcp", "egress")
	again := func(t *testing.T, a tasker) tasker {
		t.Helper()
		now := 0
		if err := c.ContainerRestart(within(t, longest), a.id, container.StopOptions{Timeout: &now}); err != nil {
			t.Fatalf("restart container: %v", err)
		}
		a.probe = probeOn(t, c, a.id, network)
		return a
	}

	t.Run("with their container", func(t *testing.T) {
		web.start(t, blackhole, body)
		web.wantDead(t, "tcp", peer.at(echoPort))
		web = again(t, web)
		eventually(t, soon, func() error {
			if running := side.faults(t); len(running) > 0 {
				return fmt.Errorf("the control API shows %+v", running)
			}
			return nil
		})
		web.want(t, blackhole, "status", body, "not-running")
		web.wantAlive(t, "tcp", peer.at(echoPort))
		wantClean(t, c, web)
	})
	t.Run("not while the task has another that had them", func(t *testing.T) {
		one.start(t, blackhole, body)
		two = again(t, two)
		eventually(t, soon, func() error {
			if got := two.ping(t, "tcp", peer.at(echoPort), 1, 300*time.Millisecond); got.Echoed > 0 {
				return errors.New("the container that came back has no fault")
			}
			return nil
		})
		two.stop(t, blackhole, body)
		for _, member := range []tasker{one, two} {
			member.wantAlive(t, "tcp", peer.at(echoPort))
		}
		wantClean(t, c, one, two)
	})
	t.Run("with ecs-local", func(t *testing.T) {
		web.start(t, blackhole, body)
		one.start(t, loss, `{"LossPercent":100,"Sources":["`+strings.TrimSuffix(peer.at(""), ":")+`"]}`)
		web.wantDead(t, "tcp", peer.at(echoPort))
		two.wantDead(t, "tcp", peer.at(echoPort))
		stopped(t, c, side.id)
		for _, each := range []tasker{web, one, two} {
			each.wantAlive(t, "tcp", peer.at(echoPort))
		}
		wantClean(t, c, web, one, two)
	})
	whole := t
	t.Run("when ecs-local was killed, with its next start", func(t *testing.T) {
		killed := startSidecar(t, c, applying(spec{networks: at}))
		web.start(t, blackhole, body)
		one.start(t, loss, `{"LossPercent":100,"Sources":["`+strings.TrimSuffix(peer.at(""), ":")+`"]}`)
		if err := c.ContainerKill(within(t, longest), killed.id, "SIGKILL"); err != nil {
			t.Fatalf("kill container: %v", err)
		}
		if code, err := ended(within(t, longest), c, killed.id); err != nil || code != 137 {
			t.Fatalf("the killed side-car: exit code %d, %v", code, err)
		}
		for _, each := range []tasker{web, one, two} {
			each.wantDead(t, "tcp", peer.at(echoPort))
			if len(leftIn(t, c, each.id)) == 0 {
				t.Errorf("%s: nothing is left in its network namespace by the one that was killed", each.name)
			}
		}
		// Long enough for a look at the fault on a busy machine.
		side = startSidecar(whole, c, applying(spec{networks: at, env: []string{"ECS_LOCAL_FAULTS_EXPIRE=15s"}}))
		for _, each := range []tasker{web, one, two} {
			each.wantAlive(t, "tcp", peer.at(echoPort))
			each.want(t, blackhole, "status", body, "not-running")
		}
		wantClean(t, c, web, one, two)
		eventually(t, soon, func() error { // its log comes a moment later
			if text := logs(t, c, side.id); !strings.Contains(text, `msg="faults of an earlier process ended" namespaces=3`) {
				return fmt.Errorf("the log does not say that there were faults in 3 namespaces:\n%s", text)
			}
			return nil
		})
	})
	t.Run("when their time is up", func(t *testing.T) {
		web.start(t, blackhole, body)
		web.wantDead(t, "tcp", peer.at(echoPort))
		eventually(t, soon, func() error {
			if running := side.faults(t); len(running) > 0 {
				return fmt.Errorf("the control API shows %+v", running)
			}
			return nil
		})
		web.wantAlive(t, "tcp", peer.at(echoPort))
		web.want(t, blackhole, "status", body, "not-running")
		wantClean(t, c, web)
	})
}

func TestFaultsWithoutPrivilegesSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	network, _ := newNetwork(t, c)
	on := []attachment{{network: network}}

	for _, test := range []struct {
		name  string
		user  string
		gives []string
		lacks string
	}{
		{"no capability", "0:0", nil, "lacks CAP_NET_ADMIN and CAP_SYS_ADMIN"},
		{"not the one to enter", "0:0", []string{"NET_ADMIN", "SYS_PTRACE"}, "lacks CAP_SYS_ADMIN"},
		{"not the one to change", "0:0", []string{"SYS_ADMIN", "SYS_PTRACE"}, "lacks CAP_NET_ADMIN"},
		{"not root", "", []string{"NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"}, "lacks CAP_NET_ADMIN and CAP_SYS_ADMIN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := applying(spec{networks: on, image: imageOf(t, sidecarImage), name: unique("sidecar")})
			s.user, s.host.CapAdd, s.host.CapDrop = test.user, test.gives, []string{"ALL"}
			s.env = append(s.env, "DOCKER_HOST=unix:///engine/docker.sock", "ECS_LOCAL_CREDENTIALS=offline")
			s.host.Binds = []string{newRecorder(t, c.DaemonHost()).dir + ":/engine"}
			id := started(t, c, s)
			code, err := ended(within(t, longest), c, id)
			if err != nil {
				t.Fatal(err)
			}
			text := logs(t, c, id)
			for _, want := range []string{"--faults apply: ", test.lacks + ":", "--cap-add NET_ADMIN", "cap_add: [", "--user 0:0"} {
				if code != 1 || !strings.Contains(text, want) {
					t.Errorf("exit code %d, want 1 and in the log %q:\n%s", code, want, text)
				}
			}
		})
	}
	for _, test := range []struct {
		name  string
		spoil func(*container.HostConfig)
		says  []string
	}{
		{"no processes of the host", func(h *container.HostConfig) { h.PidMode = "" }, []string{"not visible to ecs-local", "--pid host", "pid: host"}},
		{"no right to their files", func(h *container.HostConfig) { h.CapAdd = []string{"NET_ADMIN", "SYS_ADMIN"} }, []string{"may not open", "CAP_SYS_PTRACE", "--cap-add SYS_PTRACE"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := applying(spec{networks: on})
			test.spoil(&s.host)
			side := startSidecar(t, c, s)
			web := startTasker(t, c, side.url+"/api", network, unique("web"))
			body := hole(echoPort, "tcp", "egress")
			got := web.do(t, blackhole, "start", body)
			for _, want := range append(test.says, `{"Error":"`) {
				if got.Status != http.StatusInternalServerError || !strings.Contains(got.Body, want) {
					t.Errorf("got %d %s, want 500 and in it %s", got.Status, got.Body, want)
				}
			}
			web.want(t, blackhole, "status", body, "not-running")
		})
	}
}

func TestRecordedFaultsTouchNothing(t *testing.T) {
	t.Parallel()
	c := requireRoot(t)
	network, _ := newNetwork(t, c)
	side := startSidecar(t, c, spec{networks: []attachment{{network: network}}})
	web := startTasker(t, c, side.url+"/api", network, unique("web"))
	peer := startTasker(t, c, side.url+"/api", network, unique("peer"))
	body := hole(echoPort, "tcp", "egress")
	web.start(t, blackhole, body)
	web.start(t, loss, `{"LossPercent":100,"Sources":["0.0.0.0/0"]}`)
	web.wantAlive(t, "tcp", peer.at(echoPort))
	wantClean(t, c, web)
	if got := side.faults(t); len(got) != 2 {
		t.Errorf("the control API shows %+v, want two faults", got)
	}
	web.stop(t, blackhole, body)
	web.stop(t, loss, "")
}
