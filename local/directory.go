package local

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Caller is on whose behalf a request is answered.
type Caller struct {
	// Container is nil when several containers of Task stand behind one
	// address and none of them owns it: then only the task is known.
	Container *Container
	Task      *Task
}

// Directory is an immutable snapshot of all containers and tasks. Every
// method is safe for concurrent use, takes no lock and does no I/O.
type Directory struct {
	self       *Container // the container ecs-local runs in; nil outside one
	containers []*Container
	tasks      []*Task // sorted by name

	byID       map[string]*Container
	byEndpoint map[string]*Container
	byShownID  map[string]*Container // id in documents, where it is not Docker's
	byName     map[string]*Container // Docker name
	byAddress  map[netip.Addr][]*Container
	taskOf     map[*Container]*Task
	gateways   map[netip.Addr]string // gateway address → network
	subnets    map[netip.Prefix]bool // of the networks from which requests can come
	hostMode   []*Container
	inside     []*Container // who else is in the network namespace of self, alive or not

	instance  Instance
	static    bool // see Static
	strangers bool // see Incomplete
}

// Instance is the machine as ECS would know it.
type Instance struct {
	Cluster string // name or ARN
	ARN     string // of the container instance
}

// NewDirectory makes the snapshot of these containers. self is the id of the
// container ecs-local runs in, which belongs to no task; empty outside a
// container. The containers must not be changed afterwards.
func NewDirectory(containers []*Container, self string, facts Facts) *Directory {
	d := &Directory{
		containers: slices.Clone(containers),
		byID:       make(map[string]*Container, len(containers)),
		byEndpoint: make(map[string]*Container, len(containers)),
		byShownID:  map[string]*Container{},
		byName:     make(map[string]*Container, len(containers)),
		byAddress:  make(map[netip.Addr][]*Container, len(containers)),
		taskOf:     make(map[*Container]*Task, len(containers)),
		gateways:   map[netip.Addr]string{},
		subnets:    map[netip.Prefix]bool{},
		instance:   newInstance(facts),
	}
	sortMembers(d.containers)
	for _, c := range d.containers {
		if self != "" && c.ID == self {
			d.self = c
		}
	}
	d.findInside()
	members := map[taskKey][]*Container{}
	for _, c := range d.containers {
		d.indexAddresses(c)
		if c == d.self {
			continue
		}
		d.byID[c.ID] = c
		d.byEndpoint[c.EndpointID] = c
		d.byName[c.DockerName] = c
		key := keyOf(c)
		members[key] = append(members[key], c)
	}
	joinTasks(members, facts)
	d.makeTasks(members, facts)
	return d
}

// findInside finds the other containers in the network namespace that
// ecs-local's own container uses, unless that is the machine's: the one that
// owns the namespace, who is answered for all in it, or when ecs-local's own
// container does, all that use it.
func (d *Directory) findInside() {
	if d.self == nil || d.self.NetworkMode == "host" {
		return
	}
	for _, c := range d.containers {
		owns := d.self.SharesWith != "" && c.ID == d.self.SharesWith
		uses := d.self.SharesWith == "" && c.SharesWith == d.self.ID
		if owns || uses {
			d.inside = append(d.inside, c)
		}
	}
}

// indexAddresses adds the addresses from which a container can call, and the
// gateways of its networks.
func (d *Directory) indexAddresses(c *Container) {
	if !c.State.Alive() {
		return
	}
	if c.NetworkMode == "host" && c != d.self {
		d.hostMode = append(d.hostMode, c)
	}
	for _, n := range c.Networks {
		if !d.near(n.Name) {
			continue
		}
		for _, gateway := range []netip.Addr{n.IPv4Gateway, n.IPv6Gateway} {
			if gateway.IsValid() {
				d.gateways[gateway] = n.Name
			}
		}
		for _, subnet := range []netip.Prefix{n.IPv4Subnet, n.IPv6Subnet} {
			if subnet.IsValid() {
				d.subnets[subnet] = true
			}
		}
		if c == d.self || c.SharesWith != "" {
			continue // belongs to no task; has the address of another
		}
		for _, addr := range []netip.Addr{n.IPv4, n.IPv6} {
			if addr.IsValid() && !slices.Contains(d.byAddress[addr], c) {
				d.byAddress[addr] = append(d.byAddress[addr], c)
			}
		}
	}
}

