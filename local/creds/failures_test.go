package creds_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

func deny(f *fakeSTS, role, message string) {
	f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, c call) bool {
		if c.RoleARN != role {
			return false
		}
		stsError(w, 403, "AccessDenied", message)
		return true
	})
}

// TestAccessDeniedPrintsTheTrustPolicy says that the statement which a message
// shows is JSON and lets in who asked.
func TestAccessDeniedPrintsTheTrustPolicy(t *testing.T) {
	const target = "arn:aws:iam::111122223333:role/target"
	allow := func(principal string, more map[string]any) map[string]any {
		p := map[string]any{"Effect": "Allow", "Principal": map[string]any{"AWS": principal}, "Action": []any{"sts:AssumeRole"}}
		for k, v := range more {
			p[k] = v
		}
		return p
	}
	for name, tc := range map[string]struct {
		caller  string
		config  string
		env     map[string]string
		role    string
		options local.SessionOptions
		message string
		want    map[string]any
		says    []string
		never   string
	}{
		"user": {
			caller: "arn:aws:iam::111122223333:user/team/dev", role: target,
			want: allow("arn:aws:iam::111122223333:user/team/dev", nil), says: []string{"no such role", "path and account"}, never: "its account is another",
		},
		"role in another account": {
			caller: "arn:aws:iam::111122223333:user/dev", role: roleARN,
			want: allow("arn:aws:iam::111122223333:user/dev", nil), says: []string{"its account is another", "must allow sts:AssumeRole on " + roleARN},
		},
		"assumed role": {
			caller: "arn:aws:sts::111122223333:assumed-role/dev/me", role: target,
			want: allow("arn:aws:iam::111122223333:role/dev", nil), says: []string{"with its path, if that role has one"},
		},
		"assumed role of the profile, with its path": {
			caller: "arn:aws:sts::444455556666:assumed-role/deploy/me", role: target,
			config: "[default]\nrole_arn = " + roleARN + "\nsource_profile = default\n" + baseProfile, env: map[string]string{},
			want: allow(roleARN, nil), never: "with its path",
		},
		"SSO role": {
			caller: "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_dev_0123456789abcdef/me@example.com", role: target,
			want: allow("arn:aws:iam::111122223333:root", map[string]any{"Condition": map[string]any{"ArnLike": map[string]any{"aws:PrincipalArn": []any{
				"arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_dev_0123456789abcdef",
				"arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_dev_0123456789abcdef",
			}}}}), never: "with its path",
		},
		"with tags, a source identity and an external id": {
			caller: "arn:aws:iam::111122223333:user/dev", role: target,
			options: local.SessionOptions{Tags: map[string]string{"a": "b"}, SourceIdentity: "me", ExternalID: "partner"},
			want: allow("arn:aws:iam::111122223333:user/dev", map[string]any{
				"Action":    []any{"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"},
				"Condition": map[string]any{"StringEquals": map[string]any{"sts:ExternalId": "partner"}},
			}),
		},
		"STS says who": {
			caller: "arn:aws:iam::111122223333:user/dev", role: target,
			message: "User: arn:aws:iam::111122223333:user/other is not authorized to perform: sts:AssumeRole on resource: " + target,
			want:    allow("arn:aws:iam::111122223333:user/other", nil),
		},
		"the identity cannot be had": {
			role: target, says: []string{"trust policy does not let the identity that asks"}, never: "Statement",
		},
		"China": {
			caller: "arn:aws-cn:sts::111122223333:assumed-role/AWSReservedSSO_dev_0123456789abcdef/me", role: "arn:aws-cn:iam::111122223333:role/target",
			want: allow("arn:aws-cn:iam::111122223333:root", map[string]any{"Condition": map[string]any{"ArnLike": map[string]any{"aws:PrincipalArn": []any{
				"arn:aws-cn:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_dev_0123456789abcdef",
				"arn:aws-cn:iam::111122223333:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_dev_0123456789abcdef",
			}}}}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := tc.env
			if env == nil {
				env = longTermKeys()
			}
			writeFile(t, setAWS(t, env), "config", tc.config, 0o600)
			f := newFakeSTS(t)
			f.callerARN = tc.caller
			f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, c call) bool {
				if c.RoleARN != tc.role && (c.Action != "GetCallerIdentity" || tc.caller != "") {
					return false
				}
				stsError(w, 403, "AccessDenied", tc.message)
				return true
			})
			s := newService(t, f, creds.Options{Roles: roleMap{tc.role: tc.options}})
			e := s.mustFail(local.Role{ARN: tc.role})
			if e.Code != local.Denied || e.Name != "AccessDenied" || !creds.RoleRefused(e) {
				t.Errorf("got %s %s", e.Code, e.Name)
			}
			for _, says := range append(tc.says, tc.role) {
				if !strings.Contains(e.Msg, says) {
					t.Errorf("%q does not say %q", e.Msg, says)
				}
			}
			if tc.never != "" && strings.Contains(e.Msg, tc.never) {
				t.Errorf("%q says %q", e.Msg, tc.never)
			}
			if tc.want == nil {
				return
			}
			_, text, _ := strings.Cut(e.Msg, "add to the trust policy ")
			var got map[string]any
			if err := json.NewDecoder(strings.NewReader(text)).Decode(&got); err != nil {
				t.Fatalf("no JSON in %q: %v", e.Msg, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("statement (-want +got):\n%s", diff)
			}
			if st := s.Status(); st.LastError != "" {
				t.Errorf("one role that is refused makes the status say %q", st.LastError)
			}
		})
	}
}

