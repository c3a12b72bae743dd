package creds_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

// TestShortLives says that credentials for tests end when they should, are
// replaced before, and that STS is asked for what it allows.
func TestShortLives(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Second, 10 * time.Second, 2 * time.Minute, 15 * time.Minute, 12 * time.Hour} {
		for _, role := range []local.Role{{}, {Name: "web"}, {ARN: roleARN}} {
			t.Run(lifetime.String()+" "+role.String(), func(t *testing.T) {
				setAWS(t, longTermKeys())
				f := newFakeSTS(t)
				f.follow = true
				synctest.Test(t, func(t *testing.T) {
					s := newService(t, f, creds.Options{Lifetime: lifetime})
					seen := map[string]bool{}
					const steps = 50
					for range steps {
						c := s.mustGet(role, "web")
						if left := time.Until(c.Expiration); left <= 0 || left > lifetime+time.Second {
							t.Fatalf("%v are left of %v", left, lifetime)
						}
						if c.Expiration.Nanosecond() != 0 {
							t.Error("the expiry has fractions of a second")
						}
						seen[c.AccessKeyID] = true
						time.Sleep(lifetime / 10)
						synctest.Wait()
					}
					// A renewal is due after two thirds of their life: 5 lives.
					if n := len(seen); n < 5 || n > 10 {
						t.Errorf("%d sets of keys in 5 lifetimes", n)
					}
					c, err := s.Uncached().Credentials(t.Context(), role, "i-1")
					if err != nil || time.Until(c.Expiration) > lifetime+time.Second || seen[c.AccessKeyID] {
						t.Errorf("uncached: %v, %v", c, err)
					}
				})
				want := fmt.Sprint(int(max(lifetime, 15*time.Minute) / time.Second))
				for _, c := range append(f.received("AssumeRole"), f.received("GetSessionToken")...) {
					if c.Seconds != want {
						t.Fatalf("STS was asked for %q seconds, want %s", c.Seconds, want)
					}
				}
			})
		}
	}
}

func TestShortLivesOfTemporaryBaseCredentials(t *testing.T) {
	for name, script := range map[string]string{
		"expiry known":   `,"Expiration":"2000-01-01T00:10:00Z"`, // the clock of the test begins at midnight
		"expiry unknown": "",
	} {
		t.Run(name, func(t *testing.T) {
			home := setAWS(t, nil)
			writeFile(t, home, "config", "[default]\ncredential_process = "+process(t, home, fmt.Sprintf(
				`echo '{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q,"SessionToken":%q%s}'`, baseKey, baseSecret, baseToken, script))+"\n", 0o600)
			f := newFakeSTS(t)
			synctest.Test(t, func(t *testing.T) {
				ending := time.Now().Add(10 * time.Minute)
				s := newService(t, f, creds.Options{Lifetime: 2 * time.Minute})
				expiries := map[time.Time]bool{}
				for time.Now().Before(ending) {
					c := s.mustGet(local.Role{}, "web")
					left := time.Until(c.Expiration)
					if c.AccessKeyID != baseKey || left <= 0 || left > 2*time.Minute {
						t.Fatalf("%v are left", left)
					}
					if script != "" && c.Expiration.After(ending) {
						t.Fatal("they are said to live longer than they do")
					}
					expiries[c.Expiration] = true
					time.Sleep(20 * time.Second)
					synctest.Wait()
				}
				if len(expiries) < 5 {
					t.Errorf("handed on with %d expiries in 10 minutes", len(expiries))
				}
				_, err := s.get(local.Role{}, "web")
				if ended := err != nil; ended != (script != "") {
					t.Errorf("at their real end: %v", err)
				}
			})
		})
	}
}

func TestDurationOfARoleAndLifetime(t *testing.T) {
	for _, tc := range []struct {
		lifetime, duration time.Duration
		asked              string
		left               time.Duration
	}{
		{0, 0, "", time.Hour},
		{0, 2 * time.Hour, "7200", 2 * time.Hour},
		{time.Hour, 2 * time.Hour, "3600", time.Hour},
		{2 * time.Hour, time.Hour, "3600", time.Hour},
		{0, 5 * time.Minute, "900", 5 * time.Minute},
		{2 * time.Minute, 2 * time.Hour, "900", 2 * time.Minute},
	} {
		t.Run(tc.lifetime.String()+" "+tc.duration.String(), func(t *testing.T) {
			setAWS(t, longTermKeys())
			f := newFakeSTS(t)
			f.follow = true
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, f, creds.Options{Lifetime: tc.lifetime, Roles: roleMap{"web": {Duration: tc.duration}}})
				if left := time.Until(s.mustGet(local.Role{Name: "web"}, "web").Expiration); left != tc.left {
					t.Errorf("%v are left, want %v", left, tc.left)
				}
			})
			if got := f.received("AssumeRole")[0].Seconds; got != tc.asked {
				t.Errorf("asked for %q, want %q", got, tc.asked)
			}
		})
	}
}

// TestOutageOfSTS says what a client sees while STS is away for ten minutes
// that the keys survive, and for longer than they do.
func TestOutageOfSTS(t *testing.T) {
	for name, tc := range map[string]struct {
		lifetime time.Duration
		survive  bool
	}{"an hour": {time.Hour, true}, "fifteen minutes": {15 * time.Minute, false}, "two minutes": {2 * time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			setAWS(t, longTermKeys())
			f := newFakeSTS(t)
			f.follow = true
			roles := []local.Role{{}, {Name: "web"}, {ARN: roleARN}}
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, f, creds.Options{Lifetime: tc.lifetime})
				ends := map[local.Role]time.Time{}
				for _, role := range roles {
					ends[role] = s.mustGet(role, "web").Expiration
				}
				time.Sleep(tc.lifetime * 6 / 10) // a renewal comes next
				f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
					stsError(w, 503, "ServiceUnavailable", "")
					return true
				})
				failures := 0
				for range 120 {
					for _, role := range roles {
						c, err := s.get(role, "web")
						alive := time.Now().Before(ends[role])
						switch {
						case err != nil && alive:
							t.Fatalf("%s: an error while the keys live: %v", role, err)
						case err == nil && (!alive || !c.Expiration.Equal(ends[role])):
							t.Fatalf("%s: %v, which STS did not give", role, c)
						case err != nil:
							failures++
							if e := s.failed(err); e.Code != local.Unavailable || e.Name != "ServiceUnavailable" || s.Status().LastError == "" {
								t.Fatalf("%s: got %s %q", role, e.Code, e.Msg)
							}
						}
					}
					time.Sleep(5 * time.Second)
				}
				synctest.Wait()
				if survived := failures == 0; survived != tc.survive {
					t.Errorf("%d failed answers", failures)
				}
				f.setBehaviour(nil)
				time.Sleep(time.Second)
				for _, role := range roles {
					s.mustGet(role, "web")
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				for _, role := range roles {
					if c := s.mustGet(role, "web"); !c.Expiration.After(ends[role]) {
						t.Errorf("%s is not renewed", role)
					}
				}
				if st := s.Status(); st.LastError != "" {
					t.Errorf("the status says %q", st.LastError)
				}
			})
		})
	}
}
