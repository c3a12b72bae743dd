package metadata

import (
	"bytes"
	"testing"

	"github.com/ecs-local/ecs-local/local"
)

// engine returns a recorded answer of an engine.
func engine(t *testing.T, name string) []byte { return read(t, "engine-"+name+".json") }

func TestStats(t *testing.T) {
	t.Parallel()
	rates := &local.NetworkRates{RxBytesPerSec: 219.1103973388672, TxBytesPerSec: 102.25}
	sample := &local.Stats{JSON: engine(t, "cgroup-v2"), Rates: rates}
	once := &local.Stats{JSON: engine(t, "cgroup-v2")}

	t.Run("as the agent shows them", func(t *testing.T) {
		t.Parallel()
		ok := must(t)
		same(t, ok(Stats(V2, task(), web(), sample)), read(t, "agent-v3-stats.json"))
		same(t, ok(Stats(V3, task(), web(), sample)), read(t, "agent-v3-stats.json"))
		same(t, ok(Stats(V4, task(), web(), sample)), read(t, "agent-v4-stats.json"))
		same(t, ok(Stats(V4, task(), web(), once)), read(t, "agent-v3-stats.json"))
	})
	t.Run("rates of 0 are shown", func(t *testing.T) {
		t.Parallel()
		idle := &local.Stats{JSON: []byte("{}"), Rates: &local.NetworkRates{}}
		want := []byte(`"memory_stats":{},"network_rate_stats":{"rx_bytes_per_sec":0,"tx_bytes_per_sec":0}}`)
		if got := must(t)(Stats(V4, task(), web(), idle)); !bytes.HasSuffix(got, want) {
			t.Errorf("got %s, want %s at its end", got, want)
		}
	})
	t.Run("all zero", func(t *testing.T) {
		t.Parallel()
		zero := &local.Stats{JSON: engine(t, "stopped")}
		same(t, must(t)(Stats(V3, task(), web(), zero)), read(t, "agent-v3-stats-zero.json"))
		same(t, must(t)(Stats(V4, task(), web(), zero)), read(t, "agent-v3-stats-zero.json"))
	})
	t.Run("cgroups v1", func(t *testing.T) {
		t.Parallel()
		golden(t, "stats-cgroup-v1", must(t)(Stats(V3, task(), web(), &local.Stats{JSON: engine(t, "cgroup-v1")})))
	})
	t.Run("no sample yet", func(t *testing.T) {
		t.Parallel()
		for v, want := range map[Version]string{V2: "null", V3: "null", V4: "{}"} {
			if got := string(must(t)(Stats(v, task(), web(), nil))); got != want {
				t.Errorf("version %d: got %s, want %s", v, got, want)
			}
		}
	})
	t.Run("not JSON", func(t *testing.T) {
		t.Parallel()
		for _, body := range []string{"", "<html>", `{"read":`, `{"num_procs":"many"}`, `{"read":"yesterday"}`} {
			if got, err := Stats(V4, task(), web(), &local.Stats{JSON: []byte(body)}); err == nil {
				t.Errorf("%q: got %s, want an error", body, got)
			}
		}
	})
}

func TestTaskStats(t *testing.T) {
	t.Parallel()
	sample := &local.Stats{
		JSON:  engine(t, "cgroup-v2"),
		Rates: &local.NetworkRates{RxBytesPerSec: 219.1103973388672, TxBytesPerSec: 102.25},
	}
	for v, file := range map[Version]string{V2: "agent-v3-task-stats.json", V3: "agent-v3-task-stats.json", V4: "agent-v4-task-stats.json"} {
		samples := []Sample{
			{ContainerID: webID, JSON: must(t)(Stats(v, task(), web(), sample))},
			{ContainerID: redisID, JSON: must(t)(Stats(v, task(), web(), nil))},
		}
		same(t, TaskStats(samples), read(t, file))
		if samples[0].ContainerID != webID {
			t.Error("the samples of the caller were sorted in place")
		}
	}
	if got := string(TaskStats(nil)); got != "{}" {
		t.Errorf("no container: got %s, want {}", got)
	}
	if got := string(TaskStats([]Sample{{ContainerID: `a"<`, JSON: []byte("{}")}})); got != `{"a\"\u003c":{}}` {
		t.Errorf("id with special characters: got %s", got)
	}
}
