package docker

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/client"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

// All tests that follow an engine run in a synctest bubble: after
// synctest.Wait nothing is under way any more, and the bubble does not end
// before all goroutines have.

// clientOf returns a client of an engine in memory.
func clientOf(t *testing.T, e *dockertest.Engine, o Options) *Client {
	t.Helper()
	dial, stop := e.Dialer()
	o.Host = "tcp://engine:2375"
	c, err := newClient(o, client.WithDialContext(dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.end()
		c.work.wait()
		_ = c.api.Close()
		stop()
	})
	return c
}

// run starts c.Run and returns how to end it.
func run(t *testing.T, c *Client) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	end = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: got error %v, want nil", err)
		}
		ended <- nil
	}
	t.Cleanup(end)
	return end
}

// follow returns a client that is in step with the engine.
func follow(t *testing.T, e *dockertest.Engine) *Client {
	t.Helper()
	c := clientOf(t, e, Options{})
	run(t, c)
	settle()
	if _, synced := c.Current(); !synced {
		t.Fatalf("not in step with the engine: %v", c.Status())
	}
	return c
}

// settle waits until all that was sent has been taken in and published.
func settle() {
	synctest.Wait()
	time.Sleep(2 * lull)
	synctest.Wait()
}

// who returns the Docker name of the container with this address, or the code
// of the error.
func who(d *local.Directory, address string) string {
	caller, err := d.WhoIs(netip.MustParseAddr(address))
	if err != nil {
		return string(local.CodeOf(err))
	}
	return caller.Container.DockerName
}

func wantWho(t *testing.T, c *Client, address, want string) {
	t.Helper()
	d, _ := c.Current()
	if got := who(d, address); got != want {
		t.Errorf("who is %s: got %s, want %s", address, got, want)
	}
}

func find(t *testing.T, c *Client, id string) *local.Container {
	t.Helper()
	d, _ := c.Current()
	for _, ct := range d.Containers() {
		if ct.ID == id {
			return ct
		}
	}
	t.Fatalf("container %s is not known", id)
	return nil
}

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T, e *dockertest.Engine)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, dockertest.New(t)) })
}

var (
	webID   = dockertest.ID("aa")
	redisID = dockertest.ID("bb")
	jobID   = dockertest.ID("cc")

	web   = dockertest.Container{ID: webID, Name: "shop-web-1", Networks: map[string]string{"front": "10.0.0.2"}}
	redis = dockertest.Container{ID: redisID, Name: "shop-redis-1", Networks: map[string]string{"front": "10.0.0.3"}}
	job   = dockertest.Container{ID: jobID, Name: "job", Networks: map[string]string{"front": "10.0.0.4"}}
)

// with returns a changed copy.
func with(c dockertest.Container, change func(*dockertest.Container)) dockertest.Container {
	change(&c)
	return c
}

func in(state string) func(*dockertest.Container) {
	return func(c *dockertest.Container) {
		c.State = state
		c.Networks = map[string]string{"front": ""}
	}
}

// put sets the containers of an engine.
func put(e *dockertest.Engine, containers ...dockertest.Container) {
	for _, c := range containers {
		e.Put(c)
	}
}

