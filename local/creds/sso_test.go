package creds_test

import (
	"crypto/sha1" //nolint:gosec // the name of the AWS CLI's cache files
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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

const (
	ssoAccess  = "testAccessToken-000000000000000000000001"
	ssoRenewed = "testAccessToken-000000000000000000000002"
	ssoRefresh = "testRefreshToken-00000000000000000000001"
	ssoClient  = "testClientSecret-00000000000000000000001"
)

// portal is IAM Identity Center: the portal that gives out the credentials of
// a role, and the service that renews its tokens.
// https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html
// https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html
type portal struct {
	URL string

	mu       sync.Mutex
	asked    []string // tokens that credentials were asked with
	renewals int
	refuse   string // error code of either
}

func newPortal(t *testing.T) *portal {
	t.Helper()
	p := &portal{}
	srv := httptest.NewServer(p)
	srv.Config.SetKeepAlivesEnabled(false)
	t.Cleanup(srv.Close)
	p.URL = srv.URL
	t.Setenv("AWS_ENDPOINT_URL_SSO", p.URL)
	t.Setenv("AWS_ENDPOINT_URL_SSO_OIDC", p.URL)
	return p
}

func (p *portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/federation/credentials":
		p.asked = append(p.asked, r.Header.Get("X-Amz-Sso_bearer_token"))
		if r.URL.Query().Get("account_id") != "111122223333" || r.URL.Query().Get("role_name") != "dev" || p.refuse != "" {
			p.fail(w, http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"roleCredentials": map[string]any{
			"accessKeyId": "ASIATESTSSO000000001", "secretAccessKey": baseSecret, "sessionToken": baseToken,
			"expiration": time.Now().Add(time.Hour).UnixMilli(),
		}})
	case "/token":
		var in struct{ RefreshToken, ClientID, GrantType string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.RefreshToken != ssoRefresh || in.GrantType != "refresh_token" || p.refuse != "" {
			p.fail(w, http.StatusBadRequest)
			return
		}
		p.renewals++
		_ = json.NewEncoder(w).Encode(map[string]any{"accessToken": ssoRenewed, "expiresIn": 28800, "refreshToken": ssoRefresh, "tokenType": "Bearer"})
	default:
		http.NotFound(w, r)
	}
}

func (p *portal) fail(w http.ResponseWriter, status int) {
	w.Header().Set("X-Amzn-Errortype", p.refuse)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": "Session token not found or invalid", "error": "invalid_grant"})
}

const (
	ssoProfile = "[profile corp]\nsso_session = my-sso\nsso_account_id = 111122223333\nsso_role_name = dev\n" +
		"[sso-session my-sso]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\nsso_registration_scopes = sso:account:access\n"
	legacyProfile = "[profile corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\nsso_account_id = 111122223333\nsso_role_name = dev\n"
	overProfile   = "[profile over]\nrole_arn = " + roleARN + "\nsource_profile = corp\n"
)

// login writes what `aws sso login` leaves.
func login(t *testing.T, home, key string, expires time.Time, renewable bool) string {
	t.Helper()
	dir := filepath.Join(home, ".aws", "sso", "cache")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte(key)) //nolint:gosec // as the AWS CLI names its files
	token := map[string]string{"accessToken": ssoAccess, "expiresAt": expires.UTC().Format(time.RFC3339)}
	if renewable {
		token["refreshToken"], token["clientId"], token["clientSecret"] = ssoRefresh, "client", ssoClient
		token["registrationExpiresAt"] = expires.Add(24 * time.Hour).UTC().Format(time.RFC3339)
	}
	text, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, dir, hex.EncodeToString(sum[:])+".json", string(text), 0o600)
}

func TestSSO(t *testing.T) {
	for name, tc := range map[string]struct {
		config, profile, key string
		expires              time.Duration
		renewable            bool
		token                string // that the portal is asked with
	}{
		"session":                       {ssoProfile, "corp", "my-sso", time.Hour, false, ssoAccess},
		"session, renewed":              {ssoProfile, "corp", "my-sso", -time.Hour, true, ssoRenewed},
		"legacy":                        {legacyProfile, "corp", "https://corp.awsapps.com/start", time.Hour, false, ssoAccess},
		"session under a role":          {ssoProfile + overProfile, "over", "my-sso", time.Hour, false, ssoAccess},
		"session, renewed under a role": {ssoProfile + overProfile, "over", "my-sso", -time.Hour, true, ssoRenewed},
	} {
		t.Run(name, func(t *testing.T) {
			home := setAWS(t, map[string]string{"AWS_PROFILE": tc.profile})
			p := newPortal(t)
			writeFile(t, home, "config", tc.config, 0o600)
			path := login(t, home, tc.key, time.Now().Add(tc.expires), tc.renewable)
			f := newFakeSTS(t)
			s := newService(t, f, creds.Options{})
			s.keep(ssoAccess, ssoRenewed, ssoRefresh, ssoClient)
			c := s.mustGet(local.Role{}, "web")
			s.mustGet(local.Role{Name: "web"}, "web")
			if under := tc.profile == "over"; under == (c.AccessKeyID == "ASIATESTSSO000000001") {
				t.Error("the session has other keys")
			}
			if len(p.asked) != 1 || p.asked[0] != tc.token {
				t.Errorf("the portal was asked %d times, want once, with the right token", len(p.asked))
			}
			if assumed := f.received("AssumeRole"); assumed[0].KeyID != "ASIATESTSSO000000001" {
				t.Error("STS was not asked with the credentials of the portal")
			}
			stored, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(stored), tc.token) {
				t.Errorf("the token in use is not in the cache file: %v", err)
			}
		})
	}
}

