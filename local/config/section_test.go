package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/config"
)

const sectionText = `cluster: demo
imds:
  tokens: required
  hop-limit: 2
  account: 012345678901
  no-quotes: no
  time: 2026-09-26T11:03:58Z
  bytes: !!binary |
    H4sIAAA=
  metadata:
    spot/instance-action: null
    empty:
    quoted: ""
  tags: &tags
    a.b: one
  again: *tags
  interfaces:
    - mac: "0e:ff:d5:40:fe:7d"
    - { mac: x, ipv6s: ["2001:db8::1"] }
`

func TestASectionIsPlainData(t *testing.T) {
	t.Parallel()
	f := parse(t, sectionText)
	want := map[string]any{
		"tokens": "required", "hop-limit": "2", "account": "012345678901", "no-quotes": "no", "time": "2026-09-26T11:03:58Z",
		"bytes":    "\x1f\x8b\x08\x00\x00",
		"metadata": map[string]any{"spot/instance-action": nil, "empty": nil, "quoted": ""},
		"tags":     map[string]any{"a.b": "one"},
		"again":    map[string]any{"a.b": "one"},
		"interfaces": []any{
			map[string]any{"mac": "0e:ff:d5:40:fe:7d"},
			map[string]any{"mac": "x", "ipv6s": []any{"2001:db8::1"}},
		},
	}
	if diff := cmp.Diff(want, f.IMDS.Values); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestASectionKnowsItsLines(t *testing.T) {
	t.Parallel()
	s := parse(t, sectionText).IMDS
	for path, want := range map[string]int{
		"tokens": 3, "metadata.spot/instance-action": 11, "tags.a.b": 15, "interfaces": 17, "interfaces[0]": 18, "interfaces[0].mac": 18,
		"interfaces[1].ipv6s[0]": 19,
		// What is not there has the line of what is around it.
		"interfaces[1].local-ipv4": 19, "tags.c.d": 14, "instance.region": 3, "nothing": 3, "": 3,
	} {
		if got := s.Line(path); got != want {
			t.Errorf("%q: line %d, want %d", path, got, want)
		}
	}
}

func TestNoSection(t *testing.T) {
	t.Parallel()
	if f := parse(t, "cluster: demo\n"); f.IMDS != nil {
		t.Errorf("got %v", f.IMDS)
	}
	if f := parse(t, "imds:\n"); f.IMDS == nil || len(f.IMDS.Values) != 0 {
		t.Errorf("an empty section is %v", f.IMDS)
	}
}

func TestABrokenSection(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"imds: yes\n":                         "f.yaml:1: imds must be a map of keys and values, not \"yes\"",
		"imds:\n  a: 1\n  a: 2\n":             "f.yaml:3: \"a\" is there twice: it stands in line 2 already",
		"imds:\n  a: !!binary \"%\"\n":        "f.yaml:2: a is not base64, as !!binary says that it is",
		"imds:\n  a: !secret x\n":             "f.yaml:2: the tag !secret means nothing here: remove it",
		"imds:\n  a: &a [*a]\n":               "f.yaml:2: a is nested more than 16 deep",
		"imds:\n  a:\n    - { b: 1, b: 2 }\n": "f.yaml:3: \"b\" is there twice: it stands in line 3 already",
	} {
		_, err := config.Parse("f.yaml", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}
