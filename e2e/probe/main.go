// Command probe is the application that the tests put into containers. Its
// image is made from scratch and can be pulled from nowhere, so that this one
// static binary is all of it. Called by the name of a common tool (aws, curl,
// grep, sh, sleep) it does what the example Compose files use that tool for.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// A command writes its result to stdout and returns the exit code.
type command func(ctx context.Context, args []string) int

func main() {
	commands := map[string]command{
		"echo":    echo,
		"first":   first,
		"forward": forward,
		"get":     get,
		"sdk":     sdk,
		"serve":   serve,
		"spin":    spin,
		"sts":     playSTS,

		"aws":   awsCLI,
		"curl":  curl,
		"grep":  grep,
		"sh":    shell,
		"sleep": sleep,
	}
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if commands[name] == nil && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	run := commands[name]
	if run == nil {
		os.Exit(complain("unknown command %q", name))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, args)
	stop()
	os.Exit(code)
}

// complain writes a message and returns the exit code of a failure.
func complain(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "probe: "+format+"\n", args...)
	return 2
}
