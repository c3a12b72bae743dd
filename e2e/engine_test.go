package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// A daemon is a Docker engine of the test's own, beside the machine's: other
// state, other socket, no rule in the machine's firewall.
type daemon struct {
	*client.Client
	dir       string
	namespace string // of its containers in containerd
	bridge    string
	process   *exec.Cmd
	gone      chan struct{}
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	machine := requireRoot(t)
	d := &daemon{dir: freeDir(t), namespace: unique("moby"), bridge: "e2e" + randomHex(4)}
	if _, err := exec.LookPath("dockerd"); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", "no dockerd to start an engine of the test's own: "+err.Error())
	}
	c, err := client.NewClientWithOpts(client.WithHost(d.socket()), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatalf("make client: %v", err)
	}
	d.Client = c
	// The default bridge of an engine is docker0, which is the machine's. An
	// engine with none (--bridge none) would remove it.
	newNetwork(t, machine, "com.docker.network.bridge.name="+d.bridge)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
			t.Logf("log of the test's own engine:\n%s", tail(string(log), 30))
		}
		if d.process == nil {
			d.start(t) // to remove what it left running
		}
		d.removeAll(t)
		end(d.process.Process.Pid, syscall.SIGTERM)
		select {
		case <-d.gone:
		case <-time.After(30 * time.Second):
			t.Error("the test's own engine did not end")
			d.kill(t)
		}
		// dockerd mounts its folder onto itself and leaves it so.
		_ = exec.Command("umount", "--lazy", filepath.Join(d.dir, "data")).Run()
	})
	d.start(t)
	return d
}

func (d *daemon) socket() string { return "unix://" + filepath.Join(d.dir, "docker.sock") }

func (d *daemon) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("open log: %v", err)
	}
	defer func() { _ = log.Close() }()
	in := func(name string) string { return filepath.Join(d.dir, name) }
	d.process = exec.Command("dockerd", "--host", d.socket(),
		"--data-root", in("data"), "--exec-root", in("exec"), "--pidfile", in("pid"),
		"--containerd-namespace", d.namespace, "--bridge", d.bridge,
		"--iptables=false", "--ip-masq=false", "--ip-forward=false")
	d.process.Stdout, d.process.Stderr = log, log
	d.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.process.Start(); err != nil {
		t.Fatalf("start dockerd: %v", err)
	}
	d.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		_ = cmd.Wait()
		close(gone)
	}(d.process, d.gone)
	eventually(t, longest, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := d.Ping(ctx)
		return err
	})
}

// kill ends the engine at once, as a crash would. Its containers go on. The
// containerd that it started ends with it, a moment later; a new engine that
// saw it still alive would wait for it in vain.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	pid, _ := os.ReadFile(filepath.Join(d.dir, "exec", "containerd", "containerd.pid"))
	end(d.process.Process.Pid, syscall.SIGKILL)
	<-d.gone
	d.process = nil
	if containerd, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
		eventually(t, soon, func() error {
			if err := syscall.Kill(containerd, 0); !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("containerd %d is still there: %w", containerd, err)
			}
			return nil
		})
	}
}

func (d *daemon) removeAll(t *testing.T) {
	t.Helper()
	list, err := d.ContainerList(within(t, longest), container.ListOptions{All: true})
	if err != nil {
		t.Errorf("list containers of the test's own engine: %v", err)
		return
	}
	for _, s := range list {
		remove(t, d.Client, s.ID)
	}
	networks, err := d.NetworkList(within(t, longest), network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelRun+"="+run))})
	if err != nil {
		t.Errorf("list networks of the test's own engine: %v", err)
	}
	for _, n := range networks {
		removeNetwork(t, d.Client, n.ID)
	}
}

