package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
)

// consumersImage is an image of e2e/consumers: other people's programs that
// read task metadata.
var consumersImage = sync.OnceValues(func() (string, error) {
	c, err := engine()
	if err != nil {
		return "", err
	}
	path := filepath.Join(workDir, "consumers")
	if err := goBuild(filepath.Join(repository(), "e2e", "consumers"), path, ".", ""); err != nil {
		return "", err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	return importImage(c, "consumers", []string{`ENTRYPOINT ["/consumers"]`}, []file{
		{name: "consumers", mode: 0o755, data: binary}, {name: "tmp/", mode: 0o1777},
	})
})

// requireConsumers returns that image. Where what it is made of cannot be
// fetched from the Go module proxy, the test is left out.
func requireConsumers(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(within(t, 5*time.Minute), "go", "list", "-deps", ".")
	cmd.Dir = filepath.Join(repository(), "e2e", "consumers")
	if _, err := cmd.Output(); err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w\n%s", err, tail(string(failed.Stderr), 10))
		}
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "the modules of e2e/consumers cannot be fetched: "+err.Error())
	}
	return imageOf(t, consumersImage)
}

// A watched task is one that consumers read about, and what is true of it.
type watched struct {
	client    *client.Client
	consumers string // image
	network   string
	arn       string
	busy      string // id of a container that computes, with limits
	done      string // id of one that ended with exit code 3
	last      string // id of the consumer that ran last
	side      sidecar

	// before is what the busy container used before ecs-local measured it.
	before container.StatsResponse
}

const (
	watchedRegion  = "eu-central-1"
	watchedAccount = "111122223333"
	watchedMemory  = 64 << 20 // bytes of the busy container
)

// newWatched starts a task at the addresses of ECS, which the consumers of an
// image will read about.
func newWatched(t *testing.T, c *client.Client, consumers string) *watched {
	t.Helper()
	lockAddresses(t)
	w := &watched{client: c, consumers: consumers, network: trueNetwork(t, c), arn: newTaskARN()}
	w.side = startSidecar(t, c, spec{networks: []attachment{{network: w.network, address: ecsAddress, linkLocal: imdsAddress}}})
	on := []attachment{{network: w.network}}
	w.busy = started(t, c, spec{networks: on, labels: w.labels("busy"), cmd: []string{"/probe", "spin"},
		host: container.HostConfig{Resources: container.Resources{Memory: watchedMemory, NanoCPUs: 5e8}}})
	w.done = started(t, c, spec{networks: on, labels: w.labels("done"), cmd: []string{"/bin/sh", "-c", "exit 3"}})
	if _, err := ended(within(t, longest), c, w.done); err != nil {
		t.Fatal(err)
	}
	w.side.engine.waitTold(t, events.ActionDie, w.done)
	eventually(t, longest, func() error {
		if w.before = w.uses(t); w.before.CPUStats.CPUUsage.TotalUsage == 0 {
			return errors.New("the busy container has used no processor yet")
		}
		return nil
	})
	return w
}

func newTaskARN() string {
	return "arn:aws:ecs:" + watchedRegion + ":" + watchedAccount + ":task/demo/" + randomHex(16)
}

// labels are those of a container of the task.
func (w *watched) labels(name string) map[string]string {
	return map[string]string{
		"com.amazonaws.ecs.cluster":                 "demo",
		"com.amazonaws.ecs.task-arn":                w.arn,
		"com.amazonaws.ecs.container-name":          name,
		"com.amazonaws.ecs.task-definition-family":  "shop",
		"com.amazonaws.ecs.task-definition-version": "7",
		"ecs-local.service-name":                    "shop-svc",
		"ecs-local.availability-zone":               watchedRegion + "b",
		"ecs-local.task-cpu":                        "0.5",
		"ecs-local.task-memory":                     "512",
	}
}

