package handlers

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"
)

// direct answers as the router does, but finds most routes by a few looks into a
// table. The router tries one pattern after the other, most of them regular
// expressions, and copies the request twice.
func direct(r *mux.Router) http.Handler {
	t := newTable(r)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		found := t.find(req.URL.Path)
		if found == nil {
			r.ServeHTTP(w, req)
			return
		}
		req.Pattern = found.pattern
		found.handler.ServeHTTP(w, req)
	})
}

// variable returns a variable part of the path, whoever found the route.
func variable(r *http.Request, name string) (value string, ok bool) {
	if r.Pattern == "" {
		value, ok = mux.Vars(r)[name]
		return value, ok
	}
	before, rest, _ := strings.Cut(r.Pattern, "{")
	rest, ok = strings.CutPrefix(rest, name)
	switch {
	case ok && rest == ":.+}":
		return r.URL.Path[len(before):], true
	case ok && strings.HasPrefix(rest, "}"):
		value, _, _ = strings.Cut(r.URL.Path[len(before):], "/")
		return value, true
	default:
		return "", false
	}
}

// table has the simple patterns of a router: without a variable, or with one
// that is a whole part of the path, or all of the rest.
type table struct {
	simple map[string]*simpleRoute // by the pattern, with a mark for the variable
	deep   int                     // how many parts come before a variable at most
	others []string                // parts that the path of every other pattern has, and no simple pattern
}

type simpleRoute struct {
	order   int // among all patterns: the first that fits counts
	pattern string
	handler http.Handler
}

// The marks for variables. No path of a request that fits a pattern has them.
const (
	markPart = "{}"
	markRest = "{.}"
)

func newTable(r *mux.Router) table {
	t := table{simple: map[string]*simpleRoute{}}
	var others []string
	order := 0
	_ = r.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		order++
		pattern, err := route.GetPathTemplate()
		if err != nil {
			return nil // the router's own for what no pattern fits
		}
		key, ok := simplified(pattern)
		if !ok {
			others = append(others, pattern)
			return nil
		}
		if t.simple[key] == nil {
			t.simple[key] = &simpleRoute{order, pattern, route.GetHandler()}
		}
		if before, _, ok := strings.Cut(key, "{"); ok {
			t.deep = max(t.deep, strings.Count(before, "/")-1)
		}
		return nil
	})
	for _, pattern := range others {
		part := t.telling(pattern)
		if part == "" { // then every path may be one of it
			return table{}
		}
		t.others = append(t.others, part)
	}
	slices.Sort(t.others)
	t.others = slices.Compact(t.others)
	return t
}

// simplified returns a simple pattern with a mark for its variable.
func simplified(pattern string) (key string, ok bool) {
	before, rest, found := strings.Cut(pattern, "{")
	if !found {
		return pattern, true
	}
	name, after, _ := strings.Cut(rest, "}")
	if strings.HasSuffix(name, ":.+") && after == "" {
		return before + markRest, strings.HasSuffix(before, "/")
	}
	whole := strings.HasSuffix(before, "/") && (after == "" || strings.HasPrefix(after, "/"))
	return before + markPart + after, whole && !strings.ContainsAny(name+after, ":{")
}

// telling returns a part of a pattern that no simple pattern has.
func (t *table) telling(pattern string) string {
	for part := range strings.SplitSeq(pattern, "/") {
		fixed := part != "" && !strings.ContainsAny(part, "{}[]*:|.+^")
		for key := range t.simple {
			fixed = fixed && !slices.Contains(strings.Split(key, "/"), part)
		}
		if fixed {
			return part
		}
	}
	return ""
}

// find returns the route of a path, or nil: then the router has to be asked.
func (t *table) find(path string) *simpleRoute {
	if t.simple == nil || strings.Contains(path, "{") || !strings.HasPrefix(path, "/") {
		return nil
	}
	for rest, more := path[1:], true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if slices.Contains(t.others, part) {
			return nil
		}
	}
	found := t.simple[path]
	start := 1
	for range t.deep {
		slash := strings.IndexByte(path[start:], '/')
		if slash < 0 {
			break
		}
		start += slash + 1
		end := len(path)
		if slash := strings.IndexByte(path[start:], '/'); slash >= 0 {
			end = start + slash
		}
		if start == end {
			return nil // no variable is empty
		}
		var room [128]byte
		key := append(append(room[:0], path[:start]...), markRest...)
		found = earlier(found, t.simple[string(key)])
		key = append(append(key[:start], markPart...), path[end:]...)
		found = earlier(found, t.simple[string(key)])
	}
	return found
}

// earlier returns the route that comes first; nil is none.
func earlier(a, b *simpleRoute) *simpleRoute {
	if a == nil || b != nil && b.order < a.order {
		return b
	}
	return a
}
