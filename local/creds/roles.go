package creds

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// SetRoles replaces Options.Roles. Cached credentials are dropped only of
// roles whose options, or those of a role that they are assumed with, are
// others now. Options that make no sense are an error, and change nothing.
func (s *Service) SetRoles(roles map[string]local.SessionOptions) error {
	parsed, err := parseRoles(roles)
	if err != nil {
		return err
	}
	if s.sts == nil {
		return nil // offline: nobody is asked
	}
	old := *s.sts.roles.Swap(&parsed)
	id := s.base.knownIdentity()
	s.cache.drop(func(role local.Role) bool {
		return !reflect.DeepEqual(old.chain(role, id), parsed.chain(role, id))
	})
	return nil
}

// roleOptions are what AssumeRole is asked about single roles. They do not
// change.
type roleOptions map[local.Role]local.SessionOptions

// chainedMost is how long the session of a role may last that is assumed with
// the credentials of a role.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const chainedMost = time.Hour

// Bounds of DurationSeconds.
const (
	shortestSession = 15 * time.Minute
	longestSession  = 12 * time.Hour
)

var namePattern = regexp.MustCompile(`^[\w+=,.@-]+$`)

// validName reports whether STS accepts the name of a session or a source
// identity.
func validName(name string) bool {
	return len(name) >= 2 && len(name) <= 64 && namePattern.MatchString(name)
}

func parseRoles(roles map[string]local.SessionOptions) (roleOptions, error) {
	parsed := make(roleOptions, len(roles))
	for key, o := range roles {
		role, err := local.ParseRole(key)
		if err != nil {
			return nil, fmt.Errorf("options of a role: %s", local.MessageOf(err))
		}
		if err := checkSession(o); err != nil {
			return nil, fmt.Errorf("options of role %s: %w", key, err)
		}
		parsed[role] = o
	}
	return parsed, nil
}

func checkSession(o local.SessionOptions) error {
	if o.Duration != 0 && (o.Duration < time.Second || o.Duration > longestSession) {
		return fmt.Errorf("duration %s is outside of what STS allows: use 15m to 12h, or less for short-lived tests", o.Duration)
	}
	if o.SessionName != "" && !validName(o.SessionName) {
		return fmt.Errorf("session name %q is not one: use 2 to 64 letters, digits and _+=,.@-", o.SessionName)
	}
	if o.SourceIdentity != "" && !validName(o.SourceIdentity) {
		return fmt.Errorf("source identity %q is not one: use 2 to 64 letters, digits and _+=,.@-", o.SourceIdentity)
	}
	if o.Policy != "" && !json.Valid([]byte(o.Policy)) {
		return fmt.Errorf("the session policy is not JSON")
	}
	for _, key := range o.TransitiveTags {
		if _, ok := o.Tags[key]; !ok {
			return fmt.Errorf("transitive tag %q is not among the tags", key)
		}
	}
	if o.Source != "" {
		if _, err := local.ParseRole(o.Source); err != nil {
			return fmt.Errorf("source role: %s", local.MessageOf(err))
		}
	}
	return nil
}

// find returns the options of a role, whichever way the role and the options
// name it. The identity tells which account is the developer's own; nil: that
// is not known.
func (r roleOptions) find(role local.Role, id *identity) local.SessionOptions {
	if o, ok := r[role]; ok || id == nil {
		return o
	}
	return r[id.otherName(role)]
}

// needsAccount reports whether the options of role depend on which account is
// the developer's own.
func (r roleOptions) needsAccount(role local.Role) bool {
	if _, ok := r[role]; ok || role.ARN == "" {
		return false
	}
	_, name, _ := strings.Cut(role.ARN, ":role/")
	_, ok := r[local.Role{Name: name}]
	return ok
}

// chain returns the options of role, of the role that it is assumed with, and
// so on.
func (r roleOptions) chain(role local.Role, id *identity) (chain []local.SessionOptions) {
	for len(chain) <= len(r) {
		o := r.find(role, id)
		chain = append(chain, o)
		if o.Source == "" {
			break
		}
		role, _ = local.ParseRole(o.Source) // parseRoles has checked it
	}
	return chain
}

// otherName returns the ARN of a role that is known by its name, and the name
// of one in the identity's account that is known by its ARN; else the zero
// role.
func (id *identity) otherName(role local.Role) local.Role {
	if role.Name != "" {
		return local.Role{ARN: local.RoleARN(id.partition, id.account, role.Name)}
	}
	if name, ok := strings.CutPrefix(role.ARN, local.RoleARN(id.partition, id.account, "")); ok {
		return local.Role{Name: name}
	}
	return local.Role{}
}

// same reports whether two roles are one, as far as the identity tells.
func (id *identity) same(a, b local.Role) bool {
	return a == b || id != nil && !b.Session() && id.otherName(a) == b
}

// chainError says that the path of roles, each assumed with the next, comes
// back to where it was.
func chainError(path []string, again string) *local.Error {
	path = append(slices.Clone(path), again)
	return &local.Error{Code: local.Invalid, Name: "RoleCycle",
		Msg: "roles are assumed with one another: " + strings.Join(path, " ← ") + ": remove one source-role from the configuration",
		Err: &cause{text: "roles form a cycle", kind: errAboutRole}}
}
