package scan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imdsclient"
	"github.com/ecs-local/ecs-local/local/scan"
)

// step is one scan: what changes before it, what it finds, what it reads.
type step struct {
	change func(*fake)
	want   []string
	reads  []string // below meta-data; the root is ""
	err    []string // what the error names; none without
}

const (
	ns1, ns2   = "iam-ecs-1", "iam-ecs-2"
	info1      = ns1 + "/info"
	info2      = ns2 + "/info"
	webPath    = ns1 + "/security-credentials/" + web
	execPath   = ns1 + "/security-credentials/" + exec
	cartPath   = ns2 + "/security-credentials/" + cartWeb
	successful = "Success"
	denied     = "AssumeRoleUnauthorizedAccess"
)

// both puts two namespaces there: two credentials, and one.
func both(f *fake) {
	f.namespace(ns1, t1, entries{web: object(""), exec: object("")})
	f.namespace(ns2, t1, entries{cartWeb: object("")})
}

func one(f *fake) { f.namespace(ns1, t1, entries{web: object("")}) }

var (
	allNew   = []string{"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-1 shop-TaskExecution v1", "new iam-ecs-2 cart-TaskApplication v1"}
	allReads = []string{"", info1, webPath, execPath, info2, cartPath}
	firstAll = step{change: both, want: allNew, reads: allReads}
	firstOne = step{change: one, want: []string{"new iam-ecs-1 shop-TaskApplication v1"}, reads: []string{"", info1, webPath}}
)