func TestFollow(t *testing.T) {
	t.Run("containers at the start are known", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := follow(t, e)
			wantWho(t, c, "10.0.0.2", "shop-web-1")
			wantWho(t, c, "10.0.0.3", "shop-redis-1")
			wantWho(t, c, "10.0.0.4", "NotFound")
			if err := c.Status(); err != nil {
				t.Errorf("Status: got %v, want nil", err)
			}
		})
	})
	t.Run("nothing is known before the first answer", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			c := clientOf(t, e, Options{})
			d, synced := c.Current()
			if synced || d == nil || len(d.Containers()) != 0 {
				t.Errorf("Current: got %v, %v, want an empty directory, false", d, synced)
			}
			if got := local.CodeOf(c.Status()); got != local.Unavailable {
				t.Errorf("Status: got code %s, want Unavailable", got)
			}
		})
	})
	t.Run("a container comes and goes", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(with(job, in("created")))
			e.Event("create", jobID)
			settle()
			if got := find(t, c, jobID).State; got != local.Created {
				t.Errorf("state after create: got %s, want created", got)
			}
			e.Put(job)
			e.NetworkEvent("connect", "front", jobID)
			e.Event("start", jobID)
			settle()
			wantWho(t, c, "10.0.0.4", "job")
			e.Put(with(job, in("exited")))
			e.Event("die", jobID, "exitCode", "3")
			e.NetworkEvent("disconnect", "front", jobID)
			settle()
			wantWho(t, c, "10.0.0.4", "NotFound")
			e.Remove(jobID)
			e.Event("destroy", jobID)
			settle()
			d, _ := c.Current()
			if n := len(d.Containers()); n != 1 {
				t.Errorf("containers after destroy: got %d, want 1", n)
			}
		})
	})
	t.Run("only what changed is asked about", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := follow(t, e)
			before := e.Count("GET /containers/")
			e.Put(job)
			e.Event("start", jobID)
			e.Event("exec_create: sh", webID)
			e.Event("exec_die", webID)
			e.Event("top", webID)
			settle()
			wantWho(t, c, "10.0.0.4", "job")
			if got := e.Count("GET /containers/") - before; got != 1 {
				t.Errorf("requests after one start: got %d, want 1", got)
			}
		})
	})
	t.Run("an address moves with a restart", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(with(web, func(c *dockertest.Container) { c.Networks = map[string]string{"front": "10.0.0.9"} }))
			e.Event("die", webID, "exitCode", "137")
			e.NetworkEvent("disconnect", "front", webID)
			e.NetworkEvent("connect", "front", webID)
			e.Event("start", webID)
			settle()
			wantWho(t, c, "10.0.0.2", "NotFound")
			wantWho(t, c, "10.0.0.9", "shop-web-1")
		})
	})
	t.Run("networks are connected and disconnected", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(with(web, func(c *dockertest.Container) {
				c.Networks = map[string]string{"front": "10.0.0.2", "back": "10.1.0.2"}
			}))
			e.NetworkEvent("connect", "back", webID)
			settle()
			wantWho(t, c, "10.1.0.2", "shop-web-1")
			e.Put(web)
			e.NetworkEvent("disconnect", "back", webID)
			settle()
			wantWho(t, c, "10.1.0.2", "NotFound")
			wantWho(t, c, "10.0.0.2", "shop-web-1")
		})
	})
	t.Run("a new name is seen", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(with(web, func(c *dockertest.Container) { c.Name = "renamed" }))
			e.Event("rename", webID)
			settle()
			wantWho(t, c, "10.0.0.2", "renamed")
		})
	})
	t.Run("a new health is seen", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, with(web, func(c *dockertest.Container) { c.Health = "starting" }))
			c := follow(t, e)
			if got := find(t, c, webID).Health; got == nil || got.Status != "" {
				t.Errorf("health while starting: got %+v, want an empty status", got)
			}
			e.Put(with(web, func(c *dockertest.Container) { c.Health = "healthy" }))
			e.Event("health_status: healthy", webID)
			settle()
			if got := find(t, c, webID).Health.Status; got != "HEALTHY" {
				t.Errorf("health: got %q, want HEALTHY", got)
			}
		})
	})
	t.Run("new limits are seen", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(with(web, func(c *dockertest.Container) { c.Memory = 64 << 20 }))
			e.Event("update", webID)
			settle()
			if got := find(t, c, webID).Memory; got != 64 {
				t.Errorf("memory: got %d MiB, want 64", got)
			}
		})
	})
	t.Run("a pause is no end", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(with(web, func(c *dockertest.Container) { c.State = "paused" }))
			e.Event("pause", webID)
			settle()
			wantWho(t, c, "10.0.0.2", "shop-web-1")
			if got := find(t, c, webID).State; got != local.Paused {
				t.Errorf("state: got %s, want paused", got)
			}
			e.Put(web)
			e.Event("unpause", webID)
			settle()
			if got := find(t, c, webID).State; got != local.Running {
				t.Errorf("state afterwards: got %s, want running", got)
			}
		})
	})
	for with, want := range map[string]string{"shop-web-1": webID, webID[:12]: webID, webID: webID, "one-that-is-gone": ""} {
		t.Run("the network shared with "+with+" is shown by id", func(t *testing.T) {
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				side := dockertest.Container{ID: jobID, Name: "side", Mode: "container:" + with}
				put(e, web, side)
				c := follow(t, e)
				if got := find(t, c, jobID).SharesWith; got != want {
					t.Errorf("SharesWith: got %q, want %q", got, want)
				}
			})
		})
	}
	t.Run("new facts count at once", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			asked := len(e.Requests())
			c.SetFacts(local.Facts{Cluster: "demo"})
			d, _ := c.Current()
			if got := d.Tasks()[0].Cluster; got != "demo" {
				t.Errorf("cluster: got %q, want demo", got)
			}
			if got := len(e.Requests()); got != asked {
				t.Errorf("requests: got %d, want none", got-asked)
			}
		})
	})
	t.Run("our own container is recognised and in no task", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := clientOf(t, e, Options{Self: redisID[:12]})
			run(t, c)
			settle()
			d, _ := c.Current()
			if self := d.Self(); self == nil || self.ID != redisID {
				t.Errorf("Self: got %v, want redis", self)
			}
			wantWho(t, c, "10.0.0.3", "NotFound")
		})
	})
	t.Run("a container that cannot be described at first is later", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			var mended atomic.Bool
			e.OnDescribe = func(string) int {
				if mended.Load() {
					return 0
				}
				return 500
			}
			c := follow(t, e)
			e.Put(job)
			e.Event("start", jobID)
			settle()
			wantWho(t, c, "10.0.0.4", "NotFound")
			mended.Store(true)
			time.Sleep(describeRetry)
			settle()
			wantWho(t, c, "10.0.0.4", "job")
		})
	})
	t.Run("the end of Run ends everything", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := clientOf(t, e, Options{})
			end := run(t, c)
			settle()
			c.Stats(t.Context(), []*local.Container{find(t, c, webID)})
			if _, err := c.Refresh(t.Context(), nil); err != nil {
				t.Error(err)
			}
			end()
			synctest.Wait()
			if n := e.Listeners() + e.StatsStreams(webID); n != 0 {
				t.Errorf("open streams: got %d, want 0", n)
			}
			if n := e.Connections(); n != 0 {
				t.Errorf("open connections: got %d, want 0", n)
			}
			if _, err := c.Refresh(t.Context(), nil); local.CodeOf(err) != local.Unavailable || !strings.Contains(err.Error(), "shutting down") {
				t.Errorf("Refresh afterwards: got %v, want Unavailable, since all shuts down", err)
			}
			if got := c.Stats(t.Context(), []*local.Container{find(t, c, webID)}); len(got) != 0 {
				t.Errorf("Stats afterwards: got %v, want none", got)
			}
		})
	})
}

