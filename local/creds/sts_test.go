package creds_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

const roleARN = "arn:aws:iam::444455556666:role/team/deploy"

func TestSessionFromLongTermCredentials(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{})
	c := s.mustGet(local.Role{}, "web")
	if c.RoleARN != "" || !c.Expiration.Equal(f.expires) || c.Expiration.Location() != time.UTC {
		t.Errorf("got %v, want the session until %v in UTC", c, f.expires)
	}
	want := []call{{Action: "GetSessionToken", KeyID: baseKey, Region: "us-east-1"}}
	if diff := cmp.Diff(want, f.received("")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestRoleByARN(t *testing.T) {
	setAWS(t, longTermKeys())
	t.Setenv("AWS_REGION", "eu-central-1")
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{Region: "us-west-2", Lifetime: 30 * time.Minute})
	c := s.mustGet(local.Role{ARN: roleARN}, "shop web/1")
	if c.RoleARN != roleARN || !c.Expiration.Equal(f.expires) {
		t.Errorf("got %v, want %s until %v", c, roleARN, f.expires)
	}
	want := []call{{Action: "AssumeRole", RoleARN: roleARN, Session: "ecs-local-shop-web-1", KeyID: baseKey, Region: "eu-central-1", Seconds: "1800"}}
	if diff := cmp.Diff(want, f.received("")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	s.mustGet(local.Role{ARN: roleARN}, "another")
	if n := len(f.received("")); n != 1 {
		t.Errorf("%d calls after a second container asked, want 1", n)
	}
}

func TestRoleByNameAsksOnceForTheAccount(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	f.callerARN = "arn:aws-cn:iam::777788889999:user/dev"
	s := newService(t, f, creds.Options{Region: "cn-north-1"})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			name := fmt.Sprintf("team/role-%d", i)
			c, err := s.get(local.Role{Name: name}, "web")
			if want := "arn:aws-cn:iam::777788889999:role/" + name; err != nil || c.RoleARN != want {
				t.Errorf("got %v, %v, want %s", c, err, want)
			}
		})
	}
	wg.Wait()
	if n := len(f.received("GetCallerIdentity")); n != 1 {
		t.Errorf("GetCallerIdentity was called %d times, want once", n)
	}
	if n := len(f.received("AssumeRole")); n != 50 {
		t.Errorf("AssumeRole was called %d times, want 50", n)
	}
	st := s.Status()
	if st.Mode != creds.ModeSTS || st.Identity != f.callerARN || st.Account != "777788889999" || st.LastError != "" {
		t.Errorf("status is %+v", st)
	}
}

func TestManyFirstRequestsMakeOneCall(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	release := make(chan struct{})
	f.setBehaviour(func(http.ResponseWriter, *http.Request, call) bool {
		<-release
		return false
	})
	s := newService(t, f, creds.Options{})
	var started, done sync.WaitGroup
	keys := make([]string, 1000)
	for i := range keys {
		started.Add(1)
		done.Go(func() {
			started.Done()
			c, err := s.Credentials(context.Background(), local.Role{ARN: roleARN}, fmt.Sprintf("c%d", i))
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			keys[i] = c.AccessKeyID
		})
	}
	started.Wait()
	close(release)
	done.Wait()
	for i, k := range keys {
		if k == "" || k != keys[0] {
			t.Fatalf("request %d got other keys than request 0", i)
		}
	}
	if n := len(f.received("")); n != 1 {
		t.Errorf("%d calls to STS, want 1", n)
	}
}

func TestClientThatLeavesHarmsNobody(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	f.setBehaviour(func(http.ResponseWriter, *http.Request, call) bool {
		close(arrived)
		<-release
		return false
	})
	s := newService(t, f, creds.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := s.Credentials(ctx, local.Role{ARN: roleARN}, "leaves")
		left <- err
	}()
	<-arrived
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) || local.CodeOf(err) != local.Timeout {
		t.Errorf("the one who left got %v", err)
	}
	stays := make(chan error)
	go func() {
		_, err := s.get(local.Role{ARN: roleARN}, "stays")
		stays <- err
	}()
	close(release)
	if err := <-stays; err != nil {
		t.Errorf("the one who stayed got %v", err)
	}
	if n := len(f.received("")); n != 1 {
		t.Errorf("%d calls to STS, want 1", n)
	}
}