// makeTasks makes the tasks of the grouped containers.
func (d *Directory) makeTasks(members map[taskKey][]*Container, facts Facts) {
	for key, cs := range members {
		inTask := cs
		if key.name == outsideCompose {
			inTask = slices.DeleteFunc(slices.Clone(cs), func(c *Container) bool { return !c.State.Alive() })
		}
		task := newTask(key, inTask, facts)
		for _, c := range cs {
			d.taskOf[c] = task
			if id := task.ContainerID(c); id != c.ID {
				d.byShownID[id] = c
			}
		}
		if len(inTask) > 0 {
			d.tasks = append(d.tasks, task)
		}
	}
	slices.SortFunc(d.tasks, func(a, b *Task) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ARN, b.ARN))
	})
}

// Static returns the same snapshot for a runtime in which callers have no
// address of their own: whoever has an unknown address is the only container,
// or some container of the only task.
func (d *Directory) Static() *Directory {
	s := *d
	s.static = true
	return &s
}

// Incomplete returns the same snapshot for the time in which there is a
// container that nothing else is known of. Its own address will be new; but it
// may as well be one that uses the network of ecs-local's own container.
func (d *Directory) Incomplete() *Directory {
	s := *d
	s.strangers = true
	return &s
}

// HasAddresses reports whether callers have addresses of their own, so that an
// unknown one is nobody of a task. In a directory made by Static they have none.
func (d *Directory) HasAddresses() bool { return !d.static }

// HasContainerAt reports whether a container is known to call from an address.
// In a directory made by Static, others can be taken for a container, too.
func (d *Directory) HasContainerAt(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return len(d.insiders(addr)) > 0 || len(d.byAddress[addr]) > 0
}

// taskKey says which containers form a task: those of a Compose project, those
// outside Compose, or those whose label names the same ARN.
type taskKey struct{ name, arn string }

func keyOf(c *Container) taskKey {
	if arn := c.Labels[LabelTaskARN]; arn != "" {
		return taskKey{name: arn[strings.LastIndexByte(arn, '/')+1:], arn: arn}
	}
	if c.Project != "" {
		return taskKey{name: c.Project}
	}
	return taskKey{name: outsideCompose}
}

// joinTasks adds containers whose label names the ARN of a project's task to
// that project.
func joinTasks(members map[taskKey][]*Container, facts Facts) {
	projects := map[string][]taskKey{} // by the ARN of their tasks
	for key, cs := range members {
		if key.arn == "" {
			arn := newTask(key, cs, facts).ARN
			projects[arn] = append(projects[arn], key)
		}
	}
	for key, cs := range members {
		if project := projects[key.arn]; len(project) == 1 {
			members[project[0]] = append(members[project[0]], cs...)
			sortMembers(members[project[0]])
			delete(members, key)
		}
	}
}

// Containers returns all containers, that of ecs-local too, in the order of
// their creation. The caller must not change the slice.
func (d *Directory) Containers() []*Container { return d.containers }

// Tasks returns all tasks, sorted by name. The caller must not change the
// slice.
func (d *Directory) Tasks() []*Task { return d.tasks }

// Instance returns the machine as ECS would know it.
func (d *Directory) Instance() Instance { return d.instance }

// Self returns the container ecs-local runs in, or nil.
func (d *Directory) Self() *Container { return d.self }

