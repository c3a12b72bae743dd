package docker

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"

	"github.com/ecs-local/ecs-local/local"
)

// index is what is known of each container. Events, lists and descriptions of
// containers arrive in any order, so each question to the engine and each
// event takes a tick of one clock, and an answer counts as old as its
// question:
//
//   - an answer gives way to one that was asked for later
//   - an answer gives way to an event that took an address away after the
//     question, because the address may be another container's by now
//   - any event after the question makes the container worth asking about again
type index struct {
	directory atomic.Pointer[local.Directory]

	mu      sync.Mutex
	clock   uint64
	entries map[string]*entry
	queue   []string // ids to ask about, in the order of their events
	workers int      // that take from the queue

	facts     local.Facts
	self      string   // id of our own container, once it is known
	maybeSelf []string // ids or beginnings of ids it may have
	looked    bool     // whether maybeSelf has been looked for

	// contested are the claims to one address that have been asked about.
	contested map[contest]bool
}

// entry is one container. The numbers are ticks.
type entry struct {
	container *local.Container // nil until it has been described
	asked     uint64           // when the description was asked for
	touched   uint64           // the last event or list that said something new
	removed   uint64           // the last time that an address was taken away
	queued    bool
}

// stale reports whether the engine knows more than we do.
func (e *entry) stale() bool { return e.touched > e.asked }

// contest is two live containers with one address on one network.
type contest struct {
	network    string
	address    netip.Addr
	older, new string
}

func newIndex(facts local.Facts, self string) *index {
	x := &index{entries: map[string]*entry{}, facts: facts}
	if self != "" {
		x.maybeSelf, x.looked = []string{self}, true
	}
	x.publish()
	return x
}

func (x *index) latest() *local.Directory { return x.directory.Load() }

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
		e = &entry{}
		x.entries[id] = e
	}
	e.touched = x.clock
	return e
}

func (x *index) enqueue(id string, e *entry) {
	if !e.queued {
		e.queued = true
		x.queue = append(x.queue, id)
	}
}

// event takes in one event. It reports whether an address may have become
// another container's, so that the snapshot must change before anything else.
func (x *index) event(m *events.Message) (urgent bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch m.Type {
	case events.ContainerEventType:
		return x.containerEvent(m)
	case events.NetworkEventType:
		return x.networkEvent(m)
	default:
		return false
	}
}

func (x *index) containerEvent(m *events.Message) (urgent bool) {
	id := m.Actor.ID
	action, _, _ := strings.Cut(string(m.Action), ":")
	switch events.Action(action) {
	case events.ActionDestroy:
		delete(x.entries, id)
		return true
	case events.ActionDie:
		e := x.touch(id)
		e.removed = e.touched
		if e.container != nil {
			e.container = ended(e.container, m)
		}
		x.enqueue(id, e)
		return true
	case events.ActionCreate, events.ActionStart, events.ActionRename, events.ActionUpdate,
		events.ActionHealthStatus, events.ActionPause, events.ActionUnPause:
		x.enqueue(id, x.touch(id))
	}
	return false
}

func (x *index) networkEvent(m *events.Message) (urgent bool) {
	id := m.Actor.Attributes["container"]
	if id == "" {
		return false
	}
	switch m.Action {
	case events.ActionConnect:
		x.enqueue(id, x.touch(id))
	case events.ActionDisconnect:
		e := x.touch(id)
		e.removed = e.touched
		if e.container != nil {
			left := m.Actor.Attributes["name"]
			e.container = withoutAddresses(e.container, func(n local.Network) bool { return n.Name == left })
		}
		x.enqueue(id, e)
		return true
	}
	return false
}

// ended returns the container after its process is gone.
func ended(c *local.Container, m *events.Message) *local.Container {
	c = withoutAddresses(c, func(local.Network) bool { return true })
	c.State = local.Exited
	if m.TimeNano > 0 {
		c.FinishedAt = time.Unix(0, m.TimeNano).UTC()
	}
	if code, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil {
		c.ExitCode = code
	}
	return c
}

