package imds

import (
	"bytes"
	"encoding/json"
	"time"
)

// JSON in the form of the real service: two spaces of indentation, " : "
// between key and value, keys in a given order, no newline at the end.

// object is a JSON object with its keys in order.
type object []member

type member struct {
	key   string
	value any // string, []string, object, or nil
}

func (o object) bytes() []byte {
	var b bytes.Buffer
	o.write(&b, 0)
	return b.Bytes()
}

func (o object) write(b *bytes.Buffer, depth int) {
	if len(o) == 0 {
		b.WriteString("{}")
		return
	}
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		newline(b, depth+1)
		quote(b, m.key)
		b.WriteString(" : ")
		switch v := m.value.(type) {
		case string:
			quote(b, v)
		case object:
			v.write(b, depth+1)
		case []string:
			list(b, v)
		default:
			b.WriteString("null")
		}
	}
	newline(b, depth)
	b.WriteByte('}')
}

// list writes an array on one line; one without elements is null.
func list(b *bytes.Buffer, values []string) {
	if len(values) == 0 {
		b.WriteString("null")
		return
	}
	b.WriteString("[ ")
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		quote(b, v)
	}
	b.WriteString(" ]")
}

func newline(b *bytes.Buffer, depth int) {
	b.WriteByte('\n')
	for range depth {
		b.WriteString("  ")
	}
}

func quote(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)         // a string always encodes
	b.Truncate(b.Len() - 1) // the encoder's newline
}

// optional turns an absent text into null.
func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// instant is how the documents write a time: whole seconds, UTC.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