// An address may be given to another container as soon as its owner lost it,
// while the engine still holds back the owner's description.
func TestAnAddressIsTakenAwayAtOnce(t *testing.T) {
	for name, event := range map[string]func(e *dockertest.Engine){
		"die":        func(e *dockertest.Engine) { e.Event("die", webID, "exitCode", "0") },
		"destroy":    func(e *dockertest.Engine) { e.Event("destroy", webID) },
		"disconnect": func(e *dockertest.Engine) { e.NetworkEvent("disconnect", "front", webID) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				put(e, web)
				c := follow(t, e)
				release := e.Hold(webID)
				defer release()
				event(e)
				synctest.Wait()
				wantWho(t, c, "10.0.0.2", "NotFound")
			})
		})
	}
	t.Run("the end of its owner is shown with what the event says", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			release := e.Hold(webID)
			defer release()
			e.Event("die", webID, "exitCode", "3")
			synctest.Wait()
			got := find(t, c, webID)
			if got.State != local.Exited || got.ExitCode != 3 {
				t.Errorf("got %s with exit code %d, want exited with 3", got.State, got.ExitCode)
			}
			if at := got.FinishedAt.Truncate(time.Second); !at.Equal(time.Unix(1795229254, 0)) { // as dockertest sends it
				t.Errorf("finished at: got %v, want the time of the event", got.FinishedAt)
			}
		})
	})
	t.Run("the next owner has it", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			release := e.Hold(webID)
			defer release()
			e.Put(with(job, func(c *dockertest.Container) { c.Networks = map[string]string{"front": "10.0.0.2"} }))
			e.Event("die", webID, "exitCode", "0")
			e.Event("start", jobID)
			settle()
			wantWho(t, c, "10.0.0.2", "job")
		})
	})
}

