package creds_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

type roleMap = map[string]local.SessionOptions

func TestRoleOptionsReachSTS(t *testing.T) {
	options := local.SessionOptions{
		ExternalID: "partner", SessionName: "night-shift", Duration: 90 * time.Minute,
		Tags: map[string]string{"team": "shop", "env": "dev"}, TransitiveTags: []string{"team"},
		Policy:     `{"Version":"2012-10-17","Statement":[]}`,
		PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, SourceIdentity: "dev", Region: "eu-west-3",
	}
	const own = "arn:aws:iam::111122223333:role/team/web" // the fake's account
	want := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {own}, "RoleSessionName": {"night-shift"},
		"ExternalId": {"partner"}, "DurationSeconds": {"5400"}, "Policy": {options.Policy}, "SourceIdentity": {"dev"},
		"PolicyArns.member.1.arn": {options.PolicyARNs[0]},
		"Tags.member.1.Key":       {"env"}, "Tags.member.1.Value": {"dev"},
		"Tags.member.2.Key": {"team"}, "Tags.member.2.Value": {"shop"},
		"TransitiveTagKeys.member.1": {"team"},
	}
	for name, tc := range map[string]struct {
		key  string
		role local.Role
		hit  bool
	}{
		"name by name":                {"team/web", local.Role{Name: "team/web"}, true},
		"name by ARN":                 {own, local.Role{Name: "team/web"}, true},
		"ARN by ARN":                  {own, local.Role{ARN: own}, true},
		"ARN by name":                 {"team/web", local.Role{ARN: own}, true},
		"a name is of one account":    {"team/web", local.Role{ARN: strings.Replace(own, "111122223333", "444455556666", 1)}, false},
		"a path is part of the name":  {"web", local.Role{Name: "team/web"}, false},
		"another role":                {"team/other", local.Role{Name: "team/web"}, false},
		"an ARN is of one account":    {strings.Replace(own, "111122223333", "444455556666", 1), local.Role{Name: "team/web"}, false},
		"the same name, another path": {"team/web", local.Role{ARN: "arn:aws:iam::111122223333:role/web"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			setAWS(t, longTermKeys())
			f := newFakeSTS(t)
			s := newService(t, f, creds.Options{Roles: roleMap{tc.key: options}})
			s.mustGet(tc.role, "web")
			got := f.form("AssumeRole")
			if hit := got.Get("ExternalId") != ""; hit != tc.hit {
				t.Fatalf("the options were used: %t, want %t", hit, tc.hit)
			}
			if !tc.hit {
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("parameters (-want +got):\n%s", diff)
			}
			if region := f.received("AssumeRole")[0].Region; region != "eu-west-3" {
				t.Errorf("signed for %s", region)
			}
		})
	}
}

func TestRoleOptionsOfOthersCostNoCall(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{Roles: roleMap{"api": {ExternalID: "x"}, "team/deploy": {ExternalID: "x"}, roleARN: {SessionName: "mine"}}})
	s.mustGet(local.Role{ARN: roleARN}, "web")
	if got := f.received(""); len(got) != 1 || got[0].Session != "mine" {
		t.Errorf("%d calls, want AssumeRole alone", len(got))
	}
}

func TestRoleChaining(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	const last = "arn:aws:iam::999900001111:role/last"
	s := newService(t, f, creds.Options{Lifetime: 4 * time.Hour, Roles: roleMap{last: {Source: "middle"}, "middle": {Source: roleARN}}})
	c := s.mustGet(local.Role{ARN: last}, "web")
	if c.RoleARN != last {
		t.Errorf("got %v", c)
	}
	const middle = "arn:aws:iam::111122223333:role/middle"
	got := f.received("AssumeRole")
	var arns, seconds []string
	for _, c := range got {
		arns, seconds = append(arns, c.RoleARN), append(seconds, c.Seconds)
	}
	if diff := cmp.Diff([]string{roleARN, middle, last}, arns); diff != "" {
		t.Fatalf("roles (-want +got):\n%s", diff)
	}
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
	if diff := cmp.Diff([]string{"14400", "3600", "3600"}, seconds); diff != "" {
		t.Errorf("durations (-want +got):\n%s", diff)
	}
	if got[0].KeyID != baseKey || got[1].KeyID == baseKey || got[1].Token == "" || got[2].KeyID == got[1].KeyID {
		t.Error("each role was not assumed with the one before")
	}
	s.mustGet(local.Role{ARN: roleARN}, "web")
	s.mustGet(local.Role{ARN: middle}, "web")
	if n := len(f.received("AssumeRole")); n != 3 {
		t.Errorf("%d calls, want 3: the roles on the way are cached as others are", n)
	}
}

