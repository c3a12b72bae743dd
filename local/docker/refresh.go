package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

const (
	// refreshTimeout is how long a refresh may take. On a busy machine a
	// container can ask seconds before its own start is over, and the engine
	// describes it only then.
	refreshTimeout = 10 * time.Second
	// patience is how long a caller waits for refreshes, the one before its own
	// included. The answer, perhaps with a first sample of stats, must be out
	// before the listener gives the request up after 15 seconds.
	patience = 11 * time.Second
	// failureMemory is how long a refresh that could not even list the
	// containers answers for those after it.
	failureMemory = 250 * time.Millisecond
	// refreshParallel is how many containers a refresh asks about at a time.
	// The engine makes those wait whose start is going on, which costs it
	// nothing, and none of them may hold up the others.
	refreshParallel = 32
	// refreshRounds is how often a refresh asks again about containers to
	// which something happened while it asked.
	refreshRounds = 3
	// refreshTries is how often a refresh begins anew because its connection
	// broke off.
	refreshTries = 3
)

// questions makes callers of Refresh share what they ask the engine. One
// question at a time is on its way; those who come meanwhile share the next.
type questions struct {
	mu           sync.Mutex
	asked, next  *question
	failed       error
	failedBefore time.Time // until then failed is the answer
}

// question is one refresh. The fields are set when done is closed.
type question struct {
	done      chan struct{}
	directory *local.Directory
	err       error
}

// Refresh asks the engine which containers there are and returns a snapshot
// that is not older than the call. Concurrent calls share one question,
// and wait for the end of the one before it. Each takes ten seconds at most,
// and a call waits for eleven at most.
//
// Who looks for one thing gives found, and gets the first snapshot that has
// it: so a container that calls is answered once its own start is over, and
// does not wait for the starts of others. Found may be nil.
//
// The error is Unavailable when the engine does not answer, and Timeout when
// it takes long, as with the description of a container that is starting; what
// did come to be known is in Current then.
func (c *Client) Refresh(ctx context.Context, found func(*local.Directory) bool) (*local.Directory, error) {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Right after the start all containers are being read already. To ask the
	// engine for all of them a second time would make both take longer.
	if reading := c.reading.Load(); reading != nil && found != nil {
		select {
		case <-*reading:
		case <-patient.Done():
			return nil, waited(ctx)
		}
		if d, synced := c.Current(); synced && found(d) {
			return d, nil
		}
	}
	q, err := c.ask()
	if err != nil {
		return nil, err
	}
	if found == nil {
		found = func(*local.Directory) bool { return false }
	}
	for {
		changed := c.index.nextChange()
		if d, synced := c.Current(); synced && found(d) {
			return d, nil
		}
		select {
		case <-q.done:
			if d, synced := c.Current(); q.err != nil && synced && found(d) {
				return d, nil
			}
			return q.directory, q.err
		case <-changed:
		case <-patient.Done():
			return nil, waited(ctx)
		}
	}
}

// waited is the error of a call that waits no longer: its caller has left, or
// the engine takes long.
func waited(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("wait for Docker: %w", ctx.Err())
	}
	return unfinished(patience, context.DeadlineExceeded)
}

// ask returns the first question that is not on its way yet.
func (c *Client) ask() (*question, error) {
	s := &c.questions
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil && time.Now().Before(s.failedBefore) {
		return nil, s.failed
	}
	if s.asked != nil {
		if s.next == nil {
			s.next = &question{done: make(chan struct{})}
		}
		return s.next, nil
	}
	q := &question{done: make(chan struct{})}
	if !c.work.do(func() { c.answer(q) }) {
		return nil, local.Errorf(local.Unavailable, "ecs-local is shutting down")
	}
	s.asked = q
	return q, nil
}

// answer answers a question, and those that are asked meanwhile.
func (c *Client) answer(q *question) {
	s := &c.questions
	for q != nil {
		var dead bool
		q.directory, dead, q.err = c.refresh()
		close(q.done)
		s.mu.Lock()
		s.failed = nil
		if dead {
			s.failed, s.failedBefore = q.err, time.Now().Add(failureMemory)
			if s.next != nil {
				s.next.err = q.err
				close(s.next.done)
				s.next = nil
			}
		}
		q, s.next = s.next, nil
		s.asked = q
		s.mu.Unlock()
	}
}

// refresh asks the engine. dead reports that it could not be asked at all. A
// connection that broke off does not mean that: an engine that answers on
// another one is there, and may have given an address away meanwhile.
func (c *Client) refresh() (directory *local.Directory, dead bool, err error) {
	ctx, cancel := context.WithTimeout(c.alive, refreshTimeout)
	defer cancel()
	for range refreshTries {
		directory, dead, err = c.tryRefresh(ctx)
		if !brokeOff(err) {
			break
		}
	}
	return directory, dead, err
}

// brokeOff reports whether a connection ended before the answer did.
func brokeOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

func (c *Client) tryRefresh(ctx context.Context) (directory *local.Directory, dead bool, err error) {
	if err := c.ready(ctx); err != nil {
		return nil, true, err
	}
	// Without events, a list does not tell what happened since the last one.
	_, synced := c.Current()
	ids, err := c.list(ctx, !synced)
	if err != nil {
		return nil, true, c.explain(err)
	}
	if c.index.misleading() {
		c.publish()
	}
	for range refreshRounds {
		err = c.describeAll(ctx, ids, refreshParallel)
		directory, ids = c.publish()
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, false, unfinished(refreshTimeout, err)
		}
		if err != nil {
			return nil, false, c.explain(err)
		}
		if len(ids) == 0 {
			break
		}
	}
	return directory, false, nil
}

// unfinished says that the engine did not describe every container in time.
func unfinished(limit time.Duration, err error) error {
	return &local.Error{Code: local.Timeout, Err: err,
		Msg: fmt.Sprintf("the Docker engine did not describe all its containers within %v, perhaps because one is just starting: try again", limit)}
}
