// Command ecs-local provides what Amazon ECS and EC2 put around a container,
// on a laptop or a CI runner.
package main

import (
	_ "embed"
	"os"

	"github.com/ecs-local/ecs-local/cli"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "development"

//go:embed LICENSE
var license string

//go:embed docker-compose.example.yml
var example string

func main() {
	about := cli.About{Version: version, License: license, Example: example}
	os.Exit(cli.Main(os.Args[1:], about, os.Stdout, os.Stderr))
}
