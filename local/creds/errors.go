package creds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ecs-local/ecs-local/local"
)

var (
	// errNoBase marks that no base credentials are configured at all.
	errNoBase = errors.New("no base credentials")
	// errAboutRole marks failures that say something about one role only.
	errAboutRole = errors.New("role refused")
	// errBaseExpired: the chain hands out credentials past their expiry.
	errBaseExpired = errors.New("base credentials are expired")
)

// cause is the text of an error without its secrets. The error itself is not
// kept, so that nothing can print it.
type cause struct {
	text string
	kind error // errNoBase, errAboutRole or nil
}

func (c *cause) Error() string        { return c.text }
func (c *cause) Is(target error) bool { return c.kind != nil && target == c.kind }

// baseError is a failure to get the base credentials. The SDK asks for them
// when it signs, so it can come out of any call.
type baseError struct{ err error }

func (e *baseError) Error() string { return "get base credentials: " + e.err.Error() }
func (e *baseError) Unwrap() error { return e.err }

func isNoBase(err error) bool { return errors.Is(err, errNoBase) }

func noBase() *local.Error {
	return &local.Error{
		Code: local.Denied,
		Name: "NoCredentials",
		Msg: "no AWS credentials found: set AWS_PROFILE or AWS_ACCESS_KEY_ID for ecs-local, or mount ~/.aws into its container; " +
			"for work without AWS start it with --credentials offline (instance and container credentials are left out unless allowed)",
		Err: &cause{text: "no source in the SDK's credential chain", kind: errNoBase},
	}
}

// halfKeys is what the SDK says of a profile with an access key id or a secret
// only.
var halfKeys = regexp.MustCompile(`partial credentials found for profile (?:profile )?(.+)`)

// incompleteKeys says that the environment has keys, but not all of them.
func incompleteKeys(missing string) *local.Error {
	return &local.Error{Code: local.Denied, Name: "InvalidConfiguration",
		Msg: "the AWS keys in the environment lack " + missing + ": set it and start ecs-local again, or unset the others"}
}

// explainConfig turns an error of config.LoadDefaultConfig into one for the
// developer.
func explainConfig(err error) *local.Error {
	e := &local.Error{Code: local.Denied, Name: "InvalidConfiguration", Err: &cause{text: redact(err.Error())}}
	var (
		noProfile config.SharedConfigProfileNotExistError
		badFile   config.SharedConfigLoadError
		badRole   config.SharedConfigAssumeRoleError
	)
	switch {
	case errors.As(err, &badRole): // before noProfile, which it wraps for a missing source_profile
		e.Msg = fmt.Sprintf("the role_arn of AWS profile %q cannot be used: check its source_profile or credential_source", badRole.Profile)
	case errors.As(err, &noProfile):
		e.Msg = fmt.Sprintf("the AWS profile %q does not exist: check AWS_PROFILE, and that ~/.aws is readable for ecs-local (mounted into its container)", noProfile.Profile)
	case errors.As(err, &badFile):
		e.Msg = fmt.Sprintf("the AWS configuration file %s cannot be read: check its permissions and its syntax", badFile.Filename)
	case halfKeys.MatchString(err.Error()):
		e.Msg = fmt.Sprintf("the AWS profile %q has only one of aws_access_key_id and aws_secret_access_key: add the other, or remove it",
			halfKeys.FindStringSubmatch(err.Error())[1])
	default:
		e.Msg = "the AWS configuration cannot be used: " + strings.TrimSpace(redact(err.Error())) + ": check the AWS files and variables"
	}
	return e
}

// stsCall is the call during which an error came up.
type stsCall struct {
	doing string // what is refused when STS refuses

	// For AssumeRole:
	roleARN  string
	options  local.SessionOptions
	lifetime time.Duration // asked for; 0: STS decides
	by       string        // the role that asks; empty: the base credentials do

	secrets []string // beyond those of the account
}

