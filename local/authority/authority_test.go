package authority_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecs-local/ecs-local/local/authority"
)

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// trusting is a pool that holds nothing but an authority.
func trusting(t *testing.T, certificate []byte) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		t.Fatal("the authority's certificate cannot be read")
	}
	return pool
}

// arrived is the server's side of a connection that arrived at an address.
type arrived struct {
	net.Conn
	at net.Addr
}

func (a arrived) LocalAddr() net.Addr { return a.at }

// handshake connects a client to a server at an address, and returns what the
// client sees of it.
func handshake(server *tls.Config, at net.Addr, client *tls.Config) (tls.ConnectionState, error) {
	near, far := net.Pipe()
	defer near.Close()
	var group sync.WaitGroup
	defer group.Wait()
	defer far.Close()
	group.Go(func() {
		defer near.Close()
		conn := tls.Server(arrived{near, at}, server)
		if conn.Handshake() == nil {
			_, _ = conn.Read(make([]byte, 1)) // until the client goes
		}
	})
	conn := tls.Client(far, client)
	err := conn.Handshake()
	return conn.ConnectionState(), err
}

var ecs = &net.TCPAddr{IP: net.ParseIP("169.254.170.2"), Port: 443}

func TestCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	pool := trusting(t, a.CertificatePEM())
	server := a.TLSConfig(func(host string) bool { return host != "refused.example" })
	for name, test := range map[string]struct {
		at     net.Addr
		asked  string // SNI; Go sends none for an address
		wants  string // who the certificate must be for
		reason string // why the client gets none; empty: it does
	}{
		"a name":                        {ecs, "ecs-local", "ecs-local", ""},
		"a name with dots":              {ecs, "ecs.example.test", "ecs.example.test", ""},
		"a name in capitals":            {ecs, "ECS-Local", "ecs-local", ""},
		"a Compose name":                {ecs, "ecs_local", "", ""},
		"localhost":                     {ecs, "localhost", "localhost", ""},
		"an address":                    {ecs, "169.254.170.2", "169.254.170.2", ""},
		"no name":                       {ecs, "", "169.254.170.2", ""},
		"an IPv6 address":               {&net.TCPAddr{IP: net.ParseIP("fd00:ec2::23"), Port: 443}, "", "fd00:ec2::23", ""},
		"an IPv4 address in IPv6":       {&net.TCPAddr{IP: net.ParseIP("::ffff:172.30.0.2"), Port: 443}, "", "172.30.0.2", ""},
		"a zone":                        {&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 443}, "", "fe80::1", ""},
		"loopback, by a published port": {ecs, "", "127.0.0.1", ""},
		"loopback over IPv6":            {ecs, "", "::1", ""},
		"localhost without SNI":         {ecs, "", "localhost", ""},
		"a name that is refused":        {ecs, "refused.example", "", "internal error"},
		"no host name":                  {ecs, "two words", "", "internal error"},
		"a name with an empty part":     {ecs, "a..b", "", "internal error"},
		"a socket without an address":   {&net.UnixAddr{Name: "/run/x", Net: "unix"}, "", "", "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, err := handshake(server, test.at, &tls.Config{
				RootCAs: pool, ServerName: test.asked, NextProtos: []string{"h2"},
				InsecureSkipVerify: true, //nolint:gosec // verified below, for the name that the test says
			})
			if test.reason != "" {
				if err == nil || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("got %v, want %q", err, test.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			shown := state.PeerCertificates[0]
			if _, err := shown.Verify(x509.VerifyOptions{Roots: pool, DNSName: test.wants}); err != nil {
				t.Errorf("for %q: %v", test.wants, err)
			}
			if _, err := shown.Verify(x509.VerifyOptions{Roots: pool, DNSName: "other.example"}); err == nil {
				t.Error("the certificate is for other names too")
			}
			if life := shown.NotAfter.Sub(shown.NotBefore); life > 398*24*time.Hour {
				t.Errorf("valid for %s", life)
			}
			if shown.IsCA {
				t.Error("the certificate could sign others")
			}
			if state.NegotiatedProtocol != "h2" {
				t.Errorf("speaks %q", state.NegotiatedProtocol)
			}
		})
	}
}

