package config

import (
	"encoding/base64"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Section is a part of the file that another package reads and judges. Its
// values are text as it stands in the file, nil for what is empty, []any and
// map[string]any.
type Section struct {
	Values map[string]any
	// Lines has the line of every key and entry by its path, such as
	// instance.interfaces[0].mac, and for the path "" that of the first.
	Lines map[string]int
}

// Line returns the line of what a path names, or of the nearest thing above
// it that is in the file.
func (s *Section) Line(path string) int {
	for {
		if line, ok := s.Lines[path]; ok || path == "" {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// maxDepth is how deep a section can be. An alias inside of what it stands for
// would have no end.
const maxDepth = 16

// section reads whatever is in a map.
func (r *reader) section(to **Section) func(*value) {
	return func(v *value) {
		s := &Section{Lines: map[string]int{"": v.line}}
		s.Values = r.plainMap(s, "", v, maxDepth)
		*to = s
	}
}

func (r *reader) plainMap(s *Section, path string, v *value, depth int) map[string]any {
	m := map[string]any{}
	for _, p := range r.pairs(v) {
		at := p.name
		if path != "" {
			at = path + "." + p.name
		}
		s.Lines[at] = p.line
		m[p.name] = r.plain(s, at, p.value, depth-1)
	}
	return m
}

func (r *reader) plain(s *Section, path string, v *value, depth int) any {
	switch {
	case depth == 0:
		r.problem(v.line, "%s is nested more than %d deep", v.subject(), maxDepth)
		return nil
	case v.Kind == yaml.MappingNode:
		return r.plainMap(s, path, v, depth)
	case v.Kind == yaml.SequenceNode:
		list := make([]any, 0, len(v.Content))
		for _, item := range v.Content {
			n := r.resolve(v.key, item)
			if n == nil {
				continue
			}
			at := fmt.Sprintf("%s[%d]", path, len(list))
			s.Lines[at] = n.line
			list = append(list, r.plain(s, at, n, depth-1))
		}
		return list
	case isNull(v.Node):
		return nil
	case v.ShortTag() == "!!binary":
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(v.Value), ""))
		if err != nil {
			r.problem(v.line, "%s is not base64, as !!binary says that it is", v.subject())
		}
		return string(data)
	default:
		return v.Value
	}
}
