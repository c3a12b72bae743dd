package imds_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

const (
	profileKeys  = "iam/security-credentials/web"
	identityKeys = "identity-credentials/ec2/security-credentials/ec2-instance"
)

// keys is a credentials document.
type keys struct {
	Code, Message, LastUpdated, Type, AccessKeyId, SecretAccessKey, Token, Expiration string //nolint:revive // as on the wire
}

func (c caller) keys(path string) keys {
	c.t.Helper()
	var k keys
	if err := json.Unmarshal([]byte(c.get(path)), &k); err != nil {
		c.t.Fatal(err)
	}
	return k
}

func TestCredentialsDocument(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock says 2000-01-01T00:00:00Z
		p := &counter{}
		s := serve(t, imds.Config{Role: "team/web", Instance: imds.Instance{AccountID: "111122223333"}}, p.provide)
		c := v2(t, s)
		if got := c.get("iam/security-credentials"); got != "web" {
			t.Errorf("role %q", got)
		}
		if got := c.get("iam"); got != "info\nsecurity-credentials/" {
			t.Errorf("iam lists %q", got)
		}
		number := 0
		for n, a := range p.asks {
			if a.Use == imds.InstanceProfile && a.Delivery == imds.V2 {
				number = n + 1
			}
		}
		want := strings.NewReplacer("N9", leftPad(number, 9), "N25", leftPad(number, 25), "N1", leftPad(number, 1)).Replace(`{
  "Code" : "Success",
  "LastUpdated" : "2000-01-01T00:00:00Z",
  "Type" : "AWS-HMAC",
  "AccessKeyId" : "ASIAEXAMPLEN9",
  "SecretAccessKey" : "example/Secret+N25",
  "Token" : "EXAMPLETOKENN1==",
  "Expiration" : "2000-01-01T06:00:00Z"
}`)
		if got := c.get(profileKeys); got != want {
			t.Errorf("credentials (-want +got):\n%s", cmp.Diff(redact(want), redact(got)))
		}
		wantInfo := `{
  "Code" : "Success",
  "LastUpdated" : "2000-01-01T00:00:00Z",
  "InstanceProfileArn" : "arn:aws:iam::111122223333:instance-profile/web",
  "InstanceProfileId" : "AIPA`
		info := c.get("iam/info")
		if !strings.HasPrefix(info, wantInfo) || len(info) != len(wantInfo)+17+len("\"\n}") {
			t.Errorf("info: %s", info)
		}
		want = "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"2000-01-01T00:00:00Z\",\n  \"AccountId\" : \"111122223333\"\n}"
		if diff := cmp.Diff(want, c.get("identity-credentials/ec2/info")); diff != "" {
			t.Error(diff)
		}
		if got := c.keys(identityKeys); got.Code != "Success" || got.AccessKeyId == c.keys(profileKeys).AccessKeyId {
			t.Error("the instance has the profile's keys")
		}
		if c.status("iam/security-credentials/other") != 404 {
			t.Error("an unknown role is there")
		}
	})
}

func TestRoleByAnyOfItsForms(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"web", "team/web", "/team/web/", "arn:aws:iam::111122223333:role/team/web", "arn:aws:iam::111122223333:role/team/web/"} {
		c := v2(t, serve(t, imds.Config{Role: role}, (&counter{}).provide))
		if got := c.get("iam/security-credentials"); got != "web" {
			t.Errorf("role %s: %q is listed", role, got)
		}
		if got := c.get("iam/info"); !strings.Contains(got, `:instance-profile/web"`) {
			t.Errorf("role %s: info is %s", role, got)
		}
	}
}

func leftPad(n, width int) string {
	s := string([]byte{byte('0' + n)})
	return strings.Repeat("0", width-1) + s
}

