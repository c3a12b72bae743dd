package metadata

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/ecs-local/ecs-local/local"
)

// Overrides is what a file adds to documents and replaces in them: a JSON
// object whose keys are the documents' own. The files are those of
// CONTAINER_METADATA_PATH and TASK_METADATA_PATH of
// https://github.com/awslabs/amazon-ecs-local-container-endpoints.
//
// It works like a JSON merge patch (RFC 7396) that keeps the order: a key that
// the document has stays where it is and gets the new value, a key that the
// agent knows comes where the agent has it, any other at the end. Objects are
// merged key by key, everything else is replaced as a whole, and null removes.
// Values are written as they stand in the file.
type Overrides struct{ patch object }

// ParseOverrides reads a file's content. Whatever is wrong with it is an
// Invalid error that begins with the file and the line.
func ParseOverrides(file string, data []byte) (*Overrides, error) {
	patch, fault := parseWithin(data, maxDepth)
	if fault != nil {
		return nil, local.Errorf(local.Invalid, "%s:%d: %s", file, fault.line(data), fault.reason)
	}
	return &Overrides{patch: patch}, nil
}

// The keys of the agent's documents, in its order.
var (
	taskHeadOrder      = []string{"Cluster", "TaskARN", "Family", "Revision", "DesiredStatus", "KnownStatus"}
	taskMiddleOrder    = []string{"Limits", "PullStartedAt", "PullStoppedAt", "ExecutionStoppedAt", "AvailabilityZone", "TaskTags", "ContainerInstanceTags"}
	containerHeadOrder = []string{"DockerId", "Name", "DockerName", "Image", "ImageID", "Ports", "Labels", "DesiredStatus", "KnownStatus", "ExitCode", "Limits",
		"CreatedAt", "StartedAt", "FinishedAt", "Type"}

	taskOrder = map[Version][]string{
		V3: slices.Concat(taskHeadOrder, []string{"Containers"}, taskMiddleOrder),
		V4: slices.Concat(taskHeadOrder, taskMiddleOrder, []string{"LaunchType", "Errors", "Containers", "VPCID", "ServiceName", "Group", "ClockDrift",
			"EphemeralStorageMetrics", "FaultInjectionEnabled", "AvailabilityZoneID"}),
	}
	containerOrder = map[Version][]string{
		V3: slices.Concat(containerHeadOrder, []string{"Networks", "Health", "Volumes"}),
		V4: slices.Concat(containerHeadOrder, []string{"Health", "Volumes", "LogDriver", "LogOptions", "ContainerARN", "Networks", "Snapshotter", "RestartCount"}),
	}
)

// orderOf returns the order of a version; 2 and 3 have the same.
func orderOf(orders map[Version][]string, v Version) []string { return orders[max(v, V3)] }

// apply returns the document, whose keys the agent has in that order, with the
// overrides.
func (o *Overrides) apply(doc []byte, order []string) ([]byte, error) {
	if o == nil || len(o.patch) == 0 {
		return doc, nil
	}
	target, fault := parse(doc)
	if fault != nil {
		return nil, errors.New(fault.reason)
	}
	return merge(slices.Clone(target), o.patch).arrange(target, order).append(nil), nil
}

// arrange moves the members that before does not have to where the order has
// them: before the first member that comes later. What the order does not have
// comes last.
func (o object) arrange(before object, order []string) object {
	arranged := make(object, 0, len(o))
	for _, m := range o {
		at := len(arranged)
		if rank := slices.Index(order, m.name); rank >= 0 && before.index(m.name) < 0 {
			later := func(other member) bool {
				i := slices.Index(order, other.name)
				return i > rank || i < 0
			}
			if i := slices.IndexFunc(arranged, later); i >= 0 {
				at = i
			}
		}
		arranged = slices.Insert(arranged, at, m)
	}
	return arranged
}

// applyEach returns the document with the overrides in each object of the
// list that it has under key.
func (o *Overrides) applyEach(doc []byte, key string, order []string) ([]byte, error) {
	if o == nil || len(o.patch) == 0 {
		return doc, nil
	}
	target, fault := parse(doc)
	if fault != nil {
		return nil, errors.New(fault.reason)
	}
	i := target.index(key)
	if i < 0 {
		return doc, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(target[i].value, &list); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	each := []byte{'['}
	for n, element := range list {
		merged, err := o.apply(element, order)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			each = append(each, ',')
		}
		each = append(each, merged...)
	}
	target[i].value = append(each, ']')
	return target.append(nil), nil
}

// object is a JSON object that keeps the order of its keys and the bytes of
// its values.
type object []member

type member struct {
	name  string
	key   []byte // the name in quotes, as it was written
	value []byte // compact; nil for an object
	// isObject says that fields is the value, and not value.
	isObject bool
	fields   object
}

func (m member) isNull() bool { return string(m.value) == "null" }

func (o object) index(name string) int {
	return slices.IndexFunc(o, func(m member) bool { return m.name == name })
}

