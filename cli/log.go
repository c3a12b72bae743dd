package cli

import (
	"io"
	"log/slog"
)

// newLog returns the logger for a level (debug, info, warn, error) and a
// format (text, json). Flush writes the last lines.
func newLog(w io.Writer, level, format string) (log *slog.Logger, flush func()) {
	lines := newLineWriter(w)
	options := &slog.HandlerOptions{}
	var l slog.Level
	if l.UnmarshalText([]byte(level)) == nil {
		options.Level = l
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(lines, options)), lines.flush
	}
	return slog.New(slog.NewTextHandler(lines, options)), lines.flush
}
