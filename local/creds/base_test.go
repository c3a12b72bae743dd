package creds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

// baseProfile holds the long-term credentials of the tests.
const baseProfile = "aws_access_key_id = " + baseKey + "\naws_secret_access_key = " + baseSecret + "\n"

func TestTemporaryCredentialsAreHandedOn(t *testing.T) {
	t.Run("expiry unknown", func(t *testing.T) {
		setAWS(t, longTermKeys())
		t.Setenv("AWS_SESSION_TOKEN", baseToken)
		f := newFakeSTS(t)
		for _, tc := range []struct{ option, want time.Duration }{{0, 750 * time.Second}, {time.Minute, time.Minute}} {
			s := newService(t, f, creds.Options{SharedTokenExpiration: tc.option})
			before := time.Now()
			c := s.mustGet(local.Role{}, "web")
			after := time.Now()
			if c.AccessKeyID != baseKey || c.SecretAccessKey != baseSecret || c.SessionToken != baseToken || c.RoleARN != "" {
				t.Error("other credentials came out")
			}
			// They end at a full second.
			if c.Expiration.Before(before.Add(tc.want-time.Second)) || c.Expiration.After(after.Add(tc.want)) {
				t.Errorf("they live %v, want %v", c.Expiration.Sub(before), tc.want)
			}
			if c.Expiration.Nanosecond() != 0 {
				t.Error("the expiry has fractions of a second")
			}
		}
		if got := f.received(""); len(got) != 0 {
			t.Errorf("STS was called: %v", got)
		}
	})
	t.Run("real expiry", func(t *testing.T) {
		home := setAWS(t, nil)
		expires := time.Now().Add(37 * time.Minute).UTC().Truncate(time.Second)
		writeFile(t, home, "config", "[default]\ncredential_process = "+process(t, home, fmt.Sprintf(
			`echo '{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q,"SessionToken":%q,"Expiration":%q}'`,
			baseKey, baseSecret, baseToken, expires.Format(time.RFC3339)))+"\n", 0o600)
		f := newFakeSTS(t)
		s := newService(t, f, creds.Options{})
		if c := s.mustGet(local.Role{}, "web"); !c.Expiration.Equal(expires) || c.SessionToken != baseToken {
			t.Errorf("got %v, want the process's own until %v", c, expires)
		}
		s.mustGet(local.Role{ARN: roleARN}, "web")
		want := []call{{Action: "AssumeRole", RoleARN: roleARN, Session: "ecs-local-web", KeyID: baseKey, Token: baseToken, Region: "us-east-1"}}
		if diff := cmp.Diff(want, f.received("")); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
	t.Run("expired already", func(t *testing.T) {
		home := setAWS(t, nil)
		writeFile(t, home, "config", "[default]\ncredential_process = "+process(t, home, fmt.Sprintf(
			`echo '{"Version":1,"AccessKeyId":%q,"SecretAccessKey":%q,"SessionToken":%q,"Expiration":"2020-01-01T00:00:00Z"}'`,
			baseKey, baseSecret, baseToken))+"\n", 0o600)
		s := newService(t, newFakeSTS(t), creds.Options{})
		_, err := s.get(local.Role{}, "web")
		if local.CodeOf(err) != local.Denied || !strings.Contains(local.MessageOf(err), "expired") {
			t.Errorf("got %v", err)
		}
	})
}

// Who exports temporary keys says when they end: `aws configure
// export-credentials` and the like.
func TestTemporaryKeysInTheEnvironmentEnd(t *testing.T) {
	temporary := longTermKeys()
	temporary["AWS_SESSION_TOKEN"] = baseToken
	t.Run("handed on with their expiry", func(t *testing.T) {
		setAWS(t, temporary)
		expires := time.Now().Add(37 * time.Minute).UTC().Truncate(time.Second)
		s := newService(t, newFakeSTS(t), creds.Options{KeysExpire: expires})
		if c := s.mustGet(local.Role{}, "web"); !c.Expiration.Equal(expires) || c.SessionToken != baseToken {
			t.Errorf("got %v, want them until %v", c, expires)
		}
	})
	t.Run("ended", func(t *testing.T) {
		setAWS(t, temporary)
		s := newService(t, newFakeSTS(t), creds.Options{KeysExpire: time.Now().Add(-time.Minute)})
		for _, role := range []local.Role{{}, {Name: "app"}} {
			if e := s.mustFail(role); e.Code != local.Denied || e.Name != "ExpiredToken" || !strings.Contains(e.Msg, "put new ones into the environment") {
				t.Errorf("%s: got %s %s: %s", role, e.Code, e.Name, e.Msg)
			}
		}
	})
	t.Run("long-term keys never end", func(t *testing.T) {
		setAWS(t, longTermKeys())
		f := newFakeSTS(t)
		s := newService(t, f, creds.Options{KeysExpire: time.Now().Add(-time.Minute)})
		if c := s.mustGet(local.Role{}, "web"); !c.Expiration.Equal(f.expires) {
			t.Errorf("got %v, want a session until %v", c, f.expires)
		}
	})
	t.Run("nor do those of a profile", func(t *testing.T) {
		home := setAWS(t, nil)
		writeFile(t, home, "credentials", "[default]\n"+baseProfile+"aws_session_token = "+baseToken+"\n", 0o600)
		s := newService(t, newFakeSTS(t), creds.Options{KeysExpire: time.Now().Add(-time.Minute)})
		if c := s.mustGet(local.Role{}, "web"); c.SessionToken != baseToken {
			t.Errorf("got %v", c)
		}
	})
}

// Half of the keys is base credentials that fail, not none.
func TestIncompleteKeysAreAnError(t *testing.T) {
	for _, mode := range []creds.Mode{creds.ModeAuto, creds.ModeSTS} {
		home := setAWS(t, map[string]string{"AWS_ACCESS_KEY_ID": baseKey})
		s := newService(t, newFakeSTS(t), creds.Options{Mode: mode, MissingKey: "AWS_SECRET_ACCESS_KEY"})
		if e := s.mustFail(local.Role{}); e.Code != local.Denied || e.Name != "InvalidConfiguration" || !strings.Contains(e.Msg, "lack AWS_SECRET_ACCESS_KEY") {
			t.Errorf("%s: got %s %s: %s", mode, e.Code, e.Name, e.Msg)
		}
		if st := s.Status(); st.Mode != creds.ModeSTS || st.LastError == "" {
			t.Errorf("%s: status is %+v", mode, st)
		}
		// The SDK's chain goes on to the profile.
		writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o600)
		newService(t, newFakeSTS(t), creds.Options{Mode: mode, MissingKey: "AWS_SECRET_ACCESS_KEY"}).mustGet(local.Role{}, "web")
	}
}

// process writes a credential_process.
func process(t *testing.T, dir, script string) string {
	t.Helper()
	return writeFile(t, dir, "process.sh", "#!/bin/sh\n"+script+"\n", 0o700)
}

func TestProfiles(t *testing.T) {
	t.Run("named profile", func(t *testing.T) {
		home := setAWS(t, map[string]string{"AWS_PROFILE": "work"})
		writeFile(t, home, "credentials", "[work]\n"+baseProfile, 0o600)
		f := newFakeSTS(t)
		s := newService(t, f, creds.Options{Mode: creds.ModeSTS})
		s.mustGet(local.Role{}, "web")
		if got := f.received("GetSessionToken"); len(got) != 1 || got[0].KeyID != baseKey {
			t.Error("GetSessionToken was not called with the profile's key")
		}
	})
	t.Run("role_arn and source_profile use the STS endpoint too", func(t *testing.T) {
		home := setAWS(t, map[string]string{"AWS_PROFILE": "admin"})
		writeFile(t, home, "credentials", "[work]\n"+baseProfile, 0o600)
		writeFile(t, home, "config", "[profile admin]\nrole_arn = "+roleARN+"\nrole_session_name = chain\nsource_profile = work\nregion = eu-west-1\n", 0o600)
		f := newFakeSTS(t)
		s := newService(t, f, creds.Options{})
		if n := len(f.received("")); n != 0 {
			t.Errorf("%d calls at start, want none", n)
		}
		c := s.mustGet(local.Role{}, "web")
		if c.RoleARN != "" || !c.Expiration.Equal(f.expires) {
			t.Errorf("got %v, want the chain's credentials until %v", c, f.expires)
		}
		s.mustGet(local.Role{ARN: "arn:aws:iam::444455556666:role/web"}, "web")
		got := f.received("")
		want := []call{
			{Action: "AssumeRole", RoleARN: roleARN, Session: "chain", KeyID: baseKey, Region: "eu-west-1", Seconds: "900"},
			{
				Action: "AssumeRole", RoleARN: "arn:aws:iam::444455556666:role/web", Session: "ecs-local-web",
				KeyID: c.AccessKeyID, Token: c.SessionToken, Region: "eu-west-1",
			},
		}
		if !cmp.Equal(want, got) {
			t.Errorf("the calls are not the chain's and then the role's with its credentials (%d calls)", len(got))
		}
	})
	t.Run("web identity", func(t *testing.T) {
		home := setAWS(t, map[string]string{"AWS_ROLE_ARN": roleARN})
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", writeFile(t, home, "token", "not-a-real-jwt", 0o600))
		f := newFakeSTS(t)
		s := newService(t, f, creds.Options{})
		s.mustGet(local.Role{}, "web")
		if got := f.received("AssumeRoleWithWebIdentity"); len(got) != 1 {
			t.Errorf("AssumeRoleWithWebIdentity was called %d times, want once", len(got))
		}
	})
	t.Run("written later, changed later", func(t *testing.T) {
		home := setAWS(t, nil)
		f := newFakeSTS(t)
		s := newService(t, f, creds.Options{Mode: creds.ModeSTS})
		_, err := s.get(local.Role{Name: "a"}, "web")
		if local.CodeOf(err) != local.Denied || !strings.Contains(local.MessageOf(err), "no AWS credentials found") {
			t.Errorf("without credentials: %v", err)
		}
		writeFile(t, home, "credentials", "[default]\n"+baseProfile, 0o600)
		s.mustGet(local.Role{Name: "b"}, "web")
		const other = "AKIATESTBASE00000002"
		writeFile(t, home, "credentials", "[default]\n"+strings.Replace(baseProfile, baseKey, other, 1), 0o600)
		s.mustGet(local.Role{Name: "c"}, "web")
		assumed := f.received("AssumeRole")
		if len(assumed) != 2 || assumed[0].KeyID != baseKey || assumed[1].KeyID != other {
			t.Error("the credentials in the file were not used as they changed")
		}
		if n := len(f.received("GetCallerIdentity")); n != 2 {
			t.Errorf("%d identities were asked for, want one per key", n)
		}
	})
}

func TestBrokenBaseCredentialsAreErrors(t *testing.T) {
	const garbage = "AKIATESTGARBAGE00001"
	const unreadable = "a directory in the file's place"
	const unopenable = "a link to itself in the file's place"
	for _, tc := range []struct {
		name, profile, config, credentials, script string
		says                                       string
	}{
		{name: "profile does not exist", profile: "nope", says: `"nope" does not exist`},
		{name: "file is unreadable", config: unreadable, says: "cannot be read"},
		{name: "file cannot be opened", config: unopenable, says: "config cannot be opened"},
		{name: "file of a profile cannot be opened", profile: "work", config: unopenable, says: "config cannot be opened"},
		{name: "source profile does not exist", config: "[default]\nrole_arn = " + roleARN + "\nsource_profile = nope\n", says: "source_profile"},
		{name: "half of the keys", config: "[default]\naws_access_key_id = " + baseKey + "\n", says: "has only one of aws_access_key_id and aws_secret_access_key"},
		{name: "MFA needed", config: "[default]\nrole_arn = " + roleARN + "\nsource_profile = work\nmfa_serial = arn:aws:iam::111122223333:mfa/dev\n[profile work]\n" + baseProfile, says: "ecs-local mfa CODE"},
		{name: "SSO login missing", config: "[default]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = dev\n[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n", says: "aws sso login --profile default"},
		{name: "legacy SSO login missing", config: "[default]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\nsso_account_id = 111122223333\nsso_role_name = dev\n", says: "aws sso login --profile default"},
		{name: "process fails", script: "echo " + garbage + " >&1; exit 3", says: "(exit status 3)"},
		{name: "process prints no JSON", script: "echo " + garbage + " " + baseSecret, says: "not the JSON"},
		{name: "container source", config: "[default]\nrole_arn = " + roleARN + "\ncredential_source = EcsContainer\n", says: "credential_source = EcsContainer"},
		{name: "instance source", config: "[default]\nrole_arn = " + roleARN + "\ncredential_source = Ec2InstanceMetadata\n", says: "credential_source = Ec2InstanceMetadata"},
	} {
		for _, mode := range []creds.Mode{creds.ModeAuto, creds.ModeSTS} {
			t.Run(tc.name+" "+string(mode), func(t *testing.T) {
				home := setAWS(t, map[string]string{"AWS_PROFILE": tc.profile})
				if tc.script != "" {
					tc.config = "[default]\ncredential_process = " + process(t, home, tc.script) + "\n"
				}
				switch tc.config {
				case "":
				case unreadable:
					if err := os.Mkdir(filepath.Join(home, "config"), 0o700); err != nil {
						t.Fatal(err)
					}
				case unopenable:
					if err := os.Symlink("config", filepath.Join(home, "config")); err != nil {
						t.Fatal(err)
					}
				default:
					writeFile(t, home, "config", tc.config, 0o600)
				}
				f := newFakeSTS(t)
				s := newService(t, f, creds.Options{Mode: mode})
				_, err := s.get(local.Role{}, "web")
				if local.CodeOf(err) != local.Denied || !strings.Contains(local.MessageOf(err), tc.says) {
					t.Errorf("got %v (%s), want %q", err, local.CodeOf(err), tc.says)
				}
				if err != nil && strings.Contains(err.Error(), garbage) {
					t.Error("the error repeats what the process printed")
				}
				if n := len(f.received("")); n != 0 {
					t.Errorf("STS was called %d times", n)
				}
				if st := s.Status(); st.Mode != creds.ModeSTS || st.LastError == "" {
					t.Errorf("status is %+v", st)
				}
			})
		}
	}
}

// credentialServer serves the ECS credentials document and IMDS, and counts.
func credentialServer(t *testing.T) (url string, calls *atomic.Int32) {
	t.Helper()
	calls = &atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			_, _ = io.WriteString(w, "token")
		case "/latest/meta-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials-extended/":
			_, _ = io.WriteString(w, "node")
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{
				"Code": "Success", "AccessKeyId": baseKey, "SecretAccessKey": baseSecret, "Token": baseToken,
				"Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
			})
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, calls
}

