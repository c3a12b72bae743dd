package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/ecs-local/ecs-local/local/authority"
	"github.com/ecs-local/ecs-local/local/imds"
)

// state is the directory for what has to be the same after a restart. Only its
// owner can read it. Without a directory, everything is made anew each time.
type state struct{ dir string }

// The files in it.
const (
	identityFile = "instance-identity.pem"
	secretFile   = "task-credentials.key"
	// authorityFile has the certificate authority with its key;
	// authorityCertificateFile, for clients, only the certificate.
	authorityFile            = "tls-authority.key.pem"
	authorityCertificateFile = "tls-authority.pem"
	lockFile                 = ".lock" // held while keys are made
)

const (
	// lockTimeout is long enough for keys to be made on a slow machine.
	lockTimeout = 20 * time.Second
	lockPoll    = 10 * time.Millisecond
)

// openState opens the directory that --state-dir names, which must be usable,
// or the user's own, if it is.
func openState(dir string, log *slog.Logger) (state, error) {
	if dir != "" {
		if err := usable(dir); err != nil {
			return state{}, misuse{fmt.Errorf("the state directory cannot be used: %w: choose another with --state-dir", err)}
		}
		state{dir}.warn(log)
		return state{dir}, nil
	}
	dir, err := userStateDir()
	if err == nil {
		err = usable(dir)
	}
	if err != nil {
		log.Info("no state directory: ids of task credentials and the instance's certificates are others after a restart",
			slog.String("reason", err.Error()), slog.String("next", "name a directory with --state-dir to keep them"))
		return state{}, nil
	}
	state{dir}.warn(log)
	return state{dir}, nil
}

// userStateDir returns the directory of this user for ecs-local.
// https://specifications.freedesktop.org/basedir-spec/latest/
func userStateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ecs-local"), nil
	}
	if runtime.GOOS == "windows" {
		dir, err := os.UserCacheDir()
		return filepath.Join(dir, "ecs-local"), err
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "ecs-local"), err
}

// usable makes the directory if it is missing and tries to write there.
func usable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// mostState is more than any file of the state has.
const mostState = 1 << 20

// read returns the content of a file; nil when there is none. What somebody
// else may have put there is refused: who knows the keys can pretend to be
// ecs-local.
func (s state) read(name string) ([]byte, error) {
	if s.dir == "" {
		return nil, nil
	}
	path := filepath.Join(s.dir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for a writer
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, misuse{fmt.Errorf("%s is no regular file: remove it, and a new one is made", path)}
	}
	if uid, ok := ownerOf(info); ok && !s.trusts(uid) {
		return nil, misuse{fmt.Errorf("%s belongs to user %d, who may have put a key there that others know: remove it, and a new one is made, or choose another directory with --state-dir", path, uid)}
	}
	return io.ReadAll(io.LimitReader(f, mostState))
}

// trusts reports whether files of a user are taken: those of this user, of
// root, and of whose directory it is.
func (s state) trusts(uid int) bool {
	if uid == ownUser() || uid == 0 {
		return true
	}
	info, err := os.Stat(s.dir)
	if err != nil {
		return false
	}
	owner, ok := ownerOf(info)
	return ok && owner == uid
}

// warn tells of keys that others can read. On some file systems nobody can
// change that, so it is no error.
func (s state) warn(log *slog.Logger) {
	for _, name := range []string{identityFile, secretFile, authorityFile} {
		path := filepath.Join(s.dir, name)
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if _, ok := ownerOf(info); ok && info.Mode().Perm()&0o077 != 0 {
			log.Warn("other users of this machine can read a key, or change it", slog.String("file", path), slog.String("next", "chmod 600 "+path))
		}
	}
}

// write puts a file in place at once: nobody sees half of it.
func (s state) write(name string, content []byte) error {
	if s.dir == "" {
		return nil
	}
	f, err := os.CreateTemp(s.dir, "."+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// lock waits until nobody else makes keys, so that of two processes that start
// at once in a new directory both use what one of them made. It goes on without
// where the file system has no locks, and after a while: who holds the lock may
// have been stopped.
func (s state) lock() (unlock func()) {
	if s.dir == "" {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	l := flock.New(filepath.Join(s.dir, lockFile), flock.SetPermissions(0o600))
	_, _ = l.TryLockContext(ctx, lockPoll)
	return func() { _ = l.Unlock() } // the end of the process would do it, too
}

// identity returns the keys that sign the identity document, or nil when none
// are kept yet.
func (s state) identity() (*imds.Identity, error) {
	text, err := s.read(identityFile)
	if err != nil || text == nil {
		return nil, err
	}
	identity, err := imds.ParseIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove the file to have new keys made", filepath.Join(s.dir, identityFile), err)
	}
	return identity, nil
}

// makeIdentity makes keys and keeps them, unless somebody else has meanwhile:
// then it returns theirs. It returns keys with an error when they are not kept.
func (s state) makeIdentity() (*imds.Identity, error) {
	defer s.lock()()
	if kept, err := s.identity(); err != nil || kept != nil {
		return kept, err
	}
	identity, err := imds.NewIdentity()
	if err != nil {
		return nil, err
	}
	text, err := identity.MarshalPEM()
	if err == nil {
		err = s.write(identityFile, text)
	}
	if err != nil {
		return identity, fmt.Errorf("keep the keys of the instance's identity: %w", err)
	}
	return identity, nil
}

// leastStateKey is how many characters a key needs that nobody guesses.
const leastStateKey = 16

// secret returns the key that makes ids unguessable: that of --state-key, or
// the one that is kept here, which is made when there is none yet.
func (s state) secret(given string) ([]byte, error) {
	if given != "" {
		if len(given) < leastStateKey {
			return nil, misuse{fmt.Errorf("--state-key is too short to be secret: give %d characters or more", leastStateKey)}
		}
		sum := sha256.Sum256([]byte(given))
		return sum[:], nil
	}
	if key, err := s.keptSecret(); err != nil || key != nil {
		return key, err
	}
	defer s.lock()()
	if key, err := s.keptSecret(); err != nil || key != nil {
		return key, err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails, by its documentation
	return key, s.write(secretFile, []byte(hex.EncodeToString(key)+"\n"))
}

// keptSecret returns the key that is kept here; nil when there is none, or what
// is there is none.
func (s state) keptSecret() ([]byte, error) {
	text, err := s.read(secretFile)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, nil
	}
	return key, nil
}

// authority returns the certificate authority of the TLS listener, and makes
// it when there is none yet.
func (s state) authority() (*authority.Authority, error) {
	if a, err := s.keptAuthority(); err != nil || a != nil {
		return a, err
	}
	defer s.lock()()
	if a, err := s.keptAuthority(); err != nil || a != nil {
		return a, err
	}
	a, err := authority.New()
	var text []byte
	if err == nil {
		text, err = a.MarshalPEM()
	}
	if err == nil {
		err = errors.Join(s.write(authorityFile, text), s.write(authorityCertificateFile, a.CertificatePEM()))
	}
	if err != nil {
		return nil, fmt.Errorf("make a certificate authority: %w", err)
	}
	return a, nil
}

// keptAuthority returns the authority that is kept here; nil when there is none.
func (s state) keptAuthority() (*authority.Authority, error) {
	text, err := s.read(authorityFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	if text == nil {
		return nil, nil
	}
	a, err := authority.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove the file to have a new authority made, which clients have to trust anew", filepath.Join(s.dir, authorityFile), err)
	}
	return a, nil
}