// withoutAddresses returns a copy that has no address on those networks.
func withoutAddresses(c *local.Container, gone func(local.Network) bool) *local.Container {
	changed := *c
	changed.Networks = slices.Clone(c.Networks)
	for i := range changed.Networks {
		if gone(changed.Networks[i]) {
			changed.Networks[i].IPv4, changed.Networks[i].IPv6 = netip.Addr{}, netip.Addr{}
		}
	}
	return &changed
}

// listed takes in a list of all containers that was asked for at a time, and
// returns the ids of those that must be asked about one by one: all when every
// is set, otherwise those about which the list may not tell the whole truth.
func (x *index) listed(at uint64, list []container.Summary, every bool) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []string
	inList := make(map[string]bool, len(list))
	for i := range list {
		s := &list[i]
		inList[s.ID] = true
		e := x.entries[s.ID]
		if e != nil && e.asked > at && !e.stale() {
			continue // described after the list was asked for
		}
		if e != nil && e.asked < at {
			x.strip(e, s)
		}
		if e != nil && !every && !e.stale() && settled(e.container, s) {
			continue
		}
		x.touch(s.ID)
		ids = append(ids, s.ID)
	}
	for id, e := range x.entries {
		switch {
		case inList[id]:
		case e.touched < at && e.asked < at:
			delete(x.entries, id)
		case e.stale():
			ids = append(ids, id) // younger than the list
		}
	}
	return ids
}

// strip takes away the addresses that a container does not have any more.
func (x *index) strip(e *entry, s *container.Summary) {
	if e.container == nil {
		return
	}
	now := addressesOf(s)
	gone := func(n local.Network) bool {
		return n.IPv4.IsValid() && !now[place{n.Name, n.IPv4}] || n.IPv6.IsValid() && !now[place{n.Name, n.IPv6}]
	}
	if !slices.ContainsFunc(e.container.Networks, gone) {
		return
	}
	x.clock++
	e.removed = x.clock
	e.container = withoutAddresses(e.container, gone)
}

// settled reports whether the list says all there is to know about who has
// which address: the container runs and has exactly the addresses we know, or
// it is on its way out and will never start again.
//
// The list is made from the engine's last notes, which it takes at the end of
// a start. A container that is listed as created, exited or restarting may
// therefore have a process and addresses already; only its description, which
// waits for the start to end, is the truth, however long ago it exited. A
// container that is listed as running has come to that end. It can get a
// further network later, but then the event of that comes before the notes,
// and makes the entry stale.
func settled(c *local.Container, s *container.Summary) bool {
	if c == nil || string(c.State) != s.State || !slices.Contains(s.Names, "/"+c.DockerName) {
		return false
	}
	switch c.State {
	case local.Running, local.Paused, local.Removing, local.Dead:
	default:
		return false
	}
	known := map[place]bool{}
	for _, n := range c.Networks {
		for _, addr := range []netip.Addr{n.IPv4, n.IPv6} {
			if addr.IsValid() {
				known[place{n.Name, addr}] = true
			}
		}
	}
	return maps.Equal(known, addressesOf(s))
}

// place is an address on a network.
type place struct {
	network string
	address netip.Addr
}

func addressesOf(s *container.Summary) map[place]bool {
	all := map[place]bool{}
	if s.NetworkSettings == nil {
		return all
	}
	for name, e := range s.NetworkSettings.Networks {
		if e == nil {
			continue
		}
		for _, text := range []string{e.IPAddress, e.GlobalIPv6Address} {
			if addr, _ := addressOf(text, 0); addr.IsValid() {
				all[place{name, addr}] = true
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
	e.container = containerOf(id, r, e.container)
	e.asked = at
}

// gone notes that the engine does not know the container. Ids are never used
// again.
func (x *index) gone(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.entries, id)
}

// stale returns the ids of the containers about which something new is known
// to have happened.
func (x *index) stale() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []string
	for id, e := range x.entries {
		if e.stale() {
			ids = append(ids, id)
		}
	}
	return ids
}

// requeue puts all stale containers into the queue.
func (x *index) requeue() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, e := range x.entries {
		if e.stale() {
			x.enqueue(id, e)
		}
	}
}