// WhoIs returns the caller behind a source address. It never guesses:
//
//   - no container has the address: NotFound
//   - the address is that of the host, a gateway, or of several containers on
//     different networks: NotFound or Ambiguous, with the names and what to do
//
// A container that shares the network namespace of another is answered as
// that other one. Those that share ecs-local's own have its address, and that
// of loopback: one alone is answered, of several only the task.
func (d *Directory) WhoIs(addr netip.Addr) (Caller, error) {
	addr = addr.Unmap().WithZone("")
	if inside := d.insiders(addr); len(inside) > 0 {
		return d.insider(addr, inside)
	}
	found := d.byAddress[addr]
	if len(found) == 1 {
		return Caller{Container: found[0], Task: d.taskOf[found[0]]}, nil
	}
	switch {
	case len(found) > 1:
		return Caller{}, Errorf(Ambiguous, "the address %s belongs to %d containers (%s): put the container into the path, as in /v4/containers/%s",
			addr, len(found), names(found), found[0].shortName())
	case d.static:
		return d.only()
	default:
		return Caller{}, d.unknown(addr)
	}
}

// Known is WhoIs for those who can do without an answer, such as the log: who
// is not known exactly is the zero Caller, and no error is made.
func (d *Directory) Known(addr netip.Addr) Caller {
	addr = addr.Unmap().WithZone("")
	if d.strange(addr) {
		return Caller{}
	}
	if inside := d.insiders(addr); len(inside) > 0 {
		who, _ := d.insider(addr, inside)
		return who
	}
	found := d.byAddress[addr]
	switch {
	case len(found) == 1:
		return Caller{Container: found[0], Task: d.taskOf[found[0]]}
	case len(found) == 0 && d.static && len(d.tasks) == 1:
		who, _ := d.only()
		return who
	default:
		return Caller{}
	}
}

// own reports whether an address is one of ecs-local's own network namespace.
func (d *Directory) own(addr netip.Addr) bool {
	return d.self != nil && (addr.IsLoopback() ||
		slices.ContainsFunc(d.self.Networks, func(n Network) bool { return addr == n.IPv4 || addr == n.IPv6 }))
}

// insiders returns the running containers that call from an address of
// ecs-local's own network namespace; none for any other address.
func (d *Directory) insiders(addr netip.Addr) []*Container {
	if len(d.inside) == 0 || !d.own(addr) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(d.inside), func(c *Container) bool { return !c.State.Alive() })
}

// strange reports whether a container of which nothing is known may call from
// an address. Who is in the network namespace of another container than
// ecs-local's own is answered as the owner, whoever it is.
func (d *Directory) strange(addr netip.Addr) bool {
	return d.strangers && d.own(addr) && d.self.SharesWith == "" && d.self.NetworkMode != "host"
}

// Passing reports whether what WhoIs says of an address holds for a moment only.
// Of those that share ecs-local's own network, one that does not run as far as
// is known, or is not known at all, may be the caller all the same: it may have
// started just now.
func (d *Directory) Passing(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	inside := d.insiders(addr)
	return d.strange(addr) || len(inside) > 0 && len(inside) < len(d.inside)
}

// insider returns the only of these containers, or some container of the only
// task.
func (d *Directory) insider(addr netip.Addr, inside []*Container) (Caller, error) {
	first := inside[0]
	task := d.taskOf[first]
	switch {
	case len(inside) == 1:
		return Caller{Container: first, Task: task}, nil
	case slices.ContainsFunc(inside, func(c *Container) bool { return d.taskOf[c] != task }):
		return Caller{}, Errorf(Ambiguous, "the caller %s shares the network of ecs-local, as %d containers of several tasks do (%s): put the container into the path, as in /v4/containers/%s",
			addr, len(inside), names(inside), first.shortName())
	default:
		return Caller{Task: task}, nil
	}
}

