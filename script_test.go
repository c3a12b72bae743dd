package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
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
//	await COMMAND ARGS…       runs a command until it succeeds, 2 minutes at most
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
				address, err := freeAddress()
				if err != nil {
					return err
				}
				e.Setenv(name, address)
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

// The ports of scripts are below those that an engine or a kernel gives to
// whoever does not care (32768 and more on Linux), so nobody gets one between
// here and the program that listens there. Each is given once; processes that
// test at the same time begin at different ones.
const (
	lowestPort = 10000
	ports      = 22000
)

var portsGiven atomic.Int64

// freeAddress returns a loopback address that nobody listens on.
func freeAddress() (string, error) {
	var failed error
	for range ports {
		n := int64(os.Getpid())*97 + portsGiven.Add(1)
		address := fmt.Sprintf("127.0.0.1:%d", lowestPort+n%ports)
		l, err := net.Listen("tcp", address)
		if err == nil {
			return address, l.Close()
		}
		failed = err
	}
	return "", fmt.Errorf("no free port: %w", failed)
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: await COMMAND ARGS…")
	}
	deadline := time.Now().Add(2 * time.Minute)
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
