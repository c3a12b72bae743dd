// Package scan finds the credentials of ECS tasks in an instance metadata
// service. ECS can publish them there in namespaces, iam-ecs-1, iam-ecs-2 and
// so on, each with an info file that lists the credentials and says when they
// last changed. The reference is the ECS agent's own scanner:
// https://github.com/aws/amazon-ecs-agent/tree/master/ecs-agent/credentials/imds
//
// A Scanner makes one scan after the other and reports what changed. A
// Refresher does so at an interval and keeps what was found:
//
//	scanner := scan.New(scan.Options{Client: client})
//	refresher := scan.NewRefresher(scanner, scan.RefresherOptions{Log: log})
//	go refresher.Run(ctx)
//	…
//	credentials, ok := refresher.Credentials(taskID, scan.TaskApplication)
//
// Neither ever shows a secret: not in errors, and not in logs.
package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local"
)

// The role types that ECS uses. A scan reads any other one as well.
const (
	TaskApplication = "TaskApplication" // the task role
	TaskExecution   = "TaskExecution"   // the task execution role
)

// DefaultRate is how many requests a second a scan makes: about a tenth of
// the 1024 packets that an instance may send to its link-local services.
const DefaultRate rate.Limit = 10

const (
	root   = "/latest/meta-data" // without a slash at the end, as the agent asks
	prefix = "iam-ecs-"
)

// Client reads an instance metadata service; imdsclient.Client is one. Its
// errors must not quote what the service answers: it may be a secret.
type Client interface {
	// Get returns the value at a path from the root.
	Get(ctx context.Context, path string) ([]byte, error)
	// List returns the lines of the listing at a path from the root.
	List(ctx context.Context, path string) ([]string, error)
}

// Options say how to scan.
type Options struct {
	// Client reads the service. There must be one.
	Client Client
	// Limiter is asked before every request. Nil: DefaultRate, burst 1. What
	// the client does on its own, tokens and retries, is not counted.
	Limiter *rate.Limiter
	// Log hears of codes that nobody has defined. Nil: nobody does.
	Log *slog.Logger
}

// Scanner scans one instance metadata service. It remembers what it has read,
// so that a scan costs one request for the root and one for each namespace
// while nothing changes. It is for one goroutine at a time.
type Scanner struct {
	client  Client
	limiter *rate.Limiter
	log     *slog.Logger

	known map[string]namespace // by name; replaced by each scan that ends
}