// only returns the one caller that a static directory can have.
func (d *Directory) only() (Caller, error) {
	switch {
	case len(d.containers) == 0:
		return Caller{}, Errorf(NotFound, "no task is configured: name one, with its containers, in the configuration file")
	case len(d.containers) == 1:
		return Caller{Container: d.containers[0], Task: d.taskOf[d.containers[0]]}, nil
	case len(d.tasks) == 1:
		return Caller{Task: d.tasks[0]}, nil
	default:
		return Caller{}, Errorf(Ambiguous, "%d tasks are configured, and the address says nothing about which of them calls: put a container into the path, as in /v4/containers/NAME%s",
			len(d.tasks), d.candidates())
	}
}

// One returns the caller's container, or an error when only the task is known.
func (c Caller) One() (*Container, error) {
	switch {
	case c.Container == nil && c.Task == nil:
		return nil, Errorf(NotFound, "nothing is known of the caller: put the container into the path, as in /v4/containers/NAME")
	case c.Container == nil:
		return nil, Errorf(Ambiguous, "the caller is one of the %d containers of task %q (%s): put the container into the path, as in /v4/containers/NAME",
			len(c.Task.Containers), c.Task.Name, names(c.Task.Containers))
	}
	return c.Container, nil
}

// near reports whether requests can come from a network: those of the
// container ecs-local runs in, or of the one whose network that uses; any when
// it runs in none that has some. An address on another network says nothing
// about a caller.
func (d *Directory) near(network string) bool {
	if d.self == nil || d.self.NetworkMode == "host" {
		return true
	}
	networks := d.self.Networks
	if d.self.SharesWith != "" && len(d.inside) > 0 {
		networks = d.inside[0].Networks
	}
	return len(networks) == 0 || slices.ContainsFunc(networks, func(own Network) bool { return own.Name == network })
}

// unknown says what is known about an address that no container has, and what
// to do next.
func (d *Directory) unknown(addr netip.Addr) error {
	const next = "put the container into the path, as in /v4/containers/NAME"
	switch network, isGateway := d.gateways[addr]; {
	case addr.IsLoopback():
		return Errorf(NotFound, "the caller %s is this machine itself, not a container: %s%s", addr, next, d.candidates())
	case isGateway && len(d.hostMode) > 0:
		return Errorf(NotFound, "the caller %s is the gateway of network %q: the request came from the host, through a published port, or from a container with network_mode host (%s), and these cannot be told apart: %s",
			addr, network, names(d.hostMode), next)
	case isGateway:
		return Errorf(NotFound, "the caller %s is the gateway of network %q: the request came from the host or through a published port: %s%s",
			addr, network, next, d.candidates())
	default:
		return Errorf(NotFound, "no container has the address %s (looked at %s): attach the container to a network that ecs-local is on, or %s",
			addr, d.lookedAt(), next)
	}
}

// lookedAt lists the networks on which containers are known.
func (d *Directory) lookedAt() string {
	seen := map[string]bool{}
	for _, c := range d.containers {
		for _, n := range c.Networks {
			if c.State.Alive() && d.near(n.Name) {
				seen[n.Name] = true
			}
		}
	}
	if len(seen) == 0 {
		return "no network: no container is running"
	}
	list := make([]string, 0, len(seen))
	for name := range seen {
		list = append(list, name)
	}
	slices.Sort(list)
	if len(list) == 1 {
		return "network " + list[0]
	}
	return "networks " + strings.Join(list, ", ")
}

// IsHost reports whether the address is the machine's own, as containers and
// published ports show it: loopback, or the gateway of a network. No container
// can have such an address: loopback is not the machine's when other containers
// share the network of ecs-local's own, or may do so.
func (d *Directory) IsHost(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	_, gateway := d.gateways[addr]
	return addr.IsLoopback() && len(d.inside) == 0 && !d.strange(addr) || gateway
}

