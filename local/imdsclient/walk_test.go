package imdsclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imdsclient"
)

// tree is a service with every kind of listing.
func tree() *fake {
	return &fake{values: map[string]string{
		"/":                         "1.0\n2021-03-23\nlatest",
		"/1.0":                      "dynamic\nmeta-data\nuser-data",
		"/1.0/meta-data":            "ami-id",
		"/1.0/meta-data/ami-id":     "ami-1",
		"/1.0/user-data":            "#!/bin/sh\n",
		"/2021-03-23":               "meta-data",
		"/2021-03-23/meta-data":     "mac",
		"/2021-03-23/meta-data/mac": "0e:ff",

		"/latest":                                          "dynamic\nmeta-data\nuser-data",
		"/latest/user-data":                                "#!/bin/sh\n",
		"/latest/dynamic":                                  "instance-identity/",
		"/latest/dynamic/instance-identity":                "document",
		"/latest/dynamic/instance-identity/document":       "{}",
		"/latest/meta-data":                                "tags/\ninstance-id\niam/\niam-ecs-2/\niam-ecs-1\npublic-keys/\ntag-sets/\nspot/\nsecurity-groups\ninstance-id\n",
		"/latest/meta-data/instance-id":                    "i-1",
		"/latest/meta-data/security-groups":                "web\ndefault",
		"/latest/meta-data/iam":                            "info\nsecurity-credentials/",
		"/latest/meta-data/iam/info":                       "{}",
		"/latest/meta-data/iam/security-credentials":       "web",
		"/latest/meta-data/iam/security-credentials/web":   secret,
		"/latest/meta-data/iam-ecs-1":                      "info\nsecurity-credentials/",
		"/latest/meta-data/iam-ecs-1/info":                 "{}",
		"/latest/meta-data/iam-ecs-1/security-credentials": "5f0c-TaskApplication",
		"/latest/meta-data/iam-ecs-1/security-credentials/5f0c-TaskApplication": secret,
		"/latest/meta-data/iam-ecs-2":                                           "info",
		"/latest/meta-data/iam-ecs-2/info":                                      "{}",
		"/latest/meta-data/public-keys":                                         "1=other=key\n0=my-key",
		"/latest/meta-data/public-keys/0":                                       "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":                           "ssh-ed25519 A my-key\n",
		"/latest/meta-data/public-keys/1":                                       "openssh-key",
		"/latest/meta-data/public-keys/1/openssh-key":                           "ssh-ed25519 B other\n",
		"/latest/meta-data/tags":                                                "instance/",
		"/latest/meta-data/tags/instance":                                       "Name\naws:x\n0=y",
		"/latest/meta-data/tags/instance/Name":                                  "",
		"/latest/meta-data/tags/instance/aws:x":                                 "2",
		"/latest/meta-data/tags/instance/0=y":                                   "3",
		"/latest/meta-data/tag-sets":                                            "instance",
		"/latest/meta-data/tag-sets/instance":                                   "{}",
	}}
}

// fast is for tests that are not about the rate.
var fast = imdsclient.WalkOptions{Rate: rate.Inf}

// lines shows a tree without what is secret in it.
func lines(t *imdsclient.Tree) []string {
	var all []string
	for _, l := range t.Leaves {
		line := fmt.Sprintf("%s %q", l.Path, l.Value)
		if l.KeyPair != "" {
			line += " of " + l.KeyPair
		}
		all = append(all, line)
	}
	for _, p := range t.Skipped {
		all = append(all, "skipped "+p)
	}
	for _, p := range t.Missing {
		all = append(all, "missing "+p)
	}
	return all
}

