package creds

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/ecs-local/ecs-local/local"
)

// MFAStatus is what Status says about the MFA device of the profile in use.
type MFAStatus struct {
	Serial string    // the device's serial number or ARN
	Needed bool      // a code has to be given before there are credentials
	Until  time.Time // the end of what the last code opened; zero without one
}

// MFA gives a code of the MFA device that the profile in use names as its
// mfa_serial. With long-term keys it opens a session, with which the profile's
// role is assumed again and again; with temporary source credentials it
// assumes the role itself. Either is kept until it ends. One code is tried at
// a time, and one that AWS refuses changes nothing.
//
// A code that is not 6 digits, or that nobody asked for, is Invalid; one that
// AWS refuses is Denied.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func (s *Service) MFA(ctx context.Context, code string) error {
	if len(code) != 6 || strings.Trim(code, "0123456789") != "" {
		return local.Errorf(local.Invalid, "an MFA code is the 6 digits that the device shows")
	}
	if s.base == nil {
		return local.Errorf(local.Invalid, "credentials are offline: no MFA code is needed")
	}
	ctx, cancel := context.WithTimeout(ctx, s.cache.timeout)
	defer cancel()
	a, err := s.base.account(ctx)
	if err != nil {
		return err
	}
	if a.mfa == nil {
		return local.Errorf(local.Invalid, "no MFA code is needed: the AWS credentials in use have no mfa_serial")
	}
	if err := a.mfa.open(ctx, code); err != nil {
		return a.explainMFA(err, code)
	}
	a.expire()
	s.health.record(nil)
	s.cache.forgetFailures()
	return nil
}

// mfa stands between the profile that has an mfa_serial and its source. Until
// a code has been given it answers with what to do, without a call.
type mfa struct {
	serial  string
	profile string
	role    *config.SharedConfig // the profile whose role_arn needs the code; nil: none

	client *sts.Client          // of the source credentials
	input  *sts.AssumeRoleInput // of the role; nil: none

	turn    chan struct{} // one code at a time
	session atomic.Pointer[mfaSession]
}

// mfaSession is what a code has opened.
type mfaSession struct {
	value  aws.Credentials
	isRole bool // the role itself, not a session that may assume it
}

var (
	_ stscreds.AssumeRoleAPIClient = (*mfa)(nil)
	_ aws.CredentialsProvider      = (*mfa)(nil)
)

// newMFA returns the device of the profile, or of the profile in its chain of
// source_profile that is assumed first. Those that are assumed with its
// credentials cannot have one: the session of a role has no device. Nil means
// that there is none.
func newMFA(env config.EnvConfig, shared config.SharedConfig) *mfa {
	if env.Credentials.HasKeys() || env.WebIdentityTokenFilePath != "" {
		return nil // the profile is not used
	}
	var with *config.SharedConfig
	for c := &shared; c != nil; c = c.Source {
		if c.MFASerial != "" && c.RoleARN != "" && c.WebIdentityTokenFile == "" {
			with = c
		}
	}
	leaf := leafOf(&shared)
	switch {
	case with != nil:
		return &mfa{serial: with.MFASerial, profile: with.Profile, role: with, turn: make(chan struct{}, 1)}
	case leaf.MFASerial != "" && leaf.Credentials.HasKeys() && leaf.Credentials.SessionToken == "":
		m := &mfa{serial: leaf.MFASerial, profile: leaf.Profile, turn: make(chan struct{}, 1)}
		for c := &shared; c != leaf; c = c.Source {
			if c.RoleARN != "" {
				m.role = c
			}
		}
		return m
	default:
		return nil
	}
}

// take makes the role that the SDK is about to set up go through m when it is
// the one that needs the code. The client is nil when the SDK only checks.
func (m *mfa) take(o *stscreds.AssumeRoleOptions, c *sts.Client) {
	if m == nil {
		return
	}
	o.SerialNumber = nil // m brings the code
	if c == nil || m.client != nil || m.role == nil || o.RoleARN != m.role.RoleARN {
		return
	}
	name := o.RoleSessionName
	if name == "" {
		name = sessionName("")
	}
	m.client = c
	m.input = &sts.AssumeRoleInput{RoleArn: aws.String(o.RoleARN), RoleSessionName: &name, ExternalId: o.ExternalID}
	if d := m.role.RoleDurationSeconds; d != nil {
		o.Duration = *d
		m.input.DurationSeconds = aws.Int32(int32(*d / time.Second))
	}
	o.Client = m
}

