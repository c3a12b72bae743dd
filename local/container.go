package local

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// State is a container's state in Docker's words.
// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container
type State string

// The states.
const (
	Created    State = "created"
	Running    State = "running"
	Paused     State = "paused"
	Restarting State = "restarting"
	Removing   State = "removing"
	Exited     State = "exited"
	Dead       State = "dead"
)

// Alive reports whether the container has a process.
func (s State) Alive() bool { return s == Running || s == Paused || s == Restarting }

// Container is one container. Values are never changed once they are in a
// Directory. Times are UTC; a zero time means that it has not happened.
type Container struct {
	ID         string // 64 hex digits
	EndpointID string // see the function EndpointID
	Name       string // what the task definition would call it: Compose service, label or Docker name
	DockerName string // Docker's name, without the leading slash
	Project    string // Compose project; empty outside Compose
	Service    string // Compose service; empty outside Compose
	Image      string // as the container was created from it
	ImageID    string // sha256:…
	Labels     map[string]string
	Type       string // NORMAL unless a label says otherwise

	State      State
	ExitCode   int // meaningful when FinishedAt is set and the state is not alive
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	Health     *Health // nil without a health check

	CPU    float64 // CPU units, 1024 to a processor; 0 without a limit
	Memory int64   // MiB; 0 without a limit

	// NetworkMode is Docker's: bridge, host, none, a network's name, or
	// container:<id>.
	NetworkMode string
	// SharesWith is the id of the container whose network namespace this one
	// uses; empty when it has its own.
	SharesWith string
	Networks   []Network // sorted by name
	Ports      []Port    // sorted
	Volumes    []Volume  // sorted by destination

	LogDriver  string
	LogOptions map[string]string

	// RestartCount is nil without a restart policy.
	RestartCount *int
}

// Health is the state of a container's health check.
type Health struct {
	Status   string    // HEALTHY, UNHEALTHY; empty until the first result
	Since    time.Time // when Status became what it is
	ExitCode int       // of the probe that made it unhealthy
	Output   string    // of the last probe at that moment, at most 1024 bytes
}

// Network is one attachment of a container to a Docker network.
type Network struct {
	Name        string
	IPv4        netip.Addr   // invalid when the container is not running
	IPv6        netip.Addr   // invalid without a global IPv6 address
	IPv4Subnet  netip.Prefix // invalid when unknown
	IPv6Subnet  netip.Prefix
	IPv4Gateway netip.Addr
	IPv6Gateway netip.Addr
	MAC         string
}

// Port is one published port.
type Port struct {
	Container uint16
	Host      uint16
	HostIP    string
	Protocol  string // tcp, udp
}

// Volume is one mount.
type Volume struct {
	Name        string // of the Docker volume; empty for a bind mount
	Source      string
	Destination string
}

// EndpointID returns the endpoint id of the container with this id: a UUID in
// the agent's form, derived from the id, so that it is the same after a
// restart of ecs-local.
func EndpointID(containerID string) string {
	sum := sha256.Sum256([]byte("ecs-local endpoint " + containerID))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x80 // version 8: made by the application's own rule (RFC 9562)
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// TaskID returns the task id for a name: 32 hex digits, the same every time.
func TaskID(name string) string {
	sum := sha256.Sum256([]byte("ecs-local task " + name))
	return hex.EncodeToString(sum[:16])
}

// shortName is how a message names a container.
func (c *Container) shortName() string {
	if c.DockerName != "" {
		return c.DockerName
	}
	if len(c.ID) > 12 {
		return c.ID[:12]
	}
	return c.ID
}

// names lists containers for a message.
func names(cs []*Container) string {
	s := make([]string, len(cs))
	for i, c := range cs {
		s[i] = c.shortName()
	}
	return strings.Join(s, ", ")
}
