package config_test

import (
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
  arn:aws:iam::444455556666:role/partner: {}
`)
	want := map[string]local.SessionOptions{
		"web": {
			ExternalID: "12345", SessionName: "web@laptop", Duration: 2 * time.Hour,
			Tags: map[string]string{"team": "blue", "cost": "12"}, TransitiveTags: []string{"team"},
			Policy: `{"Version": "2012-10-17", "Statement": []}`, PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
			SourceIdentity: "alice", Region: "eu-central-1", Source: "hub",
		},
		"team/web":                               {Policy: `{"Statement":[{"Action":"*","Effect":"Deny","Resource":"*"}],"Version":"2012-10-17"}`},
		"arn:aws:iam::444455556666:role/partner": {},
	}
	if diff := cmp.Diff(want, f.Roles); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
}

func TestRoleProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"not a role":            {"roles: { 'a b': {} }", `ecs-local.yaml:1: a key of roles must be a role's name, path/name, or ARN (arn:aws:iam::111122223333:role/name), not "a b"`},
		"unknown key":           {"roles: { web: { externalid: x } }", `ecs-local.yaml:1: unknown key "externalid": did you mean "external-id"?`},
		"external id":           {"roles: { web: { external-id: x } }", `ecs-local.yaml:1: external-id must be 2 to 1224 letters, digits and +=,.@:/-_, not "x"`},
		"short":                 {"roles: { web: { duration: 1m } }", `ecs-local.yaml:1: duration must be a time of 15m to 12h, such as 1h30m, not "1m"`},
		"no time":               {"roles: { web: { duration: 3600 } }", `ecs-local.yaml:1: duration must be a time of 15m to 12h, such as 1h30m, not "3600"`},
		"transitive":            {"roles: { web: { transitive-tags: [team] } }", `ecs-local.yaml:1: transitive-tags of web names "team", which is none of its tags: add it to tags`},
		"reserved tag":          {"roles: { web: { tags: { 'aws:x': y } } }", `ecs-local.yaml:1: "aws:x" cannot be the key of a session tag: use 1 to 128 characters that do not begin with aws:`},
		"policy that is a list": {"roles: { web: { policy: [] } }", `ecs-local.yaml:1: policy must be a policy document, as JSON in quotes or as a map, not a list`},
		"policy that is text":   {"roles: { web: { policy: allow } }", `ecs-local.yaml:1: policy must be a policy document, as JSON in quotes or as a map: this text is not a JSON object`},
		"policy ARN":            {"roles: { web: { policy-arns: [ReadOnlyAccess] } }", `ecs-local.yaml:1: an entry of policy-arns must be the ARN of a policy: arn:aws:iam::aws:policy/ReadOnlyAccess, not "ReadOnlyAccess"`},
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
