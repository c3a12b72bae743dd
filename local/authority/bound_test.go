package authority

import (
	"fmt"
	"testing"
)

// A stranger who asks for ever other names takes no memory.
func TestCertificatesAreBounded(t *testing.T) {
	t.Parallel()
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * mostLeaves {
		if _, err := a.certificateFor(fmt.Sprintf("name-%d", i)); err != nil {
			t.Fatal(err)
		}
		if len(a.leaves) > mostLeaves {
			t.Fatalf("%d certificates are kept", len(a.leaves))
		}
	}
}