// read runs a consumer in a container of the task and returns the lines that
// it printed.
func (w *watched) read(t *testing.T, consumer string, env ...string) []string {
	t.Helper()
	info, err := w.client.Info(within(t, longest))
	if err != nil {
		t.Fatalf("ask the engine about itself: %v", err)
	}
	var host container.HostConfig
	if info.CgroupDriver == "cgroupfs" {
		// As the agent does: the name of the group is how programs on ECS find
		// their container's id.
		host.CgroupParent, host.CgroupnsMode = "/ecs/e2e", container.CgroupnsModeHost
	}
	// The first who asks for stats waits for a sample, but not for ever: a busy
	// engine may take longer. What consumers ask for is there.
	eventually(t, soon, func() error {
		s, err := decode[sample](fromHost(t, w.side.url+"/v4/"+w.busy+"/stats"))
		if err == nil && s.ID != w.busy {
			err = errors.New("there is no sample of the busy container yet")
		}
		return err
	})
	w.last = started(t, w.client, spec{image: w.consumers, labels: w.labels(consumer), cmd: []string{consumer}, env: env,
		networks: []attachment{{network: w.network}}, host: host})
	if code, err := ended(within(t, longest), w.client, w.last); err != nil || code != 0 {
		t.Fatalf("%s ended with %d, %v\n%s", consumer, code, err, tail(logs(t, w.client, w.last), 20))
	}
	w.side.engine.waitTold(t, events.ActionDie, w.last) // the next one may have its address
	return strings.Split(strings.TrimSpace(printed(t, w.client, w.last)), "\n")
}

// is what the engine says about a container.
func (w *watched) is(t *testing.T, id string) container.InspectResponse {
	t.Helper()
	info, err := w.client.ContainerInspect(within(t, longest), id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	return info
}

// uses is what the engine measures of the busy container at this time.
func (w *watched) uses(t *testing.T) container.StatsResponse {
	t.Helper()
	answer, err := w.client.ContainerStatsOneShot(within(t, longest), w.busy)
	if err != nil {
		t.Fatalf("get stats: %v", err)
	}
	defer func() { _ = answer.Body.Close() }()
	var stats container.StatsResponse
	if err := json.NewDecoder(answer.Body).Decode(&stats); err != nil {
		t.Fatalf("decode stats: %v", err)
	}
	return stats
}

// usage is what a consumer read about what the busy container uses.
type usage struct{ cpu, memory, limit, received float64 }

// check compares it with what the engine measured before and after.
func (u usage) check(t *testing.T, before, after container.StatsResponse) {
	t.Helper()
	if least, most := before.CPUStats.CPUUsage.TotalUsage, after.CPUStats.CPUUsage.TotalUsage; u.cpu < float64(least) || u.cpu > float64(most) {
		t.Errorf("got %.0f ns of CPU time, the engine says %d before and %d after", u.cpu, least, most)
	}
	if u.limit != watchedMemory {
		t.Errorf("got a memory limit of %.0f bytes, want %d", u.limit, watchedMemory)
	}
	if most := max(before.MemoryStats.Usage, after.MemoryStats.Usage) + 8<<20; u.memory <= 0 || u.memory > float64(most) {
		t.Errorf("got %.0f bytes of memory in use, want more than 0 and at most %d", u.memory, most)
	}
	if least, most := before.Networks["eth0"].RxBytes, after.Networks["eth0"].RxBytes; u.received < float64(least) || u.received > float64(most) {
		t.Errorf("got %.0f bytes received, the engine says %d before and %d after", u.received, least, most)
	}
}

// sameTime fails the test unless two texts are one time.
func sameTime(t *testing.T, what, got, want string) {
	t.Helper()
	g, err := time.Parse(time.RFC3339Nano, got)
	if err != nil {
		t.Errorf("%s: got %q, which is no time", what, got)
		return
	}
	if w, err := time.Parse(time.RFC3339Nano, want); err != nil || !g.Equal(w) {
		t.Errorf("%s: got %s, the engine says %s", what, got, want)
	}
}

// Not parallel, for the addresses; and so the program is built while nothing
// else needs the processors.
func TestConsumersOfTaskMetadataReadWhatTheEngineSays(t *testing.T) {
	c := requireDocker(t)
	w := newWatched(t, c, requireConsumers(t))
	t.Run("the resource detector of OpenTelemetry for Go", w.testDetector)
	t.Run("the container metrics receiver of the OpenTelemetry Collector", w.testReceiver)
	for name, env := range map[string][]string{
		"v4": {"ECS_CONTAINER_METADATA_URI_V4=http://" + ecsAddress + "/v4", "ECS_CONTAINER_METADATA_URI=http://" + ecsAddress + "/v3"},
		"v3": {"ECS_CONTAINER_METADATA_URI=http://" + ecsAddress + "/v3"},
		"v2": nil, // then telegraf asks 169.254.170.2, without being told
	} {
		t.Run("the ECS input of telegraf, metadata "+name, func(t *testing.T) { w.testTelegraf(t, env...) })
	}
}

func (w *watched) testDetector(t *testing.T) {
	lines := w.read(t, "detector", "ECS_CONTAINER_METADATA_URI_V4=http://"+ecsAddress+"/v4", "ECS_CONTAINER_METADATA_URI=http://"+ecsAddress+"/v3")
	var got map[string]string
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatalf("decode what the detector read: %v", err)
	}
	self := w.is(t, w.last)
	want := w.resource(t, got["aws.ecs.container.arn"])
	want["container.name"] = self.Config.Hostname
	want["container.id"] = ""
	if self.HostConfig.CgroupParent != "" {
		want["container.id"] = self.ID
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
}

// resource are the attributes that OpenTelemetry gives to what a container of
// the task sends, but for those of the container itself.
func (w *watched) resource(t *testing.T, containerARN string) map[string]string {
	t.Helper()
	if prefix := strings.Replace(w.arn, ":task/", ":container/", 1) + "/"; !strings.HasPrefix(containerARN, prefix) {
		t.Errorf("got container ARN %q, want %s…", containerARN, prefix)
	}
	return map[string]string{
		"aws.ecs.cluster.arn":     "arn:aws:ecs:" + watchedRegion + ":" + watchedAccount + ":cluster/demo",
		"aws.ecs.container.arn":   containerARN,
		"aws.ecs.launchtype":      "ec2",
		"aws.ecs.task.arn":        w.arn,
		"aws.ecs.task.family":     "shop",
		"aws.ecs.task.revision":   "7",
		"cloud.account.id":        watchedAccount,
		"cloud.availability_zone": watchedRegion + "b",
		"cloud.platform":          "aws_ecs",
		"cloud.provider":          "aws",
		"cloud.region":            watchedRegion,
		"cloud.resource_id":       containerARN,
	}
}

// measured is a resource with its metrics, as OTLP has it.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
type measured struct {
	resource map[string]string
	metrics  map[string]float64
}

// measurements decodes what the receiver printed, and returns the last of each
// container, by its id, and of the task, as "".
func measurements(t *testing.T, lines []string) map[string]measured {
	t.Helper()
	type point struct {
		AsInt    string
		AsDouble float64
	}
	type points struct{ DataPoints []point }
	type document struct {
		ResourceMetrics []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value struct{ StringValue, IntValue string }
				}
			}
			ScopeMetrics []struct {
				Metrics []struct {
					Name       string
					Gauge, Sum points
				}
			}
		}
	}
	all := map[string]measured{}
	for _, line := range lines {
		var d document
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("decode what the receiver read: %v\n%s", err, line)
		}
		for _, r := range d.ResourceMetrics {
			m := measured{map[string]string{}, map[string]float64{}}
			for _, a := range r.Resource.Attributes {
				m.resource[a.Key] = a.Value.StringValue + a.Value.IntValue
			}
			for _, scope := range r.ScopeMetrics {
				for _, metric := range scope.Metrics {
					for _, p := range append(metric.Gauge.DataPoints, metric.Sum.DataPoints...) {
						m.metrics[metric.Name] = p.AsDouble
						if p.AsInt != "" {
							whole, err := strconv.ParseInt(p.AsInt, 10, 64)
							if err != nil {
								t.Fatalf("%s: decode number: %v", metric.Name, err)
							}
							m.metrics[metric.Name] = float64(whole)
						}
					}
				}
			}
			all[m.resource["container.id"]] = m
		}
	}
	return all
}

