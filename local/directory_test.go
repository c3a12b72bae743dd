package local_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

// start is when the first container of a test was created.
var start = time.Date(2026, 6, 30, 17, 0, 0, 0, time.UTC)

// id makes a full container id that begins with s.
func id(s string) string { return s + strings.Repeat("0", 64-len(s)) }

// container makes a running container of a Compose service. Without a project
// it is one outside Compose.
func container(hex, project, service string, networks ...local.Network) *local.Container {
	c := &local.Container{
		ID: id(hex), EndpointID: local.EndpointID(id(hex)), Name: service, DockerName: service,
		Project: project, State: local.Running, CreatedAt: start, Networks: networks,
	}
	if project != "" {
		c.Service, c.DockerName = service, project+"-"+service+"-1"
	}
	return c
}

func with(c *local.Container, change func(*local.Container)) *local.Container {
	change(c)
	return c
}

func labelled(c *local.Container, pairs ...string) *local.Container {
	c.Labels = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		c.Labels[pairs[i]] = pairs[i+1]
	}
	return c
}

func on(network, addr string) local.Network {
	n := local.Network{Name: network}
	if addr != "" {
		n.IPv4 = netip.MustParseAddr(addr)
	}
	return n
}

func via(network, addr, gateway string) local.Network {
	n := on(network, addr)
	n.IPv4Gateway = netip.MustParseAddr(gateway)
	return n
}

// who writes a caller as task/container.
func who(c local.Caller) string {
	switch {
	case c.Task == nil && c.Container == nil:
		return "nobody"
	case c.Container == nil:
		return c.Task.Name + "/?"
	default:
		return c.Task.Name + "/" + c.Container.DockerName
	}
}

// refused checks an error's code and that its text holds all of the words.
func refused(t *testing.T, err error, code local.Code, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", code)
	}
	if got := local.CodeOf(err); got != code {
		t.Errorf("code %s, want %s (%v)", got, code, err)
	}
	for _, w := range words {
		if !strings.Contains(local.MessageOf(err), w) {
			t.Errorf("%q lacks %q", local.MessageOf(err), w)
		}
	}
}

