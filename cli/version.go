package cli

import (
	"fmt"
	"runtime"
)

// versionCommand is "ecs-local version".
type versionCommand struct{}

// Run prints the version, the Go version and the platform.
func (versionCommand) Run(env environment) error {
	_, err := fmt.Fprintf(env.stdout, "ecs-local %s (%s, %s/%s)\n", env.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