func TestContainerAndInstanceCredentialsAreLeftOut(t *testing.T) {
	url, calls := credentialServer(t)
	for name, env := range map[string]map[string]string{
		"nothing at all":            {},
		"relative URI":              {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/creds"},
		"full URI":                  {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url + "/creds"},
		"full URI with a host name": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://ecs-local.invalid/creds"},
		"instance":                  {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_DEFAULTS_MODE": "auto"},
	} {
		t.Run(name, func(t *testing.T) {
			setAWS(t, env)
			f := newFakeSTS(t)
			s := newService(t, f, creds.Options{})
			if st := s.Status(); st.Mode != creds.ModeOffline || st.LastError != "" || st.Account != local.DefaultAccount {
				t.Errorf("status is %+v, want offline", st)
			}
			if c := s.mustGet(local.Role{}, "web"); !strings.HasPrefix(c.AccessKeyID, "ASIAOFFLINE") {
				t.Error("the credentials are not offline ones")
			}
			s.mustGet(local.Role{Name: "x"}, "web")
			if n := strings.Count(s.log.String(), "level=WARN"); n != 1 {
				t.Errorf("%d warnings, want one:\n%s", n, s.log)
			}

			strict := newService(t, f, creds.Options{Mode: creds.ModeSTS})
			_, err := strict.get(local.Role{}, "web")
			var e *local.Error
			if !errors.As(err, &e) || e.Code != local.Denied || e.Name != "NoCredentials" {
				t.Errorf("mode sts: got %v", err)
			}
			if n := len(f.received("")); n != 0 {
				t.Errorf("STS was called %d times", n)
			}
		})
	}
	t.Run("role_arn without a source", func(t *testing.T) {
		home := setAWS(t, map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": url + "/creds"})
		writeFile(t, home, "config", "[default]\nrole_arn = "+roleARN+"\n", 0o600)
		s := newService(t, newFakeSTS(t), creds.Options{})
		if _, err := s.get(local.Role{}, "web"); !strings.Contains(local.MessageOf(err), "source_profile") {
			t.Errorf("got %v", err)
		}
	})
	if n := calls.Load(); n != 0 {
		t.Errorf("the credentials endpoint was asked %d times", n)
	}
}

func TestContainerAndInstanceCredentialsWhenAllowed(t *testing.T) {
	url, _ := credentialServer(t)
	for name, tc := range map[string]struct {
		env  map[string]string
		opts creds.Options
	}{
		"container": {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": url + "/creds"}, creds.Options{AllowContainer: true}},
		"instance":  {map[string]string{"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}, creds.Options{AllowIMDS: true}},
	} {
		t.Run(name, func(t *testing.T) {
			setAWS(t, tc.env)
			s := newService(t, newFakeSTS(t), tc.opts)
			c := s.mustGet(local.Role{}, "web")
			if c.AccessKeyID != baseKey || c.SessionToken != baseToken {
				t.Error("other credentials came out")
			}
			if left := time.Until(c.Expiration); left < 59*time.Minute {
				t.Errorf("they live %v, want their hour", left)
			}
		})
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]creds.Options{
		"mode":                    {Mode: "fake"},
		"endpoint scheme":         {Mode: creds.ModeOffline, STSEndpoint: "ftp://sts"},
		"endpoint without a host": {Mode: creds.ModeOffline, STSEndpoint: "http:///x"},
		"lifetime too short":      {Mode: creds.ModeOffline, Lifetime: time.Millisecond},
		"lifetime too long":       {Mode: creds.ModeOffline, Lifetime: 13 * time.Hour},
		"role":                    {Roles: map[string]local.SessionOptions{"a role": {}}},
		"source":                  {Roles: map[string]local.SessionOptions{"web": {Source: "arn:aws:iam::1:user/x"}}},
		"session name":            {Roles: map[string]local.SessionOptions{"web": {SessionName: "a b"}}},
		"source identity":         {Roles: map[string]local.SessionOptions{"web": {SourceIdentity: "a b"}}},
		"duration":                {Roles: map[string]local.SessionOptions{"web": {Duration: 13 * time.Hour}}},
		"policy":                  {Roles: map[string]local.SessionOptions{"web": {Policy: "{"}}},
		"transitive tag":          {Roles: map[string]local.SessionOptions{"web": {TransitiveTags: []string{"x"}}}},
		"shared token expiration": {Mode: creds.ModeOffline, SharedTokenExpiration: -time.Second},
	} {
		if s, err := creds.New(context.Background(), opts); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOffline(t *testing.T) {
	t.Run("ignores AWS files that are broken", func(t *testing.T) {
		setAWS(t, map[string]string{"AWS_PROFILE": "nope"})
		s := newService(t, nil, creds.Options{Mode: creds.ModeOffline})
		s.mustGet(local.Role{}, "web")
	})
	t.Run("takes the partition from the region", func(t *testing.T) {
		home := setAWS(t, nil)
		t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
		writeFile(t, home, "config", "[default]\nregion = us-gov-west-1\n", 0o600)
		s := newService(t, nil, creds.Options{Mode: creds.ModeOffline, Account: "123456789012"})
		if c := s.mustGet(local.Role{Name: "team/web"}, "web"); c.RoleARN != "arn:aws-us-gov:iam::123456789012:role/team/web" {
			t.Errorf("got %s", c.RoleARN)
		}
	})
	t.Run("says nothing and warns of nothing when it was chosen", func(t *testing.T) {
		setAWS(t, nil)
		s := newService(t, nil, creds.Options{Mode: creds.ModeOffline})
		s.mustGet(local.Role{Name: "web"}, "web")
		if s.log.String() != "" {
			t.Errorf("logged:\n%s", s.log)
		}
	})
}

// BenchmarkNew is part of the time from start to first answer.
func BenchmarkNew(b *testing.B) {
	home := b.TempDir()
	b.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	b.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	if err := os.WriteFile(filepath.Join(home, "credentials"), []byte("[default]\n"+baseProfile), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := creds.New(context.Background(), creds.Options{Mode: creds.ModeSTS})
		if err != nil || s.Status().LastError != "" {
			b.Fatal(err, s.Status().LastError)
		}
		s.Close()
	}
}
