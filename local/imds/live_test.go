package imds_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

func TestSetAndRemove(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{Tags: map[string]string{"a": "1"}}, nil)
	c := v2(t, s)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	original := crawl(t, c, "latest")

	must(s.SetValue("spot/instance-action", []byte("{}")))
	if c.get("spot/instance-action") != "{}" || c.get("spot") != "instance-action" || !strings.Contains(c.get(""), "\nspot/\n") {
		t.Error("added: not there, or not listed")
	}
	must(s.SetValue("/spot/instance-action/", []byte("")))
	if r := c.do("GET", "/latest/meta-data/spot/instance-action"); r.Status != 200 || len(r.Body) != 0 {
		t.Error("replaced: not empty")
	}
	must(s.RemoveValue("spot/instance-action"))
	if c.status("spot/instance-action") != 404 || c.status("spot") != 404 || strings.Contains(c.get(""), "spot") {
		t.Error("removed: the directory is still there")
	}
	must(s.SetValue("instance-id", []byte("i-0123456789abcdef0")))
	must(s.SetValue("dynamic/custom", []byte("x")))
	must(s.SetValue("user-data", []byte("y")))
	if c.get("instance-id") != "i-0123456789abcdef0" || c.get("../dynamic") != "custom\ninstance-identity/" || c.get("../user-data") != "y" {
		t.Error("replaced: not the new value")
	}
	must(s.RemoveValue("network"))
	if c.status("network/interfaces/macs") != 404 || strings.Contains(c.get(""), "network") {
		t.Error("a directory is not removed")
	}
	must(s.SetValue("network/interfaces/macs/x/mac", []byte("x")))
	if c.get("network/interfaces/macs") != "x/" {
		t.Error("what was removed is back")
	}
	must(s.SetValue("tags/instance/b", []byte("2")))
	if c.get("tags/instance") != "a\nb" || c.get("tag-sets/instance") != "{\n  \"a\" : \"1\",\n  \"b\" : \"2\"\n}" {
		t.Errorf("a new tag is not in the set: %s", c.get("tag-sets/instance"))
	}
	must(s.RemoveValue("tags/instance/b"))
	must(s.RemoveValue("tags/instance/a"))
	if c.get("tag-sets/instance") != "{}" {
		t.Errorf("a removed tag is in the set: %s", c.get("tag-sets/instance"))
	}
	must(s.SetValue("tag-sets/instance", []byte("broken")))
	if c.get("tag-sets/instance") != "broken" {
		t.Error("the set cannot be replaced")
	}
	if c.status("tags") != 404 {
		t.Error("a directory without children is there")
	}
	value := []byte("before")
	must(s.SetValue("custom", value))
	copy(value, "after!")
	if c.get("custom") != "before" {
		t.Error("the service keeps the caller's bytes")
	}
	got, err := s.Value("custom")
	if err != nil || string(got) != "before" {
		t.Errorf("read back: %q, %v", got, err)
	}
	copy(got, "after!")
	if c.get("custom") != "before" {
		t.Error("the caller has the service's bytes")
	}
	if got, err := s.Value("placement"); err != nil || string(got) != "availability-zone\navailability-zone-id\nregion" {
		t.Errorf("listing: %q, %v", got, err)
	}

	s.Reset()
	if diff := cmp.Diff(original, crawl(t, c, "latest")); diff != "" {
		t.Errorf("reset (-want +got):\n%s", diff)
	}
}

func TestSetAndRemoveErrors(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{}, nil)
	_, absent := s.Value("no/such")
	_, bad := s.Value("..")
	for name, test := range map[string]struct {
		err  error
		code local.Code
	}{
		"value below a value":   {s.SetValue("mac/x", nil), local.Invalid},
		"value for a directory": {s.SetValue("placement", nil), local.Invalid},
		"no path":               {s.SetValue("/", nil), local.Invalid},
		"the top":               {s.SetValue("meta-data", nil), local.Invalid},
		"dots":                  {s.SetValue("a/../b", nil), local.Invalid},
		"newline":               {s.SetValue("a\nb", nil), local.Invalid},
		"remove nothing":        {s.RemoveValue("no/such"), local.NotFound},
		"remove a bad path":     {s.RemoveValue("a//b"), local.Invalid},
		"read nothing":          {absent, local.NotFound},
		"read a bad path":       {bad, local.Invalid},
		"options":               {s.SetOptions(imds.Options{HTTPTokens: "maybe"}), local.Invalid},
	} {
		if test.err == nil || local.CodeOf(test.err) != test.code {
			t.Errorf("%s: %v, want %s", name, test.err, test.code)
		}
	}
}

func TestSetOptions(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{Tags: map[string]string{"a": "1"}}, nil)
	want := imds.Options{
		HTTPTokens: imds.Optional, HTTPEndpoint: imds.Enabled, HTTPPutResponseHopLimit: 1,
		HTTPProtocolIPv6: imds.Disabled, InstanceMetadataTags: imds.Enabled,
	}
	if diff := cmp.Diff(want, s.Options()); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	token := v2(t, s)
	if err := s.SetOptions(imds.Options{HTTPTokens: imds.Required, HTTPPutResponseHopLimit: 2, InstanceMetadataTags: imds.Disabled}); err != nil {
		t.Fatal(err)
	}
	want.HTTPTokens, want.HTTPPutResponseHopLimit, want.InstanceMetadataTags = imds.Required, 2, imds.Disabled
	if diff := cmp.Diff(want, s.Options()); diff != "" {
		t.Errorf("patched (-want +got):\n%s", diff)
	}
	if v1(t, s).status("mac") != 401 || token.status("mac") != 200 || token.status("tags") != 404 {
		t.Error("the options are not in force")
	}
	s.Reset()
	if v1(t, s).status("tags/instance/a") != 200 {
		t.Error("reset: the options are not back")
	}
}

// TestTagsCannotBeTurnedOn says that tags whose keys instance metadata cannot
// show keep the option off, as EC2 does.
func TestTagsCannotBeTurnedOn(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{Tags: map[string]string{"My Key": "1"}, Options: imds.Options{InstanceMetadataTags: imds.Disabled}}, nil)
	err := s.SetOptions(imds.Options{InstanceMetadataTags: imds.Enabled})
	if local.CodeOf(err) != local.Invalid || !strings.Contains(err.Error(), "My Key") {
		t.Errorf("%v", err)
	}
	if s.Options().InstanceMetadataTags != imds.Disabled || v2(t, s).status("tags") != 404 {
		t.Error("the tags are on")
	}
}

// TestConcurrently changes and reads at once; every answer is that of one
// moment.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	s := serve(t, everything(), (&counter{}).provide)
	c := v2(t, s)
	if err := s.SetValue("pair/both", []byte("00")); err != nil {
		t.Fatal(err)
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := c.get("pair/both"); len(got)%2 != 0 || got[:len(got)/2] != got[len(got)/2:] {
					t.Errorf("half a value: %q", got)
					return
				}
				c.do("GET", "/latest/meta-data/")
			}
		})
	}
	for w := range 3 {
		writers.Go(func() {
			for n := range 50 {
				half := fmt.Sprintf("%d-%d", w, n)
				for _, err := range []error{
					s.SetValue("pair/both", []byte(half+half)),
					s.PutTaskRoles("iam-ecs-1", imds.TaskRole{Task: taskA, RoleType: imds.TaskApplication, Role: "web"}),
					s.Refresh(t.Context()),
					s.SetOptions(imds.Options{HTTPPutResponseHopLimit: 1 + n}),
				} {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}
