package docker

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// FuzzDescription: whatever the engine says of a container, there is a document
// about it, and it is JSON.
func FuzzDescription(f *testing.F) {
	recorded, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(recorded) == 0 {
		f.Fatalf("no recorded descriptions: %v", err)
	}
	for _, file := range recorded {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		`{}`, `{"State":null,"HostConfig":null,"Config":null,"NetworkSettings":null,"Mounts":null}`,
		`{"State":{"Status":"running","StartedAt":"9999-12-31T23:59:59-14:00","Health":{"Status":"unhealthy","FailingStreak":-9223372036854775808,"Log":[null,{"End":"9999-12-31T23:59:59-14:00","ExitCode":-1}]}},"Created":"9999-12-31T23:59:59-14:00","Config":{"Healthcheck":{"Test":["CMD"],"Retries":-1}}}`,
		`{"State":{"Status":"exited","ExitCode":-9223372036854775808,"FinishedAt":"9999-12-31T23:59:59-14:00"},"RestartCount":-1,"HostConfig":{"RestartPolicy":{"Name":"always"},"NanoCpus":-1,"CpuQuota":9223372036854775807,"CpuPeriod":-5,"CpuShares":-2,"Memory":-9223372036854775808}}`,
		`{"State":{"Status":"running"},"Name":"/a\nb\u001b[31m","Config":{"Labels":{"com.amazonaws.ecs.task-arn":"no ARN","ecs-local.launch-type":"FARGATE","ecs-local.task-cpu":"-1","ecs-local.network-mode":"awsvpc"}},"NetworkSettings":{"Ports":{"99999/tcp":[{"HostPort":"-1"},{"HostPort":"80"}],"/":[{"HostPort":"1"}]},"Networks":{"a":null,"b":{"IPAddress":"::ffff:1.2.3.4","IPPrefixLen":-3,"Gateway":"1.2.3.4.5","GlobalIPv6Address":"fe80::1%x","GlobalIPv6PrefixLen":999}}},"HostConfig":{"NetworkMode":"container:"}}`,
		`{"State":{"Status":"running"},"Config":{"Labels":{"ecs-local.network-mode":"awsvpc"}},"NetworkSettings":{"Networks":{"b":{"IPAddress":"fd00::1","GlobalIPv6Address":"1.2.3.4","Gateway":"fd00::9","IPv6Gateway":"::ffff:1.2.3.9"}}}}`,
		`{"State":{"Status":"running"},"HostConfig":{"NetworkMode":"container:aa"},"Mounts":[{"Type":"x"},{}]}`,
	} {
		f.Add([]byte(text))
	}
	renderer := metadata.New(metadata.Options{})
	f.Fuzz(func(t *testing.T, text []byte) {
		var described container.InspectResponse
		if json.Unmarshal(text, &described) != nil {
			return
		}
		id := strings.Repeat("a", 64)
		first := containerOf(id, &described, nil)
		again := containerOf(id, &described, first)
		dir := local.NewDirectory([]*local.Container{first, again, containerOf("", &described, nil)}, "", local.Facts{})
		for _, network := range first.Networks {
			_, _ = dir.WhoIs(network.IPv4)
			_, _ = dir.WhoIs(network.IPv6)
		}
		for _, task := range dir.Tasks() {
			for _, version := range []metadata.Version{metadata.V2, metadata.V3, metadata.V4} {
				for _, c := range task.Containers {
					if body, err := renderer.Container(version, task, c); err != nil || !json.Valid(body) {
						t.Errorf("%v: %v: %q", version, err, body)
					}
				}
				if body, err := renderer.Task(version, task, true); err != nil || !json.Valid(body) {
					t.Errorf("%v: %v: %q", version, err, body)
				}
			}
		}
	})
}

// FuzzSample: whatever the engine sends as stats, what is served is JSON.
func FuzzSample(f *testing.F) {
	for _, text := range []string{
		`{"read":"2026-11-21T08:00:00Z","networks":{"eth0":{"rx_bytes":1,"tx_bytes":2}}}{"read":"2026-11-21T08:00:01Z","networks":{"eth0":{"rx_bytes":18446744073709551615,"tx_bytes":0}}}`,
		`{"read":"2026-11-21T08:00:00Z","networks":null}`, `{"read":"2026-11-21T08:00:00Z","networks":{"eth0":{"rx_bytes":-1}}}`,
		`{"read":"9999-12-31T23:59:59-14:00"}`, `{"read":"0002-10-01T00:00:00+24:00"}`, `{"read":"2026-11-21T08:00:00Z","read":"2026-11-21T08:00:00Z"}`, `[]`, `null`, `{}`, `{"read":1}`,
		`{"read":"2026-11-21T08:00:00Z","id":5}`, `{"read":"2026-11-21T08:00:00Z","memory_stats":{"usage":-1}}`,
		"{\"read\":\"2026-11-21T08:00:00Z\"\n\t}",
	} {
		f.Add([]byte(text))
	}
	c := &local.Container{ID: strings.Repeat("a", 64), State: local.Running}
	task := local.NewDirectory([]*local.Container{c}, "", local.Facts{}).Tasks()[0]
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &samplesOf{first: make(chan struct{})}
		if err := decodeSamples(bytes.NewReader(text), s); err == nil {
			t.Error("a stream does not end without an error")
		}
		sample := s.latest.Load()
		if sample == nil {
			return
		}
		for _, version := range []metadata.Version{metadata.V2, metadata.V3, metadata.V4} {
			body, err := metadata.Stats(version, task, c, sample)
			if err != nil && strings.HasPrefix(err.Error(), "decode stats: ") {
				continue // nothing is served of what no engine sends: an id that is a number
			}
			if err != nil || !json.Valid(body) || !json.Valid(metadata.TaskStats([]metadata.Sample{{ContainerID: c.ID, JSON: body}, {ContainerID: c.ID, JSON: body}})) {
				t.Errorf("%v: %v: %q", version, err, body)
			}
		}
	})
}
