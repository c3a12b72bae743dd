package creds

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/ecs-local/ecs-local/local"
)

const (
	// errorMemory is how long a failure answers further requests for the same
	// role: a thousand callers that fail one after the other cause one call a
	// second, not a thousand.
	errorMemory = time.Second
	// forgetAfter is how long a role that never had credentials is remembered.
	forgetAfter = time.Minute
	// refreshWindow is how long before their expiry credentials are renewed,
	// at most. botocore asks for new ones 15 minutes before expiry and insists
	// from 10 minutes on; by then they are there.
	// https://github.com/boto/botocore/blob/develop/botocore/credentials.py
	refreshWindow = 20 * time.Minute
	// A refresh that fails is tried again after retryFirst, then after twice
	// the time, up to retryMax; each a little earlier at random.
	retryFirst = 2 * time.Second
	retryMax   = time.Minute
	// mostRoles is how many roles are kept: a container may ask for as many as
	// it can think of names, and in some modes each has credentials.
	mostRoles = 1000
)

// refreshAt returns when credentials that were obtained now are due for
// renewal.
func refreshAt(now, expiration time.Time) time.Time {
	return expiration.Add(-min(expiration.Sub(now)/3, refreshWindow))
}

// cache keeps the credentials of each role. The key is the role alone: the
// session name of whoever asked first is used for everybody, also when the
// credentials are renewed. Credentials that somebody has read are renewed in
// the background before they expire; those that nobody has read since the last
// renewal wait for the next reader, and are dropped at their expiry. When there
// are too many, those go first that have been asked for only once.
type cache struct {
	next    Provider
	timeout time.Duration // of one call to next
	log     *slog.Logger
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	entries sync.Map // local.Role → *entry

	mu   sync.Mutex
	kept []*entry // the oldest first; some may be in entries no more
}

func newCache(next Provider, timeout time.Duration, log *slog.Logger) *cache {
	ctx, cancel := context.WithCancel(context.Background())
	return &cache{next: next, timeout: timeout, log: log, ctx: ctx, cancel: cancel}
}

func (c *cache) close() {
	c.cancel()
	c.entries.Range(func(_, e any) bool {
		e.(*entry).setTimers()
		return true
	})
}

// Credentials implements Provider.
func (c *cache) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	return c.at(ctx, time.Now(), role, session)
}

// at is Credentials for a caller who knows what time it is.
func (c *cache) at(ctx context.Context, now time.Time, role local.Role, session string) (local.Credentials, error) {
	v, ok := c.entries.Load(role)
	if !ok {
		fresh := &entry{cache: c, role: role, session: session}
		if v, ok = c.entries.LoadOrStore(role, fresh); !ok {
			c.keep(fresh)
		}
	}
	e := v.(*entry)
	if h := e.current.Load(); h != nil && now.Before(h.creds.Expiration) {
		h.markRead()
		e.markWanted()
		if !now.Before(h.refreshAt) && !h.renewing.Load() {
			go e.renew(h)
		}
		return h.creds, nil
	}

	// The call belongs to nobody in particular: it goes on for the others when
	// this caller leaves.
	result := e.flight.DoChan("", e.load)
	select {
	case r := <-result:
		if r.Err != nil {
			return local.Credentials{}, r.Err
		}
		h := r.Val.(*held)
		h.markRead()
		return h.creds, nil
	case <-ctx.Done():
		return local.Credentials{}, fmt.Errorf("wait for credentials of %s: %w", role, ctx.Err())
	}
}

// keep takes note of a new entry, and makes room for it: the oldest goes that
// nobody has come back to since it was last looked at here.
func (c *cache) keep(fresh *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(c.kept, fresh)
	for len(c.kept) > mostRoles {
		oldest := c.kept[0]
		c.kept = c.kept[1:]
		if v, ok := c.entries.Load(oldest.role); !ok || v != any(oldest) {
			continue
		}
		if oldest.wanted.Swap(false) {
			c.kept = append(c.kept, oldest)
			continue
		}
		if c.entries.CompareAndDelete(oldest.role, oldest) {
			oldest.retire()
		}
	}
}

// drop forgets roles, and returns those of them whose credentials it had. A
// call that is under way answers those who wait for it and nobody after them.
func (c *cache) drop(match func(local.Role) bool) []local.Role {
	var dropped []local.Role
	now := time.Now()
	c.entries.Range(func(k, v any) bool {
		role, e := k.(local.Role), v.(*entry)
		if match(role) && c.entries.CompareAndDelete(role, e) {
			if h := e.current.Load(); h != nil && now.Before(h.creds.Expiration) {
				dropped = append(dropped, role)
			}
			e.retire()
		}
		return true
	})
	slices.SortFunc(dropped, func(a, b local.Role) int { return strings.Compare(a.String(), b.String()) })
	return dropped
}

