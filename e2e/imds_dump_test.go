package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What one server serves, dumped, replayed by another, and dumped again.
func TestDumpOfAReplayIsTheSameDump(t *testing.T) {
	t.Parallel()
	s := startInstance(t, nil, "--credentials", "offline")
	dump := func(t *testing.T, url string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(within(t, longest), program(t), append([]string{"imds", "dump", "--endpoint", url, "--rate", "1000"}, args...)...)
		cmd.Env = pointedAt(t, "")
		return command(t, cmd)
	}
	for _, format := range []string{"yaml", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			original := dump(t, s.url, "--format", format)
			for _, part := range []string{"i-04b098f5de41d11e6", "hostname: web", "203.0.113.25", "my-key", "a=b c"} {
				if !strings.Contains(original, part) {
					t.Errorf("the dump lacks %q", part)
				}
			}
			for _, secret := range []string{"SecretAccessKey", "AccessKeyId"} {
				if strings.Contains(original, secret) {
					t.Errorf("the dump shows %s", secret)
				}
			}
			replay := startServer(t, "127.0.0.1", nil, "--runtime", "static", "--credentials", "offline", "--config", written(t, "dump."+format, original))
			if diff := cmp.Diff(original, dump(t, replay.url, "--format", format)); diff != "" {
				t.Errorf("the dump of the replay (-original +replay):\n%s", diff)
			}
			if diff := cmp.Diff(steady(instanceAt(t, s.url).walk(t, "latest")), steady(instanceAt(t, replay.url).walk(t, "latest"))); diff != "" {
				t.Errorf("the tree of the replay (-original +replay):\n%s", diff)
			}
		})
	}
}

var lastUpdatedField = regexp.MustCompile(`"LastUpdated" : "[^"]*"`)

// steady leaves out when credentials were issued: those of a replay are its own.
func steady(values map[string]string) map[string]string {
	for path, text := range values {
		values[path] = lastUpdatedField.ReplaceAllString(text, "")
	}
	return values
}