func TestRoleChainFailuresNameTheSource(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, c call) bool {
		if c.RoleARN != "arn:aws:iam::111122223333:role/base" {
			return false
		}
		stsError(w, 403, "AccessDenied", "")
		return true
	})
	s := newService(t, f, creds.Options{Roles: roleMap{"web": {Source: "base"}}})
	e := s.mustFail(local.Role{Name: "web"})
	if e.Code != local.Denied || !strings.HasPrefix(e.Msg, "arn:aws:iam::111122223333:role/web is assumed with arn:aws:iam::111122223333:role/base, whose credentials cannot be had: ") {
		t.Errorf("got %s %q", e.Code, e.Msg)
	}
}

func TestRolesInACircleAreAnError(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{Roles: roleMap{
		"a": {Source: "b"}, "b": {Source: "arn:aws:iam::111122223333:role/c"}, "c": {Source: "a"}, "self": {Source: "self"}, "outside": {Source: "a"},
	}})
	var all sync.WaitGroup
	for _, role := range []local.Role{{Name: "a"}, {Name: "b"}, {ARN: "arn:aws:iam::111122223333:role/c"}, {Name: "self"}, {Name: "outside"}} {
		all.Go(func() {
			_, err := s.get(role, "web")
			if local.CodeOf(err) != local.Invalid || !strings.Contains(local.MessageOf(err), "with one another") {
				t.Errorf("%s: %v", role, err)
			}
		})
	}
	all.Wait()
	if n := len(f.received("AssumeRole")); n != 0 {
		t.Errorf("%d roles were assumed", n)
	}
	if st := s.Status(); st.LastError != "" {
		t.Errorf("the status says %q", st.LastError)
	}
}

func TestChainedSessionsThatAreTooLong(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, c call) bool {
		if c.Seconds != "7200" {
			return false
		}
		stsError(w, 400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
		return true
	})
	s := newService(t, f, creds.Options{Roles: roleMap{"web": {Source: "base", Duration: 2 * time.Hour}}})
	if e := s.mustFail(local.Role{Name: "web"}); e.Code != local.Invalid || !strings.Contains(e.Msg, "an hour at most") || !strings.Contains(e.Msg, "2h0m0s") {
		t.Errorf("got %s %q", e.Code, e.Msg)
	}
}

func TestSetRolesDropsOnlyWhatChanged(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	const own = "arn:aws:iam::111122223333:role/"
	s := newService(t, f, creds.Options{Roles: roleMap{"same": {ExternalID: "x"}, "other": {ExternalID: "x"}, "over": {Source: "other"}, own + "gone": {ExternalID: "x"}}})
	roles := []local.Role{{}, {Name: "same"}, {Name: "other"}, {ARN: own + "other"}, {Name: "over"}, {Name: "gone"}, {ARN: own + "new"}, {Name: "none"}}
	before := map[local.Role]string{}
	for _, role := range roles {
		before[role] = s.mustGet(role, "web").AccessKeyID
	}
	if err := s.SetRoles(roleMap{"same": {ExternalID: "x"}, "other": {ExternalID: "y"}, "over": {Source: "other"}, "new": {ExternalID: "x"}}); err != nil {
		t.Fatal(err)
	}
	for i, changed := range []bool{false, false, true, true, true, true, true, false} {
		if got := s.mustGet(roles[i], "web").AccessKeyID != before[roles[i]]; got != changed {
			t.Errorf("%s has other keys: %t, want %t", roles[i], got, changed)
		}
	}
	if err := s.SetRoles(roleMap{"same": {Policy: "{"}}); err == nil {
		t.Error("options that make no sense are taken")
	}
	calls := len(f.received(""))
	s.mustGet(local.Role{Name: "same"}, "web")
	if n := len(f.received("")); n != calls {
		t.Error("options that were refused dropped something")
	}
	offline := newService(t, nil, creds.Options{Mode: creds.ModeOffline, Roles: roleMap{"web": {ExternalID: "x"}}})
	if err := offline.SetRoles(roleMap{"web": {ExternalID: "y"}}); err != nil {
		t.Errorf("offline: %v", err)
	}
}

func TestManyFirstRequestsMakeOneCallForEachRole(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	release := make(chan struct{})
	f.setBehaviour(func(_ http.ResponseWriter, _ *http.Request, c call) bool {
		if c.Action == "AssumeRole" {
			<-release
		}
		return false
	})
	s := newService(t, f, creds.Options{})
	var started, done sync.WaitGroup
	for i := range 1000 {
		started.Add(1)
		done.Go(func() {
			started.Done()
			role := local.Role{Name: fmt.Sprintf("role-%d", i%20)}
			if c, err := s.get(role, "web"); err != nil || !strings.HasSuffix(c.RoleARN, "role/"+role.Name) {
				t.Errorf("%s: %v, %v", role, c, err)
			}
		})
	}
	started.Wait()
	close(release)
	done.Wait()
	if n := len(f.received("AssumeRole")); n != 20 {
		t.Errorf("%d calls of AssumeRole, want 20", n)
	}
	if n := len(f.received("GetCallerIdentity")); n != 1 {
		t.Errorf("%d calls of GetCallerIdentity, want 1", n)
	}
}
