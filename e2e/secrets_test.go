package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/client"
)

// secrets are what was handed out by any server of this process, with what
// each is.
type secrets struct {
	mu    sync.Mutex
	kinds map[string]string
}

// handedOut is what the tests have been answered, whichever of them it was.
var handedOut = &secrets{kinds: map[string]string{}}

// keyed matches the parts of credentials, in the documents of ECS, of Pod
// Identity and of an instance alike.
var keyed = regexp.MustCompile(`"(AccessKeyId|SecretAccessKey|Token)"\s*:\s*"([^"]+)"`)

// note keeps the keys of a document of credentials, if it is one.
func (s *secrets) note(body string) {
	if !strings.Contains(body, "SecretAccessKey") {
		return
	}
	for _, m := range keyed.FindAllStringSubmatch(body, -1) {
		s.add(m[1], m[2])
	}
}

func (s *secrets) add(kind, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[value] = kind
}

func (s *secrets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kinds)
}

// in returns the kinds of what a text shows.
func (s *secrets) in(text string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := map[string]int{}
	for value, kind := range s.kinds {
		if strings.Contains(text, value) {
			shown[kind]++
		}
	}
	return shown
}

// keptIn fails the test if a text shows what was handed out. It does not show
// it again.
func (s *secrets) keptIn(t *testing.T, what, text string) {
	t.Helper()
	if shown := s.in(text); len(shown) > 0 {
		t.Errorf("%s shows what was handed out: %v", what, shown)
	}
}

// openAnswers are those of the control API that say the most.
var openAnswers = []string{"/metrics", "/v1/status", "/v1/tasks", "/v1/namespaces", "/readyz"}

// searchLater searches, at the end of the test, what a server has said in the
// open for what the tests got from it. A server that is gone has only its log.
func searchLater(t *testing.T, control string, log func() (string, error)) {
	t.Helper()
	t.Cleanup(func() {
		if text, err := log(); err == nil {
			handedOut.keptIn(t, "the log of ecs-local", text)
		}
		for _, path := range openAnswers {
			if body, err := open(control + path); err == nil {
				handedOut.keptIn(t, "GET "+path, body)
			}
		}
	})
}

// searched searches the same now, and fails the test unless all of it is there
// and there is something to look for.
func searched(t *testing.T, control, log string) {
	t.Helper()
	if handedOut.count() == 0 {
		t.Error("the tests have seen no credentials: there is nothing to search for")
	}
	if !strings.Contains(log, "level=") {
		t.Error("the log of ecs-local is empty")
	}
	handedOut.keptIn(t, "the log of ecs-local", log)
	for _, path := range openAnswers {
		body, err := open(control + path)
		if err != nil || body == "" {
			t.Errorf("GET %s: got nothing to search: %v", path, err)
		}
		handedOut.keptIn(t, "GET "+path, body)
	}
}

func open(url string) (string, error) {
	res, err := direct.Get(url)
	if err != nil {
		return "", fmt.Errorf("get %s: %w", url, err)
	}
	defer func() { _ = res.Body.Close() }()
	var body strings.Builder
	if err := res.Write(&body); err != nil {
		return "", fmt.Errorf("read %s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusServiceUnavailable {
		return "", fmt.Errorf("get %s: got status %d", url, res.StatusCode)
	}
	return body.String(), nil
}

// searchSidecarLater is searchLater for a container of ecs-local.
func searchSidecarLater(t *testing.T, c *client.Client, id, control string) {
	t.Helper()
	searchLater(t, control, func() (string, error) { return logsOf(c, id) })
}

func TestSearchForSecretsFindsThem(t *testing.T) {
	t.Parallel()
	s := &secrets{kinds: map[string]string{}}
	s.note(`{"RoleArn":"arn","AccessKeyId":"key","SecretAccessKey":"hush","Token":"long/one+=","Expiration":"2026-01-01T00:00:00Z"}`)
	s.note("{\n  \"AccessKeyId\" : \"other\",\n  \"SecretAccessKey\" : \"quiet\"}")
	s.note(`{"Token":"of something else"}`)
	for text, want := range map[string]string{
		"level=info msg=served key=key":   "map[AccessKeyId:1]",
		"hush":                            "map[SecretAccessKey:1]",
		`x{token="long/one+="} 1 other`:   "map[AccessKeyId:1 Token:1]",
		"quiet, please: hush":             "map[SecretAccessKey:2]",
		"arn 2026-01-01 long of foreign":  "map[]",
		"a line about of something else.": "map[]",
	} {
		if got := fmt.Sprint(s.in(text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
