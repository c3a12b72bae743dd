package local_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/local"
)

func TestCodeOf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want local.Code
	}{
		"of ours":           {local.Errorf(local.Denied, "no"), local.Denied},
		"wrapped":           {fmt.Errorf("get role: %w", local.Errorf(local.NotFound, "no")), local.NotFound},
		"outermost wins":    {&local.Error{Code: local.Unavailable, Err: local.Errorf(local.NotFound, "no")}, local.Unavailable},
		"deadline":          {fmt.Errorf("ask: %w", context.DeadlineExceeded), local.Timeout},
		"cancelled":         {context.Canceled, local.Timeout},
		"code over context": {&local.Error{Code: local.Unavailable, Err: context.DeadlineExceeded}, local.Unavailable},
		"anything else":     {errors.New("oops"), local.Internal},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := local.CodeOf(test.err); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection refused")
	err := &local.Error{Code: local.Unavailable, Msg: "Docker does not answer: start it", Err: cause}
	wrapped := fmt.Errorf("list containers: %w", err)

	if got, want := err.Error(), "Docker does not answer: start it: connection refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(wrapped, cause) {
		t.Error("the cause is lost")
	}
	if got := local.MessageOf(wrapped); got != err.Msg {
		t.Errorf("a client reads %q, want %q", got, err.Msg)
	}
	if got := local.MessageOf(cause); strings.Contains(got, "refused") || got == "" {
		t.Errorf("a client reads %q of an error that is not for it", got)
	}
	if got := local.Errorf(local.Invalid, "no %s", "x").Error(); got != "no x" {
		t.Errorf("got %q", got)
	}
}