// TestAsks says what the provider is asked for.
func TestAsks(t *testing.T) {
	t.Parallel()
	p := &counter{}
	task := strings.Repeat("0a", 16)
	serve(t, imds.Config{
		Role:       "team/web",
		Namespaces: map[string][]imds.TaskRole{"iam-ecs-1": {{Task: task, RoleType: imds.TaskExecution, Role: "arn:aws:iam::111122223333:role/exec"}}},
	}, p.provide)
	got := map[imds.Ask]bool{}
	for _, a := range p.asks {
		got[a] = true
	}
	const id = "i-04b098f5de41d11e6"
	web := local.Role{Name: "team/web"}
	want := map[imds.Ask]bool{
		{Use: imds.InstanceProfile, Role: web, Delivery: imds.V1, Session: id}:                                                      true,
		{Use: imds.InstanceProfile, Role: web, Delivery: imds.V2, Session: id}:                                                      true,
		{Use: imds.InstanceIdentity, Delivery: imds.V1, Session: id}:                                                                true,
		{Use: imds.InstanceIdentity, Delivery: imds.V2, Session: id}:                                                                true,
		{Use: imds.TaskCredentials, Role: local.Role{ARN: "arn:aws:iam::111122223333:role/exec"}, Delivery: imds.V2, Session: task}: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDeliveries says that requests with and without a token get different
// keys of the same role.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{Role: "web"}, (&counter{}).provide)
	one, two := v1(t, s), v2(t, s)
	for _, path := range []string{profileKeys, identityKeys} {
		a, b := one.keys(path), two.keys(path)
		if a.Code != "Success" || b.Code != "Success" || a.AccessKeyId == b.AccessKeyId || a.SecretAccessKey == b.SecretAccessKey || a.Token == b.Token {
			t.Errorf("%s: the same keys", path)
		}
	}
}

func TestRoleNotAssumable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &counter{fails: func(a imds.Ask) error {
			if a.Use == imds.InstanceProfile {
				return local.Errorf(local.Denied, "no")
			}
			return nil
		}}
		s := serve(t, imds.Config{Role: "team/web"}, p.provide)
		want := `{
  "Code" : "AssumeRoleUnauthorizedAccess",
  "Message" : "EC2 cannot assume the role web.  Please see documentation at https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html#troubleshoot_iam-ec2_errors-info-doc.",
  "LastUpdated" : "2000-01-01T00:00:00Z"
}`
		if diff := cmp.Diff(want, v2(t, s).get(profileKeys)); diff != "" {
			t.Error(diff)
		}
		p.fails = nil
		time.Sleep(2 * time.Minute)
		if err := s.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := v2(t, s).keys(profileKeys); got.Code != "Success" {
			t.Errorf("allowed now: %s", got.Code)
		}
	})
}

// TestWithoutProvider says that keys that nobody gives are not listed.
func TestWithoutProvider(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{Role: "web", Namespaces: map[string][]imds.TaskRole{
		"iam-ecs-1": {{Task: taskA, RoleType: imds.TaskApplication, Role: "web"}}}}, nil)
	if all := s.Namespaces(); len(all) != 1 || len(all[0].Roles) != 1 || all[0].Roles[0].Code != "" {
		t.Errorf("namespaces: %+v, want a role without keys", all)
	}
	c := v2(t, s)
	for path, want := range map[string]string{"iam": "info", "identity-credentials/ec2": "info"} {
		if got := c.get(path); got != want {
			t.Errorf("%s lists %q", path, got)
		}
	}
	if c.status("iam/security-credentials") != 404 {
		t.Error("there are credentials")
	}
}

