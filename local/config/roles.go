package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ecs-local/ecs-local/local"
)

// What STS allows in a request for a role's session.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var (
	externalIDRule  = atMost(1224, matching(`[\w+=,.@:/-]{2,}`, "2 to 1224 letters, digits and +=,.@:/-_"))
	sessionNameRule = matching(`[\w+=,.@-]{2,64}`, "2 to 64 letters, digits and +=,.@-_")
	policyARNRule   = matching(`arn:aws[a-z-]*:iam::(\d{12}|aws):policy/\S+`, "the ARN of a policy: arn:aws:iam::aws:policy/ReadOnlyAccess")
)

const (
	leastSession   = 15 * time.Minute
	mostSession    = 12 * time.Hour
	mostTags       = 50
	mostTagKey     = 128
	mostTagValue   = 256
	mostPolicyARNs = 10
)

// atMost is a rule with a limit of length that a pattern cannot hold.
func atMost(characters int, good rule) rule {
	return func(s string) string {
		if len(s) > characters {
			return good("") // what it must be
		}
		return good(s)
	}
}

// roles reads the options of each role's session. The keys are roles.
func (r *reader) roles(to *map[string]local.SessionOptions) func(*value) {
	return func(v *value) {
		for _, p := range r.pairs(v) {
			if must := roleRule(p.name); must != "" {
				r.problem(p.line, "a key of roles must be %s, not %q", must, p.name)
				continue
			}
			var o local.SessionOptions
			r.sessionOptions(p.value, &o)
			if *to == nil {
				*to = map[string]local.SessionOptions{}
			}
			(*to)[p.name] = o
		}
	}
}

func (r *reader) sessionOptions(v *value, o *local.SessionOptions) {
	r.object(v, []field{
		{"external-id", r.text(&o.ExternalID, externalIDRule)},
		{"session-name", r.text(&o.SessionName, sessionNameRule)},
		{"duration", r.duration(&o.Duration)},
		{"tags", r.sessionTags(&o.Tags)},
		{"transitive-tags", r.list(&o.TransitiveTags, func(string) string { return "" })},
		{"policy", r.policy(&o.Policy)},
		{"policy-arns", r.list(&o.PolicyARNs, policyARNRule)},
		{"source-identity", r.text(&o.SourceIdentity, sessionNameRule)},
		{"region", r.text(&o.Region, regionRule)},
		{"source-role", r.text(&o.Source, roleRule)},
	})
	for _, key := range o.TransitiveTags {
		if _, ok := o.Tags[key]; !ok {
			r.problem(v.line, "transitive-tags of %s names %q, which is none of its tags: add it to tags", v.key, key)
		}
	}
	if len(o.PolicyARNs) > mostPolicyARNs {
		r.problem(v.line, "%s has %d policy-arns: STS takes %d at most", v.key, len(o.PolicyARNs), mostPolicyARNs)
	}
}

func (r *reader) duration(to *time.Duration) func(*value) {
	return func(v *value) {
		const must = "a time of 15m to 12h, such as 1h30m"
		s, ok := r.scalar(v, must)
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < leastSession || d > mostSession || d%time.Second != 0 {
			r.problem(v.line, "%s must be %s, not %q", v.key, must, s)
			return
		}
		*to = d
	}
}

// list reads a list of text.
func (r *reader) list(to *[]string, good rule) func(*value) {
	return func(v *value) {
		if v.Kind != yaml.SequenceNode {
			r.problem(v.line, "%s must be a list, not %s", v.key, kindOf(v.Node))
			return
		}
		for _, item := range v.Content {
			n := r.resolve("an entry of "+v.key, item)
			if n == nil {
				continue
			}
			if s, ok := r.checked(n, good); ok && !slices.Contains(*to, s) {
				*to = append(*to, s)
			}
		}
	}
}

// sessionTags reads tags within the limits of STS.
func (r *reader) sessionTags(to *map[string]string) func(*value) {
	return func(v *value) {
		r.texts(to)(v)
		if len(*to) > mostTags {
			r.problem(v.line, "there are %d tags: STS takes %d at most", len(*to), mostTags)
		}
		for _, key := range slices.Sorted(maps.Keys(*to)) {
			value := (*to)[key]
			if key == "" || len([]rune(key)) > mostTagKey || strings.HasPrefix(strings.ToLower(key), "aws:") {
				r.problem(v.line, "%q cannot be the key of a session tag: use 1 to %d characters that do not begin with aws:", key, mostTagKey)
			}
			if len([]rune(value)) > mostTagValue {
				r.problem(v.line, "the tag %q is too long: STS takes %d characters at most", key, mostTagValue)
			}
		}
	}
}

// policy reads a session policy: the JSON document as text, or the same as
// YAML.
func (r *reader) policy(to *string) func(*value) {
	return func(v *value) {
		const must = "a policy document, as JSON in quotes or as a map"
		if v.Kind == yaml.MappingNode {
			datesAsText(v.Node, map[*yaml.Node]bool{})
			var document map[string]any
			encoded, err := []byte(nil), v.Decode(&document)
			if err == nil {
				encoded, err = json.Marshal(document)
			}
			if err != nil {
				r.problem(v.line, "%s must be %s: this map cannot be written as JSON", v.key, must)
				return
			}
			*to = string(encoded)
			return
		}
		s, ok := r.scalar(v, must)
		if !ok {
			return
		}
		var document map[string]any
		if json.Unmarshal([]byte(s), &document) != nil {
			r.problem(v.line, "%s must be %s: this text is not a JSON object", v.key, must)
			return
		}
		*to = s
	}
}

// datesAsText makes text of what YAML takes for a date: Version: 2012-10-17.
func datesAsText(n *yaml.Node, seen map[*yaml.Node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	if n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	datesAsText(n.Alias, seen)
	for _, inner := range n.Content {
		datesAsText(inner, seen)
	}
}
