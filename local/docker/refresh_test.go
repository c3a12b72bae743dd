package docker

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

// answered is what a call of Refresh returned.
type answered struct {
	directory *local.Directory
	err       error
}

// refreshing calls Refresh in the background.
func refreshing(t *testing.T, c *Client) <-chan answered {
	t.Helper()
	answer := make(chan answered, 1)
	go func() {
		d, err := c.Refresh(t.Context(), nil)
		answer <- answered{d, err}
	}()
	synctest.Wait()
	return answer
}

func TestRefresh(t *testing.T) {
	t.Run("finds a container before its start is over", func(t *testing.T) {
		// The process runs and calls, but the engine still lists it as
		// created, without an address, and sends no event.
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, with(job, in("created")))
			c := follow(t, e)
			release := e.Hold(jobID)
			answer := refreshing(t, c)
			e.PutDescribed(job)
			release()
			a := <-answer
			if a.err != nil {
				t.Fatal(a.err)
			}
			if got := who(a.directory, "10.0.0.4"); got != "job" {
				t.Errorf("who is the new container: got %s, want job", got)
			}
			wantWho(t, c, "10.0.0.4", "job") // for the next request, too
		})
	})
	for _, state := range []string{"exited", "restarting", "created"} {
		t.Run("asks about one that is listed as "+state, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				put(e, web, with(job, in(state)))
				c := follow(t, e)
				e.PutDescribed(job)
				d, err := c.Refresh(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := who(d, "10.0.0.4"); got != "job" {
					t.Errorf("who is it: got %s, want job", got)
				}
				if n := e.Count("GET /containers/" + webID + "/json"); n != 1 {
					t.Errorf("questions about a container that only runs: got %d, want 1, at the start", n)
				}
			})
		})
	}
	t.Run("sees what no event told", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			other := dockertest.Container{ID: dockertest.ID("dd"), Name: "other", Networks: map[string]string{"front": "10.0.0.6"}}
			mover := dockertest.Container{ID: dockertest.ID("ee"), Name: "mover", Networks: map[string]string{"front": "10.0.0.7"}}
			ender := dockertest.Container{ID: dockertest.ID("ff"), Name: "ender", Networks: map[string]string{"front": "10.0.0.9"}}
			put(e, web, redis, other, mover, ender)
			c := follow(t, e)
			e.Remove(redisID)
			e.Put(with(web, func(c *dockertest.Container) {
				c.Networks = map[string]string{"front": "10.0.0.2", "back": "10.1.0.2"}
			}))
			e.Put(with(other, func(c *dockertest.Container) { c.Name = "renamed" }))
			e.Put(with(mover, func(c *dockertest.Container) { c.Networks = map[string]string{"front": "10.0.0.8"} }))
			e.Put(with(ender, in("dead")))
			e.Put(job)
			if _, err := c.Refresh(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			wantWho(t, c, "10.1.0.2", "shop-web-1")
			wantWho(t, c, "10.0.0.3", "NotFound")
			wantWho(t, c, "10.0.0.4", "job")
			wantWho(t, c, "10.0.0.6", "renamed")
			wantWho(t, c, "10.0.0.7", "NotFound")
			wantWho(t, c, "10.0.0.8", "mover")
			if got := find(t, c, ender.ID).State; got != local.Dead {
				t.Errorf("state of the one that ended: got %s, want dead", got)
			}
		})
	})
	t.Run("works without an event stream, and trusts no list then", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := clientOf(t, e, Options{})
			for range 2 {
				if _, err := c.Refresh(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			wantWho(t, c, "10.0.0.2", "shop-web-1")
			if n := e.Count("GET /containers/" + webID + "/json"); n != 2 {
				t.Errorf("questions about web: got %d, want 2", n)
			}
		})
	})
	t.Run("asks again when the connection breaks off", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Break()
			e.Remove(webID)
			e.Put(with(job, func(c *dockertest.Container) { c.Networks = map[string]string{"front": "10.0.0.2"} }))
			e.CutLists(refreshTries - 1)
			d, err := c.Refresh(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := who(d, "10.0.0.2"); got != "job" {
				t.Errorf("who has the address now: got %s, want job", got)
			}
			e.CutLists(refreshTries)
			if _, err := c.Refresh(t.Context(), nil); local.CodeOf(err) != local.Unavailable {
				t.Errorf("when it breaks off each time: got error %v, want Unavailable", err)
			}
		})
	})
	t.Run("one that vanishes meanwhile is no error", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.PutListed(job) // described no more
			d, err := c.Refresh(t.Context(), nil)
			if err != nil || len(d.Containers()) != 1 {
				t.Errorf("got %v, %v, want web alone", d, err)
			}
			asked := e.Count("GET /containers/" + jobID)
			time.Sleep(time.Minute)
			if n, most := e.Count("GET /containers/"+jobID)-asked, int(time.Minute/auditEvery); n > most {
				t.Errorf("questions about it in the next minute: got %d, want one for each list at most, %d", n, most)
			}
		})
	})
	t.Run("events during the question are heeded", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, with(job, in("exited")))
			c := follow(t, e)
			release := e.Hold(jobID)
			answer := refreshing(t, c)
			e.PutDescribed(job)
			e.Event("die", jobID, "exitCode", "0") // of the run before
			synctest.Wait()
			release()
			a := <-answer
			if a.err != nil {
				t.Fatal(a.err)
			}
			if got := who(a.directory, "10.0.0.4"); got != "job" {
				t.Errorf("who is it: got %s, want job", got)
			}
		})
	})
	t.Run("a caller that gives up does not end the question", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, with(job, in("created")))
			c := follow(t, e)
			release := e.Hold(jobID)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Refresh(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got error %v, want the end of the context", err)
			}
			e.PutDescribed(job)
			release()
			settle()
			wantWho(t, c, "10.0.0.4", "job")
		})
	})
	t.Run("a description that never comes is a timeout, and hides nothing", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, with(job, in("created")))
			c := follow(t, e)
			release := e.Hold(jobID)
			defer release()
			e.Put(redis)
			begin := time.Now()
			_, err := c.Refresh(t.Context(), nil)
			if got := local.CodeOf(err); got != local.Timeout {
				t.Errorf("got error %v, want Timeout", err)
			}
			if took := time.Since(begin); took != refreshTimeout {
				t.Errorf("took %v, want %v", took, refreshTimeout)
			}
			wantWho(t, c, "10.0.0.3", "shop-redis-1")
		})
	})
}

