package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"time"
)

// serve stays alive and asks on behalf of the test: GET /fetch?url=… on the
// address given (default :8080) makes this container ask for that URL.
func serve(ctx context.Context, args []string) int {
	addr := ":8080"
	if len(args) > 0 {
		addr = args[0]
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hostname", func(w http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		_, _ = w.Write([]byte(name))
	})
	mux.HandleFunc("GET /fetch", func(w http.ResponseWriter, r *http.Request) {
		method := r.URL.Query().Get("method")
		if method == "" {
			method = http.MethodGet
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(fetch(r.Context(), method, r.URL.Query().Get("url"), nil))
	})
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return complain("serve: %v", err)
	}
	return 0
}

// spin keeps one processor busy, so that there is something to measure.
func spin(ctx context.Context, _ []string) int {
	for i := 0; ; i++ {
		if i%1_000_000 == 0 && ctx.Err() != nil {
			return 0
		}
	}
}
