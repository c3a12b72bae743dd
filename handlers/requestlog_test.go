package handlers

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

func TestRequestLinesBeginWithWhatTheyShare(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var heads lineHeads
	line := func(method, route string, who local.Caller) string {
		out.Reset()
		r := httptest.NewRequest(method, "/", nil)
		r.RemoteAddr = "172.18.0.3:40000"
		logRequest(log, &heads, r, record{family: "metadata", route: route, who: who}, http.StatusOK, time.Now(), nil)
		_, text, _ := strings.Cut(strings.TrimSpace(out.String()), "msg=")
		before, after, _ := strings.Cut(text, "duration=")
		_, after, _ = strings.Cut(after, " ")
		return before + after
	}
	web := local.Caller{Container: &local.Container{DockerName: "shop-web-1"}, Task: &local.Task{Name: "shop"}}
	const want = `request family=metadata route=/v4 method=GET container=shop-web-1 task=shop status=200 remote=172.18.0.3:40000`
	for range 3 { // the first makes what the others use
		if got := line(http.MethodGet, "/v4", web); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if got, want := line(http.MethodGet, "/v4", local.Caller{}), `request family=metadata route=/v4 method=GET status=200 remote=172.18.0.3:40000`; got != want {
		t.Errorf("nobody known: got  %s\nwant %s", got, want)
	}
	api := local.Caller{Container: &local.Container{DockerName: "shop-api-1"}, Task: web.Task}
	if got := line(http.MethodGet, "/v4", api); got != strings.Replace(want, "web", "api", 1) {
		t.Errorf("another container: got %s", got)
	}
	for i := range 2 * mostHeads {
		if got := line(fmt.Sprintf("MADE%d", i), "/v4", web); !strings.Contains(got, fmt.Sprintf(" method=MADE%d ", i)) {
			t.Fatalf("a method that the client made up: got %s", got)
		}
	}
	if kept := len(*heads.known.Load()); kept != 3 {
		t.Errorf("%d beginnings are kept, want 3: none of methods that a client made up", kept)
	}
	for i := range 2 * mostHeads {
		route := fmt.Sprintf("/v4/%d", i)
		if got := line(http.MethodGet, route, web); !strings.Contains(got, " route="+route+" ") {
			t.Fatalf("route %s: got %s", route, got)
		}
		if kept := len(*heads.known.Load()); kept > mostHeads {
			t.Fatalf("%d beginnings are kept, want %d at most", kept, mostHeads)
		}
	}
}
