package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/ecs-local/ecs-local/local"
)

const (
	// auditEvery is the time between two looks at whether events still tell
	// all.
	auditEvery = 10 * time.Second
	// auditPatience is how long the event of what a list shows may take.
	auditPatience = 3 * time.Second
)

// audit looks whether a list shows what no event told. The engine drops events
// for those who were too slow, and a connection can stay open through which
// nothing comes any more: then there is no error, and without this an address
// would be another container's for ever. What the list shows is taken in at
// once. If the event of it does not come either, that is an error.
func (c *Client) audit(ctx context.Context) error {
	at := c.index.tick()
	list, err := c.api.ContainerList(ctx, container.ListOptions{All: true})
	switch {
	case err == nil:
	case brokeOff(err), client.IsErrConnectionFailed(err):
		return fmt.Errorf("list containers: %w", err)
	default:
		return nil // a busy engine says nothing about its events
	}
	if !c.index.await(at, list) {
		return nil
	}
	describing, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	if err := c.describeAll(describing, c.index.listed(at, list, false), parallel); err != nil && client.IsErrConnectionFailed(err) {
		return err
	}
	c.publish()
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(auditPatience):
	}
	if id := c.index.unheard(); id != "" {
		return local.Errorf(local.Unavailable, "the Docker engine at %s sent no event of what happened to the container %.12s, so that all containers are read anew: try again in a moment", c.host, id)
	}
	return nil
}

// await notes about which containers a list, which was asked for at a time,
// says what no event has told: they are there or gone, or an address or a name
// of theirs is. It reports whether there are any.
func (x *index) await(at uint64, list []container.Summary) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.awaited = map[string]*local.Container{}
	inList := make(map[string]bool, len(list))
	for i := range list {
		s := &list[i]
		inList[s.ID] = true
		e := x.entries[s.ID]
		switch {
		case e == nil:
			x.awaited[s.ID] = nil
		case e.container == nil || e.stale() || e.asked > at:
		case !slices.Contains(s.Names, "/"+e.container.DockerName) || lacksOne(s, e.container):
			x.awaited[s.ID] = e.container
		}
	}
	for id, e := range x.entries {
		if !inList[id] && e.touched < at && e.asked < at {
			x.awaited[id] = e.container
		}
	}
	return len(x.awaited) > 0
}

// lacksOne reports whether a list leaves out an address that we know.
func lacksOne(s *container.Summary, c *local.Container) bool {
	listed := listedPlaces(s)
	for p := range placesOf(c) {
		if !listed[p] {
			return true
		}
	}
	return false
}

// unheard returns the id of a container that is awaited, has changed and has
// had no event; empty when there is none. That it has changed is what its
// description says: a list may differ from that for good.
func (x *index) unheard() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, before := range x.awaited {
		var now *local.Container
		if e := x.entries[id]; e != nil {
			now = e.container
		}
		if changed(before, now) {
			return id
		}
	}
	return ""
}

func changed(before, now *local.Container) bool {
	if before == nil || now == nil {
		return before != now
	}
	return before.DockerName != now.DockerName || !maps.Equal(placesOf(before), placesOf(now))
}
