package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/ecs-local/ecs-local/local"
)

const allowed = "GET and HEAD of /_ping, /events, /containers/json, /containers/*/json and /containers/*/stats"

// explain turns what the Docker client reports into an error that says what to
// do about it.
func (c *Client) explain(err error) error {
	var known *local.Error
	if errors.As(err, &known) {
		return err
	}
	return &local.Error{Code: local.Unavailable, Msg: c.advice(err), Err: err}
}

func (c *Client) advice(err error) string {
	socket, isSocket := strings.CutPrefix(c.host, "unix://")
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Sprintf("the Docker engine at %s did not answer in time: look whether docker ps answers, and restart Docker if not", c.host)
	case isSocket && errors.Is(err, fs.ErrPermission):
		return permissionAdvice(socket)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("the connection to the Docker engine at %s broke off: if Docker does not come back by itself, start it", c.host)
	case client.IsErrConnectionFailed(err) && isSocket:
		if _, statErr := os.Stat(socket); errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Sprintf("there is no Docker socket at %s: start Docker; in a container, mount the socket (-v /var/run/docker.sock:/var/run/docker.sock); set DOCKER_HOST if it is elsewhere; or use --runtime static", socket)
		}
		return fmt.Sprintf("nobody answers at the Docker socket %s: start Docker, or use --runtime static", socket)
	case strings.Contains(err.Error(), "HTTP request to an HTTPS server"):
		return fmt.Sprintf("the Docker engine at %s speaks TLS only: set DOCKER_CERT_PATH to the directory of its ca.pem and your cert.pem and key.pem, and DOCKER_TLS_VERIFY=1", c.host)
	case isTLS(err):
		return fmt.Sprintf("the TLS of the Docker engine at %s does not fit the certificates in DOCKER_CERT_PATH: look whether docker --tlsverify ps answers, and correct DOCKER_HOST or the certificates", c.host)
	case client.IsErrConnectionFailed(err):
		return fmt.Sprintf("no Docker engine can be reached at %s: start it, correct DOCKER_HOST, or use --runtime static", c.host)
	case errdefs.IsPermissionDenied(err), errdefs.IsUnauthorized(err):
		return fmt.Sprintf("the Docker engine or socket proxy at %s refuses the request: allow %s", c.host, allowed)
	case errdefs.IsInvalidArgument(err) && strings.Contains(err.Error(), "client version"):
		return fmt.Sprintf("the Docker engine at %s does not speak API version %s: update ecs-local", c.host, c.api.ClientVersion())
	default:
		return fmt.Sprintf("the Docker engine at %s answers with an error: see the log of ecs-local and that of Docker", c.host)
	}
}

// isTLS reports whether a handshake failed. The Docker client keeps nothing of
// the error but its text.
func isTLS(err error) bool {
	text := err.Error()
	return strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ") || strings.Contains(text, "HTTP response to HTTPS client")
}

// permissionAdvice names the socket's group when it can be found out.
func permissionAdvice(socket string) string {
	group, command := "<group id>", fmt.Sprintf(" (stat -c %%g %s prints the group id)", socket)
	if gid, ok := groupOf(socket); ok {
		group, command = gid, fmt.Sprintf(" (%s is its group: stat -c %%g %s)", gid, socket)
	}
	return fmt.Sprintf("no permission to use the Docker socket %s: run ecs-local in the socket's group%s: --group-add %s with docker run, group_add: [%q] with Compose, or a user in that group outside a container",
		socket, command, group, group)
}
