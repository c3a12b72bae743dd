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
	text, err := os.ReadFile("../docs/endpoints.md")
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
		if len(cells) < 3 || heading == "### Where this differs from the ECS agent" {
			continue
		}
		for _, found := range path.FindAllStringSubmatch(cells[1], -1) {
			documented = append(documented, found[1])
		}
	}

	s := &server{documents: &documents{renderer: metadata.New(metadata.Options{})}}
	var routed []string
	for _, router := range []*mux.Router{s.ecsRouter(), (&control{server: s}).router(), (&introspection{server: s}).router()} {
		err := router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
			path, err := route.GetPathTemplate()
			routed = append(routed, regexp.MustCompile(`:[^}]*}`).ReplaceAllString(path, "}"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
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