// New makes a Scanner that has read nothing yet.
func New(opts Options) *Scanner {
	if opts.Client == nil {
		panic("scan: Options.Client is nil: imdsclient.New makes one")
	}
	s := &Scanner{client: opts.Client, limiter: opts.Limiter, log: opts.Log}
	if s.limiter == nil {
		s.limiter = rate.NewLimiter(DefaultRate, 1)
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Key is what credentials are found by.
type Key struct {
	TaskID   string // 32 hexadecimal digits in ECS: the end of the task's ARN
	RoleType string // TaskApplication or TaskExecution
}

// String returns the name of the credentials in their namespace.
func (k Key) String() string { return k.TaskID + "-" + k.RoleType }

// Entry is a key in the namespace that lists it.
type Entry struct {
	Namespace string // iam-ecs-1
	Key
	RoleARN string // empty where the info file gives none
}

// Credential is an entry with its credentials, which are always complete.
type Credential struct {
	Entry
	Credentials local.Credentials
}

// Failure is something that a scan could not read.
type Failure struct {
	Namespace string
	Name      string // of the credentials, as listed; empty for the info file
	Err       error
}

// Error says what could not be read, and why.
func (f Failure) Error() string {
	if f.Name == "" {
		return Printable(fmt.Sprintf("read info of %s: %v", f.Namespace, f.Err))
	}
	return Printable(fmt.Sprintf("read credentials %s of %s: %v", f.Name, f.Namespace, f.Err))
}

// Printable returns text with escapes in the place of what is no character to
// print: names are what a service says they are, and a terminal would obey
// some of them.
func Printable(text string) string {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		quoted := strconv.Quote(text)
		return quoted[1 : len(quoted)-1]
	}
	return text
}

// Unwrap returns the cause.
func (f Failure) Unwrap() error { return f.Err }

// Result is what one scan found. Lists are in the order of the namespaces in
// the root listing, what is gone in that of their names, and within a
// namespace everything is sorted by name.
type Result struct {
	Namespaces  []string     // all that exist
	Credentials []Credential // new or changed
	// Denied are roles that ECS may not assume, so that they have no
	// credentials: code AssumeRoleUnauthorizedAccess. They are reported when
	// the namespace changes.
	Denied []Entry
	// Unchanged are namespaces whose LastUpdated is the one that is known and
	// of which nothing was left to read.
	Unchanged []string
	// Gone are keys that no namespace lists any more, and GoneNamespaces what
	// the root does not list any more. Each is reported once.
	Gone           []Entry
	GoneNamespaces []string
	// Failures are reported by every scan until they are mended.
	Failures []Failure
	// Held is how many credentials were read, now or earlier, and still exist.
	Held int
	// Requests is how many values and listings were asked for.
	Requests int
}

// Scan looks once at everything. A namespace whose LastUpdated moved, in
// either direction, is read whole; of one that was read in part, the rest is
// tried again.
//
// What fails hides nothing else: it is in Failures. An error means that a scan
// has nothing good: the root listing failed, or something in every namespace
// did and none of them has credentials that are up to date. It names each
// failure, and the Result is valid all the same.
//
// When ctx ends, or its deadline is nearer than the rate allows to wait for,
// so does the scan, at once. Nothing of it counts then: the next one reads it
// again.
func (s *Scanner) Scan(ctx context.Context) (Result, error) {
	run := &run{Scanner: s, next: map[string]namespace{}}
	if err := run.all(ctx); err != nil {
		return Result{Requests: run.result.Requests}, fmt.Errorf("scan IMDS: %w", err)
	}
	run.findGone()
	s.known = run.next
	if len(run.result.Failures) > 0 && !run.good {
		failures := make([]error, len(run.result.Failures))
		for i, f := range run.result.Failures {
			failures[i] = f
		}
		return run.result, fmt.Errorf("scan IMDS: nothing could be read: %w", errors.Join(failures...))
	}
	return run.result, nil
}

// namespace is what is known of one. A value is not changed once it is stored.
type namespace struct {
	lastUpdated time.Time
	read        bool             // the info file was read; otherwise the rest is empty
	entries     []Entry          // sorted by name
	held        map[Key]struct{} // credentials that were read
	pending     map[Key]struct{} // credentials that could not be read
	malformed   []Failure        // names that are no keys
}

// current is how many credentials are held that need not be read again.
func (n namespace) current() int {
	count := 0
	for key := range n.held {
		if _, ok := n.pending[key]; !ok {
			count++
		}
	}
	return count
}

// run is one scan under way.
type run struct {
	*Scanner
	next   map[string]namespace
	result Result
	good   bool
	over   error // the rate does not allow another request in time
}

// all reads everything. Its error is that of the root listing, or says why the
// scan ended early.
func (r *run) all(ctx context.Context) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	lines, err := r.client.List(ctx, root)
	if over := r.ended(ctx); over != nil {
		return over
	}
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	for _, line := range lines {
		name := strings.TrimSuffix(line, "/")
		if !strings.HasPrefix(name, prefix) || slices.Contains(r.result.Namespaces, name) {
			continue
		}
		r.result.Namespaces = append(r.result.Namespaces, name)
	}
	for _, name := range r.result.Namespaces {
		if err := r.namespace(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// namespace reads what is not known of one. Its error says why the scan ended
// early.
func (r *run) namespace(ctx context.Context, name string) error {
	known := r.known[name]
	info, err := r.info(ctx, name)
	if over := r.ended(ctx); over != nil {
		return over
	}
	if err != nil {
		r.result.Failures = append(r.result.Failures, Failure{Namespace: name, Err: err})
		r.next[name] = known // what was good stays so
		r.result.Held += len(known.held)
		return nil
	}
	now, failed := known, len(r.result.Failures)
	changed := !known.read || !known.lastUpdated.Equal(info.lastUpdated)
	if changed {
		now = r.changed(name, info, known)
	}
	r.result.Failures = append(r.result.Failures, now.malformed...)
	if !changed && len(now.pending) == 0 {
		r.result.Unchanged = append(r.result.Unchanged, name)
	} else if now, err = r.fetchPending(ctx, now); err != nil {
		return err
	}
	r.good = r.good || now.current() > 0 || len(r.result.Failures) == failed
	r.result.Held += len(now.held)
	r.next[name] = now
	return nil
}

// changed returns the namespace as its info file describes it, with everything
// that has credentials still to be read. What was read earlier stays held
// until it is replaced.
func (r *run) changed(name string, info info, known namespace) namespace {
	now := namespace{
		lastUpdated: info.lastUpdated,
		read:        true,
		held:        map[Key]struct{}{},
		pending:     map[Key]struct{}{},
	}
	for _, listed := range info.listed {
		key, err := parseKey(listed.name)
		if err != nil {
			now.malformed = append(now.malformed, Failure{Namespace: name, Name: listed.name, Err: err})
			continue
		}
		entry := Entry{Namespace: name, Key: key, RoleARN: listed.roleARN}
		now.entries = append(now.entries, entry)
		if _, ok := known.held[key]; ok {
			now.held[key] = struct{}{}
		}
		switch listed.code {
		case codeDenied:
			r.result.Denied = append(r.result.Denied, entry)
			continue
		case codeUnknown:
			r.log.Warn("unknown code of task credentials; reading them all the same", "namespace", name, "credentials", listed.name)
		}
		now.pending[key] = struct{}{}
	}
	return now
}

// fetchPending reads the credentials that are pending. Its error says why the
// scan ended early.
func (r *run) fetchPending(ctx context.Context, n namespace) (namespace, error) {
	held, pending := map[Key]struct{}{}, map[Key]struct{}{}
	for _, entry := range n.entries {
		if _, ok := n.held[entry.Key]; ok {
			held[entry.Key] = struct{}{}
		}
		if _, ok := n.pending[entry.Key]; !ok {
			continue
		}
		credentials, err := r.credentials(ctx, entry)
		if over := r.ended(ctx); over != nil {
			return namespace{}, over
		}
		if err != nil {
			pending[entry.Key] = struct{}{}
			r.result.Failures = append(r.result.Failures, Failure{Namespace: entry.Namespace, Name: entry.String(), Err: err})
			continue
		}
		held[entry.Key] = struct{}{}
		r.result.Credentials = append(r.result.Credentials, Credential{Entry: entry, Credentials: credentials})
	}
	n.held, n.pending = held, pending
	return n, nil
}

// findGone compares what was known with what is known now. A key that moved to
// another namespace is not gone.
func (r *run) findGone() {
	listed := map[Key]struct{}{}
	for _, n := range r.next {
		for _, entry := range n.entries {
			listed[entry.Key] = struct{}{}
		}
	}
	for _, name := range sortedKeys(r.known) {
		for _, entry := range r.known[name].entries {
			if _, ok := listed[entry.Key]; !ok {
				r.result.Gone = append(r.result.Gone, entry)
				listed[entry.Key] = struct{}{} // once, also when two namespaces had it
			}
		}
		if _, ok := r.next[name]; !ok {
			r.result.GoneNamespaces = append(r.result.GoneNamespaces, name)
		}
	}
}

// info reads the info file of a namespace.
func (r *run) info(ctx context.Context, name string) (info, error) {
	body, err := r.get(ctx, root+"/"+name+"/info")
	if err != nil {
		return info{}, err
	}
	return parseInfo(body)
}

// credentials reads the credentials of an entry.
func (r *run) credentials(ctx context.Context, entry Entry) (local.Credentials, error) {
	body, err := r.get(ctx, root+"/"+entry.Namespace+"/security-credentials/"+entry.String())
	if err != nil {
		return local.Credentials{}, err
	}
	return parseCredentials(body, entry.RoleARN)
}

func (r *run) get(ctx context.Context, path string) ([]byte, error) {
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	return r.client.Get(ctx, path)
}

// wait keeps to the rate and counts the request that follows.
func (r *run) wait(ctx context.Context) error {
	if err := r.limiter.Wait(ctx); err != nil {
		if ctx.Err() == nil {
			r.over = errors.Join(context.DeadlineExceeded, err)
		}
		return r.ended(ctx)
	}
	r.result.Requests++
	return nil
}

// ended returns why the scan must not go on; nil if it may.
func (r *run) ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.over
}
