package docker

import (
	"os"
	"regexp"
	"slices"
	"strings"
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

// lookForSelf is ownIDs of this process. What cannot be read says nothing.
func lookForSelf() []string {
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	hostname, _ := os.Hostname()
	return ownIDs(string(mountinfo), string(cgroup), hostname)
}
