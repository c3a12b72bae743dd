// Package imds is the EC2 instance metadata service as a value: a description
// of an instance goes in, answers to requests come out. It speaks IMDSv1 and
// IMDSv2 as the service on a Nitro instance does, statuses, headers and bodies
// alike, and knows nothing of sockets.
//
// The instance (Config) becomes a tree of prepared bytes. Requests are
// answered from an immutable snapshot of it; every change makes the next
// snapshot.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html
package imds

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Deps are what the service needs of others. The zero value is usable.
type Deps struct {
	// Provider obtains credentials. Nil: there are none, and the leaves that
	// would hold them do not exist.
	Provider Provider
	// Identity signs the identity document. Nil: MakeIdentity is called when
	// somebody first asks for a signature.
	Identity *Identity
	// MakeIdentity is called once at most. Nil: NewIdentity.
	MakeIdentity func() (*Identity, error)
	// Logger gets what happens in the background. Nil: nobody does.
	Logger *slog.Logger
}

// Service is one instance's metadata service. Every method is safe for
// concurrent use.
type Service struct {
	provider Provider
	identity func() (*Identity, error)
	logger   *slog.Logger
	tokens   *tokens
	current  atomic.Pointer[snapshot]
	wake     chan struct{} // tells Run that somebody wants new credentials

	mu         sync.Mutex // below: what the next snapshot is made of
	config     Config     // resolved
	configured overlay    // Config.Metadata
	options    Options    // live, all fields set
	live       overlay    // values set and removed at run time
	namespaces map[string]*namespace
	running    map[string]map[string]TaskRole // namespace → key → role of a task that runs
	format     NamespaceFormat
	stamp      time.Time // the youngest LastUpdated of a namespace
	holders    map[holderKey]*holder
	started    time.Time
	checked    time.Time // LastUpdated of the info documents
	modified   time.Time // Last-Modified
	document   []byte    // identity document, replaced or not
	signed     func() signatures
}

