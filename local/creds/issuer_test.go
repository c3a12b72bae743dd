package creds_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
)

const (
	callBody = "Action=GetCallerIdentity&Version=2011-06-15"
	formType = "application/x-www-form-urlencoded; charset=utf-8"
)

func identity(t *testing.T, arn string) local.Identity {
	t.Helper()
	i, err := local.RoleSession(arn, "one")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// signed is a request as a client of STS sends it. The changes come before the
// signature.
func signed(t *testing.T, c local.Credentials, changes ...func(*http.Request)) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://ecs-local:51679/", strings.NewReader(callBody))
	r.Header.Set("Content-Type", formType)
	for _, change := range changes {
		change(r)
	}
	sum := sha256.Sum256([]byte(callBody))
	keys := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, r, hex.EncodeToString(sum[:]), "sts", "eu-west-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	return r
}

// codeAndText returns what STS calls an error, and what it says.
func codeAndText(err error) string {
	if e, ok := errors.AsType[*local.Error](err); ok {
		return string(e.Code) + " " + e.Name + ": " + e.Msg
	}
	return fmt.Sprint(err)
}

func TestIssuerKnowsItsCredentials(t *testing.T) {
	t.Parallel()
	issuer := creds.NewIssuer("111122223333", nil)
	guided := identity(t, "arn:aws-cn:iam::444455556666:role/team/app")
	guided.SourceIdentity = "alice"
	for name, whose := range map[string]local.Identity{
		"a role": identity(t, "arn:aws:iam::111122223333:role/app"),
		"a role elsewhere, with a source identity": guided,
		"a user": {Partition: "aws", Account: "111122223333", Name: "ecs-local"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := issuer.Issue(whose, time.Hour)
			if !regexp.MustCompile(`^ASIAOFFLINE[A-Z2-7]{9}$`).MatchString(c.AccessKeyID) || !regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`).MatchString(c.SecretAccessKey) ||
				!strings.HasPrefix(c.SessionToken, "OFFLINE") || c.RoleARN != whose.RoleARN {
				t.Errorf("the keys do not have the form of keys: %s", c)
			}
			got, err := issuer.Authenticate(signed(t, c), []byte(callBody))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whose, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if account, ok := issuer.AccountOf(c.AccessKeyID); !ok || account != whose.Account {
				t.Errorf("the key is of %q", account)
			}
		})
	}
}

// What botocore signs, with credentials of an earlier process: neither may
// change.
func TestSignaturesOfBotocoreAreUnderstood(t *testing.T) {
	t.Parallel()
	const keyID = "ASIAOFFLINETGTI26YCG"
	const sessionToken = "OFFLINEJIBYf/eAyN1B8oQ10CuOuhFEvkQsgWdeb8FMCgUzLjt+ZDNCHu/Awd98kTf/Vb81w/0ns9TW+Mbvzd3zLOpI9VEz9cezuLtzPDouS/GCz1hbWaIe0" +
		"mOX4RhI22IavoM9FQadiRsJEVFjinPoCyEzp/qrkxUN3nrBVxzvEm9v4hoYDZvyRpnGrEjo6EAx1cyKb9oTK0jguXB5"
	synctest.Test(t, func(t *testing.T) { // its clock begins at the time of the signatures
		issuer := creds.NewIssuer("111122223333", []byte("vector"))
		header := httptest.NewRequest(http.MethodPost, "http://169.254.170.2/", nil)
		for name, value := range map[string]string{
			"Content-Type": formType, "User-Agent": "Boto3/1.43", "X-Amz-Date": "20000101T000000Z", "X-Amz-Security-Token": sessionToken,
			"Authorization": "AWS4-HMAC-SHA256 Credential=" + keyID + "/20000101/eu-west-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, " +
				"Signature=05121313b3413fe63d80b1953ad6c877e726521909046c93206cb648f3ddf20b",
		} {
			header.Header.Set(name, value)
		}
		presigned := httptest.NewRequest(http.MethodGet, "http://localhost:51679/?"+callBody+"&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="+keyID+
			"%2F20000101%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=20000101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token="+url.QueryEscape(sessionToken)+
			"&X-Amz-Signature=9c5107bd1ce1cf71f2e56a22856ec8fa62bf97eb54914b4e40e453a5020808af", nil)
		for _, form := range []struct {
			name string
			r    *http.Request
			body string
		}{{"header", header, callBody}, {"URL", presigned, ""}} {
			who, err := issuer.Authenticate(form.r, []byte(form.body))
			if err != nil || who.ARN() != "arn:aws:sts::111122223333:assumed-role/app/vector" {
				t.Errorf("%s: %s, %v", form.name, who.ARN(), err)
			}
		}
		time.Sleep(15 * time.Minute)
		if _, err := issuer.Authenticate(presigned, nil); err != nil {
			t.Errorf("a URL lives for 15 minutes whatever it says: %v", err)
		}
		time.Sleep(time.Second)
		_, err := issuer.Authenticate(presigned, nil)
		if want := "Denied SignatureDoesNotMatch: Signature expired: 20000101T000000Z is now earlier than 20000101T000001Z (20000101T001501Z - 15 min.)"; codeAndText(err) != want {
			t.Errorf("%s, want %s", codeAndText(err), want)
		}
	})
}

func TestSignaturesCoverTheRequest(t *testing.T) {
	t.Parallel()
	issuer := creds.NewIssuer("111122223333", nil)
	c := issuer.Issue(identity(t, "arn:aws:iam::111122223333:role/app"), time.Hour)
	const body = callBody
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	authorization := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
		}
	}
	const mismatch = "Denied SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	for name, test := range map[string]struct {
		before, after func(*http.Request)
		body          string
		want          string // "": accepted
	}{
		"as it was signed":          {body: body},
		"a header more, not signed": {after: set("X-Forwarded-For", "10.0.0.1"), body: body},
		"a header more, signed":     {before: set("X-K8s-Aws-Id", "cluster"), body: body},
		"commas without spaces": {after: func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ", ", ","))
		}, body: body},
		"a signed length left out":       {after: func(r *http.Request) { r.ContentLength = -1 }, body: body, want: mismatch},
		"another body":                   {body: "Action=AssumeRole", want: mismatch},
		"no body":                        {want: mismatch},
		"another method":                 {after: func(r *http.Request) { r.Method = http.MethodGet }, body: body, want: mismatch},
		"another host":                   {after: func(r *http.Request) { r.Host = "sts.amazonaws.com" }, body: body, want: mismatch},
		"another query":                  {after: func(r *http.Request) { r.URL.RawQuery = "Action=AssumeRole" }, body: body, want: mismatch},
		"another path":                   {after: func(r *http.Request) { r.URL.Path = "/creds" }, body: body, want: mismatch},
		"a signed header changed":        {after: set("Content-Type", "text/plain"), body: body, want: mismatch},
		"a signed header gone":           {before: set("X-K8s-Aws-Id", "cluster"), after: func(r *http.Request) { r.Header.Del("X-K8s-Aws-Id") }, body: body, want: mismatch},
		"a header said not to be signed": {after: authorization("content-type;", ""), body: body, want: mismatch},
		"the host said not to be signed": {after: authorization("host;", ""), body: body, want: mismatch},
		"the date said not to be signed": {after: authorization("x-amz-date;", ""), body: body, want: mismatch},
		"another region":                 {after: authorization("/eu-west-1/", "/eu-west-2/"), body: body, want: mismatch},
		"a region that is none":          {after: authorization("/eu-west-1/", "/EU West/"), body: body, want: "Denied SignatureDoesNotMatch: Credential should be scoped to a valid region."},
		"another service":                {after: authorization("/sts/", "/iam/"), body: body, want: "Denied SignatureDoesNotMatch: Credential should be scoped to correct service: 'sts'."},
		"another end":                    {after: authorization("/aws4_request", "/aws5"), body: body, want: "Denied SignatureDoesNotMatch: Credential should be scoped with a valid terminator: 'aws4_request'."},
		"another day": {after: func(r *http.Request) {
			day := r.Header.Get("X-Amz-Date")[:len("20060102")]
			authorization("/"+day+"/", "/20010101/")(r)
		}, body: body,
			want: "Denied SignatureDoesNotMatch: Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."},
		"no signature at all":   {after: func(r *http.Request) { r.Header.Del("Authorization") }, body: body, want: "Denied MissingAuthenticationToken: Request is missing Authentication Token"},
		"another scheme":        {after: set("Authorization", "Bearer of-something"), body: body, want: "Invalid IncompleteSignature: Unsupported AWS 'algorithm': use AWS4-HMAC-SHA256"},
		"a scheme and no more":  {after: set("Authorization", "AWS4-HMAC-SHA256"), body: body, want: "Invalid IncompleteSignature: A part of the Authorization header is not a valid key=value pair (missing equal-sign)."},
		"a part without a name": {after: authorization("Signature=", ""), body: body, want: "Invalid IncompleteSignature: A part of the Authorization header is not a valid key=value pair (missing equal-sign)."},
		"parts missing": {after: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Other=x")
			r.Header.Del("X-Amz-Date")
		}, body: body, want: "Invalid IncompleteSignature: Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. " +
			"Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of a 'X-Amz-Date' header."},
		"a credential cut": {after: authorization("/aws4_request", ""), body: body,
			want: "Invalid IncompleteSignature: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."},
		"a date that is none": {after: set("X-Amz-Date", "yesterday"), body: body,
			want: "Invalid IncompleteSignature: Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var before []func(*http.Request)
			if test.before != nil {
				before = append(before, test.before)
			}
			r := signed(t, c, before...)
			if test.after != nil {
				test.after(r)
			}
			_, err := issuer.Authenticate(r, []byte(test.body))
			if got := codeAndText(err); test.want == "" && err != nil || test.want != "" && got != test.want {
				t.Errorf("%s\nwant %q", got, test.want)
			}
		})
	}
}

// A header that is signed with a URL stays a header, as for EKS.
// https://github.com/kubernetes-sigs/aws-iam-authenticator/blob/master/pkg/token/token.go
func TestPresignedURLsCoverTheirHeaders(t *testing.T) {
	t.Parallel()
	issuer := creds.NewIssuer("111122223333", nil)
	c := issuer.Issue(identity(t, "arn:aws:iam::111122223333:role/app"), time.Hour)
	for _, name := range []string{"X-K8s-Aws-Id", "X-Amz-Cluster"} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:51679/?"+callBody, nil)
		r.Header.Set(name, "cluster")
		nothing := sha256.Sum256(nil)
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
		presigned, _, err := signer.PresignHTTP(t.Context(), aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken},
			r, hex.EncodeToString(nothing[:]), "sts", "us-east-1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for value, want := range map[string]string{"cluster": "<nil>", "another": "Denied SignatureDoesNotMatch"} {
			sent := httptest.NewRequest(http.MethodGet, presigned, nil)
			sent.Header.Set(name, value)
			if _, err := issuer.Authenticate(sent, nil); !strings.HasPrefix(codeAndText(err), want) {
				t.Errorf("%s %s: %s, want %s", name, value, codeAndText(err), want)
			}
		}
	}
}

func TestOfflineCredentialsAndSignaturesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		issuer := creds.NewIssuer("111122223333", nil)
		c := issuer.Issue(identity(t, "arn:aws:iam::111122223333:role/app"), 30*time.Minute)
		old := signed(t, c)
		time.Sleep(15 * time.Minute)
		early := signed(t, c)
		if _, err := issuer.Authenticate(old, []byte(callBody)); err != nil {
			t.Errorf("after 15 minutes: %v", err)
		}
		time.Sleep(time.Second)
		_, err := issuer.Authenticate(old, []byte(callBody))
		if want := "Denied SignatureDoesNotMatch: Signature expired: 20000101T000000Z is now earlier than 20000101T000001Z (20000101T001501Z - 15 min.)"; codeAndText(err) != want {
			t.Errorf("%s, want %s", codeAndText(err), want)
		}
		time.Sleep(15*time.Minute - 2*time.Second) // one second before their end
		if _, err := issuer.Authenticate(early, []byte(callBody)); err != nil {
			t.Errorf("shortly before the end: %v", err)
		}
		time.Sleep(time.Second)
		for name, r := range map[string]*http.Request{"signed earlier": early, "signed now": signed(t, c)} {
			_, err = issuer.Authenticate(r, []byte(callBody))
			if want := "Denied ExpiredToken: The security token included in the request is expired"; codeAndText(err) != want {
				t.Errorf("%s: %s, want %s", name, codeAndText(err), want)
			}
		}
		// Whose key it was is told ever after.
		if account, ok := issuer.AccountOf(c.AccessKeyID); !ok || account != "111122223333" {
			t.Errorf("the key is of %q", account)
		}
	})
}

func TestSignatureFromTheFuture(t *testing.T) {
	t.Parallel()
	secret := []byte("shared")
	var r *http.Request
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(15*time.Minute + time.Second)
		r = signed(t, creds.NewIssuer("111122223333", secret).Issue(identity(t, "arn:aws:iam::111122223333:role/app"), time.Hour))
	})
	synctest.Test(t, func(t *testing.T) {
		issuer := creds.NewIssuer("111122223333", secret)
		_, err := issuer.Authenticate(r, []byte(callBody))
		if want := "Denied SignatureDoesNotMatch: Signature not yet current: 20000101T001501Z is still later than 20000101T001500Z (20000101T000000Z + 15 min.)"; codeAndText(err) != want {
			t.Errorf("%s, want %s", codeAndText(err), want)
		}
		time.Sleep(time.Second)
		if _, err := issuer.Authenticate(r, []byte(callBody)); err != nil {
			t.Errorf("15 minutes ahead: %v", err)
		}
	})
}

// However many accounts there are, only so many are kept, the newest.
func TestIssuerRemembersSoManyAccounts(t *testing.T) {
	t.Parallel()
	const own, kept = "111122223333", 32
	issuer := creds.NewIssuer(own, nil)
	mine := issuer.Issue(local.Identity{Partition: "aws", Account: own, Name: "x"}, time.Hour)
	var first, last local.Credentials
	var wait sync.WaitGroup
	for n := range kept + 1 {
		whose := local.Identity{Partition: "aws", Account: fmt.Sprintf("%012d", n), Name: "x"}
		switch n {
		case 0:
			first = issuer.Issue(whose, time.Hour)
		case kept:
			wait.Wait()
			last = issuer.Issue(whose, time.Hour)
		default:
			wait.Go(func() {
				c := issuer.Issue(whose, time.Hour)
				if account, _ := issuer.AccountOf(c.AccessKeyID); account != whose.Account {
					t.Errorf("the key is of %q, want %s", account, whose.Account)
				}
			})
		}
	}
	for name, test := range map[string]struct {
		keyID   string
		account string
	}{
		"the own account": {mine.AccessKeyID, own},
		"the newest":      {last.AccessKeyID, fmt.Sprintf("%012d", kept)},
		"the oldest":      {first.AccessKeyID, ""},
		"a key of AWS":    {"ASIAIOSFODNN7EXAMPLE", ""},
		"a short one":     {"ASIAOFFLINE", ""},
		"a changed one":   {mine.AccessKeyID[:11] + "0" + mine.AccessKeyID[12:], ""},
	} {
		if account, ok := issuer.AccountOf(test.keyID); account != test.account || ok != (test.account != "") {
			t.Errorf("%s is of %q, want %q", name, account, test.account)
		}
	}
}

func TestNoTwoKeyIDsAreTheSame(t *testing.T) {
	t.Parallel()
	issuer := creds.NewIssuer("111122223333", nil)
	seen := map[string]bool{}
	for range 10_000 {
		seen[issuer.Issue(local.Identity{Account: "111122223333"}, time.Hour).AccessKeyID] = true
	}
	if len(seen) != 10_000 {
		t.Errorf("%d ids", len(seen))
	}
}

func TestOnlyOfflineThereIsAnIssuer(t *testing.T) {
	setAWS(t, longTermKeys())
	if newService(t, newFakeSTS(t), creds.Options{Mode: creds.ModeSTS}).Issuer() != nil {
		t.Error("there is one beside the real STS")
	}
	if newService(t, nil, creds.Options{Mode: creds.ModeOffline}).Issuer() == nil {
		t.Error("there is none")
	}
}
