package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

const (
	shortestBackoff = 100 * time.Millisecond
	longestBackoff  = 5 * time.Second

	// syncTimeout is how long the engine may take to open the event stream,
	// list its containers and describe them.
	syncTimeout = 15 * time.Second
	// describeTimeout is how long a sync waits for single descriptions. The
	// engine holds one back while it starts the container or copies files.
	describeTimeout = 5 * time.Second

	// parallel is how many containers are asked about at a time in the
	// background.
	parallel = 8
	// describeRetry is when a container that could not be described is asked
	// about again.
	describeRetry = 5 * time.Second
	// lull is how long descriptions are collected before they are published.
	lull = 5 * time.Millisecond
	// overlap is how much of the past the event stream begins with.
	overlap = time.Second
)

// followed are the events that change what is known. The engine compares
// beginnings because of health_status, so nothing else begins like these.
var followed = []events.Action{
	events.ActionCreate, events.ActionStart, events.ActionDie, events.ActionDestroy, events.ActionRename, events.ActionUpdate,
	events.ActionHealthStatus, events.ActionPause, events.ActionUnPause,
	events.ActionConnect, events.ActionDisconnect,
}

// Run follows the engine until ctx ends, and then returns nil after everything
// that the client started has ended too. It must be called once. A lost event
// stream is opened again, with all containers read anew; what was known stays
// in use meanwhile.
func (c *Client) Run(ctx context.Context) error {
	defer func() {
		c.end()
		c.work.wait()
		_ = c.api.Close() // it only closes idle connections, and always returns nil
	}()
	backoff := shortestBackoff
	for {
		inStep, err := c.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		err = c.explain(err)
		if inStep > longestBackoff {
			backoff = shortestBackoff
		}
		level := slog.LevelDebug
		if backoff == shortestBackoff {
			level = slog.LevelWarn // once for each outage
		}
		c.log.Log(ctx, level, "not in step with Docker", slog.Any("err", err), slog.Duration("retry_in", backoff))
		c.lost(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, longestBackoff)
	}
}

// lost notes that the snapshot may be out of date from now on.
func (c *Client) lost(err error) {
	since := time.Now()
	if o := c.outage.Load(); o != nil {
		since = o.since
	}
	c.outage.Store(&outage{since: since, err: err})
}

// session opens the event stream, reads all containers, and follows the events
// until something fails or events stay away. inStep is how long it knew all containers.
func (c *Client) session(ctx context.Context) (inStep time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	defer c.index.drop()
	defer cancel(nil)
	late := time.AfterFunc(syncTimeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()

	defer c.readOnce()
	if err := c.ready(ctx); err != nil {
		return 0, err
	}
	queue, failed := c.subscribe(ctx, &background)
	sync := make(chan error, 1)
	background.Go(func() { sync <- c.readAll(ctx) })
	retry := time.NewTicker(describeRetry)
	defer retry.Stop()
	audit := time.NewTicker(auditEvery)
	defer audit.Stop()
	audited := make(chan error, 1)
	auditing := false
	var timer <-chan time.Time
	var since time.Time // when all containers came to be known
	for {
		select {
		case m := <-queue:
			if c.take(&m, queue) {
				c.publish()
				timer = nil
			}
		case <-c.inspected:
			if timer == nil {
				timer = time.After(lull)
			}
		case <-timer:
			timer = nil
			c.publish()
		case <-retry.C:
			if !since.IsZero() {
				c.index.requeue()
			}
		case <-audit.C:
			if !since.IsZero() && !auditing {
				auditing = true
				background.Go(func() { audited <- c.audit(ctx) })
			}
		case err := <-audited:
			if err != nil {
				return time.Since(since), cause(ctx, err)
			}
			auditing = false
		case err := <-sync:
			if err != nil {
				return 0, cause(ctx, err)
			}
			select {
			case err := <-failed: // there was no stream meanwhile
				return 0, cause(ctx, err)
			default:
			}
			late.Stop()
			since, sync = time.Now(), nil
			c.index.requeue()
			c.publish()
			c.outage.Store(nil)
			c.readOnce()
			c.log.Info("in step with Docker", slog.String("host", c.host), slog.Int("containers", len(c.index.latest().Containers())))
		case err := <-failed:
			if !since.IsZero() {
				inStep = time.Since(since)
			}
			return inStep, cause(ctx, err)
		}
		for range c.index.hire(parallel) {
			background.Go(func() { c.describeQueued(ctx) })
		}
	}
}

// readOnce notes that the first reading has ended, well or not.
func (c *Client) readOnce() {
	if reading := c.reading.Swap(nil); reading != nil {
		close(*reading)
	}
}

// cause prefers the reason for which ctx was ended.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// subscribe opens the event stream. The engine drops events for those who are
// slow to read, so they are read into a queue at once.
func (c *Client) subscribe(ctx context.Context, background *sync.WaitGroup) (<-chan events.Message, <-chan error) {
	filter := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("type", string(events.NetworkEventType)))
	for _, action := range followed {
		filter.Add("event", string(action))
	}
	// The engine answers a moment before it listens to its own events. The
	// overlap closes that gap; an event that comes twice does no harm.
	since := time.Now().Add(-overlap)
	messages, errs := c.api.Events(ctx, events.ListOptions{
		Since:   strconv.FormatInt(since.Unix(), 10) + "." + fmt.Sprintf("%09d", since.Nanosecond()),
		Filters: filter,
	})
	queue, failed := make(chan events.Message, 1024), make(chan error, 1)
	background.Go(func() {
		for {
			select {
			case m := <-messages:
				select {
				case queue <- m:
				case <-ctx.Done():
				}
			case err := <-errs:
				if err == nil {
					err = errors.New("the stream ended")
				}
				failed <- fmt.Errorf("read events: %w", err)
				return
			}
		}
	})
	return queue, failed
}