// drop empties the queue.
func (x *index) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range x.queue {
		if e := x.entries[id]; e != nil {
			e.queued = false
		}
	}
	x.queue = nil
}

// hire returns how many workers to start so that the queue is worked off by at
// most that many. Each must call next until it returns false.
func (x *index) hire(most int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := max(0, min(most-x.workers, len(x.queue)))
	x.workers += n
	return n
}

// next returns the next id of the queue. When there is none, the worker that
// asked is done.
func (x *index) next() (id string, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.queue) > 0 {
		id, x.queue = x.queue[0], x.queue[1:]
		if e := x.entries[id]; e != nil {
			e.queued = false
			return id, true
		}
	}
	x.workers--
	return "", false
}

// publish makes the snapshot of what is known now.
func (x *index) publish() *local.Directory {
	x.mu.Lock()
	defer x.mu.Unlock()
	containers := make([]*local.Container, 0, len(x.entries))
	for _, e := range x.entries {
		if e.container != nil {
			containers = append(containers, x.shared(e.container))
		}
	}
	x.settle(containers)
	x.findSelf()
	directory := local.NewDirectory(containers, x.self, x.facts)
	x.directory.Store(directory)
	return directory
}

// shared returns the container with the whole id of the one whose network it
// uses.
func (x *index) shared(c *local.Container) *local.Container {
	if c.SharesWith == "" || x.entries[c.SharesWith] != nil {
		return c
	}
	changed := *c
	changed.SharesWith = ""
	for id, e := range x.entries {
		if e.container != nil && (e.container.DockerName == c.SharesWith || len(c.SharesWith) >= 12 && strings.HasPrefix(id, c.SharesWith)) {
			changed.SharesWith = id
		}
	}
	return &changed
}

// settle makes sure that no two live containers have the same address on the
// same network: the one that started last has it. Both are asked about, once.
func (x *index) settle(containers []*local.Container) {
	holder := map[place]int{}
	contested := map[contest]bool{}
	for i, c := range containers {
		if !c.State.Alive() {
			continue
		}
		for _, n := range c.Networks {
			for _, addr := range []netip.Addr{n.IPv4, n.IPv6} {
				if !addr.IsValid() {
					continue
				}
				at := place{n.Name, addr}
				j, taken := holder[at]
				if !taken {
					holder[at] = i
					continue
				}
				older, newer := i, j
				if containers[i].StartedAt.After(containers[j].StartedAt) {
					older, newer = j, i
				}
				holder[at] = newer
				contested[contest{n.Name, addr, containers[older].ID, containers[newer].ID}] = true
				containers[older] = withoutAddresses(containers[older], func(m local.Network) bool {
					return m.Name == n.Name && (m.IPv4 == addr || m.IPv6 == addr)
				})
			}
		}
	}
	for claim := range contested {
		if !x.contested[claim] {
			for _, id := range []string{claim.older, claim.new} {
				x.enqueue(id, x.touch(id))
			}
		}
	}
	x.contested = contested
}

// findSelf looks for our own container among those that the engine knows.
func (x *index) findSelf() {
	if x.self != "" {
		return
	}
	for _, maybe := range x.maybeSelf {
		if x.entries[maybe] != nil {
			x.self = maybe
			return
		}
		var found []string
		for id := range x.entries {
			if strings.HasPrefix(id, maybe) {
				found = append(found, id)
			}
		}
		if len(found) == 1 {
			x.self = found[0]
			return
		}
	}
}

// setCandidates says which container may be our own. The first call counts.
func (x *index) setCandidates(look func() []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.looked {
		x.maybeSelf, x.looked = look(), true
	}
}
