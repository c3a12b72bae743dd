package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ecs-local/ecs-local/local"
)

// reader collects the problems of one file while its YAML nodes are read.
type reader struct {
	name     string
	problems []Problem
	seen     map[Problem]bool // an alias shows one problem each time it is used
	visited  int              // nodes read, aliases each time they are used
	claims   map[string]claim // what only one container may have
}

// Problem is what is wrong with a line of the file.
type Problem struct {
	Line   int
	Reason string
}

var lineBreaks = strings.NewReplacer("\n", `\n`, "\r", `\r`)

func (r *reader) problem(line int, format string, args ...any) {
	// A key or a tag may hold a line break, and a problem is one line.
	p := Problem{line, lineBreaks.Replace(fmt.Sprintf(format, args...))}
	if r.seen[p] {
		return
	}
	if r.seen == nil {
		r.seen = map[Problem]bool{}
	}
	r.seen[p] = true
	r.problems = append(r.problems, p)
}

// err returns all problems in the order of their lines, or nil.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	lines := make([]string, len(r.problems))
	for i, p := range r.problems {
		lines[i] = fmt.Sprintf("%s:%d: %s", r.name, p.Line, p.Reason)
	}
	return local.Errorf(local.Invalid, "%s", strings.Join(lines, "\n"))
}

// value is a YAML node under the key that holds it. Aliases are resolved.
type value struct {
	*yaml.Node
	key  string // empty at the top
	line int
}

// subject is how a message names the value.
func (v *value) subject() string { return cmp.Or(v.key, "the file") }

// claim is which container has something, and where that is said.
type claim struct {
	container string
	line      int
}

// claimed returns who has what already; nobody did, then this container does.
func (r *reader) claimed(what, container string, line int) (claim, bool) {
	if first, taken := r.claims[what]; taken {
		return first, true
	}
	if r.claims == nil {
		r.claims = map[string]claim{}
	}
	r.claims[what] = claim{container, line}
	return claim{}, false
}

// document returns the top of the only document in data, or nil when there is
// nothing in it or it is no YAML.
func (r *reader) document(data []byte) *value {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		r.broken(data, err)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		r.problem(second.Line, "a second document starts here: keep everything in one, without ---")
	} else if !errors.Is(err, io.EOF) {
		r.broken(data, err)
	}
	if len(first.Content) == 0 {
		return nil
	}
	top := r.resolve("", first.Content[0])
	if top == nil || isNull(top.Node) {
		return nil
	}
	return top
}

// yamlPlace is what the YAML library puts in front of a message.
var yamlPlace = regexp.MustCompile(`^yaml: ((line|offset) \d+: )?`)

// broken reports text that is no YAML. The library's line is at times that of
// the surrounding block, or missing; the true one ends the shortest beginning
// of the file that is broken in the same way.
func (r *reader) broken(data []byte, err error) {
	reason := yamlPlace.ReplaceAllString(err.Error(), "")
	lines := bytes.SplitAfter(data, []byte("\n"))
	at := sort.Search(len(lines), func(i int) bool {
		err := parseAll(bytes.Join(lines[:i+1], nil))
		return err != nil && yamlPlace.ReplaceAllString(err.Error(), "") == reason
	})
	at = min(at, len(lines)-1)
	text := string(lines[at])
	if indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]; strings.Contains(indent, "\t") {
		reason = "a tab in the indentation: YAML allows only spaces there"
	}
	r.problem(at+1, "not valid YAML: %s", reason)
}

// parseAll returns the first error in any document of data, or nil.
func parseAll(data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// maxVisited is how many nodes a file may have, aliases counted each time. A
// few lines of nested aliases could otherwise keep the reader busy for hours.
const maxVisited = 100_000

// resolve follows aliases and returns the node under a key, or nil when it is
// of no use.
func (r *reader) resolve(key string, n *yaml.Node) *value {
	r.visited++
	if r.visited > maxVisited {
		if r.visited == maxVisited+1 {
			r.problem(n.Line, "the file is too large, or its aliases multiply: %d values are the most", maxVisited)
		}
		return nil
	}
	v := &value{Node: n, key: key, line: n.Line}
	for v.Kind == yaml.AliasNode && v.Alias != nil {
		v.Node = v.Alias
	}
	if tag := v.ShortTag(); !strings.HasPrefix(tag, "!!") && tag != "" {
		r.problem(v.line, "the tag %s means nothing here: remove it", tag)
		return nil
	}
	return v
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kindOf names what a node is, for "must be …, not …".
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "empty"
	default:
		return fmt.Sprintf("%q", n.Value)
	}
}