// run starts the loop in a bubble and ends it with the test.
func run(t *testing.T, s *imds.Service) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestRun keeps an eye on the keys for days: they are never less than five
// minutes from their end, and not renewed all the time.
func TestRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		life time.Duration
		most int // provider calls in two days, for four sets of keys
	}{
		"six hours":       {6 * time.Hour, 4 * 10},
		"an hour":         {time.Hour, 4 * 97},
		"fifteen minutes": {15 * time.Minute, 4 * 386},
		"six minutes":     {6 * time.Minute, 4 * 2881},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &counter{life: test.life}
				s, err := imds.New(imds.Config{Role: "web"}, imds.Deps{Provider: p.provide, Identity: identity()})
				if err != nil {
					t.Fatal(err)
				}
				run(t, s)
				for range 2 * 24 * 60 {
					time.Sleep(time.Minute)
					synctest.Wait()
					for _, path := range []string{profileKeys, identityKeys} {
						for _, c := range []caller{v1(t, s), v2(t, s)} {
							end, err := time.Parse("2006-01-02T15:04:05Z", c.keys(path).Expiration)
							if err != nil {
								t.Fatal(err)
							}
							if left := time.Until(end); left < 5*time.Minute-time.Second {
								t.Fatalf("%s: only %s are left", path, left)
							}
						}
					}
				}
				if n := p.count(); n > test.most {
					t.Errorf("%d calls, want at most %d", n, test.most)
				}
			})
		})
	}
}

// TestRunWithShortLives says that keys for tests, which end before the usual
// five minutes, are always valid, and not renewed all the time.
func TestRunWithShortLives(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		life time.Duration
		most int // provider calls in an hour, for four sets of keys
	}{
		"five minutes": {5 * time.Minute, 4 * 26},
		"two minutes":  {2 * time.Minute, 4 * 62},
		"ten seconds":  {10 * time.Second, 4 * 722},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &counter{life: test.life}
				s, err := imds.New(imds.Config{Role: "web"}, imds.Deps{Provider: p.provide, Identity: identity()})
				if err != nil {
					t.Fatal(err)
				}
				run(t, s)
				for range 60 * 12 {
					time.Sleep(5 * time.Second)
					synctest.Wait()
					for _, path := range []string{profileKeys, identityKeys} {
						if got := v2(t, s).keys(path); got.Code != "Success" {
							t.Fatalf("%s: no keys", path)
						}
					}
				}
				if n := p.count(); n > test.most {
					t.Errorf("%d calls, want at most %d", n, test.most)
				}
			})
		})
	}
}

// TestKeysThatEndAtOnce says that a provider whose keys are of no use is not
// asked all the time.
func TestKeysThatEndAtOnce(t *testing.T) {
	t.Parallel()
	for life, most := range map[time.Duration]int{time.Second: 4 * 61, -time.Hour: 4 * 3} { // calls in a minute, for four sets of keys
		synctest.Test(t, func(t *testing.T) {
			p := &counter{life: life}
			s, err := imds.New(imds.Config{Role: "web"}, imds.Deps{Provider: p.provide, Identity: identity()})
			if err != nil {
				t.Fatal(err)
			}
			run(t, s)
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := p.count(); n > most || n < 8 {
				t.Errorf("keys with a life of %s: %d calls, want between 8 and %d", life, n, most)
			}
		})
	}
}