func TestAClientThatDoesNotTrustTheAuthority(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	_, err := handshake(a.TLSConfig(nil), ecs, &tls.Config{RootCAs: trusting(t, other.CertificatePEM()), ServerName: "ecs-local", MinVersion: tls.VersionTLS12})
	if err == nil {
		t.Error("two authorities are trusted for each other")
	}
}

func TestTheCertificateOfTheAuthority(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	block, rest := pem.Decode(a.CertificatePEM())
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Fatal("want one certificate, and nothing else")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || !certificate.IsCA || certificate.Subject.CommonName != "ecs-local" {
		t.Errorf("key %T, authority %v, name %q", certificate.PublicKey, certificate.IsCA, certificate.Subject.CommonName)
	}
	if years := time.Until(certificate.NotAfter).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("valid for %.1f years", years)
	}
}

// What is trusted once stays trusted after a restart.
func TestParse(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	kept, err := a.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := authority.Parse(kept)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.CertificatePEM(), again.CertificatePEM()) {
		t.Error("another certificate")
	}
	if _, err := handshake(again.TLSConfig(nil), ecs, &tls.Config{RootCAs: trusting(t, a.CertificatePEM()), ServerName: "ecs-local", MinVersion: tls.VersionTLS12}); err != nil {
		t.Error(err)
	}

	other, err := newAuthority(t).MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey := pem.Decode(other)
	certificate, key := a.CertificatePEM(), kept[len(a.CertificatePEM()):]
	for name, test := range map[string]struct {
		text   []byte
		reason string
	}{
		"nothing":                       {nil, "want a certificate and a private key"},
		"no key":                        {certificate, "want a certificate and a private key"},
		"no certificate":                {key, "want a certificate and a private key"},
		"cut":                           {kept[:len(kept)-40], "want a certificate and a private key"},
		"another's key":                 {append(bytes.Clone(certificate), otherKey...), "does not belong to the key"},
		"a broken certificate":          {append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), key...), "read certificate"},
		"a broken key":                  {append(bytes.Clone(certificate), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})...), "read key"},
		"a certificate of no authority": {selfSigned(t), "not that of an authority"},
	} {
		if _, err := authority.Parse(test.text); err == nil || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: got %v, want %q", name, err, test.reason)
		}
	}
}

// selfSigned is the PEM of a key and a certificate that may sign no other.
func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})...)
}

func TestCertificatesAreKeptAndRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		a := newAuthority(t)
		server, pool := a.TLSConfig(nil), trusting(t, a.CertificatePEM())
		serial := func() string {
			state, err := handshake(server, ecs, &tls.Config{RootCAs: pool, ServerName: "ecs-local", MinVersion: tls.VersionTLS12, Time: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			leaf, issuer := state.PeerCertificates[0], state.PeerCertificates[1]
			if leaf.NotAfter.After(issuer.NotAfter) {
				t.Errorf("valid until %s, its authority until %s", leaf.NotAfter, issuer.NotAfter)
			}
			return leaf.SerialNumber.String()
		}
		first := serial()
		time.Sleep(300 * day)
		if serial() != first {
			t.Error("made anew long before its end")
		}
		time.Sleep(36 * day)
		if serial() == first {
			t.Error("not made anew a month before its end")
		}
		time.Sleep(9 * 365 * day) // the authority's own end is near
		if serial() == first {
			t.Error("the first one again")
		}
		kept, err := a.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(365 * day)
		if _, err := authority.Parse(kept); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("an authority at its end: %v", err)
		}
	})
}

func TestConcurrentClients(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server, pool := a.TLSConfig(nil), trusting(t, a.CertificatePEM())
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			if _, err := handshake(server, ecs, &tls.Config{RootCAs: pool, ServerName: fmt.Sprintf("name-%d", i%4), MinVersion: tls.VersionTLS12}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestTheKeyHidesItself(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("made", slog.Any("authority", a))
	fmt.Fprintf(&out, "%v %+v %#v %s %d", a, a, a, a, a)
	if got := strings.Count(out.String(), "certificate authority"); got != 6 {
		t.Errorf("%d times its name, and %d bytes in all", got, out.Len())
	}
}
