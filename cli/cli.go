// Package cli holds the commands, one file each. It parses, wires and runs,
// and is the only reader of the environment.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/scan"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitMisuse  = 2
)

// commands is the command line: one field a command.
type commands struct {
	Serve      serveCommand              `cmd:"" default:"withargs" help:"Serve the ECS endpoints (the default command)."`
	Exec       execCommand               `cmd:"" help:"Run a command with credentials and metadata, as in a task: ecs-local exec -- aws sts get-caller-identity"`
	Env        envCommand                `cmd:"" help:"Print the variables that lead a program to the server."`
	Compose    composeCommand            `cmd:"" help:"Print an override that gives a Compose project what it has on ECS: ecs-local compose FILE > override.yml"`
	Status     statusCommand             `cmd:"" help:"Print what the server serves, and to whom."`
	CA         caCommand                 `cmd:"" name:"ca" help:"Print the certificate of the authority behind --tls-listen."`
	Rotate     rotateCommand             `cmd:"" help:"Have the server hand out new credentials."`
	MFA        mfaCommand                `cmd:"" name:"mfa" help:"Give the server the code of your MFA device."`
	Ready      readyCommand              `cmd:"" help:"Exit with 0 when the server is ready, as the image's health check does."`
	IMDS       imdsCommand               `cmd:"" name:"imds" help:"Read an instance metadata service: a real one, or ecs-local's."`
	Scan       scanCommand               `cmd:"" help:"Find the credentials of ECS tasks in an instance metadata service."`
	Version    versionCommand            `cmd:"" help:"Print the version."`
	Completion kongcompletion.Completion `cmd:"" help:"Print the line that turns on completion in your shell."`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

// About is what the program carries with it.
type About struct {
	Version string
	License string // text of the licence
	Example string // the example Compose file
}

// environment is what the commands get beside their flags.
type environment struct {
	About
	stdout, stderr io.Writer
}

// misuse is an error in how the command was called or configured.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

const description = `ecs-local provides locally what Amazon ECS and EC2 put around a container: credentials, task metadata and instance metadata.

Every flag of serve can be given as an environment variable too.`

// Main runs the command line and returns the exit code. SIGINT and SIGTERM
// end it.
func Main(args []string, about About, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	silenceProcesses()
	return run(ctx, args, environment{About: about, stdout: stdout, stderr: stderr})
}

// silenceProcesses keeps what a credential_process writes to its standard
// error out of the log: the SDK gives it os.Stderr, and it may be anything, a
// secret too. On a terminal it may be a question to the developer.
func silenceProcesses() {
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return
	}
	if nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = nowhere // our own messages go to what Main was given
	}
}

// exited carries an exit code out of kong's help, which wants to end the
// process.
type exited int

func run(ctx context.Context, args []string, env environment) (code int) {
	defer func() {
		if e, ok := recover().(exited); ok {
			code = int(e)
		}
	}()
	var c commands
	parser, err := kong.New(&c,
		kong.Name("ecs-local"),
		kong.Description(description),
		kong.UsageOnError(),
		kong.Writers(env.stdout, env.stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Resolvers(kong.ResolverFunc(metadataPort)),
		kong.Vars{"version": versionLine(env)},
	)
	if err != nil {
		return report(env, err)
	}
	kongcompletion.Register(parser)
	if err := forgetEmpty(parser.Model); err != nil {
		return report(env, err)
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return report(env, misuse{fmt.Errorf("%w%s\nRun \"ecs-local --help\" for the commands and flags", err, meant(parser.Model, args))})
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return report(env, parsed.Run(env))
}

// meant says which command may have been meant, when the first argument is
// none.
func meant(model *kong.Application, args []string) string {
	var names []string
	for _, command := range model.Children {
		names = append(names, command.Name)
	}
	if len(args) == 0 || slices.Contains(names, args[0]) {
		return ""
	}
	if best := local.Nearest(args[0], names); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return ""
}

// forgetEmpty makes an empty variable one that is not set: Compose makes them
// of ${NAME:-}, and a script of NAME=. Only an address of the control API that
// is empty says something: that there is none.
func forgetEmpty(model *kong.Application) error {
	return kong.Visit(model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && flag.Name != "control-listen" {
			set := slices.DeleteFunc(slices.Clone(flag.Envs), isEmptyVariable)
			flag.Envs, flag.Tag.Envs = set, set
		}
		return next(nil)
	})
}

// said returns an error with only what a user needs to know of it: the causes
// that package local keeps apart are for logs.
func said(err error) error {
	if e, ok := errors.AsType[*local.Error](err); ok {
		return &local.Error{Code: e.Code, Msg: e.Msg}
	}
	return err
}

// printableLines returns text that steers no terminal: errors quote names that
// a container, an image or a service made up.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = scan.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// report prints an error and returns the exit code for it.
func report(env environment, err error) int {
	if err == nil {
		return exitOK
	}
	ended, ok := errors.AsType[exitStatus](err)
	if ok && ended.reason == nil {
		return ended.code
	}
	fmt.Fprintln(env.stderr, "ecs-local:", printableLines(err.Error()))
	if ok {
		return ended.code
	}
	if _, ok := errors.AsType[misuse](err); ok {
		return exitMisuse
	}
	return exitFailure
}
