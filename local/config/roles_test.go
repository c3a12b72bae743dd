package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/config"
)

func TestRoles(t *testing.T) {
	t.Parallel()
	f := parse(t, `
roles:
  web:
    external-id: "12345"
    session-name: web@laptop
    duration: 2h
    tags: { team: blue, cost: 12 }
    transitive-tags: [team]
    policy: '{"Version": "2012-10-17", "Statement": []}'
    policy-arns: ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
    source-identity: alice
    region: eu-central-1
    source-role: hub
  team/web:
    policy:
      Version: "2012-10-17"
      Statement: [{ Effect: Deny, Action: "*", Resource: "*" }]
  dated:
    policy: &policy # a date for YAML, where the policy has text
      Version: 2012-10-17
      Statement: [{ Effect: Deny, Action: "*", Resource: "*", Condition: { DateGreaterThan: { "aws:CurrentTime": 2026-12-01T00:00:00Z } } }]
  like-it:
    policy: *policy
  arn:aws:iam::444455556666:role/partner: {}
`)
	const dated = `{"Statement":[{"Action":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2026-12-01T00:00:00Z"}},"Effect":"Deny","Resource":"*"}],"Version":"2012-10-17"}`
	want := map[string]local.SessionOptions{
		"web": {
			ExternalID: "12345", SessionName: "web@laptop", Duration: 2 * time.Hour,
			Tags: map[string]string{"team": "blue", "cost": "12"}, TransitiveTags: []string{"team"},
			Policy: `{"Version": "2012-10-17", "Statement": []}`, PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
			SourceIdentity: "alice", Region: "eu-central-1", Source: "hub",
		},
		"team/web":                               {Policy: `{"Statement":[{"Action":"*","Effect":"Deny","Resource":"*"}],"Version":"2012-10-17"}`},
		"dated":                                  {Policy: dated},
		"like-it":                                {Policy: dated},
		"arn:aws:iam::444455556666:role/partner": {},
	}
	if diff := cmp.Diff(want, f.Roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
}

// numbered returns as many copies of a text, each with its number.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestRoleProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"not a role":            {"roles: { 'a b': {} }", `ecs-local.yaml:1: a key of roles must be a role's name, path/name, or ARN (arn:aws:iam::111122223333:role/name), not "a b"`},
		"unknown key":           {"roles: { web: { externalid: x } }", `ecs-local.yaml:1: unknown key "externalid": did you mean "external-id"?`},
		"external id":           {"roles: { web: { external-id: x } }", `ecs-local.yaml:1: external-id must be 2 to 1224 letters, digits and +=,.@:/-_, not "x"`},
		"long external id":      {"roles: { web: { external-id: '" + strings.Repeat("x", 1225) + "' } }", `ecs-local.yaml:1: external-id must be 2 to 1224 letters, digits and +=,.@:/-_, not "` + strings.Repeat("x", 1225) + `"`},
		"short":                 {"roles: { web: { duration: 1m } }", `ecs-local.yaml:1: duration must be a time of 15m to 12h, such as 1h30m, not "1m"`},
		"no time":               {"roles: { web: { duration: 3600 } }", `ecs-local.yaml:1: duration must be a time of 15m to 12h, such as 1h30m, not "3600"`},
		"several times":         {"roles: { web: { duration: [1h] } }", `ecs-local.yaml:1: duration must be a time of 15m to 12h, such as 1h30m, not a list`},
		"transitive":            {"roles: { web: { transitive-tags: [team] } }", `ecs-local.yaml:1: transitive-tags of web names "team", which is none of its tags: add it to tags`},
		"reserved tag":          {"roles: { web: { tags: { 'aws:x': y } } }", `ecs-local.yaml:1: "aws:x" cannot be the key of a session tag: use 1 to 128 characters that do not begin with aws:`},
		"too many tags":         {"roles: { web: { tags: {" + numbered(51, "k%[1]d: v,") + "} } }", `ecs-local.yaml:1: there are 51 tags: STS takes 50 at most`},
		"long tag":              {"roles: { web: { tags: { a: " + strings.Repeat("ä", 257) + " } } }", `ecs-local.yaml:1: the tag "a" is too long: STS takes 256 characters at most`},
		"policy not for JSON":   {"roles: { web: { policy: { a: { 2: b } } } }", `ecs-local.yaml:1: policy must be a policy document, as JSON in quotes or as a map: this map cannot be written as JSON`},
		"policy in itself":      {"roles: { web: { policy: &p { a: *p } } }", `ecs-local.yaml:1: policy must be a policy document, as JSON in quotes or as a map: this map cannot be written as JSON`},
		"policy that is a list": {"roles: { web: { policy: [] } }", `ecs-local.yaml:1: policy must be a policy document, as JSON in quotes or as a map, not a list`},
		"policy that is text":   {"roles: { web: { policy: allow } }", `ecs-local.yaml:1: policy must be a policy document, as JSON in quotes or as a map: this text is not a JSON object`},
		"policy ARN":            {"roles: { web: { policy-arns: [ReadOnlyAccess] } }", `ecs-local.yaml:1: an entry of policy-arns must be the ARN of a policy: arn:aws:iam::aws:policy/ReadOnlyAccess, not "ReadOnlyAccess"`},
		"too many policies":     {"roles: { web: { policy-arns: [" + numbered(11, "arn:aws:iam::aws:policy/P%d,") + "] } }", `ecs-local.yaml:1: web has 11 policy-arns: STS takes 10 at most`},
		"no list":               {"roles: { web: { policy-arns: x } }", `ecs-local.yaml:1: policy-arns must be a list, not "x"`},
		"source role":           {"roles: { web: { source-role: 'arn:x' } }", `ecs-local.yaml:1: source-role must be a role's name, path/name, or ARN (arn:aws:iam::111122223333:role/name), not "arn:x"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("ecs-local.yaml", []byte(test.text))
			if got := local.MessageOf(err); err == nil || got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
