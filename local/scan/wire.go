package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// code says how the delivery of a role's credentials went.
type code int

const (
	codeDelivered code = iota
	codeDenied         // ECS may not assume the role, so there are none
	codeUnknown
)

// info is what an info file says.
type info struct {
	lastUpdated time.Time
	listed      []listed // sorted by name
}

// listed is one line of it. The name is not checked yet.
type listed struct {
	name    string
	roleARN string
	code    code
}

// parseInfo reads an info file. Names of fields are in any case.
func parseInfo(body []byte) (info, error) {
	var wire struct {
		LastUpdated     *string
		TaskCredentials map[string]json.RawMessage
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return info{}, errors.New("info is not the JSON object that ECS writes")
	}
	if wire.LastUpdated == nil {
		return info{}, errors.New("info has no LastUpdated")
	}
	updated, err := time.Parse(time.RFC3339, *wire.LastUpdated)
	if err != nil {
		return info{}, fmt.Errorf("LastUpdated %.64q of info is not a time as in RFC 3339", *wire.LastUpdated)
	}
	out := info{lastUpdated: updated}
	for _, name := range sortedKeys(wire.TaskCredentials) {
		entry, err := parseListed(name, wire.TaskCredentials[name])
		if err != nil {
			return info{}, err
		}
		out.listed = append(out.listed, entry)
	}
	return out, nil
}

// parseListed reads the value of a name: {"RoleARN": …, "Code": …}, or the
// code alone as "0" or "1".
// https://github.com/aws/amazon-ecs-agent/pull/5145
func parseListed(name string, value json.RawMessage) (listed, error) {
	if value[0] == '"' {
		switch string(value) {
		case `"0"`:
			return listed{name: name, code: codeDelivered}, nil
		case `"1"`:
			return listed{name: name, code: codeDenied}, nil
		default:
			return listed{name: name, code: codeUnknown}, nil
		}
	}
	var object struct {
		RoleARN string
		Code    string
	}
	if err := json.Unmarshal(value, &object); err != nil || bytes.Equal(value, []byte("null")) {
		return listed{}, fmt.Errorf("value of %.128q in info is neither a code nor an object with RoleARN and Code", name)
	}
	entry := listed{name: name, roleARN: object.RoleARN}
	switch {
	case object.Code == "", strings.EqualFold(object.Code, "Success"):
	case strings.EqualFold(object.Code, "AssumeRoleUnauthorizedAccess"):
		entry.code = codeDenied
	default:
		entry.code = codeUnknown
	}
	return entry, nil
}

// parseKey cuts a name at its first dash.
func parseKey(name string) (Key, error) {
	task, role, _ := strings.Cut(name, "-")
	if task == "" || role == "" {
		return Key{}, errors.New("name is not a task id, a dash and a role type")
	}
	return Key{TaskID: task, RoleType: role}, nil
}

// mostCredentials is how long credentials may be: the longest that STS gives
// are a tenth of it, and a scan keeps all that it finds.
const mostCredentials = 32 << 10

// parseCredentials reads credentials, which count only with all four fields.
// Its errors say nothing of the content.
func parseCredentials(body []byte, roleARN string) (local.Credentials, error) {
	if len(body) > mostCredentials {
		return local.Credentials{}, fmt.Errorf("credentials have more than %d bytes", mostCredentials)
	}
	var wire map[string]json.RawMessage
	if err := json.Unmarshal(body, &wire); err != nil || wire == nil {
		return local.Credentials{}, errors.New("credentials are not a JSON object")
	}
	var bad []string
	field := func(name string) (text string) {
		for _, key := range sortedKeys(wire) {
			if strings.EqualFold(key, name) && json.Unmarshal(wire[key], &text) != nil {
				text = ""
			}
		}
		if text == "" {
			bad = append(bad, name)
		}
		return text
	}
	id, secret, session, expiration := field("AccessKeyId"), field("SecretAccessKey"), field("Token"), field("Expiration")
	if len(bad) > 0 {
		return local.Credentials{}, fmt.Errorf("credentials have no text for %s", strings.Join(bad, ", "))
	}
	expires, err := time.Parse(time.RFC3339, expiration)
	if err != nil {
		return local.Credentials{}, errors.New("credentials have an Expiration that is not a time as in RFC 3339")
	}
	return local.Credentials{
		RoleARN:         roleARN,
		AccessKeyID:     id,
		SecretAccessKey: secret,
		SessionToken:    session,
		Expiration:      expires.UTC(),
	}, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
