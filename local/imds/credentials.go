package imds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ecs-local/ecs-local/local"
)

// Delivery is how credentials leave the service. The same role has different
// keys for either, which IAM policies tell apart as ec2:RoleDelivery.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
type Delivery int

// The deliveries.
const (
	V1 Delivery = 1 // to a request without a token
	V2 Delivery = 2 // to a request with one
)

// Use is what credentials are for.
type Use int

// The uses.
const (
	InstanceProfile  Use = iota + 1 // iam/security-credentials/<role>
	InstanceIdentity                // identity-credentials/ec2/security-credentials/ec2-instance
	TaskCredentials                 // iam-ecs-<N>/security-credentials/<task>-<role type>
)

// Ask is what a Provider is asked for.
type Ask struct {
	Use  Use
	Role local.Role // zero for InstanceIdentity
	// Delivery is V2 for TaskCredentials.
	Delivery Delivery
	// Session says who will have the credentials: the id of the instance or
	// the task.
	Session string
	// Fresh asks for keys other than those given before.
	Fresh bool
}

// Provider obtains credentials. A role that may not be assumed is local.Denied;
// any other error is tried again later.
type Provider func(ctx context.Context, a Ask) (local.Credentials, error)

// Credentials are renewed between these times before they end. Clients expect
// new ones at least five minutes before.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
const (
	renewEarliest = time.Hour
	renewLatest   = 5 * time.Minute

	// renewPause is the least time between two renewals of the same keys that
	// live longer than a minute; for others it is half of their life, but not
	// less than shortPause.
	renewPause = 30 * time.Second
	shortPause = time.Second
	// retryFirst and retryMost bound the pauses between failed attempts.
	retryFirst = time.Second
	retryMost  = time.Minute

	// atOnce is how many credentials are asked for at the same time.
	atOnce = 8
)

// holderKey names credentials that the tree shows.
type holderKey struct {
	use             Use
	delivery        Delivery
	namespace, task string
}

// holder keeps one role's keys ready.
type holder struct {
	ask      Ask
	keys     *local.Credentials // nil until there are some
	denied   bool               // the role may not be assumed; keys is nil
	updated  time.Time          // when keys or denied became what they are
	due      time.Time          // when to ask; zero: now
	failures int                // in a row
	attempt  *attempt           // under way; nil when there is none
}

// document returns the credentials document, or nil when there is none.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
func (h *holder) document(now time.Time) []byte {
	switch {
	case h == nil:
		return nil
	case h.denied:
		return object{
			{"Code", unauthorized},
			{"Message", "EC2 cannot assume the role " + roleName(h.ask.Role) + ".  Please see documentation at " +
				"https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html#troubleshoot_iam-ec2_errors-info-doc."},
			{"LastUpdated", instant(h.updated)},
		}.bytes()
	case !h.alive(now):
		return nil
	default:
		return object{
			{"Code", success},
			{"LastUpdated", instant(h.updated)},
			{"Type", "AWS-HMAC"},
			{"AccessKeyId", h.keys.AccessKeyID},
			{"SecretAccessKey", h.keys.SecretAccessKey},
			{"Token", h.keys.SessionToken},
			{"Expiration", instant(h.keys.Expiration)},
		}.bytes()
	}
}

// Values of Code.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html
const (
	success      = "Success"
	unauthorized = "AssumeRoleUnauthorizedAccess"
)

// alive reports whether there are keys that have not ended.
func (h *holder) alive(now time.Time) bool { return h.keys != nil && now.Before(h.keys.Expiration) }

