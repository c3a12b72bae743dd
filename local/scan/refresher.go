package scan

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// DefaultInterval is the time between two scans, as in the ECS agent.
const DefaultInterval = 15 * time.Minute

// retryInterval is the time after a scan that had nothing good, when the
// interval is longer than that: the service may only just be starting.
const retryInterval = 30 * time.Second

// RefresherOptions say how to refresh.
type RefresherOptions struct {
	// Interval is the time between two scans. Zero: DefaultInterval.
	Interval time.Duration
	// OnScan is called after each scan that was not cut short, on the
	// goroutine of Run, when its credentials can be looked up. May be nil.
	OnScan func(Report)
	// Log hears what fails. Nil: nobody does.
	Log *slog.Logger
}

// Report is one scan in numbers, and by name what did not go well.
type Report struct {
	At          time.Time     // when it began
	Took        time.Duration // until its end
	Namespaces  int           // that exist
	Credentials int           // held after it
	Changed     int           // credentials that it read
	Gone        int           // keys that went
	Denied      int           // roles that ECS may not assume, as far as it read anew
	Failures    int           // what it could not read; 1 for the root listing
	Requests    int           // values and listings that it asked for
	Err         error         // nothing good; nil otherwise

	DeniedRoles []Entry   // as in the Result
	Failed      []Failure // as in the Result
}

// Refresher scans at an interval and keeps the latest credentials of every
// task. What fails deletes nothing: only what is gone is removed.
type Refresher struct {
	scanner *Scanner
	opts    RefresherOptions
	wanted  chan chan struct{}                        // asks for a scan now; closed after it
	held    atomic.Pointer[map[Key]local.Credentials] // a map is not changed once it is stored
	last    atomic.Pointer[Report]
}

// NewRefresher makes a Refresher, which from here on has the scanner for
// itself.
func NewRefresher(s *Scanner, opts RefresherOptions) *Refresher {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	r := &Refresher{scanner: s, opts: opts, wanted: make(chan chan struct{})}
	r.held.Store(&map[Key]local.Credentials{})
	return r
}

// Run scans at once, then after each interval and for Now, until ctx ends,
// which is no error. It is called once.
func (r *Refresher) Run(ctx context.Context) {
	var waiting []chan struct{}
	for {
		wait := r.opts.Interval
		if err := r.scan(ctx); err != nil {
			wait = min(wait, retryInterval)
		}
		for _, done := range waiting {
			close(done)
		}
		waiting = nil
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case done := <-r.wanted:
			timer.Stop()
			waiting = append(r.others(), done)
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// others returns who else waits for a scan: one is enough for all of them.
func (r *Refresher) others() []chan struct{} {
	var waiting []chan struct{}
	for {
		select {
		case done := <-r.wanted:
			waiting = append(waiting, done)
		default:
			return waiting
		}
	}
}

// Now has Run scan at once, and returns after a scan that began after the
// call. Callers at the same time share one. An error is that of ctx.
func (r *Refresher) Now(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case r.wanted <- done:
	case <-ctx.Done():
		return fmt.Errorf("wait for a scan: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a scan: %w", ctx.Err())
	}
}

// Credentials returns the credentials of a task's role; false if there are
// none, or none that are still valid. It takes no lock and asks nobody.
func (r *Refresher) Credentials(taskID, roleType string) (local.Credentials, bool) {
	c, ok := (*r.held.Load())[Key{TaskID: taskID, RoleType: roleType}]
	if !ok || !time.Now().Before(c.Expiration) {
		return local.Credentials{}, false
	}
	return c, true
}

// Report returns the latest scan in numbers; false before the first one.
func (r *Refresher) Report() (Report, bool) {
	if last := r.last.Load(); last != nil {
		return *last, true
	}
	return Report{}, false
}

// scan scans once and keeps what it finds. Its error is that of a scan with
// nothing good.
func (r *Refresher) scan(ctx context.Context) error {
	began := time.Now()
	result, err := r.scanner.Scan(ctx)
	if ctx.Err() != nil {
		return nil
	}
	r.keep(result)
	r.log(ctx, result, err)
	report := Report{
		At:          began.UTC(),
		Took:        time.Since(began),
		Namespaces:  len(result.Namespaces),
		Credentials: len(*r.held.Load()),
		Changed:     len(result.Credentials),
		Gone:        len(result.Gone),
		Denied:      len(result.Denied),
		Failures:    len(result.Failures),
		Requests:    result.Requests,
		Err:         err,
		DeniedRoles: result.Denied,
		Failed:      result.Failures,
	}
	if err != nil && len(result.Failures) == 0 {
		report.Failures = 1
	}
	r.last.Store(&report)
	if r.opts.OnScan != nil {
		r.opts.OnScan(report)
	}
	return err
}

// keep makes the result's changes on a copy.
func (r *Refresher) keep(result Result) {
	if len(result.Gone) == 0 && len(result.Credentials) == 0 {
		return
	}
	next := maps.Clone(*r.held.Load())
	for _, gone := range result.Gone {
		delete(next, gone.Key)
	}
	for _, c := range result.Credentials {
		next[c.Key] = c.Credentials
	}
	r.held.Store(&next)
}

// log says what nobody else does: a refresher has no caller.
func (r *Refresher) log(ctx context.Context, result Result, err error) {
	for _, f := range result.Failures {
		r.opts.Log.WarnContext(ctx, "task credentials not read from IMDS", "namespace", f.Namespace, "credentials", f.Name, "reason", f.Err)
	}
	if err != nil && len(result.Failures) == 0 {
		r.opts.Log.WarnContext(ctx, "namespaces not read from IMDS", "reason", err)
	}
	for _, d := range result.Denied {
		r.opts.Log.WarnContext(ctx, "task role cannot be assumed by ECS", "namespace", d.Namespace, "credentials", d.String(), "role", d.RoleARN)
	}
}
