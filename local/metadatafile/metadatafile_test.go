package metadatafile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadatafile"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	webID   = "3c9410a72ad74e334b9687c3223c01e221de858fc67f7205c85a0b5bfa5ca3fa"
	redisID = "2b9d5e34565847ecaca78d798f48c622a8e41d11ada4c3b06c2de0691b8ead87"
	nextID  = "4dab21b83be85f445ca798d4334d12f332ef969fd78f8316d96b1c6cfb6db4fb"
	taskARN = "arn:aws:ecs:us-west-2:111122223333:task/demo/5f0c1b7e9a2d4c3e8b6a7d1f20394857"
)

var facts = local.Facts{
	Region: "us-west-2", Account: "111122223333", Cluster: "demo",
	Tasks: map[string]local.TaskFacts{"shop": {ARN: taskARN, Family: "shop", Revision: "7", AvailabilityZone: "us-west-2b"}},
}

var host = metadatafile.Host{PrivateIPv4: "10.0.1.20", PublicIPv4: "203.0.113.20"}

// web is the container of the agent's example, changed as the test wants it.
func web(change ...func(*local.Container)) *local.Container {
	c := &local.Container{
		ID: webID, EndpointID: local.EndpointID(webID), Name: "web", Service: "web", Project: "shop",
		DockerName:  "ecs-shop-7-web-9ce1b0d4f2a8c5d6e700",
		Image:       "111122223333.dkr.ecr.us-west-2.amazonaws.com/shop/web:1.4.2",
		ImageID:     "sha256:83d20350a81b979988da333b2faffd22fca38db43e6281959e0b746086c029b1",
		State:       local.Running,
		NetworkMode: "bridge",
		Networks:    []local.Network{{Name: "bridge", IPv4: netip.MustParseAddr("172.17.0.3")}},
		Ports:       []local.Port{{Container: 8080, Host: 32768, HostIP: "0.0.0.0", Protocol: "tcp"}},
		CreatedAt:   time.Date(2026, 6, 30, 17, 2, 5, 0, time.UTC),
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func asks(dir string) func(*local.Container) {
	return func(c *local.Container) { c.Labels = map[string]string{local.LabelMetadataFile: dir} }
}

func created(c *local.Container) {
	c.State, c.Networks = local.Created, []local.Network{{Name: "bridge"}}
}

func exited(c *local.Container) {
	c.State, c.Networks, c.Ports = local.Exited, []local.Network{{Name: "bridge"}}, nil
}

func directory(cs ...*local.Container) *local.Directory { return local.NewDirectory(cs, "", facts) }

func TestRender(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		container *local.Container
		launch    string
		host      metadatafile.Host
	}{
		"ready":   {container: web(), host: host},
		"created": {container: web(created), host: host},
		"no host, no ports, host network": {container: web(func(c *local.Container) {
			c.NetworkMode, c.Networks, c.Ports = "host", []local.Network{{Name: "host"}}, nil
		})},
		"awsvpc":         {container: web(func(c *local.Container) { c.Labels = map[string]string{local.LabelNetworkMode: local.AWSVPC} }), host: metadatafile.Host{IPv6: "2001:db8::20"}},
		"no address yet": {container: web(func(c *local.Container) { c.Networks[0].IPv4 = netip.Addr{} }), host: host},
		"shared network": {container: web(func(c *local.Container) {
			c.NetworkMode, c.SharesWith, c.Networks, c.Ports = "container:"+redisID, redisID, nil, nil
		})},
		"external": {container: web(), launch: local.LaunchExternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := facts
			said := facts.Tasks["shop"]
			said.LaunchType = test.launch
			f.Tasks = map[string]local.TaskFacts{"shop": said}
			d := local.NewDirectory([]*local.Container{test.container}, "", f)
			got, err := metadatafile.Render(d.Instance(), d.Tasks()[0], test.container, test.host)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", strings.NewReplacer(",", "", " ", "-").Replace(name)+".golden.json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("file (-want +got):\n%s", diff)
			}
		})
	}
}

