package docker

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/ecs-local/ecs-local/local"
)

// Namespace returns where the network namespace of a running container is:
// one of its processes, in numbers of the engine's machine, and the file in
// which the engine keeps it, which some engines do not tell. NotFound: the
// container does not run.
// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerInspect
func (c *Client) Namespace(ctx context.Context, id string) (pid int, file string, err error) {
	if err := c.ready(ctx); err != nil {
		return 0, "", err
	}
	r, err := c.api.ContainerInspect(ctx, id)
	switch {
	case errdefs.IsNotFound(err):
		return 0, "", local.Errorf(local.NotFound, "the container %.12s is gone", id)
	case err != nil:
		return 0, "", fmt.Errorf("inspect container %.12s: %w", id, err)
	case r.ContainerJSONBase == nil || r.State == nil || !r.State.Running || r.State.Pid == 0:
		// Between two attempts to start it again, a container runs without a process.
		return 0, "", local.Errorf(local.NotFound, "the container %.12s does not run", id)
	}
	if r.NetworkSettings != nil {
		file = r.NetworkSettings.SandboxKey
	}
	return r.State.Pid, file, nil
}
