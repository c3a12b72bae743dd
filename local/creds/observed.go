package creds

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// observed remembers how the last attempt of the next provider ended.
type observed struct {
	next  Provider
	state atomic.Pointer[outcome]
}

type outcome struct {
	message string // empty: it went well
	since   time.Time
}

func newObserved(next Provider) *observed {
	o := &observed{next: next}
	o.state.Store(&outcome{since: time.Now()})
	return o
}

func (o *observed) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	c, err := o.next.Credentials(ctx, role, session)
	o.record(err)
	return c, err
}

func (o *observed) record(err error) {
	message := ""
	if err != nil && !errors.Is(err, errAboutRole) {
		message = local.MessageOf(err)
	}
	for {
		old := o.state.Load()
		if old.message == message {
			return
		}
		if o.state.CompareAndSwap(old, &outcome{message: message, since: time.Now()}) {
			return
		}
	}
}

func (o *observed) last() (message string, since time.Time) {
	s := o.state.Load()
	return s.message, s.since
}
