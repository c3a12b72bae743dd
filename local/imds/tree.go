package imds

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// node is a place in the tree: a value, or a directory when it has listings.
type node struct {
	since  int // index of the first version that shows it
	v1, v2 []byte
	lazy   func() []byte // instead of v1 and v2
	lists  []listing     // oldest first
}

// listing is what a directory lists from a version on.
type listing struct {
	since int
	body  []byte
}

func (n *node) directory() bool { return n.lists != nil }

// body returns what the node answers to a version that shows it.
func (n *node) body(version int, d Delivery) []byte {
	switch {
	case n.lists != nil:
		for i := len(n.lists) - 1; i > 0; i-- {
			if n.lists[i].since <= version {
				return n.lists[i].body
			}
		}
		return n.lists[0].body
	case n.lazy != nil:
		return n.lazy()
	case d == V1:
		return n.v1
	default:
		return n.v2
	}
}

// snapshot is all that requests are answered from. It never changes.
type snapshot struct {
	nodes    map[string]*node // path without the version
	menu     []byte           // of a version
	options  Options
	modified string // Last-Modified
}

const userData = "user-data"

// newSnapshot adds directories and listings to the leaves.
func newSnapshot(l leaves, o Options, modified time.Time) *snapshot {
	s := &snapshot{
		nodes: make(map[string]*node, 2*len(l)), options: o,
		modified: modified.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"),
	}
	children := map[string][]string{}
	for path, n := range l {
		n.since = since(path)
		s.nodes[path] = n
		for {
			i := strings.LastIndexByte(path, '/')
			if i < 0 {
				break
			}
			dir, name := path[:i], path[i+1:]
			children[dir] = append(children[dir], name)
			if len(children[dir]) > 1 {
				break // the directory, and those above it, are known
			}
			path = dir
		}
	}
	// What is below comes first, because a directory is as old as its oldest
	// child.
	dirs := slices.SortedFunc(maps.Keys(children), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")), cmp.Compare(a, b))
	})
	for _, dir := range dirs {
		s.nodes[dir] = s.list(dir, children[dir])
	}
	var tops []string
	for _, top := range []string{"dynamic", "meta-data", userData} { // all of one may have been removed
		if s.nodes[top] != nil {
			tops = append(tops, top)
		}
	}
	s.menu = []byte(strings.Join(tops, "\n"))
	return s
}

// list makes a directory.
func (s *snapshot) list(dir string, names []string) *node {
	type line struct {
		text  string
		since int
	}
	lines := make([]line, len(names))
	versions := make([]int, len(names))
	for i, name := range names {
		child := s.nodes[dir+"/"+name]
		text := name
		if child.directory() {
			text = s.directoryLine(dir, name)
		}
		lines[i], versions[i] = line{text, child.since}, child.since
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.text, b.text) })
	slices.Sort(versions)
	versions = slices.Compact(versions)
	n := &node{since: versions[0], lists: make([]listing, len(versions))}
	for i, v := range versions {
		n.lists[i].since = v
		for _, line := range lines {
			if line.since > v {
				continue
			}
			if n.lists[i].body != nil {
				n.lists[i].body = append(n.lists[i].body, '\n')
			}
			n.lists[i].body = append(n.lists[i].body, line.text...)
		}
	}
	return n
}

// directoryLine is how a directory is listed: with a slash, but a public key
// as its number and the name of the key pair.
func (s *snapshot) directoryLine(dir, name string) string {
	if dir == "meta-data/public-keys" {
		if key := s.nodes[dir+"/"+name+"/openssh-key"]; key != nil && !key.directory() {
			part := strings.SplitN(strings.TrimSpace(string(key.body(latest, V2))), " ", 3)
			if _, err := strconv.Atoi(name); err == nil && len(part) == 3 && !strings.ContainsAny(part[2], "\r\n") {
				return name + "=" + part[2]
			}
		}
	}
	return name + "/"
}

