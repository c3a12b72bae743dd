package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	os.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	} {
		os.Unsetenv(name)
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	home, err := os.MkdirTemp("", "ecs-local-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
	os.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// output collects what a command prints; it may be read while the command
// runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// running is a server that a test started.
type running struct {
	t       *testing.T
	url     string
	control string
	log     *output
	stop    context.CancelFunc
	exit    chan int
}

// longest is more than anything takes on a busy machine.
const longest = 2 * time.Minute

// start runs "ecs-local serve" with offline credentials and the static
// runtime on free ports, and waits until it serves. When the test ends it
// must end with exit code 0.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &running{t: t, log: &output{}, stop: stop, exit: make(chan int, 1)}
	all := append([]string{"serve", "--runtime", "static", "--credentials", "offline", "--listen", "127.0.0.1:0",
		"--control-listen", "127.0.0.1:0"}, args...)
	go func() {
		s.exit <- run(ctx, all, environment{About: About{Version: "v1.2.3"}, stdout: io.Discard, stderr: s.log})
	}()
	t.Cleanup(func() {
		stop()
		select {
		case code := <-s.exit:
			if code != exitOK {
				t.Errorf("exit code %d:\n%s", code, s.log)
			}
		case <-time.After(longest):
			t.Errorf("the server does not end:\n%s", s.log)
		}
	})
	found := s.await(`msg=serving url=(\S+).* control=(\S+)|"msg":"serving","url":"([^"]+)".*"control":"([^"]+)"`)
	s.url, s.control = found[1]+found[3], found[2]+found[4]
	return s
}

// await waits for a line in the log.
func (s *running) await(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.Now().Add(longest)
	for ended := false; !ended && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		ended = len(s.exit) > 0 // then all it says is there
		if found := re.FindStringSubmatch(s.log.String()); found != nil {
			return found
		}
	}
	s.t.Fatalf("no %q in the log:\n%s", pattern, s.log)
	return nil
}

// freeAddress returns a loopback address that nobody listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answerOf returns what a URL answers, and with which status.
func answerOf(t *testing.T, url string) (body []byte, status int) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body, response.StatusCode
}

// get returns the body of a URL that must answer with a status.
func get(t *testing.T, url string, status int) []byte {
	t.Helper()
	body, got := answerOf(t, url)
	if got != status {
		t.Fatalf("%s: status %d, want %d: %s", url, got, status, body)
	}
	return body
}

func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

func TestServeWithoutDockerAndWithoutAnAccount(t *testing.T) {
	t.Parallel()
	s := start(t)
	task := decode[struct {
		Cluster, Family, KnownStatus string
		Containers                   []struct{ Name, KnownStatus string }
	}](t, get(t, s.url+"/v4/task", 200))
	if task.Cluster != "ecs-local" || task.KnownStatus != "RUNNING" || len(task.Containers) != 1 {
		t.Errorf("the built-in task is %+v", task)
	}
	for _, path := range []string{"/v2/metadata", "/v3", "/v3/task", "/v4", "/v4/stats", "/v4/task/stats", "/v4/taskWithTags"} {
		get(t, s.url+path, 200)
	}

	c := decode[struct{ AccessKeyID, SecretAccessKey, Token, Expiration, RoleArn string }](t, get(t, s.url+"/role/app", 200))
	if expires, err := time.Parse(time.RFC3339, c.Expiration); err != nil || time.Until(expires) < 10*time.Minute {
		t.Errorf("Expiration %q", c.Expiration)
	}
	if !strings.HasSuffix(c.RoleArn, ":role/app") || len(c.AccessKeyID) != 20 || c.Token == "" {
		t.Errorf("malformed credentials of %q", c.RoleArn)
	}
	status := get(t, s.control+"/v1/status", 200)
	ready := get(t, s.control+"/readyz", 200)
	metrics := get(t, s.control+"/metrics", 200)
	for _, line := range []string{"ecs_local_containers 1\n", "ecs_local_tasks 1\n", "ecs_local_runtime_synced 1\n", "ecs_local_scan_failures_total "} {
		if !strings.Contains("\n"+string(metrics), "\n"+line) {
			t.Errorf("no %q in the metrics:\n%s", line, metrics)
		}
	}
	tasks := get(t, s.control+"/v1/tasks", 200)
	if v := decode[struct {
		Version, Runtime string
		Credentials      struct{ Mode string }
		Listen           map[string]string
	}](t, status); v.Version != "v1.2.3" || v.Runtime != "static" || v.Credentials.Mode != "offline" || "http://"+v.Listen["ecs"] != s.url {
		t.Errorf("status %s", status)
	}
	s.await(`route=/v1/tasks`) // the log is written up to here
	for name, text := range map[string]string{"log": s.log.String(), "status": string(status), "readyz": string(ready), "metrics": string(metrics), "tasks": string(tasks)} {
		if strings.Contains(text, c.SecretAccessKey) || strings.Contains(text, c.Token) || strings.Contains(text, c.AccessKeyID) {
			t.Errorf("%s holds what was handed out", name)
		}
	}
	if !strings.Contains(s.log.String(), "curl "+s.url) {
		t.Errorf("the log does not say what to try:\n%s", s.log)
	}
}

