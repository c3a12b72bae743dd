package handlers

import (
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// Paths and addresses are endless; what is kept of them is not, and what is
// used stays.
func TestLimitersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newFaultLimiter()
		from := netip.MustParseAddr("172.18.0.3")
		if !l.allow(from, "used") {
			t.Fatal("the first request is refused")
		}
		for i := range 5 * mostKept {
			if !l.allow(from, strconv.Itoa(i)) {
				t.Fatal("a first request is refused")
			}
			if i%(mostKept/2) == 0 && l.allow(from, "used") {
				t.Fatalf("what is used was forgotten after %d others", i)
			}
			if n := len(l.recent) + len(l.before); n > 2*mostKept {
				t.Fatalf("%d are kept", n)
			}
		}
		if !l.allow(from, "0") {
			t.Error("what nobody uses is kept")
		}
		time.Sleep(5 * time.Second)
		if !l.allow(from, "used") {
			t.Error("a request is refused after the time is over")
		}
	})
}
