package protection_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/protection"
)

const arn = "arn:aws:ecs:us-west-2:111122223333:task/demo/5f0c1b7e9a2d4c3e8b6a7d1f20394857"

func minutes(n int64) *int64 { return &n }

// The rules of ECS, in the time that the API works with.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html
func TestProtectionLasts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		minutes *int64
		want    time.Duration
	}{
		{"two hours unless it is said", nil, 120 * time.Minute},
		{"the shortest", minutes(1), time.Minute},
		{"some", minutes(60), time.Hour},
		{"the longest", minutes(2880), 48 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, task := protection.New(), &local.Task{ARN: arn}
				begun := time.Now()
				state, err := store.Put(t.Context(), task, true, test.minutes)
				want := protection.State{Enabled: true, Expires: begun.Add(test.want).UTC()}
				if diff := cmp.Diff(want, state); diff != "" || err != nil {
					t.Fatalf("put: error %v (-want +got):\n%s", err, diff)
				}
				time.Sleep(test.want - time.Nanosecond)
				if got, err := store.Get(t.Context(), task); got != want || err != nil {
					t.Errorf("just before its end: %+v, error %v", got, err)
				}
				time.Sleep(time.Nanosecond)
				if got, err := store.Get(t.Context(), task); got != (protection.State{}) || err != nil {
					t.Errorf("at its end: %+v, error %v", got, err)
				}
			})
		})
	}
}

func TestEachPutStartsTheTimeAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, task := protection.New(), &local.Task{ARN: arn}
		put := func(enabled bool, minutes *int64) protection.State {
			t.Helper()
			state, err := store.Put(t.Context(), task, enabled, minutes)
			if err != nil {
				t.Fatal(err)
			}
			return state
		}
		put(true, minutes(60))
		time.Sleep(59 * time.Minute)
		if got, want := put(true, minutes(10)), time.Now().Add(10*time.Minute).UTC(); !got.Expires.Equal(want) {
			t.Errorf("a second time: until %v, want %v", got.Expires, want)
		}
		time.Sleep(2 * time.Minute)
		if !store.State(arn).Enabled {
			t.Error("the end of the first time counted")
		}
		if got := put(false, minutes(9999)); got != (protection.State{}) {
			t.Errorf("ended: %+v", got)
		}
		if got := store.State(arn); got != (protection.State{}) {
			t.Errorf("after it was ended: %+v", got)
		}
		if other := store.State(arn + "0"); other.Enabled {
			t.Error("another task is protected")
		}
	})
}

func TestMillisecondsAreTheFinestOfAnEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1_234_567 * time.Nanosecond)
		state, err := protection.New().Put(t.Context(), &local.Task{ARN: arn}, true, nil)
		if ns := state.Expires.Nanosecond(); ns != 1_000_000 || err != nil || state.Expires.Location() != time.UTC {
			t.Errorf("ends at %v, error %v", state.Expires, err)
		}
	})
}