func TestServePrintsTheURLs(t *testing.T) {
	t.Parallel()
	tls, shown := "[::1]:0", `\[::1\]`
	if l, err := net.Listen("tcp", tls); err != nil { // a machine without IPv6
		tls, shown = "127.0.0.1:0", `127\.0\.0\.1`
	} else {
		l.Close()
	}
	s := start(t, "--tls-listen", tls, "--introspection-listen", "0.0.0.0:0")
	get(t, s.control+"/healthz", 200)
	s.await(`msg=serving url=` + s.url + ` tls=https://` + shown + `:\d+ control=` + s.control + ` introspection=http://127\.0\.0\.1:\d+ runtime=static credentials=offline try="curl ` + s.url + `/v4/task"`)
}

func TestServeIsReadyForTheHealthCheck(t *testing.T) {
	t.Parallel()
	s := start(t)
	var out, messages output
	code := run(context.Background(), []string{"ready", "--timeout", longest.String(), "--control-listen", strings.TrimPrefix(s.control, "http://")},
		environment{stdout: &out, stderr: &messages})
	if code != exitOK || out.String() != "ready\n" || messages.String() != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, &out, &messages)
	}
}

func TestServeHonoursTheVariablesOfTheToolItReplaces(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "container.json"), `{"Labels":{"team":"blue"},"Extra":1}`)
	write(t, filepath.Join(dir, "task.json"), `{"AvailabilityZone":"us-west-2c"}`)
	for name, value := range map[string]string{
		"CLUSTER_ARN":              "arn:aws:ecs:us-west-2:111122223333:cluster/mine",
		"TASK_ARN":                 "arn:aws:ecs:us-west-2:111122223333:task/mine/37e873f6",
		"TASK_DEFINITION_FAMILY":   "mine",
		"TASK_DEFINITION_REVISION": "42",
		"CONTAINER_METADATA_PATH":  filepath.Join(dir, "container.json"),
		"TASK_METADATA_PATH":       filepath.Join(dir, "task.json"),
		"IAM_ENDPOINT":             "http://127.0.0.1:1",
		"SHARED_TOKEN_EXPIRATION":  "900",
		"ECS_LOCAL_LISTEN":         "127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	ctx, stop := context.WithCancel(context.Background())
	log, exit, port := &output{}, make(chan int, 1), ""
	serve := func() {
		port = strings.TrimPrefix(freeAddress(t), "127.0.0.1:")
		t.Setenv("ECS_LOCAL_METADATA_PORT", port)
		go func() {
			exit <- run(ctx, []string{"--runtime=static", "--credentials=offline", "--control-listen="}, environment{stdout: io.Discard, stderr: log})
		}()
	}
	serve()
	ended := false
	defer func() {
		if stop(); !ended {
			<-exit
		}
	}()
	eventually(t, "that it serves", func() bool {
		select {
		case code := <-exit:
			if ended = !strings.Contains(log.String(), "127.0.0.1:"+port+": the port is in use"); ended {
				t.Fatalf("exit %d: %s", code, log)
			}
			serve() // somebody took the port
		default:
		}
		return strings.Contains(log.String(), "msg=serving url=http://127.0.0.1:"+port+" ")
	})

	body := get(t, "http://127.0.0.1:"+port+"/v3/task", 200)
	got := decode[struct {
		Cluster, TaskARN, Family, Revision, AvailabilityZone string
		Containers                                           []struct {
			Labels map[string]string
			Extra  int
		}
	}](t, body)
	if got.Cluster != os.Getenv("CLUSTER_ARN") || got.TaskARN != os.Getenv("TASK_ARN") || got.Family != "mine" || got.Revision != "42" || got.AvailabilityZone != "us-west-2c" {
		t.Errorf("the task is %s", body)
	}
	if got.Containers[0].Labels["team"] != "blue" || got.Containers[0].Extra != 1 {
		t.Errorf("the container is %s", body)
	}
}

