// Package metadatafile writes the container metadata file of the ECS agent for
// the containers that ask for it with a label: JSON in a directory that
// ecs-local and the container both have mounted.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-metadata.html
package metadatafile

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Name is the file's name within its directory.
const Name = "ecs-container-metadata.json"

// Options are what a Writer needs.
type Options struct {
	// Root is the directory below which all files are written. Empty: none is,
	// and a container that asks for one is told of in the log.
	Root string
	// Host says what the files say about the machine. Nil: nothing.
	Host func() Host
	Log  *slog.Logger
}

// Writer keeps the files of all containers up to date. It is used by one
// goroutine, that of Run.
type Writer struct {
	root  string
	host  func() Host
	log   *slog.Logger
	files map[string]*file  // by directory, relative to root
	told  map[string]string // container id → the last error that was logged
}

// file is a file that was written, or found from a run before.
type file struct {
	container string // id
	content   []byte
}

// New makes a Writer.
func New(o Options) *Writer {
	w := &Writer{root: o.Root, host: o.Host, log: o.Log, files: map[string]*file{}, told: map[string]string{}}
	if w.host == nil {
		w.host = func() Host { return Host{} }
	}
	return w
}

// retryAfter is how long a file that could not be written waits for somebody
// to mend what is wrong.
const retryAfter = 10 * time.Second

// Run writes what current returns, again after each signal on changed, until
// the context ends. The files stay then, as the containers do.
func (w *Writer) Run(ctx context.Context, changed <-chan struct{}, current func() *local.Directory) {
	for {
		var retry <-chan time.Time
		if !w.update(current()) {
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return
		case _, open := <-changed:
			if !open {
				changed = nil
			}
		case <-retry:
		}
	}
}

// update writes and removes what a snapshot asks for. It reports whether all
// of that worked.
func (w *Writer) update(d *local.Directory) bool {
	worked := true
	wanted, known := map[string]local.Caller{}, map[string]bool{}
	for _, c := range d.Containers() {
		who, err := d.Find(local.Caller{}, c.ID)
		if c.Labels[local.LabelMetadataFile] == "" || err != nil || who.Container != c {
			continue
		}
		known[c.ID] = true
		dir, err := w.directory(who)
		if err != nil {
			w.tell(c, err)
			continue
		}
		if rival, ok := wanted[dir]; ok {
			var loser *local.Container
			if who, loser = prefer(who, rival); loser.State.Alive() {
				w.tell(loser, local.Errorf(local.Invalid, "the directory %s is that of container %s too, whose file it has now: give each container a directory of its own",
					loser.Labels[local.LabelMetadataFile], who.Container.DockerName))
			}
		}
		wanted[dir] = who
	}
	for _, dir := range slices.Sorted(maps.Keys(wanted)) {
		who := wanted[dir]
		if err := w.write(d.Instance(), dir, who); err != nil {
			w.tell(who.Container, err)
			worked = false
		}
	}
	for dir, f := range w.files {
		if _, ok := wanted[dir]; ok {
			continue
		}
		w.drop(dir, f)
	}
	maps.DeleteFunc(w.told, func(id, _ string) bool { return !known[id] })
	return worked
}

// prefer says which of two containers has the directory that both ask for: the
// one that lives, or else the younger.
func prefer(a, b local.Caller) (winner local.Caller, loser *local.Container) {
	rank := func(c *local.Container) int {
		switch {
		case c.State.Alive():
			return 2
		case c.State == local.Created:
			return 1
		default:
			return 0
		}
	}
	if cmp.Or(cmp.Compare(rank(a.Container), rank(b.Container)), a.Container.CreatedAt.Compare(b.Container.CreatedAt)) >= 0 {
		return a, b.Container
	}
	return b, a.Container
}

// write brings the file of a container up to date.
func (w *Writer) write(i local.Instance, dir string, who local.Caller) error {
	c, f := who.Container, w.files[dir]
	mine := f != nil && f.container == c.ID
	if mine && !ready(c) {
		return nil // it runs no more, or not again yet: the agent leaves the file alone
	}
	if c.State != local.Created && !c.State.Alive() {
		if f != nil {
			w.drop(dir, f)
		}
		w.adopt(dir, c)
		return nil
	}
	body, err := Render(i, who.Task, c, w.host())
	if err != nil {
		return err
	}
	if mine && bytes.Equal(f.content, body) {
		return nil
	}
	if err := w.replace(dir, body); err != nil {
		return err
	}
	w.files[dir] = &file{container: c.ID, content: body}
	delete(w.told, c.ID)
	return nil
}

// drop removes the file of a container that is gone.
func (w *Writer) drop(dir string, f *file) {
	delete(w.files, dir)
	if err := w.remove(dir, f); err != nil {
		w.log.Warn("the metadata file of a container that is gone cannot be removed", "container", f.container, "directory", dir, "error", err)
	}
}

// tell logs what is wrong with a container's file, once.
func (w *Writer) tell(c *local.Container, err error) {
	if w.told[c.ID] == err.Error() {
		return
	}
	w.told[c.ID] = err.Error()
	w.log.Warn("no container metadata file", "container", c.DockerName, "error", err)
}
