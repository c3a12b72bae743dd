package creds_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

const (
	mfaSerial = "arn:aws:iam::111122223333:mfa/dev"
	mfaCode   = "739481"
)

// guardMFA makes the STS accept one code of one device, and refuse a session
// or role for which another one is given.
func guardMFA(f *fakeSTS) {
	f.setBehaviour(func(w http.ResponseWriter, r *http.Request, _ call) bool {
		serial, code := r.PostForm.Get("SerialNumber"), r.PostForm.Get("TokenCode")
		if serial == mfaSerial && code == mfaCode || serial == "" && code == "" {
			return false
		}
		stsError(w, 403, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code "+code+".")
		return true
	})
}

// mustAskForMFA checks that a code is asked for, without a call.
func mustAskForMFA(t *testing.T, s *service, f *fakeSTS) {
	t.Helper()
	before := len(f.received(""))
	for _, role := range []local.Role{{}, {Name: "web"}, {ARN: "arn:aws:iam::444455556666:role/other"}} {
		e := s.mustFail(role)
		if e.Code != local.Denied || e.Name != "MFARequired" || !strings.Contains(e.Msg, "ecs-local mfa CODE") ||
			!strings.Contains(e.Msg, "/v1/credentials/mfa") || !strings.Contains(e.Msg, mfaSerial) {
			t.Errorf("%s: got %s %s %q", role, e.Code, e.Name, e.Msg)
		}
	}
	if n := len(f.received("")) - before; n != 0 {
		t.Errorf("%d calls to STS, want none", n)
	}
	st := s.Status()
	if st.MFA == nil || !st.MFA.Needed || st.MFA.Serial != mfaSerial || !st.MFA.Until.IsZero() || !strings.Contains(st.LastError, mfaSerial) {
		t.Errorf("status is %+v, MFA %+v", st, st.MFA)
	}
}

func giveCode(s *service, code string) error {
	s.keep(code)
	return s.MFA(context.Background(), code)
}

func TestMFASession(t *testing.T) {
	role := "[profile admin]\nrole_arn = " + roleARN + "\nrole_session_name = me\nexternal_id = partner\nduration_seconds = 1800\nsource_profile = work\n"
	for name, config := range map[string]string{
		"mfa_serial beside role_arn":      role + "mfa_serial = " + mfaSerial + "\n[profile work]\n" + baseProfile,
		"mfa_serial of the source":        role + "[profile work]\nmfa_serial = " + mfaSerial + "\n" + baseProfile,
		"mfa_serial deeper in the chain":  "[profile admin]\nrole_arn = arn:aws:iam::999900001111:role/last\nsource_profile = mid\n" + strings.Replace(role, "[profile admin]", "[profile mid]", 1) + "mfa_serial = " + mfaSerial + "\n[profile work]\n" + baseProfile,
		"mfa_serial also where it cannot": "[profile admin]\nrole_arn = arn:aws:iam::999900001111:role/last\nmfa_serial = " + mfaSerial + "\nsource_profile = mid\n" + strings.Replace(role, "[profile admin]", "[profile mid]", 1) + "mfa_serial = " + mfaSerial + "\n[profile work]\n" + baseProfile,
	} {
		t.Run(name, func(t *testing.T) {
			home := setAWS(t, map[string]string{"AWS_PROFILE": "admin"})
			writeFile(t, home, "config", config, 0o600)
			f := newFakeSTS(t)
			guardMFA(f)
			s := newService(t, f, creds.Options{})
			mustAskForMFA(t, s, f)

			e := s.failed(giveCode(s, "111111"))
			if e.Code != local.Denied || !strings.Contains(e.Msg, "refuses the MFA code") || !strings.Contains(e.Msg, mfaSerial) {
				t.Errorf("a wrong code: %s %q", e.Code, e.Msg)
			}
			mustAskForMFA(t, s, f)

			if err := giveCode(s, mfaCode); err != nil {
				t.Fatal(err)
			}
			if st := s.Status(); st.LastError != "" {
				t.Errorf("with the code, the status says %q", st.LastError)
			}
			c := s.mustGet(local.Role{}, "web")
			if c.SessionToken == "" || !c.Expiration.Equal(f.expires) {
				t.Errorf("got %v", c)
			}
			if st := s.Status(); st.MFA == nil || st.MFA.Needed || !st.MFA.Until.Equal(f.expires) || st.LastError != "" {
				t.Errorf("status is %+v, MFA %+v", st, st.MFA)
			}
			s.mustGet(local.Role{Name: "x"}, "web")
			if n := len(f.received("GetSessionToken")); n != 2 {
				t.Errorf("%d calls of GetSessionToken, want one per code", n)
			}
			assumed := f.received("AssumeRole")[0]
			if !strings.HasPrefix(assumed.KeyID, "ASIATESTISSUED") || assumed.Token == "" || assumed.RoleARN != roleARN ||
				assumed.Session != "me" || assumed.Seconds != "1800" {
				t.Error("the role was not assumed with the session, or not as the profile says")
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			external := false
			for _, form := range f.forms {
				external = external || form.Get("ExternalId") == "partner"
				if form.Get("Action") == "AssumeRole" && (form.Has("SerialNumber") || form.Has("TokenCode")) {
					t.Error("AssumeRole says something about MFA")
				}
			}
			if !external {
				t.Error("the external id was not said")
			}
		})
	}
}

func TestMFASessionIsUsedForItsWholeLife(t *testing.T) {
	home := setAWS(t, map[string]string{"AWS_PROFILE": "admin"})
	writeFile(t, home, "config", "[profile admin]\nrole_arn = "+roleARN+"\nsource_profile = work\nmfa_serial = "+mfaSerial+"\n[profile work]\n"+baseProfile, 0o600)
	f := newFakeSTS(t)
	f.follow = true
	guardMFA(f)
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, f, creds.Options{})
		if err := giveCode(s, mfaCode); err != nil {
			t.Fatal(err)
		}
		for range 58 { // the fake's session lasts an hour, the profile's role 15 minutes
			s.mustGet(local.Role{}, "web")
			time.Sleep(time.Minute)
		}
		if n := len(f.received("GetSessionToken")); n != 1 {
			t.Errorf("%d calls of GetSessionToken, want 1", n)
		}
		if n := len(f.received("AssumeRole")); n < 4 || n > 12 {
			t.Errorf("the role was assumed %d times in an hour", n)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		mustAskForMFA(t, s, f)
		if err := giveCode(s, mfaCode); err != nil {
			t.Fatal(err)
		}
		s.mustGet(local.Role{}, "web")
	})
}

