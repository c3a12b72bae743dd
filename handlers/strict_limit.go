package handlers

import (
	"cmp"
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// RateLimit is how many requests one address may send to one path in strict
// mode. What is zero is the agent's: 40 in a second, 60 at once.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html
type RateLimit struct {
	PerSecond, Burst int
}

// The limits that the agent has without configuration.
const (
	agentPerSecond  = 40
	agentBurst      = 60
	faultsPerSecond = 0.2 // for each path of the faults
	faultsBurst     = 1
)

// mostKept is how many pairs of address and path a limiter keeps at least: one
// that so many others have followed counts anew. The agent keeps all for ten
// years.
const mostKept = 4096

// limiter counts the requests of each address to each path.
type limiter struct {
	perSecond rate.Limit
	burst     int
	text      string // what a request over the limit is told
	seed      maphash.Seed

	// Those that were used lately, and those before them. When the first are
	// many they take the place of the second.
	mu             sync.Mutex
	recent, before map[uint64]*rate.Limiter
}

// newAgentLimiter is that of all paths.
func newAgentLimiter(l RateLimit) *limiter {
	return newLimiter(float64(cmp.Or(l.PerSecond, agentPerSecond)), cmp.Or(l.Burst, agentBurst), "You have reached maximum request limit.")
}

// newFaultLimiter is that of the faults, which comes after that of all paths.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fault-injection.html
func newFaultLimiter() *limiter {
	return newLimiter(faultsPerSecond, faultsBurst, "You have reached maximum request limit")
}

func newLimiter(perSecond float64, burst int, text string) *limiter {
	return &limiter{perSecond: rate.Limit(perSecond), burst: burst, text: text, seed: maphash.MakeSeed(), recent: map[uint64]*rate.Limiter{}}
}

// allow reports whether a request may be done now. Paths are kept as hashes,
// for they may be long.
func (l *limiter) allow(from netip.Addr, path string) bool {
	key := maphash.Comparable(l.seed, struct {
		from netip.Addr
		path string
	}{from, path})
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.recent[key]
	if count == nil {
		if count = l.before[key]; count == nil {
			count = rate.NewLimiter(l.perSecond, l.burst)
		}
		if len(l.recent) >= mostKept {
			l.before, l.recent = l.recent, make(map[uint64]*rate.Limiter, mostKept)
		}
		l.recent[key] = count
	}
	return count.Allow()
}

// withinLimit adds a limiter's headers, beside those of one before it, and
// answers a request that is one too many.
func (s *server) withinLimit(l *limiter, w http.ResponseWriter, r *http.Request, rec record) bool {
	begun := time.Now()
	from, err := remote(r)
	h := w.Header()
	h.Add("X-Rate-Limit-Limit", strconv.FormatFloat(float64(l.perSecond), 'f', 2, 64))
	h.Add("X-Rate-Limit-Duration", "1")
	h.Add("X-Rate-Limit-Request-Forwarded-For", r.Header.Get("X-Forwarded-For"))
	h.Add("X-Rate-Limit-Request-Remote-Addr", r.RemoteAddr)
	if l.allow(from, r.URL.Path) {
		return true
	}
	writeBody(w, r, http.StatusTooManyRequests, "text/plain; charset=utf-8", []byte(l.text))
	s.logRequest(r, rec, http.StatusTooManyRequests, begun, err)
	return false
}