// take stores the outcome of an attempt and reports whether the tree changes.
func (h *holder) take(now time.Time, keys local.Credentials, err error) bool {
	if err == nil || local.CodeOf(err) == local.Denied {
		h.ask.Fresh = false
	}
	switch {
	case err == nil:
		changed := h.denied || h.keys == nil || *h.keys != keys
		if changed {
			h.updated = now
		}
		h.keys, h.denied, h.failures = &keys, false, 0
		h.due = renewal(now, keys.Expiration)
		return changed
	case local.CodeOf(err) == local.Denied:
		changed := !h.denied
		if changed {
			h.updated = now
		}
		h.keys, h.denied, h.failures = nil, true, 0
		h.due = now.Add(retryMost)
		return changed
	default:
		h.due = now.Add(min(retryFirst<<min(h.failures, 6), retryMost))
		h.failures++
		ended := h.keys != nil && !h.alive(now)
		if ended {
			h.keys = nil
		}
		return ended
	}
}

// renewal returns when to renew keys: half of their life before they end, but
// not more than an hour and, when they live longer than that, not less than
// five minutes before.
func renewal(now, end time.Time) time.Time {
	life := end.Sub(now)
	early := min(life/2, renewEarliest)
	pause := renewPause
	switch {
	case life > renewLatest:
		early = max(early, renewLatest)
	case life > 0:
		pause = max(min(pause, life/2), shortPause)
	}
	if next := now.Add(pause); end.Add(-early).Before(next) {
		return next
	}
	return end.Add(-early)
}

// reconcile makes the holders those that the tree needs.
func (s *Service) reconcile() {
	if s.provider == nil {
		return
	}
	want := map[holderKey]Ask{}
	for _, d := range []Delivery{V1, V2} {
		id := s.config.Instance.InstanceID
		want[holderKey{use: InstanceIdentity, delivery: d}] = Ask{Use: InstanceIdentity, Delivery: d, Session: id}
		if s.config.Role != "" {
			want[holderKey{use: InstanceProfile, delivery: d}] = Ask{Use: InstanceProfile, Role: role(s.config.Role), Delivery: d, Session: id}
		}
	}
	for name, n := range s.namespaces {
		for key, r := range n.roles {
			want[holderKey{use: TaskCredentials, delivery: V2, namespace: name, task: key}] = Ask{
				Use: TaskCredentials, Role: role(r.Role), Delivery: V2, Session: r.Task,
			}
		}
	}
	maps.DeleteFunc(s.holders, func(k holderKey, h *holder) bool {
		ask, ok := want[k]
		ask.Fresh = h.ask.Fresh
		return !ok || ask != h.ask
	})
	for k, ask := range want {
		if s.holders[k] == nil {
			s.holders[k] = &holder{ask: ask}
		}
	}
}

// Refresh obtains the credentials that are missing or due for renewal, and
// returns when they are in the tree. The error names every role that failed;
// it is a fault of the provider, never that a role may not be assumed, which
// is an answer.
func (s *Service) Refresh(ctx context.Context) error {
	return s.refresh(ctx, false, func(_ holderKey, h *holder) bool { return !h.due.After(time.Now()) })
}

// attempt is one question to the provider.
type attempt struct {
	key    holderKey
	holder *holder
	ask    Ask
	keys   local.Credentials
	err    error
	ended  chan struct{} // closed when what came of it is in the tree
	given  bool          // up, because its context ended
}

// refresh obtains the chosen credentials. What somebody else is asking for
// already is waited for; if it has to be fresh, it is asked for again then.
func (s *Service) refresh(ctx context.Context, fresh bool, choose func(holderKey, *holder) bool) error {
	done := map[*holder]bool{}
	var failed []error
	for {
		attempts, others := s.begin(fresh, func(k holderKey, h *holder) bool { return !done[h] && choose(k, h) })
		if err := s.ask(ctx, attempts); err != nil {
			return err
		}
		for _, a := range attempts {
			done[a.holder] = true
			failed = append(failed, a.failure())
		}
		if len(others) == 0 {
			return errors.Join(failed...)
		}
		for _, a := range others {
			select {
			case <-a.ended:
			case <-ctx.Done():
				return ctx.Err()
			}
			if !fresh && !a.given {
				done[a.holder] = true
				failed = append(failed, a.failure())
			}
		}
	}
}

