package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestSocketOfAnotherGroupNeedsGroupAddAndTheMessageSaysSo(t *testing.T) {
	t.Parallel()
	c := requireRoot(t)
	net, _ := newNetwork(t, c)
	on := []attachment{{network: net}}
	r := newRecorder(t, c.DaemonHost())
	const group = 54321
	socket := filepath.Join(r.dir, "docker.sock")
	if err := os.Chown(socket, 0, group); err != nil {
		t.Fatalf("change group of socket: %v", err)
	}
	if err := os.Chmod(socket, 0o660); err != nil {
		t.Fatalf("change mode of socket: %v", err)
	}

	s := spec{image: imageOf(t, sidecarImage), networks: on, env: []string{"DOCKER_HOST=unix:///engine/docker.sock", "ECS_LOCAL_CREDENTIALS=offline", "ECS_LOCAL_RUNTIME=docker"}}
	s.host.Binds = []string{r.dir + ":/engine"}
	refused := started(t, c, s)
	code, err := ended(within(t, longest), c, refused)
	if err != nil {
		t.Fatalf("want ecs-local to end, as it may not use the socket: %v\n%s", err, logs(t, c, refused))
	}
	text := logs(t, c, refused)
	if code != 1 && code != 2 {
		t.Errorf("got exit code %d, want 1 or 2", code)
	}
	for _, want := range []string{"(?i)permission", "docker\\.sock", "group_add", "54321"} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the message does not say %q:\n%s", want, text)
		}
	}

	s.host.GroupAdd = []string{"54321"}
	s.host.Binds = nil // startSidecarBehind adds it
	side := startSidecarBehind(t, c, r, s)
	info, err := c.ContainerInspect(within(t, longest), side.id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	if user, _, _ := strings.Cut(info.Config.User, ":"); user == "" || user == "0" || user == "root" {
		t.Errorf("the image's user is %q; this test is about one that is not root", info.Config.User)
	}
	p := startProbe(t, c, spec{networks: on})
	if err := p.own(side); err != nil {
		t.Error(err)
	}
}
