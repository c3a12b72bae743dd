package protection

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Refusal is a way in which ECS can be made to refuse.
type Refusal string

// The refusals.
const (
	None          Refusal = "none"
	Throttled     Refusal = "throttled"
	AccessDenied  Refusal = "access-denied"
	TimedOut      Refusal = "timeout"
	NoCredentials Refusal = "no-credentials" // the task has no role to call ECS with
)

// Refusals are all of them, None first.
var Refusals = []Refusal{None, Throttled, AccessDenied, TimedOut, NoCredentials}

// Valid reports whether there is such a refusal.
func (r Refusal) Valid() bool { return slices.Contains(Refusals, r) }

// callTimeout is how long the agent waits for ECS.
// https://github.com/aws/amazon-ecs-agent/tree/master/ecs-agent/tmds/handlers/taskprotection
const callTimeout = 4 * time.Second

// Refuse makes Get and Put refuse from now on what is asked for the task with
// this ARN; None ends that. An empty ARN stands for all tasks, also those for
// which something else was said before.
func (s *Store) Refuse(arn string, how Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if arn == "" {
		clear(s.refusals)
		s.everybody = how
		return
	}
	s.refusals[arn] = how
	if how == s.everybody {
		delete(s.refusals, arn)
	}
}

// Refusal returns how a task is refused.
func (s *Store) Refusal(arn string) Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if how, ok := s.refusals[arn]; ok {
		return how
	}
	return s.everybody
}

// Exception is an error of the ECS API, or of the agent before it calls it.
type Exception struct {
	Status    int
	Code      string
	Message   string
	RequestID string // of the call; empty when there was none
}

// Error returns code and message.
func (e *Exception) Error() string { return e.Code + ": " + e.Message }

// Failure is what ECS answers about a task that cannot be protected. It is no
// error on the wire: the status is 200.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
type Failure struct {
	ARN    string // of the task
	Reason string
}

// Error returns the reason and the task.
func (f *Failure) Error() string { return f.Reason + ": " + f.ARN }

// notOfService is the answer for a task that no service started.
func notOfService(arn string) *Failure { return &Failure{ARN: arn, Reason: "TASK_NOT_VALID"} }

// badMinutes is the answer for minutes that ECS does not accept. Its text is
// not published.
func badMinutes() *Exception {
	return &Exception{http.StatusBadRequest, "InvalidParameterException",
		fmt.Sprintf("expiresInMinutes must be between %d and %d", MinMinutes, MaxMinutes), requestID()}
}

// refuse returns the error with which a call of an API action is refused, or
// nil.
func (s *Store) refuse(ctx context.Context, arn, action string) error {
	switch s.Refusal(arn) {
	case Throttled:
		return &Exception{http.StatusBadRequest, "ThrottlingException", "Rate exceeded", requestID()}
	case AccessDenied:
		return &Exception{http.StatusBadRequest, "AccessDeniedException", "User is not authorized to perform: ecs:" + action, requestID()}
	case NoCredentials:
		return ErrNoCredentials
	case TimedOut:
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
}

// ErrNoCredentials is the agent's answer for a task without a role of its own.
var ErrNoCredentials error = &Exception{http.StatusForbidden, "AccessDeniedException", "Invalid Request: no task IAM role credentials available for task", ""}

// requestID returns an id in the form of AWS: a random UUID.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: see its documentation
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
