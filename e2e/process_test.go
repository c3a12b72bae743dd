package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// givenPorts are those that freePort has returned.
var givenPorts sync.Map

// freePort returns a port of an address of this machine that nobody uses, each
// once. They are below those that the system takes for connections, so that
// none is taken before it is listened on.
// https://docs.kernel.org/networking/ip-sysctl.html#ip-variables
func freePort(t *testing.T, host string) string {
	t.Helper()
	const first, many = 20000, 12000
	var last error
	for range 100 {
		port := strconv.Itoa(first + rand.IntN(many))
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err == nil {
			_ = l.Close()
			return port
		}
		last = err
	}
	t.Fatalf("find a free port of %s: %v", host, last)
	return ""
}

// output collects what a running process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// background starts a program, in a process group of its own, and ends it with
// the test.
func background(t *testing.T, cmd *exec.Cmd) *output {
	t.Helper()
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd.Path, tail(out.String(), 40))
		}
		end(cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			end(cmd.Process.Pid, syscall.SIGKILL)
			<-gone
		}
	})
	return out
}

// end signals the process group that a process of ours leads.
func end(pid int, signal syscall.Signal) {
	if err := syscall.Kill(-pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		panic(fmt.Sprintf("signal process %d: %v", pid, err))
	}
}

// answering waits until something answers HTTP there.
func answering(t *testing.T, url string) {
	t.Helper()
	eventually(t, longest, func() error {
		res, err := direct.Get(url)
		if err != nil {
			return fmt.Errorf("get %s: %w", url, err)
		}
		return res.Body.Close()
	})
}

// A server is ecs-local as a process of this machine.
type server struct {
	url     string
	control string
	output  *output
}

// startServer starts ecs-local as a process that listens on a host's address,
// and waits until it is ready.
func startServer(t *testing.T, host string, env []string, args ...string) server {
	t.Helper()
	s := server{
		url:     "http://" + net.JoinHostPort(host, freePort(t, host)),
		control: "http://" + net.JoinHostPort("127.0.0.1", freePort(t, "127.0.0.1")),
	}
	cmd := exec.Command(program(t), append([]string{"serve",
		"--listen", s.url[len("http://"):], "--control-listen", s.control[len("http://"):], "--log-level", "debug",
	}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + freeDir(t), "AWS_EC2_METADATA_DISABLED=true"}, env...)
	s.output = background(t, cmd)
	ready(t, s.control)
	searchLater(t, s.control, func() (string, error) { return s.output.String(), nil })
	return s
}

// notReady waits until /readyz says that something is missing, and returns
// what it says.
func notReady(t *testing.T, control string) string {
	t.Helper()
	var said string
	eventually(t, soon, func() error {
		status, body, err := readiness(control)
		if err != nil {
			return err
		}
		if status != http.StatusServiceUnavailable {
			return fmt.Errorf("/readyz: got %d, want 503: %s", status, body)
		}
		said = body
		return nil
	})
	return said
}