func TestMinutesOutOfBoundsAreRefused(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, -1, 2881, 1<<32 + 5, -1 << 63} {
		store := protection.New()
		// They come before the task: ECS checks parameters first.
		_, err := store.Put(t.Context(), &local.Task{ARN: arn, Standalone: true}, true, &n)
		refused, ok := errors.AsType[*protection.Exception](err)
		if !ok || refused.Status != http.StatusBadRequest || refused.Code != "InvalidParameterException" || !uuid.MatchString(refused.RequestID) {
			t.Errorf("%d minutes: %v", n, err)
		}
		if store.State(arn).Enabled {
			t.Errorf("%d minutes protect", n)
		}
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestTaskOfNoServiceIsNotValid(t *testing.T) {
	t.Parallel()
	store, task := protection.New(), &local.Task{ARN: arn, Standalone: true}
	_, got := store.Get(t.Context(), task)
	_, put := store.Put(t.Context(), task, true, nil)
	_, off := store.Put(t.Context(), task, false, nil)
	for name, err := range map[string]error{"get": got, "put": put, "put false": off} {
		failure, ok := errors.AsType[*protection.Failure](err)
		if !ok || *failure != (protection.Failure{ARN: arn, Reason: "TASK_NOT_VALID"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		how      protection.Refusal
		get, put protection.Exception
	}{
		{protection.Throttled, protection.Exception{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"},
			protection.Exception{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"}},
		{protection.AccessDenied, protection.Exception{Status: 400, Code: "AccessDeniedException", Message: "User is not authorized to perform: ecs:GetTaskProtection"},
			protection.Exception{Status: 400, Code: "AccessDeniedException", Message: "User is not authorized to perform: ecs:UpdateTaskProtection"}},
		{protection.NoCredentials, protection.Exception{Status: 403, Code: "AccessDeniedException", Message: "Invalid Request: no task IAM role credentials available for task"},
			protection.Exception{Status: 403, Code: "AccessDeniedException", Message: "Invalid Request: no task IAM role credentials available for task"}},
	} {
		t.Run(string(test.how), func(t *testing.T) {
			t.Parallel()
			store, task := protection.New(), &local.Task{ARN: arn}
			store.Refuse(arn, test.how)
			check := func(call string, want protection.Exception, err error) {
				t.Helper()
				refused, ok := errors.AsType[*protection.Exception](err)
				if !ok {
					t.Fatalf("%s: %v", call, err)
				}
				got := *refused
				if uuid.MatchString(got.RequestID) == (test.how == protection.NoCredentials) {
					t.Errorf("%s: request id %q", call, got.RequestID)
				}
				got.RequestID = ""
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", call, diff)
				}
			}
			_, err := store.Get(t.Context(), task)
			check("get", test.get, err)
			_, err = store.Put(t.Context(), task, true, nil)
			check("put", test.put, err)
			if store.State(arn).Enabled {
				t.Error("what was refused was done")
			}
			if _, err := store.Put(t.Context(), &local.Task{ARN: arn + "0"}, true, nil); err != nil {
				t.Errorf("another task: %v", err)
			}
			store.Refuse(arn, protection.None)
			if _, err := store.Put(t.Context(), task, true, nil); err != nil {
				t.Errorf("after the end of it: %v", err)
			}
		})
	}
}

func TestACallTakesFourSecondsAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, task := protection.New(), &local.Task{ARN: arn}
		store.Refuse("", protection.TimedOut)
		begun := time.Now()
		_, err := store.Get(t.Context(), task)
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took != 4*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begun = time.Now()
		_, err = store.Put(ctx, task, true, nil)
		if took := time.Since(begun); !errors.Is(err, context.Canceled) || took != time.Second {
			t.Errorf("given up after %v: %v", took, err)
		}
	})
}

// What was said last counts, about one task or about all.
func TestRefusalOfAllAndOfOne(t *testing.T) {
	t.Parallel()
	store := protection.New()
	check := func(step string, one, other protection.Refusal) {
		t.Helper()
		if a, b := store.Refusal(arn), store.Refusal("other"); a != one || b != other {
			t.Errorf("%s: %s and %s, want %s and %s", step, a, b, one, other)
		}
	}
	check("at first", protection.None, protection.None)
	store.Refuse(arn, protection.Throttled)
	check("one", protection.Throttled, protection.None)
	store.Refuse("", protection.AccessDenied)
	check("all", protection.AccessDenied, protection.AccessDenied)
	store.Refuse(arn, protection.None)
	check("all but one", protection.None, protection.AccessDenied)
	store.Refuse("", protection.None)
	check("none", protection.None, protection.None)
	store.Refuse(arn, protection.Throttled)
	store.Reset()
	check("reset", protection.None, protection.None)
}

func TestResetEndsProtection(t *testing.T) {
	t.Parallel()
	store := protection.New()
	if _, err := store.Set(&local.Task{ARN: arn}, true, nil); err != nil {
		t.Fatal(err)
	}
	store.Reset()
	if store.State(arn).Enabled {
		t.Error("still protected")
	}
}

func TestStoreIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	store := protection.New()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			task := &local.Task{ARN: fmt.Sprintf("%s%d", arn, i%2)}
			for n := range 200 {
				if _, err := store.Put(t.Context(), task, n%3 > 0, nil); err != nil {
					t.Error(err)
				}
				if _, err := store.Get(t.Context(), task); err != nil {
					t.Error(err)
				}
				store.Refuse(task.ARN, protection.None)
			}
			if _, err := store.Put(t.Context(), task, true, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if !store.State(arn+"0").Enabled || !store.State(arn+"1").Enabled {
		t.Error("the last word did not count")
	}
}
