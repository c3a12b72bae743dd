package netfault

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local"
)

// wait is the argument that makes the test binary a process that only waits,
// in a network namespace of its own.
const wait = "wait-for-the-end-of-stdin"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == wait {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	if err := os.Setenv("AWS_EC2_METADATA_DISABLED", "true"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// leaveOut ends the test because something is not on this machine: as skipped,
// or as failed when the variable says that it is required.
func leaveOut(t *testing.T, variable, why string) {
	t.Helper()
	if os.Getenv(variable) == "1" {
		t.Fatalf("%s=1, but: %s", variable, why)
	}
	t.Skipf("left out: %s (set %s=1 to make this a failure)", why, variable)
}

var shared = sync.OnceValues(New)

// requireInjector returns an Injector. Without the privileges the test is left
// out, and fails when ECS_LOCAL_REQUIRE_DOCKER=1, as other tests that need root.
func requireInjector(t *testing.T) *Injector {
	t.Helper()
	i, err := shared()
	if err != nil {
		if code := local.CodeOf(err); code != local.Denied && code != local.Unavailable {
			t.Fatal(err)
		}
		leaveOut(t, "ECS_LOCAL_REQUIRE_DOCKER", err.Error())
	}
	return i
}

// requireNetem is requireInjector for tests that need netem in the kernel. They
// fail without it when ECS_LOCAL_REQUIRE_NETEM=1.
func requireNetem(t *testing.T) *Injector {
	t.Helper()
	i := requireInjector(t)
	if err := i.Lacks(); err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_NETEM", err.Error())
	}
	return i
}

// without is the Injector on a kernel that has no netem.
func without(i *Injector) *Injector {
	return &Injector{proc: i.proc, own: i.own, netem: errors.New("no netem in this test")}
}

// A world is two network namespaces with a cable between them: that of a task,
// and that of its peers.
type world struct {
	task, peers netns.NsHandle
}

// Addresses in a world.
var (
	taskAddress  = netip.MustParseAddr("10.77.0.2")
	taskAddress6 = netip.MustParseAddr("fd77::2")
	peer         = netip.MustParseAddr("10.77.0.1")
	otherPeer    = netip.MustParseAddr("10.77.0.3")
	peer6        = netip.MustParseAddr("fd77::1")
	endpoints    = netip.MustParseAddr(local.ECSAddress)
	everybody    = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
)

func alone(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// Ports on which all peers echo, in TCP and UDP. The task does on port.
const (
	port      = 9000
	otherPort = 9001
	httpPort  = 80
)

// newWorld makes a world in which everybody echoes. It goes with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{task: newNamespace(t), peers: newNamespace(t)}
	task, peers := handleIn(t, w.task), handleIn(t, w.peers)
	try(t, task.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(w.peers)}))
	raise(t, task, "lo")
	raise(t, peers, "lo")
	raise(t, peers, "eth0", peer, otherPeer, peer6, endpoints)
	raise(t, task, "eth0", taskAddress, taskAddress6)
	wantPlugged(t, peers)
	wantPlugged(t, task)
	eth0, err := task.LinkByName("eth0")
	try(t, err)
	try(t, task.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: netlink.NewIPNet(endpoints.AsSlice())}))
	for _, addr := range []netip.Addr{peer, otherPeer, peer6, endpoints} {
		for _, p := range []uint16{port, otherPort, httpPort} {
			echo(t, w.peers, netip.AddrPortFrom(addr, p))
		}
	}
	for _, addr := range []netip.Addr{taskAddress, taskAddress6} {
		echo(t, w.task, netip.AddrPortFrom(addr, port))
	}
	return w
}

// container is where an Injector finds the task's namespace.
func (w *world) container() Namespace {
	return Namespace{Path: fmt.Sprintf("/proc/self/fd/%d", int(w.task))}
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newNamespace(t *testing.T) (ns netns.NsHandle) {
	t.Helper()
	try(t, elsewhere(func(made netns.NsHandle) error { ns = made; return nil }))
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Errorf("close namespace: %v", err)
		}
	})
	return ns
}

func handleIn(t *testing.T, ns netns.NsHandle) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	try(t, err)
	t.Cleanup(h.Close)
	return h
}

func raise(t *testing.T, h *netlink.Handle, name string, addresses ...netip.Addr) {
	t.Helper()
	link, err := h.LinkByName(name)
	try(t, err)
	for _, a := range addresses {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		const noDuplicateDetection = 0x02 // IFA_F_NODAD: usable at once
		try(t, h.AddrAdd(link, &netlink.Addr{Flags: noDuplicateDetection, IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}))
	}
	try(t, h.LinkSetUp(link))
}