func TestAccessDeniedToAChainedRoleNamesTheRoleThatAsked(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	deny(f, "arn:aws:iam::999900001111:role/last", "")
	s := newService(t, f, creds.Options{Roles: roleMap{"arn:aws:iam::999900001111:role/last": {Source: roleARN}}})
	e := s.mustFail(local.Role{ARN: "arn:aws:iam::999900001111:role/last"})
	if !strings.Contains(e.Msg, `"Principal":{"AWS":"`+roleARN+`"}`) || strings.Contains(e.Msg, f.callerARN) {
		t.Errorf("got %q", e.Msg)
	}
}

func TestAccessDeniedToTheRoleOfAProfile(t *testing.T) {
	home := setAWS(t, nil)
	writeFile(t, home, "config", "[default]\nrole_arn = "+roleARN+"\nsource_profile = default\n"+baseProfile, 0o600)
	f := newFakeSTS(t)
	deny(f, roleARN, "User: arn:aws:iam::111122223333:user/dev is not authorized to perform: sts:AssumeRole on resource: "+roleARN)
	s := newService(t, f, creds.Options{})
	e := s.mustFail(local.Role{Name: "web"})
	if !strings.Contains(e.Msg, `"Principal":{"AWS":"arn:aws:iam::111122223333:user/dev"}`) || !strings.Contains(e.Msg, "your AWS credentials cannot be had") {
		t.Errorf("got %q", e.Msg)
	}
	if creds.RoleRefused(e) || s.Status().LastError != e.Msg {
		t.Error("it counts as a matter of the one role")
	}
}

