package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local/scan"
)

// mfaCommand is "ecs-local mfa".
type mfaCommand struct {
	controlFlags
	Code string `arg:"" help:"The six digits that the MFA device shows."`
}

// Run sends POST /v1/credentials/mfa.
func (c mfaCommand) Run(ctx context.Context, env environment) error {
	if len(c.Code) != 6 || strings.Trim(c.Code, "0123456789") != "" {
		return misuse{fmt.Errorf("a code is the six digits that the MFA device shows now, as in ecs-local mfa 123456")}
	}
	var result struct {
		MFA struct {
			Serial string
			Until  time.Time
		}
	}
	if err := c.call(ctx, http.MethodPost, "/v1/credentials/mfa", map[string]string{"code": c.Code}, &result); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.stdout, "logged in with %s until %s\n", scan.Printable(result.MFA.Serial), result.MFA.Until.Local().Format("2006-01-02 15:04 MST"))
	return err
}
