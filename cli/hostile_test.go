package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Names come from labels of images, from services, from whoever answers at an
// address: a terminal would obey some of them.
func TestNamesSteerNoTerminal(t *testing.T) {
	t.Parallel()
	const evil = "x\x1b]0;owned\a\u009b31m\tfake"
	said := func(status int, v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	control := http.NewServeMux()
	control.HandleFunc("/v1/status", said(200, map[string]any{"version": evil, "runtime": evil, "listen": map[string]string{"ecs": evil},
		"credentials": map[string]any{"mode": evil, "identity": evil, "error": evil, "mfa": map[string]any{"serial": evil}}, "config": map[string]string{"file": evil, "error": evil}}))
	control.HandleFunc("/v1/tasks", said(200, []knownTask{{Name: evil + "\nfake line", ARN: evil, Credentials: map[string]string{"TaskApplication": evil},
		Containers: []knownContainer{{DockerName: evil, State: evil, Addresses: map[string]string{"net": evil}}}}}))
	control.HandleFunc("/v1/protection", said(200, []map[string]string{{"taskArn": evil, "refuse": evil}}))
	control.HandleFunc("/v1/faults/network", said(200, []map[string]string{{"taskArn": evil, "type": evil}}))
	control.HandleFunc("/v1/credentials/rotate", said(200, map[string]any{"rotated": []string{evil}}))
	control.HandleFunc("/v1/credentials/mfa", said(400, map[string]string{"code": "Invalid", "message": "refused: " + evil}))
	instance := http.NewServeMux()
	instance.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "token") })
	instance.HandleFunc("/latest/meta-data/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/latest/meta-data/" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "\u009b31mred\ninstance-id\n")
	})
	instance.HandleFunc("/latest/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "meta-data/\n") })
	instance.HandleFunc("/latest/meta-data/placement/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, evil) })
	controlServer, instanceServer := httptest.NewServer(control), httptest.NewServer(instance)
	t.Cleanup(controlServer.Close)
	t.Cleanup(instanceServer.Close)
	at := strings.TrimPrefix(controlServer.URL, "http://")
	for _, args := range [][]string{
		{"status", "--control-listen", at, "--timeout", longest.String()},
		{"rotate", "--control-listen", at, "--timeout", longest.String()},
		{"mfa", "123456", "--control-listen", at, "--timeout", longest.String()},
		{"imds", "ls", "placement", "--endpoint", instanceServer.URL, "--timeout", longest.String()},
		{"imds", "dump", "--rate", "1000", "--endpoint", instanceServer.URL, "--timeout", longest.String()},
		{"imds", "get", evil, "--endpoint", instanceServer.URL, "--timeout", longest.String()},
		{evil},
	} {
		t.Run(args[0]+" "+strings.Join(args[1:min(2, len(args))], ""), func(t *testing.T) {
			t.Parallel()
			var out, messages output
			run(context.Background(), args, environment{stdout: &out, stderr: &messages})
			for _, text := range []string{out.String(), messages.String()} {
				if strings.ContainsAny(text, "\x1b\a\u009b\t") || strings.Contains(text, "\nfake line") {
					t.Errorf("printed %q", text)
				}
			}
			if !regexp.MustCompile(`\\x1b|\\u009b`).MatchString(out.String() + messages.String()) {
				t.Errorf("the name is not printed, so this tests nothing: %q %q", &out, &messages)
			}
		})
	}
}

// What our own scanner reads has credentials and asks nobody for a token, nor
// looks at the host name: a port for it would serve every program of the
// machine, and web pages by DNS rebinding.
func TestTheScannersOwnInstanceHasNoPort(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	flags := serverFlags{Credentials: "offline", Runtime: runtimeStatic, StateDir: t.TempDir(), Faults: faultsRecorded}
	s, err := newService(ctx, flags, listenFlags{Listen: "127.0.0.1:0"}, nil, environment{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if network := s.instance.private.listener.Addr().Network(); strings.HasPrefix(network, "tcp") {
		t.Errorf("it listens on %s %s", network, s.instance.private.listener.Addr())
	}
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, func() {}) }()
	eventually(t, "that the scanner reads something", func() bool { return s.instance.refresher.Now(ctx) == nil })
	if _, scanned := s.instance.refresher.Report(); !scanned {
		t.Error("no scan has ended")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Other programs of the machine cannot use the server of exec: neither its
// credentials nor those in its instance metadata.
func TestExecIsForItsCommandOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	told, over := filepath.Join(dir, "told"), filepath.Join(dir, "over")
	var messages output
	ended := make(chan int, 1)
	go func() {
		const script = `echo "$AWS_EC2_METADATA_SERVICE_ENDPOINT $AWS_CONTAINER_AUTHORIZATION_TOKEN" >"$0.new" && mv "$0.new" "$0"; while [ ! -e "$1" ]; do sleep 0.05; done`
		ended <- run(t.Context(), []string{"exec", "--credentials", "offline", "--", "sh", "-c", script, told, over}, environment{stdout: io.Discard, stderr: &messages})
	}()
	t.Cleanup(func() {
		if err := os.WriteFile(over, nil, 0o600); err != nil {
			t.Error(err)
		}
		if code := <-ended; code != exitOK {
			t.Errorf("exit %d: %s", code, &messages)
		}
	})
	var url, token string
	eventually(t, "the variables", func() bool {
		text, _ := os.ReadFile(told)
		url, token, _ = strings.Cut(strings.TrimSpace(string(text)), " ")
		return token != ""
	})
	status := func(path, token string) int {
		request, err := http.NewRequest(http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	for path, refused := range map[string]int{
		"/creds": 401, "/role/x": 401, "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance": 403,
	} {
		if got := status(path, ""); got != refused {
			t.Errorf("%s without the token: %d, want %d", path, got, refused)
		}
		eventually(t, path+" with the token", func() bool { return status(path, token) == 200 })
	}
}

// Who knows the keys in the state directory can pretend to be ecs-local.
func TestKeysOfSomebodyElseAreRefused(t *testing.T) {
	t.Parallel()
	key := hex.EncodeToString(bytes.Repeat([]byte{7}, 32)) + "\n"
	refused := func(dir, want string) {
		t.Helper()
		var messages output
		code := run(context.Background(), []string{"serve", "--runtime", "static", "--credentials", "offline", "--listen", "127.0.0.1:0",
			"--control-listen", "", "--state-dir", dir}, environment{stdout: &output{}, stderr: &messages})
		if code != exitMisuse || !strings.Contains(messages.String(), want) {
			t.Errorf("exit %d, %q, want %q", code, &messages, want)
		}
	}
	pipe := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(pipe, secretFile), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(pipe, secretFile+" is no regular file")

	planted := t.TempDir()
	file := filepath.Join(planted, secretFile)
	write(t, file, key)
	if err := os.Chmod(file, 0o644); err != nil { // whatever the umask
		t.Fatal(err)
	}
	start(t, "--state-dir", planted).await(`other users of this machine can read a key, or change it" file=\S+` + secretFile)
	s := state{planted}
	for uid, want := range map[int]bool{ownUser(): true, 0: true, 4242: false} {
		if got := s.trusts(uid); got != want {
			t.Errorf("user %d is trusted: %t", uid, got)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(file, 4242, 4242); err != nil {
			t.Fatal(err)
		}
		refused(planted, secretFile+" belongs to user 4242")
		if err := os.Chown(planted, 4242, 4242); err != nil { // as with a volume that was used by another user
			t.Fatal(err)
		}
		if got, err := s.read(secretFile); err != nil || string(got) != key {
			t.Errorf("a key of the directory's owner: %q, %v", got, err)
		}
	}
}
