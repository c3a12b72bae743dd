package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// binaries are what is measured and what measures, both static.
type binaries struct{ program, bench string }

// build makes them in a folder.
func build(ctx context.Context, o options, dir string) (binaries, error) {
	b := binaries{program: o.program, bench: filepath.Join(dir, "bench")}
	if err := goBuild(ctx, filepath.Join(o.repo, "e2e"), b.bench, "./bench"); err != nil {
		return b, err
	}
	if b.program == "" {
		b.program = filepath.Join(dir, "ecs-local")
		return b, goBuild(ctx, o.repo, b.program, ".")
	}
	return b, nil
}

func goBuild(ctx context.Context, module, to, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", to, pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", pkg, module, err, out)
	}
	return nil
}

// process is a server that this program has started.
type process struct {
	cmd     *exec.Cmd
	address string
	log     string // file of its stderr
	exited  chan struct{}
}

// startProcess starts a server. Its stderr goes to a file on disk, as in a
// container or a service.
func startProcess(name string, args, env []string, address, dir string) (*process, error) {
	p := &process{
		cmd: exec.Command(name, args...), address: address,
		log:    filepath.Join(dir, filepath.Base(name)+"-"+strings.ReplaceAll(address, ":", "-")+".log"),
		exited: make(chan struct{}),
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	p.cmd.Env, p.cmd.Stderr = env, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which then ends them in order
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop ends the process and removes its log.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	_ = os.Remove(p.log)
}

// forgetLog empties the log, which holds a line for every request.
func (p *process) forgetLog() { _ = os.Truncate(p.log, 0) }

// failure adds the end of the log to an error.
func (p *process) failure(err error) error {
	const most = 2000
	text, _ := os.ReadFile(p.log)
	return fmt.Errorf("%w\nlog of %s:\n%s", err, filepath.Base(p.cmd.Path), text[max(0, len(text)-most):])
}

// firstAnswer waits until the path is answered with 200. It asks often,
// because the time matters.
func (p *process) firstAnswer(ctx context.Context, path string) error {
	const patience, pause = 10 * time.Second, 200 * time.Microsecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	target := Target{Address: p.address, Path: path}
	for {
		status, err := askOnce(target)
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-p.exited:
			return p.failure(errors.New("the server has ended"))
		case <-ctx.Done():
			return p.failure(fmt.Errorf("%s was not answered with 200 within %s: status %d, %w", path, patience, status, errors.Join(err, ctx.Err())))
		case <-time.After(pause):
		}
	}
}

func askOnce(t Target) (int, error) {
	e, err := dial(t)
	if err != nil {
		return 0, err
	}
	defer func() { _ = e.conn.Close() }()
	a, err := e.whole()
	return a.Status, err
}

// freeAddress returns an address of this host with a port that nobody uses.
func freeAddress(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("listen on the network's gateway (a Docker engine on this very Linux machine is needed): %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// resident returns the resident memory in bytes.
// https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
func (p *process) resident() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("read memory: no VmRSS")
}

// processorTime returns how long the process has run on a processor so far.
// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func (p *process) processorTime() (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go supports
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	// The name in the second field may hold anything, so count behind it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("read processor time: too few fields")
	}
	user, userErr := strconv.ParseInt(fields[11], 10, 64)
	system, systemErr := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(userErr, systemErr)
}

// environment is that of ecs-local: made-up base credentials, the fake STS,
// and nothing of whoever runs this program but the way to the engine.
func environment(sts *fakeSTS, home string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home,
		"AWS_ACCESS_KEY_ID=" + madeUp(20), "AWS_SECRET_ACCESS_KEY=" + madeUp(40), "AWS_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "STS_ENDPOINT=" + sts.url,
	}
	for _, name := range []string{"DOCKER_HOST", "GOMAXPROCS"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// startProgram starts ecs-local the way users do, with more arguments if any.
// It has not answered yet.
func (w *world) startProgram(more ...string) (*process, error) {
	address, err := freeAddress(w.gateway)
	if err != nil {
		return nil, err
	}
	args := slices.Concat([]string{"serve", "--listen", address, "--control-listen", "", "--runtime", "docker", "--credentials", "sts"}, more)
	return startProcess(w.binaries.program, args, environment(w.sts, w.dir), address, w.dir)
}

// startBare starts the bare handler, with more lines of the header if any. It
// has not answered yet.
func (w *world) startBare(contentType string, size int, header ...string) (*process, error) {
	address, err := freeAddress(w.gateway)
	if err != nil {
		return nil, err
	}
	args := []string{"bare", "-listen", address, "-type", contentType, "-size", strconv.Itoa(size)}
	for _, line := range header {
		args = append(args, "-header", line)
	}
	return startProcess(w.binaries.bench, args, os.Environ(), address, w.dir)
}
