package handlers

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Rotated is the answer of POST /v1/credentials/rotate: whose credentials are
// other ones from now on, "session" and the ARNs or names of roles.
type Rotated struct {
	Rotated []string `json:"rotated"`
}

// MFAStatus says whether the base credentials wait for an MFA code. It holds
// no code.
type MFAStatus struct {
	Serial string    `json:"serial,omitempty"` // of the device, or its ARN
	Needed bool      `json:"needed"`           // a code has to be given now
	Until  time.Time `json:"until,omitzero"`   // the end of the session that the last code began
}

// rotateDocument is the body of POST /v1/credentials/rotate.
type rotateDocument struct {
	Role    *string `json:"role"`
	Session *bool   `json:"session"`
}

const rotateExample = `nothing for all credentials, {"role": "NAME or ARN"} for those of a role, or {"session": true} for the developer's session`

// rotate serves POST /v1/credentials/rotate: credentials that are kept are
// dropped, so that the next request gets other ones.
func (c *control) rotate(r *http.Request) (any, error) {
	if c.deps.Rotate == nil {
		return nil, local.Errorf(local.NotFound, "nothing can be rotated here: no credentials are kept")
	}
	role, err := readRotate(r)
	if err != nil {
		return nil, err
	}
	done, err := c.deps.Rotate(r.Context(), role)
	if err != nil {
		return nil, err
	}
	names := append([]string{}, done.Rotated...) // an empty list, never null
	slices.Sort(names)
	return Rotated{slices.Compact(names)}, nil
}

// readRotate returns the role that a body names; nil for everything.
func readRotate(r *http.Request) (*local.Role, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	var d rotateDocument
	if strings.TrimSpace(string(body)) != "" {
		if err := decodeJSON(body, &d, rotateExample); err != nil {
			return nil, err
		}
	}
	switch {
	case d.Role != nil && d.Session != nil:
		return nil, local.Errorf(local.Invalid, "a role and the session are two things: send %s", rotateExample)
	case d.Session != nil && !*d.Session:
		return nil, local.Errorf(local.Invalid, "session is true or left out: send %s", rotateExample)
	case d.Session != nil:
		return &local.Role{}, nil
	case d.Role != nil:
		role, err := local.ParseRole(*d.Role)
		return &role, err
	default:
		return nil, nil
	}
}

// mfaDocument is the answer of POST /v1/credentials/mfa.
type mfaDocument struct {
	MFA MFAStatus `json:"mfa"`
}

// mfa serves POST /v1/credentials/mfa: a code begins a session.
func (c *control) mfa(r *http.Request) (any, error) {
	code, err := readCode(r)
	if err != nil {
		return nil, err
	}
	if c.deps.MFA == nil {
		return nil, local.Errorf(local.NotFound, "nothing waits for an MFA code: the profile that is used needs mfa_serial for that")
	}
	// A code can be used once: what it begins must not end with the client.
	if err := c.deps.MFA(context.WithoutCancel(r.Context()), code); err != nil {
		return nil, err
	}
	var doc mfaDocument
	if status := c.deps.Status().Credentials.MFA; status != nil {
		doc.MFA = *status
	}
	return doc, nil
}

// readCode returns the code in a body. What is wrong with a body is not told
// in detail: it could hold the code.
func readCode(r *http.Request) (string, error) {
	const digits = 6
	body, err := readBody(r)
	if err != nil {
		return "", err
	}
	var d struct {
		Code string `json:"code"`
	}
	err = json.Unmarshal(body, &d)
	code := strings.TrimSpace(d.Code)
	if err != nil || len(code) != digits || strings.Trim(code, "0123456789") != "" {
		return "", local.Errorf(local.Invalid, `send {"code": "123456"} with the six digits that the MFA device shows now`)
	}
	return code, nil
}

// ca serves GET /v1/tls/ca: the certificate that clients of the TLS listener
// have to trust.
func (c *control) ca(*http.Request) (any, error) {
	var certificate []byte
	if c.deps.CA != nil {
		certificate = c.deps.CA()
	}
	if len(certificate) == 0 {
		return nil, local.Errorf(local.NotFound, "there is no certificate authority: ecs-local makes one when it serves TLS, which --tls-listen turns on")
	}
	return plain{"application/x-pem-file", certificate}, nil
}

// environmentOf returns the variables that the agent gives to a container,
// without those about the task role.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-metadata.html
func environmentOf(c *local.Container, t *local.Task) map[string]string {
	const agent = "http://" + local.ECSAddress
	env := map[string]string{
		"ECS_CONTAINER_METADATA_URI":    agent + "/v3/" + c.EndpointID,
		"ECS_CONTAINER_METADATA_URI_V4": agent + "/v4/" + c.EndpointID,
		"ECS_AGENT_URI":                 agent + "/api/" + c.EndpointID,
	}
	if region := partOfARN(t.ARN, 3); region != "" {
		env["AWS_REGION"], env["AWS_DEFAULT_REGION"] = region, region
	}
	if execution := local.ExecutionEnvironment(t.LaunchType); execution != "" {
		env["AWS_EXECUTION_ENV"] = execution
	}
	return env
}