// merge returns target with the patch. It may change target, never the patch.
func merge(target, patch object) object {
	for _, m := range patch {
		i := target.index(m.name)
		if m.isNull() {
			if i >= 0 {
				target = slices.Delete(target, i, i+1)
			}
			continue
		}
		if i < 0 {
			i, target = len(target), append(target, member{name: m.name, key: m.key})
		}
		if m.isObject {
			target[i].fields = merge(target[i].fields, m.fields) // of another value: none
		}
		target[i].value, target[i].isObject = m.value, m.isObject
	}
	return target
}

// append writes the object behind b.
func (o object) append(b []byte) []byte {
	b = append(b, '{')
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, m.key...), ':')
		if m.isObject {
			b = m.fields.append(b)
		} else {
			b = append(b, m.value...)
		}
	}
	return append(b, '}')
}

// fault is what is wrong with a text, and up to where it was read when that
// was noticed.
type fault struct {
	offset int64
	reason string
}

// line returns the line of the last byte that was read; the first is 1.
func (f *fault) line(data []byte) int {
	read := bytes.TrimRight(data[:min(f.offset, int64(len(data)))], " \t\r\n")
	return 1 + bytes.Count(read, []byte("\n"))
}

// parse reads one JSON object. Unlike encoding/json, it refuses an object that
// has a key twice.
func parse(data []byte) (object, *fault) { return parseWithin(data, math.MaxInt) }

// parseWithin is parse with a limit to the depth.
func parseWithin(data []byte, most int) (object, *fault) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, &fault{reason: `the file is empty: it holds one JSON object, such as {"Family": "shop"}`}
	}
	if !utf8.Valid(data) {
		return nil, &fault{offset: validUpTo(data), reason: "the file is not UTF-8: save it as UTF-8"}
	}
	var whole json.RawMessage // checks all of the syntax first, so that offsets are right
	if err := json.Unmarshal(data, &whole); err != nil {
		offset := int64(len(data))
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			offset = syntax.Offset
		}
		return nil, &fault{offset: offset, reason: "this is not JSON: " + err.Error()}
	}
	p := parser{data: data, dec: json.NewDecoder(bytes.NewReader(data)), most: most}
	p.dec.UseNumber()
	var m member
	if f := p.value(&m); f != nil {
		return nil, f
	}
	if !m.isObject {
		offset := len(data) - len(bytes.TrimLeft(data, " \t\r\n")) + 1
		return nil, &fault{offset: int64(offset), reason: `this is not a JSON object, such as {"Family": "shop"}`}
	}
	return m.fields, nil
}

// validUpTo returns the offset behind the first byte that is not UTF-8.
func validUpTo(data []byte) int64 {
	n := 0
	for n < len(data) {
		r, size := utf8.DecodeRune(data[n:])
		n += size
		if r == utf8.RuneError && size == 1 {
			break
		}
	}
	return int64(n)
}

// maxDepth is how deep objects and lists of a file can be in each other. Within
// a task they are deeper by two, and encoding/json has a limit of its own.
const maxDepth = 1000

// parser walks through a text whose syntax is known to be right.
type parser struct {
	data  []byte
	dec   *json.Decoder
	depth int // of what is being read
	most  int
}

// value reads the next value into m; nil for one within a list, which is kept as
// a whole.
func (p *parser) value(m *member) *fault {
	start := p.dec.InputOffset()
	token, err := p.dec.Token()
	if err != nil {
		return p.fault(err.Error())
	}
	if _, ok := token.(json.Delim); ok {
		if p.depth++; p.depth > p.most {
			return p.fault(fmt.Sprintf("this is nested more than %d deep: make it flatter", p.most))
		}
		defer func() { p.depth-- }()
	}
	switch token {
	case json.Delim('{'):
		if m != nil {
			m.isObject = true
		}
		return p.object(m)
	case json.Delim('['):
		for p.dec.More() {
			if f := p.value(nil); f != nil {
				return f
			}
		}
		if _, err := p.dec.Token(); err != nil {
			return p.fault(err.Error())
		}
	}
	if m == nil {
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, p.since(start)); err != nil {
		return p.fault(err.Error())
	}
	m.value = compact.Bytes()
	return nil
}

// object reads the members of an object, up to its end, into m.
func (p *parser) object(m *member) *fault {
	seen := map[string]bool{}
	for p.dec.More() {
		start := p.dec.InputOffset()
		token, err := p.dec.Token()
		if err != nil {
			return p.fault(err.Error())
		}
		name, _ := token.(string)
		if seen[name] {
			return p.fault(fmt.Sprintf("the key %q is here a second time: remove one of the two", name))
		}
		seen[name] = true
		if m == nil {
			if f := p.value(nil); f != nil {
				return f
			}
			continue
		}
		field := member{name: name, key: p.since(start)}
		if f := p.value(&field); f != nil {
			return f
		}
		m.fields = append(m.fields, field)
	}
	if _, err := p.dec.Token(); err != nil {
		return p.fault(err.Error())
	}
	return nil
}

// since returns what was read since an offset, without the separators before it.
func (p *parser) since(offset int64) []byte {
	return bytes.TrimLeft(p.data[offset:p.dec.InputOffset()], " \t\r\n,:")
}

func (p *parser) fault(reason string) *fault {
	return &fault{offset: p.dec.InputOffset(), reason: reason}
}
