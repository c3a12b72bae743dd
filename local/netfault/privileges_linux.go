package netfault

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ecs-local/ecs-local/local"
)

// A capability by its number and its name.
// https://man7.org/linux/man-pages/man7/capabilities.7.html
type capability struct {
	bit  int
	name string
}

// needed are the capabilities without which no fault can be made: one to change
// the network of a namespace, one to enter it.
var needed = []capability{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}}

// How to give what is missing, in the words of both tools: everything at once,
// and what can take the place of seeing the processes of the host.
const (
	howAll = `docker run --user 0:0 --pid host --cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add SYS_PTRACE …, ` +
		`in Compose user: "0:0", pid: host and cap_add: [NET_ADMIN, SYS_ADMIN, SYS_PTRACE]`
	howSandbox = `docker run -v /var/run/docker/netns:/var/run/docker/netns:ro,rslave …, ` +
		`in Compose volumes: ["/var/run/docker/netns:/var/run/docker/netns:ro,rslave"]`
)

// checkPrivileges returns an error that names the capabilities which the
// process lacks.
func checkPrivileges() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 64 bits in two halves
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	return lacking(uint64(data[1].Effective)<<32 | uint64(data[0].Effective))
}

// lacking returns an error that names the needed capabilities which are not
// among the effective ones.
func lacking(effective uint64) error {
	var names, lacks []string
	for _, c := range needed {
		names = append(names, c.name)
		if effective&(1<<c.bit) == 0 {
			lacks = append(lacks, c.name)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return local.Errorf(local.Denied, "real faults need the capabilities %s, and this process lacks %s: be root or, in a container, start it with %s",
		strings.Join(names, " and "), strings.Join(lacks, " and "), howAll)
}

// notPermitted is the error of a process that has the capabilities and may not
// use them.
func notPermitted(err error) error {
	return &local.Error{Code: local.Denied, Err: err, Msg: "ecs-local has the capabilities for real faults and may not use them: " +
		"start it in the user namespace of the host and with a seccomp profile that allows setns and unshare, as with " + howAll}
}