func TestANameIsTakenAwayAtOnce(t *testing.T) {
	named := func(c *Client, name string) string {
		d, _ := c.Current()
		found, err := d.Find(local.Caller{}, name)
		if err != nil {
			return string(local.CodeOf(err))
		}
		return found.Container.ID
	}
	bubble(t, func(t *testing.T, e *dockertest.Engine) {
		worker := with(job, func(c *dockertest.Container) { c.Labels = map[string]string{local.LabelContainerName: "worker"} })
		put(e, web, worker)
		c := follow(t, e)
		for _, id := range []string{webID, jobID} {
			release := e.Hold(id)
			defer release()
		}
		e.Event("rename", webID, "name", "retired", "oldName", "/shop-web-1")
		e.Event("rename", jobID, "name", "former", "oldName", "/job")
		synctest.Wait()
		if got := named(c, "shop-web-1"); got != "NotFound" {
			t.Errorf("who is shop-web-1: got %s, want NotFound", got)
		}
		if got := named(c, "retired"); got != webID {
			t.Errorf("who is retired: got %s, want web", got)
		}
		if got := find(t, c, webID).Name; got != "retired" {
			t.Errorf("name in the task definition: got %s, want retired", got)
		}
		if got := find(t, c, jobID).Name; got != "worker" {
			t.Errorf("name in the task definition, by label: got %s, want worker", got)
		}

		e.Put(with(redis, func(c *dockertest.Container) { c.Name = "shop-web-1" }))
		e.Event("create", redisID, "name", "shop-web-1")
		settle()
		if got := named(c, "shop-web-1"); got != redisID {
			t.Errorf("who is shop-web-1 now: got %s, want the one that was created under this name", got)
		}
	})
}

func TestTwoContainersClaimOneAddress(t *testing.T) {
	t.Run("the newer has it, and both are asked about", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			heir := with(job, func(c *dockertest.Container) {
				c.Networks = map[string]string{"front": "10.0.0.2"}
				c.StartedAt = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
			})
			// The end of web has not been heard of.
			e.Put(heir)
			e.Event("start", jobID)
			release := e.Hold(webID)
			settle()
			wantWho(t, c, "10.0.0.2", "job")
			if got := e.Count("GET /containers/" + webID + "/json"); got != 2 {
				t.Errorf("questions about web: got %d, want one at the start and one more", got)
			}
			e.Put(with(web, in("exited")))
			release()
			settle()
			if got := find(t, c, webID).State; got != local.Exited {
				t.Errorf("state of web: got %s, want exited", got)
			}
			wantWho(t, c, "10.0.0.2", "job")
		})
	})
	t.Run("for good, and the engine is not asked for ever", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			same := map[string]string{"front": "10.0.0.2"}
			put(e, web, with(job, func(c *dockertest.Container) { c.Networks = same }), with(redis, func(c *dockertest.Container) { c.Networks = same }))
			c := follow(t, e)
			time.Sleep(time.Hour)
			wantWho(t, c, "10.0.0.2", "job") // all started at once: the greatest id
			if got := e.Count("GET /containers/") - e.Count("GET /containers/json"); got > 3*3 {
				t.Errorf("questions about three containers: got %d", got)
			}
		})
	})
}

func TestABurstOfEventsIsOneChange(t *testing.T) {
	t.Run("starts", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			var c *Client
			var mu sync.Mutex
			seen := map[*local.Directory]bool{}
			e.OnDescribe = func(string) int {
				d, _ := c.Current()
				mu.Lock()
				defer mu.Unlock()
				seen[d] = true
				return 0
			}
			c = follow(t, e)
			for i := range 100 {
				id := dockertest.ID(hex(i))
				e.Put(dockertest.Container{ID: id, Name: "c" + hex(i), Networks: map[string]string{"front": netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}).String()}})
				e.Event("start", id)
			}
			settle()
			d, _ := c.Current()
			if n := len(d.Containers()); n != 100 {
				t.Errorf("containers: got %d, want 100", n)
			}
			if len(seen) != 1 {
				t.Errorf("snapshots while 100 containers were described: got %d, want 1", len(seen))
			}
		})
	})
	t.Run("removals too", func(t *testing.T) {
		t.Parallel()
		c, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		queue := make(chan events.Message, 200)
		for i := range 100 {
			queue <- events.Message{Type: "container", Action: "start", Actor: events.Actor{ID: hex(i)}}
			queue <- events.Message{Type: "container", Action: "die", Actor: events.Actor{ID: hex(i)}}
		}
		first := <-queue
		if urgent := c.take(&first, queue); !urgent || len(queue) != 0 {
			t.Errorf("got urgent %v with %d events left, want true with none", urgent, len(queue))
		}
	})
}