// wantPlugged waits until an end of the cable knows that the other is there:
// until then it drops what it should send.
func wantPlugged(t *testing.T, h *netlink.Handle) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		eth0, err := h.LinkByName("eth0")
		try(t, err)
		if eth0.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the cable is %s, want up", eth0.Attrs().OperState)
		}
	}
}

// in calls a function on a thread that is in a namespace. Sockets that it makes
// stay there.
func in[T any](t *testing.T, ns netns.NsHandle, f func() (T, error)) (T, error) {
	t.Helper()
	type result struct {
		value T
		err   error
	}
	var r result
	r.err = onOwnThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter namespace: %w", err)
		}
		var err error
		r.value, err = f()
		return err
	})
	return r.value, r.err
}

// echo answers each byte and packet with itself until the test ends.
func echo(t *testing.T, ns netns.NsHandle, at netip.AddrPort) {
	t.Helper()
	l, err := in(t, ns, func() (*net.TCPListener, error) { return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)) })
	try(t, err)
	packets, err := in(t, ns, func() (*net.UDPConn, error) { return net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)) })
	try(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { _, _ = l.Close(), packets.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	all.Go(func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := packets.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteToUDPAddrPort(buffer[:n], from)
		}
	})
}

// connect opens a connection from a namespace.
func connect(t *testing.T, from netns.NsHandle, protocol string, to netip.AddrPort, limit time.Duration) (net.Conn, error) {
	t.Helper()
	return in(t, from, func() (net.Conn, error) { return (&net.Dialer{Timeout: limit}).Dial(protocol, to.String()) })
}

// ping sends a byte and waits for its echo.
func ping(conn net.Conn, limit time.Duration) (time.Duration, error) {
	begin := time.Now()
	if err := conn.SetDeadline(begin.Add(limit)); err != nil {
		return 0, err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return time.Since(begin), err
}

// patience is how long an answer may take: one that should come, and one that
// should not.
const (
	patience   = 10 * time.Second
	impatience = 250 * time.Millisecond
)

// reaches reports whether an echo comes back, over a connection of its own.
func reaches(t *testing.T, from netns.NsHandle, protocol string, to netip.AddrPort, limit time.Duration) bool {
	t.Helper()
	conn, err := connect(t, from, protocol, to, limit)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_, err = ping(conn, limit)
	return err == nil
}

// wantAlive wants an echo. A busy machine, or one whose cable has only just
// been plugged in, may lose a packet by itself: not each of several.
func wantAlive(t *testing.T, from netns.NsHandle, protocol string, to netip.AddrPort) {
	t.Helper()
	const attempts = 4
	for range attempts {
		if reaches(t, from, protocol, to, patience/attempts) {
			return
		}
	}
	t.Errorf("no answer from %s %s", protocol, to)
}

func wantDead(t *testing.T, from netns.NsHandle, protocol string, to netip.AddrPort) {
	t.Helper()
	if reaches(t, from, protocol, to, impatience) {
		t.Errorf("an answer from %s %s, want none", protocol, to)
	}
}

// state is all there is of tables and queueing disciplines in a namespace.
func (w *world) state(t *testing.T) (lines []string) {
	t.Helper()
	sockets, err := (&Injector{proc: "/proc", own: netns.None()}).enter(w.container())
	try(t, err)
	defer func() { try(t, sockets.close()) }()
	tables, err := sockets.tables.ListTables()
	try(t, err)
	for _, table := range tables {
		lines = append(lines, "table "+table.Name)
	}
	links, err := sockets.links.LinkList()
	try(t, err)
	for _, link := range links {
		all, err := sockets.links.QdiscList(link)
		try(t, err)
		for _, q := range all {
			lines = append(lines, strings.Join([]string{"qdisc", link.Attrs().Name, q.Type(), netlink.HandleStr(q.Attrs().Handle)}, " "))
		}
	}
	return lines
}

// apply puts a fault into the task.
func (w *world) apply(t *testing.T, i *Injector, f Fault) {
	t.Helper()
	try(t, i.Apply(t.Context(), w.container(), f))
	w.wantThere(t, i, f, true)
}

// remove takes it out again.
func (w *world) remove(t *testing.T, i *Injector, f Fault) {
	t.Helper()
	try(t, i.Remove(t.Context(), w.container(), f))
	w.wantThere(t, i, f, false)
}

func (w *world) wantThere(t *testing.T, i *Injector, f Fault, want bool) {
	t.Helper()
	there, err := i.Check(t.Context(), w.container(), f)
	try(t, err)
	if there != want {
		t.Errorf("%s is there: %t, want %t", tableName(f), there, want)
	}
}
