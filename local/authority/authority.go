// Package authority is the certificate authority of the TLS listener. Clients
// that refuse plain HTTP trust its certificate; those of the listener are made
// when a client asks for a name.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"sync"
	"time"
)

const (
	name = "ecs-local"
	// early is how far clocks of clients may be behind.
	early = time.Hour
	years = 10
)

// Authority is a certificate authority with an ECDSA P-256 key. Nothing trusts
// it unless it is told to. Its methods are safe for concurrent use.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer

	mu     sync.Mutex
	leaves map[string]*leaf // by the name or address they are for
}

// Format writes what it is and no key, whatever the verb.
func (a *Authority) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "certificate authority") }

// LogValue is what slog writes.
func (a *Authority) LogValue() slog.Value { return slog.StringValue("certificate authority") }

// New makes an authority that is valid for ten years.
func New() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	now := time.Now().UTC()
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-early),
		NotAfter:              now.AddDate(years, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return newAuthority(der, key)
}

func newAuthority(der []byte, key crypto.Signer) (*Authority, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return &Authority{certificate: certificate, key: key, leaves: map[string]*leaf{}}, nil
}

// The types of the PEM blocks.
const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY"
)

// CertificatePEM returns the certificate that clients have to trust. It holds
// no secret.
func (a *Authority) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: a.certificate.Raw})
}

// MarshalPEM returns the certificate and the key, for Parse. Whoever has them
// can pretend to be anybody to the clients that trust the certificate.
func (a *Authority) MarshalPEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return append(a.CertificatePEM(), pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: key})...), nil
}

// Parse reads what MarshalPEM wrote. A certificate that has expired, is not an
// authority's or does not belong to the key is an error.
func Parse(text []byte) (*Authority, error) {
	certificate, key := pemBlock(text, blockCertificate), pemBlock(text, blockKey)
	if certificate == nil || key == nil {
		return nil, errors.New("read PEM: want a certificate and a private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	signer, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("read key: want an ECDSA key")
	}
	a, err := newAuthority(certificate, signer)
	if err != nil {
		return nil, err
	}
	switch public, ok := a.certificate.PublicKey.(*ecdsa.PublicKey); {
	case !ok || !public.Equal(signer.Public()):
		return nil, errors.New("read certificate: it does not belong to the key")
	case !a.certificate.IsCA:
		return nil, errors.New("read certificate: it is not that of an authority")
	case time.Now().After(a.certificate.NotAfter):
		return nil, fmt.Errorf("read certificate: it has expired on %s", a.certificate.NotAfter.Format(time.DateOnly))
	}
	return a, nil
}

// pemBlock returns the content of the first block of a type; nil without one.
func pemBlock(text []byte, kind string) []byte {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil
		}
		if block.Type == kind {
			return block.Bytes
		}
	}
}

// serialNumber returns 127 random bits: unique, positive, and within the 20
// bytes of RFC 5280, section 4.1.2.2.
func serialNumber() (*big.Int, error) {
	const bits = 127
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), bits))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}