func TestMFAWithTemporarySourceAssumesTheRoleItself(t *testing.T) {
	home := setAWS(t, map[string]string{"AWS_PROFILE": "admin"})
	program := process(t, home, fmt.Sprintf(`echo x >> %[4]s/runs; echo '{"Version":1,"AccessKeyId":%[1]q,"SecretAccessKey":%[2]q,"SessionToken":%[3]q}'`, baseKey, baseSecret, baseToken, home))
	writeFile(t, home, "config", "[profile admin]\nrole_arn = "+roleARN+"\nduration_seconds = 7200\nrole_session_name = me\nexternal_id = partner\nsource_profile = work\nmfa_serial = "+mfaSerial+
		"\n[profile work]\ncredential_process = "+program+"\n", 0o600)
	f := newFakeSTS(t)
	guardMFA(f)
	s := newService(t, f, creds.Options{})
	mustAskForMFA(t, s, f)
	if err := giveCode(s, mfaCode); err != nil {
		t.Fatal(err)
	}
	c := s.mustGet(local.Role{}, "web")
	s.mustGet(local.Role{ARN: "arn:aws:iam::444455556666:role/web"}, "web")
	want := []call{
		{Action: "AssumeRole", RoleARN: roleARN, Session: "me", KeyID: baseKey, Token: baseToken, Region: "us-east-1", Seconds: "7200"},
		{Action: "AssumeRole", RoleARN: "arn:aws:iam::444455556666:role/web", Session: "ecs-local-web", KeyID: c.AccessKeyID, Token: c.SessionToken, Region: "us-east-1"},
	}
	if !cmp.Equal(want, f.received("")) {
		t.Errorf("the calls are not the profile's role with the code, and a role with its credentials (%d calls)", len(f.received("")))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := f.forms[0]; got.Get("SerialNumber") != mfaSerial || got.Get("TokenCode") != mfaCode || got.Get("ExternalId") != "partner" {
		t.Error("the role was not assumed with the device, the code and the external id")
	}
}

func TestMFAWithKeysAlone(t *testing.T) {
	home := setAWS(t, nil)
	writeFile(t, home, "config", "[default]\nmfa_serial = "+mfaSerial+"\n"+baseProfile, 0o600)
	f := newFakeSTS(t)
	guardMFA(f)
	s := newService(t, f, creds.Options{})
	mustAskForMFA(t, s, f)
	if err := giveCode(s, mfaCode); err != nil {
		t.Fatal(err)
	}
	c := s.mustGet(local.Role{}, "web")
	s.mustGet(local.Role{ARN: roleARN}, "web")
	if got := f.received("AssumeRole"); len(got) != 1 || got[0].KeyID != c.AccessKeyID {
		t.Error("the role was not assumed with the session")
	}
	if n := len(f.received("GetSessionToken")); n != 1 {
		t.Errorf("%d calls of GetSessionToken, want 1", n)
	}
	if err := giveCode(s, mfaCode); err != nil { // not needed, and used
		t.Fatal(err)
	}
	s.mustGet(local.Role{ARN: "arn:aws:iam::444455556666:role/other"}, "web")
	if got := f.received("AssumeRole"); len(got) != 2 || got[1].KeyID == got[0].KeyID {
		t.Error("a role was not assumed with the later session")
	}
}

func TestMFACodesThatAreNone(t *testing.T) {
	home := setAWS(t, nil)
	writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o600)
	f := newFakeSTS(t)
	for name, opts := range map[string]creds.Options{"no mfa_serial": {}, "offline": {Mode: creds.ModeOffline}} {
		s := newService(t, f, opts)
		if e := s.failed(giveCode(s, mfaCode)); e.Code != local.Invalid || !strings.Contains(e.Msg, "needed") {
			t.Errorf("%s: %s %q", name, e.Code, e.Msg)
		}
		if s.Status().MFA != nil {
			t.Errorf("%s: the status speaks of MFA", name)
		}
		for _, code := range []string{"", "12345", "1234567", "12345x", "１２３４５６"} {
			if e := s.failed(s.MFA(context.Background(), code)); e.Code != local.Invalid || !strings.Contains(e.Msg, "6 digits") {
				t.Errorf("%s: %q: %s %q", name, code, e.Code, e.Msg)
			}
		}
	}
	if n := len(f.received("")); n != 0 {
		t.Errorf("%d calls to STS", n)
	}
}

