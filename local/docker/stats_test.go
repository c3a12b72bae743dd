package docker

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

func TestStats(t *testing.T) {
	both := func(t *testing.T, c *Client) []*local.Container {
		return []*local.Container{find(t, c, webID), find(t, c, redisID)}
	}
	t.Run("the first call waits for all containers at once, later ones never", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := follow(t, e)
			begin := time.Now()
			first := c.Stats(t.Context(), both(t, c))
			if took := time.Since(begin); took != time.Second || len(first) != 2 {
				t.Errorf("first call: got %d samples in %v, want 2 in 1s", len(first), took)
			}
			if first[webID].Rates != nil {
				t.Errorf("rates of one sample: got %+v, want none", first[webID].Rates)
			}
			for range 3 {
				time.Sleep(40 * time.Second)
				synctest.Wait()
				begin = time.Now()
				got := c.Stats(t.Context(), both(t, c))
				if took := time.Since(begin); took != 0 || len(got) != 2 {
					t.Errorf("later call: got %d samples in %v, want 2 at once", len(got), took)
				}
			}
			if n := e.Count("GET /containers/" + webID + "/stats"); n != 1 {
				t.Errorf("streams opened: got %d, want 1", n)
			}
		})
	})
	t.Run("the sample is the engine's own, with rates from the second on", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			containers := []*local.Container{find(t, c, webID)}
			c.Stats(t.Context(), containers)
			time.Sleep(2500 * time.Millisecond)
			got := c.Stats(t.Context(), containers)[webID]
			var sample struct {
				ID       string
				Networks map[string]map[string]int
			}
			if err := json.Unmarshal(got.JSON, &sample); err != nil {
				t.Fatalf("%v in %s", err, got.JSON)
			}
			if sample.ID != webID || sample.Networks["eth0"]["rx_bytes"] != 3000 {
				t.Errorf("sample: got %s, want the third of web", got.JSON)
			}
			want := &local.NetworkRates{RxBytesPerSec: 1010, TxBytesPerSec: 100}
			if diff := cmp.Diff(want, got.Rates); diff != "" {
				t.Errorf("rates (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("a stream is closed a minute after the last reader", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			containers := []*local.Container{find(t, c, webID)}
			c.Stats(t.Context(), containers) // takes a second
			time.Sleep(30 * time.Second)
			c.Stats(t.Context(), containers)
			time.Sleep(59 * time.Second)
			synctest.Wait()
			if n := e.StatsStreams(webID); n != 1 {
				t.Errorf("streams after 59 s: got %d, want 1", n)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if n := e.StatsStreams(webID); n != 0 {
				t.Errorf("streams after a minute: got %d, want 0", n)
			}
			if got := c.Stats(t.Context(), containers); len(got) != 1 {
				t.Errorf("a call afterwards: got %d samples, want 1", len(got))
			}
		})
	})
	t.Run("a container that stops has no entry, and no stream", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := follow(t, e)
			containers := both(t, c)
			c.Stats(t.Context(), containers)
			e.Put(with(web, in("exited")))
			e.Event("die", webID, "exitCode", "0")
			synctest.Wait()
			begin := time.Now()
			got := c.Stats(t.Context(), both(t, c))
			if len(got) != 1 || got[redisID] == nil {
				t.Errorf("samples: got %d, want that of redis", len(got))
			}
			if took := time.Since(begin); took != 0 {
				t.Errorf("took %v, want no time", took)
			}
			if n := e.StatsStreams(webID); n != 0 {
				t.Errorf("streams: got %d, want 0", n)
			}
		})
	})
	t.Run("a container that stopped unheard of has no entry", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			containers := []*local.Container{find(t, c, webID)}
			e.Put(with(web, in("exited"))) // the engine sends empty samples
			if got := c.Stats(t.Context(), containers); len(got) != 0 {
				t.Errorf("samples: got %d, want none", len(got))
			}
			synctest.Wait()
			if n := e.StatsStreams(webID); n != 0 {
				t.Errorf("streams: got %d, want 0", n)
			}
		})
	})
	t.Run("the first call waits three seconds at most", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			e.SampleEvery = time.Hour
			put(e, web, redis)
			c := follow(t, e)
			begin := time.Now()
			if got := c.Stats(t.Context(), both(t, c)); len(got) != 0 {
				t.Errorf("samples: got %d, want none", len(got))
			}
			if took := time.Since(begin); took != firstSampleTimeout {
				t.Errorf("took %v, want %v", took, firstSampleTimeout)
			}
		})
	})
	t.Run("and not longer than its context", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			begin := time.Now()
			c.Stats(ctx, []*local.Container{find(t, c, webID)})
			if took := time.Since(begin); took != 100*time.Millisecond {
				t.Errorf("took %v, want 100ms", took)
			}
		})
	})
	t.Run("an engine that fails costs the first call no time and is tried again", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			containers := []*local.Container{find(t, c, webID)}
			e.Fail(500)
			for range 2 {
				begin := time.Now()
				if got := c.Stats(t.Context(), containers); len(got) != 0 || time.Since(begin) != 0 {
					t.Errorf("got %d samples in %v, want none at once", len(got), time.Since(begin))
				}
			}
			e.Mend()
			time.Sleep(statsRetry + time.Second)
			synctest.Wait()
			if got := c.Stats(t.Context(), containers); len(got) != 1 {
				t.Errorf("samples: got %d, want 1", len(got))
			}
		})
	})
	t.Run("a stream that breaks off leaves no old sample, and is opened again", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			containers := []*local.Container{find(t, c, webID)}
			c.Stats(t.Context(), containers)
			time.Sleep(1500 * time.Millisecond)
			e.Fail(500)
			e.CutStats()
			synctest.Wait()
			begin, tries := time.Now(), e.Count("GET /containers/"+webID+"/stats")
			if got := c.Stats(t.Context(), containers); len(got) != 0 || time.Since(begin) != 0 {
				t.Errorf("got %d samples in %v, want none at once", len(got), time.Since(begin))
			}
			time.Sleep(10 * statsRetry)
			synctest.Wait()
			if n := e.Count("GET /containers/"+webID+"/stats") - tries; n < 9 || n > 10 {
				t.Errorf("tries in ten seconds: got %d, want 10", n)
			}
			e.Mend()
			time.Sleep(statsRetry + 1500*time.Millisecond)
			begin = time.Now()
			got := c.Stats(t.Context(), containers)
			if len(got) != 1 || time.Since(begin) != 0 {
				t.Fatalf("got %d samples in %v, want 1 at once", len(got), time.Since(begin))
			}
			if got[webID].Rates != nil {
				t.Errorf("rates over the gap: got %+v, want none", got[webID].Rates)
			}
		})
	})
	t.Run("a container that does not exist has no entry", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			c := follow(t, e)
			ghost := &local.Container{ID: jobID, State: local.Running}
			if got := c.Stats(t.Context(), []*local.Container{ghost}); len(got) != 0 {
				t.Errorf("samples: got %d, want none", len(got))
			}
		})
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	const first = `{"read":"2026-11-21T02:47:16.139384549Z","networks":{"eth0":{"rx_bytes":848,"tx_bytes":196},"eth1":{"rx_bytes":240,"tx_bytes":0}}}`
	seconds := float32(1.002697047) // between the two that the engine sent
	tests := []struct {
		name   string
		stream []string
		want   *local.NetworkRates
	}{
		{"one sample", []string{first}, nil},
		{"two samples, as recorded", []string{first,
			`{"read":"2026-11-21T02:47:17.142081596Z","networks":{"eth0":{"rx_bytes":1548,"tx_bytes":486},"eth1":{"rx_bytes":706,"tx_bytes":0}}}`},
			&local.NetworkRates{RxBytesPerSec: float64(float32(1166) / seconds), TxBytesPerSec: float64(float32(290) / seconds)}},
		{"no network at all", []string{`{"read":"2026-11-21T02:47:16Z"}`, `{"read":"2026-11-21T02:47:17Z"}`}, nil},
		{"no network before", []string{`{"read":"2026-11-21T02:47:15Z"}`, first}, nil},
		{"the same moment twice", []string{first, first}, nil},
		{"the clock goes back", []string{first, `{"read":"2026-11-21T02:47:15Z","networks":{"eth0":{"rx_bytes":9000}}}`}, nil},
		{"the same moment after rates", []string{first,
			`{"read":"2026-11-21T02:47:18.139384549Z","networks":{"eth0":{"rx_bytes":2088,"tx_bytes":396}}}`,
			`{"read":"2026-11-21T02:47:18.139384549Z","networks":{"eth0":{"rx_bytes":2088,"tx_bytes":396}}}`},
			&local.NetworkRates{RxBytesPerSec: 500, TxBytesPerSec: 100}},
		{"an interface goes", []string{first, `{"read":"2026-11-21T02:47:17.139384549Z","networks":{"eth0":{"rx_bytes":900,"tx_bytes":206}}}`},
			&local.NetworkRates{RxBytesPerSec: 0, TxBytesPerSec: 10}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &samplesOf{first: make(chan struct{})}
			if err := decodeSamples(strings.NewReader(strings.Join(tt.stream, "\n")), s); err == nil {
				t.Error("the end of a stream is no error")
			}
			got := s.latest.Load()
			if diff := cmp.Diff(tt.want, got.Rates); diff != "" {
				t.Errorf("rates (-want +got):\n%s", diff)
			}
			if want := tt.stream[len(tt.stream)-1]; string(got.JSON) != want {
				t.Errorf("JSON: got %s, want %s", got.JSON, want)
			}
			if r := got.Rates; r != nil && (math.IsNaN(r.RxBytesPerSec+r.TxBytesPerSec) || math.IsInf(r.RxBytesPerSec+r.TxBytesPerSec, 0)) {
				t.Errorf("rates: got %+v", r)
			}
		})
	}
}
