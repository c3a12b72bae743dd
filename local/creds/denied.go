package creds

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/smithy-go"

	"github.com/ecs-local/ecs-local/local"
)

func isAccessDenied(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "AccessDenied")
}

// notAuthorized is how AWS words a denial that it explains.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
var notAuthorized = regexp.MustCompile(`User: (arn:[^\s]+) is not authorized to perform: ([\w:]+) on resource: (arn:[^\s]+)`)

// deniedHint says what to do when STS answers AccessDenied. For AssumeRole STS
// says so, too, when there is no such role.
func (a *account) deniedHint(message string, call stsCall) string {
	who, role := call.by, call.roleARN
	if said := notAuthorized.FindStringSubmatch(message); said != nil && said[2] != "sts:GetCallerIdentity" {
		if who == "" {
			who = said[1]
		}
		if role == "" {
			role = strings.TrimRight(said[3], ".,")
		}
	}
	if id := a.identity.Load(); who == "" && id != nil {
		who = id.arn
	}
	asking := "the identity that asks"
	if who != "" {
		asking = who
	}
	if role == "" {
		return "the policies of " + asking + " must allow the call"
	}
	hint := "either there is no such role (check its name, path and account), or its trust policy does not let " + asking + " assume it"
	if who == "" {
		return hint
	}
	statement, certain := a.trust(who, call.options)
	hint += ": add to the trust policy " + statement
	if !certain {
		hint += " (with its path, if that role has one)"
	}
	if account := accountOf(role); account != "" && account != accountOf(who) {
		hint += "; its account is another, so the policies of " + asking + " must allow sts:AssumeRole on " + role + ", too"
	}
	return hint
}

// trust returns the statement of a trust policy that lets an identity assume
// the role with these options. Certain is false when the identity's ARN leaves
// open who that is exactly.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (a *account) trust(who string, o local.SessionOptions) (statement string, certain bool) {
	type policy struct {
		Effect    string
		Principal map[string]string
		Action    []string
		Condition map[string]map[string]any `json:",omitempty"`
	}
	p := policy{Effect: "Allow", Action: []string{"sts:AssumeRole"}, Condition: map[string]map[string]any{}}
	if len(o.Tags) > 0 {
		p.Action = append(p.Action, "sts:TagSession")
	}
	if o.SourceIdentity != "" {
		p.Action = append(p.Action, "sts:SetSourceIdentity")
	}
	if o.ExternalID != "" {
		p.Condition["StringEquals"] = map[string]any{"sts:ExternalId": o.ExternalID}
	}
	principal, certain := who, true
	if parsed, err := arn.Parse(who); err == nil && strings.HasPrefix(parsed.Resource, "assumed-role/") {
		// An assumed role's ARN has no path; the role's has to have it.
		name := strings.Split(parsed.Resource, "/")[1]
		principal = local.RoleARN(parsed.Partition, parsed.AccountID, name)
		switch {
		case strings.HasSuffix(a.shared.RoleARN, "/"+name) && accountOf(a.shared.RoleARN) == parsed.AccountID:
			principal = a.shared.RoleARN
		case strings.HasPrefix(name, "AWSReservedSSO_"):
			// The path has a region in it, or none: the account may then assume
			// the role, if it is this role of it that asks.
			// https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html
			principal = fmt.Sprintf("arn:%s:iam::%s:root", parsed.Partition, parsed.AccountID)
			path := local.RoleARN(parsed.Partition, parsed.AccountID, "aws-reserved/sso.amazonaws.com/")
			p.Condition["ArnLike"] = map[string]any{"aws:PrincipalArn": []string{path + name, path + "*/" + name}}
		default:
			certain = false
		}
	}
	p.Principal = map[string]string{"AWS": principal}
	if len(p.Condition) == 0 {
		p.Condition = nil
	}
	text, err := json.Marshal(p)
	if err != nil { // it holds strings only
		return principal, false
	}
	return string(text), certain
}

func accountOf(s string) string {
	parsed, err := arn.Parse(s)
	if err != nil {
		return ""
	}
	return parsed.AccountID
}
