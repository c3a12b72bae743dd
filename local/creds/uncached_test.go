package creds_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

func TestUncachedGivesOtherKeysEachTime(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	for name, opts := range map[string]creds.Options{"sts": {Mode: creds.ModeSTS}, "offline": {Mode: creds.ModeOffline}} {
		s := newService(t, f, opts)
		for _, role := range []local.Role{{}, {Name: "app"}, {ARN: roleARN}} {
			kept := s.mustGet(role, "web")
			seen := map[string]bool{kept.AccessKeyID: true}
			for range 3 {
				c, err := s.Uncached().Credentials(t.Context(), role, "i-1")
				if err != nil {
					t.Fatal(err)
				}
				if seen[c.AccessKeyID] {
					t.Errorf("%s: the same keys again for %s", name, role)
				}
				if c.RoleARN != kept.RoleARN {
					t.Errorf("%s: keys of %q, want %q", name, c.RoleARN, kept.RoleARN)
				}
				seen[c.AccessKeyID] = true
			}
			if again := s.mustGet(role, "web"); again != kept {
				t.Errorf("%s: what is kept for %s is another", name, role)
			}
		}
	}
}

func TestUncachedEndsWithItsContext(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Uncached().Credentials(ctx, local.Role{ARN: roleARN}, "i-1"); err == nil {
		t.Error("no error")
	}
}

func TestRoleRefused(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	for code, want := range map[string]bool{"AccessDenied": true, "ExpiredToken": false, "InvalidClientTokenId": false, "ValidationError": false, "Throttling": false} {
		f.setBehaviour(func(w http.ResponseWriter, _ *http.Request, _ call) bool { stsError(w, 403, code, ""); return true })
		_, err := newService(t, f, creds.Options{}).Uncached().Credentials(t.Context(), local.Role{ARN: roleARN}, "i-1")
		if got := creds.RoleRefused(err); got != want {
			t.Errorf("%s: %t, want %t", code, got, want)
		}
	}
	setAWS(t, nil)
	_, err := newService(t, f, creds.Options{Mode: creds.ModeSTS}).Uncached().Credentials(t.Context(), local.Role{ARN: roleARN}, "i-1")
	if err == nil || creds.RoleRefused(err) {
		t.Errorf("no base credentials: %v", err)
	}
}
