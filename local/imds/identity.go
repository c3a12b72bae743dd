package imds

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // the signature pkcs7 of the real service is DSA
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"time"
)

// Identity holds the keys that sign the identity document, each with a
// certificate of its own, as AWS has them for every region:
//
//	signature  RSA 1024, SHA-256, the bare signature
//	pkcs7      DSA 1024, SHA-1, PKCS#7 with the document in it
//	rsa2048    RSA 2048, SHA-256, PKCS#7 with the document in it
//
// The keys are the emulator's own: nothing that trusts AWS trusts them.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-iid.html
type Identity struct {
	rsa1024, rsa2048 *rsa.PrivateKey
	dsa1024          *dsa.PrivateKey
	certificates     [3]*x509.Certificate // signature, pkcs7, rsa2048
}

// Format writes what it is and no key, whatever the verb.
func (i *Identity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "instance identity") }

// LogValue is what slog writes.
func (i *Identity) LogValue() slog.Value { return slog.StringValue("instance identity") }

// names of the signatures, which are those of their leaves.
var signatureNames = [3]string{"signature", "pkcs7", "rsa2048"}

// signatures are the leaves beside the document.
type signatures struct{ signature, pkcs7, rsa2048 []byte }

// Certificate is the certificate that verifies one signature.
type Certificate struct {
	Name string // signature, pkcs7, rsa2048
	PEM  []byte
}

// NewIdentity makes keys and certificates. It takes some tenths of a second.
func NewIdentity() (*Identity, error) {
	i := &Identity{dsa1024: &dsa.PrivateKey{PublicKey: dsa.PublicKey{Parameters: dsaParameters()}}}
	var err error
	if i.rsa1024, err = rsa.GenerateKey(rand.Reader, 1024); err != nil {
		return nil, fmt.Errorf("make RSA key: %w", err)
	}
	if i.rsa2048, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, fmt.Errorf("make RSA key: %w", err)
	}
	if err := dsa.GenerateKey(i.dsa1024, rand.Reader); err != nil {
		return nil, fmt.Errorf("make DSA key: %w", err)
	}
	for n, sign := range []func(x509.Certificate) ([]byte, error){
		func(c x509.Certificate) ([]byte, error) {
			return x509.CreateCertificate(rand.Reader, &c, &c, &i.rsa1024.PublicKey, i.rsa1024)
		},
		func(c x509.Certificate) ([]byte, error) { return dsaCertificate(c, i.dsa1024) },
		func(c x509.Certificate) ([]byte, error) {
			return x509.CreateCertificate(rand.Reader, &c, &c, &i.rsa2048.PublicKey, i.rsa2048)
		},
	} {
		template, err := template(signatureNames[n])
		if err != nil {
			return nil, err
		}
		der, err := sign(template)
		if err != nil {
			return nil, fmt.Errorf("make certificate: %w", err)
		}
		if i.certificates[n], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
	}
	return i, nil
}

// template is a certificate to sign. Its times are far apart, so that no clock
// and no long life of a state directory makes it invalid.
func template(name string) (x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return x509.Certificate{}, fmt.Errorf("make serial number: %w", err)
	}
	return x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization: []string{"ecs-local"},
			CommonName:   "ecs-local instance identity (" + name + ")",
		},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(2195, 1, 1, 0, 0, 0, 0, time.UTC),
	}, nil
}

// Certificates returns the certificates that verify the signatures.
func (i *Identity) Certificates() []Certificate {
	all := make([]Certificate, len(i.certificates))
	for n, c := range i.certificates {
		all[n] = Certificate{
			Name: signatureNames[n],
			PEM:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}),
		}
	}
	return all
}

// Types of PEM blocks.
const (
	blockCertificate = "CERTIFICATE"
	blockRSA         = "RSA PRIVATE KEY"
	blockDSA         = "DSA PRIVATE KEY"
)

// dsaKey is a DSA key as OpenSSL writes it.
type dsaKey struct {
	Version       int
	P, Q, G, Y, X *big.Int
}

// MarshalPEM returns the keys and certificates, for ParseIdentity. The keys
// are secret: keep them where nobody else can read them.
func (i *Identity) MarshalPEM() ([]byte, error) {
	k := i.dsa1024
	dsaDER, err := asn1.Marshal(dsaKey{P: k.P, Q: k.Q, G: k.G, Y: k.Y, X: k.X})
	if err != nil {
		return nil, fmt.Errorf("encode DSA key: %w", err)
	}
	keys := [3]pem.Block{
		{Type: blockRSA, Bytes: x509.MarshalPKCS1PrivateKey(i.rsa1024)},
		{Type: blockDSA, Bytes: dsaDER},
		{Type: blockRSA, Bytes: x509.MarshalPKCS1PrivateKey(i.rsa2048)},
	}
	var text bytes.Buffer
	for n := range keys {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: i.certificates[n].Raw}))
		text.Write(pem.EncodeToMemory(&keys[n]))
	}
	return text.Bytes(), nil
}

