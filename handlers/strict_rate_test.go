package handlers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
)

// The first half of check 3 of the agent's tests: a burst is answered, and the
// next request is one too many.
func TestStrictRateLimitCheck3(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newStrict(t)
		const path = "/v2/credentials/id-known"
		many := func(n int, from, request string) (passed int) {
			for range n {
				if a.send(a.handler, from, request).Code != http.StatusTooManyRequests {
					passed++
				}
			}
			return passed
		}
		expect := func(want int, from, request string) {
			t.Helper()
			if got := many(100, from, request); got != want {
				t.Errorf("%s from %q: %d requests passed, want %d", request, from, got, want)
			}
		}
		expect(60, "", "GET "+path)
		w := a.send(a.handler, "", "GET "+path)
		if got, want := answer(w), "429 You have reached maximum request limit."; got != want {
			t.Errorf("got %s", got)
		}
		want := http.Header{
			"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {"39"}, "X-Rate-Limit-Limit": {"40.00"}, "X-Rate-Limit-Duration": {"1"},
			"X-Rate-Limit-Request-Forwarded-For": {""}, "X-Rate-Limit-Request-Remote-Addr": {"172.18.0.3:40000"},
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}

		// What tells requests apart is the address and the path, nothing else.
		expect(0, "", "GET "+path+"?x=1")
		expect(0, "", "POST "+path)
		expect(0, "", "GET /v2/credentials/id%2Dknown")
		expect(60, "", "GET /v2/credentials/other")
		expect(60, "172.18.0.4", "GET "+path)
		expect(60, "", "GET /nonsense")
		expect(60, "", "DELETE "+statePath)
		expect(0, "", "GET "+statePath)
		r := httptest.NewRequest("GET", path, nil)
		r.Host, r.RemoteAddr = local.ECSAddress, "172.18.0.3:50000"
		r.Header.Set("X-Forwarded-For", "10.0.0.1")
		r.Header.Set("X-Real-Ip", "10.0.0.1")
		w = httptest.NewRecorder()
		a.handler.ServeHTTP(w, r)
		if w.Code != http.StatusTooManyRequests || w.Header().Get("X-Rate-Limit-Request-Forwarded-For") != "10.0.0.1" {
			t.Errorf("a header made another caller: %d %v", w.Code, w.Header())
		}

		// What never gets to the limiter.
		expect(100, "", "GET //v2/credentials/fresh")
		expect(100, "", "GET /v2/credentials/a%0Ab")
		expect(60, "", "GET /v2/credentials/fresh")

		// 40 more in a second, and never more than 60.
		time.Sleep(500 * time.Millisecond)
		expect(20, "", "GET "+path)
		time.Sleep(time.Hour)
		expect(60, "", "GET "+path)
		if strings.Contains(a.log.String(), "id-known") {
			t.Error("the log holds the id of credentials")
		}
	})
}

func TestStrictRateLimitIsAnOption(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newStrict(t, func(d *handlers.Deps) { d.RateLimit = handlers.RateLimit{PerSecond: 2, Burst: 3} })
		for i := range 5 {
			w := a.send(a.handler, "", "GET /v4/"+webEID)
			if got := w.Header()["X-Rate-Limit-Limit"]; !slices.Equal(got, []string{"2.00"}) {
				t.Errorf("X-Rate-Limit-Limit %q", got)
			}
			if refused := w.Code == http.StatusTooManyRequests; refused != (i >= 3) {
				t.Errorf("request %d: %d", i, w.Code)
			}
		}
	})
}

// The second half of check 3 of the agent's tests: a path of the faults takes
// one request of an address in five seconds, whatever the answer, and has the
// headers of both limits.
func TestStrictFaultsAreLimitedCheck3(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newStrict(t)
		at := "POST /api/" + webEID + "/fault/v1/network-latency/"
		check := func(from, request string, want int) {
			t.Helper()
			w := a.send(a.handler, from, request)
			if w.Code != want {
				t.Errorf("%s: status %d, want %d: %s", request, w.Code, want, w.Body)
			}
			for name, values := range map[string][]string{
				"X-Rate-Limit-Limit": {"40.00", "0.20"}, "X-Rate-Limit-Duration": {"1", "1"}, "X-Rate-Limit-Request-Forwarded-For": {"", ""},
				"X-Rate-Limit-Request-Remote-Addr": {from + ":40000", from + ":40000"},
			} {
				if diff := cmp.Diff(values, w.Header()[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if want == http.StatusTooManyRequests && (w.Body.String() != "You have reached maximum request limit" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8") {
				t.Errorf("%s: %q as %s", request, w.Body, w.Header().Get("Content-Type"))
			}
		}
		check("172.18.0.3", at+"status", 200)
		check("172.18.0.3", at+"status", 429)
		check("172.18.0.3", at+"stop", 200)   // another path
		check("172.18.0.4", at+"status", 200) // another address
		time.Sleep(5*time.Second - time.Millisecond)
		check("172.18.0.3", at+"status", 429)
		time.Sleep(time.Millisecond)
		check("172.18.0.3", at+"status", 200)
		const unknown = "POST /api/nobody/fault/v1/network-latency/status"
		check("172.18.0.3", unknown, 404)
		check("172.18.0.3", unknown, 429)
		check("172.18.0.3", at+"start", 400)
		check("172.18.0.3", at+"start", 429)
		// A wrong method does not get there.
		if w := a.send(a.handler, "", strings.Replace(at, "POST", "GET", 1)+"status"); w.Code != http.StatusMethodNotAllowed || len(w.Header()["X-Rate-Limit-Limit"]) != 1 {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	})
}

// Requests at the same time are counted, all of them. Time stands still
// meanwhile.
func TestStrictRateLimitUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newStrict(t)
		const clients, requests, paths = 16, 25, 4
		var passed [paths]atomic.Int64
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range requests {
					for i := range paths {
						w := a.send(a.handler, "", fmt.Sprintf("GET /v4/%s/associations/t%d", webEID, i))
						switch w.Code {
						case http.StatusOK:
							passed[i].Add(1)
						case http.StatusTooManyRequests:
						default:
							t.Errorf("status %d", w.Code)
						}
					}
				}
			})
		}
		all.Wait()
		for i := range passed {
			if n := passed[i].Load(); n != 60 {
				t.Errorf("path %d: %d requests passed", i, n)
			}
		}
	})
}
