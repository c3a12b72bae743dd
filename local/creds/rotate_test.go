package creds_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

func TestRotate(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	const own = "arn:aws:iam::111122223333:role/web"
	roles := []local.Role{{}, {Name: "web"}, {ARN: own}, {ARN: roleARN}}
	for name, tc := range map[string]struct {
		role *local.Role
		want []local.Role
	}{
		"all":                             {nil, []local.Role{{ARN: own}, {ARN: roleARN}, {}, {Name: "web"}}},
		"the session":                     {&local.Role{}, []local.Role{{}}},
		"by name, with its ARN":           {&local.Role{Name: "web"}, []local.Role{{ARN: own}, {Name: "web"}}},
		"by ARN, with its name":           {&local.Role{ARN: own}, []local.Role{{ARN: own}, {Name: "web"}}},
		"of another account":              {&local.Role{ARN: roleARN}, []local.Role{{ARN: roleARN}}},
		"a role that nobody has asked of": {&local.Role{Name: "new"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for mode, opts := range map[string]creds.Options{"sts": {}, "offline": {Mode: creds.ModeOffline}} {
				if mode == "offline" && (tc.role != nil && tc.role.Name == "web" || tc.role != nil && tc.role.ARN == own) {
					continue // no account is its own
				}
				s := newService(t, f, opts)
				before := map[local.Role]string{}
				for _, role := range roles {
					before[role] = s.mustGet(role, "web").AccessKeyID
				}
				dropped := s.Rotate(tc.role)
				if diff := cmp.Diff(tc.want, dropped); diff != "" {
					t.Errorf("%s: dropped (-want +got):\n%s", mode, diff)
				}
				for _, role := range roles {
					want := false
					for _, d := range tc.want {
						want = want || d == role
					}
					c := s.mustGet(role, "web")
					if got := c.AccessKeyID != before[role]; got != want {
						t.Errorf("%s: %s has other keys: %t, want %t", mode, role, got, want)
					}
					if again := s.mustGet(role, "web"); again != c {
						t.Errorf("%s: %s is not kept", mode, role)
					}
				}
			}
		})
	}
}

func TestRotateRenewsTemporaryBaseCredentials(t *testing.T) {
	home := setAWS(t, nil)
	writeFile(t, home, "credentials", "[work]\n"+baseProfile, 0o600)
	writeFile(t, home, "config", "[default]\nrole_arn = "+roleARN+"\nsource_profile = work\n", 0o600)
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{})
	first := s.mustGet(local.Role{}, "web")
	if again := s.mustGet(local.Role{}, "web"); again != first {
		t.Error("the credentials are not kept")
	}
	s.Rotate(nil)
	if second := s.mustGet(local.Role{}, "web"); second.AccessKeyID == first.AccessKeyID {
		t.Error("the same keys after the rotation")
	}
	if n := len(f.received("AssumeRole")); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// TestRotateDuringACall says that a call which began before the rotation
// answers those who wait for it, and does not stay.
func TestRotateDuringACall(t *testing.T) {
	for name, roles := range map[string][]*local.Role{"all": {nil}, "one": {{ARN: roleARN}}, "twice": {nil, nil}} {
		t.Run(name, func(t *testing.T) {
			setAWS(t, longTermKeys())
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
			waited := make(chan local.Credentials)
			go func() {
				c, err := s.get(local.Role{ARN: roleARN}, "web")
				if err != nil {
					t.Error(err)
				}
				waited <- c
			}()
			<-arrived
			for _, role := range roles {
				if dropped := s.Rotate(role); len(dropped) != 0 {
					t.Errorf("dropped %v, want none: there were no credentials yet", dropped)
				}
			}
			after := s.mustGet(local.Role{ARN: roleARN}, "web") // does not wait for the old call
			close(release)
			if old := <-waited; old.AccessKeyID == after.AccessKeyID {
				t.Error("who asked after the rotation got what was on its way before")
			}
			if again := s.mustGet(local.Role{ARN: roleARN}, "web"); again != after {
				t.Error("the old call put its credentials back")
			}
		})
	}
}

func TestRotateUnderLoad(t *testing.T) {
	setAWS(t, longTermKeys())
	f := newFakeSTS(t)
	s := newService(t, f, creds.Options{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 20 {
				role := local.Role{Name: fmt.Sprintf("role-%d", i%3)}
				old, err := s.get(role, "web")
				if err != nil {
					t.Error(err)
				}
				s.Rotate(&role)
				if c, err := s.get(role, "web"); err != nil || c.AccessKeyID == old.AccessKeyID {
					t.Errorf("not new after a rotation: %v", err)
				}
			}
		})
	}
	all.Wait()
}