// forgetFailures makes the next request for a role that failed a moment ago a
// new attempt.
func (c *cache) forgetFailures() {
	c.entries.Range(func(_, e any) bool {
		e.(*entry).failure.Store(nil)
		return true
	})
}

// entry is what the cache knows about one role.
type entry struct {
	cache   *cache
	role    local.Role
	session string

	current atomic.Pointer[held]
	failure atomic.Pointer[failure]
	flight  singleflight.Group // at most one call at a time
	retired atomic.Bool        // it is in the cache no more
	wanted  atomic.Bool        // somebody has come back for it; see keep

	mu     sync.Mutex
	timers []*time.Timer
}

// markWanted writes only once, as markRead does.
func (e *entry) markWanted() {
	if !e.wanted.Load() {
		e.wanted.Store(true)
	}
}

// retire ends what goes on in the background for an entry that is in the cache
// no more. A call that is under way answers those who wait for it.
func (e *entry) retire() {
	e.retired.Store(true)
	e.setTimers()
}

// held are credentials in the cache.
type held struct {
	creds     local.Credentials
	refreshAt time.Time
	read      atomic.Bool // somebody has been given them
	renewing  atomic.Bool // renew is at work on their successor
}

// markRead writes only once, so that readers on many processors do not
// contend for the memory.
func (h *held) markRead() {
	if !h.read.Load() {
		h.read.Store(true)
	}
}

type failure struct {
	err error
	at  time.Time
}

// load gets new credentials unless they are there already, or failed a moment
// ago. It runs in e.flight only and returns *held.
func (e *entry) load() (any, error) {
	start := time.Now()
	if h := e.current.Load(); h != nil && start.Before(h.refreshAt) {
		return h, nil
	}
	if f := e.failure.Load(); f != nil && start.Sub(f.at) < errorMemory {
		return nil, f.err
	}
	creds, err := fetch(e.cache.ctx, e.cache.next, e.cache.timeout, e.role, e.session)
	now := time.Now()
	if err != nil {
		f := &failure{err: err, at: now}
		e.failure.Store(f)
		if e.current.Load() == nil {
			e.setTimers(time.AfterFunc(forgetAfter, func() {
				if e.current.Load() == nil && e.failure.Load() == f {
					e.cache.entries.CompareAndDelete(e.role, e)
				}
			}))
		}
		return nil, err
	}
	h := &held{creds: creds, refreshAt: refreshAt(now, creds.Expiration)}
	e.current.Store(h)
	e.setTimers(
		time.AfterFunc(h.refreshAt.Sub(now), func() {
			if h.read.Load() {
				e.renew(h)
			}
		}),
		time.AfterFunc(creds.Expiration.Sub(now), func() {
			if e.current.Load() == h {
				e.cache.entries.CompareAndDelete(e.role, e)
			}
		}),
	)
	return h, nil
}

// fetch asks a provider and takes only credentials that are valid.
func fetch(ctx context.Context, p Provider, timeout time.Duration, role local.Role, session string) (local.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	creds, err := p.Credentials(ctx, role, session)
	if err == nil && !time.Now().Before(creds.Expiration) {
		err = &local.Error{Code: local.Denied, Name: "ExpiredToken",
			Msg: fmt.Sprintf("the credentials of %s are expired already: check this machine's clock, and renew your AWS credentials", role)}
	}
	return creds, err
}

// setTimers replaces the entry's timers. None are set once the cache is closed
// or has dropped the entry.
func (e *entry) setTimers(timers ...*time.Timer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.timers {
		t.Stop()
	}
	e.timers = timers
	if e.over() {
		for _, t := range e.timers {
			t.Stop()
		}
	}
}

// over reports whether nobody will read the entry again.
func (e *entry) over() bool { return e.retired.Load() || e.cache.ctx.Err() != nil }

// renew replaces h, and tries again until it has succeeded or h is expired.
// Meanwhile h is served.
func (e *entry) renew(h *held) {
	if !h.renewing.CompareAndSwap(false, true) {
		return
	}
	failed := false
	for wait := retryFirst; !e.over(); wait = min(2*wait, retryMax) {
		_, err, _ := e.flight.Do("", e.load)
		switch {
		case e.over():
			return
		case err == nil:
			if failed {
				e.cache.log.Info("credentials renewed again", "role", e.role.String())
			}
			return
		case !failed:
			failed = true
			e.cache.log.Warn("credentials not renewed; the old ones are served until they expire",
				"role", e.role.String(), "expiration", h.creds.Expiration, "error", err)
		}
		pause := wait - rand.N(wait/4)
		if !time.Now().Add(pause).Before(h.creds.Expiration) {
			return
		}
		select {
		case <-time.After(pause):
		case <-e.cache.ctx.Done():
			return
		}
	}
}
