package imdstest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/imdstest"
	"github.com/ecs-local/ecs-local/local/imds"
)

// scanner is the program under test: it reads the credentials of tasks from
// the namespaces, and reads a namespace again only when it has changed.
type scanner struct {
	endpoint, token string
	updated         map[string]string // namespace → LastUpdated
	keys            map[string]string // task and type of role → key id
}

func (s *scanner) read(ctx context.Context, method, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.endpoint+path, nil)
	if err != nil {
		return nil, err
	}
	if r.Header.Set("X-aws-ec2-metadata-token", s.token); method == http.MethodPut {
		r.Header = http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, answer.Status)
	}
	return body, err
}

// scan reads what has changed since the last scan.
func (s *scanner) scan(ctx context.Context) error {
	token, err := s.read(ctx, http.MethodPut, "/latest/api/token")
	if err != nil {
		return err
	}
	s.token = string(token)
	root, err := s.read(ctx, http.MethodGet, "/latest/meta-data")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(string(root), "\n") {
		if name = strings.TrimSuffix(name, "/"); strings.HasPrefix(name, "iam-ecs-") {
			if err := s.namespace(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scanner) namespace(ctx context.Context, name string) error {
	var info struct {
		LastUpdated     string
		TaskCredentials map[string]struct{ Code string }
	}
	if err := s.document(ctx, name+"/info", &info); err != nil || info.LastUpdated == s.updated[name] {
		return err
	}
	for entry, is := range info.TaskCredentials {
		if is.Code != "Success" {
			delete(s.keys, entry)
			continue
		}
		var credentials struct{ AccessKeyID string }
		if err := s.document(ctx, name+"/security-credentials/"+entry, &credentials); err != nil {
			return err
		}
		s.keys[entry] = credentials.AccessKeyID
	}
	s.updated[name] = info.LastUpdated
	return nil
}

func (s *scanner) document(ctx context.Context, path string, v any) error {
	text, err := s.read(ctx, http.MethodGet, "/latest/meta-data/"+path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

// A scanner of ECS task credentials sees a rotation, reads nothing twice, and
// comes through answers that are not whole. In a test, New(t, options) takes
// the place of Start.
func Example_scanner() {
	const task = "5f0c1b7e9a2d4c3e8b6a7d1f20394857"
	server, err := imdstest.Start(imdstest.Options{Config: imds.Config{
		Options: imds.Options{HTTPTokens: imds.Required},
		Namespaces: map[string][]imds.TaskRole{
			"iam-ecs-1": {{Task: task, RoleType: imds.TaskApplication, Role: "shop-web-task"}},
		},
	}}, func(err error) { fmt.Println(err) })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx := context.Background()
	s := &scanner{endpoint: server.URL(), updated: map[string]string{}, keys: map[string]string{}}
	key := func() string { return s.keys[task+"-TaskApplication"] }
	const leaf = "GET /latest/meta-data/iam-ecs-1/security-credentials/" + task + "-TaskApplication"

	fmt.Println("first scan:", s.scan(ctx), "with a key:", key() != "")
	first := key()
	fmt.Println("second scan:", s.scan(ctx), "credentials read:", server.Requests()[leaf])

	server.RotateTaskRole("iam-ecs-1", task, imds.TaskApplication)
	server.BadJSON("/latest/meta-data/iam-ecs-1/security-credentials/*", 1)
	fmt.Println("after a rotation, half an answer:", s.scan(ctx) != nil, "with the old key:", key() == first)
	fmt.Println("the next scan:", s.scan(ctx), "with a new key:", key() != first)

	server.Deny("shop-web-task")
	fmt.Println("a role that is denied:", s.scan(ctx), "with a key:", key() != "")

	// Output:
	// first scan: <nil> with a key: true
	// second scan: <nil> credentials read: 1
	// after a rotation, half an answer: true with the old key: true
	// the next scan: <nil> with a new key: true
	// a role that is denied: <nil> with a key: false
}

// watch is the program under test: it waits until the instance is told that it
// will be interrupted, and says what will happen. Anything but a notice means
// that there is none yet.
func watch(ctx context.Context, endpoint string, every time.Duration) (action string, err error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	s := &scanner{endpoint: endpoint}
	for {
		if token, err := s.read(ctx, http.MethodPut, "/latest/api/token"); err == nil {
			s.token = string(token)
		}
		var notice struct{ Action, Time string }
		if err := s.document(ctx, "spot/instance-action", &notice); err == nil {
			return notice.Action + " at " + notice.Time, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-ticker.C:
		}
	}
}

// A program polls for the interruption of a spot instance, as AWS advises, and
// reacts to it; a service that fails in between does not stop it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
func Example_spotInterruption() {
	server, err := imdstest.Start(imdstest.Options{Config: imds.Config{
		Instance: imds.Instance{InstanceLifeCycle: "spot"},
	}}, func(err error) { fmt.Println(err) })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	server.Fail("/latest/api/token", http.StatusServiceUnavailable, 2)

	drained := make(chan string)
	go func() {
		action, err := watch(context.Background(), server.URL(), time.Millisecond)
		if err != nil {
			action = err.Error()
		}
		drained <- "drain: " + action
	}()

	const notice = "GET /latest/meta-data/spot/instance-action"
	for server.Requests()[notice] < 3 { // the program is waiting
		time.Sleep(time.Millisecond)
	}
	server.Drop("/latest/meta-data/spot/*", 1)
	server.Set("spot/instance-action", `{"action":"terminate","time":"2026-11-21T12:02:00Z"}`)
	fmt.Println(<-drained)

	// Output:
	// drain: terminate at 2026-11-21T12:02:00Z
}
