package docker

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/ecs-local/ecs-local/local"
)

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
		if e != nil {
			e.apart = apart(s)
		}
		if e != nil && e.asked > at && !e.stale() {
			continue // described after the list was asked for
		}
		stripped := e != nil && e.asked < at && x.strip(e, s)
		if e != nil && !every && !stripped && !e.stale() && settled(e.container, s) {
			continue
		}
		x.touch(s.ID).apart = apart(s)
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

// apart reports whether a list says that a container does not use the network
// of another. That is settled when it is made.
func apart(s *container.Summary) bool {
	mode := s.HostConfig.NetworkMode
	return mode != "" && !strings.HasPrefix(mode, "container:")
}

// strip takes away the addresses that a container does not have any more, and
// reports whether there were any.
func (x *index) strip(e *entry, s *container.Summary) bool {
	if e.container == nil {
		return false
	}
	now, before := listedPlaces(s), len(placesOf(e.container))
	changed := without(e.container, func(p place) bool { return !now[p] })
	if len(placesOf(changed)) == before {
		return false
	}
	x.clock++
	e.removed = x.clock
	e.container = changed
	return true
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
	if string(c.State) != s.State || !slices.Contains(s.Names, "/"+c.DockerName) {
		return false
	}
	switch c.State {
	case local.Running, local.Paused, local.Removing, local.Dead:
	default:
		return false
	}
	return maps.Equal(placesOf(c), listedPlaces(s))
}

// listedPlaces returns the addresses that a list says a container has.
func listedPlaces(s *container.Summary) map[place]bool {
	all := map[place]bool{}
	if s.NetworkSettings == nil {
		return all
	}
	for name, e := range s.NetworkSettings.Networks {
		if e == nil {
			continue
		}
		v4, _ := addressOf(netip.Addr.Is4, e.IPAddress, 0)
		v6, _ := addressOf(netip.Addr.Is6, e.GlobalIPv6Address, 0)
		for _, addr := range []netip.Addr{v4, v6} {
			if addr.IsValid() {
				all[place{name, addr}] = true
			}
		}
	}
	return all
}
