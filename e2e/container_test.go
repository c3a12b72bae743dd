package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
)

// A spec says how to start a container.
type spec struct {
	name     string // a unique one when empty
	image    string // the probe's when empty
	cmd      []string
	env      []string
	labels   map[string]string
	networks []attachment // the first is the container's own
	mode     string       // network mode instead of networks: host, container:… (whose networks these are)
	host     container.HostConfig
	user     string
}

type attachment struct {
	network   string
	address   string // any when empty
	linkLocal string // further addresses on the same interface, separated by commas
}

// created makes the container without starting it; it goes with the test.
func created(t *testing.T, c *client.Client, s spec) string {
	t.Helper()
	id, err := create(context.Background(), c, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, c, id) })
	return id
}

func create(ctx context.Context, c *client.Client, s spec) (string, error) {
	if s.name == "" {
		s.name = unique("c")
	}
	if s.image == "" {
		tag, err := probeImage()
		if err != nil {
			return "", err
		}
		s.image = tag
	}
	labels := map[string]string{labelRun: run}
	maps.Copy(labels, s.labels)
	networking := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	s.host.NetworkMode = container.NetworkMode(s.mode)
	if s.mode == "" && len(s.networks) > 0 {
		s.host.NetworkMode = container.NetworkMode(s.networks[0].network)
		networking.EndpointsConfig[s.networks[0].network] = endpoint(s.networks[0])
	}
	made, err := c.ContainerCreate(ctx, &container.Config{
		Image: s.image, Cmd: s.cmd, Env: s.env, Labels: labels, User: s.user,
	}, &s.host, networking, nil, s.name)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", s.name, err)
	}
	for _, more := range s.networks[min(1, len(s.networks)):] {
		if err := c.NetworkConnect(ctx, more.network, made.ID, endpoint(more)); err != nil {
			return made.ID, fmt.Errorf("connect %s to %s: %w", s.name, more.network, err)
		}
	}
	return made.ID, nil
}

func endpoint(a attachment) *network.EndpointSettings {
	e := &network.EndpointSettings{}
	if a.address != "" {
		e.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: a.address}
		if a.linkLocal != "" {
			e.IPAMConfig.LinkLocalIPs = strings.Split(a.linkLocal, ",")
		}
	}
	return e
}

func remove(t *testing.T, c *client.Client, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	err := c.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("remove container: %v", err)
	}
}

// started makes and starts the container.
func started(t *testing.T, c *client.Client, s spec) string {
	t.Helper()
	id := created(t, c, s)
	start(t, c, id)
	return id
}

func start(t *testing.T, c *client.Client, id string) {
	t.Helper()
	if err := c.ContainerStart(within(t, longest), id, container.StartOptions{}); err != nil {
		t.Fatalf("start container: %v", err)
	}
}

// addressOn returns the container's address on a network.
func addressOn(t *testing.T, c *client.Client, id, network string) string {
	t.Helper()
	info, err := c.ContainerInspect(within(t, longest), id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	n := info.NetworkSettings.Networks[network]
	if n == nil || n.IPAddress == "" {
		t.Fatalf("container %s has no address on %s\n%s", info.Name, network, logs(t, c, id))
	}
	return n.IPAddress
}

// logs returns what the container wrote.
func logs(t *testing.T, c *client.Client, id string) string {
	t.Helper()
	text, err := logsOf(c, id)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func logsOf(c *client.Client, id string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	out, err := c.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	defer func() { _ = out.Close() }()
	var text strings.Builder
	if _, err := stdcopy.StdCopy(&text, &text, out); err != nil {
		return "", fmt.Errorf("read log: %w", err)
	}
	return text.String(), nil
}

// printed returns what the container wrote to stdout.
func printed(t *testing.T, c *client.Client, id string) string {
	t.Helper()
	out, err := c.ContainerLogs(within(t, longest), id, container.LogsOptions{ShowStdout: true})
	if err != nil {
		t.Fatalf("read output: %v", err)
	}
	defer func() { _ = out.Close() }()
	var text strings.Builder
	if _, err := stdcopy.StdCopy(&text, io.Discard, out); err != nil {
		t.Fatalf("read output: %v", err)
	}
	return text.String()
}

// ended waits for the container's end and returns its exit code.
func ended(ctx context.Context, c *client.Client, id string) (int, error) {
	done, failed := c.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case result := <-done:
		return int(result.StatusCode), nil
	case err := <-failed:
		return 0, fmt.Errorf("wait for container: %w", err)
	}
}

// newNetwork makes a bridge network with a subnet of its own, in which every
// address from .2 to .127 may be given by the tests and the engine takes the
// others. It returns the name and the first three bytes of the addresses.
// Options are the driver's, as key=value.
func newNetwork(t *testing.T, c *client.Client, options ...string) (name, prefix string) {
	t.Helper()
	name = unique("net")
	for range 50 {
		prefix = fmt.Sprintf("10.%d.%d.", 200+rand.IntN(50), rand.IntN(256))
		err := createNetwork(t, c, name, network.IPAMConfig{
			Subnet: prefix + "0/24", Gateway: prefix + "1", IPRange: prefix + "128/25",
		}, options...)
		if err == nil {
			return name, prefix
		}
		if !strings.Contains(err.Error(), "overlap") {
			t.Fatal(err)
		}
	}
	t.Fatal("no free subnet in 10.200.0.0 to 10.249.255.0")
	return "", ""
}

// The network of DESIGN and docs/networking.md.
const (
	ecsAddress  = "169.254.170.2"
	imdsAddress = "169.254.169.254"
	podsAddress = "169.254.170.23"
)

var addresses = network.IPAMConfig{
	Subnet: "169.254.168.0/21", Gateway: "169.254.168.1", IPRange: "169.254.172.0/22",
}

// trueNetwork makes the network with the addresses of ECS. The test must hold
// the lock.
func trueNetwork(t *testing.T, c *client.Client) string {
	t.Helper()
	name := unique("true")
	eventually(t, longest, func() error { return createNetwork(t, c, name, addresses) })
	return name
}

func createNetwork(t *testing.T, c *client.Client, name string, addresses network.IPAMConfig, options ...string) error {
	t.Helper()
	driver := map[string]string{}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		driver[key] = value
	}
	_, err := c.NetworkCreate(within(t, longest), name, network.CreateOptions{
		Driver:  "bridge",
		Options: driver,
		IPAM:    &network.IPAM{Config: []network.IPAMConfig{addresses}},
		Labels:  map[string]string{labelRun: run},
	})
	if err != nil {
		return fmt.Errorf("create network with %s: %w", addresses.Subnet, err)
	}
	t.Cleanup(func() { removeNetwork(t, c, name) })
	return nil
}