// New makes a service. A configuration that Validate objects to is an error of
// the type Problems. Credentials are there after the first Refresh, which Run
// does when it begins.
func New(c Config, d Deps) (*Service, error) {
	if problems := c.Validate(); len(problems) > 0 {
		return nil, Problems(problems)
	}
	now := time.Now()
	s := &Service{
		provider: d.Provider, logger: d.Logger, tokens: newTokens(), wake: make(chan struct{}, 1),
		running: map[string]map[string]TaskRole{}, holders: map[holderKey]*holder{}, started: now, checked: now, modified: now,
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case d.Identity != nil:
		s.identity = func() (*Identity, error) { return d.Identity, nil }
	case d.MakeIdentity != nil:
		s.identity = sync.OnceValues(d.MakeIdentity)
	default:
		s.identity = sync.OnceValues(NewIdentity)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(c); err != nil {
		return nil, err
	}
	s.reset()
	s.rebuild()
	return s, nil
}

// load makes c the configuration.
func (s *Service) load(c Config) error {
	o, err := configured(c.Metadata)
	if err != nil {
		return err
	}
	s.config, s.configured = c.resolved(s.started.UTC().Truncate(time.Second)), o
	return nil
}

// reset makes the configuration all there is, beside the roles of the tasks
// that run.
func (s *Service) reset() {
	s.options, s.format, s.live = s.config.Options, s.config.NamespaceFormat, newOverlay()
	old := s.namespaces
	s.namespaces = map[string]*namespace{}
	keep := func(name string) *namespace {
		if s.namespaces[name] == nil {
			n := &namespace{roles: map[string]TaskRole{}}
			if o := old[name]; o != nil {
				n.content, n.updated = o.content, o.updated
			}
			s.namespaces[name] = n
		}
		return s.namespaces[name]
	}
	for name, roles := range s.running {
		maps.Copy(keep(name).roles, roles)
	}
	for name, roles := range s.config.Namespaces {
		n := keep(name)
		for _, r := range roles {
			n.roles[r.key()] = r
		}
	}
}

// Reload replaces the configuration. Tokens stay valid, and so do the roles of
// the tasks that run. What else was changed at run time is forgotten, as by
// Reset. A configuration that Validate objects to
// is refused and changes nothing.
func (s *Service) Reload(c Config) error {
	if problems := c.Validate(); len(problems) > 0 {
		return Problems(problems)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(c); err != nil {
		return err
	}
	s.reset()
	s.changed()
	return nil
}

// Reset forgets what was changed at run time, but for the roles of the tasks
// that run.
func (s *Service) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.changed()
}

// changed makes the next snapshot after something was changed on purpose.
func (s *Service) changed() {
	s.modified = time.Now()
	s.rebuild()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// rebuild makes the next snapshot.
func (s *Service) rebuild() {
	now := time.Now()
	s.reconcile()
	c := s.config
	c.Options = s.options
	var signed func() signatures
	l := derive(c, c.Instance.document(), func() signatures { return signed() })
	s.credentials(l, now)
	s.tasks(l, now)
	s.configured.apply(l)
	s.live.apply(l)
	if _, ok := l[tagSetPath]; ok && !s.configured.touches(tagSetPath) && !s.live.touches(tagSetPath) {
		l.tagSet() // again: a tag may have been set or removed
	}
	// The signatures are those of the document that is there, which may have
	// been replaced.
	if n := l[documentPath]; n != nil && (s.signed == nil || !bytes.Equal(n.v2, s.document)) {
		document := n.v2
		s.document, s.signed = document, sync.OnceValue(func() signatures { return s.sign(document) })
	}
	if signed = s.signed; signed == nil {
		signed = func() signatures { return signatures{} } // there never was a document
	}
	s.current.Store(newSnapshot(l, s.options, s.modified))
}

// sign signs the identity document. It runs when somebody first asks for a
// signature: making keys takes longer than a server may take to start.
func (s *Service) sign(document []byte) signatures {
	identity, err := s.identity()
	if err == nil {
		var signed signatures
		if signed, err = identity.sign(document, time.Now()); err == nil {
			return signed
		}
	}
	s.logger.Error("identity document not signed", "error", err)
	return signatures{}
}

// Identity returns the keys that sign the identity document.
func (s *Service) Identity() (*Identity, error) { return s.identity() }

// SetValue puts a value at a path, for all versions that can show it. Paths
// are as in Config.Metadata. A path that cannot exist beside the others is
// Invalid.
func (s *Service) SetValue(path string, value []byte) error {
	p, err := treePath(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := conflict(p, s.current.Load().directory); err != nil {
		return err
	}
	delete(s.live.remove, p)
	s.live.set[p] = bytes.Clone(nonNil(value))
	s.changed()
	return nil
}

// RemoveValue removes a value, or a directory with all that is below it. A
// path that does not exist is NotFound.
func (s *Service) RemoveValue(path string) error {
	p, err := treePath(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load().nodes[p] == nil {
		return local.Errorf(local.NotFound, "there is nothing at %s", strings.TrimPrefix(p, "meta-data/"))
	}
	for q := range s.live.set {
		if q == p || below(q, p) {
			delete(s.live.set, q)
		}
	}
	s.live.remove[p] = true
	s.changed()
	return nil
}

// Value returns what a request with a token for the version latest would get:
// a value, or the listing of a directory. A path that does not exist is
// NotFound.
func (s *Service) Value(path string) ([]byte, error) {
	p, err := treePath(path)
	if err != nil {
		return nil, err
	}
	n := s.current.Load().nodes[p]
	if n == nil {
		return nil, local.Errorf(local.NotFound, "there is nothing at %s", strings.TrimPrefix(p, "meta-data/"))
	}
	return bytes.Clone(nonNil(n.body(latest, V2))), nil
}

// nonNil keeps an empty value apart from none.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Options returns the options in force.
func (s *Service) Options() Options { return s.current.Load().options }

// SetOptions changes the options that the patch sets. A bad value is Invalid
// and changes nothing.
func (s *Service) SetOptions(patch Options) error {
	if problems := patch.validate(); len(problems) > 0 {
		return &local.Error{Code: local.Invalid, Msg: Problems(problems).Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if patch.InstanceMetadataTags == Enabled {
		k := &checker{}
		if k.tags(s.config.Tags, true); len(k.problems) > 0 {
			return &local.Error{Code: local.Invalid, Msg: Problems(k.problems).Error()}
		}
	}
	s.options = s.options.patched(patch)
	s.changed()
	return nil
}

// Problems are what Validate found.
type Problems []Problem

// Error lists the problems.
func (p Problems) Error() string {
	text := make([]string, len(p))
	for i, problem := range p {
		text[i] = problem.String()
	}
	return strings.Join(text, "; ")
}

// Problem is one thing that a real instance could not have.
type Problem struct {
	// Path is the key in the configuration, such as instance.local-ipv4,
	// instance.interfaces[0].mac or tags.My Key.
	Path string
	// Msg says what is wrong and what would be right.
	Msg string
}

// String returns the path and the message.
func (p Problem) String() string { return fmt.Sprintf("%s: %s", p.Path, p.Msg) }