// running is a Writer at work, in a synctest bubble.
type running struct {
	t       *testing.T
	root    string
	log     *lockedBuffer
	changed chan struct{}
	current atomic.Pointer[local.Directory]
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a Writer below root until the test ends.
func start(t *testing.T, root string, cs ...*local.Container) *running {
	t.Helper()
	r := &running{t: t, root: root, log: &lockedBuffer{}, changed: make(chan struct{})}
	r.current.Store(directory(cs...))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		metadatafile.New(metadatafile.Options{Root: root, Host: func() metadatafile.Host { return host }, Log: slog.New(slog.NewTextHandler(r.log, nil))}).
			Run(ctx, r.changed, r.current.Load)
	}()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return r
}

// become changes the containers and waits until that has had its effect.
func (r *running) become(cs ...*local.Container) {
	r.t.Helper()
	r.current.Store(directory(cs...))
	r.changed <- struct{}{}
	synctest.Wait()
}

// content returns the file in a directory below the root; nil without one.
func (r *running) content(dir string) map[string]any {
	r.t.Helper()
	name := filepath.Join(r.root, dir, metadatafile.Name)
	body, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o644 {
		r.t.Errorf("%s: mode %v, want 0644 (%v)", name, info.Mode(), err)
	}
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		r.t.Fatalf("%s: %v in %s", name, err, body)
	}
	return doc
}

// names lists what is in a directory below the root.
func (r *running) names(dir string) []string {
	r.t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.root, dir))
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestLife follows a file from the creation of its container to the end.
func TestLife(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	label := asks(filepath.Join(root, "shop/web"))
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root)
		if names := r.names(""); names != nil {
			t.Errorf("without a container that asks there is %v", names)
		}

		r.become(web(created, label), web(func(c *local.Container) { c.ID, c.Name = redisID, "redis" }))
		doc := r.content("shop/web")
		if doc["ContainerName"] != "web" || doc["TaskARN"] != taskARN || doc["MetadataFileStatus"] != nil || doc["ContainerID"] != nil {
			t.Errorf("once created: %v", doc)
		}
		r.become(web(label))
		if doc := r.content("shop/web"); doc["MetadataFileStatus"] != "READY" || doc["ContainerID"] != webID {
			t.Errorf("once running: %v", doc)
		}
		r.become(web(label, func(c *local.Container) {
			c.Networks = append(c.Networks, local.Network{Name: "shop", IPv4: netip.MustParseAddr("172.19.0.2")})
		}))
		if doc := r.content("shop/web"); len(doc["Networks"].([]any)) != 2 {
			t.Errorf("with one network more: %v", doc)
		}
		r.become(web(exited, label))
		if doc := r.content("shop/web"); doc["MetadataFileStatus"] != "READY" || len(doc["Networks"].([]any)) != 2 {
			t.Errorf("once ended: %v, want it as it was", doc)
		}
		r.become(web(label))
		if doc := r.content("shop/web"); len(doc["Networks"].([]any)) != 1 {
			t.Errorf("once started again: %v", doc)
		}
		if diff := cmp.Diff([]string{metadatafile.Name}, r.names("shop/web")); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		r.become()
		if names := r.names("shop/web"); names != nil {
			t.Errorf("once gone there is %v", names)
		}
		if log := r.log.String(); log != "" {
			t.Errorf("the log says:\n%s", log)
		}
	})
}