// amazon-ecs-local-container-endpoints takes a time with a unit, and one
// without for seconds.
func TestSharedTokenExpirationIsATimeOrANumberOfSeconds(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", testKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	t.Setenv("AWS_SESSION_TOKEN", testToken)
	for value, want := range map[string]time.Duration{"": 750 * time.Second, "900": 15 * time.Minute, "15m": 15 * time.Minute, "1h30m": 90 * time.Minute} {
		t.Setenv("SHARED_TOKEN_EXPIRATION", value)
		began := time.Now()
		s := start(t, "--credentials", "sts")
		if ends := s.served("/creds").Expiration; ends.Before(began.Add(want-time.Second)) || ends.After(time.Now().Add(want+time.Second)) {
			t.Errorf("SHARED_TOKEN_EXPIRATION=%s: started at %s, the credentials live until %s, want %s", value, began, ends, want)
		}
	}
}

// write puts a file in place at once: nobody reads it empty.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(content), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func TestServeReloadsItsConfiguration(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ecs-local.yaml")
	write(t, file, "tasks: {shop: {family: before, containers: {web: {image: web}}}}\n")
	s := start(t, "--config", file)
	family := func() string { return decode[struct{ Family string }](t, get(t, s.url+"/v4/task", 200)).Family }
	if got := family(); got != "before" {
		t.Fatalf("family %q", got)
	}

	write(t, file, "tasks: {shop: {family: after, containers: {web: {image: web}}}}\n")
	s.await(`msg="configuration loaded"`)
	if got := family(); got != "after" {
		t.Errorf("family %q after a change", got)
	}

	write(t, file, "tasks: {shop: {famly: broken}}\n")
	s.await(`configuration refused; the old one stays in force.*ecs-local.yaml:1`)
	if got := family(); got != "after" {
		t.Errorf("family %q after a refused change", got)
	}
	if status := get(t, s.control+"/v1/status", 200); !bytes.Contains(status, []byte(`ecs-local.yaml:1`)) {
		t.Errorf("the status does not show why: %s", status)
	}
}

func TestServeReloadsAtSIGHUP(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ecs-local.yaml")
	write(t, file, "tasks: {shop: {family: same, containers: {web: {image: web}}}}\n")
	s := start(t, "--config", file)
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(`msg="configuration loaded"`)
}

func TestServeSaysWhatToDoAboutABusyPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var messages output
	code := run(context.Background(), []string{"serve", "--runtime", "static", "--credentials", "offline", "--listen", taken.Addr().String()},
		environment{stdout: io.Discard, stderr: &messages})
	if code != exitFailure || !strings.Contains(messages.String(), "the port is in use") || !strings.Contains(messages.String(), "--listen") {
		t.Errorf("exit %d: %s", code, &messages)
	}
}

func TestServeWritesJSONLogs(t *testing.T) {
	t.Parallel()
	s := start(t, "--log-format", "json")
	get(t, s.url+"/v4", 200)
	s.await(`"route":"/v4"`)
	for line := range strings.Lines(s.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// A client that sends its headers a byte at a time must not hold a connection
// for longer than the read timeout.
func TestServeCutsOffASlowClient(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begun := time.Now()
	if _, err := io.WriteString(conn, "GET /v4 HTTP/1.1\r\nHost: localhost\r\n"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for { // until the connection ends, at the latest with the test
			time.Sleep(200 * time.Millisecond)
			if _, err := io.WriteString(conn, "X"); err != nil {
				return
			}
		}
	}()
	_ = conn.SetReadDeadline(begun.Add(10 * readTimeout))
	answer, err := io.ReadAll(conn)
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		t.Fatalf("still connected after %s", time.Since(begun))
	}
	if strings.Contains(string(answer), "200 OK") {
		t.Errorf("answered %q", answer)
	}
}

func TestServeRefusesOverlongHeaders(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // the server reads only a part
		_, _ = io.WriteString(conn, "GET /v4 HTTP/1.1\r\nHost: localhost\r\nX-Long: "+strings.Repeat("x", 4*maxHeaderBytes)+"\r\n\r\n")
	}()
	_ = conn.SetReadDeadline(time.Now().Add(longest))
	// What has arrived is read also when the connection has been reset since.
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestServeEndsInTimeWithOpenConnections(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /v4 HTTP/1.1\r\n"); err != nil { // never finished
		t.Fatal(err)
	}
	begun := time.Now()
	s.stop()
	select {
	case code := <-s.exit:
		s.exit <- code
	case <-time.After(shutdownTimeout + idleTimeout/2): // an open connection may live longer
		t.Fatalf("still running after %s", time.Since(begun))
	}
}
