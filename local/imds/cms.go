package imds

import (
	"bytes"
	"crypto/dsa" //nolint:staticcheck // the signature pkcs7 of the real service is DSA
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// PKCS#7 SignedData in the form that the real service has: the document
// embedded, no certificates, outer parts of indefinite length, and the signed
// attributes contentType, signingTime, messageDigest and
// cmsAlgorithmProtection. No library at hand writes this form, nor DSA with
// attributes.
// https://www.rfc-editor.org/rfc/rfc5652#section-5

var (
	oidData                = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidAlgorithmProtection = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 52} // RFC 6211
	oidSHA1                = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256              = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA                 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidDSA                 = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	oidDSAWithSHA1         = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 3}
)

// algorithms are those of one signature.
type algorithms struct {
	digest, signature pkix.AlgorithmIdentifier
	sum               func([]byte) []byte
}

var (
	dsaSHA1 = algorithms{
		digest:    pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.NullRawValue},
		signature: pkix.AlgorithmIdentifier{Algorithm: oidDSAWithSHA1},
		sum:       func(b []byte) []byte { d := sha1.Sum(b); return d[:] },
	}
	rsaSHA256 = algorithms{
		digest:    pkix.AlgorithmIdentifier{Algorithm: oidSHA256},
		signature: pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue},
		sum:       func(b []byte) []byte { d := sha256.Sum256(b); return d[:] },
	}
)

// Tags of ASN.1.
const (
	tagOctets      = 0x04
	tagOctetsParts = 0x24
	tagSequence    = 0x30
	tagSet         = 0x31
	tagContext0    = 0xa0
	tagContext1    = 0xa1
)

// der collects encoded parts and remembers the first error.
type der struct{ err error }

// value encodes a Go value.
func (d *der) value(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("encode signature: %w", err)
	}
	return b
}

// part encodes parts under a tag.
func (d *der) part(tag byte, parts ...[]byte) []byte {
	content := slices.Concat(parts...)
	return append(d.head(tag, len(content)), content...)
}

// head encodes a tag and a length.
func (d *der) head(tag byte, length int) []byte {
	switch {
	case length < 0x80:
		return []byte{tag, byte(length)}
	case length < 0x100:
		return []byte{tag, 0x81, byte(length)}
	case length < 0x10000:
		return []byte{tag, 0x82, byte(length >> 8), byte(length)}
	default:
		return []byte{tag, 0x83, byte(length >> 16), byte(length >> 8), byte(length)}
	}
}

// open encodes parts under a tag, with indefinite length.
func (d *der) open(tag byte, parts ...[]byte) []byte {
	return slices.Concat([]byte{tag, 0x80}, slices.Concat(parts...), []byte{0, 0})
}

// set encodes a SET OF in the order that DER demands.
func (d *der) set(tag byte, members ...[]byte) []byte {
	slices.SortFunc(members, bytes.Compare)
	return d.part(tag, members...)
}

// attribute encodes a signed attribute.
func (d *der) attribute(oid asn1.ObjectIdentifier, value []byte) []byte {
	return d.part(tagSequence, d.value(oid), d.part(tagSet, value))
}

// cms makes a signature over a document of less than 16 MiB with the key that
// sign has.
func cms(document []byte, certificate *x509.Certificate, a algorithms, now time.Time, sign func([]byte) ([]byte, error)) ([]byte, error) {
	d := &der{}
	digest, signature := d.value(a.digest), d.value(a.signature)
	attributes := [][]byte{
		d.attribute(oidContentType, d.value(oidData)),
		d.attribute(oidSigningTime, d.value(now.UTC().Truncate(time.Second))),
		d.attribute(oidMessageDigest, d.value(a.sum(document))),
		d.attribute(oidAlgorithmProtection, d.part(tagSequence, digest,
			append([]byte{tagContext1}, signature[1:]...))), // the sequence, tagged implicitly
	}
	signed, err := sign(d.set(tagSet, attributes...)) // signed as a set, sent as [0]
	if err != nil {
		return nil, err
	}
	signer := d.part(tagSequence,
		d.value(1),
		d.part(tagSequence, certificate.RawIssuer, d.value(certificate.SerialNumber)),
		digest,
		d.set(tagContext0, attributes...),
		signature,
		d.part(tagOctets, signed),
	)
	content := d.open(tagOctetsParts, d.part(tagOctets, document))
	whole := d.open(tagSequence,
		d.value(oidSignedData),
		d.open(tagContext0, d.open(tagSequence,
			d.value(1),
			d.part(tagSet, digest),
			d.open(tagSequence, d.value(oidData), d.open(tagContext0, content)),
			d.part(tagSet, signer),
		)),
	)
	return whole, d.err
}

// Parts of an X.509 certificate.
// https://www.rfc-editor.org/rfc/rfc5280#section-4.1
type (
	tbsCertificate struct {
		Version   int `asn1:"explicit,tag:0"`
		Serial    *big.Int
		Algorithm pkix.AlgorithmIdentifier
		Issuer    asn1.RawValue
		Validity  struct{ NotBefore, NotAfter time.Time }
		Subject   asn1.RawValue
		PublicKey subjectPublicKey
	}
	subjectPublicKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	signedCertificate struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
)

// dsaCertificate signs a certificate for a DSA key with that key, which the
// standard library does not do.
func dsaCertificate(c x509.Certificate, key *dsa.PrivateKey) ([]byte, error) {
	d := &der{}
	name := asn1.RawValue{FullBytes: d.value(c.Subject.ToRDNSequence())}
	public := d.value(key.Y)
	tbs := tbsCertificate{
		Version: 2, Serial: c.SerialNumber, Algorithm: dsaSHA1.signature, Issuer: name, Subject: name,
		PublicKey: subjectPublicKey{
			Algorithm: pkix.AlgorithmIdentifier{
				Algorithm:  oidDSA,
				Parameters: asn1.RawValue{FullBytes: d.value(key.Parameters)},
			},
			Key: asn1.BitString{Bytes: public, BitLength: 8 * len(public)},
		},
	}
	tbs.Validity.NotBefore, tbs.Validity.NotAfter = c.NotBefore, c.NotAfter
	body := d.value(tbs)
	if d.err != nil {
		return nil, d.err
	}
	signed, err := signDSA(key, body)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	whole := d.value(signedCertificate{
		TBS: asn1.RawValue{FullBytes: body}, Algorithm: dsaSHA1.signature,
		Signature: asn1.BitString{Bytes: signed, BitLength: 8 * len(signed)},
	})
	return whole, d.err
}
