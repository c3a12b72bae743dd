package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

const identityCredentials = "meta-data/identity-credentials"

// tree is the content of an instance metadata service, by path below latest.
type tree struct {
	values map[string]string
	hidden []string // exist, but were not read
}

// has reports whether there is something at or below a path.
func (t tree) has(path string) bool {
	if _, ok := t.values[path]; ok || slices.Contains(t.hidden, path) {
		return true
	}
	within := func(p string) bool { return strings.HasPrefix(p, path+"/") }
	return slices.ContainsFunc(t.hidden, within) || slices.ContainsFunc(slices.Collect(maps.Keys(t.values)), within)
}

// replayable returns the section imds of a configuration file that makes this
// tree. It describes the instance, so that everything that follows from the
// description does so in the replay, too; what does not follow stands in
// metadata. What our instance can have in no way is left out, and returned.
func replayable(t tree) (section map[string]any, lost []string, err error) {
	d := &describer{tree: t, covered: map[string]bool{}}
	section = d.section()
	c, err := settle(section)
	if err != nil {
		return nil, nil, err
	}
	pin(section)
	reference, err := imds.New(c, imds.Deps{})
	if err != nil {
		return nil, nil, fmt.Errorf("replay: %w", err)
	}
	derived := tree{values: map[string]string{}}
	derived.read(reference, "")
	metadata := d.difference(derived)
	if len(metadata) == 0 {
		return section, nil, nil
	}
	section["metadata"] = maps.Clone(metadata)
	if _, err := settle(section); err != nil {
		return nil, nil, err
	}
	kept, _ := section["metadata"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(metadata)) {
		if _, ok := kept[path]; !ok {
			lost = append(lost, path)
		}
	}
	return section, lost, nil
}

// settle removes from a section what our instance cannot have: then the value
// is not derived but stands in metadata.
func settle(section map[string]any) (imds.Config, error) {
	for {
		c, problems := imds.Decode(section)
		problems = append(problems, c.Validate()...)
		if len(problems) == 0 {
			return c, nil
		}
		removed := false
		for _, p := range problems {
			removed = remove(section, p.Path) || removed
		}
		if !removed { // it is about something that was derived from the rest
			if _, ok := section["instance"]; !ok {
				return c, fmt.Errorf("describe the instance: %w", problems)
			}
			delete(section, "instance")
		}
	}
}

// pin writes down what the place of the replay would say otherwise: its
// AWS_REGION, unless a zone tells the region, and its session's account.
func pin(section map[string]any) {
	i, ok := section["instance"].(map[string]any)
	if !ok {
		i = map[string]any{}
		section["instance"] = i
	}
	if i["region"] == nil && i["availability-zone"] == nil {
		i["region"] = local.DefaultRegion
	}
	if i["account-id"] == nil {
		i["account-id"] = local.DefaultAccount
	}
}

// remove deletes the key that a problem is about; a problem in a list deletes
// the list.
func remove(m map[string]any, path string) bool {
	for key, value := range m {
		if path == key || strings.HasPrefix(path, key+"[") {
			delete(m, key)
			return true
		}
		if rest, ok := strings.CutPrefix(path, key+"."); ok {
			if child, ok := value.(map[string]any); ok {
				return remove(child, rest)
			}
		}
	}
	return false
}

// read takes everything below a path from a service.
func (t tree) read(s *imds.Service, path string) {
	response := s.Answer(imds.Request{Method: http.MethodGet, Path: (&url.URL{Path: "/latest/" + path}).EscapedPath()})
	if response.Status != http.StatusOK {
		return
	}
	for name := range strings.SplitSeq(string(response.Body), "\n") {
		number, _, keyPair := strings.Cut(name, "=")
		switch {
		case name == "":
		case path == "" && name != "user-data":
			t.read(s, name+"/")
		case path == "meta-data/public-keys/" && keyPair:
			t.read(s, path+number+"/")
		case strings.HasSuffix(name, "/"):
			t.read(s, path+name)
		default:
			leaf := s.Answer(imds.Request{Method: http.MethodGet, Path: (&url.URL{Path: "/latest/" + path + name}).EscapedPath()})
			t.values[path+name] = string(leaf.Body)
		}
	}
}

// difference returns what has to be set and, with nil, removed to get from the
// derived tree to this one.
func (d *describer) difference(derived tree) map[string]any {
	metadata := map[string]any{}
	for path, value := range d.values {
		if was, ok := derived.values[path]; d.covered[path] || ok && same(was, value) {
			continue
		}
		metadata[metadataKey(path)] = value
	}
	for path := range derived.values {
		if _, ok := d.values[path]; ok || d.covered[path] || slices.Contains(d.hidden, path) {
			continue
		}
		metadata[metadataKey(d.absent(path))] = nil
	}
	// The derived tree has no credentials; the replay will have some.
	if !d.has(identityCredentials) {
		metadata[metadataKey(identityCredentials)] = nil
	}
	return metadata
}

// absent returns the highest directory above a path of which this tree has
// nothing.
func (d *describer) absent(path string) string {
	for i := range len(path) {
		if dir := path[:i]; path[i] == '/' && strings.Contains(dir, "/") && !d.has(dir) {
			return dir
		}
	}
	return path
}

// metadataKey writes a path as the configuration does.
func metadataKey(path string) string {
	rest, ok := strings.CutPrefix(path, "meta-data/")
	if first, _, _ := strings.Cut(rest, "/"); !ok || slices.Contains([]string{"meta-data", "dynamic", "latest", "user-data"}, first) {
		return path
	}
	return rest
}

// same reports whether two values are the same, or JSON that differs in
// LastUpdated only, which moves by itself.
func same(a, b string) bool {
	if a == b {
		return true
	}
	var x, y map[string]any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	_, updated := x["LastUpdated"]
	if _, too := y["LastUpdated"]; !updated || !too {
		return false
	}
	delete(x, "LastUpdated")
	delete(y, "LastUpdated")
	return reflect.DeepEqual(x, y)
}