func TestClockSkewSaysHowMuch(t *testing.T) {
	for name, tc := range map[string]struct {
		code, message string
		status        int
		off           time.Duration
		says          string
		never         string
	}{
		"ahead":             {"SignatureDoesNotMatch", "Signature not yet current: 20260101T001000Z is still later than 20260101T000500Z", 403, 10 * time.Minute, " ahead of that of AWS", "secret access key"},
		"behind":            {"SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z", 403, -3 * time.Hour, " behind that of AWS", "secret access key"},
		"request expired":   {"RequestExpired", "Request has expired", 400, -time.Hour, " behind that of AWS", ""},
		"too skewed":        {"RequestTimeTooSkewed", "", 403, time.Hour, " ahead of that of AWS", ""},
		"not the clock":     {"SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.", 403, time.Hour, "check the secret access key", " ahead of"},
		"date is not known": {"RequestExpired", "Request has expired", 400, 0, "this machine's clock is wrong", "that of AWS"},
	} {
		t.Run(name, func(t *testing.T) {
			setAWS(t, longTermKeys())
			f := newFakeSTS(t)
			f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
				w.Header()["Date"] = nil
				if tc.off != 0 {
					w.Header().Set("Date", time.Now().Add(-tc.off).UTC().Format(http.TimeFormat))
				}
				stsError(w, tc.status, tc.code, tc.message)
				return true
			})
			s := newService(t, f, creds.Options{})
			e := s.mustFail(local.Role{})
			if e.Code != local.Denied || e.Name != tc.code || !strings.Contains(e.Msg, tc.says) || tc.never != "" && strings.Contains(e.Msg, tc.never) {
				t.Errorf("got %s %s %q", e.Code, e.Name, e.Msg)
			}
			if tc.off != 0 && tc.never == "secret access key" {
				// The time that the answer takes counts as an offset, too.
				const longest = 10 * time.Second
				_, text, _ := strings.Cut(e.Msg, "clock is ")
				word, _, _ := strings.Cut(text, " ")
				said, err := time.ParseDuration(word)
				if tc.off < 0 {
					said = -said
				}
				if err != nil || said < tc.off-time.Second || said > tc.off+longest {
					t.Errorf("%q does not say %v", e.Msg, tc.off)
				}
			}
		})
	}
}

// An STS, or what stands in for it, may send whatever it likes.
func TestEndlessAnswerOfSTS(t *testing.T) {
	for name, status := range map[string]int{"credentials": 200, "an error": 403} {
		t.Run(name, func(t *testing.T) {
			f := newFakeSTS(t)
			var sent atomic.Int64
			f.setBehaviour(func(w http.ResponseWriter, r *http.Request, _ call) bool {
				w.Header().Set("Content-Type", "text/xml")
				w.WriteHeader(status)
				chunk := strings.Repeat("x", 1<<20)
				fmt.Fprint(w, "<AssumeRoleResponse><AssumeRoleResult><Credentials><SessionToken>")
				for r.Context().Err() == nil {
					n, err := fmt.Fprint(w, chunk)
					if sent.Add(int64(n)); err != nil {
						return true
					}
				}
				return true
			})
			writeFile(t, setAWS(t, nil), "config", "[default]\n"+baseProfile, 0o600)
			s := newService(t, f, creds.Options{Mode: creds.ModeSTS})
			_, err := s.Credentials(t.Context(), local.Role{ARN: roleARN}, "web")
			if code := local.CodeOf(err); code != local.Unavailable { // Timeout: it was read until the end of the time for it
				t.Errorf("got %v (%s)", err, code)
			}
			const most = 200 << 20 // some is on its way; each attempt is one answer
			if sent.Load() > most {
				t.Errorf("%d bytes were read", sent.Load())
			}
		})
	}
}