func TestSTSThatHangs(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	f.setBehaviour(func(_ http.ResponseWriter, r *http.Request, _ call) bool {
		<-r.Context().Done()
		return true
	})
	timeout := 400 * time.Millisecond
	ask := func() (*service, time.Duration, error) {
		s := newService(t, f, creds.Options{Timeout: timeout})
		start := time.Now()
		_, err := s.get(local.Role{Name: "web"}, "web")
		return s, time.Since(start), err
	}
	s, took, err := ask()
	// A busy machine may not get as far as STS in so short a time.
	for len(f.received("")) == 0 && timeout < creds.DefaultTimeout {
		timeout *= 4
		s, took, err = ask()
	}
	if local.CodeOf(err) != local.Timeout || !strings.Contains(local.MessageOf(err), f.URL) {
		t.Errorf("got %v (%s), want a timeout that names %s", err, local.CodeOf(err), f.URL)
	}
	if took > timeout+5*time.Second {
		t.Errorf("it took %v", took)
	}
	if s.Status().LastError == "" {
		t.Error("the status does not say so")
	}
}

func TestSTSThatIsNotThere(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{STSEndpoint: "http://127.0.0.1:1"})
	_, err := s.get(local.Role{}, "web")
	if local.CodeOf(err) != local.Unavailable || !strings.Contains(local.MessageOf(err), "http://127.0.0.1:1 cannot be reached") {
		t.Errorf("got %v (%s)", err, local.CodeOf(err))
	}
}

func TestSTSErrorsKeepTheirMeaning(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	for _, tc := range []struct {
		status    int
		code      string
		message   string
		want      local.Code
		says      string
		aboutRole bool // the status does not suffer
	}{
		{403, "AccessDenied", "User: arn:aws:iam::111122223333:user/dev is not authorized to perform: sts:AssumeRole on resource: " + roleARN, local.Denied, "trust policy", true},
		{403, "ExpiredToken", "The security token included in the request is expired", local.Denied, "AWS_SESSION_TOKEN", false},
		{400, "ExpiredTokenException", "", local.Denied, "(ExpiredTokenException): your AWS credentials are expired", false},
		{403, "InvalidClientTokenId", "The security token included in the request is invalid.", local.Denied, "AWS does not know your access key", false},
		{403, "SignatureDoesNotMatch", "Credential=" + baseKey + "/20260101, secret " + baseSecret, local.Denied, "clock", false},
		{403, "RegionDisabledException", "STS is not activated in this region", local.Denied, "AWS_REGION", false},
		{400, "ValidationError", "1 validation error detected", local.Invalid, "check the role", true},
		{400, "MalformedPolicyDocument", "", local.Invalid, "check the role", true},
		{400, "Throttling", "Rate exceeded", local.Unavailable, "try again", false},
		{503, "ServiceUnavailable", "", local.Unavailable, "try again", false},
		{418, "SomethingNew", "surprise " + strings.Repeat("x1Y", 20), local.Denied, "CommonErrors", false},
	} {
		t.Run(tc.code, func(t *testing.T) {
			f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
				stsError(w, tc.status, tc.code, tc.message)
				return true
			})
			s := newService(t, f, creds.Options{})
			_, err := s.get(local.Role{ARN: roleARN}, "web")
			var e *local.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a local.Error", err)
			}
			if e.Code != tc.want || e.Name != tc.code || !strings.Contains(e.Msg, tc.says) || !strings.Contains(e.Msg, roleARN) {
				t.Errorf("got %s %s %q, want %s, %q", e.Code, e.Name, e.Msg, tc.want, tc.says)
			}
			if failed := s.Status().LastError != ""; failed == tc.aboutRole {
				t.Errorf("the status says failed: %t", failed)
			}
		})
	}
}

func TestAccessDeniedNamesWhoAsked(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, c call) bool {
		if c.Action != "AssumeRole" {
			return false
		}
		stsError(w, 403, "AccessDenied", "")
		return true
	})
	s := newService(t, f, creds.Options{})
	_, err := s.get(local.Role{Name: "web"}, "web")
	if !strings.Contains(local.MessageOf(err), f.callerARN) {
		t.Errorf("got %q", local.MessageOf(err))
	}
}

func TestRegionFallsBack(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{Region: "ap-south-1"})
	s.mustGet(local.Role{}, "web")
	if got := f.received("")[0].Region; got != "ap-south-1" {
		t.Errorf("signed for %s", got)
	}
}

func TestSDKEndpointVariable(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	t.Setenv("AWS_ENDPOINT_URL_STS", f.URL)
	s := newService(t, nil, creds.Options{})
	s.mustGet(local.Role{}, "web")
	if n := len(f.received("GetSessionToken")); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestSDKEndpointVariableThatIsNoURL(t *testing.T) {
	for _, endpoint := range []string{"localhost:4566", "sts.example"} {
		setAWS(t, longTermKeys())
		t.Setenv("AWS_ENDPOINT_URL_STS", endpoint)
		s := newService(t, nil, creds.Options{})
		if e := s.mustFail(local.Role{Name: "web"}); e.Name != "InvalidConfiguration" || !strings.Contains(e.Msg, "check AWS_ENDPOINT_URL_STS") {
			t.Errorf("%s: got %s: %s", endpoint, e.Name, e.Msg)
		}
	}
}
