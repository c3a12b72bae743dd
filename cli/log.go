package cli

import (
	"io"
	"log/slog"
)

// newLog returns the logger for a level (debug, info, warn, error) and a
// format (text, json).
func newLog(w io.Writer, level, format string) *slog.Logger {
	options := &slog.HandlerOptions{}
	var l slog.Level
	if l.UnmarshalText([]byte(level)) == nil {
		options.Level = l
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
