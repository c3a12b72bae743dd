package docker

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/docker/docker/api/types/container"

	"github.com/ecs-local/ecs-local/local"
)

// index is what is known of each container. Events, lists and descriptions of
// containers arrive in any order, so each question to the engine and each
// event takes a tick of one clock, and an answer counts as old as its
// question:
//
//   - an answer gives way to one that was asked for later
//   - an answer gives way to an event that took an address or a name away
//     after the question, because it may be another container's by now
//   - any event after the question makes the container worth asking about again
type index struct {
	directory atomic.Pointer[local.Directory]

	mu      sync.Mutex
	changed chan struct{} // closed with the next snapshot
	clock   uint64
	entries map[string]*entry
	queue   []string // ids to ask about, in the order of their events
	workers int      // that take from the queue

	incomplete bool // the snapshot says that there is a container of which nothing is known

	facts     local.Facts
	self      string // id of our own container, once it is known
	maybeSelf candidates
	looked    bool // whether maybeSelf has been looked for

	// contested are the claims to an address that another live container
	// claims too, and that have been asked about for this reason.
	contested map[claim]bool

	// awaited are the containers whose events are waited for, with what was
	// known of them: see audit.
	awaited map[string]*local.Container
}

// entry is one container. The numbers are ticks.
type entry struct {
	container *local.Container // nil until it has been described
	command   string           // as commandOf writes it
	apart     bool             // a list says that it does not use the network of another container
	asked     uint64           // when the description was asked for
	touched   uint64           // the last event or list that said something new
	removed   uint64           // the last time that an address or a name was taken away
	queued    bool
	asking    int // workers that are asking about it now
}

// stale reports whether the engine knows more than we do.
func (e *entry) stale() bool { return e.touched > e.asked }

// stranger reports whether the container may use the network of any other.
func (e *entry) stranger() bool { return e.container == nil && !e.apart }

// claim is what a container says: this address on this network is mine.
type claim struct {
	place
	id string
}

// place is an address on a network.
type place struct {
	network string
	address netip.Addr
}

func newIndex(facts local.Facts, self string) *index {
	x := &index{changed: make(chan struct{}), entries: map[string]*entry{}, facts: facts}
	if self != "" {
		x.maybeSelf, x.looked = candidates{ids: []string{self}, certain: []string{self}}, true
	}
	x.publish()
	return x
}

func (x *index) latest() *local.Directory { return x.directory.Load() }

// nextChange returns a channel that is closed when there is another snapshot
// than at the time of the call.
func (x *index) nextChange() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.changed
}

func (x *index) setFacts(facts local.Facts) {
	x.mu.Lock()
	x.facts = facts
	x.mu.Unlock()
	x.publish()
}

// tick returns the time of a question that is about to be asked.
func (x *index) tick() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.clock++
	return x.clock
}

// touch notes that there is something new about a container.
func (x *index) touch(id string) *entry {
	x.clock++
	e := x.entries[id]
	if e == nil {
		// An answer that is on its way may be about a time before the
		// container was removed.
		e = &entry{removed: x.clock}
		x.entries[id] = e
	}
	e.touched = x.clock
	return e
}

// misleading reports whether the snapshot is wrong about whether there is a
// container of which nothing is known.
func (x *index) misleading() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.self != "" && x.incomplete != x.strangers()
}

// strangers reports whether there is a container of which nothing is known.
func (x *index) strangers() bool {
	for _, e := range x.entries {
		if e.stranger() {
			return true
		}
	}
	return false
}

func (x *index) enqueue(id string, e *entry) {
	if !e.queued {
		e.queued = true
		x.queue = append(x.queue, id)
	}
}

// without returns a copy that lacks the addresses that are gone.
func without(c *local.Container, gone func(place) bool) *local.Container {
	changed := *c
	changed.Networks = slices.Clone(c.Networks)
	for i := range changed.Networks {
		n := &changed.Networks[i]
		if gone(place{n.Name, n.IPv4}) {
			n.IPv4 = netip.Addr{}
		}
		if gone(place{n.Name, n.IPv6}) {
			n.IPv6 = netip.Addr{}
		}
	}
	return &changed
}

// placesOf returns the addresses that a container has.
func placesOf(c *local.Container) map[place]bool {
	all := map[place]bool{}
	for _, n := range c.Networks {
		for _, addr := range []netip.Addr{n.IPv4, n.IPv6} {
			if addr.IsValid() {
				all[place{n.Name, addr}] = true
			}
		}
	}
	return all
}

// described takes in the description of a container that was asked for at a
// time.
func (x *index) described(id string, at uint64, r *container.InspectResponse) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.entries[id]
	if e == nil || at < e.removed || at < e.asked {
		return
	}
	e.container, e.command = containerOf(id, r, e.container), commandOf(r)
	e.asked = at
}

// gone notes that the engine does not know the container. Ids are never used
// again.
func (x *index) gone(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.entries, id)
}

// setCandidates says which container may be our own. The first call counts.
func (x *index) setCandidates(look func() candidates) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.looked {
		x.maybeSelf, x.looked = look(), true
	}
}
