package config

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How changes are gathered. An editor writes a file in several steps, so the
// file is looked at once nothing has happened for quiet, and while things keep
// happening at the latest after busy. Some file systems, such as those that
// share a laptop's folders with a virtual machine, report nothing: poll is
// how often the file is looked at without being told.
const (
	quiet = 250 * time.Millisecond
	busy  = 2 * time.Second
	poll  = 5 * time.Second
)

// Watcher watches one file. Beside the file itself, which is what a bind mount
// of a single file shares with the host, it watches the folder where another
// file can take its place, and that of the file a symbolic link leads to, as
// Kubernetes makes them.
type Watcher struct {
	path    string
	notify  *fsnotify.Watcher
	poll    time.Duration
	content []byte // nil while the file cannot be read
}

// NewWatcher starts watching the file at path: what changes from here on is
// seen, so it comes before the file is loaded. The error says why the file
// cannot be watched. Run ends the watcher, and so does Close.
func NewWatcher(path string) (*Watcher, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("watch configuration: %w", err)
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch configuration: %w", err)
	}
	w := &Watcher{path: path, notify: notify, poll: poll}
	if err := notify.Add(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("watch configuration: %w", closing(notify, err))
	}
	w.follow()
	w.content = w.read()
	return w, nil
}

// closing closes the watcher and returns the error that made it useless.
func closing(notify *fsnotify.Watcher, err error) error {
	notify.Close()
	return err
}

// follow watches the file and the folder that the path leads to now, which a
// swapped link changes, and leaves what it led to before. What cannot be
// watched is still polled.
func (w *Watcher) follow() {
	want := []string{filepath.Dir(w.path)}
	if target, err := filepath.EvalSymlinks(w.path); err == nil {
		want = append(want, target, filepath.Dir(target))
	}
	for _, old := range w.notify.WatchList() {
		if !slices.Contains(want, old) {
			_ = w.notify.Remove(old) // gone already when its folder is
		}
	}
	for _, name := range want {
		_ = w.notify.Add(name)
	}
}

// read returns the content, or nil when there is none to be had.
func (w *Watcher) read() []byte {
	data, err := os.ReadFile(w.path)
	if err != nil {
		return nil
	}
	if data == nil {
		data = []byte{}
	}
	return data
}

// look reports whether the content is another one than at the last look.
func (w *Watcher) look() bool {
	w.follow()
	now := w.read()
	same := bytes.Equal(now, w.content) && (now == nil) == (w.content == nil)
	w.content = now
	return !same
}

// Run calls changed, one call at a time, each time the content of the file has
// changed, or it has gone or come back, until the context ends.
func (w *Watcher) Run(ctx context.Context, log *slog.Logger, changed func()) {
	defer w.Close()
	gather(ctx, w.notify.Events, w.notify.Errors, w.poll, log, func() {
		if w.look() {
			changed()
		}
	})
}

// Close ends a watcher that does not run.
func (w *Watcher) Close() { w.notify.Close() }

// gather calls look after events, and from time to time without any. An error
// means that events were lost, so it counts as one.
func gather(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, poll time.Duration, log *slog.Logger, look func()) {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	var since time.Time // of the first event that was not looked into; zero without one
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-errs:
			log.Warn("watching the configuration file missed events", "error", err)
		case <-events:
		case <-timer.C:
			since = time.Time{}
			look()
			timer.Reset(poll)
			continue
		}
		if since.IsZero() {
			since = time.Now()
		}
		timer.Reset(min(quiet, time.Until(since.Add(busy))))
	}
}
