package cli

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/config"
	"github.com/ecs-local/ecs-local/local/imds"
)

// settings is the configuration file in force. It changes while the program
// runs; what is loaded never does.
type settings struct {
	path string // empty without a file
	// watcher is nil without a file, or when it cannot be watched: unwatched.
	watcher   *config.Watcher
	unwatched error
	base      local.Facts // from the environment; wins over the file
	tokens    string      // --imds-tokens; wins over the file; empty: not said
	now       atomic.Pointer[loaded]
	// refused is why the newest version of the file is not in force.
	refused atomic.Pointer[error]
}

// loaded is one version of the configuration.
type loaded struct {
	file  *config.File // nil without a file
	facts local.Facts
	imds  imds.Config
	at    time.Time
}

// roles are the options of the sessions of roles.
func (l loaded) roles() map[string]local.SessionOptions {
	if l.file == nil {
		return nil
	}
	return l.file.Roles
}

// loadSettings reads the file, which is watched from before that: no change is
// missed. close ends it.
func loadSettings(path string, base local.Facts, tokens string) (*settings, error) {
	s := &settings{path: path, base: base, tokens: tokens}
	if path != "" {
		s.watcher, s.unwatched = config.NewWatcher(path)
	}
	if err := s.load(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *settings) close() {
	if s.watcher != nil {
		s.watcher.Close()
	}
}

// load reads the file. On an error what was in force stays in force.
func (s *settings) load() error {
	next, err := s.read()
	if err != nil {
		s.refused.Store(&err)
		return err
	}
	s.refused.Store(nil)
	s.now.Store(next)
	return nil
}

func (s *settings) read() (*loaded, error) {
	next := &loaded{at: time.Now().UTC()}
	understand := func(f *config.File) []config.Problem {
		var problems imds.Problems
		next.facts = f.Facts(s.base)
		next.imds, problems = instanceConfig(filepath.Dir(s.path), f.IMDS, next.facts)
		return placed(f.IMDS, problems)
	}
	if s.path == "" {
		understand(&config.File{})
	} else {
		var err error
		if next.file, err = config.Load(s.path, understand); err != nil {
			return nil, err
		}
	}
	next.imds.Options.HTTPTokens = cmp.Or(s.tokens, next.imds.Options.HTTPTokens)
	return next, nil
}

func (s *settings) current() loaded { return *s.now.Load() }

// status is what GET /v1/status says of the file; nil without one.
func (s *settings) status() *handlers.ConfigStatus {
	if s.path == "" {
		return nil
	}
	status := &handlers.ConfigStatus{File: s.path, Loaded: s.current().at}
	if refused := s.refused.Load(); refused != nil {
		status.Error = (*refused).Error()
	}
	return status
}

// hangups delivers SIGHUP from now on, until stop is called.
func hangups() (hangup <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals, func() { signal.Stop(signals) }
}

// watch loads the file again when it changes and at a hangup, and hands every
// version that is in order to apply.
func (s *settings) watch(ctx context.Context, hangup <-chan os.Signal, log *slog.Logger, apply func(loaded)) error {
	changed := make(chan struct{}, 1)
	if s.watcher != nil {
		go s.watcher.Run(ctx, log, func() {
			select {
			case changed <- struct{}{}:
			default: // one is under way already
			}
		})
	} else if s.unwatched != nil {
		log.Warn("the configuration file is not watched: send SIGHUP after a change", slog.String("error", s.unwatched.Error()))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
		case <-changed:
		}
		if err := s.load(); err != nil {
			log.Error("configuration refused; the old one stays in force", slog.String("error", err.Error()))
			continue
		}
		apply(s.current())
		log.Info("configuration loaded", slog.String("file", s.path))
	}
}
