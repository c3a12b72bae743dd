package protection

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Tasks come and go; only what is protected takes memory.
func TestExpiredTasksAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New()
		for i := range 1000 {
			if _, err := s.Set(&local.Task{ARN: fmt.Sprint(i)}, true, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := len(s.expires); n != DefaultMinutes {
			t.Errorf("%d tasks are kept, want %d", n, DefaultMinutes)
		}
		s.Refuse("x", Throttled)
		s.Refuse("x", None)
		if n := len(s.refusals); n != 0 {
			t.Errorf("%d refusals are kept", n)
		}
	})
}
