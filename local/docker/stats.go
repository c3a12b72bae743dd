package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"

	"github.com/ecs-local/ecs-local/local"
)

const (
	// firstSampleTimeout is how long the first caller waits. The engine takes
	// up to a second for a sample.
	firstSampleTimeout = 3 * time.Second
	// unreadTimeout is how long a stream stays open without a reader.
	unreadTimeout = time.Minute
	// statsRetry is the time between two tries to open a stream.
	statsRetry = time.Second
)

// samples holds a stats stream for each container that somebody asked about.
type samples struct {
	mu   sync.Mutex
	open map[string]*samplesOf // by container id
}

// samplesOf is what came in on one stream.
type samplesOf struct {
	latest  atomic.Pointer[local.Stats] // nil when there is none
	first   chan struct{}               // closed when latest is set, or never will be
	lastUse atomic.Int64                // nanoseconds since born
	born    time.Time
	cancel  context.CancelFunc
	once    sync.Once
}

// Stats returns the latest sample of each of these containers, by container
// id. The first call for a container waits for its first sample, three seconds
// at most; the calls of the next minute never wait. A container without a
// sample, because it does not run or because none has come, has no entry.
func (c *Client) Stats(ctx context.Context, containers []*local.Container) map[string]*local.Stats {
	streams, opened := c.streams(containers)
	if len(opened) > 0 {
		ctx, cancel := context.WithTimeout(ctx, firstSampleTimeout)
		defer cancel()
		for _, s := range opened {
			select {
			case <-s.first:
			case <-ctx.Done():
			}
		}
	}
	result := make(map[string]*local.Stats, len(streams))
	for id, s := range streams {
		if latest := s.latest.Load(); latest != nil {
			result[id] = latest
		}
	}
	return result
}

// streams returns the streams of those containers that run, by container id,
// and those among them that it had to open.
func (c *Client) streams(containers []*local.Container) (all map[string]*samplesOf, opened []*samplesOf) {
	now := time.Now()
	all = make(map[string]*samplesOf, len(containers))
	c.samples.mu.Lock()
	defer c.samples.mu.Unlock()
	for _, ct := range containers {
		if !hasProcess(ct) {
			continue
		}
		s, ok := c.samples.open[ct.ID]
		if !ok {
			if s = c.openStream(ct.ID, now); s == nil {
				continue
			}
			opened = append(opened, s)
		}
		s.lastUse.Store(int64(now.Sub(s.born)))
		all[ct.ID] = s
	}
	return all, opened
}

// hasProcess reports whether the engine has something to measure.
func hasProcess(c *local.Container) bool { return c.State == local.Running || c.State == local.Paused }

// openStream must be called with the lock held.
func (c *Client) openStream(id string, now time.Time) *samplesOf {
	ctx, cancel := context.WithCancel(c.alive)
	s := &samplesOf{first: make(chan struct{}), born: now, cancel: cancel}
	if !c.work.do(func() { s.endWhenUnread(ctx) }) || !c.work.do(func() { c.sample(ctx, id, s) }) {
		cancel()
		return nil
	}
	c.samples.open[id] = s
	return s
}

// sample keeps one stream open until the container ends or nobody asks any
// more. While the engine fails, there is no sample.
func (c *Client) sample(ctx context.Context, id string, s *samplesOf) {
	defer func() {
		s.cancel()
		c.samples.mu.Lock()
		if c.samples.open[id] == s {
			delete(c.samples.open, id)
		}
		c.samples.mu.Unlock()
		s.latest.Store(nil)
		s.once.Do(func() { close(s.first) })
	}()
	for {
		err := c.readSamples(ctx, id, s)
		if ctx.Err() != nil || errors.Is(err, errEnded) || errdefs.IsNotFound(err) {
			return
		}
		c.log.Debug("no stats of a container", slog.Any("err", err))
		s.latest.Store(nil)
		s.once.Do(func() { close(s.first) })
		select {
		case <-ctx.Done():
			return
		case <-time.After(statsRetry):
		}
	}
}

// endWhenUnread ends the stream when nobody has asked for a minute.
func (s *samplesOf) endWhenUnread(ctx context.Context) {
	for wait := unreadTimeout; wait > 0; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = unreadTimeout - (time.Since(s.born) - time.Duration(s.lastUse.Load()))
	}
	s.cancel()
}

// errEnded says that the container does not run any more.
var errEnded = errors.New("the container has ended")

// readSamples reads a stream until it ends, which is always an error.
func (c *Client) readSamples(ctx context.Context, id string, s *samplesOf) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	r, err := c.api.ContainerStats(ctx, id, true)
	if err != nil {
		return fmt.Errorf("open stats of container %s: %w", id, err)
	}
	defer func() { _ = r.Body.Close() }()
	return decodeSamples(r.Body, s)
}

func decodeSamples(body io.Reader, s *samplesOf) error {
	decoder := json.NewDecoder(body)
	var before *reading
	var rates *local.NetworkRates
	for {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return fmt.Errorf("read stats: %w", err)
		}
		var now reading
		if err := json.Unmarshal(raw, &now); err != nil {
			return fmt.Errorf("read stats: %w", err)
		}
		if now.Read.Year() <= 1 {
			// The engine goes on with empty samples after the end.
			return errEnded
		}
		rates = ratesBetween(before, &now, rates)
		before = &now
		s.latest.Store(&local.Stats{JSON: bytes.TrimSpace(raw), Rates: rates})
		s.once.Do(func() { close(s.first) })
	}
}

// reading is what the rates need of a sample.
type reading struct {
	Read     time.Time `json:"read"`
	Networks map[string]struct {
		RxBytes uint64 `json:"rx_bytes"`
		TxBytes uint64 `json:"tx_bytes"`
	} `json:"networks"`
}

func (r *reading) bytes() (rx, tx uint64) {
	for _, n := range r.Networks {
		rx += n.RxBytes
		tx += n.TxBytes
	}
	return rx, tx
}

// ratesBetween returns the rates between two samples, computed as the agent
// does: in 32-bit floats. Two samples of one moment have the rates of before.
// https://github.com/aws/amazon-ecs-agent/blob/master/agent/stats/queue.go
func ratesBetween(before, now *reading, last *local.NetworkRates) *local.NetworkRates {
	if before == nil || len(before.Networks) == 0 || len(now.Networks) == 0 {
		return nil
	}
	seconds := float32(now.Read.Sub(before.Read).Seconds())
	if seconds <= 0 {
		return last
	}
	rxBefore, txBefore := before.bytes()
	rx, tx := now.bytes()
	return &local.NetworkRates{RxBytesPerSec: rate(rxBefore, rx, seconds), TxBytesPerSec: rate(txBefore, tx, seconds)}
}

// rate is zero when the counter fell: an interface with its counts is gone.
func rate(before, now uint64, seconds float32) float64 {
	if now < before {
		return 0
	}
	return float64(float32(now-before) / seconds)
}

// keep ends the streams of containers that do not run according to the
// snapshot.
func (s *samples) keep(directory *local.Directory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) == 0 {
		return
	}
	running := make(map[string]bool, len(s.open))
	for _, c := range directory.Containers() {
		running[c.ID] = hasProcess(c)
	}
	for id, stream := range s.open {
		if !running[id] {
			stream.cancel()
			delete(s.open, id)
		}
	}
}
