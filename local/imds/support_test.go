package imds_test

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// identity is made once for all tests: making keys is slow.
var identity = sync.OnceValue(func() *imds.Identity {
	i, err := imds.NewIdentity()
	if err != nil {
		panic(err)
	}
	return i
})

func pointer[T any](v T) *T { return &v }

// serve makes a service whose credentials are there.
func serve(t testing.TB, c imds.Config, p imds.Provider) *imds.Service {
	t.Helper()
	s, err := imds.New(c, imds.Deps{Provider: p, Identity: identity()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// counter is a provider whose keys are numbered.
type counter struct {
	mu    sync.Mutex
	asks  []imds.Ask
	life  time.Duration
	fails func(imds.Ask) error
}

func (c *counter) provide(_ context.Context, a imds.Ask) (local.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks = append(c.asks, a)
	if c.fails != nil {
		if err := c.fails(a); err != nil {
			return local.Credentials{}, err
		}
	}
	life := c.life
	if life == 0 {
		life = 6 * time.Hour
	}
	arn := a.Role.ARN
	if a.Role.Name != "" {
		arn = local.RoleARN("aws", "111122223333", a.Role.Name)
	}
	n := len(c.asks)
	return local.Credentials{
		RoleARN: arn, AccessKeyID: fmt.Sprintf("ASIAEXAMPLE%09d", n), SecretAccessKey: fmt.Sprintf("example/Secret+%025d", n),
		SessionToken: fmt.Sprintf("EXAMPLETOKEN%d==", n), Expiration: time.Now().Add(life).UTC().Truncate(time.Second),
	}, nil
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asks)
}

// caller asks a service.
type caller struct {
	t     testing.TB
	s     *imds.Service
	token string
}

// v2 returns a caller with a token.
func v2(t testing.TB, s *imds.Service) caller {
	t.Helper()
	r := s.Answer(imds.Request{Method: "PUT", Path: "/latest/api/token", TokenTTL: "21600"})
	if r.Status != 200 {
		t.Fatalf("token: status %d", r.Status)
	}
	return caller{t, s, string(r.Body)}
}

func v1(t testing.TB, s *imds.Service) caller { return caller{t: t, s: s} }

func (c caller) do(method, path string) imds.Response {
	r := c.s.Answer(imds.Request{Method: method, Path: path, Token: c.token, HasToken: c.token != ""})
	if r.Status != 401 && c.token != "" && r.TokenTTL <= 0 {
		c.t.Errorf("%s %s: no remaining life of the token", method, path)
	}
	if method != "HEAD" && r.ContentLength != len(r.Body) {
		c.t.Errorf("%s %s: content length %d of %d bytes", method, path, r.ContentLength, len(r.Body))
	}
	return r
}

// get returns the body of a path below /latest/meta-data that must exist.
func (c caller) get(path string) string {
	c.t.Helper()
	r := c.do("GET", "/latest/meta-data/"+path)
	if r.Status != 200 {
		c.t.Fatalf("%s: status %d", path, r.Status)
	}
	return string(r.Body)
}

// status returns the status of a path below /latest/meta-data.
func (c caller) status(path string) int { return c.do("GET", "/latest/meta-data/"+path).Status }

var secrets = regexp.MustCompile(`("(SecretAccessKey|Token)" : ")[^"]*`)

// redact hides secrets from the output of a test.
func redact(s string) string { return secrets.ReplaceAllString(s, "${1}…") }

func redacted(m map[string]string) map[string]string {
	r := map[string]string{}
	for k, v := range m {
		r[k] = redact(v)
	}
	return r
}
