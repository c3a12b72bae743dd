package local_test

import (
	"testing"

	"github.com/ecs-local/ecs-local/local"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"instance-id", "instance-type", "mac", "account-id"}
	for name, want := range map[string]string{
		"instance-id": "instance-id", "instanceId": "instance-id", "instance_typ": "instance-type", "acount-id": "account-id",
		"Mac": "mac", "max": "mac", "mate": "mac", "metal": "", "colour": "", "": "",
	} {
		if got := local.Nearest(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
