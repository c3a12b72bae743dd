//go:build !linux

package netfault

import (
	"context"
	"runtime"

	"github.com/ecs-local/ecs-local/local"
)

// Injector puts faults into network namespaces, which only Linux has.
type Injector struct{}

func unsupported() error {
	return local.Errorf(local.Unavailable, "faults are made real by the kernel of Linux, and this is %s: "+
		"run ecs-local as a container beside those of the task, or record faults only", runtime.GOOS)
}

// New returns an error that says that this is not Linux.
func New() (*Injector, error) { return nil, unsupported() }

// Lacks returns an error that says that this is not Linux.
func (*Injector) Lacks() error { return unsupported() }

// Apply returns an error that says that this is not Linux.
func (*Injector) Apply(context.Context, Namespace, Fault) error { return unsupported() }

// Remove returns an error that says that this is not Linux.
func (*Injector) Remove(context.Context, Namespace, Fault) error { return unsupported() }

// Check returns an error that says that this is not Linux.
func (*Injector) Check(context.Context, Namespace, Fault) (bool, error) {
	return false, unsupported()
}

// Sweep returns an error that says that this is not Linux.
func (*Injector) Sweep(context.Context, []Namespace) (int, error) { return 0, unsupported() }