// TestNoNetwork says what is said when STS, or what the base credentials come
// from, cannot be reached.
func TestNoNetwork(t *testing.T) {
	const gone = "http://127.0.0.1:1" // a port that was just given back could be another test's by now
	hangs := newFakeSTS(t)
	hangs.setBehaviour(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
		<-r.Context().Done()
		return true
	})
	for name, tc := range map[string]struct {
		endpoint string
		timeout  time.Duration
		code     local.Code
		says     string // with keys
		role     string // with a role of the profile
	}{
		// A name with an empty label is refused without a question to anybody.
		"refused": {gone, creds.DefaultTimeout, local.Unavailable, gone + " cannot be reached (connection refused)", ""},
		"no name": {"http://sts..invalid", creds.DefaultTimeout, local.Unavailable, "http://sts..invalid cannot be reached (its name sts..invalid cannot be looked up)", ""},
		"no answer": {
			hangs.URL, 300 * time.Millisecond, local.Timeout, "no answer from " + hangs.URL + " within ",
			"your AWS credentials were not there within ",
		},
	} {
		for base, config := range map[string]string{
			"keys": "[default]\n" + baseProfile, "role": "[default]\nrole_arn = " + roleARN + "\nsource_profile = default\n" + baseProfile,
		} {
			t.Run(name+" "+base, func(t *testing.T) {
				writeFile(t, setAWS(t, nil), "config", config, 0o600)
				says := tc.says
				if base == "role" && tc.role != "" {
					says = tc.role
				}
				before, timeout := len(hangs.received("")), tc.timeout
				ask := func() (*service, *local.Error) {
					s := newService(t, nil, creds.Options{STSEndpoint: tc.endpoint, Timeout: timeout})
					return s, s.mustFail(local.Role{Name: "web"})
				}
				s, e := ask()
				// A busy machine may not get as far as STS in so short a time.
				for tc.endpoint == hangs.URL && len(hangs.received("")) == before && timeout < creds.DefaultTimeout {
					timeout *= 4
					s, e = ask()
				}
				if tc.code == local.Timeout {
					says += timeout.String()
				}
				if e.Code != tc.code || !strings.Contains(e.Msg, says) || !strings.Contains(e.Msg, "check the network") {
					t.Errorf("got %s %q, want %q", e.Code, e.Msg, says)
				}
				if st := s.Status(); st.LastError != e.Msg {
					t.Errorf("the status says %q", st.LastError)
				}
			})
		}
	}
}

// TestBaseCredentialsThatSTSRefusesAreHadAnew says that credentials which were
// ended before their time, or have no expiry, do not stay in use.
func TestBaseCredentialsThatSTSRefusesAreHadAnew(t *testing.T) {
	for name, code := range map[string]string{"expired": "ExpiredToken", "deleted": "InvalidClientTokenId"} {
		for _, role := range []local.Role{{ARN: roleARN}, {Name: "web"}} {
			t.Run(name+" "+role.String(), func(t *testing.T) {
				home := setAWS(t, nil)
				keys := writeFile(t, home, "keys", baseKey, 0o600)
				writeFile(t, home, "config", "[default]\ncredential_process = "+process(t, home, fmt.Sprintf(
					`echo '{"Version":1,"AccessKeyId":"'$(cat %s)'","SecretAccessKey":%q,"SessionToken":%q}'`, keys, baseSecret, baseToken))+"\n", 0o600)
				f := newFakeSTS(t)
				f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, c call) bool {
					if c.KeyID == otherKey {
						return false
					}
					stsError(w, 403, code, "")
					return true
				})
				s := newService(t, f, creds.Options{})
				s.keep(otherKey)
				if e := s.mustFail(role); e.Name != code {
					t.Errorf("got %s", e.Name)
				}
				writeFile(t, home, "keys", otherKey, 0o600)
				if _, err := s.Uncached().Credentials(t.Context(), role, "web"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestFailedRenewalIsLogged says that the log has what a client does not get
// to see while the old keys are good.
func TestFailedRenewalIsLogged(t *testing.T) {
	home := setAWS(t, nil)
	runs := process(t, home, fmt.Sprintf(`test -e %[4]s/gone && exit 3; echo '{"Version":1,"AccessKeyId":%[1]q,"SecretAccessKey":%[2]q,"SessionToken":%[3]q,"Expiration":%[5]q}'`,
		baseKey, baseSecret, baseToken, home, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	writeFile(t, home, "config", "[default]\ncredential_process = "+runs+"\n", 0o600)
	s := newService(t, newFakeSTS(t), creds.Options{})
	s.mustGet(local.Role{}, "web")
	writeFile(t, home, "gone", "", 0o600)
	s.Rotate(nil)
	s.mustGet(local.Role{}, "web")
	s.mustGet(local.Role{Name: "web"}, "web")
	if log := s.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "base credentials not renewed") || !strings.Contains(log, "exit status 3") {
		t.Errorf("logged:\n%s", log)
	}
}
