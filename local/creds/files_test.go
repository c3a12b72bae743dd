package creds_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

const otherKey = "AKIATESTBASE00000002"

func otherProfile() string { return strings.Replace(baseProfile, baseKey, otherKey, 1) }

// TestChangedFilesAreUsedWithoutARestart says what becomes of credentials that
// are known when the AWS files change under them.
func TestChangedFilesAreUsedWithoutARestart(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, home string)
		anew   bool // the known credentials are dropped
		signer string
	}{
		"other keys": {func(t *testing.T, home string) {
			writeFile(t, home, "credentials", "[default]\n"+otherProfile(), 0o600)
		}, true, otherKey},
		"other keys, by a rename": {func(t *testing.T, home string) {
			if err := os.Rename(writeFile(t, home, "new", "[default]\n"+otherProfile(), 0o600), filepath.Join(home, "credentials")); err != nil {
				t.Fatal(err)
			}
		}, true, otherKey},
		"another region": {func(t *testing.T, home string) {
			writeFile(t, home, "config", "[default]\nregion = eu-west-1\n", 0o600)
		}, true, baseKey},
		"another profile in the same file": {func(t *testing.T, home string) {
			writeFile(t, home, "credentials", "[default]\n"+baseProfile+"[else]\n"+otherProfile(), 0o600)
		}, false, baseKey},
		"written again as it was": {func(t *testing.T, home string) {
			writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o600)
		}, false, baseKey},
		"nothing": {func(*testing.T, string) {}, false, baseKey},
	} {
		t.Run(name, func(t *testing.T) {
			home := setAWS(t, nil)
			writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o600)
			f := newFakeSTS(t)
			f.follow = true
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, f, creds.Options{})
				s.keep(otherKey)
				roles := []local.Role{{}, {Name: "web"}, {ARN: roleARN}}
				before := map[local.Role]local.Credentials{}
				for _, role := range roles {
					before[role] = s.mustGet(role, "web")
				}
				tc.change(t, home)
				time.Sleep(time.Second)
				for _, role := range roles {
					if got := s.mustGet(role, "web") != before[role]; got != tc.anew {
						t.Errorf("%s is obtained anew: %t, want %t", role, got, tc.anew)
					}
				}
				calls := f.received("AssumeRole")
				if got := calls[len(calls)-1].KeyID; got != tc.signer {
					t.Error("the last role was assumed with other keys")
				}
				n := len(f.received(""))
				time.Sleep(time.Minute)
				for _, role := range roles {
					s.mustGet(role, "web")
				}
				if got := len(f.received("")); got != n {
					t.Errorf("%d more calls a minute later", got-n)
				}
			})
		})
	}
}

// TestFilesAreLookedAtOnceASecond says that a change is not seen before.
func TestFilesAreLookedAtOnceASecond(t *testing.T) {
	home := setAWS(t, nil)
	writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o600)
	f := newFakeSTS(t)
	f.follow = true
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, f, creds.Options{})
		s.keep(otherKey)
		first := s.mustGet(local.Role{}, "web")
		writeFile(t, home, "credentials", "[default]\n"+otherProfile(), 0o600)
		time.Sleep(900 * time.Millisecond)
		if s.mustGet(local.Role{}, "web") != first {
			t.Error("the files are looked at for each request")
		}
		time.Sleep(100 * time.Millisecond)
		if s.mustGet(local.Role{}, "web") == first {
			t.Error("the files are not looked at after a second")
		}
	})
}

// TestChangeDuringACall says that what was asked for with the old keys is not
// kept.
func TestChangeDuringACall(t *testing.T) {
	home := setAWS(t, nil)
	writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o600)
	f := newFakeSTS(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.setBehaviour(func(http.ResponseWriter, *http.Request, call) bool {
		first := false
		once.Do(func() { first = true })
		if first {
			close(arrived)
			<-release
		}
		return false
	})
	s := newService(t, f, creds.Options{})
	s.keep(otherKey)
	waited := make(chan local.Credentials)
	go func() {
		c, err := s.get(local.Role{ARN: roleARN}, "web")
		if err != nil {
			t.Error(err)
		}
		waited <- c
	}()
	<-arrived
	writeFile(t, home, "credentials", "[default]\n"+otherProfile(), 0o600)
	s.mustGet(local.Role{}, "web") // reads the files, as each call to STS does
	close(release)
	old := <-waited
	if c := s.mustGet(local.Role{ARN: roleARN}, "web"); c.AccessKeyID == old.AccessKeyID {
		t.Error("credentials of the old keys are kept")
	}
	if calls := f.received("AssumeRole"); calls[len(calls)-1].KeyID != otherKey {
		t.Error("the role was not assumed with the new keys")
	}
}

// TestBrokenFilesLeaveKnownCredentialsAlone says what a file does that is
// being edited.
func TestBrokenFilesLeaveKnownCredentialsAlone(t *testing.T) {
	home := setAWS(t, map[string]string{"AWS_PROFILE": "work"})
	good := "[work]\n" + baseProfile
	writeFile(t, home, "credentials", good, 0o600)
	f := newFakeSTS(t)
	f.follow = true
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, f, creds.Options{})
		first := s.mustGet(local.Role{}, "web")
		writeFile(t, home, "credentials", "[wo", 0o600)
		for range 5 {
			time.Sleep(time.Second)
			if s.mustGet(local.Role{}, "web") != first {
				t.Error("the known credentials are gone")
			}
		}
		if n := strings.Count(s.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, s.log)
		}
		if st := s.Status(); !strings.Contains(st.LastError, "AWS profile") {
			t.Errorf("the status says %q", st.LastError)
		}
		if e := s.mustFail(local.Role{Name: "new"}); e.Code != local.Denied {
			t.Errorf("got %s %q", e.Code, e.Msg)
		}
		writeFile(t, home, "credentials", good, 0o600)
		time.Sleep(time.Second)
		if st := s.Status(); st.LastError != "" {
			t.Errorf("the status says %q", st.LastError)
		}
		s.mustGet(local.Role{Name: "new"}, "web")
	})
}
