package cli

import (
	"io"
	"sync"
	"time"
)

const (
	// lineDelay is how long a line may wait for others.
	lineDelay = 50 * time.Millisecond
	// lineBuffer is how many bytes may wait.
	lineBuffer = 32 << 10
)

// lineWriter writes lines of the log. A line is written at once, unless one was
// written a moment ago: then it waits a moment, so that many requests a second
// do not make as many system calls.
type lineWriter struct {
	mu      sync.Mutex
	w       io.Writer
	waiting []byte
	last    time.Time // of writing
	timer   *time.Timer
}

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{w: w}
	l.timer = time.AfterFunc(lineDelay, l.flush)
	return l
}

// Write takes one line.
func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		now := time.Now()
		if now.Sub(l.last) >= lineDelay {
			l.last = now
			return l.w.Write(p)
		}
		l.timer.Reset(lineDelay)
	}
	l.waiting = append(l.waiting, p...)
	if len(l.waiting) >= lineBuffer {
		l.write()
	}
	return len(p), nil
}

func (l *lineWriter) write() {
	l.last = time.Now()
	if len(l.waiting) > 0 {
		_, _ = l.w.Write(l.waiting) // nobody is left to tell
		l.waiting = l.waiting[:0]
	}
}

// flush writes what waits. It must be called before the program ends.
func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
}
