package docker

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ecs-local/ecs-local/local"
)

// publish makes the snapshot of what is known now. It returns the ids of
// containers about which the engine knows more, as of the same moment.
func (x *index) publish() (directory *local.Directory, stale []string) {
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
	directory = local.NewDirectory(containers, x.self, x.facts)
	if x.incomplete = x.strangers(); x.incomplete {
		directory = directory.Incomplete()
	}
	x.directory.Store(directory)
	close(x.changed)
	x.changed = make(chan struct{})
	for id, e := range x.entries {
		if e.stale() {
			stale = append(stale, id)
		}
	}
	return directory, stale
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
// same network: the one that started last has it. All who claim it are asked
// about, once.
func (x *index) settle(containers []*local.Container) {
	claims := map[place][]int{}
	for i, c := range containers {
		if c.State.Alive() {
			for p := range placesOf(c) {
				claims[p] = append(claims[p], i)
			}
		}
	}
	contested := map[claim]bool{}
	for p, claimants := range claims {
		if len(claimants) == 1 {
			continue
		}
		newest := slices.MaxFunc(claimants, func(i, j int) int {
			return cmp.Or(containers[i].StartedAt.Compare(containers[j].StartedAt), strings.Compare(containers[i].ID, containers[j].ID))
		})
		for _, i := range claimants {
			contested[claim{p, containers[i].ID}] = true
			if i != newest {
				containers[i] = without(containers[i], func(q place) bool { return q == p })
			}
		}
	}
	for c := range contested {
		if e := x.entries[c.id]; !x.contested[c] && e != nil {
			x.enqueue(c.id, x.touch(c.id))
		}
	}
	x.contested = contested
}

// findSelf looks for our own container among those that the engine knows.
func (x *index) findSelf() {
	for _, maybe := range x.maybeSelf.ids {
		id := x.only(maybe)
		if id == "" {
			continue
		}
		if !slices.Contains(x.maybeSelf.certain, maybe) {
			id = x.amongSharers(id)
		}
		x.self = id
		return
	}
}

// only returns the only id that begins like this.
func (x *index) only(begin string) string {
	if x.entries[begin] != nil {
		return begin
	}
	var found []string
	for id := range x.entries {
		if strings.HasPrefix(id, begin) {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// amongSharers returns which of the containers in the network namespace of one
// is our own: all of them have the hostname and the files of the one that owns
// it. Only their commands tell them apart; in doubt it is the owner.
func (x *index) amongSharers(owner string) string {
	var found []string
	for id, e := range x.entries {
		inside := id == owner || e.container != nil && x.shared(e.container).SharesWith == owner
		if inside && slices.Contains(x.maybeSelf.commands, e.command) {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		return owner
	}
	return found[0]
}
