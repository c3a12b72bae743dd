package imdsclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local"
)

// Defaults of WalkOptions. An instance may send 1024 packets a second to its
// link-local services and a request takes about ten, so this is half of it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
const (
	DefaultWalkRate  = 50
	DefaultWalkDepth = 16
	DefaultWalkNodes = 10_000
	DefaultWalkBytes = 64 << 20
)

// WalkOptions bound a walk.
type WalkOptions struct {
	Rate     rate.Limit // requests a second; zero: DefaultWalkRate; rate.Inf: no limit
	MaxDepth int        // segments of a path; zero: DefaultWalkDepth
	MaxNodes int        // values and directories; zero: DefaultWalkNodes
	MaxBytes int        // of all values and listings; zero: DefaultWalkBytes
	// Skip names values and directories that are not read; a directory's path
	// ends in a slash here. Nil: everything is read. Secret is a good one.
	Skip func(path string) bool
}

// A Tree is what a walk finds. The three parts are disjoint, and sorted by
// path in byte order.
type Tree struct {
	Leaves  []Leaf
	Skipped []string // paths that were left out because of Skip
	Missing []string // paths that are listed but answered 404
}

// A Leaf is a path that has a value.
type Leaf struct {
	Path  string // from the root: /latest/meta-data/instance-id
	Value []byte
	// KeyPair is the name of the key pair, for what is below public-keys: it
	// is in the listing only.
	KeyPair string
}

// node is something that is still to be read.
type node struct {
	path    string // without a slash at the end
	dir     bool
	keyPair string
}

// listed returns the path as a listing would spell it, which is also the
// spelling that sorts directories where their content belongs.
func (n node) listed() string {
	if n.dir {
		return n.path + "/"
	}
	return n.path
}

// Walk reads the whole tree at path, which is a directory or a value. Whether
// a name in a listing is a directory, its trailing slash says; the listings
// that leave it out are known: versions, what a version holds, public-keys
// (0=name) and the namespaces of ECS. A tree beyond the bounds, and a listing
// that cannot be one, are errors; so is any value that cannot be read, except
// that one may have gone since it was listed.
func (c *Client) Walk(ctx context.Context, path string, opts WalkOptions) (*Tree, error) {
	setDefault(&opts.Rate, DefaultWalkRate)
	setDefault(&opts.MaxDepth, DefaultWalkDepth)
	setDefault(&opts.MaxNodes, DefaultWalkNodes)
	setDefault(&opts.MaxBytes, DefaultWalkBytes)
	if opts.Skip == nil {
		opts.Skip = func(string) bool { return false }
	}
	w := &walk{client: c, opts: opts, limiter: rate.NewLimiter(opts.Rate, 1), tree: &Tree{}}
	start, err := w.start(ctx, Path(path))
	if err != nil {
		return nil, err
	}
	if err := w.visit(ctx, start); err != nil {
		return nil, err
	}
	// A start that does not exist is not a tree with something missing.
	if t := w.tree; len(t.Leaves) == 0 && len(t.Missing) == 1 && t.Missing[0] == start.listed() {
		return nil, w.missing
	}
	return w.tree, nil
}

// walk is one walk under way.
type walk struct {
	client  *Client
	opts    WalkOptions
	limiter *rate.Limiter
	tree    *Tree
	nodes   int
	bytes   int
	missing error // the last 404
}

// within counts bytes that were read.
func (w *walk) within(bytes int) error {
	if w.bytes += bytes; w.bytes > w.opts.MaxBytes {
		return local.Errorf(local.Invalid, "%s holds more than %d bytes: read a part of it", w.client.Endpoint(), w.opts.MaxBytes)
	}
	return nil
}

// start finds out what path is: the listing of its parent knows.
func (w *walk) start(ctx context.Context, path string) (node, error) {
	parts := segments(path)
	n := node{path: "/" + strings.Join(parts, "/")}
	switch {
	case len(parts) == 0:
		return node{dir: true}, nil
	case len(parts) == 1:
		n.dir = true
		return n, nil
	case len(parts) == 2 && parts[1] == "user-data":
		return n, nil
	case len(parts) == 2:
		n.dir = true
		return n, nil
	}
	parent := "/" + strings.Join(parts[:len(parts)-1], "/")
	siblings, err := w.children(ctx, parent)
	if err != nil {
		return node{}, err
	}
	if i := slices.IndexFunc(siblings, func(s node) bool { return s.path == n.path }); i >= 0 {
		return siblings[i], nil
	}
	return n, nil // not listed; a read tells what the service says of it
}