func TestRefreshForOneThing(t *testing.T) {
	isJob := func(d *local.Directory) bool { return who(d, "10.0.0.4") == "job" }
	t.Run("does not wait for the starts of others", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, with(web, in("created")), with(job, in("created")))
			c := follow(t, e)
			releaseWeb, releaseJob := e.Hold(webID), e.Hold(jobID)
			defer releaseWeb()
			begin := time.Now()
			found := make(chan error, 1)
			go func() {
				d, err := c.Refresh(t.Context(), isJob)
				if err == nil && !isJob(d) {
					err = errors.New("the directory lacks what was looked for")
				}
				found <- err
			}()
			synctest.Wait()
			e.PutDescribed(job)
			releaseJob()
			if err := <-found; err != nil {
				t.Errorf("got error %v, want none", err)
			}
			if took := time.Since(begin); took > lull {
				t.Errorf("took %v, want %v at most", took, lull)
			}
		})
	})
	t.Run("returns what Refresh does when nothing is found", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			d, err := c.Refresh(t.Context(), isJob)
			if err != nil || who(d, "10.0.0.2") != "shop-web-1" {
				t.Errorf("got %v, %v, want a directory with web", d, err)
			}
			e.Put(with(redis, in("created")))
			release := e.Hold(redisID)
			defer release()
			if _, err := c.Refresh(t.Context(), isJob); local.CodeOf(err) != local.Timeout {
				t.Errorf("got error %v, want Timeout", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Refresh(ctx, isJob); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got error %v, want the end of the context", err)
			}
			e.Fail(500)
			time.Sleep(time.Minute)
			if _, err := c.Refresh(t.Context(), isJob); local.CodeOf(err) != local.Unavailable {
				t.Errorf("got error %v, want Unavailable", err)
			}
		})
	})
	t.Run("waits for the first reading instead of asking a second time", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, job)
			release := e.Hold(webID)
			c := clientOf(t, e, Options{})
			run(t, c)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Refresh(ctx, isJob); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got error %v, want the end of the context", err)
			}
			found := make(chan answered, 1)
			go func() {
				d, err := c.Refresh(t.Context(), isJob)
				found <- answered{d, err}
			}()
			synctest.Wait() // before the reading goes on: after it, a call asks anew
			release()
			if a := <-found; a.err != nil || !isJob(a.directory) {
				t.Errorf("got %v, %v, want a directory with job", a.directory, a.err)
			}
			if n := e.Count("GET /containers/json"); n != 1 {
				t.Errorf("lists: got %d, want 1", n)
			}
		})
	})
	t.Run("asks when the first reading fails", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, job)
			e.Break()
			c := clientOf(t, e, Options{})
			run(t, c)
			d, err := c.Refresh(t.Context(), isJob)
			if err != nil || !isJob(d) {
				t.Errorf("got %v, %v, want a directory with job", d, err)
			}
		})
	})
	t.Run("trusts no snapshot of a client that is not in step", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, job)
			c := follow(t, e)
			e.Break()
			synctest.Wait()
			e.Remove(jobID)
			d, err := c.Refresh(t.Context(), isJob)
			if err != nil || isJob(d) {
				t.Errorf("got %v, %v, want a directory without job", d, err)
			}
		})
	})
}

