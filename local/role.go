package local

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Role is what credentials are asked for. The zero value is the session of
// the developer; otherwise exactly one field is set.
type Role struct {
	ARN  string // arn:aws:iam::111122223333:role/team/name
	Name string // name, or path/name, in the developer's own account
}

// Session reports whether r is the developer's own session.
func (r Role) Session() bool { return r == Role{} }

// String returns the ARN, the name, or "session".
func (r Role) String() string {
	switch {
	case r.ARN != "":
		return r.ARN
	case r.Name != "":
		return r.Name
	default:
		return "session"
	}
}

// ParseRole reads a role's ARN, or a name with or without a path.
// An ARN that is not a role's, or a name with characters that IAM does not
// allow, is Invalid.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
func ParseRole(s string) (Role, error) {
	if strings.HasPrefix(s, "arn:") {
		return ParseRoleARN(s)
	}
	s = strings.Trim(s, "/")
	if !validRoleName(s) {
		return Role{}, notRole(s, "a role name: use 1 to 64 letters, digits and +=,.@-_ (path/name for a role with a path), or give the role's ARN")
	}
	return Role{Name: s}, nil
}

// ParseRoleARN reads the ARN of a role, with or without a path.
func ParseRoleARN(s string) (Role, error) {
	s = strings.TrimRight(s, "/")
	const form = "the ARN of a role: it looks like arn:aws:iam::111122223333:role/name"
	part := strings.SplitN(s, ":", 6)
	if len(part) != 6 || part[0] != "arn" || !isPartition(part[1]) || part[2] != "iam" || part[3] != "" || !isAccount(part[4]) {
		return Role{}, notRole(s, form)
	}
	name, ok := strings.CutPrefix(part[5], "role/")
	if !ok || !validRoleName(name) {
		return Role{}, notRole(s, form)
	}
	return Role{ARN: s}, nil
}

// notRole says that s is not what it has to be, or that it is once it is
// decoded.
func notRole(s, form string) error {
	if decoded, err := url.PathUnescape(s); err == nil && decoded != s {
		if _, err := ParseRole(decoded); err == nil {
			return Errorf(Invalid, "%q is percent-encoded once too often: it has to come to %q", s, decoded)
		}
	}
	return Errorf(Invalid, "%q is not %s", s, form)
}

// RoleARN returns the ARN of the role with this name, or path and name.
func RoleARN(partition, account, name string) string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", partition, account, name)
}

// SessionOptions is what AssumeRole is asked about one role beyond its ARN.
// Empty fields are not said.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
type SessionOptions struct {
	ExternalID     string
	SessionName    string // instead of one made of the caller's name
	Duration       time.Duration
	Tags           map[string]string
	TransitiveTags []string // keys of Tags that chained sessions keep
	Policy         string   // JSON; what the session may do at most
	PolicyARNs     []string
	SourceIdentity string
	Region         string // whose STS is asked
	// Source is the role whose credentials assume this one, by name or ARN:
	// role chaining. Empty: the base credentials do.
	Source string
}

// isPartition accepts aws, aws-cn, aws-us-gov and the like.
func isPartition(s string) bool {
	return (s == "aws" || strings.HasPrefix(s, "aws-")) &&
		!strings.ContainsFunc(s, func(c rune) bool { return c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') })
}

func isAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// validRoleName accepts name and path/name within IAM's limits.
func validRoleName(s string) bool {
	path, name := "", s
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		path, name = s[:i], s[i+1:]
		if slices.Contains(strings.Split(path, "/"), "") {
			return false
		}
	}
	if name == "" || len(name) > 64 || len("/")+len(path)+len("/") > 512 {
		return false
	}
	return !strings.ContainsFunc(path, func(c rune) bool { return c < '!' || c > '~' }) &&
		!strings.ContainsFunc(name, func(c rune) bool {
			return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("+=,.@-_", c))
		})
}

// Credentials are temporary AWS credentials. They show nothing of themselves
// in logs and messages but whose they are and how long they live.
type Credentials struct {
	RoleARN         string // empty for the developer's session
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time // UTC
}

// String returns the role and the expiry.
func (c Credentials) String() string {
	whose := c.RoleARN
	if whose == "" {
		whose = "session"
	}
	return fmt.Sprintf("credentials of %s until %s", whose, c.Expiration.UTC().Format(time.RFC3339))
}

// Format writes String, whatever the verb: %+v, %#v and %d show no secret.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText makes encoders of JSON, YAML and the like write String. What
// goes out to clients is a document of its own.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue is what slog writes.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }
