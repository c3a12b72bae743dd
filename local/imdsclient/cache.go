package imdsclient

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a lock that is taken is tried again.
const lockPoll = 10 * time.Millisecond

// cache is the file in which processes of one user share the token of one
// endpoint, and the lock beside it.
type cache struct {
	dir      string
	file     string
	endpoint string
}

// stored is the file's content.
type stored struct {
	Endpoint string    `json:"endpoint"`
	Token    string    `json:"token"`
	Expires  time.Time `json:"expires"`
}

func newCache(dir, endpoint string) *cache {
	sum := sha256.Sum256([]byte(endpoint))
	return &cache{
		dir:      dir,
		file:     filepath.Join(dir, "imds-token-"+hex.EncodeToString(sum[:16])+".json"),
		endpoint: endpoint,
	}
}

// read returns the token in the file; nil if there is none, or if the file is
// anything but what this user's own process wrote for this endpoint.
func (c *cache) read() *token {
	if c.check() != nil {
		return nil
	}
	info, err := os.Lstat(c.file)
	if err != nil || !info.Mode().IsRegular() || !private(info) || info.Size() > 16<<10 {
		return nil
	}
	content, err := os.ReadFile(c.file)
	if err != nil {
		return nil
	}
	var s stored
	if err := json.Unmarshal(content, &s); err != nil {
		return nil
	}
	if s.Endpoint != c.endpoint || !validToken(s.Token) || time.Until(s.Expires) > MaxTokenTTL {
		return nil
	}
	return &token{value: s.Token, expires: s.Expires}
}

// write replaces the file in one step: readers see the old one or the new one.
func (c *cache) write(t *token) error {
	if err := c.prepare(); err != nil {
		return err
	}
	content, err := json.Marshal(stored{Endpoint: c.endpoint, Token: t.value, Expires: t.expires.UTC()})
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	f, err := os.CreateTemp(c.dir, filepath.Base(c.file)+".*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	_, err = f.Write(append(content, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write token: %w", err)
	}
	return nil
}

// lock waits until no other process holds the lock.
func (c *cache) lock(ctx context.Context) (unlock func(), err error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	l := flock.New(c.file+".lock", flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		return nil, fmt.Errorf("lock token: %w", err)
	}
	return func() { _ = l.Unlock() }, nil // the end of the process would do it, too
}

// prepare makes the directory if it is missing.
func (c *cache) prepare() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make token directory: %w", err)
	}
	return c.check()
}

// check refuses a directory in which somebody else could put a file. Its mode
// is not changed: it may be used for other things as well.
func (c *cache) check() error {
	info, err := os.Stat(c.dir)
	if err != nil {
		return fmt.Errorf("look at token directory: %w", err)
	}
	if !info.IsDir() || !owned(info) || writableByOthers(info) {
		return fmt.Errorf("token directory %s is not this user's alone: choose another one", c.dir)
	}
	return nil
}
