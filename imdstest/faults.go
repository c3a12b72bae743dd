package imdstest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ecs-local/ecs-local/local/imds"
)

// Always is the count of a fault that lasts until Heal or Reset.
const Always = 0

const tokenPath = "/latest/api/token"

// faults stands before the service: it counts what is asked for and breaks
// what is answered.
type faults struct {
	next   http.Handler
	closed chan struct{}
	close  func() // ends delays; may be called again

	mu      sync.Mutex
	list    []*fault
	counts  map[string]int
	issued  map[string]bool // tokens that are good
	expired map[string]bool // tokens that ExpireTokens ended
}

// fault is one way in which some answers are broken.
type fault struct {
	pattern string
	left    int // requests to come; Always: all of them

	status int           // answered in place of the real answer, unless 0
	cut    bool          // half of the body is missing
	drop   bool          // the connection ends without an answer
	delay  time.Duration // before the answer
}

func newFaults(next http.Handler) *faults {
	f := &faults{next: next, closed: make(chan struct{}), issued: map[string]bool{}, expired: map[string]bool{}}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	f.reset()
	return f
}

func (f *faults) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list, f.counts = nil, map[string]int{}
}

// add adds a fault, unless no request could ever have it.
func (f *faults) add(n *fault) error {
	switch {
	case n.left < 0:
		return fmt.Errorf("%d requests: give a number above 0, or Always", n.left)
	case n.status != 0 && (n.status < 200 || n.status > 599):
		return fmt.Errorf("the status %d is not that of an answer: give one from 200 to 599", n.status)
	case !strings.HasPrefix(n.pattern, "/") && !strings.HasPrefix(n.pattern, "*"):
		return fmt.Errorf("no path is like %q: begin with a slash, as in /latest/meta-data/instance-id, or with *", n.pattern)
	}
	n.pattern = path.Clean(n.pattern) // as the paths that are counted
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, n)
	return nil
}

// clean brings a path into the form in which it is counted.
func clean(p string) string { return path.Clean("/" + p) }

// matches reports whether a path is meant by a pattern, in which * stands for
// any characters, slashes too.
func matches(pattern, path string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return first == path
	}
	after, ok := strings.CutPrefix(path, first)
	if !ok {
		return false
	}
	for i := range len(after) + 1 {
		if matches(rest, after[i:]) {
			return true
		}
	}
	return false
}

// arrived counts a request and returns what shall happen to it.
func (f *faults) arrived(r *http.Request) (effect fault, expired bool) {
	at := clean(r.URL.Path)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[r.Method+" "+at]++
	kept := f.list[:0]
	for _, one := range f.list {
		if matches(one.pattern, at) {
			if effect.status == 0 {
				effect.status = one.status
			}
			effect.cut, effect.drop, effect.delay = effect.cut || one.cut, effect.drop || one.drop, effect.delay+one.delay
			if one.left == 1 {
				continue // it was the last
			}
			if one.left > 1 {
				one.left--
			}
		}
		kept = append(kept, one)
	}
	clear(f.list[len(kept):])
	f.list = kept
	return effect, f.expired[r.Header.Get(imds.HeaderToken)]
}

// ServeHTTP answers a request, broken or not.
func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	effect, expired := f.arrived(r)
	if expired {
		r.Header[imds.HeaderToken] = []string{""}
	}
	if effect.delay > 0 {
		timer := time.NewTimer(effect.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-f.closed:
		}
	}
	switch {
	case effect.drop:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close() // that it ends is all that is wanted
		}
		return
	case effect.status == http.StatusNotFound && r.Method != http.MethodPut:
		// Let the service say that there is nothing.
		r.RequestURI = "/latest/meta-data/-"
	case effect.status != 0:
		h := w.Header()
		h["Content-Type"], h["Content-Length"] = []string{"text/plain"}, []string{"0"}
		h["Server"], h["Connection"] = []string{"EC2ws"}, []string{"close"}
		w.WriteHeader(effect.status)
		return
	}
	token := r.Method == http.MethodPut && clean(r.URL.Path) == tokenPath
	if !token && !effect.cut {
		f.next.ServeHTTP(w, r)
		return
	}

	answer := httptest.NewRecorder()
	f.next.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	if token && answer.Code == http.StatusOK {
		f.mu.Lock()
		f.issued[string(bytes.Clone(body))] = true
		f.mu.Unlock()
	}
	maps.Copy(w.Header(), answer.Header())
	if effect.cut {
		body = body[:len(body)/2]
		if r.Method != http.MethodHead {
			w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body) // the client may be gone; nobody is left to tell
}

// Fail answers the next requests with a status: count of them, or Always. The
// pattern is a path from the root, in which * stands for any characters,
// slashes too: /latest/meta-data/iam-ecs-*. A slash at the end does not count.
// 404 is that of a path that does not exist; every other answer is empty.
func (s *Server) Fail(pattern string, status, count int) {
	s.helper()
	if status == 0 {
		s.check(errors.New("the status 0 is not that of an answer: give one from 200 to 599"))
		return
	}
	s.check(s.faults.add(&fault{pattern: pattern, status: status, left: count}))
}

// BadJSON cuts answers in half, so that no document is whole.
func (s *Server) BadJSON(pattern string, count int) {
	s.helper()
	s.check(s.faults.add(&fault{pattern: pattern, cut: true, left: count}))
}

// Slow delays answers.
func (s *Server) Slow(pattern string, delay time.Duration, count int) {
	s.helper()
	s.check(s.faults.add(&fault{pattern: pattern, delay: delay, left: count}))
}

// Drop ends connections without an answer. Go's client sends a GET again when
// that happens to a connection that it had kept: it counts as another request.
func (s *Server) Drop(pattern string, count int) {
	s.helper()
	s.check(s.faults.add(&fault{pattern: pattern, drop: true, left: count}))
}

// RefuseTokens answers requests for tokens with 403 until Heal or Reset.
func (s *Server) RefuseTokens() {
	s.helper()
	s.Fail(tokenPath, http.StatusForbidden, Always)
}

// ExpireTokens ends all tokens that were given out. Requests with one of them
// are answered with 401; a new token is good.
func (s *Server) ExpireTokens() {
	f := s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.expired, f.issued)
	clear(f.issued)
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = nil
}

// Requests returns how often each method and path was asked for, broken or
// not, such as "GET /latest/meta-data/instance-id". Paths are without doubled
// slashes and a slash at the end.
func (s *Server) Requests() map[string]int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return maps.Clone(s.faults.counts)
}

// ForgetRequests sets all counts to nothing.
func (s *Server) ForgetRequests() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	clear(s.faults.counts)
}
