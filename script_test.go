package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	testscript.Main(m, map[string]func(){"ecs-local": main})
}

// TestScript runs the command line as a user would: one readable file a
// subject.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
