package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/config"
	"github.com/ecs-local/ecs-local/local/docker"
)

// The kinds of runtime.
const (
	runtimeAuto   = "auto"
	runtimeDocker = "docker"
	runtimeStatic = "static"
)

// defaultSocket is where the Docker engine listens unless DOCKER_HOST says otherwise.
const defaultSocket = "/var/run/docker.sock"

// source is where the containers come from, and what keeps it up to date.
type source struct {
	handlers.Runtime
	kind string
	run  func(context.Context) error
	// apply takes over a new configuration.
	apply func(loaded)
	// changes tells when the containers may be others than before.
	changes *changes
}

// changes tells those who want to know that something has changed. Many
// changes in a row are one to somebody who is busy.
type changes struct {
	mu          sync.Mutex
	subscribers []chan struct{}
}

// subscribe returns a channel that holds a value when something has changed
// since the last one was taken.
func (c *changes) subscribe() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := make(chan struct{}, 1)
	c.subscribers = append(c.subscribers, changed)
	return changed
}

func (c *changes) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, changed := range c.subscribers {
		select {
		case changed <- struct{}{}:
		default: // one waits there already
		}
	}
}

// newSource makes the source that --runtime names.
func newSource(ctx context.Context, kind string, in inherited, s *settings, log *slog.Logger) (*source, error) {
	if kind == runtimeAuto {
		kind = runtimeDocker
		if socket := socketPath(in.dockerHost); socket != "" && missing(socket) {
			log.Warn("no Docker socket: serving static tasks", slog.String("socket", socket),
				slog.String("next", "mount the socket, or set DOCKER_HOST, to serve the containers of a Docker engine"))
			kind = runtimeStatic
		}
	}
	if kind == runtimeStatic {
		return newStatic(s), nil
	}
	changed := &changes{}
	client, err := docker.New(docker.Options{Host: in.dockerHost, TLS: in.dockerTLS, Facts: s.current().facts, Changed: changed.notify, Log: log})
	if err != nil {
		return nil, misuse{err}
	}
	if err := client.Ping(ctx); err != nil {
		if strings.Contains(local.MessageOf(err), "--runtime static") {
			return nil, err
		}
		return nil, fmt.Errorf("%w\nTo go on without Docker, use --runtime static", err)
	}
	return &source{
		Runtime: client,
		kind:    runtimeDocker,
		run:     client.Run,
		apply:   func(l loaded) { client.SetFacts(l.facts); changed.notify() },
		changes: changed,
	}, nil
}

// socketPath returns the path of the socket, or "" when the engine is reached
// in another way.
func socketPath(dockerHost string) string {
	if dockerHost == "" {
		return defaultSocket
	}
	path, ok := strings.CutPrefix(dockerHost, "unix://")
	if !ok {
		return ""
	}
	return path
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// static is the runtime whose tasks come from the configuration.
type static struct {
	dir     atomic.Pointer[local.Directory]
	started time.Time
}

func newStatic(s *settings) *source {
	st := &static{started: time.Now().UTC()}
	st.apply(s.current())
	changed := &changes{}
	return &source{
		Runtime: st,
		kind:    runtimeStatic,
		run:     func(ctx context.Context) error { <-ctx.Done(); return nil },
		apply:   func(l loaded) { st.apply(l); changed.notify() },
		changes: changed,
	}
}

func (s *static) apply(l loaded) {
	file := l.file
	if file == nil {
		file = &config.File{}
	}
	s.dir.Store(local.NewDirectory(file.Containers(s.started), "", l.facts).Static())
}

func (s *static) Current() (*local.Directory, bool) { return s.dir.Load(), true }
func (s *static) Refresh(context.Context, func(*local.Directory) bool) (*local.Directory, error) {
	return s.dir.Load(), nil
}
func (s *static) Stats(context.Context, []*local.Container) map[string]*local.Stats { return nil }
func (s *static) Status() error                                                     { return nil }