func TestWhoIs(t *testing.T) {
	t.Parallel()
	const selfHex = "5e1f"
	v6 := on("shop_default", "172.18.0.3")
	v6.IPv6 = netip.MustParseAddr("fd00:18::3")
	shop := []*local.Container{
		container("a1", "shop", "web", v6),
		container("a2", "shop", "db", on("shop_default", "172.18.0.4"), on("back", "172.19.0.4")),
		container("b1", "blog", "web", on("blog_default", "172.20.0.3")),
		container("c1", "", "alone", via("bridge", "172.17.0.2", "172.17.0.1")),
		with(container("a3", "shop", "sidecar"), func(c *local.Container) {
			c.NetworkMode, c.SharesWith = "container:"+id("a1"), id("a1")
		}),
		with(container("a4", "shop", "old", on("shop_default", "172.18.0.9")), func(c *local.Container) { c.State = local.Exited }),
	}
	// The same address on two networks.
	twice := []*local.Container{
		container("a1", "shop", "web", on("shop_default", "10.0.0.2")),
		container("b1", "blog", "web", on("blog_default", "10.0.0.2")),
	}
	self := func(networks ...string) *local.Container {
		c := container(selfHex, "tools", "ecs-local", on("ecs-local", "169.254.170.2"))
		for _, n := range networks {
			c.Networks = append(c.Networks, on(n, ""))
		}
		return c
	}
	hostMode := with(container("d1", "shop", "agent", on("host", "")), func(c *local.Container) { c.NetworkMode = "host" })
	const inPath = "put the container into the path"

	tests := map[string]struct {
		containers []*local.Container
		addr       string
		want       string
		code       local.Code
		words      []string
	}{
		"exact":                        {containers: shop, addr: "172.18.0.3", want: "shop/shop-web-1"},
		"second network":               {containers: shop, addr: "172.19.0.4", want: "shop/shop-db-1"},
		"IPv4 mapped into IPv6":        {containers: shop, addr: "::ffff:172.18.0.3", want: "shop/shop-web-1"},
		"IPv6":                         {containers: shop, addr: "fd00:18::3", want: "shop/shop-web-1"},
		"IPv6 with a zone":             {containers: shop, addr: "fd00:18::3%eth0", want: "shop/shop-web-1"},
		"outside Compose":              {containers: shop, addr: "172.17.0.2", want: "containers outside Compose/alone"},
		"sharer answered as the owner": {containers: append(shop[4:5:5], shop[0]), addr: "172.18.0.3", want: "shop/shop-web-1"},
		"sharer that repeats the owner's networks": {
			containers: []*local.Container{shop[0], with(container("a3", "shop", "sidecar", v6), func(c *local.Container) { c.SharesWith = id("a1") })},
			addr:       "172.18.0.3", want: "shop/shop-web-1"},
		"stopped container's address is forgotten": {containers: shop, addr: "172.18.0.9", code: local.NotFound,
			words: []string{"172.18.0.9", "back, blog_default, bridge, shop_default", "attach the container"}},
		"unknown": {containers: shop, addr: "10.9.9.9", code: local.NotFound,
			words: []string{"10.9.9.9", "networks back, blog_default", inPath}},
		"neighbour of a known address": {containers: shop[:1], addr: "172.18.0.30", code: local.NotFound, words: []string{"network shop_default"}},
		"nothing is running":           {addr: "10.9.9.9", code: local.NotFound, words: []string{"no container is running"}},
		"loopback":                     {containers: shop, addr: "127.0.0.1", code: local.NotFound, words: []string{"this machine itself", "shop-web-1", inPath}},
		"loopback, IPv6":               {containers: shop, addr: "::1", code: local.NotFound, words: []string{"this machine itself"}},
		"gateway": {containers: shop, addr: "172.17.0.1", code: local.NotFound,
			words: []string{`gateway of network "bridge"`, "from the host", inPath, "shop-web-1"}},
		"gateway, with a container in host mode": {containers: append(shop[:4:4], hostMode), addr: "172.17.0.1", code: local.NotFound,
			words: []string{"network_mode host (shop-agent-1)", "cannot be told apart", inPath}},
		"gateway of a network without running containers": {
			containers: []*local.Container{with(container("a1", "shop", "web", via("gone", "172.17.0.2", "172.17.0.1")), func(c *local.Container) { c.State = local.Exited })},
			addr:       "172.17.0.1", code: local.NotFound, words: []string{"no container has the address"}},
		"same address on two networks, self unknown": {containers: twice, addr: "10.0.0.2", code: local.Ambiguous,
			words: []string{"2 containers", "shop-web-1", "blog-web-1", inPath}},
		"same address on two networks, self on one":     {containers: append(twice[:2:2], self("blog_default")), addr: "10.0.0.2", want: "blog/blog-web-1"},
		"same address on two networks, self on both":    {containers: append(twice[:2:2], self("blog_default", "shop_default")), addr: "10.0.0.2", code: local.Ambiguous, words: []string{"blog-web-1, shop-web-1"}},
		"same address on two networks, self on neither": {containers: append(twice[:2:2], self()), addr: "10.0.0.2", code: local.NotFound, words: []string{"no container has the address 10.0.0.2"}},
		"address on a network that self is not on":      {containers: append(twice[:1:1], self("blog_default")), addr: "10.0.0.2", code: local.NotFound, words: []string{"no container has the address 10.0.0.2"}},
		"same address on three networks, self on two": {
			containers: append(twice[:2:2], container("c1", "chat", "web", on("chat_default", "10.0.0.2")), self("blog_default", "chat_default")),
			addr:       "10.0.0.2", code: local.Ambiguous, words: []string{"2 containers (blog-web-1, chat-web-1)"}},
		"one container with the same address on two networks": {
			containers: []*local.Container{container("a1", "shop", "web", on("one", "10.0.0.2"), on("two", "10.0.0.2"))},
			addr:       "10.0.0.2", want: "shop/shop-web-1"},
		"paused container": {
			containers: []*local.Container{with(container("a1", "shop", "web", on("one", "10.0.0.2")), func(c *local.Container) { c.State = local.Paused })},
			addr:       "10.0.0.2", want: "shop/shop-web-1"},
		"own container": {containers: append(shop[:2:2], self()), addr: "169.254.170.2", code: local.NotFound, words: []string{"169.254.170.2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := local.NewDirectory(test.containers, id(selfHex), local.Facts{})
			got, err := d.WhoIs(netip.MustParseAddr(test.addr))
			if known := d.Known(netip.MustParseAddr(test.addr)); known != got {
				t.Errorf("Known: %s", who(known))
			}
			if test.want == "" {
				refused(t, err, test.code, test.words...)
				if who(got) != "nobody" {
					t.Errorf("an error and a caller: %s", who(got))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if who(got) != test.want {
				t.Errorf("got %s, want %s", who(got), test.want)
			}
			if one, err := got.One(); err != nil || one != got.Container {
				t.Errorf("One: %v, %v", one, err)
			}
		})
	}
}

// TestWhoIsInTheNetworkOfECSLocal is about containers that have one network
// namespace with the container of ecs-local (network_mode: service:ecs-local,
// or ecs-local with that of another): what they ask comes over loopback.
func TestWhoIsInTheNetworkOfECSLocal(t *testing.T) {
	t.Parallel()
	const selfHex = "5e1f"
	self := func() *local.Container {
		return container(selfHex, "shop", "ecs-local", via("ecs-local", "169.254.170.2", "169.254.168.1"))
	}
	sharing := func(hex, project, service, owner string) *local.Container {
		return with(container(hex, project, service), func(c *local.Container) {
			c.NetworkMode, c.SharesWith = "container:"+id(owner), id(owner)
		})
	}
	ended := func(c *local.Container) *local.Container {
		return with(c, func(c *local.Container) { c.State = local.Exited })
	}
	web := container("a1", "shop", "web", on("front", "10.0.0.2"))
	tests := map[string]struct {
		containers []*local.Container
		addr       string
		want       string
		code       local.Code
		words      []string
	}{
		"one uses that of ecs-local": {
			containers: []*local.Container{self(), sharing("a2", "shop", "db", selfHex), web}, addr: "127.0.0.1", want: "shop/shop-db-1"},
		"by the address that both have": {
			containers: []*local.Container{self(), sharing("a2", "shop", "db", selfHex)}, addr: "169.254.170.2", want: "shop/shop-db-1"},
		"over IPv6": {
			containers: []*local.Container{self(), sharing("a2", "shop", "db", selfHex)}, addr: "::1", want: "shop/shop-db-1"},
		"one that ended does not count": {
			containers: []*local.Container{self(), sharing("a2", "shop", "db", selfHex), ended(sharing("a3", "shop", "job", selfHex))}, addr: "127.0.0.1", want: "shop/shop-db-1"},
		"several of one task": {
			containers: []*local.Container{self(), sharing("a2", "shop", "db", selfHex), sharing("a3", "shop", "job", selfHex)}, addr: "127.0.0.1", want: "shop/?"},
		"several of different tasks": {
			containers: []*local.Container{self(), sharing("a2", "shop", "db", selfHex), sharing("b2", "blog", "db", selfHex)}, addr: "127.0.0.1",
			code: local.Ambiguous, words: []string{"127.0.0.1", "2 containers", "blog-db-1, shop-db-1", "put the container into the path"}},
		"all ended": {
			containers: []*local.Container{self(), ended(sharing("a2", "shop", "db", selfHex))}, addr: "127.0.0.1", code: local.NotFound, words: []string{"127.0.0.1"}},
		"others keep their addresses": {
			containers: []*local.Container{self(), sharing("a2", "shop", "db", selfHex), container("a4", "shop", "far", on("ecs-local", "169.254.172.1"))}, addr: "169.254.172.1", want: "shop/shop-far-1"},
		"ecs-local uses that of another": {
			containers: []*local.Container{web, sharing(selfHex, "shop", "ecs-local", "a1")}, addr: "127.0.0.1", want: "shop/shop-web-1"},
		"… with others, and the owner is answered": {
			containers: []*local.Container{web, sharing(selfHex, "shop", "ecs-local", "a1"), sharing("a3", "shop", "job", "a1")}, addr: "127.0.0.1", want: "shop/shop-web-1"},
		"… by its address": {
			containers: []*local.Container{web, sharing(selfHex, "shop", "ecs-local", "a1")}, addr: "10.0.0.2", want: "shop/shop-web-1"},
		"… whose networks count as those of ecs-local": {
			containers: []*local.Container{web, sharing(selfHex, "shop", "ecs-local", "a1"), container("b1", "blog", "web", on("front", "10.0.0.3")), container("b2", "blog", "db", on("back", "10.0.0.3"))},
			addr:       "10.0.0.3", want: "blog/blog-web-1"},
		"… that has ended": {
			containers: []*local.Container{ended(container("a1", "shop", "web")), sharing(selfHex, "shop", "ecs-local", "a1")}, addr: "127.0.0.1", code: local.NotFound},
		"the network of the machine is nobody's": {
			containers: []*local.Container{
				with(container(selfHex, "shop", "ecs-local", on("host", "")), func(c *local.Container) { c.NetworkMode = "host" }),
				sharing("a2", "shop", "db", selfHex)},
			addr: "127.0.0.1", code: local.NotFound, words: []string{"this machine itself"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := local.NewDirectory(test.containers, id(selfHex), local.Facts{})
			got, err := d.WhoIs(netip.MustParseAddr(test.addr))
			if known := d.Known(netip.MustParseAddr(test.addr)); known != got {
				t.Errorf("Known: %s", who(known))
			}
			if test.want == "" {
				refused(t, err, test.code, test.words...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if who(got) != test.want {
				t.Errorf("got %s, want %s", who(got), test.want)
			}
		})
	}
	t.Run("loopback is not the machine's", func(t *testing.T) {
		t.Parallel()
		loopback := netip.MustParseAddr("127.0.0.1")
		for want, cs := range map[bool][]*local.Container{true: {self(), web}, false: {self(), ended(sharing("a2", "shop", "db", selfHex))}} {
			if got := local.NewDirectory(cs, id(selfHex), local.Facts{}).IsHost(loopback); got != want {
				t.Errorf("got %t, want %t", got, want)
			}
		}
	})
}

func TestIsHost(t *testing.T) {
	t.Parallel()
	d := local.NewDirectory([]*local.Container{container("a1", "shop", "web", via("n", "10.0.0.2", "10.0.0.1"))}, "", local.Facts{})
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "127.8.8.8": true, "::1": true, "10.0.0.1": true, "::ffff:10.0.0.1": true,
		"10.0.0.2": false, "10.0.0.3": false,
	} {
		if got := d.IsHost(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %t, want %t", addr, got, want)
		}
	}
}

func TestStatic(t *testing.T) {
	t.Parallel()
	stranger := netip.MustParseAddr("127.0.0.1")
	web, db, blog := container("a1", "shop", "web"), container("a2", "shop", "db"), container("b1", "blog", "web")
	static := func(cs ...*local.Container) *local.Directory {
		return local.NewDirectory(cs, "", local.Facts{}).Static()
	}

	t.Run("the only container", func(t *testing.T) {
		t.Parallel()
		if got, err := static(web).WhoIs(stranger); err != nil || who(got) != "shop/shop-web-1" {
			t.Errorf("got %s, %v", who(got), err)
		}
	})
	t.Run("the only task, but not which container", func(t *testing.T) {
		t.Parallel()
		got, err := static(web, db).WhoIs(stranger)
		if err != nil || who(got) != "shop/?" {
			t.Fatalf("got %s, %v", who(got), err)
		}
		_, err = got.One()
		refused(t, err, local.Ambiguous, "one of the 2 containers", `"shop"`, "shop-db-1, shop-web-1", "put the container into the path")
	})
	t.Run("several tasks", func(t *testing.T) {
		t.Parallel()
		got, err := static(web, blog).WhoIs(stranger)
		refused(t, err, local.Ambiguous, "2 tasks are configured", "blog-web-1, shop-web-1")
		if who(got) != "nobody" {
			t.Errorf("got %s", who(got))
		}
	})
	t.Run("as the log has it", func(t *testing.T) {
		t.Parallel()
		for _, d := range []*local.Directory{static(web), static(web, db), static(web, blog), static()} {
			if got, _ := d.WhoIs(stranger); d.Known(stranger) != got {
				t.Errorf("Known: %s, want %s", who(d.Known(stranger)), who(got))
			}
		}
	})
	t.Run("no task", func(t *testing.T) {
		t.Parallel()
		_, err := static().WhoIs(stranger)
		refused(t, err, local.NotFound, "no task is configured")
	})
	t.Run("a known address wins", func(t *testing.T) {
		t.Parallel()
		d := static(container("a1", "shop", "web", on("n", "10.0.0.2")), blog)
		if got, err := d.WhoIs(netip.MustParseAddr("10.0.0.2")); err != nil || who(got) != "shop/shop-web-1" {
			t.Errorf("got %s, %v", who(got), err)
		}
	})
	t.Run("the directory it is made of stays as it is", func(t *testing.T) {
		t.Parallel()
		d := local.NewDirectory([]*local.Container{web}, "", local.Facts{})
		d.Static()
		_, err := d.WhoIs(stranger)
		refused(t, err, local.NotFound, "this machine itself")
	})
	t.Run("a caller of whom nothing is known", func(t *testing.T) {
		t.Parallel()
		_, err := local.Caller{}.One()
		refused(t, err, local.NotFound, "put the container into the path")
	})
}

func TestFind(t *testing.T) {
	t.Parallel()
	const selfHex = "5e1f5e1f5e1f"
	all := []*local.Container{
		container("a1a1a1a1a1a1a1", "shop", "web"),
		container("a2a2a2a2a2a2a2", "shop", "web-admin"),
		container("b1b1b1b1b1b1b1", "blog", "web"),
		container("b2b2b2b2b2b2b2", "blog", "cache"),
		container("c1c1c1c1c1c1c1", "", "grafana"),
		container("c1c1c1c1c1c1c2", "", "tempo"),
		with(container("d1d1d1d1d1d1d1", "many", "worker"), func(c *local.Container) { c.DockerName = "many-worker-1" }),
		with(container("d2d2d2d2d2d2d2", "many", "worker"), func(c *local.Container) { c.DockerName = "many-worker-2" }),
		container(selfHex, "shop", "ecs-local"),
		// Its name is another's id prefix; its Name is not its service.
		with(container("e1e1e1e1e1e1e1", "odd", "job"), func(c *local.Container) { c.DockerName, c.Name = "b1b1b1b1b1b1", "renamed" }),
	}
	d := local.NewDirectory(all, id(selfHex), local.Facts{})
	from := func(project string) local.Caller {
		for _, task := range d.Tasks() {
			if task.Name == project {
				return local.Caller{Task: task, Container: task.Containers[0]}
			}
		}
		return local.Caller{}
	}
	tests := map[string]struct {
		from, id, want string
		code           local.Code
		words          []string
	}{
		"endpoint id":                           {id: local.EndpointID(id("b1b1b1b1b1b1b1")), want: "blog/blog-web-1"},
		"full id":                               {id: id("b2b2b2b2b2b2b2"), want: "blog/blog-cache-1"},
		"prefix of 12":                          {id: "a1a1a1a1a1a1", want: "shop/shop-web-1"},
		"prefix of 14":                          {id: "c1c1c1c1c1c1c2", want: "containers outside Compose/tempo"},
		"prefix of 11":                          {id: "a1a1a1a1a1a", code: local.NotFound, words: []string{`"a1a1a1a1a1a"`}},
		"prefix of two ids":                     {id: "c1c1c1c1c1c1", code: local.Ambiguous, words: []string{"grafana, tempo"}},
		"prefix before a name":                  {id: "b1b1b1b1b1b1", want: "blog/blog-web-1"},
		"longer than an id":                     {id: id("a1a1a1a1a1a1a1") + "0", code: local.NotFound},
		"Docker name":                           {id: "blog-web-1", want: "blog/blog-web-1"},
		"Docker name from another task":         {from: "shop", id: "blog-web-1", want: "blog/blog-web-1"},
		"Docker name that others contain":       {id: "shop-web-1", want: "shop/shop-web-1"},
		"service in the caller's task":          {from: "shop", id: "web", want: "shop/shop-web-1"},
		"the same service in another":           {from: "blog", id: "web", want: "blog/blog-web-1"},
		"container name in the caller's task":   {from: "odd", id: "renamed", want: "odd/b1b1b1b1b1b1"},
		"service where the name differs":        {from: "odd", id: "job", want: "odd/b1b1b1b1b1b1"},
		"service with replicas":                 {from: "many", id: "worker", code: local.Ambiguous, words: []string{"many-worker-1, many-worker-2", "whole name"}},
		"one replica":                           {from: "many", id: "worker-2", want: "many/many-worker-2"},
		"service, caller unknown":               {id: "web", code: local.Ambiguous, words: []string{"blog-web-1", "shop-web-1", "shop-web-admin-1"}},
		"name of another task's container":      {from: "shop", id: "renamed", code: local.NotFound},
		"part of a name in the caller's task":   {from: "shop", id: "admin", want: "shop/shop-web-admin-1"},
		"part of a name among all":              {from: "shop", id: "cach", want: "blog/blog-cache-1"},
		"part of a name, caller unknown":        {id: "grafa", want: "containers outside Compose/grafana"},
		"part of two names in the task":         {from: "shop", id: "we", code: local.Ambiguous, words: []string{"shop-web-1", "shop-web-admin-1"}},
		"part of one in the task, more outside": {from: "blog", id: "we", want: "blog/blog-web-1"},
		"nothing":                               {from: "shop", id: "nope", code: local.NotFound, words: []string{`"nope"`, "blog-web-1"}},
		"empty":                                 {from: "shop", id: "", code: local.NotFound},
		"own container, by id":                  {id: id(selfHex), code: local.NotFound},
		"own container, by prefix":              {id: selfHex, code: local.NotFound},
		"own container, by endpoint id":         {id: local.EndpointID(id(selfHex)), code: local.NotFound},
		"own container, by name":                {id: "shop-ecs-local-1", code: local.NotFound},
		"own container, by service":             {from: "shop", id: "ecs-local", code: local.NotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := d.Find(from(test.from), test.id)
			if test.want == "" {
				refused(t, err, test.code, test.words...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if who(got) != test.want {
				t.Errorf("got %s, want %s", who(got), test.want)
			}
		})
	}

	t.Run("containers without ids and names are not found by the empty string", func(t *testing.T) {
		t.Parallel()
		bare := local.NewDirectory([]*local.Container{{State: local.Running}}, "", local.Facts{})
		_, err := bare.Find(local.Caller{Task: bare.Tasks()[0]}, "")
		refused(t, err, local.NotFound)
	})
	t.Run("more running containers than fit a message", func(t *testing.T) {
		t.Parallel()
		_, err := d.Find(local.Caller{}, "nope")
		refused(t, err, local.NotFound, " and 4 more are running")
	})
	t.Run("stopped containers are found and not offered", func(t *testing.T) {
		t.Parallel()
		ended := with(container("a1", "shop", "web"), func(c *local.Container) { c.State = local.Exited })
		d := local.NewDirectory([]*local.Container{ended}, "", local.Facts{})
		if got, err := d.Find(local.Caller{}, "shop-web-1"); err != nil || who(got) != "shop/shop-web-1" {
			t.Errorf("got %s, %v", who(got), err)
		}
		_, err := d.Find(local.Caller{}, "nope")
		if want := `no container is called "nope"`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestDirectoryLists(t *testing.T) {
	t.Parallel()
	late := with(container("a1", "shop", "web"), func(c *local.Container) { c.CreatedAt = start.Add(time.Second) })
	b, a := container("a3", "shop", "b"), container("a2", "shop", "a")
	self := container("5e1f", "tools", "ecs-local")
	given := []*local.Container{late, b, self, a}
	d := local.NewDirectory(given, self.ID, local.Facts{})

	if d.Self() != self {
		t.Errorf("self is %v", d.Self())
	}
	if given[0] != late {
		t.Error("the caller's slice was sorted in place")
	}
	var got []string
	for _, c := range d.Containers() {
		got = append(got, c.DockerName)
	}
	if diff := cmp.Diff([]string{"shop-a-1", "shop-b-1", "tools-ecs-local-1", "shop-web-1"}, got); diff != "" {
		t.Errorf("containers by creation, then name (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"shop: shop-a-1 shop-b-1 shop-web-1"}, tasks(d)); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
	if empty := local.NewDirectory(nil, "", local.Facts{}); empty.Self() != nil || len(empty.Tasks()) != 0 || len(empty.Containers()) != 0 {
		t.Error("an empty directory holds something")
	}
}

func TestHasAddresses(t *testing.T) {
	t.Parallel()
	d := local.NewDirectory(nil, "", local.Facts{})
	if !d.HasAddresses() || d.Static().HasAddresses() {
		t.Errorf("with Docker %v, static %v", d.HasAddresses(), d.Static().HasAddresses())
	}
}
