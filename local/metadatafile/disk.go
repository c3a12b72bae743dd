package metadatafile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ecs-local/ecs-local/local"
)

// directory returns the directory that the container's label names, relative
// to the root.
func (w *Writer) directory(who local.Caller) (string, error) {
	asked := who.Container.Labels[local.LabelMetadataFile]
	switch {
	case who.Task.LaunchType == local.LaunchFargate:
		return "", local.Errorf(local.Invalid, "there is no container metadata file on Fargate: remove the label %s, or the launch type", local.LabelMetadataFile)
	case w.root == "":
		return "", local.Errorf(local.Invalid, "the label %s asks for a file in %s, and no directory is set for such files: start ecs-local with --metadata-file-root, naming the directory above",
			local.LabelMetadataFile, asked)
	case !filepath.IsAbs(asked):
		return "", local.Errorf(local.Invalid, "the label %s is %q, which is no absolute path: give one below %s, as ecs-local sees it", local.LabelMetadataFile, asked, w.root)
	}
	dir, err := filepath.Rel(w.root, filepath.Clean(asked))
	if err != nil || !filepath.IsLocal(dir) {
		return "", local.Errorf(local.Invalid, "the label %s is %q, which is not below %s: give a path in there, as ecs-local sees it", local.LabelMetadataFile, asked, w.root)
	}
	return dir, nil
}

// open opens a directory below the root, where no symbolic link leads out of
// the root.
func (w *Writer) open(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(w.root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenRoot(dir)
}

// temporary is the name under which a file is written before it takes the
// place of the one before.
const temporary = "." + Name + ".new"

// replace writes the file, in one step for whoever reads it. A directory that
// is missing is made.
func (w *Writer) replace(dir string, body []byte) error {
	if err := replace(w.root, dir, body); err != nil {
		return w.explain(dir, err)
	}
	return nil
}

func replace(below, dir string, body []byte) error {
	root, err := os.OpenRoot(below)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	in, err := root.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := in.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := in.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Chmod(0o644), f.Close()) // whatever the umask is
	if err == nil {
		err = in.Rename(temporary, Name)
	}
	if err != nil {
		return errors.Join(err, in.Remove(temporary))
	}
	return nil
}

// explain says what to do about a directory that cannot be written to.
func (w *Writer) explain(dir string, err error) error {
	next := "cannot be written to: see that it is a directory below " + w.root + " and that no symbolic link leads out of there"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		next = fmt.Sprintf("cannot be written to, because %s does not exist: mount a directory or a volume there", w.root)
	case errors.Is(err, fs.ErrPermission):
		next = fmt.Sprintf("may not be written to by user %d: give it to that user with chown, or run ecs-local as its owner", os.Getuid())
	case errors.Is(err, syscall.EROFS):
		next = "is mounted read-only: mount it without ro"
	}
	return &local.Error{Code: local.Unavailable, Msg: filepath.Join(w.root, dir) + " " + next, Err: err}
}

// adopt takes over the file that a run before wrote for a container which has
// ended since, so that it is removed with the container. There may be none.
func (w *Writer) adopt(dir string, c *local.Container) {
	in, err := w.open(dir)
	if err != nil {
		return
	}
	defer in.Close()
	body, err := read(in)
	if err != nil {
		return
	}
	var found content
	if json.Unmarshal(body, &found) == nil && found.ContainerID == c.ID {
		w.files[dir] = &file{container: c.ID, content: body}
	}
}

// remove removes a file that is still as it was written.
func (w *Writer) remove(dir string, f *file) error {
	in, err := w.open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer in.Close()
	body, err := read(in)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read file: %w", err)
	}
	if !bytes.Equal(body, f.content) {
		return nil // somebody else's by now
	}
	if err := in.Remove(Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove file: %w", err)
	}
	return nil
}

// read reads the file of a directory that a container may write to: whatever
// else than a file of ours stands there, it ends.
func read(in *os.Root) ([]byte, error) {
	f, err := in.OpenFile(Name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("this is no regular file"))
	}
	const most = 1 << 20
	return io.ReadAll(io.LimitReader(f, most))
}