func hex(i int) string { return string([]byte{"0123456789abcdef"[i/16], "0123456789abcdef"[i%16]}) }

func TestTheStreamBreaks(t *testing.T) {
	t.Run("the last snapshot stays, and nothing is lost", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := follow(t, e)
			e.Break()
			synctest.Wait()
			d, synced := c.Current()
			if synced || who(d, "10.0.0.2") != "shop-web-1" {
				t.Errorf("Current: got synced %v, %s, want false, shop-web-1", synced, who(d, "10.0.0.2"))
			}
			if err := c.Status(); local.CodeOf(err) != local.Unavailable {
				t.Errorf("Status: got %v, want Unavailable", err)
			}
			e.Remove(webID)
			e.Put(with(redis, func(c *dockertest.Container) { c.Networks = map[string]string{"front": "10.0.0.2"} }))
			e.Put(job)
			e.Mend()
			time.Sleep(longestBackoff)
			settle()
			if _, synced := c.Current(); !synced || c.Status() != nil {
				t.Errorf("not in step again: %v", c.Status())
			}
			wantWho(t, c, "10.0.0.2", "shop-redis-1")
			wantWho(t, c, "10.0.0.3", "NotFound")
			wantWho(t, c, "10.0.0.4", "job")
		})
	})
	t.Run("an address that the engine lists no more is not answered any more, however long its description takes", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := follow(t, e)
			e.Break()
			e.PutListed(with(web, in("exited")))
			release := e.Hold(webID)
			defer release()
			e.Mend()
			time.Sleep(longestBackoff + describeTimeout)
			settle()
			if err := c.Status(); err != nil {
				t.Errorf("Status: got %v, want nil", err)
			}
			wantWho(t, c, "10.0.0.2", "NotFound")
			wantWho(t, c, "10.0.0.3", "shop-redis-1")
		})
	})
	t.Run("a restart that left the address as it was is seen", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Break()
			restarted := time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)
			e.Put(with(web, func(c *dockertest.Container) { c.StartedAt = restarted }))
			e.Mend()
			time.Sleep(longestBackoff)
			settle()
			if got := find(t, c, webID).StartedAt; !got.Equal(restarted) {
				t.Errorf("started: got %v, want %v", got, restarted)
			}
		})
	})
	t.Run("the engine is tried again less and less often", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			c := follow(t, e)
			e.Break()
			before := e.Count("GET /events")
			time.Sleep(time.Minute)
			// 0.1 + 0.2 + … + 3.2 s, then every 5 s.
			if got := e.Count("GET /events") - before; got < 10 || got > 18 {
				t.Errorf("tries in a minute: got %d, want about 16", got)
			}
			e.Mend()
			time.Sleep(longestBackoff)
			settle()
			if err := c.Status(); err != nil {
				t.Errorf("Status: got %v, want nil", err)
			}
			// An engine that comes and goes is tried no more often for that,
			// until it has been there for longer than the longest pause.
			breakOff := func() {
				e.Break()
				synctest.Wait()
				e.Mend()
				time.Sleep(2 * shortestBackoff)
				settle()
			}
			breakOff()
			if c.Status() == nil {
				t.Error("tried at once after a moment in step")
			}
			time.Sleep(3 * longestBackoff)
			breakOff()
			if err := c.Status(); err != nil {
				t.Errorf("Status after a while in step and one break: got %v, want nil", err)
			}
		})
	})
	t.Run("an engine that is not there yet is found later", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			e.Fail(503)
			put(e, web)
			c := clientOf(t, e, Options{})
			run(t, c)
			time.Sleep(10 * time.Second)
			if _, synced := c.Current(); synced {
				t.Error("in step with an engine that is out of order")
			}
			e.Mend()
			time.Sleep(longestBackoff)
			settle()
			wantWho(t, c, "10.0.0.2", "shop-web-1")
		})
	})
	t.Run("an engine that does not answer is asked anew", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			hangs := make(chan struct{})
			e.OnList = func() int { <-hangs; return 0 }
			put(e, web)
			c := clientOf(t, e, Options{})
			run(t, c)
			time.Sleep(syncTimeout)
			settle()
			if got, want := local.MessageOf(c.Status()), "did not answer in time"; !strings.Contains(got, want) {
				t.Errorf("Status: got %q, want %q in it", got, want)
			}
			close(hangs)
			time.Sleep(longestBackoff)
			settle()
			wantWho(t, c, "10.0.0.2", "shop-web-1")
		})
	})
	t.Run("an engine that hangs up while it describes is not in step", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			var mended atomic.Bool
			e.OnDescribe = func(string) int {
				if !mended.Load() {
					panic(http.ErrAbortHandler)
				}
				return 0
			}
			put(e, web)
			c := clientOf(t, e, Options{})
			run(t, c)
			settle()
			if _, synced := c.Current(); synced {
				t.Error("in step with an engine that has described nothing")
			}
			mended.Store(true)
			time.Sleep(longestBackoff)
			settle()
			wantWho(t, c, "10.0.0.2", "shop-web-1")
		})
	})
	t.Run("one container that cannot be described does not hold up the rest", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			release := e.Hold(redisID)
			c := clientOf(t, e, Options{})
			run(t, c)
			time.Sleep(describeTimeout)
			settle()
			if err := c.Status(); err != nil {
				t.Errorf("Status: got %v, want nil", err)
			}
			wantWho(t, c, "10.0.0.2", "shop-web-1")
			release()
			time.Sleep(describeRetry)
			settle()
			wantWho(t, c, "10.0.0.3", "shop-redis-1")
		})
	})
}

