package imds_test

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // the signature pkcs7 of the real service is DSA
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/smallstep/pkcs7"

	"github.com/ecs-local/ecs-local/local/imds"
)

const identityPath = "/latest/dynamic/instance-identity/"

// signed is an identity document with its signatures and certificates, all in
// files too, as the AWS manual's commands want them.
type signed struct {
	document, signature, pkcs7, rsa2048 []byte
	certificates                        map[string]*x509.Certificate
	dir                                 string
}

func sign(t *testing.T, i *imds.Identity) signed {
	t.Helper()
	s, err := imds.New(recordedInstance(), imds.Deps{Identity: i})
	if err != nil {
		t.Fatal(err)
	}
	c, d := v2(t, s), t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(d, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		r := c.do("GET", identityPath+name)
		if r.Status != 200 || r.ContentType != "text/plain" {
			t.Fatalf("%s: %d %s", name, r.Status, r.ContentType)
		}
		for line := range strings.SplitSeq(string(r.Body), "\n") {
			if name != "document" && (len(line) > 76 || line == "") {
				t.Errorf("%s: a line of %d characters", name, len(line))
			}
		}
		return r.Body
	}
	x := signed{read("document"), read("signature"), read("pkcs7"), read("rsa2048"), map[string]*x509.Certificate{}, d}
	write("document", x.document)
	write("signature", unwrap(t, x.signature))
	for name, body := range map[string][]byte{"pkcs7": x.pkcs7, "rsa2048": x.rsa2048} {
		write(name, []byte("-----BEGIN PKCS7-----\n"+string(body)+"\n-----END PKCS7-----\n"))
	}
	for _, certificate := range i.Certificates() {
		write(certificate.Name+".pem", certificate.PEM)
		block, _ := pem.Decode(certificate.PEM)
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		x.certificates[certificate.Name] = parsed
	}
	return x
}

func unwrap(t *testing.T, b []byte) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestIdentitySignatures verifies the signatures with Go.
func TestIdentitySignatures(t *testing.T) {
	t.Parallel()
	x := sign(t, identity())
	t.Run("signature", func(t *testing.T) {
		t.Parallel()
		if len(x.signature) != 174 {
			t.Errorf("%d bytes, want 174", len(x.signature))
		}
		key, digest := x.certificates["signature"].PublicKey.(*rsa.PublicKey), sha256.Sum256(x.document)
		if key.Size() != 128 {
			t.Errorf("a key of %d bytes, want 128", key.Size())
		}
		if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], unwrap(t, x.signature)); err != nil {
			t.Error(err)
		}
	})
	t.Run("rsa2048", func(t *testing.T) {
		t.Parallel()
		p, err := pkcs7.Parse(unwrap(t, x.rsa2048))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Content, x.document) {
			t.Error("the content is not the document")
		}
		p.Certificates = []*x509.Certificate{x.certificates["rsa2048"]}
		if err := p.Verify(); err != nil {
			t.Error(err)
		}
		p.Certificates = []*x509.Certificate{x.certificates["signature"]}
		if p.Verify() == nil {
			t.Error("another certificate verifies it too")
		}
	})
	t.Run("pkcs7", func(t *testing.T) {
		t.Parallel()
		p, err := pkcs7.Parse(unwrap(t, x.pkcs7))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Content, x.document) {
			t.Error("the content is not the document")
		}
		var digest []byte
		if err := p.UnmarshalSignedAttribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}, &digest); err != nil {
			t.Fatal(err)
		}
		if want := sha1.Sum(x.document); !bytes.Equal(digest, want[:]) {
			t.Error("the digest is not that of the document")
		}
		attributes, err := asn1.MarshalWithParams(p.Signers[0].AuthenticatedAttributes, "set")
		if err != nil {
			t.Fatal(err)
		}
		var s struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(p.Signers[0].EncryptedDigest, &s); err != nil {
			t.Fatal(err)
		}
		key, sum := x.certificates["pkcs7"].PublicKey.(*dsa.PublicKey), sha1.Sum(attributes)
		if !dsa.Verify(key, sum[:], s.R, s.S) {
			t.Error("the signature is not right")
		}
		sum[0] ^= 1
		if dsa.Verify(key, sum[:], s.R, s.S) {
			t.Error("the signature is right for another document")
		}
	})
	t.Run("form", func(t *testing.T) {
		t.Parallel()
		// The real ones begin like this: everything outside is of indefinite length.
		for name, body := range map[string][]byte{"pkcs7": x.pkcs7, "rsa2048": x.rsa2048} {
			if !bytes.HasPrefix(body, []byte("MIAGCSqGSIb3DQEHAqCAMIACAQExD")) && !bytes.HasPrefix(body, []byte("MIAGCSqGSIb3DQEHAqCAMIACAQExCzAJBgUrDgMCGgUAMIAGCSqGSIb3DQEHAaCAJIAE")) {
				t.Errorf("%s begins %s", name, body[:72])
			}
		}
	})
}