// A container takes the place of another in the same directory.
func TestReplacedContainer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	label := asks(filepath.Join(root, "web"))
	next := func(change ...func(*local.Container)) *local.Container {
		return web(append([]func(*local.Container){label, func(c *local.Container) {
			c.ID, c.DockerName, c.CreatedAt = nextID, "shop-web-2", c.CreatedAt.Add(time.Hour)
		}}, change...)...)
	}
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root, web(label))
		r.become(web(exited, label), next(created))
		if doc := r.content("web"); doc["MetadataFileStatus"] != nil || doc["ContainerID"] != nil {
			t.Errorf("the next one is created: %v", doc)
		}
		r.become(web(exited, label), next())
		if doc := r.content("web"); doc["ContainerID"] != nextID {
			t.Errorf("the next one runs: %v", doc)
		}
		r.become(next())
		if doc := r.content("web"); doc["ContainerID"] != nextID {
			t.Errorf("the first is gone: %v", doc)
		}
		if log := r.log.String(); log != "" {
			t.Errorf("the log says:\n%s", log)
		}
		r.become(web(label), next())
		if doc := r.content("web"); doc["ContainerID"] != nextID {
			t.Errorf("both run: %v", doc)
		}
		r.become(web(label), next())
		if log := r.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "give each container a directory of its own") {
			t.Errorf("two run with one directory; the log says:\n%s", log)
		}
	})
}

// TestOnlyOwnFilesAreRemoved leaves what others put into the directory.
func TestOnlyOwnFilesAreRemoved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	label := asks(filepath.Join(root, "web"))
	file := filepath.Join(root, "web", metadatafile.Name)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root, web(label))
		write(t, filepath.Join(root, "web", "other.json"), "{}")
		write(t, file, `{"mine": true}`)
		r.become()
		if diff := cmp.Diff([]string{metadatafile.Name, "other.json"}, r.names("web")); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if body, err := os.ReadFile(file); err != nil || string(body) != `{"mine": true}` {
			t.Errorf("the changed file is %s (%v)", body, err)
		}
	})
}

// A restart of ecs-local finds the file of a container that has ended.
func TestRestart(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	label := asks(filepath.Join(root, "web"))
	synctest.Test(t, func(t *testing.T) { start(t, root, web(label)) })
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root, web(exited, label))
		if doc := r.content("web"); doc["ContainerID"] != webID {
			t.Fatalf("after the restart: %v", doc)
		}
		r.become()
		if doc := r.content("web"); doc != nil {
			t.Errorf("once gone: %v", doc)
		}
	})
	file := filepath.Join(root, "web", metadatafile.Name)
	theirs := `{"ContainerID": "` + redisID + `"}`
	synctest.Test(t, func(t *testing.T) {
		write(t, file, theirs)
		r := start(t, root, web(exited, label))
		r.become()
	})
	if body, err := os.ReadFile(file); err != nil || string(body) != theirs {
		t.Errorf("the file of another container is %s (%v)", body, err)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestProblems are logged once for each container, and say what to do.
func TestProblems(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for name, test := range map[string]struct {
		label   string // ROOT stands for the root
		prepare func(t *testing.T, root string)
		noRoot  bool
		want    string
	}{
		"no root":             {label: "/metadata/web", noRoot: true, want: "start ecs-local with --metadata-file-root"},
		"a relative path":     {label: "web", want: "no absolute path"},
		"outside the root":    {label: outside, want: "not below"},
		"dots out of there":   {label: "ROOT/web/../../x", want: "not below"},
		"a name like the one": {label: "ROOT-x/web", want: "not below"},
		"a link out of there": {label: "ROOT/link/web", prepare: func(t *testing.T, root string) {
			if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
				t.Fatal(err)
			}
		}, want: "no symbolic link"},
		"a file where the directory would be": {label: "ROOT/web", prepare: func(t *testing.T, root string) {
			write(t, filepath.Join(root, "web"), "")
		}, want: "see that it is a directory"},
		"a directory where the file would be": {label: "ROOT/web", prepare: func(t *testing.T, root string) {
			if err := os.MkdirAll(filepath.Join(root, "web", metadatafile.Name), 0o755); err != nil {
				t.Fatal(err)
			}
		}, want: "cannot be written to"},
		"a root that is not there": {label: "ROOT/web", prepare: func(t *testing.T, root string) {
			if err := os.Remove(root); err != nil {
				t.Fatal(err)
			}
		}, want: "mount a directory or a volume there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if test.prepare != nil {
				test.prepare(t, root)
			}
			label := asks(strings.ReplaceAll(test.label, "ROOT", root))
			if test.noRoot {
				root = ""
			}
			synctest.Test(t, func(t *testing.T) {
				r := start(t, root, web(label))
				r.become(web(label))
				time.Sleep(time.Minute) // of the bubble: retries
				synctest.Wait()
				log := r.log.String()
				if strings.Count(log, "\n") != 1 || !strings.Contains(log, test.want) || !strings.Contains(log, "container=ecs-shop-7-web") {
					t.Errorf("the log says:\n%s\nwant one line with %q", log, test.want)
				}
			})
			if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
				t.Errorf("outside there is %v (%v)", entries, err)
			}
		})
	}
}