// An event stream can fall silent without an end: the engine drops events for
// those who are too slow, and a proxy can forget what is behind it.
func TestEventsStayAway(t *testing.T) {
	t.Parallel()
	heir := with(job, func(c *dockertest.Container) { c.Networks = map[string]string{"front": "10.0.0.2"} })
	wantStreams := func(t *testing.T, e *dockertest.Engine, c *Client, want int) {
		t.Helper()
		if got := e.Count("GET /events"); got != want {
			t.Errorf("event streams so far: got %d, want %d", got, want)
		}
		if err := c.Status(); err != nil {
			t.Errorf("Status: got %v, want nil", err)
		}
	}
	for name, happens := range map[string]func(e *dockertest.Engine){
		"one is gone":   func(e *dockertest.Engine) { e.Remove(webID); e.Put(heir) },
		"one has ended": func(e *dockertest.Engine) { e.Put(with(web, in("exited"))); e.Put(heir) },
		"one has another address": func(e *dockertest.Engine) {
			e.Put(with(web, func(c *dockertest.Container) { c.Networks = map[string]string{"front": "10.0.0.9"} }))
			e.Put(heir)
		},
	} {
		t.Run("and "+name+", whose address another has", func(t *testing.T) {
			bubble(t, func(t *testing.T, e *dockertest.Engine) {
				put(e, web)
				c := follow(t, e)
				happens(e)
				time.Sleep(auditEvery)
				settle()
				wantWho(t, c, "10.0.0.2", "job")
				time.Sleep(auditPatience + shortestBackoff)
				settle()
				wantStreams(t, e, c, 2) // the silent one was given up
				wantWho(t, c, "10.0.0.2", "job")
			})
		})
	}
	t.Run("and one has another name", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(with(web, func(c *dockertest.Container) { c.Name = "renamed" }))
			time.Sleep(auditEvery)
			settle()
			wantWho(t, c, "10.0.0.2", "renamed")
			time.Sleep(auditPatience + shortestBackoff)
			settle()
			wantStreams(t, e, c, 2)
		})
	})
	t.Run("and the status says so", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Put(job)
			time.Sleep(auditEvery + auditPatience)
			settle()
			if err := c.Status(); local.CodeOf(err) != local.Unavailable || !strings.Contains(local.MessageOf(err), "no event of what happened to the container "+jobID[:12]) {
				t.Errorf("Status: got %v", err)
			}
		})
	})
	t.Run("no, they are only late", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis)
			c := follow(t, e)
			e.Put(job)
			e.Remove(webID)
			e.Put(with(redis, in("exited")))
			time.Sleep(auditEvery)
			settle()
			e.Event("create", jobID, "name", "job")
			e.Event("destroy", webID)
			e.NetworkEvent("disconnect", "front", redisID)
			time.Sleep(2 * auditEvery)
			settle()
			wantStreams(t, e, c, 1)
		})
	})
	t.Run("no, nothing happens", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web, redis, with(job, in("exited")))
			c := follow(t, e)
			before := e.Count("GET /containers/") - e.Count("GET /containers/json")
			time.Sleep(time.Hour)
			wantStreams(t, e, c, 1)
			if got := e.Count("GET /containers/") - e.Count("GET /containers/json"); got != before {
				t.Errorf("questions about single containers in an hour: got %d, want none", got-before)
			}
		})
	})
	t.Run("no, the engine's list differs from its descriptions", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			e.PutListed(with(web, func(c *dockertest.Container) { c.Networks = nil }))
			e.PutListed(job) // described never
			c := follow(t, e)
			time.Sleep(time.Minute)
			settle()
			wantStreams(t, e, c, 1)
			wantWho(t, c, "10.0.0.2", "shop-web-1")
		})
	})
	t.Run("no, the engine is busy", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.Fail(500)
			time.Sleep(time.Minute)
			wantStreams(t, e, c, 1)
		})
	})
	t.Run("because the connection is dead", func(t *testing.T) {
		bubble(t, func(t *testing.T, e *dockertest.Engine) {
			put(e, web)
			c := follow(t, e)
			e.CutLists(1)
			time.Sleep(auditEvery)
			settle()
			if err := c.Status(); local.CodeOf(err) != local.Unavailable {
				t.Errorf("Status: got %v, want Unavailable", err)
			}
			time.Sleep(shortestBackoff)
			settle()
			wantStreams(t, e, c, 2)
		})
	})
}

