package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ecs-local/ecs-local/local"
)

var (
	associationTypeRule = oneOf("gpu", "elastic-inference")
	associationNameRule = matching(`[^\s/][^\s]*`, "a name without spaces, such as GPU-1f0a2b3c, that does not begin with /")
	containerNameRule   = func(s string) string {
		if validName(s) {
			return ""
		}
		return "the name of a container: letters, digits and _.-"
	}
)

// associations reads the devices that are attached to a task's containers.
func (r *reader) associations(to *[]local.Association) func(*value) {
	return func(v *value) {
		if isNull(v.Node) {
			return
		}
		if v.Kind != yaml.SequenceNode {
			r.problem(v.line, "associations must be a list, such as [{type: gpu, name: GPU-1f0a2b3c}], not %s", kindOf(v.Node))
			return
		}
		first := map[[2]string]int{} // type and name → line
		for _, item := range v.Content {
			n := r.resolve("an association", item)
			if n == nil {
				continue
			}
			var a local.Association
			before := len(r.problems)
			r.object(n, []field{
				{"type", r.text(&a.Type, associationTypeRule)},
				{"name", r.text(&a.Name, associationNameRule)},
				{"content", r.content(&a.Content)},
				{"containers", r.list(&a.Containers, containerNameRule)},
			})
			if len(r.problems) > before {
				continue
			}
			if missing := missingOf(a); missing != "" {
				r.problem(n.line, "an association needs a %s: add it", missing)
				continue
			}
			key := [2]string{a.Type, a.Name}
			if line, taken := first[key]; taken {
				r.problem(n.line, "there is an association %s %s already (line %d): rename one", a.Type, a.Name, line)
				continue
			}
			first[key] = n.line
			*to = append(*to, a)
		}
	}
}

func missingOf(a local.Association) string {
	switch {
	case a.Type == "":
		return "type"
	case a.Name == "":
		return "name"
	default:
		return ""
	}
}

// content reads text that may be empty, in quotes.
func (r *reader) content(to *string) func(*value) {
	return func(v *value) {
		if s, ok := r.scalar(v, `text ("" for an empty one)`); ok {
			*to = s
		}
	}
}

// checkAssociations finds associations with containers that the task does not
// have. Without Docker its containers are in the file.
func (r *reader) checkAssociations(v *value, t *Task) {
	if len(t.Containers) == 0 {
		return
	}
	var names []string
	for _, c := range t.Containers {
		names = append(names, c.Name)
	}
	for _, a := range t.Facts.Associations {
		for _, name := range a.Containers {
			if !slices.Contains(names, name) {
				r.problem(v.line, "the association %s %s names the container %s, which task %s does not have: its containers are %s",
					a.Type, a.Name, name, t.Name, strings.Join(names, ", "))
			}
		}
	}
}
