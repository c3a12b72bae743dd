// Package cli holds the commands.
package cli

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/fsnotify/fsnotify"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/gorilla/mux"
	_ "github.com/jotaen/kong-completion"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "go.yaml.in/yaml/v3"
	_ "github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	_ "golang.org/x/sync/errgroup"
)