// What was known before an outage never counts as known after it.
func TestASnapshotIsInStepOrNot(t *testing.T) {
	t.Parallel()
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	const outages, readers = 5_000, 8
	var began atomic.Int64
	var over atomic.Bool
	go func() {
		defer over.Store(true)
		for i := range outages {
			c.lost(errors.New("out of order"))
			began.Store(int64(i))
			c.SetFacts(local.Facts{Cluster: strconv.Itoa(i)})
			c.outage.Store(nil)
		}
	}()
	var reading sync.WaitGroup
	for range readers {
		reading.Go(func() {
			for !over.Load() && !t.Failed() {
				least := began.Load()
				d, synced := c.Current()
				if got, _ := strconv.ParseInt(d.Instance().Cluster, 10, 64); synced && got < least {
					t.Errorf("a snapshot from before outage %d is said to be in step: it is that of outage %d", least, got)
				}
			}
		})
	}
	reading.Wait()
}

// The engine fails the test on any request but these; here is that they are
// all made, and how often.
func TestRequests(t *testing.T) {
	bubble(t, func(t *testing.T, e *dockertest.Engine) {
		put(e, web)
		c := follow(t, e)
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("Ping: %v", err)
		}
		if _, err := c.Refresh(t.Context(), nil); err != nil {
			t.Errorf("Refresh: %v", err)
		}
		c.Stats(t.Context(), []*local.Container{find(t, c, webID)})
		got := e.Requests()
		want := []string{
			"HEAD /_ping", "GET /events", "GET /containers/json", "GET /containers/" + webID + "/json",
			"HEAD /_ping", "GET /containers/json", // Ping
			"GET /containers/json", // Refresh: web runs, and the list says the same as before
			"GET /containers/" + webID + "/stats",
		}
		if !slices.Equal(got, want) {
			t.Errorf("requests: got %q, want %q", got, want)
		}
	})
}
