// Package creds turns roles into credentials: through STS with the
// developer's own base credentials, or made up on the spot for work without
// an AWS account. What was obtained is cached and renewed before it expires.
package creds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Provider returns the credentials of a role.
type Provider interface {
	// Credentials returns credentials that are valid now. The zero role is
	// the developer's own session. The session says who asked, a container's
	// name, and becomes part of the session's name in CloudTrail. Errors are
	// of type local.Error, or the end of ctx.
	Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error)
}

// Mode says where credentials come from.
type Mode string

// The modes.
const (
	ModeAuto    Mode = "auto"    // ModeSTS with base credentials, ModeOffline without any
	ModeSTS     Mode = "sts"     // STS, or an error
	ModeOffline Mode = "offline" // well-formed credentials that no AWS service accepts
)

// Defaults of Options.
const (
	DefaultSharedTokenExpiration = 750 * time.Second
	DefaultTimeout               = 9 * time.Second // the answer is there within ten
)

// offlineLifetime is how long offline credentials live unless
// Options.Lifetime says otherwise. It is what STS gives an assumed role.
const offlineLifetime = time.Hour

// Options are what New needs. The zero value is usable.
type Options struct {
	Mode Mode // default ModeAuto

	// Region is used when neither the environment nor the AWS configuration
	// files name one. Default local.DefaultRegion.
	Region string

	// STSEndpoint is the URL of STS; https:// is assumed when the scheme is
	// missing. Empty: what the SDK resolves, AWS_ENDPOINT_URL_STS included.
	STSEndpoint string

	// SharedTokenExpiration is how long temporary base credentials whose
	// expiry is unknown are said to live when they are handed on.
	SharedTokenExpiration time.Duration

	// KeysExpire is when the temporary keys in the environment end, where that
	// is known.
	KeysExpire time.Time

	// MissingKey names a variable that the keys in the environment lack. They
	// count as there but unusable, unless there are other base credentials.
	MissingKey string

	// Account is shown in the ARNs of offline roles. Default
	// local.DefaultAccount.
	Account string

	// AllowIMDS and AllowContainer admit base credentials from the instance
	// metadata service and from AWS_CONTAINER_CREDENTIALS_*. Without them
	// these sources count as absent, so that ecs-local never asks itself.
	AllowIMDS      bool
	AllowContainer bool

	// Secret makes offline credentials known again after a restart with the
	// same one. Empty: they are known to this Service alone.
	Secret []byte

	// Lifetime is how long credentials live that are handed out, a second to
	// 12 hours, but never longer than they really do. STS knows none under 15
	// minutes: below, credentials of 15 minutes are said to end earlier, and
	// are replaced by others then. Zero: STS decides; offline an hour.
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
	Lifetime time.Duration

	// Roles is what STS is asked about single roles. A key is a role's name,
	// path and name, or ARN; a name is also good for its ARN in the
	// developer's account, and the other way round. It says nothing offline.
	Roles map[string]local.SessionOptions

	// Timeout bounds everything that one request for credentials may have to
	// wait for, retries included. Default DefaultTimeout.
	Timeout time.Duration

	Log *slog.Logger // default: nothing is logged
}

// Service is the provider that the mode asks for, behind a cache.
type Service struct {
	mode   Mode
	base   *base        // nil in ModeOffline
	sts    *stsProvider // nil in ModeOffline
	health *observed
	cache  *cache
	log    *slog.Logger

	nextLook   atomic.Int64 // at the AWS files; nanoseconds since 1970
	unreadable atomic.Bool  // the last look found them so
}

var _ Provider = (*Service)(nil)

// Status is the state of a Service. It holds no secrets.
type Status struct {
	Mode Mode // ModeSTS or ModeOffline

	// Identity is the ARN behind the base credentials and Account its
	// account. They are empty until a request had to ask STS for them; the
	// status never does. Offline only the account is known.
	Identity string
	Account  string

	// LastError says why credentials cannot be had at present, as a client
	// reads it. It is empty when the last attempt succeeded, or failed only
	// for reasons of the one role that it was about.
	LastError string

	// Since is when LastError came up or went away.
	Since time.Time

	// MFA is about the MFA device of the profile in use; nil without one.
	MFA *MFAStatus
}

// New returns a Service. It makes no network call. Base credentials that are
// missing or broken are no error here but in Status and to whoever asks for
// credentials; they are looked for again then. An option that makes no sense
// is an error.
func New(ctx context.Context, opts Options) (*Service, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	roles, err := parseRoles(opts.Roles)
	if err != nil {
		return nil, err
	}
	s := &Service{mode: opts.Mode, log: opts.Log}
	b := newBase(opts)
	var startErr error
	if opts.Mode != ModeOffline {
		var a *account
		if a, startErr = b.account(ctx); startErr == nil && a.mfa != nil {
			_, startErr = a.mfa.live()
		}
		s.mode = ModeSTS
		if opts.Mode == ModeAuto && isNoBase(startErr) {
			s.mode = ModeOffline
			opts.Log.Warn("no AWS credentials found: containers get offline credentials that AWS does not accept; configure AWS credentials, or say --credentials offline (ECS_LOCAL_CREDENTIALS=offline) to silence this")
		}
	}

	var source Provider
	if s.mode == ModeOffline {
		source = newOffline(b.region(ctx), opts)
	} else {
		s.base = b
		s.sts = &stsProvider{base: b, sharedTokenExpiration: opts.SharedTokenExpiration, lifetime: opts.Lifetime}
		s.sts.roles.Store(&roles)
		source = s.sts
	}
	s.health = newObserved(source)
	if s.mode == ModeSTS && startErr != nil {
		s.health.record(startErr)
		opts.Log.Warn("AWS credentials cannot be used yet", "reason", local.MessageOf(startErr))
	}
	s.cache = newCache(s.health, opts.Timeout, opts.Log)
	if s.base != nil {
		s.sts.sources = s.cache
		b.replaced = s.accountReplaced
		s.nextLook.Store(time.Now().Add(lookPause).UnixNano())
	}
	return s, nil
}

