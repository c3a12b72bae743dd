package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A worker is docs/examples/protect-while-working.py, as a process that
// belongs to the task of a container.
type worker struct {
	cmd    *exec.Cmd
	jobs   io.WriteCloser
	said   *output
	dir    string // where its jobs say that they began, and are told to end
	ended  chan struct{}
	result error // once it ended
}

func startWorker(t *testing.T, env []string) *worker {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no Python: "+err.Error())
	}
	w := &worker{
		cmd:  exec.Command(python, filepath.Join(repository(), "docs", "examples", "protect-while-working.py")),
		said: &output{}, dir: freeDir(t), ended: make(chan struct{}),
	}
	w.cmd.Env = pointedAt(t, "", append([]string{"PROTECTION_MINUTES=2", "RENEW_SECONDS=0.5"}, env...)...)
	w.cmd.Stdout, w.cmd.Stderr = w.said, w.said
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if w.jobs, err = w.cmd.StdinPipe(); err != nil {
		t.Fatalf("make pipe: %v", err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("start worker: %v", err)
	}
	go func() {
		w.result = w.cmd.Wait()
		close(w.ended)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of the worker:\n%s", w.said.String())
		}
		end(w.cmd.Process.Pid, syscall.SIGKILL)
		<-w.ended
	})
	return w
}

// give hands the worker a job that lasts until finish, and ends with a code.
func (w *worker) give(t *testing.T, job string, code int) {
	t.Helper()
	_, err := fmt.Fprintf(w.jobs, "sh -c 'echo $$ >%[1]s.new; mv %[1]s.new %[1]s; until test -e %[1]s.end; do sleep 0.05; done; exit %[2]d'\n",
		filepath.Join(w.dir, job), code)
	if err != nil {
		t.Fatalf("give job: %v", err)
	}
}

func (w *worker) finish(t *testing.T, job string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, job+".end"), nil, 0o644); err != nil {
		t.Fatalf("finish job: %v", err)
	}
}

// began returns the process id of a job, and an error while it has not begun.
func (w *worker) began(job string) (int, error) {
	text, err := os.ReadFile(filepath.Join(w.dir, job))
	if err != nil {
		return 0, fmt.Errorf("the job has not begun: %w", err)
	}
	var pid int
	_, err = fmt.Sscan(string(text), &pid)
	return pid, err
}

// working waits until a job has begun, and returns its process id.
func (w *worker) working(t *testing.T, job string) (pid int) {
	t.Helper()
	eventually(t, soon, func() (err error) {
		pid, err = w.began(job)
		return err
	})
	return pid
}

// code waits for the worker's end and returns its exit code.
func (w *worker) code(t *testing.T) int {
	t.Helper()
	select {
	case <-w.ended:
	case <-time.After(longest):
		t.Fatal("the worker does not end")
	}
	var exit *exec.ExitError
	if w.result != nil && !errors.As(w.result, &exit) {
		t.Fatalf("wait for the worker: %v", w.result)
	}
	return w.cmd.ProcessState.ExitCode()
}

// protectionDocument is one task of GET /v1/protection.
type protectionDocument struct {
	TaskARN           string `json:"taskArn"`
	ProtectionEnabled bool
	ExpirationDate    *time.Time
}

// protectionOf asks the control API for a task's protection.
func (s server) protectionOf(t *testing.T, arn string) protectionDocument {
	t.Helper()
	for _, p := range document[[]protectionDocument](t, fromHost(t, s.control+"/v1/protection")) {
		if p.TaskARN == arn {
			return p
		}
	}
	t.Fatalf("GET /v1/protection does not know the task %s", arn)
	return protectionDocument{}
}

func (s server) wantProtected(t *testing.T, arn, when string) time.Time {
	t.Helper()
	p := s.protectionOf(t, arn)
	if !p.ProtectionEnabled || p.ExpirationDate == nil || time.Until(*p.ExpirationDate) <= time.Minute || time.Until(*p.ExpirationDate) > 2*time.Minute {
		t.Fatalf("%s the protection is %+v; want it for up to two minutes", when, p)
	}
	return *p.ExpirationDate
}

func (s server) wantFree(t *testing.T, arn, when string) {
	t.Helper()
	if p := s.protectionOf(t, arn); p.ProtectionEnabled || p.ExpirationDate != nil {
		t.Errorf("%s the protection is %+v, until %v; want none", when, p, p.ExpirationDate)
	}
}

// refuse sets what the task's calls are refused with.
func (s server) refuse(t *testing.T, arn, how string) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, longest), http.MethodPut, s.control+"/v1/protection/"+arn, strings.NewReader(`{"refuse":"`+how+`"}`))
	if err != nil {
		t.Fatalf("make request: %v", err)
	}
	res, err := direct.Do(req)
	if err != nil {
		t.Fatalf("refuse %s: %v", how, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("refuse %s: got status %d, want 200", how, res.StatusCode)
	}
}

