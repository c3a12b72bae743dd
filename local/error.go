package local

import (
	"context"
	"errors"
	"fmt"
)

// A Code says what kind of error it is, for the program that has to choose a
// status.
type Code string

// The codes. An error that carries none of them counts as Internal.
const (
	NotFound    Code = "NotFound"    // what was asked for does not exist
	Ambiguous   Code = "Ambiguous"   // it names more than one thing
	Invalid     Code = "Invalid"     // the request makes no sense
	Denied      Code = "Denied"      // it exists, but not for this caller
	Unavailable Code = "Unavailable" // something that is needed does not answer
	Timeout     Code = "Timeout"     // it did not answer in time
	Internal    Code = "Internal"    // a fault of ours
)

// Error is an error that a client gets to see. Msg is for the developer who
// reads it in a terminal and says what to do next; Err is the cause, for the
// log only. Neither ever holds a secret.
type Error struct {
	Code Code
	// Name is the error's name on the wire where its origin has one, such as
	// an STS error code. Empty: the name follows from Code.
	Name string
	Msg  string
	Err  error
}

// Error returns the message and the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error without a cause.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code that err carries. A context that ended counts as
// Timeout; any other error without a code is Internal.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Timeout
	default:
		return Internal
	}
}

// MessageOf returns what a client may read of err: the Msg of the outermost
// Error in it, or a bare text when there is none.
func MessageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Msg
	}
	return "internal error; the log of ecs-local says more"
}
