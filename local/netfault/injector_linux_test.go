package netfault

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/fault"
)

// wantError fails the test unless the error has the code and says all of that.
func wantError(t *testing.T, err error, code local.Code, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s", code)
		return
	}
	if local.CodeOf(err) != code {
		t.Errorf("error %s: %v, want %s", local.CodeOf(err), err, code)
	}
	for _, want := range says {
		if !strings.Contains(local.MessageOf(err), want) {
			t.Errorf("the message says %q, want in it: %s", local.MessageOf(err), want)
		}
	}
}

func TestSweepRemovesWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	requireInjector(t)
	w, clean := newWorld(t), newWorld(t)
	sockets, err := socketsIn(w.task)
	try(t, err)
	sockets.tables.AddTable(&nftables.Table{Name: "somebody_elses", Family: nftables.TableFamilyINet})
	try(t, sockets.tables.Flush())
	sockets.links.Close()
	try(t, sockets.tables.CloseLasting())
	before := w.state(t)

	killed, err := New()
	try(t, err)
	hole := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress}
	w.apply(t, killed, hole)
	w.apply(t, killed, Fault{Kind: fault.PacketLoss, LossPercent: 100, Sources: everybody})

	// Another process knows nothing of it.
	i, err := New()
	try(t, err)
	gone := Namespace{Path: "/nowhere"}
	own := Namespace{Path: "/proc/thread-self/ns/net"}
	found, err := i.Sweep(t.Context(), []Namespace{gone, own, clean.container(), w.container()})
	if err != nil || found != 1 {
		t.Errorf("swept %d namespaces, %v, want 1", found, err)
	}
	if diff := cmp.Diff(before, w.state(t)); diff != "" {
		t.Errorf("something stays (-before +after):\n%s", diff)
	}
	wantAlive(t, w.task, fault.TCP, netip.AddrPortFrom(peer, port))
	if found, err := i.Sweep(t.Context(), []Namespace{w.container()}); err != nil || found != 0 {
		t.Errorf("swept %d namespaces once more, %v, want none", found, err)
	}
}

// startProcess starts a process in a network namespace of its own. It ends with
// the test.
func startProcess(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	try(t, err)
	cmd := exec.CommandContext(t.Context(), self, wait)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	try(t, err)
	try(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return cmd
}

func TestNamespaceOfAProcess(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	cmd := startProcess(t)
	f := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress}
	for _, n := range []Namespace{{Pid: cmd.Process.Pid}, {Path: "/nowhere/netns/1", Pid: cmd.Process.Pid}} {
		try(t, i.Apply(t.Context(), n, f))
		if there, err := i.Check(t.Context(), n, f); err != nil || !there {
			t.Errorf("in %s: there %t, %v", n, there, err)
		}
		try(t, i.Remove(t.Context(), n, f))
		if there, err := i.Check(t.Context(), n, f); err != nil || there {
			t.Errorf("in %s after its removal: there %t, %v", n, there, err)
		}
	}
	try(t, cmd.Process.Kill())
	_, err := cmd.Process.Wait()
	try(t, err)
	wantError(t, i.Apply(t.Context(), Namespace{Pid: cmd.Process.Pid}, f), local.NotFound)
}

func TestNamespaceThatIsNotThere(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	f := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress}
	for _, n := range []Namespace{{Path: "/nowhere/netns/1"}, {Path: "/nowhere/netns/1", Pid: 1 << 22}, {}} {
		wantError(t, i.Apply(t.Context(), n, f), local.NotFound, "rslave", "--pid host", "pid: host", "SYS_PTRACE", n.String())
		try(t, i.Remove(t.Context(), n, f))
		if there, err := i.Check(t.Context(), n, f); err != nil || there {
			t.Errorf("in %s: there %t, %v", n, there, err)
		}
	}
}

func TestFileThatIsNoNamespace(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	path := filepath.Join(t.TempDir(), "4f2c")
	try(t, os.WriteFile(path, nil, 0o600))
	f := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress}
	wantError(t, i.Apply(t.Context(), Namespace{Path: path}, f), local.Unavailable, path, "rslave")
	_, err := i.Sweep(t.Context(), []Namespace{{Path: path}})
	wantError(t, err, local.Unavailable, "rslave")
}

