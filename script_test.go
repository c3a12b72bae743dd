package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// The commands of scripts are this program, too, and scripts may turn it on.
	if _, said := os.LookupEnv("AWS_EC2_METADATA_DISABLED"); !said {
		os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	}
	testscript.Main(m, map[string]func(){"ecs-local": main})
}

// TestScript runs the command line as a user would: one readable file a
// subject. A script has three free addresses, $ADDRESS, $CONTROL and $LATER,
// and these commands beside those of testscript:
//
//	await COMMAND ARGS…       runs a command until it succeeds, 10 seconds at most
//	http METHOD URL [BODY]    sends a request that must succeed
func TestScript(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Abs("docs/examples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("EXAMPLES", examples)
			for _, name := range []string{"ADDRESS", "CONTROL", "LATER"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				defer l.Close()
				e.Setenv(name, l.Addr().String())
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await,
			"http":  request,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: await COMMAND ARGS…")
	}
	deadline := time.Now().Add(10 * time.Second)
	for ts.Exec(args[0], args[1:]...) != nil {
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not succeed", strings.Join(args, " "))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: http METHOD URL [BODY]")
	}
	r, err := http.NewRequest(args[0], args[1], strings.NewReader(strings.Join(args[2:], "")))
	ts.Check(err)
	response, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		ts.Fatalf("%s: %s", args[1], response.Status)
	}
}
