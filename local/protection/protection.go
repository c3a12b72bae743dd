// Package protection keeps the scale-in protection of local tasks as Amazon ECS
// keeps it: for a number of minutes, after which it is gone. It answers as the
// ECS API answers the agent, and can be told to refuse.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection.html
package protection

import (
	"context"
	"sync"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// How long protection lasts, in minutes.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html
const (
	MinMinutes     = 1
	MaxMinutes     = 2880
	DefaultMinutes = 120
)

// State is the protection of one task.
type State struct {
	Enabled bool
	// Expires is when the protection ends, in UTC and whole milliseconds. Zero
	// without protection.
	Expires time.Time
}

// Store has the protection of all tasks, by their ARNs. It is safe for
// concurrent use. The zero value is not usable: see New.
type Store struct {
	mu        sync.Mutex
	expires   map[string]time.Time // by task ARN; only what is protected
	refusals  map[string]Refusal   // by task ARN
	everybody Refusal              // for the tasks without one of their own
}

// New returns a store in which nothing is protected and nothing is refused.
func New() *Store {
	s := &Store{}
	s.Reset()
	return s
}

// Get answers GetTaskProtection for a task. The error is an *Exception, a
// *Failure, or that of a context that ended: the call took too long.
func (s *Store) Get(ctx context.Context, t *local.Task) (State, error) {
	if err := s.refuse(ctx, t.ARN, "GetTaskProtection"); err != nil {
		return State{}, err
	}
	if t.Standalone {
		return State{}, notOfService(t.ARN)
	}
	return s.State(t.ARN), nil
}

// Put answers UpdateTaskProtection for a task: protection begins, or begins
// anew, and lasts for so many minutes (nil: DefaultMinutes), or it ends. The
// errors are those of Get; minutes that ECS does not accept are an *Exception.
func (s *Store) Put(ctx context.Context, t *local.Task, enabled bool, minutes *int64) (State, error) {
	if err := s.refuse(ctx, t.ARN, "UpdateTaskProtection"); err != nil {
		return State{}, err
	}
	return s.Set(t, enabled, minutes)
}

// Set is Put by somebody whom nothing refuses.
func (s *Store) Set(t *local.Task, enabled bool, minutes *int64) (State, error) {
	last := int64(DefaultMinutes)
	if minutes != nil {
		last = *minutes
	}
	if enabled && (last < MinMinutes || last > MaxMinutes) {
		return State{}, badMinutes()
	}
	if t.Standalone {
		return State{}, notOfService(t.ARN)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.forget(now)
	if !enabled {
		delete(s.expires, t.ARN)
		return State{}, nil
	}
	until := now.Add(time.Duration(last) * time.Minute).UTC().Truncate(time.Millisecond)
	s.expires[t.ARN] = until
	return State{Enabled: true, Expires: until}, nil
}

// State returns the protection of the task with this ARN, whatever Get would
// say about it.
func (s *Store) State(arn string) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(time.Now())
	until, ok := s.expires[arn]
	return State{Enabled: ok, Expires: until}
}

// Reset ends all protection and every refusal.
func (s *Store) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires, s.refusals, s.everybody = map[string]time.Time{}, map[string]Refusal{}, None
}

// forget drops what has expired, so that tasks that are gone take no memory.
func (s *Store) forget(now time.Time) {
	for arn, until := range s.expires {
		if !now.Before(until) {
			delete(s.expires, arn)
		}
	}
}
