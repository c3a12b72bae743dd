package scan_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ecs-local/ecs-local/local/imdsclient"
	"github.com/ecs-local/ecs-local/local/scan"
)

// refresh runs a refresher of f in a bubble until the test ends. The clock of
// a bubble begins in 2000, so that the fake's credentials are valid.
func refresh(t *testing.T, f *fake, opts scan.RefresherOptions) (r *scan.Refresher, stop func(), log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	opts.Log = slog.New(slog.NewTextHandler(log, nil))
	r = scan.NewRefresher(scan.New(scan.Options{Client: serve(t, f, imdsclient.Options{Attempts: 1})}), opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		r.Run(ctx)
		close(done)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(func() {
		stop()
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	})
	return r, stop, log
}

// held returns the generations of what can be looked up; 0 for none.
func held(r *scan.Refresher) [3]int {
	var all [3]int
	for i, key := range []scan.Key{{shop, scan.TaskApplication}, {shop, scan.TaskExecution}, {cart, scan.TaskApplication}} {
		if c, ok := r.Credentials(key.TaskID, key.RoleType); ok {
			all[i] = generationOf(c)
		}
	}
	return all
}

func wantHeld(t *testing.T, r *scan.Refresher, want [3]int) {
	t.Helper()
	if got := held(r); got != want {
		t.Errorf("generations %v, want %v", got, want)
	}
}

// settle lets a scan that is due go to its end.
func settle() { time.Sleep(10 * time.Second) }

func TestRefresherCheck24(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		both(f)
		r, stop, _ := refresh(t, f, scan.RefresherOptions{})
		wantHeld(t, r, [3]int{})
		settle()
		wantHeld(t, r, [3]int{1, 1, 1}) // the first scan does not wait
		if got := len(f.take()); got != 6 {
			t.Errorf("%d requests, want 6", got)
		}

		f.rotate(ns2, cartWeb, 2)
		f.namespace(ns2, t2, entries{cartWeb: object("")})
		time.Sleep(scan.DefaultInterval - 20*time.Second)
		wantHeld(t, r, [3]int{1, 1, 1})
		if got := f.take(); len(got) != 0 {
			t.Errorf("read %q between two scans", got)
		}
		time.Sleep(20 * time.Second)
		wantHeld(t, r, [3]int{1, 1, 2})

		f.fail(webPath, 500)
		f.namespace(ns1, t2, entries{web: object(""), exec: object("")})
		time.Sleep(scan.DefaultInterval)
		wantHeld(t, r, [3]int{1, 1, 2}) // what fails stays
		f.fail("", 500)
		time.Sleep(scan.DefaultInterval)
		wantHeld(t, r, [3]int{1, 1, 2})
		f.mend("")
		f.set(webPath, "{}")
		f.mend(webPath)
		time.Sleep(scan.DefaultInterval)
		wantHeld(t, r, [3]int{1, 1, 2})
		f.rotate(ns1, web, 3)
		time.Sleep(scan.DefaultInterval)
		wantHeld(t, r, [3]int{3, 1, 2})

		f.namespace(ns1, "2026-06-30T19:00:00Z", entries{web: object(denied)})
		time.Sleep(scan.DefaultInterval)
		wantHeld(t, r, [3]int{3, 0, 2}) // one is gone; a refusal deletes nothing
		f.remove(ns2)
		time.Sleep(scan.DefaultInterval)
		wantHeld(t, r, [3]int{3, 0, 0})

		stop()
		f.take()
		time.Sleep(24 * time.Hour)
		if got := f.take(); len(got) != 0 {
			t.Errorf("read %q after its end", got)
		}
		wantHeld(t, r, [3]int{3, 0, 0})
	})
}

func TestRefresherScansNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		both(f)
		r, stop, _ := refresh(t, f, scan.RefresherOptions{})
		settle()
		f.take()
		f.rotate(ns2, cartWeb, 2)
		f.namespace(ns2, t2, entries{cartWeb: object("")})

		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				if err := r.Now(t.Context()); err != nil {
					t.Error(err)
				}
				wantHeld(t, r, [3]int{1, 1, 2}) // long before the interval is over
			})
		}
		asking.Wait()
		// The root and two namespaces for each scan; the first may begin before
		// all have asked, the second is for all of these. One key has changed.
		if got, most := len(f.take()), 2*3+1; got > most {
			t.Errorf("%d requests, want at most %d", got, most)
		}

		stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Now(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its end: got %v, want that of the context", err)
		}
	})
}

func TestRefresherKeepsATaskThatMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		one(f)
		r, _, _ := refresh(t, f, scan.RefresherOptions{})
		settle()
		f.remove(ns1)
		f.rotate(ns2, web, 2)
		f.namespace(ns2, t1, entries{web: object("")})
		time.Sleep(scan.DefaultInterval)
		wantHeld(t, r, [3]int{2, 0, 0})
	})
}

func TestRefresherForgetsWhatExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		one(f)
		f.set(webPath, strings.Replace(keys(1), "2026-06-30T23:20:01Z", time.Now().Add(time.Minute).UTC().Format(time.RFC3339), 1))
		r, _, _ := refresh(t, f, scan.RefresherOptions{})
		settle()
		if _, ok := r.Credentials(shop, scan.TaskApplication); !ok {
			t.Error("not there")
		}
		time.Sleep(50 * time.Second)
		if _, ok := r.Credentials(shop, scan.TaskApplication); ok {
			t.Error("still there when expired")
		}
	})
}

func TestRefresherReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.namespace(ns1, t1, entries{web: object(""), exec: object(denied)})
		f.namespace(ns2, t1, entries{cartWeb: object("")})
		f.fail(cartPath, 404)
		var reports []scan.Report
		r, _, log := refresh(t, f, scan.RefresherOptions{
			Interval: time.Minute,
			OnScan:   func(r scan.Report) { reports = append(reports, r) },
		})
		if _, ok := r.Report(); ok {
			t.Error("a report before the first scan")
		}
		began := time.Now().UTC()
		settle()
		f.remove(ns2)
		time.Sleep(time.Minute)
		f.fail("", 500)
		time.Sleep(time.Minute)
		synctest.Wait()

		want := []scan.Report{
			{Took: 400 * time.Millisecond, Namespaces: 2, Credentials: 1, Changed: 1, Denied: 1, Failures: 1, Requests: 5},
			{Namespaces: 1, Credentials: 1, Gone: 1, Requests: 2},
			{Credentials: 1, Failures: 1, Requests: 1},
		}
		if diff := cmp.Diff(want, reports, cmpopts.IgnoreFields(scan.Report{}, "At", "Took", "Err", "Failed", "DeniedRoles")); diff != "" {
			t.Error(diff)
		}
		if got := reports[0].Took.Round(time.Millisecond); got != want[0].Took || !reports[0].At.Equal(began) {
			t.Errorf("took %v at %v", got, reports[0].At)
		}
		if failed := reports[0].Failed; len(failed) != 1 || failed[0].Name != cartWeb {
			t.Errorf("failed %v", failed)
		}
		if denied := reports[0].DeniedRoles; len(denied) != 1 || denied[0].String() != exec {
			t.Errorf("denied %v", denied)
		}
		if reports[0].Err != nil || reports[1].Err != nil || reports[2].Err == nil {
			t.Errorf("errors %v, %v, %v", reports[0].Err, reports[1].Err, reports[2].Err)
		}
		last, ok := r.Report()
		if diff := cmp.Diff(reports[2], last, cmpopts.EquateErrors()); diff != "" || !ok {
			t.Error(diff)
		}
		for _, text := range []string{"task credentials not read from IMDS", cartWeb, "cannot be assumed by ECS", exec, "namespaces not read from IMDS"} {
			if !strings.Contains(log.String(), text) {
				t.Errorf("not in the log: %s", text)
			}
		}
	})
}

// A service that starts at the same time is not there yet at the first scan.
func TestRefresherTriesAgainSoonAfterNothingGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		both(f)
		f.fail("", 500)
		r, _, _ := refresh(t, f, scan.RefresherOptions{})
		settle()
		wantHeld(t, r, [3]int{})
		f.mend("")
		time.Sleep(30 * time.Second)
		wantHeld(t, r, [3]int{1, 1, 1})
		f.take()
		time.Sleep(scan.DefaultInterval - 30*time.Second)
		if got := f.take(); len(got) != 0 {
			t.Errorf("read %q before the interval was over", got)
		}
	})
}

func TestRefresherCutShortReportsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		both(f)
		r, stop, log := refresh(t, f, scan.RefresherOptions{OnScan: func(scan.Report) { t.Error("a report") }})
		time.Sleep(150 * time.Millisecond)
		stop()
		if _, ok := r.Report(); ok || log.Len() != 0 {
			t.Errorf("report %t, log %s", ok, log)
		}
		wantHeld(t, r, [3]int{})
	})
}

func TestLookupsDuringScans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		both(f)
		r, stop, _ := refresh(t, f, scan.RefresherOptions{Interval: time.Second})
		settle()
		for generation := 2; generation < 20; generation++ {
			f.rotate(ns1, web, generation)
			f.namespace(ns1, time.Now().UTC().Format(time.RFC3339), entries{web: object(""), exec: object("")})
			for range 50 {
				time.Sleep(40 * time.Millisecond)
				if c, ok := r.Credentials(shop, scan.TaskApplication); !ok || generationOf(c) < generation-1 {
					t.Fatalf("generation %d: %t, %d", generation, ok, generationOf(c))
				}
			}
		}
		stop()
	})
}