func TestRefreshIsShared(t *testing.T) {
	bubble(t, func(t *testing.T, e *dockertest.Engine) {
		put(e, with(job, in("created")))
		c := follow(t, e)
		before := e.Count("GET /containers/json")
		release := e.Hold(jobID)
		first := refreshing(t, c)
		// These come while the first question is on its way: its answer may
		// be older than they are, so they share another.
		var late []<-chan answered
		for range 50 {
			late = append(late, refreshing(t, c))
		}
		e.Put(redis)
		release()
		a := <-first
		if a.err != nil {
			t.Fatal(a.err)
		}
		if got := who(a.directory, "10.0.0.3"); got != "NotFound" {
			t.Errorf("the first question knows what came after it: %s", got)
		}
		for _, l := range late {
			a := <-l
			if a.err != nil {
				t.Fatal(a.err)
			}
			if got := who(a.directory, "10.0.0.3"); got != "shop-redis-1" {
				t.Errorf("an answer is older than its call: got %s, want shop-redis-1", got)
			}
		}
		if got := e.Count("GET /containers/json") - before; got != 2 {
			t.Errorf("lists for 51 calls: got %d, want 2", got)
		}
	})
}

// A call can come while another's question is on its way that the engine takes
// long to answer, and its own question may take as long again.
func TestRefreshDoesNotWaitForEver(t *testing.T) {
	for name, calls := range map[string]int{"alone": 1, "behind another": 2} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				put(e, web, with(job, in("created")))
				c := follow(t, e)
				release := e.Hold(jobID)
				defer release()
				begun := time.Now()
				var last <-chan answered
				for range calls {
					last = refreshing(t, c)
				}
				a := <-last
				if local.CodeOf(a.err) != local.Timeout {
					t.Errorf("got %v, want Timeout", a.err)
				}
				// The listener gives a request up after 15 seconds, and what
				// is served then may wait for a sample.
				if took := time.Since(begun); took > 15*time.Second-firstSampleTimeout {
					t.Errorf("waited for %v", took)
				}
			})
		})
	}
}