// begin makes an attempt for each chosen holder, and returns those under way.
func (s *Service) begin(fresh bool, choose func(holderKey, *holder) bool) (attempts, others []*attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, h := range s.holders {
		switch {
		case !choose(k, h):
		case h.attempt != nil:
			others = append(others, h.attempt)
		default:
			h.ask.Fresh = h.ask.Fresh || fresh
			h.attempt = &attempt{key: k, holder: h, ask: h.ask, ended: make(chan struct{})}
			attempts = append(attempts, h.attempt)
		}
	}
	slices.SortFunc(attempts, func(a, b *attempt) int {
		return cmp.Or(cmp.Compare(a.key.use, b.key.use), cmp.Compare(a.key.delivery, b.key.delivery),
			strings.Compare(a.key.namespace, b.key.namespace), strings.Compare(a.key.task, b.key.task))
	})
	return attempts, others
}

// ask makes the attempts and puts what comes of them into the tree. Its error
// is that of the context.
func (s *Service) ask(ctx context.Context, attempts []*attempt) error {
	if len(attempts) == 0 {
		return nil
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, a := range attempts {
		group.Go(func() error {
			a.keys, a.err = s.provider(ctx, a.ask)
			return nil
		})
	}
	_ = group.Wait() // the errors are in the attempts
	over := ctx.Err()

	s.mu.Lock()
	defer s.mu.Unlock()
	now, changed, said := time.Now(), false, map[string]bool{}
	for _, a := range attempts {
		a.holder.attempt, a.given = nil, over != nil
		if over != nil || s.holders[a.key] != a.holder {
			continue // not wanted, or no longer
		}
		if err := a.failure(); err != nil && !said[err.Error()] {
			said[err.Error()] = true // the keys of IMDSv1 and IMDSv2 fail alike
			s.logger.Warn("instance metadata credentials not renewed", "error", err)
		}
		if !a.holder.take(now, a.keys, a.err) {
			continue
		}
		changed = true
		if a.holder.denied {
			s.logger.Warn("role cannot be assumed", slog.String("role", a.key.subject(a.ask)), slog.String("reason", local.MessageOf(a.err)))
		}
	}
	if changed {
		s.checked, s.modified = now, now
		s.rebuild()
	}
	for _, a := range attempts {
		close(a.ended)
	}
	return over
}

// failure returns why there are no keys; nil if there are, or if the role may
// not be assumed, which is an answer.
func (a *attempt) failure() error {
	if a.err == nil || local.CodeOf(a.err) == local.Denied {
		return nil
	}
	return fmt.Errorf("get credentials of %s: %w", a.key.subject(a.ask), a.err)
}

// subject names credentials in a message.
func (k holderKey) subject(a Ask) string {
	switch k.use {
	case InstanceIdentity:
		return "the instance"
	case TaskCredentials:
		return fmt.Sprintf("%s for %s/%s", a.Role, k.namespace, k.task)
	default:
		return a.Role.String()
	}
}

// Run keeps the credentials fresh until the context ends. What fails is logged
// and tried again.
func (s *Service) Run(ctx context.Context) {
	if s.provider == nil {
		<-ctx.Done()
		return
	}
	for {
		_ = s.Refresh(ctx) // what failed is logged
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-time.After(time.Until(s.next())):
		}
	}
}

// next returns when the next credentials are due.
func (s *Service) next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Now().Add(retryMost)
	for _, h := range s.holders {
		if h.due.Before(next) {
			next = h.due
		}
	}
	return next
}

// Rotate obtains other keys for the instance: those of its profile and those
// of its identity.
func (s *Service) Rotate(ctx context.Context) error {
	return s.rotate(ctx, func(k holderKey) bool { return k.use != TaskCredentials })
}

// rotate obtains other keys for some of the holders.
func (s *Service) rotate(ctx context.Context, choose func(holderKey) bool) error {
	return s.refresh(ctx, true, func(k holderKey, _ *holder) bool { return choose(k) })
}
