package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	// life of a listener's certificate: public ones may have 398 days, and
	// some clients hold private ones to that too.
	// https://support.apple.com/en-us/102028
	life = 365 * 24 * time.Hour
	// renewal is how long before its end a certificate is made anew.
	renewal = 30 * 24 * time.Hour
	// mostLeaves is how many certificates are kept.
	mostLeaves = 128
)

// leaf is a certificate that the listener shows.
type leaf struct {
	tls   *tls.Certificate
	until time.Time // when it is made anew
}

// TLSConfig returns the configuration of a listener: for each connection the
// certificate of the name that the client asks for, or of the address at which
// it arrived when it asks for none. allowed says which names may be asked for;
// nil: all. HTTP/1.1 and HTTP/2 are spoken.
func (a *Authority) TLSConfig(allowed func(host string) bool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			host, err := hostOf(hello)
			if err != nil {
				return nil, err
			}
			if allowed != nil && !allowed(host) {
				return nil, fmt.Errorf("no certificate for %q: the name is not answered here", host)
			}
			return a.certificateFor(host)
		},
	}
}

// hostOf returns the name or the address that a client wants to talk to. A
// client that knows only an address sends no name (RFC 6066, section 3).
func hostOf(hello *tls.ClientHelloInfo) (string, error) {
	host := strings.ToLower(hello.ServerName)
	if host == "" {
		at, ok := hello.Conn.LocalAddr().(*net.TCPAddr)
		if !ok {
			return "", fmt.Errorf("no certificate for a connection at %s without a name", hello.Conn.LocalAddr())
		}
		return at.AddrPort().Addr().Unmap().WithZone("").String(), nil
	}
	if _, err := netip.ParseAddr(host); err != nil && !isName(host) {
		return "", fmt.Errorf("no certificate for %q: it is not a host name", host)
	}
	return host, nil
}

// isName accepts host names of letters, digits, hyphens and underscores, which
// names of Compose services may have.
func isName(host string) bool {
	const longest, longestLabel = 253, 63
	if len(host) > longest {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > longestLabel || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// certificateFor returns the certificate for a host, from those that are kept
// or a new one.
func (a *Authority) certificateFor(host string) (*tls.Certificate, error) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if kept, ok := a.leaves[host]; ok && now.Before(kept.until) {
		return kept.tls, nil
	}
	made, err := a.makeLeaf(host, now)
	if err != nil {
		return nil, err
	}
	if len(a.leaves) >= mostLeaves {
		clear(a.leaves)
	}
	a.leaves[host] = made
	return made.tls, nil
}

// makeLeaf makes a certificate for a host, with a key of its own.
func (a *Authority) makeLeaf(host string, now time.Time) (*leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name + " server"},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		// Through a published port the client knows another address: loopback.
		template.IPAddresses = []net.IP{addr.AsSlice(), net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		template.DNSNames = []string{"localhost"}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %q: %w", host, err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read certificate for %q: %w", host, err)
	}
	return &leaf{
		tls:   &tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: key, Leaf: parsed},
		until: template.NotAfter.Add(-renewal),
	}, nil
}