func TestMFACodesAreTriedOneAtATime(t *testing.T) {
	home := setAWS(t, nil)
	writeFile(t, home, "config", "[default]\nmfa_serial = "+mfaSerial+"\n"+baseProfile, 0o600)
	f := newFakeSTS(t)
	var at, most atomic.Int32
	f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
		if n := at.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer at.Add(-1)
		<-time.After(5 * time.Millisecond) // another one may come
		stsError(w, 403, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code.")
		return true
	})
	s := newService(t, f, creds.Options{})
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if err := giveCode(s, fmt.Sprintf("%06d", 100000+i)); err == nil {
				t.Error("no error")
			}
		})
	}
	all.Wait()
	if n := most.Load(); n != 1 {
		t.Errorf("%d codes at a time, want 1", n)
	}
	if n := len(f.received("GetSessionToken")); n != 10 {
		t.Errorf("%d calls, want one per code", n)
	}
}

func TestMFASessionEndsWithItsAccount(t *testing.T) {
	home := setAWS(t, nil)
	config := "[default]\nmfa_serial = " + mfaSerial + "\n" + baseProfile
	writeFile(t, home, "config", config, 0o600)
	f := newFakeSTS(t)
	f.follow = true
	guardMFA(f)
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, f, creds.Options{})
		if err := giveCode(s, mfaCode); err != nil {
			t.Fatal(err)
		}
		s.mustGet(local.Role{}, "web")
		writeFile(t, home, "config", strings.Replace(config, baseKey, "AKIATESTBASE00000002", 1), 0o600)
		time.Sleep(time.Second)
		e := s.mustFail(local.Role{})
		if e.Name != "MFARequired" {
			t.Errorf("got %s %q", e.Name, e.Msg)
		}
	})
}