func TestRefreshOfADeadEngine(t *testing.T) {
	bubble(t, func(t *testing.T, e *dockertest.Engine) {
		put(e, web)
		c := clientOf(t, e, Options{})
		if _, err := c.Refresh(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		e.Fail(500)
		before := e.Count("GET /containers/json")
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				if _, err := c.Refresh(t.Context(), nil); local.CodeOf(err) != local.Unavailable {
					t.Errorf("got error %v, want Unavailable", err)
				}
			})
		}
		calls.Wait()
		if _, err := c.Refresh(t.Context(), nil); err == nil {
			t.Error("got no error")
		}
		if got := e.Count("GET /containers/json") - before; got != 1 {
			t.Errorf("lists for 101 calls: got %d, want 1", got)
		}
		wantWho(t, c, "10.0.0.2", "shop-web-1")
		never := clientOf(t, e, Options{}) // has not talked to it before
		for range 3 {
			if _, err := never.Refresh(t.Context(), nil); local.CodeOf(err) != local.Unavailable {
				t.Errorf("got error %v, want Unavailable", err)
			}
		}
		if got := e.Count("HEAD /_ping"); got != 2 {
			t.Errorf("pings of two clients: got %d, want 2", got)
		}
		e.Mend()
		time.Sleep(250 * time.Millisecond)
		if _, err := c.Refresh(t.Context(), nil); err != nil {
			t.Errorf("the failure is remembered for too long: %v", err)
		}
	})
}

// Answers arrive in any order; what counts is when they were asked for.
func TestAnswersInTheWrongOrder(t *testing.T) {
	t.Parallel()
	description := func(name string) *container.InspectResponse {
		return &container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{Name: "/" + name}}
	}
	name := func(x *index) string {
		d, _ := x.publish()
		for _, c := range d.Containers() {
			return c.DockerName
		}
		return "nobody"
	}
	t.Run("the later question wins", func(t *testing.T) {
		t.Parallel()
		x := newIndex(local.Facts{}, "")
		x.touch(webID)
		early, late := x.tick(), x.tick()
		x.described(webID, late, description("new"))
		x.described(webID, early, description("old"))
		if got := name(x); got != "new" {
			t.Errorf("got %s, want new", got)
		}
	})
	t.Run("a question from before an address was lost is void", func(t *testing.T) {
		t.Parallel()
		x := newIndex(local.Facts{}, "")
		x.touch(webID)
		at := x.tick()
		e := x.touch(webID)
		e.removed = e.touched
		x.described(webID, at, description("old"))
		if got := name(x); got != "nobody" {
			t.Errorf("got %s, want nobody", got)
		}
	})
	for action, m := range map[string]events.Message{
		"an end": {Type: events.ContainerEventType, Action: events.ActionDie, Actor: events.Actor{ID: webID}},
		"leaving a network": {Type: events.NetworkEventType, Action: events.ActionDisconnect,
			Actor: events.Actor{Attributes: map[string]string{"container": webID, "name": "front"}}},
	} {
		t.Run("a question from before "+action+" does not bring the address back", func(t *testing.T) {
			t.Parallel()
			running := description("old")
			running.State = &container.State{Status: "running"}
			running.NetworkSettings = &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"front": {IPAddress: "10.0.0.2"}}}
			x := newIndex(local.Facts{}, "")
			x.touch(webID)
			x.described(webID, x.tick(), running)
			d, _ := x.publish()
			if got := who(d, "10.0.0.2"); got != "old" {
				t.Fatalf("before: got %s, want old", got)
			}
			at := x.tick()
			x.event(&m)
			x.described(webID, at, running)
			d, _ = x.publish()
			if got := who(d, "10.0.0.2"); got != "NotFound" {
				t.Errorf("got %s, want NotFound", got)
			}
			x.described(webID, x.tick(), running)
			d, _ = x.publish()
			if got := who(d, "10.0.0.2"); got != "old" {
				t.Errorf("a later answer: got %s, want old", got)
			}
		})
	}
	t.Run("a question from before a new name does not bring the old one back", func(t *testing.T) {
		t.Parallel()
		x := newIndex(local.Facts{}, "")
		x.touch(webID)
		x.described(webID, x.tick(), description("old"))
		at := x.tick()
		x.event(&events.Message{Type: events.ContainerEventType, Action: events.ActionRename,
			Actor: events.Actor{ID: webID, Attributes: map[string]string{"name": "new", "oldName": "/old"}}})
		x.described(webID, at, description("old"))
		if got := name(x); got != "new" {
			t.Errorf("got %s, want new", got)
		}
	})
	t.Run("a question from before a container was removed is void, even when an old list names it", func(t *testing.T) {
		t.Parallel()
		x := newIndex(local.Facts{}, "")
		x.touch(webID)
		at := x.tick()
		list := x.tick()
		x.gone(webID)
		x.listed(list, []container.Summary{{ID: webID}}, false)
		x.described(webID, at, description("old"))
		if got := name(x); got != "nobody" {
			t.Errorf("got %s, want nobody", got)
		}
	})
	t.Run("a list from before a description asks nothing more", func(t *testing.T) {
		t.Parallel()
		x := newIndex(local.Facts{}, "")
		x.touch(webID)
		list := x.tick()
		x.described(webID, x.tick(), description("new"))
		if ids := x.listed(list, []container.Summary{{ID: webID}}, true); len(ids) != 0 {
			t.Errorf("to be asked about: got %v, want nobody", ids)
		}
	})
	t.Run("a list from before a start does not remove the container", func(t *testing.T) {
		t.Parallel()
		x := newIndex(local.Facts{}, "")
		list := x.tick()
		x.touch(webID)
		if ids := x.listed(list, nil, false); len(ids) != 1 {
			t.Errorf("to be asked about: got %v, want web", ids)
		}
		x.described(webID, x.tick(), description("new"))
		x.listed(list, nil, false)
		if got := name(x); got != "new" {
			t.Errorf("got %s, want new", got)
		}
		x.listed(x.tick(), nil, false)
		if got := name(x); got != "nobody" {
			t.Errorf("after a later list: got %s, want nobody", got)
		}
	})
}

