package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// variable is one environment variable.
type variable struct{ name, value string }

// variables are in the order in which people read them.
type variables []variable

func (v *variables) add(name, value string) {
	if value != "" {
		*v = append(*v, variable{name, value})
	}
}

// The names that SDKs and ECS give the variables.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
const (
	varCredentialsRelative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	varCredentialsFull     = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	varAuthorization       = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
	varAuthorizationFile   = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
	varMetadataV3          = "ECS_CONTAINER_METADATA_URI"
	varMetadataV4          = "ECS_CONTAINER_METADATA_URI_V4"
	varAgent               = "ECS_AGENT_URI"
	varIMDSEndpoint        = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
	varRegion              = "AWS_REGION"
	varDefaultRegion       = "AWS_DEFAULT_REGION"
	varExecution           = "AWS_EXECUTION_ENV"
	varSTS                 = "AWS_ENDPOINT_URL_STS"
)

// addMetadata adds where a container asks for its metadata, and the agent's
// API. Without an endpoint id the caller's address has to say who it is.
func (v *variables) addMetadata(url, endpointID string) {
	if endpointID == "" {
		v.add(varMetadataV3, url+"/v3")
		v.add(varMetadataV4, url+"/v4")
		return
	}
	v.add(varMetadataV3, url+"/v3/"+endpointID)
	v.add(varMetadataV4, url+"/v4/"+endpointID)
	v.add(varAgent, url+"/api/"+endpointID)
}

func (v *variables) addRegion(region string) {
	v.add(varRegion, region)
	v.add(varDefaultRegion, region)
}

// write prints the variables in a format: shell, dotenv, compose or json.
func (v variables) write(w io.Writer, format string) error {
	var text strings.Builder
	switch format {
	case "json":
		object := make(map[string]string, len(v))
		for _, one := range v {
			object[one.name] = one.value
		}
		encoded, err := json.MarshalIndent(object, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the variables: %w", err)
		}
		text.Write(append(encoded, '\n'))
	case "compose":
		environment := &yaml.Node{Kind: yaml.MappingNode}
		for _, one := range v {
			environment.Content = append(environment.Content, scalar(one.name, 0), scalar(one.value, yaml.DoubleQuotedStyle))
		}
		encoder := yaml.NewEncoder(&text)
		encoder.SetIndent(2)
		// Compose takes $ for the start of a variable of its own.
		for i := 1; i < len(environment.Content); i += 2 {
			environment.Content[i].Value = strings.ReplaceAll(environment.Content[i].Value, "$", "$$")
		}
		err := encoder.Encode(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("environment", 0), environment}})
		if err != nil {
			return fmt.Errorf("encode the variables: %w", err)
		}
	case "dotenv":
		for _, one := range v {
			fmt.Fprintf(&text, "%s=%s\n", one.name, quoted(one.value))
		}
	default:
		for _, one := range v {
			fmt.Fprintf(&text, "export %s=%s\n", one.name, quoted(one.value))
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func scalar(value string, style yaml.Style) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Style: style}
}

// quoted puts a value into single quotes unless it is plain in every shell and
// reader of .env files.
func quoted(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-./:@%+=,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
