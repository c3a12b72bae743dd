package local_test

import (
	"testing"

	"github.com/ecs-local/ecs-local/local"
)

func TestAlive(t *testing.T) {
	t.Parallel()
	for state, want := range map[local.State]bool{
		local.Created: false, local.Running: true, local.Paused: true, local.Restarting: true,
		local.Removing: false, local.Exited: false, local.Dead: false, "": false,
	} {
		if got := state.Alive(); got != want {
			t.Errorf("%q: got %t, want %t", state, got, want)
		}
	}
}
