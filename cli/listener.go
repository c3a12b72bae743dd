package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
)

// Limits of every listener. The agent allows a request five seconds; an
// answer may have to wait for STS, which gets ten.
const (
	readTimeout     = 5 * time.Second
	writeTimeout    = 15 * time.Second
	idleTimeout     = 2 * time.Minute
	maxHeaderBytes  = 16 << 10
	maxBodyBytes    = 64 << 10
	shutdownTimeout = 5 * time.Second
)

// server is one listener and what it serves.
type server struct {
	name     string
	flag     string // the flag that sets its address
	address  string
	handler  http.Handler
	tls      *tls.Config // nil: plain HTTP
	listener net.Listener
	http     *http.Server

	writeTimeout time.Duration // how long an answer may take; 0: as usual
}

// listen opens the port, so that a busy one is an error at the start.
func (s *server) listen(containers handlers.Runtime, log *slog.Logger) error {
	if s.address == "" { // which would be any port, on every interface
		return misuse{fmt.Errorf("%s is empty: give a host and a port, such as 127.0.0.1:51679", s.flag)}
	}
	listener, err := net.Listen("tcp", s.address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: the port is in use, perhaps by another ecs-local: end that program, or choose another address with %s", s.address, s.flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: this machine does not have that address: choose another with %s", s.address, s.flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listen on %s: not allowed for this user: choose a port above 1023 with %s", s.address, s.flag)
	case err != nil:
		return misuse{fmt.Errorf("listen on %q (%s): %w: give a host and a port, such as 127.0.0.1:8080 or [::1]:8080, or :8080 for every interface", s.address, s.flag, err)}
	}
	s.prepare(log)
	s.listener = handlers.LogUnread(s.http, listener, s.name, containers, log)
	return nil
}

// prepare makes what serves, with its limits.
func (s *server) prepare(log *slog.Logger) {
	s.http = &http.Server{
		Handler:           limitBody(s.handler),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      cmp.Or(s.writeTimeout, writeTimeout),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       handlers.ConnContext,
		TLSConfig:         s.tls,
		// "OPTIONS *" is the handler's to answer.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// url is where the server is, seen from this machine.
func (s *server) url() string {
	scheme := "http://"
	if s.tls != nil {
		scheme = "https://"
	}
	return scheme + dialable(s.listener.Addr().String())
}

// serve answers until the context ends, and then finishes what is under way.
func (s *server) serve(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err := s.http.Shutdown(last)
		if err != nil {
			err = s.http.Close()
		}
		stopped <- err
	}()
	if err := s.answer(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.name, err)
	}
	return <-stopped
}

// answer serves until the server is shut down.
func (s *server) answer() error {
	if s.tls != nil {
		return s.http.ServeTLS(s.listener, "", "")
	}
	return s.http.Serve(s.listener)
}

// limitBody is http.MaxBytesHandler for the few requests that have a body.
func limitBody(next http.Handler) http.Handler {
	limited := http.MaxBytesHandler(next, maxBodyBytes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		limited.ServeHTTP(w, r)
	})
}
