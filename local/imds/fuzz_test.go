package imds_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/local/imds"
)

// FuzzPath says that no path breaks the service, and that the same place has
// the same answer however it is written.
func FuzzPath(f *testing.F) {
	for _, row := range recorded(f) {
		f.Add(row.Method, row.Path)
	}
	for _, path := range []string{"", "*", "%", "/%", "/%2", "/..", "/%2e%2e/%2F", "/latest/meta-data/../../..", "/latest?%", "//", "/\x00", "latest", "/latest/."} {
		f.Add("GET", path)
	}
	s := serve(f, everything(), (&counter{}).provide)
	token := v2(f, s).token
	f.Fuzz(func(t *testing.T, method, path string) {
		r := s.Answer(imds.Request{Method: method, Path: path, Token: token, HasToken: true})
		switch r.Status {
		case 200, 400, 403, 404, 405:
		default:
			t.Fatalf("status %d", r.Status)
		}
		if method != "HEAD" && r.ContentLength != len(r.Body) {
			t.Errorf("length %d of %d bytes", r.ContentLength, len(r.Body))
		}
		if method != "GET" || strings.ContainsAny(path, "?%") || path == "" || path[0] != '/' {
			return
		}
		for _, same := range []string{path + "/", "/" + path, path + "?x", path + "/.", path + "//", path + "/x/.."} {
			if other := s.Answer(imds.Request{Method: method, Path: same, Token: token, HasToken: true}); other.Status != r.Status || string(other.Body) != string(r.Body) {
				t.Errorf("%q: %d, %q: %d", path, r.Status, same, other.Status)
			}
		}
	})
}

// FuzzToken says that only the service's own tokens are taken.
func FuzzToken(f *testing.F) {
	s := serve(f, imds.Config{Options: imds.Options{HTTPTokens: imds.Required}}, nil)
	valid := v2(f, s).token
	f.Add(valid, "300", true)
	f.Add("", "", false)
	f.Add(strings.Repeat("A", 56), "21601", true)
	f.Add(strings.Repeat("\n", 56), "+1", true)
	f.Add(valid[:55]+"\xff", "-0", true)
	f.Fuzz(func(t *testing.T, token, ttl string, has bool) {
		r := s.Answer(imds.Request{Method: "GET", Path: "/latest/meta-data/mac", Token: token, HasToken: has})
		if want := map[bool]int{true: 200, false: 401}[has && token == valid]; r.Status != want {
			t.Errorf("GET: %d, want %d", r.Status, want)
		}
		r = s.Answer(imds.Request{Method: "PUT", Path: "/latest/api/token", TokenTTL: ttl, Token: token, HasToken: has})
		switch r.Status {
		case 200:
			if r.TokenTTL < 0 || r.TokenTTL > imds.MaxTokenTTL || len(r.Body) != 56 {
				t.Errorf("PUT: life %d, %d bytes", r.TokenTTL, len(r.Body))
			}
		case 400:
		default:
			t.Errorf("PUT: %d", r.Status)
		}
	})
}

// FuzzMetadata says that what Validate lets pass makes a whole tree.
func FuzzMetadata(f *testing.F) {
	f.Add("spot/instance-action", "{}", "custom")
	f.Add("public-keys/1/openssh-key", "a b c", "public-keys/0")
	f.Add("a", "", "a/b")
	f.Add("tags", "x", "network/interfaces/macs//")
	f.Add("iam-ecs-1/info", "x", "iam-ecs-1")
	f.Fuzz(func(t *testing.T, path, value, remove string) {
		c := imds.Config{Metadata: map[string]*string{path: &value}}
		if remove != path {
			c.Metadata[remove] = nil
		}
		s, err := imds.New(c, imds.Deps{Identity: identity()})
		if err != nil {
			return
		}
		got, err := s.Value(path)
		if err != nil || string(got) != value {
			t.Errorf("%q, %v", got, err)
		}
		if err := s.RemoveValue(path); err != nil {
			t.Error(err)
		}
		if _, err := s.Value(path); err == nil {
			t.Error("removed, and still there")
		}
	})
}

// FuzzDecode says that whatever a section of a configuration file holds is
// refused, or makes a whole tree.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"tags": {"Name": "web", "n": 1}, "hop-limit": 2, "user-data": "x", "role": "web"}`,
		`{"instance": {"region": "cn-north-1", "local-ipv4s": ["10.0.0.5"], "ipv6s": ["2001:db8::5"], "interfaces": [{"efa-only": true}, {"subnet-id": "subnet-0123456789abcdef0"}]}}`,
		`{"instance": {"ipv4-associations": {"203.0.113.1": ["10.237.0.16"]}, "ipv4-prefix": ["10.237.0.0/28"], "vpc-ipv4-cidr-block": "::/0"}}`,
		`{"instance": {"subnet-ipv4-cidr-block": "255.255.255.240/28", "interfaces": [{"subnet-id": "subnet-0123456789abcdef0"}]}}`,
		`{"metadata": {"100%00": "x", "what?": "y"}}`,
		`{"metadata": {"custom/public-keys/a=b": "x", "dynamic/public-keys/0=c/": "y", "public-keys/1/openssh-key": "a b =c/"}}`,
		`{"instance": {"subnet-ipv4-cidr-block": "0.0.0.0/0", "vpc-ipv4-cidr-block": "0.0.0.0/0", "interfaces": [{"subnet-ipv4-cidr-block": "1.2.3.4/30"}, {"subnet-id": "subnet-0123456789abcdef0"}]}}`,
		`{"metadata": {"dynamic/instance-identity": null, "identity-credentials/ec2/info": null}}`,
		`{"metadata": {"a/b": null, "user-data": "x"}, "namespaces": {"iam-ecs-1": [{"task": "0", "role-type": "TaskExecution", "role": "a"}], "iam-ecs-2": null}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var section map[string]any
		if json.Unmarshal(text, &section) != nil {
			return
		}
		c, problems := imds.Decode(section)
		wrong := c.Validate()
		for _, p := range append(problems, wrong...) {
			if p.Msg == "" {
				t.Errorf("%q has a problem without words", p.Path)
			}
		}
		if len(problems)+len(wrong) > 0 {
			return
		}
		s, err := imds.New(c, imds.Deps{Identity: identity()})
		if err != nil {
			t.Fatalf("no problems, and %v", err)
		}
		if options := s.Options(); options.HTTPEndpoint == imds.Enabled {
			crawl(t, v2(t, s), "latest")
		}
	})
}