// refused waits until the log has a call of the task that was refused.
func (s server) refused(t *testing.T, arn string) {
	t.Helper()
	eventually(t, soon, func() error {
		for line := range strings.Lines(s.output.String()) {
			if strings.Contains(line, "family=task-protection") && strings.Contains(line, "status=400") && strings.Contains(line, arn[strings.LastIndex(arn, "/")+1:]) {
				return nil
			}
		}
		return errors.New("no call of the task was refused")
	})
}

func TestExampleWorkerIsProtectedWhileItWorks(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	s := startServer(t, "127.0.0.1", []string{"DOCKER_HOST=" + c.DaemonHost()}, "--runtime", "docker", "--credentials", "offline")
	// The container stands for the worker's: it has the task, and the address of
	// the agent's API is its own.
	task := func(t *testing.T) (arn string, env []string) {
		w, service := &watched{arn: newTaskARN()}, unique("worker")
		labels := w.labels("worker")
		labels["com.docker.compose.project"], labels["com.docker.compose.service"] = unique("jobs"), service
		started(t, c, spec{labels: labels, cmd: []string{"/probe", "serve"}, mode: "bridge"})
		return w.arn, s.environment(t, service)
	}

	t.Run("during each job, renewed, and not between jobs", func(t *testing.T) {
		t.Parallel()
		arn, env := task(t)
		w := startWorker(t, env)
		s.wantFree(t, arn, "before the first job")
		for job, code := range map[string]int{"good": 0, "bad": 3} {
			w.give(t, job, code)
			w.working(t, job)
			first := s.wantProtected(t, arn, "during the job")
			eventually(t, soon, func() error {
				if now := s.wantProtected(t, arn, "later in the job"); !now.After(first) {
					return fmt.Errorf("the protection still ends at %s: it was not renewed", now)
				}
				return nil
			})
			w.finish(t, job)
			eventually(t, soon, func() error {
				if s.protectionOf(t, arn).ProtectionEnabled {
					return errors.New("the job is done, the task still protected")
				}
				return nil
			})
		}
		if err := w.jobs.Close(); err != nil {
			t.Fatalf("end input: %v", err)
		}
		if code := w.code(t); code != 0 {
			t.Errorf("without more jobs the worker ended with %d, want 0", code)
		}
		s.wantFree(t, arn, "after the worker's end")
		if !strings.Contains(w.said.String(), "ended with 3") {
			t.Error("the worker does not say that a job failed")
		}
	})
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run("given back when the worker is told to stop: "+signal.String(), func(t *testing.T) {
			t.Parallel()
			arn, env := task(t)
			w := startWorker(t, env)
			w.give(t, "long", 0)
			job := w.working(t, "long")
			s.wantProtected(t, arn, "during the job")
			if err := w.cmd.Process.Signal(signal); err != nil {
				t.Fatalf("signal worker: %v", err)
			}
			if code, want := w.code(t), 128+int(signal); code != want {
				t.Errorf("the worker ended with %d, want %d", code, want)
			}
			s.wantFree(t, arn, "after the worker's end")
			if err := syscall.Kill(job, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the job still runs (%v)", err)
			}
		})
	}
	t.Run("no job begins without protection", func(t *testing.T) {
		t.Parallel()
		arn, env := task(t)
		s.refuse(t, arn, "access-denied")
		w := startWorker(t, env)
		w.give(t, "never", 0)
		if code := w.code(t); code != 1 {
			t.Errorf("the worker ended with %d, want 1", code)
		}
		if _, err := w.began("never"); err == nil {
			t.Error("the job began")
		}
		if !strings.Contains(w.said.String(), "AccessDeniedException") {
			t.Error("the worker does not say why")
		}
	})
	t.Run("a throttled call is made again", func(t *testing.T) {
		t.Parallel()
		arn, env := task(t)
		s.refuse(t, arn, "throttled")
		w := startWorker(t, env)
		w.give(t, "later", 0)
		s.refused(t, arn)
		if _, err := w.began("later"); err == nil {
			t.Error("the job began without protection")
		}
		s.refuse(t, arn, "none")
		w.working(t, "later")
		s.wantProtected(t, arn, "during the job")
		w.finish(t, "later")
	})
	t.Run("told to stop while it is given back", func(t *testing.T) {
		t.Parallel()
		arn, env := task(t)
		w := startWorker(t, append(env, "RENEW_SECONDS=60"))
		w.give(t, "short", 0)
		w.working(t, "short")
		s.refuse(t, arn, "throttled")
		w.finish(t, "short")
		s.refused(t, arn)
		if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatalf("signal worker: %v", err)
		}
		s.refuse(t, arn, "none")
		if code, want := w.code(t), 128+int(syscall.SIGTERM); code != want {
			t.Errorf("the worker ended with %d, want %d", code, want)
		}
		s.wantFree(t, arn, "after the worker's end")
	})
}
