package handlers

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local/metadata"
)

// docs/endpoints.md lists exactly the paths that are routed.
func TestEveryRouteIsDocumented(t *testing.T) {
	t.Parallel()
	documented := documentedPaths(t, "../docs/endpoints.md", "### Where this differs from the ECS agent")
	s := &server{documents: &documents{renderer: metadata.New(metadata.Options{})}}
	routed := routedPaths(t, s.ecsRouter(), (&control{server: s}).router(), (&introspection{server: s}).router())
	for pattern, sample := range map[string][2]string{
		"/":                           {"/", "versions"},
		"/{version}":                  {"/2021-03-23/", "versions"},
		"/latest/api/token":           {"/latest/api/token/", "token"},
		"/{version}/meta-data/{path}": {"/latest/meta-data/services/domain", "meta-data"},
		"/{version}/dynamic/{path}":   {"//latest/./dynamic/instance-identity", "dynamic"},
		"/{version}/user-data":        {"/1.0/user-data", "user-data"},
	} {
		r := &http.Request{URL: &url.URL{Path: sample[0]}}
		if route := routeOfInstance(r); !ofInstance(r) || route != sample[1] {
			t.Errorf("%s goes to %q, want %q", sample[0], route, sample[1])
		}
		routed = append(routed, pattern)
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if diff := cmp.Diff(slices.Compact(routed), slices.Compact(documented)); diff != "" {
		t.Errorf("routes and docs/endpoints.md differ (-routed +documented):\n%s", diff)
	}
}

// docs/strict.md lists exactly the paths of strict mode. There the id of a
// container is {eid} in v3, v4 and /api, and {cid} in v2.
func TestEveryStrictRouteIsDocumented(t *testing.T) {
	t.Parallel()
	documented := documentedPaths(t, "../docs/strict.md", "## What is different")
	s := &server{documents: &documents{renderer: metadata.New(metadata.Options{})}, strict: true}
	routed := routedPaths(t, s.strictRouter())
	for i, path := range routed {
		path = strings.Replace(path, "{member}", "{cid}", 1)
		if !strings.HasPrefix(path, "/v2/") {
			path = strings.Replace(path, "{id}", "{eid}", 1)
		}
		routed[i] = path
	}
	slices.Sort(routed)
	slices.Sort(documented)
	if diff := cmp.Diff(slices.Compact(routed), slices.Compact(documented)); diff != "" {
		t.Errorf("routes and docs/strict.md differ (-routed +documented):\n%s", diff)
	}
}

// documentedPaths returns the paths in the first column of a page's tables,
// but for those below one heading.
func documentedPaths(t *testing.T, page, except string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	path := regexp.MustCompile("`(/[^`]*)`")
	heading := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			heading = strings.TrimSpace(line)
		}
		cells := strings.Split(line, "|")
		if len(cells) < 3 || heading == except {
			continue
		}
		for _, found := range path.FindAllStringSubmatch(cells[1], -1) {
			documented = append(documented, found[1])
		}
	}
	return documented
}

// routedPaths returns the paths of routers, without the patterns of variables.
func routedPaths(t *testing.T, routers ...*mux.Router) []string {
	t.Helper()
	var routed []string
	for _, router := range routers {
		err := router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
			path, err := route.GetPathTemplate()
			routed = append(routed, regexp.MustCompile(`:[^}]*}`).ReplaceAllString(path, "}"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return routed
}
