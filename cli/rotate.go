package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/scan"
)

// rotateCommand is "ecs-local rotate".
type rotateCommand struct {
	controlFlags
	Role    string `xor:"what" placeholder:"ROLE" help:"Only the credentials of this role, by name or ARN."`
	Session bool   `xor:"what" help:"Only those of /creds, the developer's own session."`
}

// Run asks POST /v1/credentials/rotate.
func (c rotateCommand) Run(ctx context.Context, env environment) error {
	body := map[string]any{}
	switch {
	case c.Session:
		body["session"] = true
	case c.Role != "":
		if _, err := local.ParseRole(c.Role); err != nil {
			return misuse{said(err)}
		}
		body["role"] = c.Role
	}
	var result struct{ Rotated []string }
	if err := c.call(ctx, http.MethodPost, "/v1/credentials/rotate", body, &result); err != nil {
		return err
	}
	if len(result.Rotated) == 0 {
		_, err := fmt.Fprintln(env.stdout, "nothing to rotate: no such credentials have been handed out")
		return err
	}
	for _, role := range result.Rotated {
		if _, err := fmt.Fprintln(env.stdout, "rotated", scan.Printable(role)); err != nil {
			return err
		}
	}
	return nil
}
