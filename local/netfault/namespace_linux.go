package netfault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local"
)

// errGone is the error of a namespace that is not there, or no more.
var errGone = errors.New("no such network namespace")

// errOwn is the error of a namespace that faults are kept out of.
var errOwn = errors.New("not a network namespace of a container alone")

// inside is an opened network namespace. The sockets are in it; no thread of
// this process is.
type inside struct {
	ns     netns.NsHandle
	links  *netlink.Handle
	tables *nftables.Conn
}

// enter opens a namespace.
func (i *Injector) enter(n Namespace) (*inside, error) {
	ns, err := i.open(n)
	if err != nil {
		return nil, err
	}
	if err := i.refuseOwn(ns, n); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	in, err := socketsIn(ns)
	if err != nil {
		err = fmt.Errorf("enter the network namespace of %s: %w", n, err)
		if errors.Is(err, unix.EPERM) {
			err = notPermitted(err)
		}
		return nil, errors.Join(err, ns.Close())
	}
	return in, nil
}

// socketsIn makes sockets in the namespace. It takes over ns unless it fails.
func socketsIn(ns netns.NsHandle) (*inside, error) {
	links, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	tables, err := nftables.New(nftables.WithNetNSFd(int(ns)), nftables.AsLasting())
	if err != nil {
		links.Close()
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	return &inside{ns: ns, links: links, tables: tables}, nil
}

func (in *inside) close() error {
	in.links.Close()
	return errors.Join(in.tables.CloseLasting(), in.ns.Close())
}

// open finds the file of a namespace.
func (i *Injector) open(n Namespace) (netns.NsHandle, error) {
	var gone error
	if n.Path != "" {
		ns, err := openFile(n.Path)
		if err == nil || !errors.Is(err, errGone) {
			return ns, err
		}
		gone = err
	}
	if n.Pid > 0 {
		ns, err := openFile(filepath.Join(i.proc, strconv.Itoa(n.Pid), "ns", "net"))
		if err == nil || !errors.Is(err, errGone) {
			return ns, err
		}
		gone = err
	}
	if gone == nil {
		gone = fmt.Errorf("%w: neither a path nor a process is known", errGone)
	}
	return netns.None(), &local.Error{Code: local.NotFound, Err: gone, Msg: fmt.Sprintf("the network namespace of the container is not "+
		"visible to ecs-local at %s. Either the container has ended, or ecs-local runs in a container that sees neither the engine's "+
		"namespaces nor the processes of the host: start it with %s; or with %s", n, howAll, howSandbox)}
}

// nsfsMagic is the type of the file system that namespaces are files of.
const nsfsMagic = unix.NSFS_MAGIC

func openFile(path string) (netns.NsHandle, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOTDIR):
		return netns.None(), fmt.Errorf("%w: open %s: %w", errGone, path, err)
	case errors.Is(err, fs.ErrPermission):
		return netns.None(), &local.Error{Code: local.Denied, Err: fmt.Errorf("open %s: %w", path, err), Msg: fmt.Sprintf("ecs-local may not open "+
			"%s, which needs root, and CAP_SYS_PTRACE for a process with more capabilities: start it with %s", path, howAll)}
	case err != nil:
		return netns.None(), fmt.Errorf("open %s: %w", path, err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(fd, &stat); err != nil {
		return netns.None(), errors.Join(fmt.Errorf("read the file system of %s: %w", path, err), unix.Close(fd))
	}
	if stat.Type != nsfsMagic {
		// The engine makes an empty file and mounts the namespace on it. Where
		// that mount does not arrive, the empty file is all there is.
		return netns.None(), errors.Join(local.Errorf(local.Unavailable, "%s is not a network namespace: mount the folder so that what the "+
			"engine mounts later arrives too, with %s", path, howSandbox), unix.Close(fd))
	}
	return netns.NsHandle(fd), nil
}

// refuseOwn keeps faults out of the namespace of ecs-local and of the host.
func (i *Injector) refuseOwn(ns netns.NsHandle, n Namespace) error {
	refuse := func(whose string) error {
		return &local.Error{Code: local.Denied, Err: errOwn, Msg: fmt.Sprintf("the container shares the network namespace of %s, "+
			"which faults would cut off: give the container a network of its own", whose)}
	}
	if ns.Equal(i.own) {
		return refuse("ecs-local")
	}
	if i.isHost(ns, n) {
		return refuse("the host")
	}
	return nil
}

// engineHost is what the engine calls the namespace of the host, in the folder
// of those of containers.
const engineHost = "default"

// isHost reports whether a namespace is that of the host, as far as ecs-local
// sees the host: by the engine's name for it, or because pid 1 is in it.
func (i *Injector) isHost(ns netns.NsHandle, n Namespace) bool {
	files := []string{filepath.Join(i.proc, "1", "ns", "net")}
	if n.Path != "" {
		if filepath.Base(n.Path) == engineHost {
			return true
		}
		files = append(files, filepath.Join(filepath.Dir(n.Path), engineHost))
	}
	for _, path := range files {
		host, err := openFile(path)
		if err != nil {
			continue // what cannot be opened, ecs-local cannot harm
		}
		same := ns.Equal(host)
		_ = host.Close()
		if same {
			return true
		}
	}
	return n.Pid > 0 && i.sameNetwork(n.Pid, 1)
}

// sameNetwork reports whether two processes are in the same network namespace.
// It needs no privilege to look into either: each namespace has files of its
// own below /proc/<pid>/net.
func (i *Injector) sameNetwork(a, b int) bool {
	of := func(pid int) (fs.FileInfo, error) {
		return os.Stat(filepath.Join(i.proc, strconv.Itoa(pid), "net", "dev"))
	}
	one, err := of(a)
	if err != nil {
		return false
	}
	two, err := of(b)
	return err == nil && os.SameFile(one, two)
}
