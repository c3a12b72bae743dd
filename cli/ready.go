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
	if c.ControlListen == "" {
		return misuse{fmt.Errorf("the control API is turned off (ECS_LOCAL_CONTROL_LISTEN is empty): give its address with --control-listen")}
	}
	url := "http://" + dialable(c.ControlListen) + "/readyz"
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return misuse{fmt.Errorf("%q is not an address like 127.0.0.1:51680: %w", c.ControlListen, err)}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("no answer from %s: is \"ecs-local serve\" running with this --control-listen? (%w)", url, err)
	}
	defer response.Body.Close()
	var doc struct {
		Parts map[string]struct {
			Ready  bool
			Reason string
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&doc); err != nil {
		return fmt.Errorf("%s answered %s, which is not ecs-local's answer: %w", url, response.Status, err)
	}
	if response.StatusCode == http.StatusOK {
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