// TestFargateHasNoFile: there the agent writes none.
func TestFargateHasNoFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root, web(func(c *local.Container) {
			c.Labels = map[string]string{local.LabelMetadataFile: filepath.Join(root, "web"), local.LabelLaunchType: local.LaunchFargate}
		}))
		if names := r.names(""); names != nil {
			t.Errorf("there is %v", names)
		}
		if log := r.log.String(); !strings.Contains(log, "no container metadata file on Fargate") {
			t.Errorf("the log says:\n%s", log)
		}
	})
}

// The root itself can be the directory of the only container, whatever its
// path looks like.
func TestTheRootItself(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root, web(asks(root+"/x/../")))
		if doc := r.content(""); doc["MetadataFileStatus"] != "READY" {
			t.Errorf("got %v", doc)
		}
		r.become()
		if names := r.names(""); names != nil {
			t.Errorf("once gone there is %v", names)
		}
	})
}

// A problem that somebody mends is over without a change of the containers.
func TestRetry(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "web"), "")
	synctest.Test(t, func(t *testing.T) {
		r := start(t, root, web(asks(filepath.Join(root, "web"))))
		if err := os.Remove(filepath.Join(root, "web")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second) // of the bubble
		synctest.Wait()
		if doc := r.content("web"); doc["MetadataFileStatus"] != "READY" {
			t.Errorf("got %v", doc)
		}
	})
}

// TestAReaderNeverSeesHalfAFile reads while the file is rewritten: it is
// there, whole, and READY.
func TestAReaderNeverSeesHalfAFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	label := asks(filepath.Join(root, "web"))
	ports := func(n int) func(*local.Container) {
		return func(c *local.Container) {
			c.Ports = slices.Repeat(c.Ports, n%97+1)
		}
	}
	w := metadatafile.New(metadatafile.Options{Root: root, Log: slog.New(slog.DiscardHandler)})
	var current atomic.Pointer[local.Directory]
	current.Store(directory(web(label)))
	changed := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx, changed, current.Load) })
	changed <- struct{}{}       // taken after the first write
	var readers [2]atomic.Int64 // how often each has read
	stop := make(chan struct{})
	for i := range readers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				body, err := os.ReadFile(filepath.Join(root, "web", metadatafile.Name))
				var doc struct{ MetadataFileStatus string }
				if err == nil {
					err = json.Unmarshal(body, &doc)
				}
				if err != nil || doc.MetadataFileStatus != "READY" {
					t.Errorf("read %q: %v", body, err)
					return
				}
				readers[i].Add(1)
			}
		})
	}
	// Until either has had its turn, however busy the machine is.
	for i := 0; i < 500 || readers[0].Load() == 0 || readers[1].Load() == 0; i++ {
		if t.Failed() {
			break
		}
		current.Store(directory(web(label, ports(i))))
		changed <- struct{}{}
	}
	close(stop)
	cancel()
	wg.Wait()
}
