package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local/imdsclient"
	"github.com/ecs-local/ecs-local/local/scan"
)

// Our own namespaces are looked at often, because that costs next to nothing
// and a container that has just started waits for its credentials.
const (
	ownScanInterval = time.Second
	ownScanRate     = 100
)

// dialer makes connections, as net.Dialer does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// newRefresher makes the refresher of the scanner. own leads to our own
// service; it is nil for another's.
func newRefresher(endpoint string, own dialer, interval time.Duration, counted *scanMetrics, log *slog.Logger) (*scan.Refresher, error) {
	client, err := imdsclient.New(imdsclient.Options{Endpoint: endpoint, Log: log, Dial: own})
	if err != nil {
		return nil, misuse{fmt.Errorf("--scan-endpoint: %w", err)}
	}
	options := scan.Options{Client: client, Log: log}
	if own != nil {
		options.Limiter = rate.NewLimiter(ownScanRate, 1)
		if interval == 0 {
			interval = ownScanInterval
		}
	}
	seen := &scanLog{log: log}
	onScan := func(r scan.Report) {
		counted.report(r)
		seen.report(r)
	}
	return scan.NewRefresher(scan.New(options), scan.RefresherOptions{Interval: interval, OnScan: onScan}), nil
}

// scanLog writes a line about a scan that differs from the one before.
type scanLog struct {
	log     *slog.Logger
	failing string // why, while the scans fail
}

// reason names everything that a scan could not read.
func reason(r scan.Report) string {
	if r.Err != nil {
		return r.Err.Error()
	}
	failed := make([]string, len(r.Failed))
	for i, f := range r.Failed {
		failed[i] = f.Error()
	}
	return strings.Join(failed, "; ")
}

func (s *scanLog) report(r scan.Report) {
	failing := reason(r)
	attributes := []any{
		slog.Int("namespaces", r.Namespaces), slog.Int("credentials", r.Credentials), slog.Int("changed", r.Changed), slog.Int("gone", r.Gone),
		slog.Int("denied", r.Denied), slog.Int("failures", r.Failures), slog.Int("requests", r.Requests), slog.Duration("took", r.Took),
	}
	for _, d := range r.DeniedRoles {
		s.log.Warn("role of a task cannot be assumed", slog.String("namespace", d.Namespace), slog.String("credentials", d.String()), slog.String("role", d.RoleARN))
	}
	switch {
	case failing != "" && failing != s.failing:
		s.log.Warn("task credentials not read from IMDS", append(attributes, slog.String("reason", failing))...)
	case r.Changed > 0 || r.Gone > 0 || r.Denied > 0 || failing == "" && s.failing != "":
		s.log.Info("task credentials read from IMDS", attributes...)
	}
	s.failing = failing
}