func TestScanChecks21To23(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"first scan reads everything": {firstAll},
		"unchanged: the root and one info each": {
			firstAll,
			{want: []string{"unchanged iam-ecs-1", "unchanged iam-ecs-2"}, reads: []string{"", info1, info2}},
		},
		"one rotated: its namespace is read": {
			firstAll,
			{
				change: func(f *fake) {
					f.rotate(ns2, cartWeb, 2)
					f.namespace(ns2, t2, entries{cartWeb: object("")})
				},
				want:  []string{"new iam-ecs-2 cart-TaskApplication v2", "unchanged iam-ecs-1"},
				reads: []string{"", info1, info2, cartPath},
			},
		},
		"rotated without a new LastUpdated: not seen": {
			firstOne,
			{
				change: func(f *fake) { f.rotate(ns1, web, 2) },
				want:   []string{"unchanged iam-ecs-1"},
				reads:  []string{"", info1},
			},
		},
		"one failed, then fixed: only that one is read again": {
			{
				change: func(f *fake) { both(f); f.fail(execPath, 404) },
				want: []string{
					"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-2 cart-TaskApplication v1",
					"failed iam-ecs-1 shop-TaskExecution",
				},
				reads: allReads,
			},
			{
				want:  []string{"unchanged iam-ecs-2", "failed iam-ecs-1 shop-TaskExecution"},
				reads: []string{"", info1, execPath, info2},
			},
			{
				change: func(f *fake) { f.mend(execPath) },
				want:   []string{"new iam-ecs-1 shop-TaskExecution v1", "unchanged iam-ecs-2"},
				reads:  []string{"", info1, execPath, info2},
			},
			{want: []string{"unchanged iam-ecs-1", "unchanged iam-ecs-2"}, reads: []string{"", info1, info2}},
		},
		"one failed, then the namespace changes: all of it is read": {
			{
				change: func(f *fake) { both(f); f.fail(execPath, 404) },
				want:   []string{"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-2 cart-TaskApplication v1", "failed iam-ecs-1 shop-TaskExecution"},
				reads:  allReads,
			},
			{
				change: func(f *fake) {
					f.mend(execPath)
					f.namespace(ns1, t2, entries{web: object(""), exec: object("")})
				},
				want:  []string{"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-1 shop-TaskExecution v1", "unchanged iam-ecs-2"},
				reads: []string{"", info1, webPath, execPath, info2},
			},
		},
		"no namespace": {{reads: []string{""}}},
		"an empty root": {{
			change: func(f *fake) { f.listing = "" },
			reads:  []string{""},
		}},
		"a namespace without credentials": {{
			change: func(f *fake) {
				f.set(info1, `{"LastUpdated":"`+t1+`"}`)
				f.set(info2, `{"LastUpdated":"`+t1+`","TaskCredentials":{}}`)
			},
			reads: []string{"", info1, info2},
		}},
		"what counts as a namespace": {{
			change: func(f *fake) {
				f.set("", "iam/\niam-ecs\niam-ecs-\niam-ecs-foo/\n iam-ecs-1\nxiam-ecs-1/\nIAM-ECS-1/\niam-ecs-2\niam-ecs-2/\n\niam-ecs-10/")
				for _, n := range []string{"iam-ecs-", "iam-ecs-foo", "iam-ecs-2", "iam-ecs-10"} {
					f.set(n+"/info", info(t1, nil))
				}
			},
			reads: []string{"", "iam-ecs-/info", "iam-ecs-foo/info", "iam-ecs-2/info", "iam-ecs-10/info"},
		}},
		"a carriage return stays in the name": {{
			change: func(f *fake) { f.set("", "iam-ecs-1\r\n"); one(f) },
			want:   []string{"failed iam-ecs-1\r info"},
			reads:  []string{"", "iam-ecs-1\r/info"},
			err:    []string{`read info of iam-ecs-1\r: `},
		}},
		"the same instant in another zone is unchanged": {
			firstOne,
			{
				change: func(f *fake) {
					f.namespace(ns1, "2026-06-30T19:00:00.000+02:00", entries{web: object("")})
				},
				want:  []string{"unchanged iam-ecs-1"},
				reads: []string{"", info1},
			},
		},
		"a fraction of a second is a change": {
			firstOne,
			{
				change: func(f *fake) { f.namespace(ns1, "2026-06-30T17:00:00.001Z", entries{web: object("")}) },
				want:   []string{"new iam-ecs-1 shop-TaskApplication v1"},
				reads:  []string{"", info1, webPath},
			},
		},
		"backwards is a change": {
			firstOne,
			{
				change: func(f *fake) { f.namespace(ns1, "2020-01-01T00:00:00Z", entries{web: object("")}) },
				want:   []string{"new iam-ecs-1 shop-TaskApplication v1"},
				reads:  []string{"", info1, webPath},
			},
		},
		"codes as strings": {{
			change: func(f *fake) { f.namespace(ns1, t1, entries{web: "0", exec: "1", cartWeb: "2"}) },
			want: []string{
				"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-1 cart-TaskApplication v1",
				"denied iam-ecs-1 shop-TaskExecution",
			},
			reads: []string{"", info1, webPath, ns1 + "/security-credentials/" + cartWeb},
		}},
		"codes in objects, in any case": {{
			change: func(f *fake) {
				f.namespace(ns1, t1, entries{
					web:     map[string]any{"roleArn": "arn:aws:iam::111122223333:role/x", "code": "SUCCESS", "More": 1},
					exec:    object(strings.ToLower(denied)),
					cartWeb: object("Strange"),
				})
			},
			want: []string{
				"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-1 cart-TaskApplication v1",
				"denied iam-ecs-1 shop-TaskExecution",
			},
			reads: []string{"", info1, webPath, ns1 + "/security-credentials/" + cartWeb},
		}},
		"both formats in one file": {{
			change: func(f *fake) { f.namespace(ns1, t1, entries{web: "0", exec: object(successful)}) },
			want:   allNew[:2],
			reads:  []string{"", info1, webPath, execPath},
		}},
		"only denied roles: no error, and never asked for": {
			{
				change: func(f *fake) { f.namespace(ns1, t1, entries{web: object(denied)}) },
				want:   []string{"denied iam-ecs-1 shop-TaskApplication"},
				reads:  []string{"", info1},
			},
			{want: []string{"unchanged iam-ecs-1"}, reads: []string{"", info1}},
			{
				change: func(f *fake) { f.namespace(ns1, t2, entries{web: object(successful)}) },
				want:   []string{"new iam-ecs-1 shop-TaskApplication v1"},
				reads:  []string{"", info1, webPath},
			},
		},
		"a role that becomes denied is not gone": {
			firstOne,
			{
				change: func(f *fake) { f.namespace(ns1, t2, entries{web: object(denied)}) },
				want:   []string{"denied iam-ecs-1 shop-TaskApplication"},
				reads:  []string{"", info1},
			},
		},
		"keys are cut at the first dash": {{
			change: func(f *fake) {
				f.namespace(ns1, t1, entries{"a-b-c": "0", "d-": "0", "-e": "0", "f": "0", "-": "0", "": "0"})
			},
			want: []string{
				"new iam-ecs-1 a-b-c v1",
				"failed iam-ecs-1 info", // the empty name
				"failed iam-ecs-1 -", "failed iam-ecs-1 -e", "failed iam-ecs-1 d-", "failed iam-ecs-1 f",
			},
			reads: []string{"", info1, ns1 + "/security-credentials/a-b-c"},
		}, {
			want:  []string{"unchanged iam-ecs-1", "failed iam-ecs-1 info", "failed iam-ecs-1 -", "failed iam-ecs-1 -e", "failed iam-ecs-1 d-", "failed iam-ecs-1 f"},
			reads: []string{"", info1},
		}},
		"only bad keys": {{
			change: func(f *fake) { f.namespace(ns1, t1, entries{"nodash": "0"}) },
			want:   []string{"failed iam-ecs-1 nodash"},
			reads:  []string{"", info1},
			err:    []string{"read credentials nodash of iam-ecs-1: name is not a task id, a dash and a role type"},
		}},
		"one bad info among good ones": {
			{
				change: func(f *fake) { both(f); f.fail(info1, 500) },
				want:   []string{"new iam-ecs-2 cart-TaskApplication v1", "failed iam-ecs-1 info"},
				reads:  []string{"", info1, info2, cartPath},
			},
			{
				change: func(f *fake) { f.mend(info1) },
				want:   []string{"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-1 shop-TaskExecution v1", "unchanged iam-ecs-2"},
				reads:  []string{"", info1, webPath, execPath, info2},
			},
		},
		"one bad credential among good ones": {{
			change: func(f *fake) { both(f); f.set(webPath, "{") },
			want:   []string{"new iam-ecs-1 shop-TaskExecution v1", "new iam-ecs-2 cart-TaskApplication v1", "failed iam-ecs-1 shop-TaskApplication"},
			reads:  allReads,
		}},
		"an unchanged namespace is good, too": {
			firstAll,
			{
				change: func(f *fake) { f.fail(info2, 500) },
				want:   []string{"unchanged iam-ecs-1", "failed iam-ecs-2 info"},
				reads:  []string{"", info1, info2},
			},
		},
		"an info that fails for a while changes nothing": {
			firstOne,
			{
				change: func(f *fake) { f.fail(info1, 500) },
				want:   []string{"failed iam-ecs-1 info"},
				reads:  []string{"", info1},
				err:    []string{"read info of iam-ecs-1", "(500 after 1 attempt)"},
			},
			{
				change: func(f *fake) { f.mend(info1) },
				want:   []string{"unchanged iam-ecs-1"},
				reads:  []string{"", info1},
			},
		},
		"everything fails: each is named": {{
			change: func(f *fake) { both(f); f.fail(webPath, 500); f.fail(execPath, 404); f.fail(info2, 404) },
			want:   []string{"failed iam-ecs-1 shop-TaskApplication", "failed iam-ecs-1 shop-TaskExecution", "failed iam-ecs-2 info"},
			reads:  []string{"", info1, webPath, execPath, info2},
			err: []string{
				"scan IMDS: nothing could be read",
				"read credentials " + web + " of iam-ecs-1", "read credentials " + exec + " of iam-ecs-1", "read info of iam-ecs-2",
			},
		}},
		"the only one fails after a change: what is held is old": {
			firstOne,
			{
				change: func(f *fake) { f.namespace(ns1, t2, entries{web: object("")}); f.fail(webPath, 500) },
				want:   []string{"failed iam-ecs-1 shop-TaskApplication"},
				reads:  []string{"", info1, webPath},
				err:    []string{web},
			},
		},
		"the root fails": {
			firstOne,
			{
				change: func(f *fake) { f.fail("", 500) },
				reads:  []string{""},
				err:    []string{"scan IMDS: list namespaces", "(500 after 1 attempt)"},
			},
			{
				change: func(f *fake) { f.mend("") },
				want:   []string{"unchanged iam-ecs-1"},
				reads:  []string{"", info1},
			},
		},
		"the root is not there": {{
			change: func(f *fake) { f.fail("", 404) },
			reads:  []string{""},
			err:    []string{"list namespaces"},
		}},
		"a task that is gone is reported once": {
			firstAll,
			{
				change: func(f *fake) { f.namespace(ns1, t2, entries{exec: object("")}) },
				want:   []string{"new iam-ecs-1 shop-TaskExecution v1", "unchanged iam-ecs-2", "gone iam-ecs-1 shop-TaskApplication"},
				reads:  []string{"", info1, execPath, info2},
			},
			{want: []string{"unchanged iam-ecs-1", "unchanged iam-ecs-2"}, reads: []string{"", info1, info2}},
		},
		"a namespace that is gone is reported once, and comes back new": {
			firstAll,
			{
				change: func(f *fake) { f.remove(ns1) },
				want:   []string{"unchanged iam-ecs-2", "gone iam-ecs-1 shop-TaskApplication", "gone iam-ecs-1 shop-TaskExecution", "gone iam-ecs-1"},
				reads:  []string{"", info2},
			},
			{want: []string{"unchanged iam-ecs-2"}, reads: []string{"", info2}},
			{
				change: both,
				want:   []string{"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-1 shop-TaskExecution v1", "unchanged iam-ecs-2"},
				reads:  []string{"", info1, webPath, execPath, info2},
			},
		},
		"a namespace that never worked is gone, too": {
			{
				change: func(f *fake) { both(f); f.fail(info1, 500) },
				want:   []string{"new iam-ecs-2 cart-TaskApplication v1", "failed iam-ecs-1 info"},
				reads:  []string{"", info1, info2, cartPath},
			},
			{
				change: func(f *fake) { f.remove(ns1) },
				want:   []string{"unchanged iam-ecs-2", "gone iam-ecs-1"},
				reads:  []string{"", info2},
			},
		},
		"a credential that never worked is gone, too": {
			{
				change: func(f *fake) { both(f); f.fail(webPath, 500) },
				want:   []string{"new iam-ecs-1 shop-TaskExecution v1", "new iam-ecs-2 cart-TaskApplication v1", "failed iam-ecs-1 shop-TaskApplication"},
				reads:  allReads,
			},
			{
				change: func(f *fake) { f.namespace(ns1, t2, entries{exec: object("")}) },
				want:   []string{"new iam-ecs-1 shop-TaskExecution v1", "unchanged iam-ecs-2", "gone iam-ecs-1 shop-TaskApplication"},
				reads:  []string{"", info1, execPath, info2},
			},
		},
		"a task in two namespaces is gone when neither lists it": {
			{
				change: func(f *fake) {
					one(f)
					f.namespace(ns2, t1, entries{web: object("")})
				},
				want:  []string{"new iam-ecs-1 shop-TaskApplication v1", "new iam-ecs-2 shop-TaskApplication v1"},
				reads: []string{"", info1, webPath, info2, ns2 + "/security-credentials/" + web},
			},
			{
				change: func(f *fake) { f.namespace(ns1, t2, nil) },
				want:   []string{"unchanged iam-ecs-2"},
				reads:  []string{"", info1, info2},
			},
			{
				change: func(f *fake) { f.namespace(ns1, t1, entries{web: object("")}) },
				want:   []string{"new iam-ecs-1 shop-TaskApplication v1", "unchanged iam-ecs-2"},
				reads:  []string{"", info1, webPath, info2},
			},
			{
				change: func(f *fake) { f.remove(ns1); f.remove(ns2) },
				want:   []string{"gone iam-ecs-1 shop-TaskApplication", "gone iam-ecs-1", "gone iam-ecs-2"},
				reads:  []string{""},
			},
		},
		"a task that moves to another namespace is not gone": {
			firstOne,
			{
				change: func(f *fake) { f.remove(ns1); f.namespace(ns2, t1, entries{web: object("")}) },
				want:   []string{"new iam-ecs-2 shop-TaskApplication v1", "gone iam-ecs-1"},
				reads:  []string{"", info2, ns2 + "/security-credentials/" + web},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			s, _ := newScanner(t, f)
			for i, step := range steps {
				if step.change != nil {
					step.change(f)
				}
				result, err := s.Scan(t.Context())
				if diff := cmp.Diff(step.want, lines(result)); diff != "" {
					t.Errorf("scan %d found:\n%s", i+1, diff)
				}
				reads := f.take()
				if diff := cmp.Diff(step.reads, reads); diff != "" {
					t.Errorf("scan %d read:\n%s", i+1, diff)
				}
				if result.Requests != len(reads) {
					t.Errorf("scan %d counted %d requests", i+1, result.Requests)
				}
				wantError(t, i+1, err, step.err)
			}
			if f.tokens != 1 {
				t.Errorf("%d token requests, want 1", f.tokens)
			}
		})
	}
}