// explain turns an error of the SDK into one for the developer.
func (a *account) explain(err error, call stsCall) *local.Error {
	var already *local.Error
	if errors.As(err, &already) {
		return already
	}
	known := append(a.secrets(), call.secrets...)
	e := &local.Error{Err: &cause{text: redact(err.Error(), known...)}}

	what := "STS refuses " + call.doing
	var ofBase *baseError
	base := errors.As(err, &ofBase)
	if base {
		err = ofBase.err
		what = "your AWS credentials cannot be had"
	}

	var (
		api     smithy.APIError
		token   *ssocreds.InvalidTokenError
		process *processcreds.ProviderError
		netErr  net.Error
		reach   *url.Error
	)
	switch {
	case errors.Is(err, errBaseExpired):
		e.Code, e.Name = local.Denied, "ExpiredToken"
		e.Msg = "your AWS credentials are expired: " + a.renewHint()
	case errors.As(err, &api) && api.ErrorCode() != "":
		a.explainAPI(e, err, api, what, base, known, call)
	case errors.As(err, &token):
		e.Code, e.Name = local.Denied, "ExpiredToken"
		e.Msg = "your AWS SSO login is missing or has expired: " + a.renewHint()
	case base && usesSSO(leafOf(&a.shared)) && strings.Contains(err.Error(), "unable to cache refreshed SSO token"):
		e.Code, e.Name = local.Denied, "NoCredentials"
		e.Msg = "your AWS SSO login was renewed, but ~/.aws/sso/cache cannot be written: make it writable for ecs-local (mounted into its container without :ro), or " + a.renewHint()
	case base && usesSSO(leafOf(&a.shared)) && strings.Contains(err.Error(), "cached SSO token"):
		e.Code, e.Name = local.Denied, "ExpiredToken"
		e.Msg = "your AWS SSO login is missing or has expired: " + a.renewHint()
	case errors.As(err, &process):
		// The SDK's text may hold what the process printed.
		e.Code, e.Name = local.Denied, "CredentialProcessFailed"
		reason := "what it prints is not the JSON that AWS tools expect"
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			reason = exit.Error()
		} else if strings.Contains(err.Error(), "error in credential_process") {
			reason = "it cannot be run"
		} else if strings.Contains(err.Error(), "timed out") {
			reason = "it does not end"
		}
		e.Msg = fmt.Sprintf("the credential_process of your AWS profile failed (%s): run it by hand to see why", reason)
		e.Err = &cause{text: reason}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		e.Code = local.Timeout
		if base && !errors.As(err, &reach) {
			next := "check the network, the proxy and the STS endpoint"
			if leaf := leafOf(&a.shared); leaf.CredentialProcess != "" {
				next = a.renewHint()
			}
			e.Msg = fmt.Sprintf("your AWS credentials were not there within %s: %s", a.opts.Timeout, next)
			break
		}
		e.Msg = fmt.Sprintf("no answer from %s within %s: check the network, the proxy and the STS endpoint", a.endpointOf(err), a.opts.Timeout)
	case errors.Is(err, context.Canceled):
		e.Code, e.Msg = local.Unavailable, "ecs-local is shutting down: ask again once it is back"
	case errors.As(err, &reach) && strings.Contains(reach.Err.Error(), "unsupported protocol scheme"):
		e.Code, e.Name = local.Denied, "InvalidConfiguration"
		e.Msg = "the AWS endpoint that is configured is not a URL: check AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, and endpoint_url of the profile (it looks like https://sts.us-east-1.amazonaws.com)"
	case errors.As(err, &reach):
		e.Code = local.Unavailable
		e.Msg = fmt.Sprintf("%s cannot be reached%s: check the network, the proxy and the STS endpoint", a.endpointOf(err), whyUnreachable(err))
	case base:
		e.Code, e.Name = local.Denied, "NoCredentials"
		e.Msg = what + ": " + redact(err.Error(), known...) + "; " + a.renewHint()
	default:
		e.Code = local.Unavailable
		e.Msg = "STS gives no usable answer to " + call.doing + ": check that the STS endpoint is one of STS"
	}
	return e
}

