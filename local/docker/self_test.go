package docker

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

func TestOwnIDs(t *testing.T) {
	t.Parallel()
	id, other := strings.Repeat("3c", 32), strings.Repeat("d1", 32)
	mounts := func(path string) string {
		return "1045 1034 0:67 / /sys ro,nosuid - sysfs sysfs ro\n" +
			"1052 1034 254:1 " + path + "/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda1 rw\n" +
			"1053 1034 254:1 " + path + "/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw\n"
	}
	tests := []struct {
		name                        string
		mountinfo, cgroup, hostname string
		want                        []string
	}{
		{"Docker with cgroup v2", mounts("/var/lib/docker/containers/" + id), "0::/\n", id[:12], []string{id, id[:12]}},
		{"Docker with cgroup v1", "", "12:pids:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n", "web", []string{id}},
		{"Docker with systemd's cgroups", "", "0::/system.slice/docker-" + id + ".scope\n", "web", []string{id}},
		{"Docker Desktop", mounts("/docker/containers/" + id), "0::/\n", "web", []string{id}},
		{"Podman", mounts("/containers/storage/overlay-containers/" + id + "/userdata"), "0::/\n", "web", []string{id}},
		{"the network of another container", mounts("/var/lib/docker/containers/" + other), "0::/docker/" + id + "\n", other[:12], []string{id, other, other[:12]}},
		{"Docker in Docker", "", "0::/docker/" + other + "/docker/" + id + "\n", "", []string{id}},
		{"a host", "28 1 254:1 / / rw - ext4 /dev/vda1 rw\n99 28 0:50 / /var/lib/docker/containers/" + id + "/mounts/shm rw - tmpfs shm rw\n", "0::/user.slice/user-1000.slice\n", "laptop", nil},
		{"nothing can be read", "", "", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, ownIDs(tt.mountinfo, tt.cgroup, tt.hostname)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelfIsAContainerOfTheEngine(t *testing.T) {
	bubble(t, func(t *testing.T, e *dockertest.Engine) {
		put(e, web, redis)
		for name, tt := range map[string]struct {
			candidates []string
			want       string
		}{
			"a candidate that the engine knows": {[]string{dockertest.ID("dd"), redisID}, redisID},
			"the beginning of an id":            {[]string{webID[:12]}, webID},
			"of two ids":                        {[]string{""}, ""},
			"of none":                           {[]string{dockertest.ID("dd")}, ""},
		} {
			c := clientOf(t, e, Options{})
			c.index.setCandidates(func() []string { return tt.candidates })
			d, err := c.Refresh(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if self := d.Self(); self != nil {
				got = self.ID
			}
			if got != tt.want {
				t.Errorf("%s: got %q, want %q", name, got, tt.want)
			}
		}
	})
}
