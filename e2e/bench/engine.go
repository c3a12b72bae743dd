package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/rpc"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// labelRun marks what a run made on the engine.
const labelRun = "ecs-local-bench.run"

// world is everything a run has made, on the engine and on the host.
type world struct {
	name     string // begins the name of all that is made; the Compose project
	dir      string // for binaries and logs
	binaries binaries
	sts      *fakeSTS

	api       *client.Client
	image     string
	network   string
	gateway   string
	members   []string // ids of the project's containers; the first is the load generator
	generator *rpc.Client
}

// newWorld makes the network and the image. The caller closes it, also after
// an error.
func newWorld(ctx context.Context, o options) (*world, error) {
	w := &world{name: fmt.Sprintf("ecs-local-bench-%08x", rand.Uint32())}
	var err error
	if w.api, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
		return w, fmt.Errorf("make Docker client: %w", err)
	}
	if _, err := w.api.ServerVersion(ctx); err != nil {
		return w, fmt.Errorf("ask the Docker engine for its version: %w", err)
	}
	if w.dir, err = os.MkdirTemp("", w.name); err != nil {
		return w, fmt.Errorf("make folder: %w", err)
	}
	if w.sts, err = startSTS(); err != nil {
		return w, fmt.Errorf("start fake STS: %w", err)
	}
	progress("building")
	if w.binaries, err = build(ctx, o, w.dir); err != nil {
		return w, err
	}
	if err := w.makeImage(ctx); err != nil {
		return w, err
	}
	return w, w.makeNetwork(ctx)
}

// close removes everything that was made.
func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var errs []error
	failed := func(doing string, err error) {
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("%s: %w", doing, err))
		}
	}
	if w.generator != nil {
		_ = w.generator.Close()
	}
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, id := range w.members {
		group.Go(func() error {
			w.end(ctx, id)
			if err := w.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}); !errdefs.IsNotFound(err) {
				return err
			}
			return nil
		})
	}
	failed("remove containers", group.Wait())
	if w.network != "" {
		failed("remove network", w.removeNetwork(ctx))
	}
	if w.image != "" {
		_, err := w.api.ImageRemove(ctx, w.image, image.RemoveOptions{Force: true, PruneChildren: true})
		failed("remove image", err)
	}
	if w.sts != nil {
		w.sts.close()
	}
	if w.dir != "" {
		failed("remove folder", os.RemoveAll(w.dir))
	}
	if w.api != nil {
		_ = w.api.Close()
	}
	return errors.Join(errs...)
}

// end ends a container and waits for it, so that the engine has given up its
// place on the network before it removes it. Doing both at once can leave the
// network with an endpoint that nobody has: https://github.com/moby/moby/issues/42119
func (w *world) end(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := w.api.ContainerKill(ctx, id, "KILL"); err != nil {
		return // it does not run, or its removal will say what is wrong
	}
	ended, failed := w.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case <-ended:
	case err := <-failed:
		progress("wait for the end of %.12s: %v", id, err)
	}
}

// removeNetwork tries for a while: on a busy engine a container is gone a
// moment before its place on the network is.
func (w *world) removeNetwork(ctx context.Context) error {
	const tries, pause = 50, 200 * time.Millisecond
	var err error
	for range tries {
		if err = w.api.NetworkRemove(ctx, w.network); err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		time.Sleep(pause)
	}
	return fmt.Errorf("%w\nIf no container is on it any more, the engine can remove it after its next restart: docker network rm %s", err, w.network)
}

