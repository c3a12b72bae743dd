package creds

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// What offline credentials begin with, so that nobody takes them for real.
const (
	offlineKeyPrefix   = "ASIAOFFLINE"
	offlineTokenPrefix = "OFFLINE"
)

// A key id is the prefix, a number, and a check that tells ours from others and
// for which account it is: 20 characters, as AWS has them. The numbers start
// anywhere, and no two of a million in a row are the same.
const (
	keyNumber = 4
	keyCheck  = 5
)

// mostAccounts is for how many accounts, beside its own, an Issuer tells its
// key ids from others.
const mostAccounts = 32

// Issuer makes offline credentials and knows them again. It remembers none:
// what it has to know about them is sealed into their session token. An Issuer
// with the same secret knows them too, after a restart for example.
type Issuer struct {
	account   string
	seal      cipher.AEAD
	secretKey []byte // makes secret access keys of session tokens
	checkKey  []byte // makes the check in key ids
	issued    atomic.Uint32

	mu       sync.RWMutex
	accounts []string // that others than our own were issued for; oldest first
}

// claim is what a session token says. It is sealed: nobody else can read it
// or make one.
type claim struct {
	KeyID          string `json:"k"`
	Expires        int64  `json:"e"` // Unix time in seconds
	Partition      string `json:"p"`
	Account        string `json:"a"`
	RoleARN        string `json:"r,omitempty"`
	Name           string `json:"n"`
	SourceIdentity string `json:"i,omitempty"`
}

// NewIssuer returns an Issuer whose own account this is. The secret is of any
// length; without one it is made up, and nobody else knows the credentials.
func NewIssuer(account string, secret []byte) *Issuer {
	if len(secret) == 0 {
		secret = randomBytes(sha256.Size)
	}
	i := &Issuer{
		account:   account,
		seal:      newSeal(mac(secret, "ecs-local offline session token")),
		secretKey: mac(secret, "ecs-local offline secret access key"),
		checkKey:  mac(secret, "ecs-local offline access key id"),
	}
	i.issued.Store(binary.BigEndian.Uint32(randomBytes(4)))
	return i
}

// Issuer returns what knows the credentials of this Service again: nil unless
// its mode is ModeOffline.
func (s *Service) Issuer() *Issuer {
	if o, ok := s.health.next.(*offline); ok {
		return o.issuer
	}
	return nil
}

// Issue returns new credentials for an identity, which live this long, to the
// second.
func (i *Issuer) Issue(whose local.Identity, lifetime time.Duration) local.Credentials {
	expires := time.Now().UTC().Add(lifetime).Truncate(time.Second)
	number := i.number()
	keyID := offlineKeyPrefix + number + i.check(number, whose.Account)
	token := i.token(claim{
		KeyID:          keyID,
		Expires:        expires.Unix(),
		Partition:      whose.Partition,
		Account:        whose.Account,
		RoleARN:        whose.RoleARN,
		Name:           whose.Name,
		SourceIdentity: whose.SourceIdentity,
	})
	i.remember(whose.Account)
	return local.Credentials{
		RoleARN:         whose.RoleARN,
		AccessKeyID:     keyID,
		SecretAccessKey: i.secretOf(token),
		SessionToken:    token,
		Expiration:      expires,
	}
}

// AccountOf returns the account that a key id was issued for, by this Issuer
// or an earlier one with its secret. After a restart, key ids for other
// accounts than the own are known once somebody uses credentials for them.
func (i *Issuer) AccountOf(keyID string) (account string, ok bool) {
	rest, ok := strings.CutPrefix(keyID, offlineKeyPrefix)
	if !ok || len(rest) != keyNumber+keyCheck {
		return "", false
	}
	number, check := rest[:keyNumber], rest[keyNumber:]
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, account := range append([]string{i.account}, i.accounts...) {
		if i.check(number, account) == check {
			return account, true
		}
	}
	return "", false
}

// remember keeps an account for AccountOf.
func (i *Issuer) remember(account string) {
	if account == i.account {
		return
	}
	i.mu.RLock()
	known := slices.Contains(i.accounts, account)
	i.mu.RUnlock()
	if known {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if slices.Contains(i.accounts, account) {
		return
	}
	if len(i.accounts) == mostAccounts {
		i.accounts = slices.Delete(i.accounts, 0, 1)
	}
	i.accounts = append(i.accounts, account)
}

// number is the middle of the next key id: 20 bits.
func (i *Issuer) number() string {
	n := binary.BigEndian.AppendUint32(nil, i.issued.Add(1)<<12)
	return base32.StdEncoding.EncodeToString(n)[:keyNumber]
}

// check is the end of a key id.
func (i *Issuer) check(number, account string) string {
	sum := mac(i.checkKey, number+"/"+account)
	return base32.StdEncoding.EncodeToString(sum)[:keyCheck]
}

// secretOf returns the secret access key that belongs to a token: 40
// characters, as AWS has them.
func (i *Issuer) secretOf(token string) string {
	return base64.StdEncoding.EncodeToString(mac(i.secretKey, token)[:30])
}

// token seals a claim.
func (i *Issuer) token(c claim) string {
	plain, _ := json.Marshal(c) // strings and a number always encode
	return offlineTokenPrefix + base64.StdEncoding.EncodeToString(i.seal.Seal(nil, nil, plain, nil))
}

// open reads a token of ours; ok is false for any other.
func (i *Issuer) open(token string) (c claim, ok bool) {
	text, ok := strings.CutPrefix(token, offlineTokenPrefix)
	if !ok {
		return claim{}, false
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return claim{}, false
	}
	plain, err := i.seal.Open(nil, nil, sealed, nil)
	if err != nil {
		return claim{}, false
	}
	return c, json.Unmarshal(plain, &c) == nil
}

// newSeal returns what seals with a key of 32 bytes. The errors are about keys
// of other lengths and other ciphers.
func newSeal(key []byte) cipher.AEAD {
	block, _ := aes.NewCipher(key)
	seal, _ := cipher.NewGCMWithRandomNonce(block)
	return seal
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text)) // never fails, by its documentation
	return h.Sum(nil)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its documentation
	return b
}