// pair is one entry of a map.
type pair struct {
	name  string
	line  int
	value *value
}

// pairs returns the entries of a map, those merged in with << last and only
// where the map itself says nothing. An empty value is an empty map.
func (r *reader) pairs(v *value) []pair {
	if isNull(v.Node) {
		return nil
	}
	if v.Kind != yaml.MappingNode {
		r.problem(v.line, "%s must be a map of keys and values, not %s", v.subject(), kindOf(v.Node))
		return nil
	}
	return r.entriesOf(v, map[*yaml.Node]bool{})
}

// entriesOf is pairs of a value that is a map. open holds the maps that are
// being merged, so that one which merges itself ends.
func (r *reader) entriesOf(v *value, open map[*yaml.Node]bool) []pair {
	n := v.Node
	if open[n] {
		r.problem(v.line, "<< merges this map into itself")
		return nil
	}
	open[n] = true
	defer delete(open, n)
	var own, merged []pair
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		for key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, r.merged(n.Content[i+1], open)...)
			continue
		}
		if key.Kind != yaml.ScalarNode || isNull(key) {
			r.problem(n.Content[i].Line, "a key must be text, not %s", kindOf(key))
			continue
		}
		if first, twice := seen[key.Value]; twice {
			r.problem(n.Content[i].Line, "%q is there twice: it stands in line %d already", key.Value, first)
			continue
		}
		seen[key.Value] = n.Content[i].Line
		if v := r.resolve(key.Value, n.Content[i+1]); v != nil {
			own = append(own, pair{key.Value, n.Content[i].Line, v})
		}
	}
	for _, p := range merged {
		if _, said := seen[p.name]; !said {
			seen[p.name] = p.line
			own = append(own, p)
		}
	}
	return own
}

// merged returns the entries that the value of << brings in: a map, or a list
// of maps of which earlier ones win.
// https://yaml.org/type/merge.html
func (r *reader) merged(n *yaml.Node, open map[*yaml.Node]bool) []pair {
	v := r.resolve("<<", n)
	switch {
	case v == nil:
		return nil
	case v.Kind == yaml.MappingNode:
		return r.entriesOf(v, open)
	case v.Kind == yaml.SequenceNode:
		var all []pair
		for _, item := range v.Content {
			m := r.resolve("<<", item)
			if m == nil {
				continue
			}
			if m.Kind != yaml.MappingNode {
				r.problem(m.line, "<< takes maps, not %s", kindOf(m.Node))
				continue
			}
			all = append(all, r.entriesOf(m, open)...)
		}
		return all
	default:
		r.problem(v.line, "<< takes a map, not %s", kindOf(v.Node))
		return nil
	}
}

// field is a known key and what reads its value.
type field struct {
	name string
	read func(*value)
}

// object reads a map with known keys only.
func (r *reader) object(v *value, fields []field) {
	for _, p := range r.pairs(v) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == p.name })
		if i < 0 {
			r.problem(p.line, "unknown key %q: %s", p.name, suggest(p.name, fields))
			continue
		}
		fields[i].read(p.value)
	}
}

// suggest says which key may have been meant.
func suggest(name string, fields []field) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	if best := local.Nearest(name, all); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "the keys here are " + strings.Join(all, ", ")
}

// namePattern is what Docker allows in a container's name, and Compose in a
// project's.
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// maxName is how long such a name may be.
const maxName = 255

func validName(name string) bool { return len(name) <= maxName && namePattern.MatchString(name) }

// entries returns a reader of a map whose keys are names that the user
// chooses.
func (r *reader) entries(what string, read func(name string, v *value)) func(*value) {
	return func(v *value) {
		for _, p := range r.pairs(v) {
			if !validName(p.name) {
				r.problem(p.line, "%q cannot be the name of a %s: use letters, digits and _.-", p.name, what)
				continue
			}
			read(p.name, p.value)
		}
	}
}
