package handlers_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// discard is a response writer that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkHandler is the cost of one request without the network: who is
// calling, what do they get, how is it written, and the log line.
func BenchmarkHandler(b *testing.B) {
	f := &runtimeFake{}
	f.dir.Store(local.NewDirectory(containers(), selfID, local.Facts{}))
	h := handlers.New(handlers.Deps{
		Runtime: f, Credentials: &credentialsFake{}, Documents: metadata.New(metadata.Options{}),
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: io.Discard}, nil)),
	})
	for _, path := range []string{"/v4", "/v4/task", "/v3/" + local.EndpointID(webID), "/v4/" + local.EndpointID(webID) + "/task", "/v4/containers/" + webID, "/v4/containers/" + webID + "/task", "/role/x", "/creds"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.RemoteAddr, r.Host = "172.18.0.3:40000", local.ECSAddress
				h.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
	b.Run("nothing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := httptest.NewRequest(http.MethodGet, "/v4", nil)
			r.RemoteAddr, r.Host = "172.18.0.3:40000", local.ECSAddress
			_ = discard{http.Header{}}
		}
	})
}