// TestProviderFails says that keys are served to their end while the provider
// fails, that it is asked again, and that the log has no secrets.
func TestProviderFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		fails := true
		p := &counter{life: time.Hour, fails: func(imds.Ask) error {
			if fails {
				return errors.New("STS does not answer")
			}
			return nil
		}}
		set := func(v bool) { p.mu.Lock(); defer p.mu.Unlock(); fails = v }
		s, err := imds.New(imds.Config{Role: "web"}, imds.Deps{
			Provider: p.provide, Identity: identity(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, s)
		synctest.Wait()
		if v2(t, s).status(profileKeys) != 404 || v2(t, s).status("iam/info") != 200 {
			t.Error("before the first keys there is something")
		}
		set(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		first := v2(t, s).keys(profileKeys)
		if first.Code != "Success" {
			t.Fatal("not asked again")
		}
		set(true)
		before := p.count()
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if v2(t, s).keys(profileKeys) != first {
			t.Error("keys that are valid are not served")
		}
		if n := p.count() - before; n < 8 || n > 200 {
			t.Errorf("asked %d times in vain", n)
		}
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		if got := v2(t, s).status(profileKeys); got != 404 {
			t.Errorf("keys that have ended: %d", got)
		}
		set(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if v2(t, s).keys(profileKeys).AccessKeyId == first.AccessKeyId {
			t.Error("the old keys are back")
		}
		if !strings.Contains(log.String(), "STS does not answer") || strings.Contains(log.String(), "example/Secret") {
			t.Errorf("log: %s", log.String())
		}
	})
}

// TestKeysForOneDelivery says that requests with and without a token get the
// same keys while the provider gives those of one kind only.
func TestKeysForOneDelivery(t *testing.T) {
	t.Parallel()
	for _, fails := range []imds.Delivery{imds.V1, imds.V2} {
		p := &counter{fails: func(a imds.Ask) error {
			if a.Delivery == fails {
				return errors.New("no answer")
			}
			return nil
		}}
		s, err := imds.New(imds.Config{Role: "web"}, imds.Deps{Provider: p.provide, Identity: identity()})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Refresh(t.Context()); err == nil {
			t.Error("nothing failed")
		}
		if one, two := v1(t, s).keys(profileKeys), v2(t, s).keys(profileKeys); one != two || one.Code != "Success" {
			t.Errorf("without those of delivery %v: %s and %s", fails, one.AccessKeyId, two.AccessKeyId)
		}
	}
}

// TestRefreshNamesFailures says that one failure hides nothing.
func TestRefreshNamesFailures(t *testing.T) {
	t.Parallel()
	p := &counter{fails: func(a imds.Ask) error {
		if a.Use == imds.InstanceProfile {
			return errors.New("no answer")
		}
		return nil
	}}
	s, err := imds.New(imds.Config{Role: "web"}, imds.Deps{Provider: p.provide, Identity: identity()})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Refresh(t.Context())
	if err == nil || !strings.Contains(err.Error(), "get credentials of web: no answer") {
		t.Errorf("error %v", err)
	}
	if v2(t, s).keys(identityKeys).Code != "Success" {
		t.Error("the good ones are missing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, err = imds.New(imds.Config{Role: "web"}, imds.Deps{Provider: p.provide, Identity: identity()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Refresh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	p := &counter{}
	s := serve(t, imds.Config{Role: "web"}, p.provide)
	c := v2(t, s)
	before, asked := c.keys(profileKeys), p.count()
	if err := s.Refresh(t.Context()); err != nil || p.count() != asked {
		t.Errorf("nothing was due: %v, %d calls", err, p.count()-asked)
	}
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.keys(profileKeys).AccessKeyId == before.AccessKeyId {
		t.Error("the keys are the same")
	}
	for _, a := range p.asks[asked:] {
		if !a.Fresh {
			t.Errorf("not asked for fresh keys: %+v", a)
		}
	}
	if n := p.count() - asked; n != 4 {
		t.Errorf("%d calls, want 4", n)
	}
}

// TestReloadRole says that another role means other keys, and none of the old.
func TestReloadRole(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{Role: "web"}, (&counter{}).provide)
	c := v2(t, s)
	old := c.keys(identityKeys)
	if err := s.Reload(imds.Config{Role: "db"}); err != nil {
		t.Fatal(err)
	}
	if c.status(profileKeys) != 404 || c.status("iam/security-credentials/db") != 404 || c.keys(identityKeys) != old {
		t.Error("reloaded: the old role is still there, or what did not change is gone")
	}
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.get("iam/security-credentials") != "db" || c.keys("iam/security-credentials/db").Code != "Success" {
		t.Error("the new role is missing")
	}
	if err := s.Reload(imds.Config{}); err != nil {
		t.Fatal(err)
	}
	if c.status("iam") != 404 {
		t.Error("without a role there is iam/")
	}
	if err := s.Reload(imds.Config{Role: "a b"}); err == nil {
		t.Error("a bad configuration is taken")
	}
}

// TestOneCallForWhoeverWaits says that those who want the same credentials at
// the same time share one call, and that a rotation meanwhile has its own.
func TestOneCallForWhoeverWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &counter{}
		slow := func(ctx context.Context, a imds.Ask) (local.Credentials, error) {
			select {
			case <-time.After(time.Second):
				return p.provide(ctx, a)
			case <-ctx.Done():
				return local.Credentials{}, ctx.Err()
			}
		}
		s := serve(t, imds.Config{}, slow)
		run(t, s)
		synctest.Wait()
		c, asked := v2(t, s), p.count()
		const leaf = "iam-ecs-1/security-credentials/"
		entry := imds.TaskRole{Task: taskA, RoleType: imds.TaskApplication, Role: "web"}
		if err := s.PutTaskRoles("iam-ecs-1", entry); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // Run asks
		began := time.Now()
		var waiting sync.WaitGroup
		for range 5 {
			waiting.Go(func() {
				if err := s.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := s.Value(leaf + taskA + "-TaskApplication"); err != nil {
					t.Error(err)
				}
			})
		}
		waiting.Wait()
		first, updated := c.keys(leaf+taskA+"-TaskApplication"), c.info("iam-ecs-1").LastUpdated
		if n := p.count() - asked; n != 1 || time.Since(began) != time.Second {
			t.Errorf("%d calls in %s, want 1 in 1s", n, time.Since(began))
		}
		time.Sleep(time.Minute)
		if got := c.info("iam-ecs-1").LastUpdated; !got.Equal(updated) {
			t.Errorf("LastUpdated moved from %s to %s", updated, got)
		}

		// Rotations that meet do not share: each wants other keys.
		for range 2 {
			waiting.Go(func() {
				if err := s.RotateTaskRole(t.Context(), "iam-ecs-1", taskA, imds.TaskApplication); err != nil {
					t.Error(err)
				}
			})
		}
		waiting.Wait()
		if n := p.count() - asked; n != 3 || c.keys(leaf+taskA+"-TaskApplication") == first {
			t.Errorf("%d calls, want 3 with other keys", n)
		}

		// Whoever gives up takes nothing away from the others.
		entry.Task = taskB
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.PutTaskRoles("iam-ecs-1", entry); err != nil {
			t.Fatal(err)
		}
		if err := s.Refresh(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if err := s.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		c.keys(leaf + taskB + "-TaskApplication")
	})
}

