package imds

import (
	"path"
	"strings"
)

// clean brings the path of a request line into the form that the tree is
// keyed by: a query is dropped, percent-encoding is decoded once, empty
// segments, "." and ".." are resolved, and a slash at the end goes. The root
// is the empty string; every other path begins with a slash.
//
// A path that is clean already, as nearly all are, is returned as it came.
func clean(p string) string {
	if i := strings.IndexByte(p, '?'); i >= 0 {
		p = p[:i]
	}
	if strings.IndexByte(p, '%') >= 0 {
		p = decode(p)
	}
	if len(p) == 0 || p[0] != '/' || strings.Contains(p, "//") || strings.Contains(p, "/.") {
		p = path.Clean("/" + p)
	}
	if p[len(p)-1] == '/' {
		p = p[:len(p)-1]
	}
	return p
}

// decode resolves percent-encoding. What is not encoding stays: there is no
// bad request here, only a path that does not exist.
func decode(p string) string {
	var b strings.Builder
	b.Grow(len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			if hi, lo := unhex(p[i+1]), unhex(p[i+2]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}
