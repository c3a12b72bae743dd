package creds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ecs-local/ecs-local/local"
)

// source is a Provider that counts and can fail.
type source struct {
	lifetime time.Duration
	calls    atomic.Int32
	failing  atomic.Bool
	mu       sync.Mutex
	sessions []string
}

var errDown = local.Errorf(local.Unavailable, "STS is down")

func (s *source) Credentials(_ context.Context, role local.Role, session string) (local.Credentials, error) {
	s.calls.Add(1)
	s.mu.Lock()
	s.sessions = append(s.sessions, session)
	s.mu.Unlock()
	if s.failing.Load() {
		return local.Credentials{}, errDown
	}
	return local.Credentials{RoleARN: role.ARN, Expiration: time.Now().Add(s.lifetime).UTC()}, nil
}

var web = local.Role{ARN: "arn:aws:iam::111122223333:role/web"}

func cacheOver(t *testing.T, s *source) (*cache, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	c := newCache(s, DefaultTimeout, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(c.close)
	return c, log
}

// read asks for the role's credentials and checks that they are valid.
func read(t *testing.T, c *cache, session string) local.Credentials {
	t.Helper()
	got, err := c.Credentials(context.Background(), web, session)
	if err != nil {
		t.Fatal(err)
	}
	if !time.Now().Before(got.Expiration) {
		t.Fatalf("expired %v ago", time.Since(got.Expiration))
	}
	return got
}

// silent is a Provider that never answers.
type silent struct{}

func (silent) Credentials(ctx context.Context, _ local.Role, _ string) (local.Credentials, error) {
	<-ctx.Done()
	return local.Credentials{}, ctx.Err()
}

func TestNobodyWaitsForTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opts, err := Options{}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		c := newCache(silent{}, opts.Timeout, opts.Log)
		defer c.close()
		for _, p := range []Provider{c, uncached{silent{}, opts.Timeout}} {
			start := time.Now()
			_, err = p.Credentials(t.Context(), web, "web")
			if took := time.Since(start); err == nil || took >= 10*time.Second {
				t.Errorf("%T: %v after %v, want an error in less than ten seconds", p, err, took)
			}
		}
	})
}

func TestCacheRefreshesInTheBackground(t *testing.T) {
	t.Parallel()
	for lifetime, left := range map[time.Duration]time.Duration{
		time.Hour:        20 * time.Minute, // a third is 20 minutes, too
		12 * time.Hour:   20 * time.Minute,
		15 * time.Minute: 5 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{lifetime: lifetime}
			c, _ := cacheOver(t, s)
			read(t, c, "first")
			time.Sleep(lifetime - left - time.Second)
			synctest.Wait()
			if n := s.calls.Load(); n != 1 {
				t.Errorf("%v: %d calls before the refresh is due, want 1", lifetime, n)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := s.calls.Load(); n != 2 {
				t.Errorf("%v: %d calls after it was due, want 2", lifetime, n)
			}
			if got := time.Until(read(t, c, "second").Expiration); got <= lifetime-2*time.Second {
				t.Errorf("%v: the next reader got credentials that live %v", lifetime, got)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.sessions[1] != "first" {
				t.Errorf("refreshed as %q, want the first one's session", s.sessions[1])
			}
		})
	}
}

func TestCacheLeavesIdleRolesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: time.Hour}
		c, _ := cacheOver(t, s)
		read(t, c, "web")
		time.Sleep(85 * time.Minute) // refreshed at 40, due again at 80, read by nobody
		synctest.Wait()
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		old := read(t, c, "web") // valid until 100, and due
		synctest.Wait()
		if n := s.calls.Load(); n != 3 {
			t.Errorf("%d calls after the next read, want 3", n)
		}
		if renewed := read(t, c, "web"); !renewed.Expiration.After(old.Expiration) {
			t.Error("the read did not renew them")
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := s.calls.Load(); n != 4 {
			t.Errorf("%d calls after a day without readers, want 4", n)
		}
		if n := size(c); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})
}

func size(c *cache) (n int) {
	c.entries.Range(func(any, any) bool { n++; return true })
	return n
}

func TestCacheOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: time.Hour}
		c, log := cacheOver(t, s)
		first := read(t, c, "web")
		s.failing.Store(true)
		for range 59 {
			time.Sleep(time.Minute)
			if got := read(t, c, "web"); got != first {
				t.Fatal("other credentials came out during the outage")
			}
		}
		// 19 minutes of retries: 2, 4, 8, 16, 32 s, then about once a minute.
		if n := s.calls.Load(); n < 15 || n > 35 {
			t.Errorf("%d calls during the outage", n)
		}
		time.Sleep(time.Minute)
		if _, err := c.Credentials(context.Background(), web, "web"); !errors.Is(err, errDown) {
			t.Errorf("expired: got %v, want the error", err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log)
		}
		s.failing.Store(false)
		time.Sleep(2 * time.Second)
		read(t, c, "web")
	})
}

func TestCacheRecoversBeforeExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: time.Hour}
		c, log := cacheOver(t, s)
		first := read(t, c, "web")
		s.failing.Store(true)
		time.Sleep(45 * time.Minute)
		s.failing.Store(false)
		time.Sleep(retryMax + time.Second)
		synctest.Wait()
		if got := read(t, c, "web"); !got.Expiration.After(first.Expiration) {
			t.Error("not renewed a minute after STS came back")
		}
		if !strings.Contains(log.String(), "renewed again") {
			t.Errorf("the log does not say so:\n%s", log)
		}
	})
}

func TestCacheRemembersErrorsForASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: time.Hour}
		s.failing.Store(true)
		c, _ := cacheOver(t, s)
		for range 1000 {
			if _, err := c.Credentials(context.Background(), web, "web"); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
		}
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		s.failing.Store(false)
		time.Sleep(errorMemory)
		read(t, c, "web")
	})
}

func TestCacheForgetsRolesThatNeverWorked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: time.Hour}
		s.failing.Store(true)
		c, _ := cacheOver(t, s)
		_, _ = c.Credentials(context.Background(), web, "web")
		if n := size(c); n != 1 {
			t.Errorf("%d entries, want 1", n)
		}
		time.Sleep(forgetAfter + time.Second)
		synctest.Wait()
		if n := size(c); n != 0 {
			t.Errorf("%d entries a minute later, want none", n)
		}
	})
}

func TestCacheKeepsSoManyRoles(t *testing.T) {
	t.Parallel()
	for _, failing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{lifetime: time.Hour}
			c, _ := cacheOver(t, s)
			read(t, c, "web")
			read(t, c, "web") // it is wanted
			s.failing.Store(failing)
			for i := range 5 * mostRoles {
				_, err := c.Credentials(t.Context(), local.Role{Name: fmt.Sprintf("made-up-%d", i)}, "attacker")
				if (err != nil) != failing {
					t.Fatal(err)
				}
				if i%(mostRoles/4) == 0 {
					read(t, c, "web")
				}
			}
			kept := 0
			c.entries.Range(func(_, e any) bool {
				if e.(*entry).retired.Load() {
					t.Error("what is kept is retired")
				}
				kept++
				return true
			})
			if kept > mostRoles || len(c.kept) > mostRoles {
				t.Errorf("failing %t: %d roles are kept, and %d noted, want %d at most", failing, kept, len(c.kept), mostRoles)
			}
			if calls := s.calls.Load(); calls != 5*mostRoles+1 {
				t.Errorf("failing %t: %d calls for %d roles: the role that is wanted went with the others", failing, calls, 5*mostRoles+1)
			}
			c.close()
			synctest.Wait()
		})
	}
}

// The first answer of a role is for those who wait, however many roles come
// after it.
func TestCacheAnswersWhoWaitsForARoleThatGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &late{released: make(chan struct{}), next: &source{lifetime: time.Hour}}
		c := newCache(s, DefaultTimeout, slog.New(slog.DiscardHandler))
		defer c.close()
		done := make(chan error)
		go func() { _, err := c.Credentials(t.Context(), web, "web"); done <- err }()
		synctest.Wait()
		for i := range mostRoles + 1 {
			if _, err := c.Credentials(t.Context(), local.Role{Name: fmt.Sprintf("made-up-%d", i)}, "attacker"); err != nil {
				t.Fatal(err)
			}
		}
		close(s.released)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, ok := c.entries.Load(web); ok {
			t.Error("the oldest role is still kept, so this tests nothing")
		}
	})
}

// late is a Provider whose answer for the role web waits.
type late struct {
	released chan struct{}
	next     Provider
}

func (l *late) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	if role == web {
		<-l.released
	}
	return l.next.Credentials(ctx, role, session)
}

func TestCacheNeverHandsOutExpiredCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: -time.Second}
		c, _ := cacheOver(t, s)
		if got, err := c.Credentials(context.Background(), web, "web"); local.CodeOf(err) != local.Denied {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestCacheStopsWhenClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: time.Hour}
		c, _ := cacheOver(t, s)
		read(t, c, "web")
		s.failing.Store(true)
		time.Sleep(41 * time.Minute) // a refresh is being retried
		c.close()
		before := s.calls.Load()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := s.calls.Load(); n != before {
			t.Errorf("%d calls after close", n-before)
		}
	})
}

// TestDroppedRolesAreLeftAlone says that what works for a role ends when the
// role is dropped, also while a renewal is being tried again.
func TestDroppedRolesAreLeftAlone(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"before a renewal": time.Minute, "during one": 45 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{lifetime: time.Hour}
			c, _ := cacheOver(t, s)
			read(t, c, "web")
			s.failing.Store(true)
			time.Sleep(after)
			if dropped := c.drop(func(r local.Role) bool { return r == web }); len(dropped) != 1 || dropped[0] != web {
				t.Errorf("%s: dropped %v", name, dropped)
			}
			before := s.calls.Load()
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if n := s.calls.Load() - before; n != 0 {
				t.Errorf("%s: %d calls for a role that was dropped", name, n)
			}
			if n := size(c); n != 0 {
				t.Errorf("%s: %d entries are left", name, n)
			}
		})
	}
}

// TestDropFindsNothingTwice says that a role without valid credentials is not
// said to be dropped.
func TestDropFindsNothingTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{lifetime: time.Hour}
		c, _ := cacheOver(t, s)
		all := func(local.Role) bool { return true }
		read(t, c, "web")
		if n := len(c.drop(all)); n != 1 {
			t.Errorf("%d dropped, want 1", n)
		}
		if n := len(c.drop(all)); n != 0 {
			t.Errorf("%d dropped the second time, want none", n)
		}
		s.failing.Store(true)
		_, _ = c.Credentials(context.Background(), web, "web")
		if n := len(c.drop(all)); n != 0 {
			t.Errorf("%d dropped that never worked, want none", n)
		}
	})
}

func TestBaseCredentialsAreRenewedBeforeTheyExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls int
		var failing error
		a := &account{opts: Options{Log: slog.New(slog.DiscardHandler)}}
		a.chain = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			calls++
			return aws.Credentials{AccessKeyID: "k", SecretAccessKey: "s", SessionToken: "t", CanExpire: true, Expires: time.Now().Add(time.Hour)}, failing
		}))
		retrieve := func(after time.Duration, wantCalls int, wantLeft time.Duration) {
			t.Helper()
			time.Sleep(after)
			v, err := a.Retrieve(context.Background())
			if err != nil || time.Until(v.Expires) != wantLeft || calls != wantCalls {
				t.Errorf("%v left after %d calls, %v; want %v after %d", time.Until(v.Expires), calls, err, wantLeft, wantCalls)
			}
		}
		retrieve(0, 1, time.Hour)
		retrieve(39*time.Minute, 1, 21*time.Minute)
		retrieve(time.Minute, 2, time.Hour)
		failing = errDown
		retrieve(45*time.Minute, 3, 15*time.Minute) // the old ones are still good
		time.Sleep(15 * time.Minute)
		if _, err := a.Retrieve(context.Background()); !errors.Is(err, errDown) {
			t.Errorf("expired: got %v", err)
		}
		failing = nil
		retrieve(0, 5, time.Hour)
	})
}

// TestExpireDuringARenewal says that base credentials which were on their way
// when new ones were asked for count as old.
func TestExpireDuringARenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls, release := 0, make(chan struct{})
		a := &account{opts: Options{Log: slog.New(slog.DiscardHandler)}}
		a.chain = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			calls++
			key := strings.Repeat("k", calls)
			if calls == 1 {
				<-release
			}
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: "s", SessionToken: "t", CanExpire: true, Expires: time.Now().Add(time.Hour)}, nil
		}))
		go func() {
			if v, err := a.Retrieve(context.Background()); err != nil || v.AccessKeyID != "k" {
				t.Errorf("who waited got %d, %v", len(v.AccessKeyID), err)
			}
		}()
		synctest.Wait()
		a.expire()
		close(release)
		synctest.Wait()
		for range 2 {
			if v, err := a.Retrieve(context.Background()); err != nil || v.AccessKeyID != "kk" {
				t.Errorf("got %d, %v, want the second", len(v.AccessKeyID), err)
			}
		}
	})
}