// TestIdentityOpenSSL verifies the signatures with the commands of the AWS
// manual.
func TestIdentityOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("no openssl on this machine: TestIdentitySignatures verifies the same with Go")
		return
	}
	x := sign(t, identity())
	run := func(t *testing.T, args ...string) (stdout string, ok bool) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), openssl, args...)
		var out, errs bytes.Buffer
		cmd.Dir, cmd.Stdout, cmd.Stderr = x.dir, &out, &errs
		err := cmd.Run()
		t.Logf("openssl %s: %v %s", strings.Join(args, " "), err, errs.String())
		return out.String(), err == nil
	}
	for _, name := range []string{"pkcs7", "rsa2048"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, ok := run(t, "smime", "-verify", "-in", name, "-inform", "PEM", "-certfile", name+".pem", "-noverify")
			if !ok || out != string(x.document) {
				t.Errorf("not verified, or another document: %q", out)
			}
			other := map[string]string{"pkcs7": "rsa2048", "rsa2048": "pkcs7"}[name]
			if _, ok := run(t, "smime", "-verify", "-in", name, "-inform", "PEM", "-certfile", other+".pem", "-noverify"); ok {
				t.Error("another certificate verifies it too")
			}
		})
	}
	t.Run("signature", func(t *testing.T) {
		t.Parallel()
		key, ok := run(t, "x509", "-in", "signature.pem", "-pubkey", "-noout")
		if !ok {
			t.Fatal("no key")
		}
		if err := os.WriteFile(filepath.Join(x.dir, "key"), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, ok := run(t, "dgst", "-sha256", "-verify", "key", "-signature", "signature", "document"); !ok || !strings.Contains(out, "Verified OK") {
			t.Errorf("not verified: %s", out)
		}
		if _, ok := run(t, "dgst", "-sha256", "-verify", "key", "-signature", "signature", "pkcs7"); ok {
			t.Error("it verifies something else too")
		}
	})
	t.Run("certificates sign themselves", func(t *testing.T) {
		t.Parallel()
		for _, c := range identity().Certificates() {
			if _, ok := run(t, "verify", "-CAfile", c.Name+".pem", "-check_ss_sig", "-auth_level", "0", c.Name+".pem"); !ok {
				t.Errorf("%s does not", c.Name)
			}
		}
	})
}

func TestIdentityPEM(t *testing.T) {
	t.Parallel()
	text, err := identity().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := imds.ParseIdentity(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(identity().Certificates(), again.Certificates()); diff != "" {
		t.Error(diff)
	}
	a, b := sign(t, identity()), sign(t, again)
	if !bytes.Equal(a.signature, b.signature) {
		t.Error("the key is another one")
	}
	for name, text := range map[string]string{
		"empty": "", "half": string(text[:len(text)/2]), "no PEM": "hello",
		"order": strings.ReplaceAll(string(text), "DSA PRIVATE KEY", "RSA PRIVATE KEY"),
	} {
		if _, err := imds.ParseIdentity([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "-----") {
			t.Errorf("%s: the error shows a key", name)
		}
	}
	other, err := imds.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	otherText, err := other.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	const end = "-----END CERTIFICATE-----\n"
	certificate, _, _ := strings.Cut(string(otherText), end)
	_, rest, _ := strings.Cut(string(text), end)
	if _, err := imds.ParseIdentity([]byte(certificate + end + rest)); err == nil {
		t.Error("a certificate of another key is taken")
	}
}

// TestIdentityHidesItself says that keys do not get into messages.
func TestIdentityHidesItself(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "identity", identity())
	for _, got := range []string{fmt.Sprint(identity()), fmt.Sprintf("%+v %#v", identity(), identity()), log.String()} {
		if !strings.Contains(got, "instance identity") || len(got) > 200 {
			t.Errorf("%d characters", len(got))
		}
	}
}

// TestIdentityStable says that signatures do not change between reads, nor
// when something else of the tree does.
func TestIdentityStable(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{}, nil)
	c := v2(t, s)
	read := func() string { return string(c.do("GET", identityPath+"pkcs7").Body) }
	before := read()
	if err := s.SetValue("custom/rack", []byte("r12")); err != nil {
		t.Fatal(err)
	}
	if before == "" || read() != before {
		t.Error("pkcs7 changed")
	}
	if err := s.Reload(imds.Config{Instance: imds.Instance{InstanceType: "m7g.large"}}); err != nil {
		t.Fatal(err)
	}
	if read() == before {
		t.Error("pkcs7 is the same for another document")
	}
}

// TestReplacedDocumentIsSigned says that the signatures are those of the
// document that is there, whoever put it there and however long it is.
func TestReplacedDocumentIsSigned(t *testing.T) {
	t.Parallel()
	configured := "{}"
	s := serve(t, imds.Config{Metadata: map[string]*string{"dynamic/instance-identity/document": &configured}}, nil)
	c := v2(t, s)
	var certificate *x509.Certificate
	for _, known := range identity().Certificates() {
		if block, _ := pem.Decode(known.PEM); known.Name == "rsa2048" {
			certificate, _ = x509.ParseCertificate(block.Bytes)
		}
	}
	check := func(want string) {
		t.Helper()
		p, err := pkcs7.Parse(unwrap(t, c.do("GET", identityPath+"rsa2048").Body))
		if err != nil {
			t.Fatal(err)
		}
		p.Certificates = []*x509.Certificate{certificate}
		if err := p.Verify(); err != nil || string(p.Content) != want {
			t.Errorf("%d bytes are signed, want %d; %v", len(p.Content), len(want), err)
		}
	}
	check(configured)
	for _, length := range []int{1, 127, 128, 255, 256, 65535, 65536, 70000} {
		document := strings.Repeat("d", length)
		if err := s.SetValue("dynamic/instance-identity/document", []byte(document)); err != nil {
			t.Fatal(err)
		}
		check(document)
	}
	if err := s.SetValue("dynamic/instance-identity/rsa2048", []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if got := string(c.do("GET", identityPath+"rsa2048").Body); got != "mine" {
		t.Errorf("a replaced signature is %q", got)
	}
	s.Reset()
	check(configured)
	if err := s.RemoveValue("dynamic/instance-identity/document"); err != nil {
		t.Fatal(err)
	}
	if c.do("GET", identityPath+"document").Status != 404 || c.do("GET", identityPath+"pkcs7").Status != 200 {
		t.Error("without the document: not what was asked for")
	}
}