// Credentials implements Provider. A role whose credentials are known is
// answered without a lock and without a call.
func (s *Service) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	now := time.Now()
	if s.base != nil && now.UnixNano() >= s.nextLook.Load() {
		s.look(ctx, now)
	}
	return s.cache.at(ctx, now, role, session)
}

// look looks at the AWS files, unless somebody else did within a second. What
// was obtained with another account than they lead to now is dropped.
func (s *Service) look(ctx context.Context, now time.Time) {
	next := s.nextLook.Load()
	if now.UnixNano() < next || !s.nextLook.CompareAndSwap(next, now.Add(lookPause).UnixNano()) || !s.base.files.changed() {
		return
	}
	if _, err := s.base.account(context.WithoutCancel(ctx)); err != nil {
		if !s.unreadable.Swap(true) {
			s.log.Warn("AWS configuration has changed and cannot be used; known credentials are served until they expire",
				"reason", local.MessageOf(err))
		}
		s.health.record(err)
		return
	}
	if s.unreadable.Swap(false) {
		s.health.record(nil)
	}
	s.cache.forgetFailures() // a new login is used at once
}

// accountReplaced drops what was obtained with another account.
func (s *Service) accountReplaced() {
	s.log.Info("AWS configuration has changed; credentials are obtained anew")
	s.cache.drop(func(local.Role) bool { return true })
}

// Rotate drops cached credentials, so that the next request gets new ones:
// those of one role, or all when it is nil. A request that is being answered
// keeps what it gets, but nobody after it does. It returns the roles whose
// credentials were dropped. Temporary base credentials are renewed, too, when
// those of the session are dropped; an open MFA session stays.
func (s *Service) Rotate(role *local.Role) []local.Role {
	var id *identity
	if s.base == nil {
		id = s.health.next.(*offline).identity()
	} else {
		id = s.base.knownIdentity()
		if a := s.base.current.Load(); a != nil && (role == nil || role.Session()) {
			a.expire()
		}
	}
	return s.cache.drop(func(r local.Role) bool { return role == nil || id.same(*role, r) })
}

// Uncached returns a Provider that asks the same source each time, for those
// who keep and renew credentials themselves. Two requests for one role get
// different keys, except for the session when the base credentials are
// temporary and are handed on.
func (s *Service) Uncached() Provider { return uncached{s.health, s.cache.timeout} }

type uncached struct {
	next    Provider
	timeout time.Duration
}

func (u uncached) Credentials(ctx context.Context, role local.Role, session string) (local.Credentials, error) {
	return fetch(ctx, u.next, u.timeout, role, session)
}

// RoleRefused reports whether an error says that the one role it is about
// cannot be had, and nothing about the base credentials or STS.
func RoleRefused(err error) bool {
	return local.CodeOf(err) == local.Denied && errors.Is(err, errAboutRole)
}

// Status returns the present state. It makes no call.
func (s *Service) Status() Status {
	if s.base != nil {
		s.look(context.Background(), time.Now())
	}
	st := Status{Mode: s.mode}
	st.LastError, st.Since = s.health.last()
	if s.base == nil {
		st.Account = s.health.next.(*offline).account
	} else if id := s.base.knownIdentity(); id != nil {
		st.Identity, st.Account = id.arn, id.account
	}
	if s.base != nil {
		if a := s.base.current.Load(); a != nil {
			st.MFA = a.mfa.status()
		}
	}
	return st
}

// Close ends background work and calls that are under way.
func (s *Service) Close() { s.cache.close() }

func (o Options) withDefaults() (Options, error) {
	if o.Mode == "" {
		o.Mode = ModeAuto
	}
	if o.Mode != ModeAuto && o.Mode != ModeSTS && o.Mode != ModeOffline {
		return o, fmt.Errorf("unknown credentials mode %q: use auto, sts or offline", o.Mode)
	}
	if o.Region == "" {
		o.Region = local.DefaultRegion
	}
	if o.STSEndpoint != "" {
		if !strings.Contains(o.STSEndpoint, "://") {
			o.STSEndpoint = "https://" + o.STSEndpoint
		}
		// The URL itself is left out of the message: it may hold a password.
		u, err := url.Parse(o.STSEndpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return o, fmt.Errorf("the STS endpoint is not a URL: it looks like https://sts.us-east-1.amazonaws.com")
		}
	}
	if o.SharedTokenExpiration == 0 {
		o.SharedTokenExpiration = DefaultSharedTokenExpiration
	}
	if o.SharedTokenExpiration < time.Second {
		return o, fmt.Errorf("shared token expiration %s is too short: use a second or more", o.SharedTokenExpiration)
	}
	if o.Account == "" {
		o.Account = local.DefaultAccount
	}
	if o.Lifetime != 0 && (o.Lifetime < time.Second || o.Lifetime > longestSession) {
		return o, fmt.Errorf("credentials lifetime %s is too short, or longer than STS allows: use 1s to 12h", o.Lifetime)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
