package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// composeFile is what is read of a Compose file.
type composeFile struct {
	Name     string
	Services map[string]*composeService
	Include  yaml.Node
}

type composeService struct {
	NetworkMode string    `yaml:"network_mode"`
	Networks    yaml.Node // a list or a map
	Labels      pairs
	Environment pairs
}

// pairs are written as a map, or as a list of KEY=VALUE.
// https://docs.docker.com/reference/compose-file/services/#environment
type pairs map[string]string

// UnmarshalYAML implements yaml.Unmarshaler.
func (p *pairs) UnmarshalYAML(n *yaml.Node) error {
	*p = pairs{}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			key, value, _ := strings.Cut(item.Value, "=")
			(*p)[key] = value
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			(*p)[n.Content[i].Value] = n.Content[i+1].Value
		}
	}
	return nil
}

// read joins the files as far as it matters here.
func (c composeCommand) read(env environment) (composeFile, error) {
	project := composeFile{Services: map[string]*composeService{}}
	for _, path := range c.Files {
		text, err := os.ReadFile(path)
		if err != nil {
			return project, fmt.Errorf("%w: give the path of a Compose file", err)
		}
		var file composeFile
		if err := yaml.Unmarshal(text, &file); err != nil {
			return project, fmt.Errorf("%s is not a Compose file: %w", path, err)
		}
		if !file.Include.IsZero() {
			fmt.Fprintf(env.stderr, "ecs-local: %s includes other files: name them too, if their services need anything of ECS\n", path)
		}
		project.Name = cmp.Or(file.Name, project.Name)
		for name, service := range file.Services {
			project.Services[name] = merged(project.Services[name], service)
		}
	}
	if len(project.Services) == 0 {
		return project, fmt.Errorf("%s has no services: give the Compose file of a project", strings.Join(c.Files, ", "))
	}
	project.Name = cmp.Or(c.ProjectName, project.Name)
	if project.Name == "" {
		folder, err := filepath.Abs(filepath.Dir(c.Files[0]))
		if err != nil {
			return project, fmt.Errorf("find the name of the project: %w", err)
		}
		project.Name = projectName(filepath.Base(folder))
	}
	return project, nil
}

// merged puts one service over another, as Compose does.
func merged(under, over *composeService) *composeService {
	if over == nil {
		over = &composeService{}
	}
	if under == nil {
		return over
	}
	both := *under
	both.NetworkMode = cmp.Or(over.NetworkMode, under.NetworkMode)
	if !over.Networks.IsZero() {
		both.Networks = over.Networks
	}
	both.Labels, both.Environment = maps.Clone(under.Labels), maps.Clone(under.Environment)
	for to, from := range map[*pairs]pairs{&both.Labels: over.Labels, &both.Environment: over.Environment} {
		if *to == nil {
			*to = pairs{}
		}
		maps.Copy(*to, from)
	}
	return &both
}

var notInName = regexp.MustCompile(`[^a-z0-9_-]+`)

// projectName is what Compose makes of a folder's name.
// https://docs.docker.com/compose/how-tos/project-name/
func projectName(folder string) string {
	return strings.TrimLeft(notInName.ReplaceAllString(strings.ToLower(folder), ""), "_-")
}

// exampleParts are what an override takes from the example Compose file.
type exampleParts struct{ service, network, volumes *yaml.Node }

func sidecarOf(example, image string) (exampleParts, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(example), &document); err != nil || len(document.Content) != 1 {
		return exampleParts{}, errors.Join(errors.New("the program lacks its example Compose file: build it with make build"), err)
	}
	root := document.Content[0]
	parts := exampleParts{service: value(value(root, "services"), sidecar), network: value(value(root, "networks"), sidecar), volumes: value(root, "volumes")}
	if parts.service == nil || parts.network == nil {
		return exampleParts{}, errors.New("the program lacks its example Compose file: build it with make build")
	}
	without(parts.service, "build")
	value(parts.service, "image").Value = image
	return parts, nil
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func plainScalar(text string) *yaml.Node { return scalar(text, 0) }

func add(to *yaml.Node, key string, n *yaml.Node) {
	to.Content = append(to.Content, plainScalar(key), n)
}

// value returns what a map has for a key, or nil.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func without(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}