// ParseIdentity reads what MarshalPEM wrote.
func ParseIdentity(text []byte) (*Identity, error) {
	i := &Identity{}
	for n := range i.certificates {
		for _, kind := range []string{blockCertificate, [3]string{blockRSA, blockDSA, blockRSA}[n]} {
			block, rest := pem.Decode(text)
			if block == nil || block.Type != kind {
				return nil, fmt.Errorf("read identity: no %s for %s", kind, signatureNames[n])
			}
			text = rest
			if err := i.read(n, block); err != nil {
				return nil, fmt.Errorf("read identity: %s of %s: %w", kind, signatureNames[n], err)
			}
		}
	}
	return i, i.check()
}

func (i *Identity) read(n int, block *pem.Block) error {
	var err error
	switch {
	case block.Type == blockCertificate:
		i.certificates[n], err = x509.ParseCertificate(block.Bytes)
	case n == 0:
		i.rsa1024, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case n == 2:
		i.rsa2048, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		var k dsaKey
		if _, err = asn1.Unmarshal(block.Bytes, &k); err == nil {
			i.dsa1024 = &dsa.PrivateKey{
				PublicKey: dsa.PublicKey{Parameters: dsa.Parameters{P: k.P, Q: k.Q, G: k.G}, Y: k.Y}, X: k.X,
			}
		}
	}
	return err
}

// check reports a key that is not that of its certificate.
func (i *Identity) check() error {
	d, ok := i.certificates[1].PublicKey.(*dsa.PublicKey)
	if !i.rsa1024.PublicKey.Equal(i.certificates[0].PublicKey) || !i.rsa2048.PublicKey.Equal(i.certificates[2].PublicKey) ||
		!ok || d.Y.Cmp(i.dsa1024.Y) != 0 || d.P.Cmp(i.dsa1024.P) != 0 {
		return errors.New("read identity: a key is not that of its certificate")
	}
	return nil
}

// sign makes the three signatures of a document.
func (i *Identity) sign(document []byte, now time.Time) (signatures, error) {
	digest := sha256.Sum256(document)
	bare, err := rsa.SignPKCS1v15(nil, i.rsa1024, crypto.SHA256, digest[:])
	if err != nil {
		return signatures{}, fmt.Errorf("sign with RSA 1024: %w", err)
	}
	short, err := cms(document, i.certificates[1], dsaSHA1, now, func(attributes []byte) ([]byte, error) {
		return signDSA(i.dsa1024, attributes)
	})
	if err != nil {
		return signatures{}, fmt.Errorf("sign with DSA: %w", err)
	}
	long, err := cms(document, i.certificates[2], rsaSHA256, now, func(attributes []byte) ([]byte, error) {
		digest := sha256.Sum256(attributes)
		return rsa.SignPKCS1v15(nil, i.rsa2048, crypto.SHA256, digest[:])
	})
	if err != nil {
		return signatures{}, fmt.Errorf("sign with RSA 2048: %w", err)
	}
	return signatures{signature: wrap(bare), pkcs7: wrap(short), rsa2048: wrap(long)}, nil
}

// signDSA signs the SHA-1 of a message.
func signDSA(key *dsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha1.Sum(message)
	r, s, err := dsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}

// wrap writes base64 in lines of 76 characters, without a newline at the end.
func wrap(b []byte) []byte {
	const width = 76
	text := base64.StdEncoding.AppendEncode(nil, b)
	var out []byte
	for len(text) > width {
		out = append(append(out, text[:width]...), '\n')
		text = text[width:]
	}
	return append(out, text...)
}

// dsaParameters are the public parameters of the DSA key. They are fixed,
// because finding them takes long, and they are no secret.
func dsaParameters() dsa.Parameters {
	number := func(hex string) *big.Int {
		n, _ := new(big.Int).SetString(hex, 16)
		return n
	}
	return dsa.Parameters{
		P: number("BB60D59BCFD948820179DAFBF90ED606E6CC35B36BEBB4A1CC4F3EF20588A44E" +
			"836D58E2DC950FF0FCCF50F5AD2E237E1FA2BD19DC3DA63BE407822DAE3485D9" +
			"CEC3F1E76798C99276D317650F95B5532EFE91DCA2F2B4153A0C5618743B7283" +
			"99923AC7B504EE2C47F6110B55D39A5588C13D4B5E24403D9FC0B7AF93212FAB"),
		Q: number("B256C63745FCDBB3AF67C5DFBC920EF048CFB543"),
		G: number("B115B3EC6C8B50E2A0860AFC1D064521573EEC1033200F474DBCB012AD944793" +
			"E1271E9D27C4D5C939CCC0DD877457876F3D344DA61B1980C811E43B143B56F7" +
			"298026C99BEC06ED2D76B0D580AC6DF4BC5C69D8B28CD932E4A3F66A250CE305" +
			"0FE1C2A96F3ECF1BF40A8C69C41581ACD8BDF766ECC586E49BAED3D7754AE6D2"),
	}
}