func TestSSOFailuresSayWhatToDo(t *testing.T) {
	const expired = -time.Hour
	for name, tc := range map[string]struct {
		config, profile, key string
		expires              time.Duration // 0: no login
		renewable            bool
		refuse               string
		name                 string
		says                 []string
	}{
		"no login":               {ssoProfile, "corp", "my-sso", 0, false, "", "ExpiredToken", []string{"`aws sso login --profile corp`"}},
		"expired":                {ssoProfile, "corp", "my-sso", expired, false, "", "ExpiredToken", []string{"`aws sso login --profile corp`"}},
		"expired, legacy":        {legacyProfile, "corp", "https://corp.awsapps.com/start", expired, false, "", "ExpiredToken", []string{"`aws sso login --profile corp`"}},
		"expired under a role":   {ssoProfile + overProfile, "over", "my-sso", expired, false, "", "ExpiredToken", []string{"`aws sso login --profile corp`", "profile over"}},
		"a name with a space":    {strings.Replace(ssoProfile, "profile corp", "profile my corp", 1), "my corp", "my-sso", expired, false, "", "ExpiredToken", []string{"`aws sso login --profile 'my corp'`"}},
		"not renewable any more": {ssoProfile, "corp", "my-sso", expired, true, "InvalidGrantException", "InvalidGrantException", []string{"`aws sso login --profile corp`"}},
		"ended by the portal":    {ssoProfile, "corp", "my-sso", time.Hour, false, "UnauthorizedException", "UnauthorizedException", []string{"`aws sso login --profile corp`"}},
		"no such role":           {ssoProfile, "corp", "my-sso", time.Hour, false, "ForbiddenException", "ForbiddenException", []string{"no role dev in account 111122223333", "profile corp"}},
	} {
		t.Run(name, func(t *testing.T) {
			home := setAWS(t, map[string]string{"AWS_PROFILE": tc.profile})
			p := newPortal(t)
			p.refuse = tc.refuse
			writeFile(t, home, "config", tc.config, 0o600)
			if tc.expires != 0 {
				login(t, home, tc.key, time.Now().Add(tc.expires), tc.renewable)
			}
			s := newService(t, newFakeSTS(t), creds.Options{})
			s.keep(ssoAccess, ssoRenewed, ssoRefresh, ssoClient)
			e := s.mustFail(local.Role{Name: "web"})
			if e.Code != local.Denied || e.Name != tc.name {
				t.Errorf("got %s %s %q", e.Code, e.Name, e.Msg)
			}
			for _, says := range tc.says {
				if !strings.Contains(e.Msg, says) {
					t.Errorf("%q does not say %q", e.Msg, says)
				}
			}
			if st := s.Status(); st.LastError != e.Msg {
				t.Errorf("the status says %q", st.LastError)
			}
		})
	}
}

func TestSSOLoginThatCannotBeStored(t *testing.T) {
	home := setAWS(t, map[string]string{"AWS_PROFILE": "corp"})
	newPortal(t)
	writeFile(t, home, "config", ssoProfile, 0o600)
	f := newFakeSTS(t)
	synctest.Test(t, func(t *testing.T) {
		path := login(t, home, "my-sso", time.Now().Add(-time.Hour), true)
		// A directory where the SDK is about to write its file stops root, too.
		if err := os.Mkdir(fmt.Sprintf("%s.tmp-%d", path, time.Now().UnixNano()), 0o700); err != nil {
			t.Fatal(err)
		}
		s := newService(t, f, creds.Options{})
		s.keep(ssoAccess, ssoRenewed, ssoRefresh, ssoClient)
		if e := s.mustFail(local.Role{}); !strings.Contains(e.Msg, "~/.aws/sso/cache cannot be written") {
			t.Errorf("got %q", e.Msg)
		}
	})
}

func TestSSOLoginIsUsedAtOnce(t *testing.T) {
	home := setAWS(t, map[string]string{"AWS_PROFILE": "corp"})
	newPortal(t)
	writeFile(t, home, "config", ssoProfile, 0o600)
	f := newFakeSTS(t)
	f.follow = true
	expires := time.Now().Add(time.Hour)
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, f, creds.Options{})
		s.keep(ssoAccess)
		// The clock here says 2000: the login does not expire, it is missing.
		if e := s.mustFail(local.Role{}); !strings.Contains(e.Msg, "aws sso login") {
			t.Errorf("got %q", e.Msg)
		}
		time.Sleep(time.Second)
		_ = s.mustFail(local.Role{})
		time.Sleep(500 * time.Millisecond)
		_ = s.mustFail(local.Role{Name: "web"})
		login(t, home, "my-sso", expires, false)
		time.Sleep(500 * time.Millisecond) // the next look; the failure is half a second old
		s.mustGet(local.Role{Name: "web"}, "web")
		if st := s.Status(); st.LastError != "" {
			t.Errorf("the status says %q", st.LastError)
		}
	})
}
