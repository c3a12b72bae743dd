package docker

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Unix(0, 0)
	}
	return t
}

func ptr[T any](v T) *T { return &v }

const recordedImage = "sha256:7090c2b09da0553068e063ec659431a2a7b4eb14964e61fe6ce2031eb26353cb"

// The descriptions in testdata were recorded from Docker 20.10, docker28.json
// has the form of Docker 28.
func TestDescriptions(t *testing.T) {
	t.Parallel()
	const runningID = "922ae6d83a2862bc570458aeed23fa044016042f81c9cfadbac240d245410db3"
	tests := []struct {
		file string
		want local.Container
	}{
		{"running", local.Container{
			Name: "web", DockerName: "shop-web-1", Project: "shop", Service: "web", Image: "shop/web:1.4.2", ImageID: recordedImage, Type: "NORMAL",
			Labels: map[string]string{local.LabelComposeProject: "shop", local.LabelComposeService: "web"},
			State:  local.Running,
			Health: &local.Health{},
			CPU:    512, Memory: 64, NetworkMode: "shop_front",
			Networks: []local.Network{
				{Name: "shop_back", IPv4: netip.MustParseAddr("10.202.0.2"), IPv4Subnet: netip.MustParsePrefix("10.202.0.0/24"), IPv4Gateway: netip.MustParseAddr("10.202.0.1"), MAC: "02:42:0a:ca:00:02"},
				{Name: "shop_front", IPv4: netip.MustParseAddr("10.201.0.9"), IPv4Subnet: netip.MustParsePrefix("10.201.0.0/24"), IPv4Gateway: netip.MustParseAddr("10.201.0.1"),
					IPv6: netip.MustParseAddr("fd00:1d::2"), IPv6Subnet: netip.MustParsePrefix("fd00:1d::/64"), IPv6Gateway: netip.MustParseAddr("fd00:1d::1"), MAC: "02:42:0a:c9:00:09"},
			},
			Ports: []local.Port{
				{Container: 53, Host: 18053, HostIP: "0.0.0.0", Protocol: "udp"},
				{Container: 53, Host: 18053, HostIP: "::", Protocol: "udp"},
				{Container: 80, Host: 18080, HostIP: "127.0.0.1", Protocol: "tcp"},
			},
			Volumes: []local.Volume{
				{Source: "/srv/shop", Destination: "/data"},
				{Name: "shop_data", Source: "/var/lib/docker/volumes/shop_data/_data", Destination: "/vol"},
			},
			LogDriver: "json-file", LogOptions: map[string]string{"max-size": "1m"},
			RestartCount: ptr(0),
		}},
		{"host", local.Container{
			Name: "agent", DockerName: "agent", Image: "shop/web:1.4.2", ImageID: recordedImage, Type: "NORMAL", State: local.Running,
			CPU: 512, NetworkMode: "host", Networks: []local.Network{{Name: "host"}}, LogDriver: "json-file",
		}},
		{"shared", local.Container{
			Name: "envoy", DockerName: "envoy", Image: "shop/web:1.4.2", ImageID: recordedImage, Type: "NORMAL", State: local.Running,
			CPU: 512, NetworkMode: "container:" + runningID, SharesWith: runningID, LogDriver: "json-file",
		}},
		{"exited", local.Container{
			Name: "migrate", DockerName: "migrate", Image: "shop/web:1.4.2", ImageID: recordedImage, Type: "NORMAL", State: local.Exited,
			FinishedAt: at("2026-11-21T02:47:16.014983186Z"), NetworkMode: "default", Networks: []local.Network{{Name: "bridge"}}, LogDriver: "json-file",
		}},
		{"unhealthy", local.Container{
			Name: "worker", DockerName: "worker", Image: "shop/web:1.4.2", ImageID: recordedImage, Type: "NORMAL", State: local.Running,
			Health: &local.Health{
				Status: "UNHEALTHY", Since: at("2026-11-21T02:47:37.109287611Z"), ExitCode: -1, // the second of four failures, with two retries
				Output: `OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown`,
			},
			NetworkMode: "default", Networks: []local.Network{{Name: "bridge", IPv4: netip.MustParseAddr("172.17.0.2"), IPv4Subnet: netip.MustParsePrefix("172.17.0.0/16"),
				IPv4Gateway: netip.MustParseAddr("172.17.0.1"), MAC: "02:42:ac:11:00:02"}}, LogDriver: "json-file",
		}},
		{"docker28", local.Container{
			Name: "frontend", DockerName: "shop-web-1", Project: "shop", Service: "web", Image: "shop/web:1.5.0", ImageID: "sha256:" + strings.Repeat("7e", 32), Type: "MANAGED_DAEMON",
			Labels: map[string]string{local.LabelComposeProject: "shop", local.LabelComposeService: "web", local.LabelContainerName: "frontend", local.LabelType: "MANAGED_DAEMON"},
			State:  local.Running,
			Health: &local.Health{Status: "HEALTHY", Since: at("2026-11-20T09:00:11.1Z"), Output: "ok"},
			CPU:    1536, NetworkMode: "shop_default",
			Networks: []local.Network{{Name: "shop_default", IPv4: netip.MustParseAddr("172.19.0.5"), IPv4Subnet: netip.MustParsePrefix("172.19.0.0/16"),
				IPv4Gateway: netip.MustParseAddr("172.19.0.1"), MAC: "7e:4c:aa:01:02:03"}},
			Ports: []local.Port{{Container: 8443, Host: 443, HostIP: "0.0.0.0", Protocol: "tcp"}, {Container: 8443, Host: 443, HostIP: "::", Protocol: "tcp"}},
			Volumes: []local.Volume{
				{Destination: "/cache"},
				{Name: "shop_data", Source: "/var/lib/docker/volumes/shop_data/_data", Destination: "/data"},
			},
			LogDriver: "local", RestartCount: ptr(2),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", tt.file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var recorded struct {
				ID      string `json:"Id"`
				Created string
				State   struct{ StartedAt string }
			}
			if err := json.Unmarshal(raw, &recorded); err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.ID, want.EndpointID = recorded.ID, local.EndpointID(recorded.ID)
			want.CreatedAt, want.StartedAt = at(recorded.Created), at(recorded.State.StartedAt)
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				if want.SharesWith != "" {
					e.Put(dockertest.Container{ID: want.SharesWith, Name: "shop-web-1"})
				}
				e.PutRecorded(raw)
				got := find(t, follow(t, e), want.ID)
				if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
					t.Errorf("container (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Engines leave out what they do not know.
func TestDescriptionsWithNextToNothing(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		`{}`, `{"Id":"aa"}`, `{"Name":"/x","State":null,"Config":null,"HostConfig":null,"NetworkSettings":null,"Mounts":null}`,
		`{"State":{"Health":{}},"Config":{"Healthcheck":{}},"NetworkSettings":{"Networks":{"a":null},"Ports":{"80/tcp":null}}}`,
		`{"State":{"Status":"running","Health":{"Status":"unhealthy","FailingStreak":9,"Log":[null]}}}`,
	} {
		var r container.InspectResponse
		if err := json.Unmarshal([]byte(raw), &r); err != nil {
			t.Fatal(err)
		}
		got := containerOf(webID, &r, nil)
		if got.ID != webID || got.Type != "NORMAL" || got.State == "" {
			t.Errorf("%s: got %+v", raw, got)
		}
	}
}

func TestStateWithoutAStatus(t *testing.T) {
	t.Parallel()
	const started = "2026-11-21T08:00:00Z"
	for want, s := range map[local.State]container.State{
		local.Created:    {StartedAt: "0001-01-01T00:00:00Z"},
		local.Running:    {Running: true, StartedAt: started},
		local.Paused:     {Running: true, Paused: true, StartedAt: started},
		local.Restarting: {Running: true, Restarting: true, StartedAt: started},
		local.Dead:       {Dead: true, StartedAt: started},
		local.Exited:     {StartedAt: started},
	} {
		if got := stateOf(&s); got != want {
			t.Errorf("state: got %s, want %s", got, want)
		}
	}
}

// The engine keeps the end of the run before.
func TestARestartedContainerHasNotEnded(t *testing.T) {
	t.Parallel()
	for state, ended := range map[string]bool{"running": false, "paused": false, "restarting": false, "exited": true, "dead": true} {
		r := &container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{
			State: &container.State{Status: state, StartedAt: "2026-11-21T08:00:00Z", FinishedAt: "2026-11-21T07:59:00Z", ExitCode: 137}}}
		got := containerOf(webID, r, nil)
		if got.FinishedAt.IsZero() == ended || (got.ExitCode == 137) != ended {
			t.Errorf("%s: ended at %v with %d, want an end: %v", state, got.FinishedAt, got.ExitCode, ended)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		resources container.Resources
		cpu       float64
		memory    int64
	}{
		{"none", container.Resources{}, 0, 0},
		{"processors", container.Resources{NanoCPUs: 250_000_000}, 256, 0},
		{"a tenth of a processor", container.Resources{NanoCPUs: 100_000_000}, 102, 0},
		{"a third of a processor", container.Resources{NanoCPUs: 333_000_000}, 341, 0},
		{"a third of a period", container.Resources{CPUQuota: 33_000}, 338, 0},
		{"processors before shares", container.Resources{NanoCPUs: 2_000_000_000, CPUShares: 10}, 2048, 0},
		{"a quota of a period", container.Resources{CPUQuota: 25_000, CPUPeriod: 50_000}, 512, 0},
		{"a quota of the default period", container.Resources{CPUQuota: 50_000}, 512, 0},
		{"no quota", container.Resources{CPUQuota: -1, CPUShares: 128}, 128, 0},
		{"shares", container.Resources{CPUShares: 512}, 512, 0},
		{"memory", container.Resources{Memory: 512 << 20}, 0, 512},
		{"memory is rounded down", container.Resources{Memory: 2<<20 - 1}, 0, 1},
		{"a little memory", container.Resources{Memory: 4096}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := cpuOf(tt.resources); got != tt.cpu {
				t.Errorf("CPU: got %v, want %v", got, tt.cpu)
			}
			if got := memoryOf(tt.resources.Memory); got != tt.memory {
				t.Errorf("memory: got %v, want %v", got, tt.memory)
			}
		})
	}
}

func TestRestartCountNeedsAPolicy(t *testing.T) {
	t.Parallel()
	for policy, want := range map[container.RestartPolicyMode]bool{"": false, "no": false, "always": true, "on-failure": true, "unless-stopped": true} {
		r := &container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{
			RestartCount: 4, HostConfig: &container.HostConfig{RestartPolicy: container.RestartPolicy{Name: policy}}}}
		got := containerOf(webID, r, nil).RestartCount
		if (got != nil) != want || got != nil && *got != 4 {
			t.Errorf("policy %q: got %v, want a count: %v", policy, got, want)
		}
	}
}

var start = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

// probes makes a log: one result a second, from a second after the start.
func probes(exitCodes ...int) []*container.HealthcheckResult {
	var log []*container.HealthcheckResult
	for i, code := range exitCodes {
		begin := start.Add(time.Duration(i+1) * time.Second)
		log = append(log, &container.HealthcheckResult{Start: begin, End: begin.Add(time.Millisecond), ExitCode: code, Output: "probe " + string(rune('1'+i))})
	}
	return log
}

func after(n int) time.Time { return start.Add(time.Duration(n)*time.Second + time.Millisecond) }

func TestHealth(t *testing.T) {
	t.Parallel()
	known := &local.Health{Status: "UNHEALTHY", Since: start.Add(time.Hour), ExitCode: 7, Output: "known"}
	tests := []struct {
		name   string
		state  local.State
		health container.Health
		before *local.Health // in the same run
		want   local.Health
	}{
		{"starting", local.Running, container.Health{Status: "starting", Log: probes(1)}, nil, local.Health{}},
		{"healthy from the first success on", local.Running, container.Health{Status: "healthy", Log: probes(1, 0, 0)}, nil,
			local.Health{Status: "HEALTHY", Since: after(2), Output: "probe 2"}},
		{"healthy in spite of a failure", local.Running, container.Health{Status: "healthy", FailingStreak: 1, Log: probes(0, 0, 1)}, nil,
			local.Health{Status: "HEALTHY", Since: after(1), Output: "probe 1"}},
		{"healthy again", local.Running, container.Health{Status: "healthy", Log: probes(0, 3, 3, 0, 0)}, nil,
			local.Health{Status: "HEALTHY", Since: after(4), Output: "probe 4"}},
		{"healthy again keeps the exit code", local.Running, container.Health{Status: "healthy", Log: probes(3, 3, 0)}, known,
			local.Health{Status: "HEALTHY", Since: after(3), ExitCode: 7, Output: "probe 3"}},
		{"unhealthy at the last of the retries", local.Running, container.Health{Status: "unhealthy", FailingStreak: 4, Log: probes(0, 3, 4, 5, 6)}, nil,
			local.Health{Status: "UNHEALTHY", Since: after(3), ExitCode: 4, Output: "probe 3"}},
		{"unhealthy for longer than the log", local.Running, container.Health{Status: "unhealthy", FailingStreak: 90, Log: probes(3, 3, 3)}, nil,
			local.Health{Status: "UNHEALTHY", Since: after(1), ExitCode: 3, Output: "probe 1"}},
		{"what is known stays while the status does", local.Running, container.Health{Status: "unhealthy", FailingStreak: 4, Log: probes(3, 3, 3, 3)}, known, *known},
		{"paused: the engine's word is not a probe's", local.Paused, container.Health{Status: "unhealthy", Log: probes(0)}, nil,
			local.Health{Status: "HEALTHY", Since: after(1), Output: "probe 1"}},
		{"stopped: the last status stays", local.Exited, container.Health{Status: "unhealthy", Log: probes(0)}, known, *known},
		{"stopped before the first result", local.Exited, container.Health{Status: "unhealthy", Log: probes(1)}, nil, local.Health{}},
		{"stopped in the start period, in which failures do not count", local.Exited, container.Health{Status: "unhealthy", Log: probes(1, 1, 1)}, nil, local.Health{}},
		{"stopped while unhealthy", local.Exited, container.Health{Status: "unhealthy", FailingStreak: 2, Log: probes(9, 9)}, nil,
			local.Health{Status: "UNHEALTHY", Since: after(2), ExitCode: 9, Output: "probe 2"}},
		{"unhealthy without a log", local.Running, container.Health{Status: "unhealthy"}, nil, local.Health{Status: "UNHEALTHY"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &local.Container{State: tt.state, StartedAt: start}
			before := &local.Container{StartedAt: start, Health: tt.before}
			got := healthOf(&container.HealthConfig{Test: []string{"CMD", "x"}, Retries: 2}, &tt.health, c, before)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("health (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("created, and never probed", func(t *testing.T) {
		t.Parallel()
		got := healthOf(&container.HealthConfig{Test: []string{"CMD", "x"}}, nil, &local.Container{State: local.Created}, nil)
		if diff := cmp.Diff(&local.Health{}, got); diff != "" {
			t.Errorf("health (-want +got):\n%s", diff)
		}
	})
	t.Run("a restart begins anew", func(t *testing.T) {
		t.Parallel()
		c := &local.Container{State: local.Running, StartedAt: start.Add(time.Minute)}
		before := &local.Container{StartedAt: start, Health: known}
		got := healthOf(nil, &container.Health{Status: "unhealthy", FailingStreak: 3, Log: probes(3, 3, 3)}, c, before)
		if diff := cmp.Diff(&local.Health{Status: "UNHEALTHY"}, got); diff != "" {
			t.Errorf("health (-want +got):\n%s", diff)
		}
	})
}

// The engine keeps five probes only; what is known of the moment in which the
// status changed outlives them.
func TestHealthIsRememberedBetweenDescriptions(t *testing.T) {
	t.Parallel()
	description := func(probe int) *container.InspectResponse {
		return &container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{State: &container.State{Status: "running",
			StartedAt: start.Format(time.RFC3339Nano), Health: &container.Health{Status: container.Healthy, Log: probes(0, 0, 0, 0, 0, 0)[probe : probe+1]}}}}
	}
	x := newIndex(local.Facts{}, "")
	x.touch(webID)
	for probe := range 3 {
		x.described(webID, x.tick(), description(probe))
		d, _ := x.publish()
		want := &local.Health{Status: "HEALTHY", Since: after(1), Output: "probe 1"}
		if diff := cmp.Diff(want, d.Containers()[0].Health); diff != "" {
			t.Errorf("after description %d (-want +got):\n%s", probe+1, diff)
		}
	}
}

func TestHasHealth(t *testing.T) {
	t.Parallel()
	check := func(test ...string) *container.Config {
		return &container.Config{Healthcheck: &container.HealthConfig{Test: test}}
	}
	for _, tt := range []struct {
		name   string
		config *container.Config
		health *container.Health
		want   bool
	}{
		{"nothing", &container.Config{}, nil, false},
		{"a check", check("CMD", "true"), nil, true},
		{"a check that is turned off", check("NONE"), nil, false},
		{"an inherited check", check(), nil, false},
		{"the image's check", &container.Config{}, &container.Health{Status: "starting"}, true},
		{"status none", &container.Config{}, &container.Health{Status: "none"}, false},
	} {
		if got := hasHealth(tt.config, &container.State{Health: tt.health}); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestOutputIsCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"short", strings.Repeat("x", 1024), strings.Repeat("x", 2000), "x" + strings.Repeat("é", 700), strings.Repeat("日本", 300), "xx" + strings.Repeat("日本", 300), "x" + strings.Repeat("🚀", 300), strings.Repeat("🚀", 300)} {
		got := cut(s)
		if len(got) > 1024 || !strings.HasPrefix(s, got) || !utf8.ValidString(got) {
			t.Errorf("cut %.8q…: got %d bytes, valid %v", s, len(got), utf8.ValidString(got))
		}
		if len(s) > 1024 && len(got) <= 1024-utf8.UTFMax {
			t.Errorf("cut %.8q…: got %d bytes, more than needed is gone", s, len(got))
		}
		if len(s) <= 1024 && got != s {
			t.Errorf("cut %.8q…: a short text was cut", s)
		}
	}
}