// visit reads n and everything below it.
func (w *walk) visit(ctx context.Context, n node) error {
	if w.opts.Skip(n.listed()) {
		w.tree.Skipped = append(w.tree.Skipped, n.listed())
		return nil
	}
	if w.nodes++; w.nodes > w.opts.MaxNodes {
		return local.Errorf(local.Invalid, "%s holds more than %d values and directories: read a part of it", w.client.Endpoint(), w.opts.MaxNodes)
	}
	if len(segments(n.path)) > w.opts.MaxDepth {
		return local.Errorf(local.Invalid, "%s is deeper than %d levels at %s: check that the endpoint is an instance metadata service",
			w.client.Endpoint(), w.opts.MaxDepth, n.path)
	}
	if n.dir {
		children, err := w.children(ctx, n.path)
		if err != nil {
			return w.gone(n, err)
		}
		for _, child := range children {
			child.keyPair = cmp.Or(child.keyPair, n.keyPair)
			if err := w.visit(ctx, child); err != nil {
				return err
			}
		}
		return nil
	}
	if err := w.wait(ctx); err != nil {
		return err
	}
	value, err := w.client.Get(ctx, n.path)
	if err != nil {
		return w.gone(n, err)
	}
	if err := w.within(len(value)); err != nil {
		return err
	}
	w.tree.Leaves = append(w.tree.Leaves, Leaf{Path: n.path, Value: value, KeyPair: n.keyPair})
	return nil
}

// IsValue reports whether there is a value at path, and not a directory: the
// listing of its parent knows.
func (c *Client) IsValue(ctx context.Context, path string) (bool, error) {
	parts := segments(Path(path))
	if len(parts) <= 2 {
		return len(parts) == 2 && parts[1] == "user-data", nil
	}
	dir := "/" + strings.Join(parts[:len(parts)-1], "/")
	names, err := c.List(ctx, dir+"/")
	if err != nil {
		return false, err
	}
	path = "/" + strings.Join(parts, "/")
	return slices.ContainsFunc(names, func(name string) bool { return child(dir, name) == node{path: path} }), nil
}

// gone takes note of what does not exist; every other error stays one.
func (w *walk) gone(n node, err error) error {
	if local.CodeOf(err) != local.NotFound {
		return err
	}
	w.missing = err
	w.tree.Missing = append(w.tree.Missing, n.listed())
	return nil
}

// children returns what the listing of dir says, sorted, each once.
func (w *walk) children(ctx context.Context, dir string) ([]node, error) {
	if err := w.wait(ctx); err != nil {
		return nil, err
	}
	names, err := w.client.List(ctx, dir+"/")
	if err != nil {
		return nil, err
	}
	nodes := make([]node, 0, len(names))
	for _, name := range names {
		if err := w.within(len(name) + 1); err != nil {
			return nil, err
		}
		n := child(dir, name)
		last := strings.TrimPrefix(n.path, dir+"/")
		if last == "" || last == "." || last == ".." || strings.ContainsFunc(last, func(c rune) bool { return c < ' ' || c == '/' || c == 0x7f }) {
			return nil, local.Errorf(local.Invalid, "%s is not a listing: check that %s is an instance metadata service", dir+"/", w.client.Endpoint())
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.listed(), b.listed()) })
	return slices.Compact(nodes), nil
}

// child returns what a line in the listing of dir stands for.
func child(dir, line string) node {
	name, slash := strings.CutSuffix(line, "/")
	n := node{path: dir + "/" + name, dir: slash}
	parts := segments(dir)
	below := func(category ...string) bool { return len(parts) > 0 && slices.Equal(parts[1:], category) }
	switch {
	case len(parts) == 0: // versions
		n.dir = true
	case below(): // dynamic, meta-data, user-data
		n.dir = name != "user-data"
	case below("meta-data") && strings.HasPrefix(name, "iam-ecs-"):
		n.dir = true
	case below("meta-data", "public-keys"): // 0=name
		if number, keyPair, ok := strings.Cut(name, "="); ok {
			n.path, n.dir, n.keyPair = dir+"/"+number, true, keyPair
		}
	}
	return n
}

// wait keeps to the rate.
func (w *walk) wait(ctx context.Context) error {
	if err := w.limiter.Wait(ctx); err != nil {
		if ctx.Err() == nil { // the limiter knows that the deadline is too near
			err = errors.Join(context.DeadlineExceeded, err)
		}
		return fmt.Errorf("walk IMDS: %w", err)
	}
	return nil
}
