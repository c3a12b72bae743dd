package creds

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/ecs-local/ecs-local/local"
)

// What Signature Version 4 calls things.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
const (
	algorithm           = "AWS4-HMAC-SHA256"
	scopeService        = "sts"
	scopeEnd            = "aws4_request"
	amzDate             = "20060102T150405Z"
	scopeDate           = "20060102"
	headerDate          = "X-Amz-Date"
	headerToken         = "X-Amz-Security-Token"
	paramSigned         = "X-Amz-Signature"
	paramScope          = "X-Amz-Credential"
	paramHeaders        = "X-Amz-SignedHeaders"
	paramAlgo           = "X-Amz-Algorithm"
	headerAuthorization = "Authorization"
)

// mostSkew is how old a signature may be, or how far ahead.
const mostSkew = 15 * time.Minute

var wellFormedRegion = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// signature is how a request is signed, by header or in its URL.
type signature struct {
	keyID, date, region, service, end string

	headers   []string // signed, in lower case
	value     string
	at        time.Time
	token     string
	presigned bool
}

// Authenticate returns who signed a request for STS, whose body is given, with
// credentials of ours that are alive. Both forms of Signature Version 4 are
// understood: the Authorization header and the presigned URL.
//
// Errors are local.Errors with the codes and texts of STS: Invalid for a
// request that is not signed as the protocol says, Denied for everything else.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func (i *Issuer) Authenticate(r *http.Request, body []byte) (local.Identity, error) {
	signed, err := signatureOf(r)
	if err != nil {
		return local.Identity{}, err
	}
	c, ok := i.open(signed.token)
	if !ok || c.KeyID != signed.keyID {
		return local.Identity{}, refused("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	now := time.Now().UTC()
	if err := signed.checkTime(now); err != nil {
		return local.Identity{}, err
	}
	if err := signed.checkScope(); err != nil {
		return local.Identity{}, err
	}
	want, err := signed.again(r, body, i.secretOf(signed.token))
	if err != nil || !slices.Equal(want.headers, signed.headers) || subtle.ConstantTimeCompare([]byte(want.value), []byte(signed.value)) != 1 {
		return local.Identity{}, refused("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	if now.Unix() >= c.Expires {
		return local.Identity{}, refused("ExpiredToken", "The security token included in the request is expired")
	}
	i.remember(c.Account)
	return local.Identity{Partition: c.Partition, Account: c.Account, RoleARN: c.RoleARN, Name: c.Name, SourceIdentity: c.SourceIdentity}, nil
}

// signatureOf reads the signature of a request. What is wrong is said without
// what was sent: it may hold a secret.
func signatureOf(r *http.Request) (signature, error) {
	header := r.Header.Get(headerAuthorization)
	query := r.URL.Query()
	switch {
	case header != "":
		return fromHeader(header, r.Header)
	case query.Has(paramAlgo) || query.Has(paramSigned):
		return fromQuery(query)
	default:
		return signature{}, refused("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
}

func fromHeader(authorization string, header http.Header) (signature, error) {
	used, rest, _ := strings.Cut(authorization, " ")
	if used != algorithm {
		return signature{}, incomplete("Unsupported AWS 'algorithm': use " + algorithm)
	}
	part := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			return signature{}, incomplete("A part of the Authorization header is not a valid key=value pair (missing equal-sign).")
		}
		part[key] = value
	}
	var missing []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if part[name] == "" {
			missing = append(missing, "Authorization header requires '"+name+"' parameter.")
		}
	}
	if header.Get(headerDate) == "" {
		missing = append(missing, "Authorization header requires existence of a 'X-Amz-Date' header.")
	}
	if len(missing) > 0 {
		return signature{}, incomplete(strings.Join(missing, " "))
	}
	s := signature{value: part["Signature"], headers: signedHeaders(part["SignedHeaders"]), token: header.Get(headerToken)}
	return s, s.read(part["Credential"], header.Get(headerDate))
}

func fromQuery(query url.Values) (signature, error) {
	if query.Get(paramAlgo) != algorithm {
		return signature{}, incomplete("Unsupported AWS 'algorithm': use " + algorithm)
	}
	var missing []string
	for _, name := range []string{paramScope, paramSigned, paramHeaders, headerDate} {
		if query.Get(name) == "" {
			missing = append(missing, "AWS query-string parameters must include '"+name+"'.")
		}
	}
	if len(missing) > 0 {
		return signature{}, incomplete(strings.Join(missing, " "))
	}
	s := signature{value: query.Get(paramSigned), headers: signedHeaders(query.Get(paramHeaders)), token: query.Get(headerToken), presigned: true}
	return s, s.read(query.Get(paramScope), query.Get(headerDate))
}

func signedHeaders(list string) []string { return strings.Split(strings.ToLower(list), ";") }

// read fills in the credential, key/date/region/service/aws4_request, and the
// time of the signature.
func (s *signature) read(credential, at string) error {
	part := strings.Split(credential, "/")
	if len(part) != 5 {
		return incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
	}
	s.keyID, s.date, s.region, s.service, s.end = part[0], part[1], part[2], part[3], part[4]
	var err error
	if s.at, err = time.Parse(amzDate, at); err != nil {
		return incomplete("Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	return nil
}

// checkTime refuses a signature that is too old or from the future. A
// presigned URL of STS lives as long as any other signature, whatever its
// X-Amz-Expires says.
// https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/master/pkg/token/token.go
func (s *signature) checkTime(now time.Time) error {
	at, earliest, latest := s.at.Format(amzDate), now.Add(-mostSkew), now.Add(mostSkew)
	switch {
	case s.at.Before(earliest):
		return mismatch("Signature expired: %s is now earlier than %s (%s - 15 min.)", at, earliest.Format(amzDate), now.Format(amzDate))
	case s.at.After(latest):
		return mismatch("Signature not yet current: %s is still later than %s (%s + 15 min.)", at, latest.Format(amzDate), now.Format(amzDate))
	default:
		return nil
	}
}

// checkScope refuses a signature that is not for STS, in any region.
func (s *signature) checkScope() error {
	switch {
	case s.end != scopeEnd:
		return mismatch("Credential should be scoped with a valid terminator: 'aws4_request'.")
	case s.service != scopeService:
		return mismatch("Credential should be scoped to correct service: 'sts'.")
	case !wellFormedRegion.MatchString(s.region):
		return mismatch("Credential should be scoped to a valid region.")
	case s.date != s.at.Format(scopeDate):
		return mismatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
	default:
		return nil
	}
}

// again signs the request as its sender should have. The signer adds the
// headers that must be signed, whether the sender listed them or not.
func (s *signature) again(r *http.Request, body []byte, secret string) (signature, error) {
	query := r.URL.Query()
	query.Del(paramSigned)
	again := &http.Request{
		Method: r.Method,
		Host:   r.Host, // without a scheme, no port is taken off
		URL:    &url.URL{Path: r.URL.Path, RawQuery: query.Encode()},
		Header: http.Header{},
	}
	for _, name := range s.headers {
		switch {
		case name == "host", name == "x-amz-date" && !s.presigned: // the signer's own work
		case name == "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[name] = r.Header.Values(name) // in lower case no header is left out by the signer
		}
	}
	key := aws.Credentials{AccessKeyID: s.keyID, SecretAccessKey: secret}
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	// A signer keeps keys by their id, and ids can meet: each request has one
	// of its own.
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
	if !s.presigned {
		if err := signer.SignHTTP(r.Context(), key, again, payload, s.service, s.region, s.at); err != nil {
			return signature{}, fmt.Errorf("sign the request again: %w", err)
		}
		return fromHeader(again.Header.Get(headerAuthorization), again.Header)
	}
	presigned, _, err := signer.PresignHTTP(r.Context(), key, again, payload, s.service, s.region, s.at)
	if err != nil {
		return signature{}, fmt.Errorf("sign the URL again: %w", err)
	}
	u, err := url.Parse(presigned)
	if err != nil {
		return signature{}, fmt.Errorf("read the signed URL: %w", err)
	}
	return fromQuery(u.Query())
}

// refused is an error of STS with status 403, in its own words.
func refused(name, text string) error {
	return &local.Error{Code: local.Denied, Name: name, Msg: text}
}

// incomplete is an error of STS about a signature that is no signature.
func incomplete(text string) error {
	return &local.Error{Code: local.Invalid, Name: "IncompleteSignature", Msg: text}
}

func mismatch(format string, args ...any) error {
	return refused("SignatureDoesNotMatch", fmt.Sprintf(format, args...))
}
