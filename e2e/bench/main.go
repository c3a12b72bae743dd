// Command bench measures how fast ecs-local answers and how much memory it
// takes, against a bare net/http handler that writes the same number of bytes,
// on the same machine and in the same run.
//
// It makes a network and up to 100 containers of one project on the Docker
// engine. One of them sends the requests, so that ecs-local knows its caller
// by the source address, as in real use. ecs-local and the bare handler run on
// the host and listen on the gateway of that network. Nothing leaves the
// machine, and all that was made is removed at the end.
//
// docs/performance.md explains the method and holds the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The same binary plays the other parts: on the host and in the containers.
	if len(args) > 0 {
		switch args[0] {
		case "bare":
			return exitCode(serveBare(ctx, args[1:]))
		case "load":
			return exitCode(serveLoad(ctx))
		case "idle":
			<-ctx.Done()
			return 0
		}
	}
	o, err := parseOptions(args, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	return exitCode(measureAll(ctx, o))
}

// exitCode says an error and returns the code to exit with.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// options say what is measured and for how long.
type options struct {
	repo    string // root of the repository
	program string // ecs-local to measure; built from repo when empty
	jsonTo  string
	docTo   string

	containers []int // ascending
	pairs      int
	slice      time.Duration
	starts     int
	settle     time.Duration // before memory at rest is read
	soak       time.Duration
	tokens     int           // of the instance metadata service, that must leave memory where it was
	mix        time.Duration // how long 64 connections ask the instance metadata service
	rows       *regexp.Regexp
	limit      time.Duration // of the whole run without the soak
}

const (
	connections = 8
	burst       = 1000 // concurrent first requests
	warmUp      = 500 * time.Millisecond
)

func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{settle: 5 * time.Second, limit: 7 * time.Minute}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.repo, "repo", "..", "root `folder` of the repository")
	flags.StringVar(&o.program, "program", "", "ecs-local `binary` to measure (default: built from the repository)")
	flags.StringVar(&o.jsonTo, "json", "", "write all figures to this `file` too")
	flags.StringVar(&o.docTo, "doc", "", "put the tables into this Markdown `file`, between its bench marks")
	flags.IntVar(&o.pairs, "pairs", 12, "pairs of slices in a row")
	flags.DurationVar(&o.slice, "slice", 500*time.Millisecond, "length of a slice")
	flags.IntVar(&o.starts, "starts", 20, "how often the start is measured")
	flags.DurationVar(&o.soak, "soak", 15*time.Second, "length of the load after which memory must not have grown")
	flags.IntVar(&o.tokens, "tokens", 1_000_000, "how many tokens of the instance metadata service must leave memory where it was")
	flags.DurationVar(&o.mix, "mix", time.Minute, "how long 64 connections mix requests for tokens and for values")
	containers := flags.String("containers", "1,20,100", "numbers of containers, ascending")
	rows := flags.String("rows", "", "measure only what matches this `pattern`: paths, start, memory, burst, warn, soak, IMDS")
	quick := flags.Bool("quick", false, "about two minutes: 1 and 20 containers, short slices; figures for orientation only")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if *quick {
		o.settle = 2 * time.Second
		for name, value := range map[string]string{"containers": "1,20", "pairs": "4", "slice": "250ms", "starts": "5", "soak": "4s", "tokens": "100000", "mix": "5s"} {
			if !given[name] {
				if err := flags.Set(name, value); err != nil {
					return o, fmt.Errorf("set -%s: %w", name, err)
				}
			}
		}
	}
	for word := range strings.SplitSeq(*containers, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 200 {
			return o, fmt.Errorf("-containers: %q is not a number from 1 to 200", word)
		}
		o.containers = append(o.containers, n)
	}
	slices.Sort(o.containers)
	if o.pairs < 1 || o.slice <= 0 || o.starts < 1 || o.tokens < 1 || o.mix <= 0 || flags.NArg() > 0 {
		return o, errors.New("-pairs, -slice, -starts, -tokens and -mix are positive, and there are no arguments: see -help")
	}
	// A busy machine makes 5,000 tokens a second.
	o.limit += o.mix + time.Duration(o.tokens)*time.Second/5000
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("-rows: %w", err)
	}
	return o, nil
}