func wantError(t *testing.T, scan int, err error, want []string) {
	t.Helper()
	if (err != nil) != (len(want) > 0) {
		t.Errorf("scan %d: error %v", scan, err)
		return
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("scan %d: %v\nwant %q", scan, err, text)
		}
	}
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("scan %d: a secret is in the error", scan)
	}
}

func TestCredentialsAreWholeOrRejected(t *testing.T) {
	t.Parallel()
	good := map[string]any{
		"AccessKeyId": "ASIA" + secret, "SecretAccessKey": secret, "Token": secret, "Expiration": "2026-06-30T23:20:00Z",
	}
	change := func(field string, value any) string {
		m := map[string]any{}
		for k, v := range good {
			m[k] = v
		}
		m[field] = value
		if value == nil {
			delete(m, field)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	cases := map[string]struct{ body, reason string }{
		"as it should be":           {change("Code", "Success"), ""},
		"other keys of any type":    {change("LastUpdated", 7), ""},
		"time with a fraction":      {change("Expiration", "2026-06-30T23:20:00.5+02:00"), ""},
		"endless":                   {`{"Token":"` + strings.Repeat("x", 40<<10) + `"}`, "more than 32768 bytes"},
		"empty object":              {"{}", "no text for AccessKeyId, SecretAccessKey, Token, Expiration"},
		"empty":                     {"", "not a JSON object"},
		"null":                      {"null", "not a JSON object"},
		"a string":                  {`"` + secret + `"`, "not a JSON object"},
		"a list":                    {`["` + secret + `"]`, "not a JSON object"},
		"cut off":                   {change("Code", "Success")[:60], "not a JSON object"},
		"something behind":          {change("Code", "Success") + secret, "not a JSON object"},
		"a page":                    {"<html>" + secret, "not a JSON object"},
		"expiration is not a time":  {change("Expiration", secret), "Expiration that is not a time"},
		"expiration without a zone": {change("Expiration", "2026-06-30T23:20:00"), "Expiration that is not a time"},
	}
	for field := range good {
		cases["without "+field] = struct{ body, reason string }{change(field, nil), "no text for " + field}
		cases["empty "+field] = struct{ body, reason string }{change(field, ""), "no text for " + field}
		cases["a number as "+field] = struct{ body, reason string }{change(field, 7), "no text for " + field}
		cases["a list as "+field] = struct{ body, reason string }{change(field, []string{secret}), "no text for " + field}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			one(f)
			f.set(webPath, tc.body)
			s, _ := newScanner(t, f)
			result, err := s.Scan(t.Context())
			if tc.reason == "" {
				if err != nil || len(result.Credentials) != 1 || len(result.Failures) != 0 {
					t.Fatalf("%v; %q", err, lines(result))
				}
				c := result.Credentials[0]
				if c.Credentials.AccessKeyID != "ASIA"+secret || c.Credentials.SecretAccessKey != secret || c.Credentials.SessionToken != secret {
					t.Error("other credentials came out")
				}
				if c.Credentials.RoleARN != "arn:aws:iam::111122223333:role/shop" || c.Credentials.RoleARN != c.RoleARN {
					t.Errorf("role %q and %q", c.Credentials.RoleARN, c.RoleARN)
				}
				if c.Credentials.Expiration.Location() != time.UTC || c.Credentials.Expiration.IsZero() {
					t.Error("the expiration is not UTC")
				}
				if shown := fmt.Sprintf("%v %+v %#v", result, result, result); strings.Contains(shown, secret) {
					t.Error("a printed result shows a secret")
				}
				return
			}
			wantError(t, 1, err, []string{tc.reason, web})
			if len(result.Credentials) != 0 || len(result.Failures) != 1 {
				t.Errorf("%q", lines(result))
			}
		})
	}
}

func TestInfoThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, reason string }{
		"empty":                  {"", "not the JSON object"},
		"no JSON":                {"<html>", "not the JSON object"},
		"a list":                 {"[]", "not the JSON object"},
		"null":                   {"null", "no LastUpdated"},
		"without LastUpdated":    {`{"TaskCredentials":{}}`, "no LastUpdated"},
		"LastUpdated a number":   {`{"LastUpdated":7}`, "not the JSON object"},
		"LastUpdated not a time": {`{"LastUpdated":"yesterday"}`, `"yesterday"`},
		"without a zone":         {`{"LastUpdated":"2026-06-30T17:00:00"}`, "RFC 3339"},
		"credentials a list":     {`{"LastUpdated":"` + t1 + `","TaskCredentials":[]}`, "not the JSON object"},
		"entry a number":         {info(t1, entries{web: 7}), "neither a code nor an object"},
		"entry null":             {info(t1, entries{web: nil}), "neither a code nor an object"},
		"entry a list":           {info(t1, entries{web: []string{}}), "neither a code nor an object"},
		"role a number":          {info(t1, entries{web: map[string]any{"RoleARN": 7}}), "neither a code nor an object"},
		"code a number":          {info(t1, entries{web: map[string]any{"Code": 0}}), "neither a code nor an object"},
		"one good, one bad":      {info(t1, entries{exec: "0", web: 7}), "neither a code nor an object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			both(f)
			f.set(info1, tc.body)
			s, _ := newScanner(t, f)
			result, err := s.Scan(t.Context())
			want := []string{"new iam-ecs-2 cart-TaskApplication v1", "failed iam-ecs-1 info"}
			if diff := cmp.Diff(want, lines(result)); diff != "" || err != nil {
				t.Fatal(err, diff)
			}
			if got := result.Failures[0].Error(); !strings.Contains(got, tc.reason) {
				t.Errorf("%s, want %q", got, tc.reason)
			}
		})
	}
}

