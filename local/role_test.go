package local_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

func TestParseRole(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:iam::111122223333:role/"
	long := strings.Repeat("x", 64)
	tests := map[string]struct {
		in   string
		want local.Role // zero: refused
	}{
		"name":                      {"web", local.Role{Name: "web"}},
		"every kind of character":   {"aZ0+=,.@-_", local.Role{Name: "aZ0+=,.@-_"}},
		"path and name":             {"team/a/web", local.Role{Name: "team/a/web"}},
		"slashes around":            {"/team/web/", local.Role{Name: "team/web"}},
		"path of any ASCII":         {"a:b!~/web", local.Role{Name: "a:b!~/web"}},
		"longest name":              {long, local.Role{Name: long}},
		"name too long":             {long + "x", local.Role{}},
		"longest path":              {strings.Repeat("p", 510) + "/" + long, local.Role{Name: strings.Repeat("p", 510) + "/" + long}},
		"path too long":             {strings.Repeat("p", 511) + "/web", local.Role{}},
		"nothing":                   {"", local.Role{}},
		"only slashes":              {"//", local.Role{}},
		"empty part":                {"team//web", local.Role{}},
		"space":                     {"my role", local.Role{}},
		"space in path":             {"my team/web", local.Role{}},
		"colon":                     {"a:b", local.Role{}},
		"not ASCII":                 {"rôle", local.Role{}},
		"not ASCII in path":         {"rôles/web", local.Role{}},
		"line break":                {"web\n", local.Role{}},
		"ARN":                       {arn + "web", local.Role{ARN: arn + "web"}},
		"ARN with path":             {arn + "team/a/web", local.Role{ARN: arn + "team/a/web"}},
		"ARN with slash":            {arn + "web/", local.Role{ARN: arn + "web"}},
		"ARN, colon in path":        {arn + "a:b/web", local.Role{ARN: arn + "a:b/web"}},
		"ARN in China":              {"arn:aws-cn:iam::111122223333:role/web", local.Role{ARN: "arn:aws-cn:iam::111122223333:role/web"}},
		"ARN without name":          {arn, local.Role{}},
		"ARN of a user":             {"arn:aws:iam::111122223333:user/web", local.Role{}},
		"ARN of a session":          {"arn:aws:sts::111122223333:assumed-role/web/me", local.Role{}},
		"ARN with region":           {"arn:aws:iam:us-east-1:111122223333:role/web", local.Role{}},
		"ARN in GovCloud":           {"arn:aws-us-gov:iam::111122223333:role/web", local.Role{ARN: "arn:aws-us-gov:iam::111122223333:role/web"}},
		"ARN in an ISO partition":   {"arn:aws-iso-b:iam::111122223333:role/web", local.Role{ARN: "arn:aws-iso-b:iam::111122223333:role/web"}},
		"ARN in no partition":       {"arn:azure:iam::111122223333:role/web", local.Role{}},
		"ARN, capital partition":    {"arn:AWS:iam::111122223333:role/web", local.Role{}},
		"ARN, space in partition":   {"arn:aws-x y:iam::111122223333:role/web", local.Role{}},
		"ARN without partition":     {"arn::iam::111122223333:role/web", local.Role{}},
		"ARN with a short account":  {"arn:aws:iam::1111:role/web", local.Role{}},
		"ARN with a letter":         {"arn:aws:iam::11112222333x:role/web", local.Role{}},
		"ARN that ends too early":   {"arn:aws:iam", local.Role{}},
		"ARN with a space in it":    {arn + "my role", local.Role{}},
		"ARN, still percent-coded":  {"arn%3Aaws%3Aiam", local.Role{}},
		"name that begins like one": {"arn", local.Role{Name: "arn"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := local.ParseRole(test.in)
			if test.want.Session() {
				refused(t, err, local.Invalid, "role")
				if !got.Session() {
					t.Errorf("an error and a role: %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	for _, twice := range []string{"arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fweb", "team%2fweb"} {
		_, err := local.ParseRole(twice)
		refused(t, err, local.Invalid, "encoded once too often")
	}
	_, err := local.ParseRoleARN("arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fweb")
	refused(t, err, local.Invalid, `it has to come to "arn:aws:iam::111122223333:role/web"`)
	_, err = local.ParseRole(long + "x")
	refused(t, err, local.Invalid, "1 to 64")
	if got, err := local.ParseRoleARN("web"); err == nil {
		t.Errorf("a name as ARN: %v", got)
	}
}

func TestRole(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		role    local.Role
		text    string
		session bool
	}{
		{local.Role{}, "session", true},
		{local.Role{Name: "team/web"}, "team/web", false},
		{local.Role{ARN: "arn:aws:iam::111122223333:role/web"}, "arn:aws:iam::111122223333:role/web", false},
	} {
		if test.role.String() != test.text || test.role.Session() != test.session {
			t.Errorf("%#v is %s, session %t", test.role, test.role, test.role.Session())
		}
	}
	if got, want := local.RoleARN("aws-cn", "111122223333", "team/web"), "arn:aws-cn:iam::111122223333:role/team/web"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCredentialsNeverShowSecrets(t *testing.T) {
	t.Parallel()
	c := local.Credentials{
		RoleARN:         "arn:aws:iam::111122223333:role/web",
		AccessKeyID:     "hidden-key-id",
		SecretAccessKey: "hidden-secret",
		SessionToken:    "hidden-token",
		Expiration:      time.Date(2026, 6, 30, 18, 0, 0, 0, time.FixedZone("CEST", 2*60*60)),
	}
	const want = "credentials of arn:aws:iam::111122223333:role/web until 2026-06-30T16:00:00Z"
	type holder struct {
		Value   local.Credentials
		Pointer *local.Credentials
		List    []local.Credentials
		ByName  map[string]local.Credentials
	}
	held := holder{c, &c, []local.Credentials{c}, map[string]local.Credentials{"web": c}}
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%10.3f"} {
		shown[verb] = fmt.Sprintf(verb, c)
		shown[verb+" of a pointer"] = fmt.Sprintf(verb, &c)
		shown[verb+" within"] = fmt.Sprintf(verb, held)
	}
	shown["error"] = fmt.Errorf("keep %v", c).Error()
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("got them", "credentials", c, "pointer", &c, "within", held)
		shown[name] = b.String()
	}
	for name, v := range map[string]any{"JSON": c, "JSON within": held} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		shown[name] = string(b)
	}
	b, err := xml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown["XML"] = string(b)

	for how, text := range shown {
		// A failing test does not show them either.
		if strings.Contains(text, "hidden") || strings.Contains(text, fmt.Sprintf("%x", "hidden")) {
			t.Errorf("%s shows a secret", how)
		}
	}
	for _, how := range []string{"%v", "%+v", "%#v", "%s", "%v of a pointer"} {
		if shown[how] != want {
			t.Errorf("%s is not %q", how, want)
		}
	}
	for _, how := range []string{"slog text", "slog JSON", "JSON", "JSON within"} {
		if !strings.Contains(shown[how], want) {
			t.Errorf("%s does not say whose they are", how)
		}
	}
	if got := (local.Credentials{}).String(); !strings.HasPrefix(got, "credentials of session until ") {
		t.Errorf("got %q", got)
	}
}
