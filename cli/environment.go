package cli

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// inherited is what variables say that AWS or
// amazon-ecs-local-container-endpoints has named.
type inherited struct {
	facts                 local.Facts
	dockerHost            string
	dockerTLS             docker.TLS
	stsEndpoint           string
	sharedTokenExpiration time.Duration // zero when not set
	keysExpire            time.Time     // of the keys in the environment; zero when not known
	missingKey            string        // that they lack, when there are any
	documents             *metadata.Renderer
	rateLimit             string // of the agent; empty when not set
}

// inherit reads those variables. An error names the variable or the file.
func inherit() (inherited, error) {
	in := inherited{
		facts: local.Facts{
			Region:   cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
			Cluster:  cmp.Or(os.Getenv("CLUSTER_ARN"), os.Getenv("CLUSTER")),
			TaskARN:  os.Getenv("TASK_ARN"),
			Family:   os.Getenv("TASK_DEFINITION_FAMILY"),
			Revision: os.Getenv("TASK_DEFINITION_REVISION"),
		},
		dockerHost:  os.Getenv("DOCKER_HOST"),
		stsEndpoint: os.Getenv("STS_ENDPOINT"),
		rateLimit:   os.Getenv("ECS_TASK_METADATA_RPS_LIMIT"),
	}
	if dir, verify := os.Getenv("DOCKER_CERT_PATH"), os.Getenv("DOCKER_TLS_VERIFY"); dir != "" || verify != "" {
		if dir == "" {
			if home, err := os.UserHomeDir(); err == nil {
				dir = filepath.Join(home, ".docker")
			}
		}
		in.dockerTLS.Dir = dir
	}
	if v := os.Getenv("SHARED_TOKEN_EXPIRATION"); v != "" {
		life, err := time.ParseDuration(v)
		if seconds, noUnit := strconv.ParseInt(v, 0, 32); noUnit == nil {
			life, err = time.Duration(seconds)*time.Second, nil
		}
		if err != nil || life < time.Second {
			return in, fmt.Errorf("SHARED_TOKEN_EXPIRATION=%q is not a number of seconds: set it to one like 750, or to a time like 15m", v)
		}
		in.sharedTokenExpiration = life
	}
	// Those who export temporary keys say so, as the AWS CLI does; a time in
	// another form tells nothing.
	in.keysExpire, _ = time.Parse(time.RFC3339, os.Getenv("AWS_CREDENTIAL_EXPIRATION"))
	in.missingKey = missingKey()
	container, err := overrides("CONTAINER_METADATA_PATH")
	if err != nil {
		return in, err
	}
	task, err := overrides("TASK_METADATA_PATH")
	if err != nil {
		return in, err
	}
	in.documents = metadata.New(metadata.Options{ContainerOverrides: container, TaskOverrides: task})
	return in, nil
}

// missingKey returns the variable that keys in the environment lack; "" when
// they are whole, or when there are none.
func missingKey() string {
	id := cmp.Or(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_ACCESS_KEY"))
	secret := cmp.Or(os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SECRET_KEY"))
	switch {
	case id == "" && secret == "" && os.Getenv("AWS_SESSION_TOKEN") != "":
		return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	case id == "" && secret != "":
		return "AWS_ACCESS_KEY_ID"
	case id != "" && secret == "":
		return "AWS_SECRET_ACCESS_KEY"
	default:
		return ""
	}
}

// startTime is when everything has been read and made, with time to spare.
const startTime = time.Second

// spendMemory lets the heap grow to three times what is in use before it is
// collected, instead of twice: that is little memory here, and a tenth of the
// time of a small answer. GOGC wins.
func spendMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	// Starting takes more memory than serving; what it leaves goes back.
	time.AfterFunc(startTime, debug.FreeOSMemory)
}

// overrides reads the file that a variable names, if it is set.
func overrides(variable string) (*metadata.Overrides, error) {
	path := os.Getenv(variable)
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: mount the file or unset the variable", variable, err)
	}
	o, err := metadata.ParseOverrides(path, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	return o, nil
}

// isEmptyVariable reports whether a variable is set, to nothing.
func isEmptyVariable(name string) bool {
	value, set := os.LookupEnv(name)
	return set && value == ""
}

// metadataPort lets ECS_LOCAL_METADATA_PORT, the variable of
// amazon-ecs-local-container-endpoints, say the port to listen on. It wins
// over ECS_LOCAL_LISTEN, which the image sets, but not over --listen.
func metadataPort(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	port := os.Getenv("ECS_LOCAL_METADATA_PORT")
	if flag.Name != "listen" || port == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("ECS_LOCAL_METADATA_PORT=%q is not a port number: set it to one like 80", port)
	}
	address := cmp.Or(os.Getenv("ECS_LOCAL_LISTEN"), "127.0.0.1:")
	return net.JoinHostPort(strings.Trim(address[:max(0, strings.LastIndexByte(address, ':'))], "[]"), port), nil
}
