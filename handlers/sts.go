package handlers

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// STS knows the credentials that it issued. It is what programs can ask where
// there is no AWS to ask.
type STS interface {
	// Authenticate returns who signed a request whose body is given. Errors
	// are local.Errors, Denied or Invalid, named as in STS.
	Authenticate(r *http.Request, body []byte) (local.Identity, error)
	// Issue returns new credentials for an identity.
	Issue(whose local.Identity, lifetime time.Duration) local.Credentials
	// AccountOf returns the account that an access key id was issued for; ok
	// is false for a key id that was not.
	AccountOf(keyID string) (account string, ok bool)
}

// stsVersion is the one version of the API of STS.
const stsVersion = "2011-06-15"

// stsCall is one authenticated call.
type stsCall struct {
	sts  STS
	who  local.Identity
	form url.Values
}

// stsActions are the actions that are answered. Their results are named after
// them.
var stsActions = map[string]func(stsCall) (any, error){
	"AssumeRole":        assumeRole,
	"GetAccessKeyInfo":  getAccessKeyInfo,
	"GetCallerIdentity": getCallerIdentity,
	"GetSessionToken":   getSessionToken,
}

// asksSTS reports whether a request speaks the AWS Query protocol and there is
// somebody to answer it: at the root, where IMDS lists its versions, a POST or
// a GET that names an action.
// https://docs.aws.amazon.com/STS/latest/APIReference/welcome.html
func (s *server) asksSTS(r *http.Request) bool {
	if s.sts == nil || strings.Trim(r.URL.Path, "/") != "" {
		return false
	}
	return r.Method == http.MethodPost || r.Method == http.MethodGet && r.URL.Query().Has("Action")
}

// securityTokens serves STS.
func (s *server) securityTokens() http.Handler {
	none := s.unrouted(ecsFamily)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.asksSTS(r) {
			none.ServeHTTP(w, r)
			return
		}
		begun := time.Now()
		id := requestID()
		rec := record{family: "sts", route: "none"}
		rec.who, _ = s.caller(r)
		action, form, sent, err := readQuery(r)
		var body any
		if err == nil {
			rec.route = action
			body, err = s.callSTS(r, id, action, form, sent)
		}
		w.Header()["X-Amzn-Requestid"] = []string{id}
		s.answer(w, r, stsDialect(id), rec, begun, body, err)
	})
}

// callSTS does what a request asks, for the one who signed it, and returns the
// document.
func (s *server) callSTS(r *http.Request, id, action string, form url.Values, sent []byte) (any, error) {
	who, err := s.sts.Authenticate(r, sent)
	if err != nil {
		return nil, err
	}
	result, err := stsActions[action](stsCall{s.sts, who, form})
	if err != nil {
		return nil, err
	}
	return newSTSDocument(id, action, result), nil
}

// readQuery reads a request in the AWS Query protocol: parameters stand in the
// body of a POST or behind the path. As in STS, the action is looked up before
// the signature is looked at.
func readQuery(r *http.Request) (action string, form url.Values, sent []byte, err error) {
	sent, err = readBody(r)
	if err != nil {
		return "", nil, nil, &local.Error{Code: local.Invalid, Name: "MalformedInput", Msg: local.MessageOf(err), Err: err}
	}
	form, err = url.ParseQuery(r.URL.RawQuery)
	if err == nil && r.Method == http.MethodPost {
		var inBody url.Values
		inBody, err = url.ParseQuery(string(sent))
		for key, values := range inBody {
			form[key] = values
		}
	}
	if err != nil {
		// The cause shows what was sent, which may be a secret.
		return "", nil, nil, stsInvalid("MalformedQueryString", "The query string contains a syntax error.")
	}
	action, version := form.Get("Action"), form.Get("Version")
	if action == "" {
		return "", nil, nil, stsInvalid("MissingAction", "Missing Action")
	}
	if _, known := stsActions[action]; !known || version != stsVersion {
		if version == "" {
			version = "NO_VERSION_SPECIFIED"
		}
		return "", nil, nil, stsInvalid("InvalidAction", fmt.Sprintf("Could not find operation %s for version %s", clip(action), clip(version)))
	}
	return action, form, sent, nil
}

// requestID returns a random UUID.
func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// stsInvalid is an error of STS with status 400.
func stsInvalid(name, text string) error {
	return &local.Error{Code: local.Invalid, Name: name, Msg: text}
}

// stsDenied is an error of STS with status 403.
func stsDenied(name, text string) error {
	return &local.Error{Code: local.Denied, Name: name, Msg: text}
}
