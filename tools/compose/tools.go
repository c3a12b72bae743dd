//go:build tools

// Package compose pins the version of Docker Compose that the tests use. It
// has a module of its own because Compose needs more than a hundred others.
package compose

import _ "github.com/docker/compose/v2/cmd"
