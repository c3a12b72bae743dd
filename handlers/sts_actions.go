package handlers

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ecs-local/ecs-local/local"
)

// getCallerIdentity says who asks.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func getCallerIdentity(c stsCall) (any, error) {
	return callerIdentityResult{Arn: c.who.ARN(), UserID: c.who.UserID(), Account: c.who.Account}, nil
}

// getSessionToken is for long-term credentials only, of which there are none.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func getSessionToken(stsCall) (any, error) {
	return nil, stsDenied("AccessDenied", "Cannot call GetSessionToken with session credentials")
}

var keyIDPattern = regexp.MustCompile(`^\w*$`)

// getAccessKeyInfo says whose a key id is. What others handed out is unknown
// here, as a key that AWS never made is there. Key ids stay out of the errors.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetAccessKeyInfo.html
func getAccessKeyInfo(c stsCall) (any, error) {
	var rules constraints
	keyID := rules.text(c.form, "AccessKeyId", textRule{min: 16, max: 128, pattern: keyIDPattern, required: true, secret: true})
	if err := rules.err(); err != nil {
		return nil, err
	}
	account, ok := c.sts.AccountOf(keyID)
	if !ok {
		return nil, stsDenied("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	return accessKeyInfoResult{Account: account}, nil
}

// How long the credentials of a role live, in seconds.
const (
	shortestSession = 900
	usualSession    = 3600
	longestChained  = 3600
	longestSession  = 43200
)

// mostPolicy is how many characters the policy of a session may have.
const mostPolicy = 2048

var (
	sessionNamePattern = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalIDPattern  = regexp.MustCompile(`^[\w+=,.@:\/-]*$`)
)

// assumeRole gives out credentials of any role: there are no trust policies
// here that could forbid it.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func assumeRole(c stsCall) (any, error) {
	var rules constraints
	arn := rules.text(c.form, "RoleArn", textRule{min: 20, max: 2048, required: true})
	name := rules.text(c.form, "RoleSessionName", textRule{min: 2, max: 64, pattern: sessionNamePattern, required: true})
	seconds := rules.number(c.form, "DurationSeconds", usualSession, shortestSession, longestSession)
	rules.text(c.form, "ExternalId", textRule{min: 2, max: 1224, pattern: externalIDPattern})
	policy := rules.text(c.form, "Policy", textRule{min: 1, max: mostPolicy})
	source := rules.text(c.form, "SourceIdentity", textRule{min: 2, max: 64, pattern: sessionNamePattern})
	if err := rules.err(); err != nil {
		return nil, err
	}

	whose, err := local.RoleSession(arn, name)
	if err != nil {
		return nil, stsInvalid("ValidationError", clip(arn)+" is invalid")
	}
	if c.who.RoleARN != "" && seconds > longestChained {
		return nil, stsInvalid("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if policy != "" && !json.Valid([]byte(policy)) {
		return nil, stsInvalid("MalformedPolicyDocument", "This policy contains invalid Json")
	}
	// A source identity stays through all sessions of a chain.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
	whose.SourceIdentity = c.who.SourceIdentity
	if source != "" && whose.SourceIdentity != "" && source != whose.SourceIdentity {
		return nil, stsDenied("AccessDenied", fmt.Sprintf("User: %s is not authorized to perform: sts:SetSourceIdentity on resource: %s", c.who.ARN(), whose.RoleARN))
	}
	if source != "" {
		whose.SourceIdentity = source
	}

	issued := c.sts.Issue(whose, time.Duration(seconds)*time.Second)
	return assumeRoleResult{
		SourceIdentity:  whose.SourceIdentity,
		AssumedRoleUser: assumedRoleUser{Arn: whose.ARN(), AssumedRoleID: whose.UserID()},
		Credentials: stsCredentials{
			AccessKeyID:     issued.AccessKeyID,
			SecretAccessKey: issued.SecretAccessKey,
			SessionToken:    issued.SessionToken,
			Expiration:      issued.Expiration.UTC().Format(time.RFC3339),
		},
		PackedPolicySize: packedSize(policy),
		SessionTokenSize: len(issued.SessionToken),
	}, nil
}

// packedSize is how much of its allotted space a policy takes, in percent. AWS
// packs it first, in a way that it does not tell; this is the share of the
// characters.
func packedSize(policy string) *int {
	if policy == "" {
		return nil
	}
	percent := (100*utf8.RuneCountInString(policy) + mostPolicy - 1) / mostPolicy
	return &percent
}

// textRule is what a parameter must be like.
type textRule struct {
	min, max int // characters
	pattern  *regexp.Regexp
	required bool
	secret   bool // errors do not show it
}

// constraints collects what is wrong with the parameters of a call, so that
// one error tells all of it, as STS does.
type constraints struct{ broken []string }

func (c *constraints) breaks(shown, name, constraint string) {
	// STS calls RoleArn roleArn here.
	name = strings.ToLower(name[:1]) + name[1:]
	c.broken = append(c.broken, fmt.Sprintf("Value%s at '%s' failed to satisfy constraint: Member must %s", shown, name, constraint))
}

// text reads a parameter. An absent one is empty.
func (c *constraints) text(form url.Values, name string, rule textRule) string {
	if !form.Has(name) {
		if rule.required {
			c.breaks(" null", name, "not be null")
		}
		return ""
	}
	value := form.Get(name)
	shown := " '" + clip(value) + "'"
	if rule.secret {
		shown = ""
	}
	if rule.pattern != nil && !rule.pattern.MatchString(value) {
		c.breaks(shown, name, "satisfy regular expression pattern: "+strings.Trim(rule.pattern.String(), "^$"))
	}
	switch n := utf8.RuneCountInString(value); {
	case n < rule.min:
		c.breaks(shown, name, fmt.Sprintf("have length greater than or equal to %d", rule.min))
	case n > rule.max:
		c.breaks(shown, name, fmt.Sprintf("have length less than or equal to %d", rule.max))
	}
	return value
}

// number reads a parameter, or takes what is usual when it is absent.
func (c *constraints) number(form url.Values, name string, usual, smallest, largest int) int {
	if !form.Has(name) {
		return usual
	}
	value := form.Get(name)
	shown := " '" + clip(value) + "'"
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		c.breaks(shown, name, "be a whole number")
	case n < smallest:
		c.breaks(shown, name, fmt.Sprintf("have value greater than or equal to %d", smallest))
	case n > largest:
		c.breaks(shown, name, fmt.Sprintf("have value less than or equal to %d", largest))
	}
	return n
}

// err returns what was wrong, or nil.
func (c *constraints) err() error {
	switch n := len(c.broken); n {
	case 0:
		return nil
	case 1:
		return stsInvalid("ValidationError", "1 validation error detected: "+c.broken[0])
	default:
		return stsInvalid("ValidationError", fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(c.broken, "; ")))
	}
}

// clip cuts what was sent to a length that fits into an error.
func clip(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
