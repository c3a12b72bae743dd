package docker

import (
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// Container ids as they stand in /proc: the engine mounts files of the
// container's folder over /etc/hostname and its like, and with cgroup v1 (or
// the host's cgroup namespace) names the control group after the container.
var (
	mountedID = regexp.MustCompile(`/([0-9a-f]{64})/(?:userdata/)?(?:hostname|resolv\.conf|hosts) /etc/`)
	cgroupID  = regexp.MustCompile(`[/-]([0-9a-f]{64})(?:\.scope)?$`)
	shortID   = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
)

// ownIDs returns ids, or beginnings of ids, that the container of this process
// may have, the surest first. They are candidates only: outside a container,
// or in one of another engine, no container of the engine has such an id.
//
// The control group comes first because a container that shares the network
// of another also has that one's hostname and /etc/hostname.
func ownIDs(mountinfo, cgroup, hostname string) []string {
	var ids []string
	for line := range strings.Lines(cgroup) {
		if m := cgroupID.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			ids = append(ids, m[1])
		}
	}
	for _, m := range mountedID.FindAllStringSubmatch(mountinfo, -1) {
		ids = append(ids, m[1])
	}
	if shortID.MatchString(hostname) {
		ids = append(ids, hostname)
	}
	var once []string
	for _, id := range ids {
		if !slices.Contains(once, id) {
			once = append(once, id)
		}
	}
	return once
}

// candidates say which container may be our own.
type candidates struct {
	ids []string // or beginnings of ids, the surest first
	// certain are those that cannot be another container's.
	certain []string
	// commands are what may have started our own container.
	commands []string
}

// lookForSelf returns the candidates of this process. What cannot be read says
// nothing.
func lookForSelf() candidates {
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	hostname, _ := os.Hostname()
	c := candidates{ids: ownIDs(string(mountinfo), string(cgroup), hostname), certain: ownIDs("", string(cgroup), "")}
	for _, process := range []string{"1", "self"} {
		if line, _ := os.ReadFile("/proc/" + process + "/cmdline"); len(line) > 0 {
			c.commands = append(c.commands, string(line))
		}
	}
	return c
}

// commandOf writes the command of a container as /proc does.
func commandOf(r *container.InspectResponse) string {
	if r.ContainerJSONBase == nil || r.Path == "" {
		return ""
	}
	return strings.Join(append([]string{r.Path}, r.Args...), "\x00") + "\x00"
}
