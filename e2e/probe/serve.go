package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"
)

// serve stays alive and takes orders on the address given (default :8080).
// GET /fetch?url=… makes this container ask for that URL, by the method and
// with each header ("Name: value") of the query. GET /sdk shows what the AWS
// SDK of this process holds; with refresh=true it gets it anew first. More
// orders are in network.go.
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
		header := http.Header{}
		for _, line := range r.URL.Query()["header"] {
			name, value, _ := strings.Cut(line, ":")
			header.Add(name, strings.TrimSpace(value))
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(fetch(r.Context(), method, r.URL.Query().Get("url"), header))
	})
	mux.HandleFunc("GET /sdk", holding())
	orders(mux)
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