// overlay is a set of changes to a tree. Removals go first.
type overlay struct {
	remove map[string]bool
	set    map[string][]byte
}

func newOverlay() overlay { return overlay{remove: map[string]bool{}, set: map[string][]byte{}} }

func (o overlay) apply(l leaves) {
	for path := range o.remove {
		l.prune(path)
	}
	for _, path := range slices.Sorted(maps.Keys(o.set)) {
		l.prune(path)
		for i := range len(path) { // a value gives way to what is put below it
			if path[i] == '/' {
				delete(l, path[:i])
			}
		}
		l.bytes(path, o.set[path])
	}
}

// touches reports whether the overlay says something about a value.
func (o overlay) touches(path string) bool {
	_, set := o.set[path]
	return set || o.remove[path]
}

// prune removes a value, or a directory with all that is below it.
func (l leaves) prune(path string) {
	if _, ok := l[path]; ok {
		delete(l, path)
		return
	}
	for p := range l {
		if below(p, path) {
			delete(l, p)
		}
	}
}

// below reports whether a path lies below a directory.
func below(path, dir string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

// treePath turns the path of a value as people write it into that of the tree:
// relative to meta-data/ unless it names another top.
func treePath(p string) (string, error) {
	full := strings.TrimSuffix(strings.TrimPrefix(p, "/"), "/")
	full = strings.TrimPrefix(full, "latest/")
	if full == "" || full == "latest" || full == "meta-data" || full == "dynamic" {
		return "", local.Errorf(local.Invalid, "%q is not the path of a value: name one such as spot/instance-action", p)
	}
	for name := range strings.SplitSeq(full, "/") {
		switch {
		case name == "" || name == "." || name == "..":
			return "", local.Errorf(local.Invalid, "%q is not a path: leave out empty names, . and ..", p)
		case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }):
			return "", local.Errorf(local.Invalid, "%q is not a path: leave out control characters", p)
		}
	}
	top, _, _ := strings.Cut(full, "/")
	if top != userData && top != "meta-data" && top != "dynamic" {
		full = "meta-data/" + full
	}
	if key, ok := strings.CutPrefix(full, "meta-data/tags/instance/"); ok && !validTagKey(key) {
		return "", local.Errorf(local.Invalid, "%q cannot be a tag: %s", key, mustTagKey)
	}
	if key, ok := strings.CutPrefix(full, "meta-data/public-keys/"); ok {
		if number, _, _ := strings.Cut(key, "/"); strings.Contains(number, "=") {
			return "", local.Errorf(local.Invalid, "%q cannot exist: a key lies below its number, as in public-keys/0/openssh-key; the name is the last word of that value", p)
		}
	}
	if top == userData && full != userData {
		return "", local.Errorf(local.Invalid, "%q cannot exist: user-data is a value, nothing is below it", p)
	}
	return full, nil
}

// conflict explains why a value cannot be put at a path, or returns nil.
// directory says what is at a path.
func conflict(path string, directory func(string) (is, exists bool)) error {
	if is, exists := directory(path); exists && is {
		return local.Errorf(local.Invalid, "%s is a directory: remove it first, or name a value below it", path)
	}
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		if is, exists := directory(path[:i]); exists && !is {
			return local.Errorf(local.Invalid, "%s cannot exist: %s is a value, nothing is below it; remove that first", path, path[:i])
		}
	}
	return nil
}

// directory says whether there is something at a path, and whether that is a
// directory.
func (s *snapshot) directory(path string) (is, exists bool) {
	n := s.nodes[path]
	return n != nil && n.directory(), n != nil
}

// configured turns Config.Metadata into an overlay.
func configured(metadata map[string]*string) (overlay, error) {
	o := newOverlay()
	for p, value := range metadata {
		path, err := treePath(p)
		if err != nil {
			return o, fmt.Errorf("read metadata: %w", err)
		}
		if value == nil {
			o.remove[path] = true
		} else {
			o.set[path] = []byte(*value)
		}
	}
	return o, nil
}