// take takes in an event and all that wait behind it, so that a burst makes
// one snapshot, and reports whether that cannot wait.
func (c *Client) take(m *events.Message, queue <-chan events.Message) (urgent bool) {
	for {
		c.log.Debug("docker event", slog.String("type", string(m.Type)), slog.String("action", string(m.Action)), slog.String("id", m.Actor.ID))
		urgent = c.index.event(m) || urgent
		select {
		case next := <-queue:
			m = &next
		default:
			return urgent
		}
	}
}

// readAll reads all containers. One that the engine cannot describe now is
// left to later.
func (c *Client) readAll(ctx context.Context) error {
	ids, err := c.list(ctx, true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	if err := c.describeAll(ctx, ids, parallel); client.IsErrConnectionFailed(err) {
		return err
	}
	return nil
}

// list asks the engine for all its containers and returns the ids of those
// that must be asked about one by one.
func (c *Client) list(ctx context.Context, every bool) ([]string, error) {
	c.index.setCandidates(lookForSelf)
	at := c.index.tick()
	list, err := c.api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return c.index.listed(at, list, every), nil
}

// describeAll asks about these containers, some at a time. The error is the
// first that is not about one container alone.
func (c *Client) describeAll(ctx context.Context, ids []string, some int) error {
	var group errgroup.Group
	group.SetLimit(some)
	for _, id := range ids {
		group.Go(func() error {
			err := c.describe(ctx, id)
			if err != nil && ctx.Err() == nil && !client.IsErrConnectionFailed(err) {
				c.log.Debug("cannot describe a container", slog.Any("err", err))
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// describeQueued asks about the containers in the queue until it is empty.
func (c *Client) describeQueued(ctx context.Context) {
	for {
		id, ok := c.index.next()
		if !ok {
			return
		}
		if err := c.describe(ctx, id); err != nil {
			c.log.Debug("cannot describe a container", slog.Any("err", err))
		}
		c.index.done(id)
	}
}

// describe asks the engine about one container. That it is gone is an answer.
func (c *Client) describe(ctx context.Context, id string) error {
	at := c.index.tick()
	r, err := c.api.ContainerInspect(ctx, id)
	switch {
	case err == nil:
		c.index.described(id, at, &r)
	case errdefs.IsNotFound(err):
		c.index.gone(id)
	default:
		return fmt.Errorf("inspect container %s: %w", id, err)
	}
	select {
	case c.inspected <- struct{}{}:
	default: // it will be published with the one that waits
	}
	return nil
}
