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
			c.index.setCandidates(func() candidates { return candidates{ids: tt.candidates} })
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

// With cgroup v2, nothing but its command tells a container from the one whose
// network it uses.
func TestSelfInTheNetworkOfAnotherContainer(t *testing.T) {
	const command = "/ecs-local\x00serve\x00"
	ours := []string{"/ecs-local", "serve"}
	side := dockertest.Container{ID: jobID, Name: "side", Mode: "container:" + webID, Command: ours}
	for name, tt := range map[string]struct {
		containers []dockertest.Container
		candidates candidates
		want       string
	}{
		"the command of the other":  {[]dockertest.Container{web, side}, candidates{ids: []string{webID, webID[:12]}, commands: []string{command}}, jobID},
		"… by a part of an id":      {[]dockertest.Container{web, side}, candidates{ids: []string{webID[:12]}, commands: []string{"other\x00", command}}, jobID},
		"… that shares by name":     {[]dockertest.Container{web, with(side, func(c *dockertest.Container) { c.Mode = "container:shop-web-1" })}, candidates{ids: []string{webID}, commands: []string{command}}, jobID},
		"the command of the owner":  {[]dockertest.Container{with(web, func(c *dockertest.Container) { c.Command = ours }), with(side, func(c *dockertest.Container) { c.Command = []string{"app"} })}, candidates{ids: []string{webID}, commands: []string{command}}, webID},
		"the command of both":       {[]dockertest.Container{with(web, func(c *dockertest.Container) { c.Command = ours }), side}, candidates{ids: []string{webID}, commands: []string{command}}, webID},
		"the command of neither":    {[]dockertest.Container{web, side}, candidates{ids: []string{webID}, commands: []string{"app\x00"}}, webID},
		"no command can be read":    {[]dockertest.Container{web, side}, candidates{ids: []string{webID}}, webID},
		"the control group is sure": {[]dockertest.Container{web, side}, candidates{ids: []string{webID}, certain: []string{webID}, commands: []string{command}}, webID},
		"an outsider's command":     {[]dockertest.Container{web, with(side, func(c *dockertest.Container) { c.Mode = "" })}, candidates{ids: []string{webID}, commands: []string{command}}, webID},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				put(e, tt.containers...)
				c := clientOf(t, e, Options{})
				c.index.setCandidates(func() candidates { return tt.candidates })
				d, err := c.Refresh(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if self := d.Self(); self == nil || self.ID != tt.want {
					t.Errorf("got %v, want %s", self, tt.want)
				}
			})
		})
	}
}
