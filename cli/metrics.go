package cli

import (
	"github.com/VictoriaMetrics/metrics"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local/scan"
)

// newMetrics returns the metrics of GET /metrics: what is known of the
// containers, and the scans for task credentials.
func newMetrics(runtime handlers.Runtime) *metrics.Set {
	set := metrics.NewSet()
	set.NewGauge("ecs_local_containers", func() float64 {
		dir, _ := runtime.Current()
		return float64(len(dir.Containers()))
	})
	set.NewGauge("ecs_local_tasks", func() float64 {
		dir, _ := runtime.Current()
		return float64(len(dir.Tasks()))
	})
	set.NewGauge("ecs_local_runtime_synced", func() float64 {
		if _, synced := runtime.Current(); synced {
			return 1
		}
		return 0
	})
	return set
}

// scanMetrics counts what scans found and what they cost.
type scanMetrics struct {
	scans, failed, failures, requests, changed *metrics.Counter
	namespaces, credentials, seconds           *metrics.Gauge
}

func newScanMetrics(set *metrics.Set) *scanMetrics {
	return &scanMetrics{
		scans:       set.NewCounter("ecs_local_scans_total"),
		failed:      set.NewCounter("ecs_local_scans_failed_total"),
		failures:    set.NewCounter("ecs_local_scan_failures_total"),
		requests:    set.NewCounter("ecs_local_scan_requests_total"),
		changed:     set.NewCounter("ecs_local_scan_credentials_changed_total"),
		namespaces:  set.NewGauge("ecs_local_scan_namespaces", nil),
		credentials: set.NewGauge("ecs_local_scan_credentials", nil),
		seconds:     set.NewGauge("ecs_local_scan_duration_seconds", nil),
	}
}

// report takes in one scan.
func (m *scanMetrics) report(r scan.Report) {
	m.scans.Inc()
	if r.Err != nil {
		m.failed.Inc()
	}
	m.failures.Add(r.Failures)
	m.requests.Add(r.Requests)
	m.changed.Add(r.Changed)
	m.namespaces.Set(float64(r.Namespaces))
	m.credentials.Set(float64(r.Credentials))
	m.seconds.Set(r.Took.Seconds())
}