func TestRefusedAndFailedRolesAreLogged(t *testing.T) {
	t.Parallel()
	p := &counter{fails: func(a imds.Ask) error {
		switch a.Role.Name {
		case "forbidden":
			return local.Errorf(local.Denied, "check its trust policy")
		case "broken":
			return errors.New("no answer")
		}
		return nil
	}}
	var log bytes.Buffer
	s, err := imds.New(imds.Config{Namespaces: map[string][]imds.TaskRole{"iam-ecs-1": {
		{Task: taskA, RoleType: imds.TaskApplication, Role: "forbidden"}, {Task: taskB, RoleType: imds.TaskApplication, Role: "broken"},
	}}}, imds.Deps{Provider: p.provide, Identity: identity(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Refresh(t.Context())
	for _, want := range []string{
		`msg="role cannot be assumed" role="forbidden for iam-ecs-1/` + taskA + `-TaskApplication" reason="check its trust policy"`,
		`error="get credentials of broken for iam-ecs-1/` + taskB + `-TaskApplication: no answer"`,
	} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log does not have %s:\n%s", want, &log)
		}
	}
	if err := s.RotateTaskRole(t.Context(), "iam-ecs-1", taskA, imds.TaskApplication); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "role cannot be assumed"); n != 1 {
		t.Errorf("said %d times", n)
	}
}