func removeNetwork(t *testing.T, c *client.Client, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	err := c.NetworkRemove(ctx, name)
	if err == nil || errdefs.IsNotFound(err) {
		return
	}
	// Under load, engines of the 20.10 line can count an endpoint too many and
	// then keep a network without containers until they are started again.
	if left, inspectErr := c.NetworkInspect(ctx, name, network.InspectOptions{}); inspectErr == nil && len(left.Containers) == 0 {
		t.Logf("the engine keeps an empty network: %v", err)
		return
	}
	t.Errorf("remove network: %v", err)
}

// A probe is a running container that asks on behalf of the test.
type probe struct {
	id      string
	name    string
	address string // host:port at which it takes orders
}

// direct sends the tests' own requests: never through a proxy, never following
// a redirect, and each over a connection of its own.
var direct = &http.Client{
	Timeout:       longest,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// startProbe starts a container that asks on behalf of the test.
func startProbe(t *testing.T, c *client.Client, s spec) probe {
	t.Helper()
	if s.name == "" {
		s.name = unique("probe")
	}
	if s.cmd == nil {
		s.cmd = []string{"/probe", "serve"}
	}
	id := started(t, c, s)
	return probeOn(t, c, id, s.networks[0].network)
}

// probeOn returns the probe that runs in a container, once it takes orders.
func probeOn(t *testing.T, c *client.Client, id, network string) probe {
	t.Helper()
	info, err := c.ContainerInspect(within(t, longest), id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	p := probe{id: info.ID, name: strings.TrimPrefix(info.Name, "/"), address: addressOn(t, c, id, network) + ":8080"}
	p.wait(t)
	return p
}

// wait returns once the probe takes orders.
func (p probe) wait(t *testing.T) {
	t.Helper()
	eventually(t, longest, func() error {
		res, err := direct.Get("http://" + p.address + "/hostname")
		if err != nil {
			return fmt.Errorf("ask the probe %s: %w", p.name, err)
		}
		return res.Body.Close()
	})
}

// answer is what a container was answered; the probe has the same type.
type answer struct {
	URL    string      `json:"url"`
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
	Millis int64       `json:"millis"`
	Error  string      `json:"error"`
}

// ask makes the container ask for a URL.
func (p probe) ask(target string) (answer, error) {
	res, err := direct.Get("http://" + p.address + "/fetch?url=" + url.QueryEscape(target))
	if err != nil {
		return answer{}, fmt.Errorf("ask the probe %s: %w", p.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	var a answer
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return answer{}, fmt.Errorf("decode answer of the probe %s: %w", p.name, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s asked for %s: %s", p.name, target, a.Error)
	}
	handedOut.note(a.Body)
	return a, nil
}

// get makes the container ask for a URL and fails the test unless it is
// answered at all.
func (p probe) get(t *testing.T, target string) answer {
	t.Helper()
	a, err := p.ask(target)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fromHost asks for a URL from the test itself.
func fromHost(t *testing.T, target string) answer {
	t.Helper()
	res, err := direct.Get(target)
	if err != nil {
		t.Fatalf("get %s: %v", target, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read %s: %v", target, err)
	}
	handedOut.note(string(body))
	return answer{URL: target, Status: res.StatusCode, Header: res.Header, Body: string(body)}
}

// document decodes a good answer: status 200 and JSON.
func document[T any](t *testing.T, a answer) T {
	t.Helper()
	v, err := decode[T](a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func decode[T any](a answer) (T, error) {
	var v T
	if a.Status != http.StatusOK {
		return v, fmt.Errorf("GET %s: got status %d, want 200: %s", a.URL, a.Status, a.Body)
	}
	if kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return v, fmt.Errorf("GET %s: got content type %q, want application/json", a.URL, a.Header.Get("Content-Type"))
	}
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		return v, fmt.Errorf("GET %s: decode: %w\n%s", a.URL, err, a.Body)
	}
	return v, nil
}

// containerDocument is what the tests look at in container metadata.
type containerDocument struct {
	DockerID    string `json:"DockerId"`
	Name        string
	DockerName  string
	Image       string
	KnownStatus string
	ExitCode    *int
	Labels      map[string]string
	Networks    []struct {
		NetworkMode   string
		IPv4Addresses []string
	}
}

// taskDocument is what the tests look at in task metadata.
type taskDocument struct {
	Cluster    string
	TaskARN    string
	Family     string
	Revision   string
	Containers []containerDocument
}

// ids returns the ids of the task's containers.
func (d taskDocument) ids() map[string]bool {
	ids := map[string]bool{}
	for _, c := range d.Containers {
		ids[c.DockerID] = true
	}
	return ids
}

// credentialsDocument is what the tests look at in credentials.
type credentialsDocument struct {
	RoleArn         string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}