func TestWalk(t *testing.T) {
	t.Parallel()
	opts := fast
	opts.Skip = imdsclient.Secret
	for path, want := range map[string][]string{
		"/latest": {
			`/latest/dynamic/instance-identity/document "{}"`,
			`/latest/meta-data/iam-ecs-1/info "{}"`,
			`/latest/meta-data/iam-ecs-2/info "{}"`,
			`/latest/meta-data/iam/info "{}"`,
			`/latest/meta-data/instance-id "i-1"`,
			`/latest/meta-data/public-keys/0/openssh-key "ssh-ed25519 A my-key\n" of my-key`,
			`/latest/meta-data/public-keys/1/openssh-key "ssh-ed25519 B other\n" of other=key`,
			`/latest/meta-data/security-groups "web\ndefault"`,
			`/latest/meta-data/tag-sets/instance "{}"`,
			`/latest/meta-data/tags/instance/0=y "3"`,
			`/latest/meta-data/tags/instance/Name ""`,
			`/latest/meta-data/tags/instance/aws:x "2"`,
			`/latest/user-data "#!/bin/sh\n"`,
			`skipped /latest/meta-data/iam-ecs-1/security-credentials/5f0c-TaskApplication`,
			`skipped /latest/meta-data/iam/security-credentials/web`,
			`missing /latest/meta-data/spot/`,
		},
		"/1.0/":                        {`/1.0/meta-data/ami-id "ami-1"`, `/1.0/user-data "#!/bin/sh\n"`, `missing /1.0/dynamic/`},
		"/2021-03-23/meta-data":        {`/2021-03-23/meta-data/mac "0e:ff"`},
		"tags":                         {`/latest/meta-data/tags/instance/0=y "3"`, `/latest/meta-data/tags/instance/Name ""`, `/latest/meta-data/tags/instance/aws:x "2"`},
		"tags/instance/Name":           {`/latest/meta-data/tags/instance/Name ""`},
		"security-groups":              {`/latest/meta-data/security-groups "web\ndefault"`},
		"instance-id/":                 {`/latest/meta-data/instance-id "i-1"`},
		"user-data":                    {`/latest/user-data "#!/bin/sh\n"`},
		"public-keys/0":                {`/latest/meta-data/public-keys/0/openssh-key "ssh-ed25519 A my-key\n" of my-key`},
		"iam-ecs-1/info":               {`/latest/meta-data/iam-ecs-1/info "{}"`},
		"iam/security-credentials/web": {`skipped /latest/meta-data/iam/security-credentials/web`},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			f := tree()
			got, err := serve(t, f, imdsclient.Options{Timeout: patience}).Walk(t.Context(), path, opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, lines(got)); diff != "" {
				t.Error(diff)
			}
			for _, r := range f.seen() {
				if imdsclient.Secret(r.path) {
					t.Errorf("%s was read", r.path)
				}
			}
		})
	}
}

func TestWalkOfEverything(t *testing.T) {
	t.Parallel()
	f := tree()
	got, err := serve(t, f, imdsclient.Options{Timeout: patience}).Walk(t.Context(), "/", fast)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Leaves) != 18 || len(got.Skipped) != 0 || len(got.Missing) != 2 {
		t.Errorf("%d values, %d skipped, %d missing, want 18, 0, 2", len(got.Leaves), len(got.Skipped), len(got.Missing))
	}
	if !slices.IsSortedFunc(got.Leaves, func(a, b imdsclient.Leaf) int { return strings.Compare(a.Path, b.Path) }) {
		t.Error("not sorted")
	}
	seen := map[string]bool{}
	for _, r := range f.seen() {
		if r.method == http.MethodGet && seen[r.path] {
			t.Errorf("%s was read twice", r.path)
		}
		seen[r.path] = true
	}
	again, err := serve(t, tree(), imdsclient.Options{Timeout: patience}).Walk(t.Context(), "/", fast)
	if diff := cmp.Diff(got, again); diff != "" || err != nil {
		t.Error("another walk differs", err)
	}
}

func TestWalkFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path   string
		opts   imdsclient.WalkOptions
		change func(*fake)
		code   local.Code
		text   string
	}{
		"no such version":      {path: "/2020-01-01", code: local.NotFound, text: "/2020-01-01/ is not in"},
		"no such value":        {path: "tags/instance/no", code: local.NotFound, text: "tags/instance/no is not in"},
		"below a value":        {path: "instance-id/x", code: local.NotFound, text: "instance-id/"},
		"too many":             {path: "/latest", opts: imdsclient.WalkOptions{MaxNodes: 10}, code: local.Invalid, text: "more than 10 values"},
		"too long values":      {path: "/latest/user-data", opts: imdsclient.WalkOptions{MaxBytes: 9}, code: local.Invalid, text: "more than 9 bytes"},
		"too long listings":    {path: "tags/instance", opts: imdsclient.WalkOptions{MaxBytes: 17}, code: local.Invalid, text: "more than 17 bytes"},
		"too deep":             {path: "/latest", opts: imdsclient.WalkOptions{MaxDepth: 3}, code: local.Invalid, text: "deeper than 3 levels"},
		"a value that fails":   {path: "tags", change: func(f *fake) { f.before = breakPath("/latest/meta-data/tags/instance/Name", 403) }, code: local.Denied, text: "tags/instance/Name"},
		"a listing that fails": {path: "tags", change: func(f *fake) { f.before = breakPath("/latest/meta-data/tags/instance/", 403) }, code: local.Denied, text: "tags/instance/"},
		"a listing with a page": {
			path:   "tags",
			change: func(f *fake) { f.values["/latest/meta-data/tags"] = "<html>\n <a href='/'>x</a>" },
			code:   local.Invalid, text: "tags/ is not a listing",
		},
		"a listing that leads out": {path: "tags", change: func(f *fake) { f.values["/latest/meta-data/tags"] = "../" }, code: local.Invalid, text: "is not a listing"},
		"a loop": {
			path:   "tags",
			change: func(f *fake) { f.before = loop },
			code:   local.Invalid, text: "deeper than 16 levels",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := tree()
			if tc.change != nil {
				tc.change(f)
			}
			tc.opts.Rate = rate.Inf
			_, err := serve(t, f, imdsclient.Options{Timeout: patience}).Walk(t.Context(), tc.path, tc.opts)
			wantError(t, err, tc.code, tc.text)
		})
	}
}

func breakPath(path string, status int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Path == path && answer(r.Method, status)(w, r)
	}
}

// loop lists a directory below every directory.
func loop(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/tags/") {
		return false
	}
	_, _ = w.Write([]byte("again/"))
	return true
}

func TestWalkKeepsToTheRate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rate rate.Limit
		gap  time.Duration
	}{
		"50 a second by default": {0, 20 * time.Millisecond},
		"4 a second":             {4, 250 * time.Millisecond},
		"no limit":               {rate.Inf, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := tree()
				if _, err := serve(t, f, imdsclient.Options{}).Walk(t.Context(), "/latest", imdsclient.WalkOptions{Rate: tc.rate}); err != nil {
					t.Fatal(err)
				}
				for i, gap := range f.gaps() {
					if gap.Round(time.Microsecond) != tc.gap {
						t.Errorf("gap %d is %v, want %v", i+1, gap, tc.gap)
					}
				}
			})
		})
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, tree(), imdsclient.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := s.Walk(ctx, "/latest", imdsclient.WalkOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		s.wantCounts(t, 1, 3)
		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := s.Walk(ctx, "/latest", imdsclient.WalkOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestListingsTellValuesFromDirectories(t *testing.T) {
	t.Parallel()
	s := serve(t, tree(), imdsclient.Options{Timeout: patience})
	for path, want := range map[string]bool{
		"/": false, "latest": false, "": false, "user-data": true, "/1.0/user-data": true, "dynamic": false,
		"instance-id": true, "instance-id/": true, "/latest//meta-data/instance-id": true, "iam": false, "iam/": false, "iam/info": true,
		"iam-ecs-1": false, "iam-ecs-1/info": true, "public-keys": false, "public-keys/0": false, "public-keys/0/openssh-key": true,
		"tags/instance": false, "tags/instance/0=y": true, "tag-sets/instance": true, "tags/instance/gone": false,
	} {
		if got, err := s.IsValue(t.Context(), path); got != want || err != nil {
			t.Errorf("%q: got %v, %v; want %v", path, got, err, want)
		}
	}
	if _, err := s.IsValue(t.Context(), "gone/x"); local.CodeOf(err) != local.NotFound {
		t.Errorf("got %v below what is not there", err)
	}
}
