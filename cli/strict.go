package cli

import (
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local/fault"
)

// strictWriteTimeout is how long the agent's answers may take. What takes longer
// is never sent: the client sees the end of the connection.
const strictWriteTimeout = 5 * time.Second

func (s *service) writeTimeout() time.Duration {
	if s.strict {
		return strictWriteTimeout
	}
	return writeTimeout
}

// bridge says what becomes of the faults of tasks in the network mode bridge:
// strictly, they get the agent's internal error.
func (s *service) bridge() fault.Bridge {
	if s.strict {
		return fault.BridgeBroken
	}
	return fault.BridgeServed
}

// rateLimit is the limit of strict mode. As with the agent, what is not two
// numbers above 0 is its default.
func (s *service) rateLimit(in inherited) handlers.RateLimit {
	limit, ok := parseRateLimit(in.rateLimit)
	if !ok {
		s.log.Warn("ECS_TASK_METADATA_RPS_LIMIT is not two numbers above 0, such as 40,60: using those", slog.String("value", in.rateLimit))
	}
	return limit
}

// parseRateLimit reads the value of ECS_TASK_METADATA_RPS_LIMIT: requests in a
// second, and at once. Empty is the default.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html
func parseRateLimit(value string) (limit handlers.RateLimit, ok bool) {
	if value == "" {
		return handlers.RateLimit{}, true
	}
	steady, burst, _ := strings.Cut(value, ",")
	perSecond, err := strconv.Atoi(strings.TrimSpace(steady))
	if err != nil || perSecond <= 0 {
		return handlers.RateLimit{}, false
	}
	atOnce, err := strconv.Atoi(strings.TrimSpace(burst))
	if err != nil || atOnce <= 0 {
		return handlers.RateLimit{}, false
	}
	return handlers.RateLimit{PerSecond: perSecond, Burst: atOnce}, true
}
