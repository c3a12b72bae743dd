package imdsclient

import (
	"regexp"
	"slices"
	"strings"
)

// version matches the first segment of a path: latest, 1.0 or a date.
var version = regexp.MustCompile(`^(latest|1\.0|\d{4}-\d{2}-\d{2})$`)

// Path returns the whole path that is meant by text. What begins with a slash
// is whole already. Otherwise a version comes first as it is (latest/dynamic),
// meta-data, dynamic, user-data and api are those of latest, and everything
// else is below /latest/meta-data, which the empty text stands for itself.
//
// Paths are plain text: characters that a URL cannot hold are encoded when
// the request is made.
func Path(text string) string {
	first, _, _ := strings.Cut(text, "/")
	switch {
	case strings.HasPrefix(text, "/"):
		return text
	case text == "":
		return "/latest/meta-data"
	case version.MatchString(first):
		return "/" + text
	case slices.Contains([]string{"meta-data", "dynamic", "user-data", "api"}, first):
		return "/latest/" + text
	default:
		return "/latest/meta-data/" + text
	}
}

// Secret reports whether the value at path holds credentials: those of an
// instance's role, of the instance itself, or of an ECS task. The listings
// above them are no secrets.
func Secret(path string) bool {
	segments := segments(Path(path))
	at := slices.IndexFunc(segments, func(s string) bool { return strings.HasPrefix(s, "security-credentials") })
	return at >= 0 && at < len(segments)-1
}

// segments returns the parts of a path, without empty ones.
func segments(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" })
}