// Names come from the service: a terminal must not obey them, and each message
// is one line.
func TestNamesCannotSteerATerminal(t *testing.T) {
	t.Parallel()
	f := newFake()
	name := "a\x1b[31mb\nc-TaskApplication"
	f.namespace(ns1, t1, entries{name: "0", "\u009b2J-": "0", "ö-TaskApplication": "0"})
	for path := range f.values {
		if strings.Contains(path, "security") {
			f.fail(path, 404)
		}
	}
	s, _ := newScanner(t, f)
	result, err := s.Scan(t.Context())
	if len(result.Failures) != 3 || err == nil {
		t.Fatalf("%v: %q", err, lines(result))
	}
	for _, failure := range result.Failures {
		if got := failure.Error(); got != scan.Printable(got) || strings.ContainsAny(got, "\n\x1b\u009b") {
			t.Errorf("%q", got)
		}
	}
	for text, want := range map[string]string{
		`ö "x" \`: `ö "x" \`, "a\tb": `a\tb`, "\xff": `\xff`, name: `a\x1b[31mb\nc-TaskApplication`, "\u202e": `\u202e`,
	} {
		if got := scan.Printable(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFailuresKeepTheirCause(t *testing.T) {
	t.Parallel()
	f := newFake()
	one(f)
	f.fail(info1, 404)
	s, _ := newScanner(t, f)
	result, err := s.Scan(t.Context())
	if local.CodeOf(err) != local.NotFound || local.CodeOf(result.Failures[0]) != local.NotFound {
		t.Errorf("codes of %v and %v", err, result.Failures[0])
	}
	var failure scan.Failure
	if !errors.As(err, &failure) || failure.Namespace != ns1 {
		t.Errorf("no failure in %v", err)
	}
}

func TestUnknownCodesAreLogged(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.namespace(ns1, t1, entries{web: "7", exec: "0"})
	s, log := newScanner(t, f)
	if _, err := s.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "unknown code") != 1 || !strings.Contains(got, web) {
		t.Errorf("log: %s", got)
	}
}

func TestResultCounts(t *testing.T) {
	t.Parallel()
	f := newFake()
	both(f)
	f.fail(execPath, 404)
	s, _ := newScanner(t, f)
	for i, want := range []struct{ held, requests int }{{2, 6}, {2, 4}} {
		result, err := s.Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if result.Held != want.held || result.Requests != want.requests {
			t.Errorf("scan %d: %d held, %d requests, want %+v", i+1, result.Held, result.Requests, want)
		}
		if diff := cmp.Diff([]string{ns1, ns2}, result.Namespaces); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limiter *rate.Limiter
		gap     time.Duration
	}{
		"ten a second by default": {nil, 100 * time.Millisecond},
		"another rate":            {rate.NewLimiter(2, 1), 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				both(f)
				s := scan.New(scan.Options{Client: serve(t, f, imdsclient.Options{}), Limiter: tc.limiter})
				began := time.Now()
				for range 2 {
					if _, err := s.Scan(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if f.at[0] != began {
					t.Error("the first request waits")
				}
				if len(f.at) != 9 {
					t.Fatalf("%d requests, want 9", len(f.at))
				}
				for i := 1; i < len(f.at); i++ {
					if gap := f.at[i].Sub(f.at[i-1]).Round(time.Microsecond); gap != tc.gap {
						t.Errorf("gap %d is %v, want %v", i, gap, tc.gap)
					}
				}
			})
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, path := range allReads {
		t.Run("while "+path+" is read", func(t *testing.T) {
			t.Parallel()
			f := newFake()
			both(f)
			s, _ := newScanner(t, f)
			ctx, cancel := context.WithCancel(t.Context())
			f.before = func(p string) {
				if p == path {
					cancel()
				}
			}
			result, err := s.Scan(ctx)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v", err)
			}
			if got := lines(result); len(got) != 0 {
				t.Errorf("found %q all the same", got)
			}
			if reads := f.take(); reads[len(reads)-1] != path {
				t.Errorf("went on to %q", reads)
			}
			f.mu.Lock()
			f.before = nil
			f.mu.Unlock()
			result, err = s.Scan(t.Context())
			if diff := cmp.Diff(allNew, lines(result)); diff != "" || err != nil {
				t.Errorf("the next scan: %v\n%s", err, diff)
			}
		})
	}
	t.Run("before: nothing is sent", func(t *testing.T) {
		t.Parallel()
		f := newFake()
		s, _ := newScanner(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		result, err := s.Scan(ctx)
		if !errors.Is(err, context.Canceled) || result.Requests != 0 || len(f.take()) != 0 || f.tokens != 0 {
			t.Errorf("%v, %d requests", err, result.Requests)
		}
	})
	t.Run("while it waits for the rate", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			both(f)
			s := scan.New(scan.Options{Client: serve(t, f, imdsclient.Options{})})
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			time.AfterFunc(250*time.Millisecond, cancel)
			if _, err := s.Scan(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if took := time.Since(began); took != 250*time.Millisecond {
				t.Errorf("ended after %v", took)
			}
		})
	})
	t.Run("a deadline that the rate cannot keep", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			both(f)
			s := scan.New(scan.Options{Client: serve(t, f, imdsclient.Options{})})
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer cancel()
			result, err := s.Scan(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || len(lines(result)) != 0 || result.Requests != 3 {
				t.Errorf("%v, %q, %d requests", err, lines(result), result.Requests)
			}
		})
	})
}

// The client retries what may be better later; a scan does not see it.
func TestServiceThatIsBusyForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		both(f)
		client := serve(t, f, imdsclient.Options{})
		s := scan.New(scan.Options{Client: client})
		f.fail(info1, 503)
		f.before = func(path string) {
			if path == info1 && client.Stats().Retries == 1 {
				f.mend(info1)
			}
		}
		result, err := s.Scan(t.Context())
		if diff := cmp.Diff(allNew, lines(result)); diff != "" || err != nil {
			t.Error(err, diff)
		}
		if result.Requests != 6 || client.Stats().Requests != 8 {
			t.Errorf("%d requests of the scan, %d of the client, want 6 and 8", result.Requests, client.Stats().Requests)
		}
	})
}
