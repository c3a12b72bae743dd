// Command consumers is what other people's programs do with task metadata,
// each by its own unmodified code. It runs in a container, made from nothing
// but this static binary, and prints as JSON what it read. It is a module of
// its own, so that what these programs need is needed by nothing else here.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// A command reads what it wants from the endpoints that its environment
// names, and writes JSON to stdout.
type command func(ctx context.Context) error

func main() {
	commands := map[string]command{
		"detector": detect,
		"receiver": receive,
		"telegraf": gather,
	}
	if len(os.Args) != 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: consumers detector|receiver|telegraf")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := commands[os.Args[1]](ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "consumers: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
