package metadata

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The task of the agent's examples.
const (
	webID   = "3c9410a72ad74e334b9687c3223c01e221de858fc67f7205c85a0b5bfa5ca3fa"
	redisID = "2b9d5e34565847ecaca78d798f48c622a8e41d11ada4c3b06c2de0691b8ead87"
	taskARN = "arn:aws:ecs:us-west-2:111122223333:task/demo/5f0c1b7e9a2d4c3e8b6a7d1f20394857"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

// web is the first container of the examples, changed as the test wants it.
func web(change ...func(*local.Container)) *local.Container {
	c := &local.Container{
		ID:          webID,
		EndpointID:  "0d6b2f0c-51a7-4a0e-9d7d-6a4f3d1c9b21",
		Name:        "web",
		DockerName:  "ecs-shop-7-web-9ce1b0d4f2a8c5d6e700",
		Image:       "111122223333.dkr.ecr.us-west-2.amazonaws.com/shop/web:1.4.2",
		ImageID:     "sha256:83d20350a81b979988da333b2faffd22fca38db43e6281959e0b746086c029b1",
		Type:        "NORMAL",
		State:       local.Running,
		CreatedAt:   at("2026-06-30T17:02:05.118902311Z"),
		StartedAt:   at("2026-06-30T17:02:06.004417Z"),
		Health:      &local.Health{Status: "HEALTHY", Since: at("2026-06-30T17:02:41.118230457Z"), Output: "ok\n"},
		CPU:         256,
		Memory:      512,
		NetworkMode: "bridge",
		Networks:    []local.Network{{Name: "bridge", IPv4: netip.MustParseAddr("172.17.0.3")}},
		Ports:       []local.Port{{Container: 8080, Host: 32768, HostIP: "0.0.0.0", Protocol: "tcp"}},
		LogDriver:   "awslogs",
		LogOptions: map[string]string{
			"awslogs-stream": "web/web/5f0c1b7e9a2d4c3e8b6a7d1f20394857",
			"awslogs-region": "us-west-2",
			"awslogs-group":  "/ecs/shop",
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// redis is the second one.
func redis(change ...func(*local.Container)) *local.Container {
	c := &local.Container{
		ID:          redisID,
		EndpointID:  "7c9e3a44-0b1f-4f2f-8a53-e2a1c0d4b6f8",
		Name:        "redis",
		DockerName:  "ecs-shop-7-redis-b2f6e1a9d3c4e5f7a801",
		Image:       "public.ecr.aws/docker/library/redis:7.2",
		ImageID:     "sha256:00cba43785167201ed8bfd2139cb82d93da84b1373b7380865ab227a0b7ec17c",
		Type:        "NORMAL",
		State:       local.Running,
		CreatedAt:   at("2026-06-30T17:02:04.73109942Z"),
		StartedAt:   at("2026-06-30T17:02:05.551274903Z"),
		NetworkMode: "bridge",
		Networks:    []local.Network{{Name: "bridge", IPv4: netip.MustParseAddr("172.17.0.4")}},
		Volumes: []local.Volume{{
			Name:        "ecs-shop-7-data-d4a1c2b3e5f60718a900",
			Source:      "/var/lib/docker/volumes/ecs-shop-7-data-d4a1c2b3e5f60718a900/_data",
			Destination: "/data",
		}},
		RestartCount: new(int),
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func stopped(c *local.Container) {
	c.State, c.FinishedAt = local.Exited, at("2026-06-30T17:04:44.0921Z")
	c.Networks = []local.Network{{Name: "bridge"}}
}

func task(containers ...*local.Container) *local.Task {
	return &local.Task{
		Name:             "shop",
		ARN:              taskARN,
		Cluster:          "demo",
		Family:           "shop",
		Revision:         "7",
		ServiceName:      "shop-svc",
		LaunchType:       "EC2",
		AvailabilityZone: "us-west-2b",
		ZoneID:           "usw2-az2",
		VPCID:            "vpc-0a1b2c3d4e5f67890",
		CPU:              0.5,
		Memory:           1024,
		Tags:             map[string]string{"team": "shop"},
		InstanceTags:     map[string]string{"owner": "platform", "env": "dev"},
		Containers:       containers,
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func compact(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return b.Bytes()
}

func indent(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return b.String() + "\n"
}

// same compares a document, byte for byte, with a file of any spacing.
func same(t *testing.T, got, want []byte) {
	t.Helper()
	if want = compact(t, want); !bytes.Equal(got, want) {
		t.Errorf("document (-want +got):\n%s", cmp.Diff(indent(t, want), indent(t, got)))
		if bytes.Equal(compact(t, got), want) {
			t.Errorf("it is not compact: %q", got)
		}
	}
}

// golden compares a document with testdata/<name>.golden.json.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name += ".golden.json"
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(indent(t, got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	same(t, got, read(t, name))
}

// keys takes an object apart.
func keys(t *testing.T, doc []byte) map[string]json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// must takes the result of a render and ends the test on an error.
func must(t *testing.T) func([]byte, error) []byte {
	return func(body []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
}

// TestAgentExamples compares with documents of the real agent on EC2 in bridge
// mode. The files lack PullStartedAt and PullStoppedAt, which Docker does not
// know; the containers have networks without MAC address and gateway, which
// the agent does not show in bridge mode.
func TestAgentExamples(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	ok := must(t)
	// The agent shows a restart count in version 4 only, so that of redis is
	// no difference in version 3.
	running, half := task(web(), redis()), task(web(), redis(stopped))
	awsvpc := web(func(c *local.Container) {
		c.Ports = nil
		c.Networks = []local.Network{{Name: "awsvpc", IPv4: netip.MustParseAddr("10.0.2.57")}}
		c.Health = &local.Health{Status: "UNHEALTHY", Since: at("2026-06-30T17:03:11.5Z"), ExitCode: 1, Output: "curl: (7) connection refused\n"}
	})

	same(t, ok(r.Task(V4, running, false)), read(t, "agent-v4-task.json"))
	same(t, ok(r.Task(V4, running, true)), read(t, "agent-v4-task-with-tags.json"))
	same(t, ok(r.Task(V3, half, false)), read(t, "agent-v3-task.json"))
	same(t, ok(r.Task(V3, half, true)), read(t, "agent-v3-task-with-tags.json"))
	same(t, ok(r.Task(V2, half, true)), read(t, "agent-v3-task-with-tags.json"))
	same(t, ok(r.Container(V3, running, redis())), read(t, "agent-v3-container.json"))
	same(t, ok(r.Container(V2, running, awsvpc)), read(t, "agent-v2-container.json"))
}

// TestDocuments renders each case as a container and as a task, in both
// families of documents.
func TestDocuments(t *testing.T) {
	t.Parallel()
	full := local.Network{
		Name:        "ecs-local",
		IPv4:        netip.MustParseAddr("169.254.172.3"),
		IPv4Subnet:  netip.MustParsePrefix("169.254.168.1/21"), // with host bits
		IPv4Gateway: netip.MustParseAddr("169.254.168.1"),
		MAC:         "02:42:a9:fe:ac:03",
	}
	dual := local.Network{
		Name:        "shop_default",
		IPv4:        netip.MustParseAddr("172.18.0.5"),
		IPv4Subnet:  netip.MustParsePrefix("172.18.0.0/16"),
		IPv4Gateway: netip.MustParseAddr("172.18.0.1"),
		IPv6:        netip.MustParseAddr("fd00:18::5"),
		IPv6Subnet:  netip.MustParsePrefix("fd00:18::/64"),
		IPv6Gateway: netip.MustParseAddr("fd00:18::1"),
		MAC:         "02:42:ac:12:00:05",
	}
	onlyIPv6 := dual
	onlyIPv6.IPv4, onlyIPv6.IPv4Subnet, onlyIPv6.IPv4Gateway = netip.Addr{}, netip.Prefix{}, netip.Addr{}
	noPrefix := full
	noPrefix.IPv4Subnet = netip.Prefix{}

	seven := 7
	tests := map[string]struct {
		container *local.Container
		change    func(*local.Task)
	}{
		"running": {container: web(func(c *local.Container) {
			c.Labels = map[string]string{
				"com.docker.compose.project": "shop",
				"note":                       "a <b> & 'c'",
				local.LabelContainerName:     "of the user",
				local.LabelRevision:          "99",
			}
			c.DockerName = "/shop-web-1"
			c.CreatedAt = c.CreatedAt.In(time.FixedZone("CEST", 2*60*60))
			c.Ports = append(c.Ports, local.Port{Container: 8125, Protocol: "udp"})
		})},
		"exited":            {container: web(stopped, func(c *local.Container) { c.ExitCode = 137 })},
		"exited with 0":     {container: redis(stopped)},
		"dead, never ended": {container: redis(func(c *local.Container) { c.State = local.Dead })},
		"unhealthy": {container: web(func(c *local.Container) {
			c.Health = &local.Health{Status: "UNHEALTHY", Since: at("2026-06-30T17:03:11.5Z"), ExitCode: 1, Output: "refused\n"}
		})},
		"no first health result": {container: web(func(c *local.Container) { c.Health = &local.Health{} })},
		"host network": {container: web(func(c *local.Container) {
			c.NetworkMode, c.Networks, c.Ports = "host", []local.Network{{Name: "host"}}, nil
		})},
		"no networks at all": {container: web(func(c *local.Container) { c.NetworkMode, c.Networks = "none", nil })},
		"unknown networks":   {container: web(func(c *local.Container) { c.NetworkMode, c.Networks = "", nil })},
		"two networks":       {container: web(func(c *local.Container) { c.Networks = []local.Network{full, dual} })},
		"IPv6":               {container: web(func(c *local.Container) { c.Networks = []local.Network{onlyIPv6} })},
		"unknown subnet":     {container: web(func(c *local.Container) { c.Networks = []local.Network{noPrefix} })},
		"stopped, subnets known": {container: web(stopped, func(c *local.Container) {
			gone := dual
			gone.IPv4, gone.IPv6, gone.MAC = netip.Addr{}, netip.Addr{}, ""
			c.Networks = []local.Network{gone}
		})},
		"awsvpc by label": {container: web(func(c *local.Container) {
			c.Networks, c.Labels = []local.Network{full}, map[string]string{local.LabelNetworkMode: "awsvpc"}
		})},
		"shared namespace": {container: web(func(c *local.Container) {
			c.NetworkMode, c.SharesWith, c.Networks, c.Ports = "container:"+redisID, redisID, nil, nil
		})},
		"restart policy": {container: web(func(c *local.Container) {
			c.State, c.ExitCode, c.RestartCount = local.Restarting, 1, &seven
			c.FinishedAt = at("2026-06-30T17:04:44.0921Z")
		})},
		"created only": {container: redis(func(c *local.Container) {
			c.State, c.StartedAt, c.ExitCode = local.Created, time.Time{}, 128
			c.Networks = []local.Network{{Name: "bridge"}}
		})},
		"no limits, no tags": {container: redis(func(c *local.Container) { c.CPU = 1 }), change: func(t *local.Task) {
			t.CPU, t.Memory, t.Tags, t.InstanceTags, t.ServiceName = 0, 0, nil, map[string]string{}, ""
		}},
		"one limit":     {container: redis(), change: func(t *local.Task) { t.CPU = 0 }},
		"external":      {container: redis(), change: func(t *local.Task) { t.LaunchType = "EXTERNAL" }},
		"fargate":       {container: redis(), change: func(t *local.Task) { t.LaunchType = "FARGATE" }},
		"static, no id": {container: redis(func(c *local.Container) { c.EndpointID, c.Type = "", "" })},
		"empty":         {},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ok, file := New(Options{}), must(t), strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "-")
			tk := task()
			if test.container != nil {
				tk.Containers = []*local.Container{test.container}
			}
			if test.change != nil {
				test.change(tk)
			}
			for family, v := range map[string]Version{"v3": V3, "v4": V4} {
				whole := ok(r.Task(v, tk, true))
				golden(t, file+"-"+family, whole)

				// A task without tags is the same but for the tags; a
				// container is the same alone as in its task.
				plain := ok(r.Task(v, tk, false))
				got, want := keys(t, plain), keys(t, whole)
				if got["TaskTags"] != nil || got["ContainerInstanceTags"] != nil {
					t.Errorf("%s task without tags has tags: %s", family, plain)
				}
				maps.DeleteFunc(want, func(k string, _ json.RawMessage) bool {
					return k == "TaskTags" || k == "ContainerInstanceTags"
				})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s task with and without tags (-with +without):\n%s", family, diff)
				}
				if test.container != nil {
					alone := ok(r.Container(v, tk, test.container))
					if "["+string(alone)+"]" != string(want["Containers"]) {
						t.Errorf("%s container alone:\n%s\nin its task:\n%s", family, alone, want["Containers"])
					}
				}
			}
			if v2, v3 := ok(r.Task(V2, tk, true)), ok(r.Task(V3, tk, true)); !bytes.Equal(v2, v3) {
				t.Errorf("versions 2 and 3 differ:\n%s\n%s", v2, v3)
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	in := func(states ...local.State) []*local.Container {
		var cs []*local.Container
		for _, s := range states {
			cs = append(cs, &local.Container{ID: string(s), State: s})
		}
		return cs
	}
	tests := map[string]struct {
		containers     []*local.Container
		known, desired string
		container      string // known status of the first container
	}{
		"empty":                     {nil, "NONE", "RUNNING", ""},
		"created":                   {in(local.Created), "CREATED", "RUNNING", "CREATED"},
		"running":                   {in(local.Running), "RUNNING", "RUNNING", "RUNNING"},
		"paused":                    {in(local.Paused), "RUNNING", "RUNNING", "RUNNING"},
		"restarting":                {in(local.Restarting), "RUNNING", "RUNNING", "RUNNING"},
		"exited":                    {in(local.Exited), "STOPPED", "STOPPED", "STOPPED"},
		"dead":                      {in(local.Dead), "STOPPED", "STOPPED", "STOPPED"},
		"removing":                  {in(local.Removing), "STOPPED", "STOPPED", "STOPPED"},
		"one of two ended":          {in(local.Exited, local.Running), "RUNNING", "RUNNING", "STOPPED"},
		"one ended, one to come":    {in(local.Exited, local.Created), "CREATED", "RUNNING", "STOPPED"},
		"one to come, one ended":    {in(local.Created, local.Exited), "CREATED", "RUNNING", "CREATED"},
		"created, ended and paused": {in(local.Created, local.Exited, local.Paused), "RUNNING", "RUNNING", "CREATED"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tk := &local.Task{ARN: taskARN, Containers: test.containers}
			var doc struct {
				DesiredStatus, KnownStatus string
				Containers                 []struct{ DesiredStatus, KnownStatus string }
			}
			if err := json.Unmarshal(must(t)(New(Options{}).Task(V4, tk, false)), &doc); err != nil {
				t.Fatal(err)
			}
			if doc.KnownStatus != test.known || doc.DesiredStatus != test.desired {
				t.Errorf("task is %s, to be %s; want %s, to be %s", doc.KnownStatus, doc.DesiredStatus, test.known, test.desired)
			}
			for i, c := range doc.Containers {
				if i == 0 && c.KnownStatus != test.container {
					t.Errorf("container is %s, want %s", c.KnownStatus, test.container)
				}
				if c.DesiredStatus != test.desired {
					t.Errorf("container %d is to be %s, want %s", i, c.DesiredStatus, test.desired)
				}
			}
		})
	}

	t.Run("ended and no longer listed in its task", func(t *testing.T) {
		t.Parallel()
		body := string(must(t)(New(Options{}).Container(V4, task(), web(stopped))))
		if want := `"DesiredStatus":"STOPPED","KnownStatus":"STOPPED"`; !strings.Contains(body, want) {
			t.Errorf("got %s, want %s in it", body, want)
		}
	})

	t.Run("a task ended when its last container did", func(t *testing.T) {
		t.Parallel()
		later := redis(stopped, func(c *local.Container) { c.FinishedAt = at("2026-06-30T17:05:00Z") })
		body := string(must(t)(New(Options{}).Task(V3, task(later, web(stopped)), false)))
		if want := `"ExecutionStoppedAt":"2026-06-30T17:05:00Z"`; !strings.Contains(body, want) {
			t.Errorf("got %s, want %s in it", body, want)
		}
	})
}

// TestPauseContainers compares with the pause container in the agent's example
// of a task of version 2: its statuses, and neither image id nor volumes.
func TestPauseContainers(t *testing.T) {
	t.Parallel()
	pause := func(kind string, change ...func(*local.Container)) *local.Container {
		c := redis(append([]func(*local.Container){func(c *local.Container) {
			c.ID, c.Type, c.RestartCount = "e0bf83fbae25a5a6f58f7959b78e0e25b276267ff6d9d06dd39b2bcec0f90640", kind, nil
			c.Name, c.DockerName, c.Image = "~internal~ecs~pause", "ecs-shop-7-internalecspause-e6d0a1b2c3d4e5f60700", "amazon/amazon-ecs-pause:0.1.0"
			c.CreatedAt, c.StartedAt = at("2026-06-30T17:01:56.20114Z"), at("2026-06-30T17:01:56.990871655Z")
			c.Networks = []local.Network{{Name: "vpc", IPv4: netip.MustParseAddr("10.0.2.57")}}
		}}, change...)...)
		return c
	}
	r, ok := New(Options{}), must(t)
	tk := task(pause("CNI_PAUSE"), web())
	tk.NetworkMode = local.AWSVPC
	same(t, ok(r.Container(V2, tk, tk.Containers[0])), read(t, "agent-v2-pause.json"))
	for _, kind := range []string{"CNI_PAUSE", "NAMESPACE_PAUSE"} {
		for state, want := range map[local.State]string{
			local.Created: `"DesiredStatus":"RESOURCES_PROVISIONED","KnownStatus":"CREATED"`,
			local.Running: `"DesiredStatus":"RESOURCES_PROVISIONED","KnownStatus":"RESOURCES_PROVISIONED"`,
			local.Exited:  `"DesiredStatus":"RESOURCES_PROVISIONED","KnownStatus":"STOPPED"`,
		} {
			tk := task(pause(kind, func(c *local.Container) { c.State = state }), web())
			if body := string(ok(r.Container(V4, tk, tk.Containers[0]))); !strings.Contains(body, want) {
				t.Errorf("%s, %s: got %s, want %s in it", kind, state, body, want)
			}
			if body := string(ok(r.Task(V4, tk, false))); !strings.Contains(body, `"Revision":"7","DesiredStatus":"RUNNING","KnownStatus":"RUNNING"`) {
				t.Errorf("%s, %s: the task is not running: %s", kind, state, body)
			}
		}
	}
	ended := task(pause("CNI_PAUSE", stopped))
	if body, want := string(ok(r.Container(V4, ended, ended.Containers[0]))), `"DesiredStatus":"STOPPED","KnownStatus":"STOPPED"`; !strings.Contains(body, want) {
		t.Errorf("with its task: got %s, want %s in it", body, want)
	}
}

func TestContainerARN(t *testing.T) {
	t.Parallel()
	const eid = "0d6b2f0c-51a7-4a0e-9d7d-6a4f3d1c9b21"
	tests := map[string]struct{ arn, cluster, want string }{
		"as usual":            {taskARN, "demo", "arn:aws:ecs:us-west-2:111122223333:container/demo/5f0c1b7e9a2d4c3e8b6a7d1f20394857/" + eid},
		"China":               {"arn:aws-cn:ecs:cn-north-1:111122223333:task/c/t1", "c", "arn:aws-cn:ecs:cn-north-1:111122223333:container/c/t1/" + eid},
		"GovCloud":            {"arn:aws-us-gov:ecs:us-gov-west-1:111122223333:task/c/t1", "c", "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:container/c/t1/" + eid},
		"old form":            {"arn:aws:ecs:us-west-2:111122223333:task/t1", "demo", "arn:aws:ecs:us-west-2:111122223333:container/demo/t1/" + eid},
		"old form, ARN":       {"arn:aws:ecs:us-west-2:111122223333:task/t1", "arn:aws:ecs:us-west-2:111122223333:cluster/demo", "arn:aws:ecs:us-west-2:111122223333:container/demo/t1/" + eid},
		"not an ARN":          {"my-task", "demo", ""},
		"not that of a task":  {"arn:aws:ecs:us-west-2:111122223333:cluster/demo", "demo", ""},
		"another kind of ARN": {"urn:aws:ecs:us-west-2:111122223333:task/demo/t1", "demo", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := containerARN(&local.Task{ARN: test.arn, Cluster: test.cluster}, &local.Container{ID: webID, EndpointID: eid})
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestUnknownVersion(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	if body, err := r.Container(1, task(web()), web()); err == nil {
		t.Errorf("container of version 1: %s", body)
	}
	if body, err := r.Task(5, task(web()), false); err == nil {
		t.Errorf("task of version 5: %s", body)
	}
}
