package handlers

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// Paths and addresses are endless; what is kept of them is not.
func TestFaultLimitsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &faultLimits{counts: map[string]*rate.Limiter{}}
		for i := range 5 * mostFaultLimits {
			if !l.allow(strconv.Itoa(i)) {
				t.Fatal("a first request is refused")
			}
			if n := len(l.counts); n > mostFaultLimits {
				t.Fatalf("%d are kept", n)
			}
		}
		time.Sleep(time.Minute)
		l.allow("used")
		l.forget()
		if l.allow("used") || len(l.counts) != 1 {
			t.Errorf("what counts was dropped, or what does not was kept: %d", len(l.counts))
		}
	})
}
