package cli

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogLinesAreWrittenTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &countingWriter{}
		l := newLineWriter(out)
		want := func(writes int, text string) {
			t.Helper()
			if n, got := out.seen(); n != writes || got != text {
				t.Errorf("%d writes of %q, want %d of %q", n, got, writes, text)
			}
		}
		line := func(s string) {
			if _, err := l.Write([]byte(s)); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		line("a\n")
		want(1, "a\n") // at once
		line("b\n")
		line("c\n")
		want(1, "a\n")
		time.Sleep(lineDelay)
		synctest.Wait()
		want(2, "a\nb\nc\n")
		time.Sleep(lineDelay)
		line("d\n")
		line("e\n")
		l.flush()
		want(4, "a\nb\nc\nd\ne\n")

		long := strings.Repeat("x", lineBuffer)
		line(long)
		want(5, "a\nb\nc\nd\ne\n"+long)
		time.Sleep(time.Second)
		synctest.Wait()
		want(5, "a\nb\nc\nd\ne\n"+long)
	})
}

type countingWriter struct {
	mu     sync.Mutex
	writes int
	text   strings.Builder
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	return w.text.Write(p)
}

func (w *countingWriter) seen() (writes int, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes, w.text.String()
}
