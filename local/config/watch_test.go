package config

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Each step changes the file in a way that occurs; each must be seen.
func TestWatch(t *testing.T) {
	t.Parallel()
	type step struct {
		name string
		do   func(folder string) error
		want string // content; gone when there is no file
	}
	const gone = "no file"
	write := func(name, text string) func(string) error {
		return func(folder string) error { return os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600) }
	}
	replace := func(name, text string) func(string) error {
		return func(folder string) error {
			temporary := filepath.Join(folder, name+".new")
			return errors.Join(os.WriteFile(temporary, []byte(text), 0o600), os.Rename(temporary, filepath.Join(folder, name)))
		}
	}
	remove := func(name string) func(string) error {
		return func(folder string) error { return os.Remove(filepath.Join(folder, name)) }
	}
	makeFolder := func(name, text string) func(string) error {
		return func(folder string) error {
			return errors.Join(os.Mkdir(filepath.Join(folder, name), 0o700), write(filepath.Join(name, "ecs-local.yaml"), text)(folder))
		}
	}
	link := func(target, name string) func(string) error {
		return func(folder string) error {
			temporary := filepath.Join(folder, "link.new")
			return errors.Join(os.Symlink(target, temporary), os.Rename(temporary, filepath.Join(folder, name)))
		}
	}
	for _, test := range []struct {
		name    string
		prepare []func(string) error
		steps   []step
	}{
		{
			name:    "a plain file",
			prepare: []func(string) error{write("ecs-local.yaml", "cluster: a")},
			steps: []step{
				{"written", write("ecs-local.yaml", "cluster: b"), "cluster: b"},
				{"replaced by another", replace("ecs-local.yaml", "cluster: c"), "cluster: c"},
				{"replaced again", replace("ecs-local.yaml", "cluster: d"), "cluster: d"},
				{"written after that", write("ecs-local.yaml", "cluster: e"), "cluster: e"},
				{"removed", remove("ecs-local.yaml"), gone},
				{"there again", write("ecs-local.yaml", "cluster: e"), "cluster: e"},
				{"emptied", write("ecs-local.yaml", ""), ""},
			},
		},
		{
			name: "links that are swapped, as Kubernetes does for a ConfigMap",
			prepare: []func(string) error{
				makeFolder("..1", "cluster: a"), makeFolder("..2", "cluster: b"), makeFolder("..3", "cluster: c"),
				link("..1", "..data"), link("..data/ecs-local.yaml", "ecs-local.yaml"),
			},
			steps: []step{
				{"swapped", link("..2", "..data"), "cluster: b"},
				{"swapped again", link("..3", "..data"), "cluster: c"},
			},
		},
		{
			name: "a link into another folder",
			prepare: []func(string) error{
				makeFolder("dotfiles", "cluster: a"), link("dotfiles/ecs-local.yaml", "ecs-local.yaml"),
			},
			steps: []step{
				{"written there", write("dotfiles/ecs-local.yaml", "cluster: b"), "cluster: b"},
				{"replaced there", replace("dotfiles/ecs-local.yaml", "cluster: c"), "cluster: c"},
				{"written there again", write("dotfiles/ecs-local.yaml", "cluster: d"), "cluster: d"},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for _, do := range test.prepare {
				if err := do(folder); err != nil {
					t.Fatal(err)
				}
			}
			w, err := NewWatcher(filepath.Join(folder, "ecs-local.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			// Looking from time to time finds everything; what is tested here is
			// that nobody has to wait for it.
			w.poll = time.Hour
			changes := make(chan string, 100)
			var wait sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			wait.Go(func() {
				w.Run(ctx, slog.New(slog.DiscardHandler), func() {
					content := string(w.content)
					if w.content == nil {
						content = gone
					}
					changes <- content
				})
			})
			last := "cluster: a"
			for _, step := range test.steps {
				if err := step.do(folder); err != nil {
					t.Fatal(err)
				}
				// A file that is written is empty first, and a busy machine may
				// leave it so for long enough to be seen.
				for last != step.want {
					select {
					case got := <-changes:
						if got == last || got != step.want && got != "" {
							t.Errorf("%s: a change from %q to %q", step.name, last, got)
						}
						last = got
					case <-time.After(time.Minute):
						t.Fatalf("%s: not seen", step.name)
					}
				}
			}
			cancel()
			wait.Wait()
			if len(changes) != 0 {
				t.Errorf("got %d calls too many", len(changes))
			}
			if left := w.notify.WatchList(); len(left) != 0 {
				t.Errorf("after its end the watcher still watches %v", left)
			}
		})
	}
}

func TestWatchOfWhatCannotBeWatched(t *testing.T) {
	t.Parallel()
	_, err := NewWatcher(filepath.Join(t.TempDir(), "none", "ecs-local.yaml"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want an error that says that the folder does not exist", err)
	}
}

// The times at which gather looks, in milliseconds since its start.
func TestGather(t *testing.T) {
	t.Parallel()
	every := func(apart, count int) (at []int) {
		for i := range count {
			at = append(at, 1000+i*apart)
		}
		return at
	}
	for _, test := range []struct {
		name   string
		events []int
		until  int
		want   []int
	}{
		{"one event", []int{1000}, 3000, []int{1250}},
		{"events close together count as one", []int{1000, 1200, 1400}, 3000, []int{1650}},
		{"events apart count each", []int{1000, 1500}, 3000, []int{1250, 1750}},
		{"events without end wait two seconds", every(100, 35), 6000, []int{3000, 4650}},
		{"no event", nil, 11000, []int{5000, 10000}},
		{"an event, then none", []int{1000}, 7000, []int{1250, 6250}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				events := make(chan fsnotify.Event)
				start := time.Now()
				var got []int
				var wait sync.WaitGroup
				wait.Go(func() {
					gather(ctx, events, nil, poll, slog.New(slog.DiscardHandler), func() {
						got = append(got, int(time.Since(start).Milliseconds()))
					})
				})
				for _, at := range test.events {
					time.Sleep(time.Until(start.Add(time.Duration(at) * time.Millisecond)))
					events <- fsnotify.Event{}
				}
				time.Sleep(time.Until(start.Add(time.Duration(test.until) * time.Millisecond)))
				cancel()
				wait.Wait()
				if len(got) != len(test.want) {
					t.Fatalf("looked at %v, want %v", got, test.want)
				}
				for i := range got {
					if got[i] != test.want[i] {
						t.Fatalf("looked at %v, want %v", got, test.want)
					}
				}
			})
		})
	}
}

// Lost events must lead to a look too.
func TestGatherAfterAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		looked := make(chan struct{}, 1)
		var wait sync.WaitGroup
		wait.Go(func() { gather(ctx, nil, errs, poll, slog.New(slog.DiscardHandler), func() { looked <- struct{}{} }) })
		errs <- fsnotify.ErrEventOverflow
		time.Sleep(quiet)
		synctest.Wait()
		if len(looked) != 1 {
			t.Error("an overflow was not followed by a look")
		}
		cancel()
		wait.Wait()
	})
}