// A container whose start is still going on is described by nobody, but its
// process runs and may call from the address of ecs-local.
func TestStrangersMayUseTheNetworkOfECSLocal(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	near := dockertest.Container{ID: webID, Name: "near", Mode: "container:" + redisID}
	newcomer := with(near, func(c *dockertest.Container) { c.ID, c.Name = jobID, "new" })
	for name, test := range map[string]struct {
		stranger    dockertest.Container
		listedFirst bool // somebody's list is there before the event
		waits       bool
		want        string
	}{
		"one that does":                     {stranger: newcomer, waits: true, want: "Ambiguous"},
		"one that does, in a list at first": {stranger: newcomer, listedFirst: true, waits: true, want: "Ambiguous"},
		"one that does not, says the list":  {stranger: job, want: "near"},
		"one of which the list says less":   {stranger: with(job, func(c *dockertest.Container) { c.Networks = nil }), waits: true, want: "near"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				put(e, redis, near)
				c := clientOf(t, e, Options{Self: redisID})
				run(t, c)
				settle()
				passing := func() bool {
					d, _ := c.Current()
					return d.Passing(loopback)
				}
				if passing() {
					t.Error("nobody is new, and the answer does not hold")
				}
				e.Put(with(test.stranger, func(c *dockertest.Container) { c.State = "created" }))
				release := e.Hold(jobID)
				if test.listedFirst {
					_ = refreshing(t, c)
				} else {
					e.Event("create", jobID)
				}
				settle()
				if !passing() {
					t.Error("one is new, and the answer holds")
				}
				var got string
				asked := make(chan struct{})
				go func() {
					defer close(asked)
					d, err := c.Refresh(t.Context(), func(d *local.Directory) bool { return !d.Passing(loopback) })
					if err != nil {
						t.Error(err)
						return
					}
					if caller, err := d.WhoIs(loopback); err != nil {
						got = string(local.CodeOf(err))
					} else if got = "Ambiguous"; caller.Container != nil {
						got = caller.Container.DockerName
					}
				}()
				settle()
				select {
				case <-asked:
					if test.waits {
						t.Error("the answer did not wait for the description")
					}
				default:
					if !test.waits {
						t.Error("the answer waits for the description")
					}
				}
				e.PutDescribed(test.stranger)
				release()
				<-asked
				if got != test.want {
					t.Errorf("who calls: got %s, want %s", got, test.want)
				}
				settle()
				if passing() {
					t.Error("all are known, and the answer does not hold")
				}
			})
		})
	}
}