// explainAPI fills in e for an error that AWS answered with.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func (a *account) explainAPI(e *local.Error, err error, api smithy.APIError, what string, base bool, known []string, call stsCall) {
	e.Name = redact(api.ErrorCode(), known...)
	if said := strings.TrimSpace(api.ErrorMessage()); said != "" {
		what += " (" + e.Name + ": " + strings.TrimSuffix(redact(said, known...), ".") + ")"
	} else {
		what += " (" + e.Name + ")"
	}
	status, off := 0, time.Duration(0)
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status, off = response.HTTPStatusCode(), clockOffset(response)
	}

	next, role := "", false
	e.Code = local.Denied
	code := api.ErrorCode()
	switch leaf := leafOf(&a.shared); {
	case base && usesSSO(leaf) && isLoginCode(code):
		what = strings.Replace(what, "your AWS credentials cannot be had", "your AWS SSO login has expired or was ended", 1)
		next, code = a.renewHint(), ""
	case base && usesSSO(leaf) && (code == "ForbiddenException" || code == "ResourceNotFoundException"):
		next = fmt.Sprintf("check sso_account_id and sso_role_name of profile %s: you have no role %s in account %s", leaf.Profile, leaf.SSORoleName, leaf.SSOAccountID)
		code = ""
	case isClockCode(code, api.ErrorMessage()) && off.Abs() >= time.Minute:
		next, code = "this machine's clock is "+offsetText(off)+": set it", ""
	}
	switch code {
	case "":
	case "AccessDenied", "AccessDeniedException":
		role = true
		next = a.deniedHint(api.ErrorMessage(), call)
	case "ExpiredToken", "ExpiredTokenException", "UnauthorizedException":
		next = "your AWS credentials are expired, or this machine's clock is wrong: " + a.renewHint()
	case "RequestExpired", "RequestInTheFuture":
		next = "this machine's clock is wrong: set it"
	case "InvalidClientTokenId", "UnrecognizedClientException":
		next = "AWS does not know your access key, or it is inactive: " + a.renewHint()
	case "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "RequestTimeTooSkewed":
		next = "check the secret access key, and that this machine's clock is right"
	case "RegionDisabledException":
		next = "region " + a.region + " is switched off for STS in this account: choose another with AWS_REGION, or activate it in IAM"
	case "ValidationError", "ValidationException", "MalformedPolicyDocument", "PackedPolicyTooLarge", "InvalidParameterValue", "InvalidAction":
		e.Code, role = local.Invalid, true
		next = "check the role's name or ARN, and the lifetime that is asked for"
		if call.lifetime > chainedMost {
			next += fmt.Sprintf(" (%s: a role that is assumed with the credentials of a role, as an SSO login's are, has an hour at most)", call.lifetime)
		}
	case "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "RequestThrottled", "SlowDown":
		e.Code = local.Unavailable
		next = "AWS limits the rate of requests: try again in a moment"
	default:
		if status >= 500 {
			e.Code = local.Unavailable
			next = "the fault is on the other side: try again in a moment"
		} else {
			next = "https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html explains the code"
		}
	}
	e.Msg = what + ": " + next
	if role && !base {
		e.Err = &cause{text: e.Err.Error(), kind: errAboutRole}
	}
}

// isLoginCode reports whether the SSO portal, or the service that renews its
// tokens, says that the developer has to log in again.
// https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html
// https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html
func isLoginCode(code string) bool {
	switch code {
	case "UnauthorizedException", "InvalidGrantException", "ExpiredTokenException", "UnauthorizedClientException", "InvalidClientException":
		return true
	}
	return false
}

// isClockCode reports whether AWS may mean that the time of the request is
// wrong.
func isClockCode(code, message string) bool {
	switch code {
	case "RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed":
		return true
	case "SignatureDoesNotMatch", "InvalidSignatureException":
		return strings.Contains(message, "Signature expired") || strings.Contains(message, "not yet current")
	}
	return false
}

// clockOffset returns how far this machine's clock is ahead of the server's,
// as far as the response tells.
func clockOffset(response *smithyhttp.ResponseError) time.Duration {
	if response.Response == nil {
		return 0
	}
	date, err := http.ParseTime(response.Response.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Since(date).Round(time.Second)
}

func offsetText(off time.Duration) string {
	if off < 0 {
		return (-off).String() + " behind that of AWS"
	}
	return off.String() + " ahead of that of AWS"
}

// whyUnreachable says in brackets why there is no connection, where that helps.
func whyUnreachable(err error) string {
	var noName *net.DNSError
	switch {
	case errors.As(err, &noName):
		return " (its name " + noName.Name + " cannot be looked up)"
	case errors.Is(err, syscall.ECONNREFUSED):
		return " (connection refused)"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return " (no route)"
	default:
		return ""
	}
}

// endpointOf names the server that err is about: scheme and host, no more.
func (a *account) endpointOf(err error) string {
	var reach *url.Error
	raw := aws.ToString(a.sts.Options().BaseEndpoint)
	if errors.As(err, &reach) {
		raw = reach.URL
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "STS in " + a.region
	}
	return u.Scheme + "://" + u.Host
}

var (
	word  = regexp.MustCompile(`[^\s"'<>(),;]+`)
	keyID = regexp.MustCompile(`\b(AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{8,}`)
	blob  = regexp.MustCompile(`[A-Za-z0-9+/=_%-]{40,}`)
)

// redact replaces the known secrets, and whatever looks like an access key id,
// a secret key or a token. ARNs stay readable.
func redact(s string, known ...string) string {
	for _, k := range known {
		if k != "" {
			s = strings.ReplaceAll(s, k, "[redacted]")
		}
	}
	s = keyID.ReplaceAllString(s, "[redacted]")
	return word.ReplaceAllStringFunc(s, func(w string) string {
		if strings.HasPrefix(w, "arn:") {
			return w
		}
		return blob.ReplaceAllString(w, "[redacted]")
	})
}
