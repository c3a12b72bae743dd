package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"sync"
	"time"
)

// Session tokens. A token carries its own expiry and is signed with a key that
// only this service has, so the service keeps nothing of the tokens it gave
// out: 40 bytes, 56 characters of URL-safe base64 with padding.
//
//	0   3  prefix, which makes the text begin as real tokens do
//	3   6  expiry, milliseconds of Unix time, big endian
//	9  11  random
//	20 20  HMAC-SHA-256 of the bytes before it, cut off
const (
	tokenBytes  = 40
	tokenSigned = 20
	tokenLength = 56

	// MaxTokenTTL is the longest life of a token, in seconds.
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
	MaxTokenTTL = 21600
)

var tokenEncoding = base64.URLEncoding.Strict()

// tokens signs and checks. It is safe for concurrent use.
type tokens struct{ signers sync.Pool }

// signer is the scratch space of one call.
type signer struct {
	mac hash.Hash
	raw [tokenBytes + 2]byte // base64 wants room for a multiple of three
	sum [sha256.Size]byte
	src [tokenLength]byte
}

func newTokens() *tokens {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails, by its documentation
	t := &tokens{}
	t.signers.New = func() any { return &signer{mac: hmac.New(sha256.New, key)} }
	return t
}

// sign returns the signature of the first bytes of s.raw.
func (s *signer) sign() []byte {
	s.mac.Reset()
	_, _ = s.mac.Write(s.raw[:tokenSigned])
	return s.mac.Sum(s.sum[:0])[:tokenBytes-tokenSigned]
}

// issue makes a token that ends ttl seconds from now.
func (t *tokens) issue(now time.Time, ttl int) []byte {
	s := t.signers.Get().(*signer)
	defer t.signers.Put(s)
	expiry := now.UnixMilli() + int64(ttl)*1000
	s.raw[0], s.raw[1], s.raw[2] = 1, 0, 4
	for i := range 6 {
		s.raw[3+i] = byte(expiry >> (40 - 8*i))
	}
	_, _ = rand.Read(s.raw[9:tokenSigned])
	copy(s.raw[tokenSigned:], s.sign())
	text := make([]byte, tokenLength)
	tokenEncoding.Encode(text, s.raw[:tokenBytes])
	return text
}

// remaining returns the seconds that a token has left, rounded up. ok is false
// for a token that is not ours or has ended.
func (t *tokens) remaining(now time.Time, text string) (seconds int, ok bool) {
	if len(text) != tokenLength {
		return 0, false
	}
	s := t.signers.Get().(*signer)
	defer t.signers.Put(s)
	copy(s.src[:], text)
	if n, err := tokenEncoding.Decode(s.raw[:], s.src[:]); err != nil || n != tokenBytes {
		return 0, false
	}
	if !hmac.Equal(s.sign(), s.raw[tokenSigned:tokenBytes]) {
		return 0, false
	}
	var expiry int64
	for i := range 6 {
		expiry = expiry<<8 | int64(s.raw[3+i])
	}
	left := expiry - now.UnixMilli()
	if left <= 0 {
		return 0, false
	}
	return int((left + 999) / 1000), true
}

// parseTTL reads the header that asks for a token.
func parseTTL(s string) (seconds int, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if seconds = seconds*10 + int(s[i]-'0'); seconds > MaxTokenTTL {
			return 0, false
		}
	}
	return seconds, true
}
