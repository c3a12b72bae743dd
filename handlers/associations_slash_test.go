package handlers

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// oneContainer is a runtime with one container.
type oneContainer struct{}

const (
	oneID      = "3c9410a72ad74e334b9687c3223c01e221de858fc67f7205c85a0b5bfa5ca3fa"
	oneAddress = "172.18.0.3"
)

func (oneContainer) Current() (*local.Directory, bool) {
	return local.NewDirectory([]*local.Container{{
		ID: oneID, EndpointID: "web", Name: "web", Project: "shop", State: local.Running,
		Networks: []local.Network{{Name: "shop", IPv4: netip.MustParseAddr(oneAddress)}},
	}}, "", local.Facts{}), true
}

func (c oneContainer) Refresh(context.Context, func(*local.Directory) bool) (*local.Directory, error) {
	dir, _ := c.Current()
	return dir, nil
}

func (oneContainer) Stats(context.Context, []*local.Container) map[string]*local.Stats { return nil }
func (oneContainer) Status() error                                                     { return nil }

// Check 15 of the agent's own: a path that ends in a slash lacks the name of
// the association, or is that of an empty type. Usually the slash is taken
// away; the routes know what it means where it is not.
func TestAssociationWithoutAName(t *testing.T) {
	t.Parallel()
	s := &server{runtime: oneContainer{}, documents: &documents{renderer: metadata.New(metadata.Options{})}, log: slog.New(slog.DiscardHandler)}
	h := direct(s.ecsRouter())
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/v3/web/associations/gpu/": {http.StatusBadRequest, `"V3 container associations handler: unable to get association name from request"`},
		"/v4/web/associations/gpu/": {http.StatusBadRequest, `"V4 container associations handler: unable to get association name from request"`},
		"/v4/web/associations/":     {http.StatusOK, `{"Associations":null}`},
		"/v4/nobody/associations/gpu/": {
			http.StatusBadRequest,
			`"V4 container associations handler: unable to get task arn from request: unable to get task Arn from v3 endpoint ID: nobody"`,
		},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr = oneAddress + ":40000"
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			body, err := io.ReadAll(w.Result().Body)
			if err != nil {
				t.Fatal(err)
			}
			if w.Code != want.status || string(body) != want.body {
				t.Errorf("got %d %s, want %d %s", w.Code, body, want.status, want.body)
			}
		})
	}
}