func (w *watched) testReceiver(t *testing.T) {
	got := measurements(t, w.read(t, "receiver", "ECS_CONTAINER_METADATA_URI_V4=http://"+ecsAddress+"/v4"))
	after := w.uses(t)

	for name, id := range map[string]string{"busy": w.busy, "done": w.done, "receiver": w.last} {
		is, seen := w.is(t, id), got[id]
		image, tag, _ := strings.Cut(is.Config.Image, ":")
		want := map[string]string{
			"container.name":             name,
			"container.id":               id,
			"aws.ecs.docker.name":        strings.TrimPrefix(is.Name, "/"),
			"container.image.name":       image,
			"container.image.tag":        tag,
			"aws.ecs.container.image.id": is.Image,
			"aws.ecs.task.arn":           w.arn,
			"aws.ecs.cluster.name":       "demo",
			"aws.ecs.task.family":        "shop",
			"aws.ecs.task.version":       "7",
			"aws.ecs.service.name":       "shop-svc",
			"aws.ecs.task.launch_type":   "EC2",
			"cloud.region":               watchedRegion,
			"cloud.account.id":           watchedAccount,
			"cloud.availability_zone":    watchedRegion + "b",

			"aws.ecs.container.know_status": map[string]string{"busy": "RUNNING", "done": "STOPPED", "receiver": "RUNNING"}[name],
			"aws.ecs.container.exit_code":   map[string]string{"done": "3"}[name],
		}
		for key, value := range want {
			if seen.resource[key] != value {
				t.Errorf("%s: got %s %q, want %q", name, key, seen.resource[key], value)
			}
		}
		sameTime(t, name+" was created", seen.resource["aws.ecs.container.created_at"], is.Created)
		sameTime(t, name+" was started", seen.resource["aws.ecs.container.started_at"], is.State.StartedAt)
	}

	t.Run("what a running container uses", func(t *testing.T) {
		busy := got[w.busy].metrics
		usage{
			cpu: busy["container.cpu.usage.total"], memory: busy["container.memory.usage"],
			limit: busy["container.memory.usage.limit"], received: busy["container.network.io.usage.rx_bytes"],
		}.check(t, w.before, after)
		// Half of a processor: 512 of the 1024 units, of which it uses all that
		// it gets on a busy machine.
		if reserved, used := busy["container.cpu.reserved"], busy["container.cpu.usage.vcpu"]; reserved != 512 || used <= 0 || used > 0.75 {
			t.Errorf("got %.0f CPU units reserved and %.2f processors used; want 512, and up to half of one", reserved, used)
		}
		if got := busy["container.memory.reserved"]; got != 64 {
			t.Errorf("got %.0f MiB of memory reserved, want 64", got)
		}
		if got := busy["container.cpu.onlines"]; got != float64(after.CPUStats.OnlineCPUs) {
			t.Errorf("got %.0f processors, want %d", got, after.CPUStats.OnlineCPUs)
		}
	})
	t.Run("one that ended: how long it ran", func(t *testing.T) {
		is := w.is(t, w.done)
		sameTime(t, "it ended", got[w.done].resource["aws.ecs.container.finished_at"], is.State.FinishedAt)
		from, _ := time.Parse(time.RFC3339Nano, is.State.StartedAt)
		to, _ := time.Parse(time.RFC3339Nano, is.State.FinishedAt)
		if diff := cmp.Diff(map[string]float64{"container.duration": to.Sub(from).Seconds()}, got[w.done].metrics); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
	t.Run("the task", func(t *testing.T) {
		task := got[""]
		if id := w.arn[strings.LastIndex(w.arn, "/")+1:]; task.resource["aws.ecs.task.id"] != id || task.resource["aws.ecs.task.known_status"] != "RUNNING" {
			t.Errorf("got task %q, %s; want %q, RUNNING", task.resource["aws.ecs.task.id"], task.resource["aws.ecs.task.known_status"], id)
		}
		if cpu, memory := task.metrics["ecs.task.cpu.reserved"], task.metrics["ecs.task.memory.reserved"]; cpu != 512 || memory != 512 {
			t.Errorf("got limits of %.0f CPU units and %.0f MiB, want 512 and 512", cpu, memory)
		}
		total := got[w.busy].metrics["container.cpu.usage.total"] + got[w.last].metrics["container.cpu.usage.total"]
		if got := task.metrics["ecs.task.cpu.usage.total"]; got != total {
			t.Errorf("got %.0f ns of CPU time, want the sum of its containers, %.0f", got, total)
		}
	})
}

// gathered is one metric that telegraf gathered.
type gathered struct {
	Name   string
	Tags   map[string]string
	Fields map[string]any
	Time   time.Time
}

func (g gathered) number(field string) float64 {
	n, _ := g.Fields[field].(float64)
	return n
}

// about returns the metric of a name that is about a container, or the whole
// task, and has these tags (key=value).
func about(t *testing.T, all []gathered, name, id string, tags ...string) gathered {
	t.Helper()
	for _, g := range all {
		if g.Name == name && g.Tags["id"] == id && !slices.ContainsFunc(tags, func(tag string) bool {
			key, value, _ := strings.Cut(tag, "=")
			return g.Tags[key] != value
		}) {
			return g
		}
	}
	t.Errorf("telegraf gathered no %s of %.12s %v", name, id, tags)
	return gathered{}
}

func (w *watched) testTelegraf(t *testing.T, env ...string) {
	var got []gathered
	for _, line := range w.read(t, "telegraf", env...) {
		var g gathered
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			t.Fatalf("decode what telegraf read: %v\n%s", err, line)
		}
		got = append(got, g)
	}
	after := w.uses(t)

	task := about(t, got, "ecs_task", "")
	if diff := cmp.Diff(gathered{
		Name:   "ecs_task",
		Tags:   map[string]string{"cluster": "demo", "task_arn": w.arn, "family": "shop", "revision": "7"},
		Fields: map[string]any{"desired_status": "RUNNING", "known_status": "RUNNING", "limit_cpu": 0.5, "limit_mem": 512.0},
		Time:   task.Time,
	}, task); diff != "" {
		t.Errorf("the task (-want +got):\n%s", diff)
	}

	for name, id := range map[string]string{"busy": w.busy, "done": w.done, "telegraf": w.last} {
		is, meta := w.is(t, id), about(t, got, "ecs_container_meta", id)
		tags := map[string]string{"cluster": "demo", "task_arn": w.arn, "family": "shop", "revision": "7", "id": id, "name": name}
		for key, value := range is.Config.Labels {
			tags[key] = value
		}
		if diff := cmp.Diff(tags, meta.Tags); diff != "" {
			t.Errorf("tags of %s (-want +got):\n%s", name, diff)
		}
		fields := map[string]any{
			"container_id": id, "docker_name": strings.TrimPrefix(is.Name, "/"), "image": is.Config.Image, "image_id": is.Image, "type": "NORMAL",
			"desired_status": "RUNNING", "known_status": "RUNNING",
			"limit_cpu": 2.0, "limit_mem": 0.0, // the agent's least, for what has no limits
		}
		switch name {
		case "busy":
			fields["limit_cpu"], fields["limit_mem"] = 512.0, 64.0
		case "done":
			fields["known_status"] = "STOPPED" // while the task is still to run
		}
		if diff := cmp.Diff(fields, meta.Fields); diff != "" {
			t.Errorf("fields of %s (-want +got):\n%s", name, diff)
		}
	}

	cpu, memory := about(t, got, "ecs_container_cpu", w.busy, "cpu=cpu-total"), about(t, got, "ecs_container_mem", w.busy)
	usage{
		cpu: cpu.number("usage_total"), memory: memory.number("usage"), limit: memory.number("limit"),
		received: about(t, got, "ecs_container_net", w.busy, "network=eth0").number("rx_bytes"),
	}.check(t, w.before, after)
}

// environment is what "ecs-local env" prints for the container of a service,
// for a program of this machine.
func (s server) environment(t *testing.T, service string) []string {
	t.Helper()
	var env []string
	eventually(t, soon, func() error {
		cmd := exec.CommandContext(within(t, longest), program(t), "env", "--format", "json", "--form", "full", "--service", service)
		cmd.Env = pointedAt(t, "", "ECS_LOCAL_CONTROL_LISTEN="+strings.TrimPrefix(s.control, "http://"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("ecs-local env: %w\n%s", err, out)
		}
		var variables map[string]string
		if err := json.Unmarshal(out, &variables); err != nil {
			return fmt.Errorf("decode variables: %w", err)
		}
		for name, value := range variables {
			env = append(env, name+"="+value)
		}
		return nil
	})
	return env
}

// On a laptop: a program of this machine, with the variables that
// "ecs-local env" prints for a container.
func TestOpenTelemetryForJavaScriptDetectsTheTask(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	node, err := exec.LookPath("node")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no Node.js: "+err.Error())
	}
	script, err := os.ReadFile("clients/ecs.mjs")
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	path := written(t, "ecs.mjs", string(script))
	if err := os.Symlink(filepath.Join(clients(t, "javascript"), "node_modules"), filepath.Join(filepath.Dir(path), "node_modules")); err != nil {
		t.Fatalf("link modules: %v", err)
	}
	s := startServer(t, "127.0.0.1", []string{"DOCKER_HOST=" + c.DaemonHost()}, "--runtime", "docker", "--credentials", "offline")
	w, service := &watched{client: c, arn: newTaskARN()}, unique("web")
	labels := w.labels("web")
	labels["com.docker.compose.project"], labels["com.docker.compose.service"] = unique("shop"), service
	started(t, c, spec{labels: labels, cmd: []string{"/probe", "serve"}, mode: "bridge"})

	env := s.environment(t, service)
	var got map[string]string
	// It gives the endpoint one second to answer, and detects nothing if that is
	// too short for a busy machine.
	eventually(t, longest, func() error {
		cmd := exec.CommandContext(within(t, longest), node, path)
		cmd.Env = pointedAt(t, "", env...)
		if err := json.Unmarshal([]byte(command(t, cmd)), &got); err != nil {
			return fmt.Errorf("decode what was detected: %w", err)
		}
		if got["aws.ecs.task.arn"] == "" {
			return fmt.Errorf("no task was detected: %v", got)
		}
		return nil
	})
	want := w.resource(t, got["aws.ecs.container.arn"])
	if want["container.name"], err = os.Hostname(); err != nil {
		t.Fatalf("get own name: %v", err)
	}
	delete(got, "container.id") // from the process's control group: what runs on the machine has none of ECS
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
}
