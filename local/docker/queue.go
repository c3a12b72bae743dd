package docker

// requeue puts the stale containers about which nobody is asking into the
// queue.
func (x *index) requeue() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, e := range x.entries {
		if e.stale() && e.asking == 0 {
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
// most that many. Each must call next until it returns false, and done after
// each id.
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
			e.asking++
			return id, true
		}
	}
	x.workers--
	return "", false
}

// done notes that a worker has asked about a container.
func (x *index) done(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.entries[id]; e != nil && e.asking > 0 {
		e.asking--
	}
}
