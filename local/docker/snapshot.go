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
