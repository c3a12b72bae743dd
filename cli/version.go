package cli

import (
	"fmt"
	"runtime"
)

// versionCommand is "ecs-local version".
type versionCommand struct{}

// Run prints the version, the Go version and the platform.
func (versionCommand) Run(env environment) error {
	_, err := fmt.Fprintln(env.stdout, versionLine(env))
	return err
}

func versionLine(env environment) string {
	return fmt.Sprintf("ecs-local %s (%s, %s/%s)", env.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