// makeImage makes an image that holds this program and nothing else.
func (w *world) makeImage(ctx context.Context) error {
	binary, err := os.ReadFile(w.binaries.bench)
	if err != nil {
		return fmt.Errorf("read binary: %w", err)
	}
	var archive bytes.Buffer
	t := tar.NewWriter(&archive)
	err = t.WriteHeader(&tar.Header{Name: "bench", Mode: 0o755, Size: int64(len(binary))})
	if err == nil {
		_, err = t.Write(binary)
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	w.image = w.name + ":latest"
	out, err := w.api.ImageImport(ctx, image.ImportSource{Source: &archive, SourceName: "-"}, w.image,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/bench"]`, "LABEL " + labelRun + "=" + w.name}})
	if err != nil {
		return fmt.Errorf("import image: %w", err)
	}
	defer func() { _ = out.Close() }()
	answer, err := io.ReadAll(out)
	if err != nil || bytes.Contains(answer, []byte(`"error"`)) {
		return fmt.Errorf("import image: %w %s", err, answer)
	}
	return nil
}

// makeNetwork makes a bridge network on a subnet that is free.
func (w *world) makeNetwork(ctx context.Context) error {
	for range 50 {
		prefix := fmt.Sprintf("10.%d.%d.", 250+rand.IntN(4), rand.IntN(256))
		_, err := w.api.NetworkCreate(ctx, w.name, network.CreateOptions{
			Driver: "bridge", Labels: map[string]string{labelRun: w.name},
			IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: prefix + "0/24", Gateway: prefix + "1"}}},
		})
		if err == nil {
			w.network, w.gateway = w.name, prefix+"1"
			return nil
		}
		if !strings.Contains(err.Error(), "overlap") {
			return fmt.Errorf("create network: %w", err)
		}
	}
	return errors.New("create network: no free subnet in 10.250.0.0 to 10.253.255.0")
}

// parallel is how many containers are started or removed at a time.
const parallel = 4

// grow starts containers until there are so many.
func (w *world) grow(ctx context.Context, to int) error {
	progress("starting %d containers", to-len(w.members))
	from := len(w.members)
	w.members = append(w.members, make([]string, to-from)...)
	group, starting := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := from; i < to; i++ {
		group.Go(func() error {
			role := "idle"
			if i == 0 {
				role = "load"
			}
			// The name will do until there is an id.
			w.members[i] = fmt.Sprintf("%s-%s-%d", w.name, role, i+1)
			id, err := w.start(starting, w.members[i], role, i+1)
			if id != "" {
				w.members[i] = id
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if w.generator == nil {
		return w.connect(ctx)
	}
	return nil
}

// start makes and starts a container, with the labels that Compose gives one.
func (w *world) start(ctx context.Context, name, role string, number int) (string, error) {
	made, err := w.api.ContainerCreate(ctx, &container.Config{
		Image: w.image, Cmd: []string{role},
		Labels: map[string]string{
			labelRun:                              w.name,
			"com.docker.compose.project":          w.name,
			"com.docker.compose.service":          role + strconv.Itoa(number),
			"com.docker.compose.container-number": "1",
			"com.docker.compose.oneoff":           "False",
		},
	}, &container.HostConfig{NetworkMode: container.NetworkMode(w.network)}, nil, nil, name)
	if err != nil {
		return "", fmt.Errorf("create container: %w", err)
	}
	if err := w.api.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return made.ID, fmt.Errorf("start container: %w", err)
	}
	return made.ID, nil
}

// connect reaches the load generator.
func (w *world) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	info, err := w.api.ContainerInspect(ctx, w.members[0])
	if err != nil {
		return fmt.Errorf("inspect load generator: %w", err)
	}
	attached := info.NetworkSettings.Networks[w.network]
	if attached == nil || attached.IPAddress == "" {
		return errors.New("the load generator has no address: it has ended")
	}
	for {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(attached.IPAddress, loadPort), time.Second)
		if err == nil {
			w.generator = rpc.NewClient(conn)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("connect to the load generator: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// call gives the load generator an order and waits for the result.
func (w *world) call(ctx context.Context, method string, order, result any) error {
	select {
	case call := <-w.generator.Go("Load."+method, order, result, make(chan *rpc.Call, 1)).Done:
		if call.Error != nil {
			return fmt.Errorf("load generator: %w", call.Error)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