// stsTransport answers GetCallerIdentity without a network, so that the clock
// can be synctest's.
type stsTransport struct{ calls int }

func (s *stsTransport) Do(r *http.Request) (*http.Response, error) {
	s.calls++
	body := `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::111122223333:user/dev</Arn><Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func TestIdentityIsAskedForOncePerBaseCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		retrieved := 0
		a := &account{opts: Options{Timeout: DefaultTimeout, Log: slog.New(slog.DiscardHandler)}}
		a.chain = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			retrieved++
			return aws.Credentials{AccessKeyID: strings.Repeat("k", retrieved), SecretAccessKey: "s", CanExpire: true, Expires: time.Now().Add(time.Hour)}, nil
		}))
		wire := &stsTransport{}
		a.sts = sts.New(sts.Options{Region: "us-east-1", Credentials: a, HTTPClient: wire})
		for _, want := range []int{1, 1, 2} { // renewed after 40 minutes
			id, err := a.whoami(context.Background())
			if err != nil || id.account != "111122223333" || id.partition != "aws" || wire.calls != want {
				t.Errorf("got %+v, %v after %d calls, want %d", id, err, wire.calls, want)
			}
			time.Sleep(25 * time.Minute)
		}
	})
}

func TestOfflineCredentialsAreWellFormed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffline("cn-north-1", Options{Account: "000000000000"})
		c, _ := o.Credentials(context.Background(), local.Role{Name: "team/web"}, "web")
		d, _ := o.Credentials(context.Background(), web, "web")
		e, _ := o.Credentials(context.Background(), local.Role{}, "web")
		if c.RoleARN != "arn:aws-cn:iam::000000000000:role/team/web" || d.RoleARN != web.ARN || e.RoleARN != "" {
			t.Errorf("roles are %q, %q, %q", c.RoleARN, d.RoleARN, e.RoleARN)
		}
		if !regexp.MustCompile(`^ASIAOFFLINE[A-Z2-7]{9}$`).MatchString(c.AccessKeyID) || len(c.SecretAccessKey) != 40 || !strings.HasPrefix(c.SessionToken, "OFFLINE") {
			t.Error("the keys do not have the form of keys")
		}
		if c.AccessKeyID == d.AccessKeyID || c.SecretAccessKey == d.SecretAccessKey || c.SessionToken == d.SessionToken {
			t.Error("two roles have the same keys")
		}
		if want := time.Now().UTC().Add(time.Hour).Truncate(time.Second); c.Expiration != want {
			t.Errorf("they expire at %v, want %v", c.Expiration, want)
		}
	})
}

func TestSessionName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "ecs-local",
		"web":                   "ecs-local-web",
		"a_b+c=d,e.f@g-h":       "ecs-local-a_b+c=d,e.f@g-h",
		"shop web/é":            "ecs-local-shop-web--",
		strings.Repeat("x", 90): "ecs-local-" + strings.Repeat("x", 54),
	} {
		if got := sessionName(in); got != want {
			t.Errorf("sessionName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	const secret = "abcDEF/0123456789+abcDEF/0123456789+abcd" // 40 characters
	longARN := "arn:aws:iam::111122223333:role/team/" + strings.Repeat("VeryLongName", 5)
	for in, want := range map[string]string{
		"key AKIATESTBASE00000001 is gone":        "key [redacted] is gone",
		"Credential=ASIATESTBASE00000001/2026":    "Credential=[redacted]/2026",
		`"SecretAccessKey":"` + secret + `"`:      `"SecretAccessKey":"[redacted]"`,
		"token=" + strings.Repeat("aB3/", 50):     "[redacted]",
		"my short word":                           "my [redacted] word",
		"User: " + longARN + " is not authorized": "User: " + longARN + " is not authorized",
		"dial tcp 127.0.0.1:1: connection refused, https://sts.us-east-1.amazonaws.com/": "dial tcp 127.0.0.1:1: connection refused, https://sts.us-east-1.amazonaws.com/",
	} {
		if got := redact(in, "", "short"); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkCachedCredentials(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	c := &Service{cache: newCache(&source{lifetime: time.Hour}, DefaultTimeout, log), base: newBase(Options{}), log: log}
	c.nextLook.Store(time.Now().Add(time.Hour).UnixNano())
	b.Cleanup(c.Close)
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Credentials(ctx, web, "web"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
