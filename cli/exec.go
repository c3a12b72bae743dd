package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
	"github.com/ecs-local/ecs-local/local/scan"
)

// execCommand is "ecs-local exec".
type execCommand struct {
	serverFlags
	Role     string   `placeholder:"ROLE" help:"Run with the credentials of this role, by name or ARN."`
	Task     string   `placeholder:"NAME" help:"Run as a container of this task: a Compose project, or a task of the configuration file."`
	Service  string   `placeholder:"NAME" help:"Run as the container of this service of the task, or with this name."`
	LogLevel string   `enum:"debug,info,warn,error" default:"warn" help:"debug, info, warn (${default}) or error; logs go to stderr."`
	Command  []string `arg:"" optional:"" passthrough:"" placeholder:"CMD" help:"The command and its arguments, after --."`
}

// Run starts the server on a free port of the loopback address, and the
// command with variables that lead there. It ends with the command.
func (c execCommand) Run(ctx context.Context, env environment) error {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return misuse{errors.New("no command to run: write it after --, as in ecs-local exec -- aws sts get-caller-identity")}
	}
	if c.Role != "" {
		if _, err := local.ParseRole(c.Role); err != nil {
			return misuse{said(err)}
		}
	}
	if c.Task == "" && c.Service == "" && c.Runtime == runtimeAuto {
		c.Runtime = runtimeStatic // the command is a container of its own
	}
	log, flush := newLog(env.stderr, c.LogLevel, "text")
	defer flush()

	// A signal is for the command: the server ends after it.
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	token := rand.Text() + rand.Text()
	s, err := newService(serving, c.serverFlags, listenFlags{Listen: "127.0.0.1:0"}, func() (string, error) { return token, nil }, env, log)
	if err != nil {
		return err
	}
	defer s.close()
	stopped := make(chan error, 1)
	ready := make(chan struct{})
	go func() { stopped <- s.run(serving, func() { close(ready) }) }()
	defer func() {
		end()
		if err := <-stopped; err != nil {
			log.Error("the server ended with an error", slog.String("error", said(err).Error()))
		}
	}()
	<-ready

	child := exec.Command(command[0], command[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, env.stdout, env.stderr
	given, err := c.variables(ctx, s, token)
	if err != nil {
		return err
	}
	child.Env = childEnvironment(os.Environ(), given)
	return runForwarding(child)
}

// variables lead a program on this machine to the server.
func (c execCommand) variables(ctx context.Context, s *service, token string) (variables, error) {
	who, err := c.caller(ctx, s)
	if err != nil {
		return nil, err
	}
	url := s.url()
	path, err := c.credentialsPath(ctx, s, who)
	if err != nil {
		return nil, err
	}
	v := variables{}
	v.add(varCredentialsFull, url+path)
	v.add(varAuthorization, token)
	endpoint, launch := "", local.DefaultLaunch
	if who.Container != nil {
		endpoint = who.Container.EndpointID
	}
	if who.Task != nil {
		launch = who.Task.LaunchType
	}
	v.addMetadata(url, endpoint)
	v.add(varIMDSEndpoint, url)
	v.addRegion(s.region())
	v.add(varExecution, local.ExecutionEnvironment(launch))
	if s.credentials.Status().Mode == creds.ModeOffline {
		v.add(varSTS, url)
	}
	return v, nil
}

// caller returns the container that the command stands for, as far as flags
// and tasks tell. Nothing known is no error: what asks for it then says what
// is missing.
func (c execCommand) caller(ctx context.Context, s *service) (local.Caller, error) {
	find := func(dir *local.Directory) (local.Caller, error) { return c.find(dir) }
	dir, err := s.containers.Refresh(ctx, func(d *local.Directory) bool { _, err := find(d); return err == nil })
	if err != nil {
		return local.Caller{}, fmt.Errorf("find the containers: %w", said(err))
	}
	who, err := find(dir)
	if err != nil && c.Task == "" && c.Service == "" {
		return local.Caller{}, nil
	}
	if err != nil {
		return who, misuse{said(err)}
	}
	return who, nil
}

func (c execCommand) find(dir *local.Directory) (local.Caller, error) {
	tasks := dir.Tasks()
	if c.Task != "" {
		tasks = slices.DeleteFunc(slices.Clone(tasks), func(t *local.Task) bool { return t.Name != c.Task && t.ARN != c.Task && t.ID() != c.Task })
		if len(tasks) == 0 {
			return local.Caller{}, local.Errorf(local.NotFound, "no task is called %q%s: check --task", c.Task, namesOf(dir.Tasks()))
		}
	}
	if c.Service != "" {
		return findService(dir, tasks, c.Service)
	}
	switch {
	case len(tasks) == 1 && len(tasks[0].Containers) == 1:
		return local.Caller{Task: tasks[0], Container: tasks[0].Containers[0]}, nil
	case len(tasks) == 1:
		return local.Caller{Task: tasks[0]}, nil
	default:
		return local.Caller{}, local.Errorf(local.Ambiguous, "there are %d tasks%s: choose one with --task", len(tasks), namesOf(tasks))
	}
}

// findService returns the container of a service in one of the tasks.
func findService(dir *local.Directory, tasks []*local.Task, service string) (local.Caller, error) {
	var found []local.Caller
	var last error
	for _, t := range tasks {
		who, err := dir.Find(local.Caller{Task: t}, service)
		switch {
		case err == nil && who.Task == t:
			found = append(found, who)
		case err != nil:
			last = err
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var names []*local.Task
		for _, who := range found {
			names = append(names, who.Task)
		}
		return local.Caller{}, local.Errorf(local.Ambiguous, "%d tasks have a service %q%s: choose one with --task", len(found), service, namesOf(names))
	case last != nil:
		return local.Caller{}, last
	default:
		return local.Caller{}, local.Errorf(local.NotFound, "no task has a service %q%s: check --service", service, namesOf(tasks))
	}
}

func namesOf(tasks []*local.Task) string {
	if len(tasks) == 0 {
		return " (none is known)"
	}
	var names []string
	for _, t := range tasks {
		names = append(names, t.Name)
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// deliveryWait is how long a task's credentials may take to be delivered,
// which the scanner does every second.
const deliveryWait = 10 * time.Second

// credentialsPath is where the command's credentials are: those of the role
// that was asked for, those of the task, or the developer's session.
func (c execCommand) credentialsPath(ctx context.Context, s *service, who local.Caller) (string, error) {
	switch {
	case c.Role != "":
		return rolePath(c.Role), nil
	case who.Task == nil:
		return "/creds", nil
	}
	id := s.instance.roles.ID(who.Task, scan.TaskApplication)
	if id == "" {
		return "/creds", nil
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryWait)
	defer cancel()
	for {
		_, _, err := s.instance.roles.Get(id)
		if local.CodeOf(err) != local.Unavailable {
			return "/v2/credentials/" + id, nil // what else is wrong, the endpoint tells
		}
		select {
		case <-ctx.Done():
			return "/v2/credentials/" + id, nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}
