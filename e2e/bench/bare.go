package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// serveBare is what ecs-local is compared with: net/http as it comes, and a
// handler that writes the same header and the same bytes every time.
func serveBare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bare", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "`address` to listen on")
	contentType := flags.String("type", "application/json", "content type of the answer")
	size := flags.Int("size", 0, "bytes of the answer")
	more := map[string][]string{}
	flags.Func("header", "further `line` of the header; may be repeated", func(line string) error {
		name, value, found := strings.Cut(line, ": ")
		if !found {
			return errors.New("want name: value")
		}
		name = http.CanonicalHeaderKey(name)
		more[name] = append(more[name], value)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	body := bytes.Repeat([]byte{'x'}, *size)
	length := strconv.Itoa(*size)
	server := &http.Server{Addr: *listen, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", *contentType)
		w.Header().Set("Content-Length", length)
		for name, values := range more {
			w.Header()[name] = values
		}
		_, _ = w.Write(body) // the client may be gone
	})}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