// Not parallel: while other tests open sockets in their namespaces, the thread
// that does can be the one that /proc shows for the process.
func TestFaultsStayOutOfTheHostAndOfECSLocal(t *testing.T) {
	i := requireInjector(t)
	f := Fault{Kind: fault.BlackholePort, Port: 1, Protocol: fault.UDP, TrafficType: fault.Ingress}
	for _, n := range []Namespace{{Pid: os.Getpid()}, {Path: "/proc/self/ns/net"}} {
		wantError(t, i.Apply(t.Context(), n, f), local.Denied, "of ecs-local", "a network of its own")
	}
	wantError(t, i.Apply(t.Context(), Namespace{Pid: 1}, f), local.Denied)

	// A host that is not the namespace of ecs-local.
	w := newWorld(t)
	host := &Injector{proc: t.TempDir(), own: i.own}
	try(t, os.MkdirAll(filepath.Join(host.proc, "1", "ns"), 0o700))
	try(t, os.Symlink(w.container().Path, filepath.Join(host.proc, "1", "ns", "net")))
	wantError(t, host.Apply(t.Context(), w.container(), f), local.Denied, "of the host", "a network of its own")

	process := startProcess(t)
	if i.sameNetwork(process.Process.Pid, os.Getpid()) || i.sameNetwork(process.Process.Pid, 1) {
		t.Error("a process in a namespace of its own seems to be in another's")
	}
	beside := &Injector{proc: t.TempDir(), own: i.own}
	for _, pid := range []string{"1", "4711"} {
		try(t, os.MkdirAll(filepath.Join(beside.proc, pid, "ns"), 0o700))
		try(t, os.Symlink(fmt.Sprintf("/proc/%d/net", process.Process.Pid), filepath.Join(beside.proc, pid, "net")))
	}
	try(t, os.Symlink(fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid), filepath.Join(beside.proc, "4711", "ns", "net")))
	wantError(t, beside.Apply(t.Context(), Namespace{Pid: 4711}, f), local.Denied, "of the host")

	// The engine has the host's namespace beside those of containers.
	host.proc = t.TempDir()
	for _, name := range []string{"default", "0a1b2c"} {
		path := filepath.Join(host.proc, name)
		try(t, os.Symlink(w.container().Path, path))
		wantError(t, host.Apply(t.Context(), Namespace{Path: path}, f), local.Denied, "of the host")
	}
}

func TestLatencyWithoutNetemSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	w := newWorld(t)
	before := w.state(t)
	f := Fault{Kind: fault.Latency, Delay: time.Second, Sources: everybody}
	err := i.Apply(t.Context(), w.container(), f)
	if i.Lacks() == nil {
		try(t, err)
		w.remove(t, i, f)
	} else {
		wantError(t, err, local.Unavailable, "sch_prio", "sch_netem", "modprobe")
	}
	if diff := cmp.Diff(before, w.state(t)); diff != "" {
		t.Errorf("the namespace has changed (-before +after):\n%s", diff)
	}
}

func TestEndedContextChangesNothing(t *testing.T) {
	t.Parallel()
	i := requireInjector(t)
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := Fault{Kind: fault.BlackholePort, Port: port, Protocol: fault.TCP, TrafficType: fault.Egress}
	if err := i.Apply(ctx, w.container(), f); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.wantThere(t, i, f, false)
}

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	t.Parallel()
	const net, sys = 1 << unix.CAP_NET_ADMIN, 1 << unix.CAP_SYS_ADMIN
	for _, test := range []struct {
		name      string
		effective uint64
		want      string
	}{
		{"none", 0, "lacks CAP_NET_ADMIN and CAP_SYS_ADMIN:"},
		{"no SYS_ADMIN", net, "lacks CAP_SYS_ADMIN:"},
		{"no NET_ADMIN", sys | 1<<unix.CAP_CHOWN, "lacks CAP_NET_ADMIN:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantError(t, lacking(test.effective), local.Denied, test.want, "--cap-add NET_ADMIN --cap-add SYS_ADMIN", "cap_add: [NET_ADMIN, SYS_ADMIN, SYS_PTRACE]")
		})
	}
	if err := lacking(net | sys); err != nil {
		t.Errorf("with both: %v", err)
	}
}