// IsNeighbour reports whether an address is one that only what is attached to a
// network of the containers can have, and not the machine's own: it is within
// such a network, or link-local, which no router hands on. Docker does not tell
// all addresses of a container: not those that the kernel gives it, or the
// container itself.
func (d *Directory) IsNeighbour(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if d.IsHost(addr) || addr.IsLoopback() {
		return false
	}
	if addr.IsLinkLocalUnicast() {
		return true
	}
	for subnet := range d.subnets {
		if subnet.Contains(addr) {
			return true
		}
	}
	return false
}

// candidates names some containers that could be put into a path.
func (d *Directory) candidates() string {
	const most = 5
	var alive []*Container
	for _, t := range d.tasks {
		for _, c := range t.Containers {
			if c.State.Alive() {
				alive = append(alive, c)
			}
		}
	}
	if len(alive) == 0 {
		return ""
	}
	if len(alive) > most {
		return fmt.Sprintf(" (%s and %d more are running)", names(alive[:most]), len(alive)-most)
	}
	return fmt.Sprintf(" (running: %s)", names(alive))
}

// Exact reports whether an identifier means the same container whoever asks:
// it is an endpoint id, an id, or the exact name of a container.
func (d *Directory) Exact(id string) bool {
	return len(exact(d.byEndpoint, id))+len(exact(d.byID, id))+len(exact(d.byShownID, id))+len(exact(d.byName, id)) > 0
}

// Find returns the container that an identifier from a path names, seen from
// the caller, which may be the zero value. In this order: endpoint id; full
// id, the id in documents, or a prefix of the id of at least 12 characters;
// exact Docker name; name or Compose
// service within the caller's task; a part of a Docker name that is unique
// within the caller's task, then among all. Nothing matches: NotFound. Several
// do: Ambiguous, with their names.
func (d *Directory) Find(from Caller, id string) (Caller, error) {
	tries := []func() []*Container{
		func() []*Container { return exact(d.byEndpoint, id) },
		func() []*Container { return exact(d.byID, id) },
		func() []*Container { return exact(d.byShownID, id) },
		func() []*Container { return d.byPrefix(id) },
		func() []*Container { return exact(d.byName, id) },
		func() []*Container { return named(from.Task, id) },
		func() []*Container { return containing(members(from.Task), id) },
		func() []*Container { return containing(d.all(), id) },
	}
	for _, try := range tries {
		switch found := try(); len(found) {
		case 0:
		case 1:
			return Caller{Container: found[0], Task: d.taskOf[found[0]]}, nil
		default:
			return Caller{}, Errorf(Ambiguous, "%q names %d containers (%s): give the whole name of one", id, len(found), names(found))
		}
	}
	return Caller{}, Errorf(NotFound, "no container is called %q%s", id, d.candidates())
}

// exact returns what an index has. Nothing is called by the empty string, even
// if a container lacks one of its names.
func exact(index map[string]*Container, id string) []*Container {
	if c := index[id]; c != nil && id != "" {
		return []*Container{c}
	}
	return nil
}

// all returns the containers without the one ecs-local runs in.
func (d *Directory) all() []*Container {
	if d.self == nil {
		return d.containers
	}
	return slices.DeleteFunc(slices.Clone(d.containers), func(c *Container) bool { return c == d.self })
}

func (d *Directory) byPrefix(id string) []*Container {
	const shortest = 12
	if len(id) < shortest {
		return nil
	}
	var found []*Container
	for _, c := range d.all() {
		if strings.HasPrefix(c.ID, id) {
			found = append(found, c)
		}
	}
	return found
}

func members(t *Task) []*Container {
	if t == nil {
		return nil
	}
	return t.Containers
}

func named(t *Task, name string) []*Container {
	if name == "" {
		return nil
	}
	var found []*Container
	for _, c := range members(t) {
		if c.Name == name || c.Service == name {
			found = append(found, c)
		}
	}
	return found
}

func containing(cs []*Container, part string) []*Container {
	if part == "" {
		return nil
	}
	var found []*Container
	for _, c := range cs {
		if strings.Contains(c.DockerName, part) {
			found = append(found, c)
		}
	}
	return found
}
