package creds_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

// TestKindsOfBaseCredentials goes through the kinds of base credentials, with
// the files, programs and servers that each needs. SSO is in TestSSO, MFA in
// TestMFASession.
func TestKindsOfBaseCredentials(t *testing.T) {
	const top = "arn:aws:iam::777788889999:role/top"
	for name, tc := range map[string]struct {
		env         map[string]string
		config      string
		credentials string
		script      string // of a credential_process
		token       string // of a web identity
		calls       string // to STS for the session and a role, with what signed
	}{
		"environment, long-term": {
			env: longTermKeys(), calls: "GetSessionToken base, AssumeRole base",
		},
		"environment, temporary": {
			env:   map[string]string{"AWS_ACCESS_KEY_ID": baseKey, "AWS_SECRET_ACCESS_KEY": baseSecret, "AWS_SESSION_TOKEN": baseToken},
			calls: "AssumeRole base",
		},
		"environment before profile": {
			env:    map[string]string{"AWS_ACCESS_KEY_ID": baseKey, "AWS_SECRET_ACCESS_KEY": baseSecret, "AWS_PROFILE": "admin"},
			config: "[profile admin]\nrole_arn = " + roleARN + "\nsource_profile = admin\nmfa_serial = " + mfaSerial + "\n" + strings.Replace(baseProfile, baseKey, "AKIATESTBASE00000002", 1),
			calls:  "GetSessionToken base, AssumeRole base",
		},
		"profile": {
			env: map[string]string{"AWS_PROFILE": "work"}, credentials: "[work]\n" + baseProfile,
			calls: "GetSessionToken base, AssumeRole base",
		},
		"profile in the config file": {
			config: "[default]\n" + baseProfile, calls: "GetSessionToken base, AssumeRole base",
		},
		"profile with a session token": {
			credentials: "[default]\n" + baseProfile + "aws_session_token = " + baseToken + "\n", calls: "AssumeRole base",
		},
		"role_arn of itself": {
			config: "[default]\nrole_arn = " + top + "\nsource_profile = default\n" + baseProfile, calls: "AssumeRole " + top + " base, AssumeRole issued",
		},
		"two levels of source_profile": {
			env: map[string]string{"AWS_PROFILE": "top"}, credentials: "[work]\n" + baseProfile,
			config: "[profile top]\nrole_arn = " + top + "\nsource_profile = middle\n[profile middle]\nrole_arn = arn:aws:iam::777788889999:role/middle\nsource_profile = work\n",
			calls:  "AssumeRole arn:aws:iam::777788889999:role/middle base, AssumeRole " + top + " issued, AssumeRole issued",
		},
		"credential_process, long-term": {
			script: fmt.Sprintf(`echo '{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q}'`, baseKey, baseSecret),
			calls:  "GetSessionToken base, AssumeRole base",
		},
		"credential_process, temporary": {
			script: fmt.Sprintf(`echo '{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q,"SessionToken":%q,"Expiration":%q}'`, baseKey, baseSecret, baseToken, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)),
			calls:  "AssumeRole base",
		},
		"web identity of the environment": {
			env: map[string]string{"AWS_ROLE_ARN": top}, token: "AWS_WEB_IDENTITY_TOKEN_FILE",
			calls: "AssumeRoleWithWebIdentity " + top + " nobody, AssumeRole issued",
		},
		"web identity of a profile": {
			config: "[default]\nrole_arn = " + top + "\nweb_identity_token_file = TOKEN\n", token: "file",
			calls: "AssumeRoleWithWebIdentity " + top + " nobody, AssumeRole issued",
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := setAWS(t, tc.env)
			if tc.script != "" {
				tc.config = "[default]\ncredential_process = " + process(t, home, tc.script) + "\n"
			}
			if tc.token != "" {
				path := writeFile(t, home, "token", "testWebIdentityToken-0000000000000000000000000001", 0o600)
				if strings.HasPrefix(tc.token, "AWS_") {
					t.Setenv(tc.token, path)
				}
				tc.config = strings.Replace(tc.config, "TOKEN", path, 1)
			}
			writeFile(t, home, "config", tc.config, 0o600)
			writeFile(t, home, "credentials", tc.credentials, 0o600)
			f := newFakeSTS(t)
			s := newService(t, f, creds.Options{})
			s.keep("testWebIdentityToken-0000000000000000000000000001")
			if st := s.Status(); st.Mode != creds.ModeSTS || st.LastError != "" || len(f.received("")) != 0 {
				t.Errorf("after the start: %+v, %d calls", st, len(f.received("")))
			}
			c := s.mustGet(local.Role{}, "web")
			if c.RoleARN != "" || c.SessionToken == "" || !time.Now().Before(c.Expiration) {
				t.Errorf("session: %v", c)
			}
			if c := s.mustGet(local.Role{ARN: roleARN}, "web"); c.RoleARN != roleARN || !c.Expiration.Equal(f.expires) {
				t.Errorf("role: %v", c)
			}
			var calls []string
			for _, c := range f.received("") {
				text := c.Action
				if c.RoleARN != "" && c.RoleARN != roleARN {
					text += " " + c.RoleARN
				}
				switch {
				case c.KeyID == baseKey:
					text += " base"
				case strings.HasPrefix(c.KeyID, "ASIATESTISSUED"):
					text += " issued"
				default:
					text += " nobody"
				}
				calls = append(calls, text)
			}
			if got := strings.Join(calls, ", "); got != tc.calls {
				t.Errorf("calls are %s, want %s", got, tc.calls)
			}
			s.mustGet(local.Role{Name: "web"}, "web")
			if st := s.Status(); st.Identity != f.callerARN || st.Account != "111122223333" || st.LastError != "" || st.MFA != nil {
				t.Errorf("in the end: %+v", st)
			}
			if strings.Contains(s.log.String(), "level=WARN") {
				t.Errorf("logged:\n%s", s.log)
			}
		})
	}
}
