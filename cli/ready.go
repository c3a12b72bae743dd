package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// readyCommand is "ecs-local ready".
type readyCommand struct {
	ControlListen string        `env:"ECS_LOCAL_CONTROL_LISTEN" default:"127.0.0.1:51680" placeholder:"ADDRESS" help:"Where the server's control API listens."`
	Timeout       time.Duration `default:"2s" help:"How long to wait for the answer."`
}

// Run asks GET /readyz once.
func (c readyCommand) Run(ctx context.Context, env environment) error {
	flags := controlFlags(c)
	status, answer, err := flags.send(ctx, http.MethodGet, "/readyz", nil)
	if err != nil {
		return err
	}
	var doc struct {
		Parts map[string]struct {
			Ready  bool
			Reason string
		}
	}
	if err := json.Unmarshal(answer, &doc); err != nil {
		return fmt.Errorf("%s answered %d %s, which is not ecs-local's answer: %w", flags.url("/readyz"), status, http.StatusText(status), err)
	}
	if status == http.StatusOK {
		_, err := fmt.Fprintln(env.stdout, "ready")
		return err
	}
	var reasons []string
	for name, part := range doc.Parts {
		if !part.Ready {
			reasons = append(reasons, name+": "+part.Reason)
		}
	}
	slices.Sort(reasons)
	return fmt.Errorf("not ready: %s", strings.Join(reasons, "; "))
}

// dialable turns an address to listen on into one to connect to.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	switch host {
	case "", "0.0.0.0", "::":
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
