package docker

import (
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/ecs-local/ecs-local/local"
)

// event takes in one event. It reports whether an address or a name may have
// become another container's, or a container is new, so that the snapshot must
// change before anything else.
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
	delete(x.awaited, id)
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
	case events.ActionRename:
		e := x.touch(id)
		e.removed = e.touched
		if name := m.Actor.Attributes["name"]; e.container != nil && name != "" {
			e.container = renamed(e.container, name)
		}
		x.enqueue(id, e)
		return true
	case events.ActionCreate, events.ActionStart, events.ActionUpdate,
		events.ActionHealthStatus, events.ActionPause, events.ActionUnPause:
		return x.announce(id)
	}
	return false
}

// announce takes in an event that is to be asked about. While nothing is known
// of the container, the snapshot must say that there is one, unless it does so
// already.
func (x *index) announce(id string) (urgent bool) {
	e := x.touch(id)
	x.enqueue(id, e)
	return e.stranger() && x.self != "" && !x.incomplete
}

func (x *index) networkEvent(m *events.Message) (urgent bool) {
	id := m.Actor.Attributes["container"]
	if id == "" {
		return false
	}
	delete(x.awaited, id)
	switch m.Action {
	case events.ActionConnect:
		return x.announce(id)
	case events.ActionDisconnect:
		e := x.touch(id)
		e.removed = e.touched
		if e.container != nil {
			left := m.Actor.Attributes["name"]
			e.container = without(e.container, func(p place) bool { return p.network == left })
		}
		x.enqueue(id, e)
		return true
	}
	return false
}

// ended returns the container after its process is gone.
func ended(c *local.Container, m *events.Message) *local.Container {
	c = without(c, func(place) bool { return true })
	c.State = local.Exited
	if m.TimeNano > 0 {
		c.FinishedAt = time.Unix(0, m.TimeNano).UTC()
	}
	if code, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil {
		c.ExitCode = code
	}
	return c
}

// renamed returns the container under another name.
func renamed(c *local.Container, name string) *local.Container {
	changed := *c
	changed.DockerName = strings.TrimPrefix(name, "/")
	changed.Name = nameOf(c.Labels, changed.DockerName)
	return &changed
}
