package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/scan"
)

// composeCommand is "ecs-local compose".
type composeCommand struct {
	Files       []string `arg:"" name:"file" help:"Compose files of the project, in the order in which Compose gets them."`
	ProjectName string   `short:"p" env:"COMPOSE_PROJECT_NAME" placeholder:"NAME" help:"Name of the Compose project (what the files say, or their folder)."`
	Role        string   `placeholder:"ROLE" help:"Give every service the credentials of this role, by name or ARN (those of the label ecs-local.task-role, or /creds)."`
	Join        bool     `help:"Use a side-car that runs already, in another project."`
	Image       string   `default:"ecs-local" placeholder:"IMAGE" help:"Image of the side-car (${default})."`
	Config      string   `env:"ECS_LOCAL_CONFIG" placeholder:"FILE" help:"Configuration file of the side-car, for region, account and roles of tasks."`
	StateKey    string   `env:"ECS_LOCAL_STATE_KEY" placeholder:"SECRET" help:"The side-car's --state-key: with it, a task role has the same path as in the agent."`
}

// sidecar is the name of the service and of the network of the example file.
const sidecar = "ecs-local"

// Run prints the override.
func (c composeCommand) Run(_ context.Context, env environment) error {
	if c.Role != "" {
		if _, err := local.ParseRole(c.Role); err != nil {
			return misuse{said(err)}
		}
	}
	project, err := c.read(env)
	if err != nil {
		return misuse{err}
	}
	base, err := sidecarOf(env.Example, c.Image)
	if err != nil {
		return err
	}
	if err := c.configure(base.service); err != nil {
		return err
	}
	given, err := c.facts(project)
	if err != nil {
		return err
	}
	services := mapping()
	if _, own := project.Services[sidecar]; !own && !c.Join {
		add(services, sidecar, base.service)
	}
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		if name != sidecar {
			add(services, name, c.override(project, name, given))
		}
	}
	networks := base.network
	if c.Join {
		networks = mapping()
		add(networks, "external", plainScalar("true"))
	}
	root := mapping()
	root.HeadComment = "What the services of " + project.Name + " have around them on Amazon ECS. Use it as\n" +
		"  docker compose -f " + strings.Join(c.Files, " -f ") + " -f THIS_FILE up"
	add(root, "services", services)
	if !c.Join && base.volumes != nil {
		add(root, "volumes", base.volumes)
	}
	all := mapping()
	add(all, sidecar, networks)
	add(root, "networks", all)
	encoder := yaml.NewEncoder(env.stdout)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("write the override: %w", err)
	}
	return encoder.Close()
}

// taskFacts are what all services of a project are told.
type taskFacts struct{ credentials, region, launchType string }

func (c composeCommand) facts(project composeFile) (taskFacts, error) {
	inherited, err := inherit()
	if err != nil {
		return taskFacts{}, misuse{err}
	}
	// Of this shell, the side-car gets the region only.
	s, err := loadSettings(c.Config, local.Facts{Region: inherited.facts.Region}, "")
	if err != nil {
		return taskFacts{}, misuse{err}
	}
	defer s.close()
	facts := s.current().facts
	var containers []*local.Container
	for name, service := range project.Services {
		if name == sidecar {
			continue
		}
		containers = append(containers, &local.Container{
			ID: project.Name + "/" + name, Name: name, Project: project.Name, Service: name, Labels: service.Labels, State: local.Running,
		})
	}
	given := taskFacts{credentials: "/creds", region: cmp.Or(facts.Region, local.DefaultRegion), launchType: local.DefaultLaunch}
	role, arn := "", ""
	if tasks := local.NewDirectory(containers, "", facts).Tasks(); len(tasks) == 1 {
		role, arn, given.launchType = tasks[0].TaskRole, tasks[0].ARN, tasks[0].LaunchType
	}
	switch {
	case c.Role != "":
		given.credentials = rolePath(c.Role)
	case role != "" && c.StateKey != "":
		secret, err := state{}.secret(c.StateKey)
		if err != nil {
			return given, err
		}
		given.credentials = "/v2/credentials/" + taskRoleID(secret, scan.TaskApplication, arn)
	case role != "":
		given.credentials = rolePath(role)
	}
	return given, nil
}

// override is what is added to one service.
func (c composeCommand) override(project composeFile, name string, given taskFacts) *yaml.Node {
	service := cmp.Or(project.Services[name], &composeService{})
	o, environment := mapping(), mapping()
	url := "http://" + local.ECSAddress
	// A container that shares a network cannot be told by its address.
	path := ""
	switch {
	case service.NetworkMode == "host":
		path = "/containers/" + project.Name + "-" + name + "-1"
	case service.NetworkMode != "":
		path = "/containers/" + name
	}
	set := func(key, value string) {
		if value != "" {
			add(environment, key, scalar(value, yaml.DoubleQuotedStyle))
		}
	}
	set(varMetadataV3, url+"/v3"+path)
	set(varMetadataV4, url+"/v4"+path)
	set(varAgent, url+"/api"+path)
	_, relative := service.Environment[varCredentialsRelative]
	_, full := service.Environment[varCredentialsFull]
	if !relative && !full { // somebody has chosen already
		set(varCredentialsRelative, given.credentials)
	}
	// As the agent: only where neither is set.
	_, one := service.Environment[varRegion]
	_, other := service.Environment[varDefaultRegion]
	if !one && !other {
		set(varRegion, given.region)
		set(varDefaultRegion, given.region)
	}
	set(varExecution, local.ExecutionEnvironment(given.launchType))
	add(o, "environment", environment)
	if service.NetworkMode == "" {
		networks := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		if service.Networks.IsZero() {
			networks.Content = append(networks.Content, plainScalar("default")) // it would be lost
		}
		networks.Content = append(networks.Content, plainScalar(sidecar))
		add(o, "networks", networks)
	}
	if !c.Join {
		condition, depends := mapping(), mapping()
		add(condition, "condition", plainScalar("service_healthy"))
		add(depends, sidecar, condition)
		add(o, "depends_on", depends)
	}
	return o
}

// configure gives the side-car what this command knows of it.
func (c composeCommand) configure(service *yaml.Node) error {
	environment := value(service, "environment")
	if c.StateKey != "" {
		add(environment, "ECS_LOCAL_STATE_KEY", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}) // that of the shell
	}
	if c.Config == "" {
		return nil
	}
	path, err := filepath.Abs(c.Config)
	if err != nil {
		return fmt.Errorf("find the configuration file: %w", err)
	}
	const inside = "/ecs-local.yaml"
	add(environment, "ECS_LOCAL_CONFIG", plainScalar(inside))
	volumes := value(service, "volumes")
	volumes.Content = append(volumes.Content, plainScalar(path+":"+inside+":ro"))
	return nil
}
