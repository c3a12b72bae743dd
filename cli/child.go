package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// Exit codes of a command that could not be run.
// https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_08_02
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // plus the number of the signal
)

// exitStatus is the exit code of a command that exec has run. reason is nil
// when the command itself has said why.
type exitStatus struct {
	code   int
	reason error
}

func (e exitStatus) Error() string {
	if e.reason == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.reason.Error()
}

func (e exitStatus) Unwrap() error { return e.reason }

// childEnvironment is the command's: what would lead its SDK to other
// credentials is taken out, and the AWS files, which SDKs read before they ask
// a container's endpoint, are hidden.
func childEnvironment(own []string, given variables) []string {
	given = append(variables{
		{"AWS_CONFIG_FILE", os.DevNull}, {"AWS_SHARED_CREDENTIALS_FILE", os.DevNull},
		{"AWS_EC2_METADATA_DISABLED", "false"}, // theirs is ours
	}, given...)
	gone := []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
		varCredentialsRelative, varAuthorizationFile, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
	}
	kept := slices.DeleteFunc(slices.Clone(own), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(gone, name) || slices.ContainsFunc(given, func(v variable) bool { return v.name == name })
	})
	for _, v := range given {
		kept = append(kept, v.name+"="+v.value)
	}
	return kept
}

// runForwarding runs a command, hands on the signals that this process gets,
// and returns how it ended.
func runForwarding(child *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		return notStarted(child, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case got := <-signals:
			if !fromTerminal(got) {
				_ = child.Process.Signal(got) // it may have ended just now
			}
		case err := <-ended:
			return statusOf(child, err)
		}
	}
}

func notStarted(child *exec.Cmd, err error) error {
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	return exitStatus{code, fmt.Errorf("%s cannot be run (%w): check the command after --", child.Args[0], unwrapped(err))}
}

// unwrapped is the cause in an error of package exec, which names the command
// again.
func unwrapped(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func statusOf(child *exec.Cmd, err error) error {
	if child.ProcessState == nil {
		return fmt.Errorf("wait for %s: %w", child.Args[0], err)
	}
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitStatus{code: exitSignal + int(status.Signal())}
	}
	if code := child.ProcessState.ExitCode(); code != exitOK {
		return exitStatus{code: code}
	}
	return nil
}