func TestEngineThatIsKilledAndStartedAgainLosesNothing(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	files, err := probeFiles()
	if err != nil {
		t.Fatal(err)
	}
	image, err := importImage(d.Client, "probe", probeSettings, files)
	if err != nil {
		t.Fatal(err)
	}
	net, prefix := newNetwork(t, d.Client)
	on := []attachment{{network: net}}
	s := startServer(t, prefix+"1", []string{"DOCKER_HOST=" + d.socket()}, "--runtime", "docker", "--credentials", "offline")
	side := sidecar{url: s.url, control: s.control}
	always := container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}}
	var probes []probe
	for i := range 3 {
		probes = append(probes, startProbe(t, d.Client, spec{image: image, networks: on, host: always, labels: map[string]string{
			"com.docker.compose.project": "shop", "com.docker.compose.service": fmt.Sprintf("web%d", i),
		}}))
	}
	everyone := func() {
		t.Helper()
		for _, p := range probes {
			if err := p.own(side); err != nil {
				t.Error(err)
			}
			eventually(t, soon, func() error { // who is known is answered before the last event has arrived
				if got := document[taskDocument](t, p.get(t, side.url+"/v4/task")); len(got.Containers) != len(probes) {
					return fmt.Errorf("the task of %s has %d containers, want %d", p.name, len(got.Containers), len(probes))
				}
				return nil
			})
		}
	}
	everyone()

	d.kill(t)
	if said := notReady(t, s.control); !strings.Contains(strings.ToLower(said), "docker") {
		t.Errorf("/readyz does not say that it is Docker: %s", said)
	}
	everyone() // what was known last

	d.start(t)
	ready(t, s.control)
	for i, p := range probes {
		eventually(t, longest, func() error {
			info, err := d.ContainerInspect(context.Background(), p.id)
			if err != nil {
				return err
			}
			if !info.State.Running || info.NetworkSettings.Networks[net].IPAddress == "" {
				return fmt.Errorf("%s is %s", p.name, info.State.Status)
			}
			return nil
		})
		probes[i] = probeOn(t, d.Client, p.id, net)
	}
	everyone()
	fresh := startProbe(t, d.Client, spec{image: image, networks: on})
	if err := fresh.own(side); err != nil {
		t.Errorf("a container that was started after the engine's return: %v", err)
	}
}

func TestBrokenConnectionToTheEngineIsMendedWithoutLoss(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, prefix := newNetwork(t, c)
	on := []attachment{{network: net}}
	side := startSidecar(t, c, spec{networks: on})
	labels := map[string]string{"com.docker.compose.project": unique("p")}
	stays := startProbe(t, c, spec{networks: on, labels: labels})
	goes := startProbe(t, c, spec{networks: []attachment{{network: net, address: prefix + "20"}}, labels: labels})
	for _, p := range []probe{stays, goes} {
		eventually(t, soon, func() error { return p.own(side) })
	}

	side.engine.cut()
	notReady(t, side.control)
	if err := stays.own(side); err != nil {
		t.Errorf("what was known before the connection broke: %v", err)
	}
	remove(t, c, goes.id)
	comes := startProbe(t, c, spec{networks: on, labels: labels})
	if a := comes.get(t, side.url+"/v4"); a.Status == http.StatusOK {
		t.Errorf("a container that ecs-local cannot know of was answered %s", a.Body)
	}
	side.engine.mend()
	ready(t, side.control)

	for _, p := range []probe{stays, comes} {
		if err := p.own(side); err != nil {
			t.Error(err)
		}
		// A container that a busy engine describes too late is left to later.
		eventually(t, soon, func() error {
			ids := document[taskDocument](t, p.get(t, side.url+"/v4/task")).ids()
			if ids[goes.id] {
				t.Fatalf("the task holds %s, which was removed meanwhile", goes.id)
			}
			if !ids[stays.id] || !ids[comes.id] {
				return fmt.Errorf("the task holds %v; want %s and %s", ids, stays.id, comes.id)
			}
			return nil
		})
	}
	heir := startProbe(t, c, spec{networks: []attachment{{network: net, address: prefix + "20"}}})
	if err := heir.own(side); err != nil {
		t.Errorf("the address of the container that was removed meanwhile: %v", err)
	}

	t.Run("again and again", func(t *testing.T) {
		for range 5 {
			side.engine.cut()
			side.engine.mend()
			if _, err := firstRequest(c, side, spec{networks: on}); err != nil {
				t.Error(err)
			}
		}
	})
}
