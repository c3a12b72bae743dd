package handlers

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local/metadata"
)

// reached is what a handler gets to see of a route.
type reached struct {
	Pattern  string
	ID, Rest string // variables
}

// Every path of up to five parts that routes are made of, and some that they
// are not: what the table finds is what the router would.
func TestDirectFindsWhatTheRouterFinds(t *testing.T) {
	t.Parallel()
	s := &server{runtime: oneContainer{}, documents: &documents{renderer: metadata.New(metadata.Options{})}, log: slog.New(slog.DiscardHandler)}
	of := func(r *http.Request) reached {
		id, _ := variable(r, "id")
		got := reached{Pattern: routeOf(r), ID: id}
		for _, name := range []string{"member", "role", "arn"} {
			if rest, ok := variable(r, name); ok {
				got.Rest = rest
			}
		}
		return got
	}
	var got reached
	router := s.ecsRouter()
	note := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = of(r) })
	if err := router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		route.Handler(note)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	router.NotFoundHandler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got = reached{Pattern: "none"} })
	ask := func(h http.Handler, path string) reached {
		got = reached{}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path}
		h.ServeHTTP(nil, r)
		return got
	}
	fast := direct(router)
	table := newTable(router)
	parts := []string{
		"v1", "v2", "v3", "v4", "api", "role", "creds", "containers", "credentials", "metadata", "stats", "task", "taskWithTags",
		"associations", "gpu", "fault", "network-latency", "start", "task-protection", "state", "x", "{id}", "{}", "{.}", "a b", "é",
	}
	paths, found := 0, 0
	var try func(path string, deep int)
	try = func(path string, deep int) {
		paths++
		if table.find(path) != nil {
			found++
		}
		if diff := cmp.Diff(ask(router, path), ask(fast, path)); diff != "" {
			t.Fatalf("%s (-router +table):\n%s", path, diff)
		}
		if deep == 0 {
			return
		}
		for _, part := range parts {
			try(path+"/"+part, deep-1)
		}
	}
	for _, first := range []string{"v2", "v3", "v4", "api", "role", "role-arn", "x"} {
		try("/"+first, 3)
	}
	for _, path := range []string{
		"", "/", "*", "v4", "/creds", "/role/", "/v4//task", "/v4/x//task", "/api/x/fault/v1/network-latency/start",
		"/api/containers/x/fault/v1/network-latency/start", "/api/fault/v1/network-latency/start", "/api/x/task-protection/v1/state",
		"/api/containers/x/task-protection/v1/state", "/v4/containers/x/task/stats", "/v4/containers/x/associations/gpu/y",
		"/v4/containers/containers/task/stats", "/role-arn/arn:aws:iam::111122223333:role/team/app", "/v2/credentials/a/b/c/d",
	} {
		try(path, 0)
	}
	if found == 0 || paths < 100_000 {
		t.Errorf("the table had %d of %d paths", found, paths)
	}
}