// open tries a code.
func (m *mfa) open(ctx context.Context, code string) error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	source, err := m.client.Options().Credentials.Retrieve(ctx)
	if err != nil {
		return &baseError{err}
	}
	if source.SessionToken == "" {
		out, err := m.client.GetSessionToken(ctx, &sts.GetSessionTokenInput{SerialNumber: &m.serial, TokenCode: &code})
		if err != nil {
			return err
		}
		return m.keep(out.Credentials, false)
	}
	in := *m.input // there is a role: see newMFA
	in.SerialNumber, in.TokenCode = &m.serial, &code
	out, err := m.client.AssumeRole(ctx, &in)
	if err != nil {
		return err
	}
	return m.keep(out.Credentials, true)
}

func (m *mfa) keep(c *types.Credentials, isRole bool) error {
	v, err := fromSTS("", c)
	if err != nil {
		return err
	}
	m.session.Store(&mfaSession{isRole: isRole, value: aws.Credentials{
		AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey, SessionToken: v.SessionToken,
		Source: "MFA", CanExpire: true, Expires: v.Expiration,
	}})
	return nil
}

// live returns what the last code opened, or the error that asks for one.
func (m *mfa) live() (*mfaSession, error) {
	if s := m.session.Load(); s != nil && time.Now().Before(s.value.Expires) {
		return s, nil
	}
	return nil, &local.Error{Code: local.Denied, Name: "MFARequired",
		Msg: "AWS profile " + m.profile + " needs a code of the MFA device " + m.serial +
			": run `ecs-local mfa CODE`, or POST it to /v1/credentials/mfa of the control address"}
}

// AssumeRole implements stscreds.AssumeRoleAPIClient for the SDK's chain.
func (m *mfa) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, opts ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	s, err := m.live()
	if err != nil {
		return nil, err
	}
	if s.isRole {
		return &sts.AssumeRoleOutput{Credentials: &types.Credentials{
			AccessKeyId: &s.value.AccessKeyID, SecretAccessKey: &s.value.SecretAccessKey,
			SessionToken: &s.value.SessionToken, Expiration: &s.value.Expires,
		}}, nil
	}
	return sts.New(m.client.Options(), withCredentials(s.value)).AssumeRole(ctx, in, opts...)
}

// Retrieve implements aws.CredentialsProvider for keys without a role.
func (m *mfa) Retrieve(context.Context) (aws.Credentials, error) {
	s, err := m.live()
	if err != nil {
		return aws.Credentials{}, err
	}
	return s.value, nil
}

func (m *mfa) status() *MFAStatus {
	if m == nil {
		return nil
	}
	st := &MFAStatus{Serial: m.serial, Needed: true}
	if s, err := m.live(); err == nil {
		st.Needed, st.Until = false, s.value.Expires.UTC()
	}
	return st
}

// explainMFA turns a failure of open into an error for the developer.
func (a *account) explainMFA(err error, code string) *local.Error {
	call := stsCall{doing: "the MFA code", secrets: []string{code}}
	var api smithy.APIError
	if errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "AccessDenied") && strings.Contains(api.ErrorMessage(), "MultiFactorAuthentication") {
		known := append(a.secrets(), code)
		return &local.Error{
			Code: local.Denied, Name: api.ErrorCode(),
			Msg: "AWS refuses the MFA code for " + a.mfa.serial + " (" + strings.TrimSuffix(redact(api.ErrorMessage(), known...), ".") +
				"): check that mfa_serial is the device that shows it, wait for the next code (each is good once) and give that",
			Err: &cause{text: redact(err.Error(), known...)},
		}
	}
	return a.explain(err, call)
}

// withCredentials makes an STS client sign with these.
func withCredentials(v aws.Credentials) func(*sts.Options) {
	return func(o *sts.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return v, nil })
	}
}
