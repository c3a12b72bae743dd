package cli

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/ecs-local/ecs-local/local"
)

// envCommand is "ecs-local env".
type envCommand struct {
	controlFlags
	Format  string `enum:"shell,dotenv,compose,json" default:"shell" help:"shell, dotenv, compose or json (${default})."`
	Form    string `enum:",relative,full,tls,pod-identity" default:"" help:"How credentials are found. relative: at 169.254.170.2, for containers. full: by a whole URL, for programs on this machine. tls: the same by HTTPS. pod-identity: as on EKS (relative with --task, --service or --format compose, else full)."`
	Role    string `placeholder:"ROLE" help:"The credentials of this role, by name or ARN."`
	Task    string `placeholder:"NAME" help:"What a container of this task gets: a Compose project, or a task of the configuration file."`
	Service string `placeholder:"NAME" help:"What the container of this service gets."`
	URL     string `name:"url" placeholder:"URL" help:"Where the program finds the server, if not where it listens."`
}

// The forms of --form.
const (
	formRelative    = "relative"
	formFull        = "full"
	formTLS         = "tls"
	formPodIdentity = "pod-identity"
)

// runningServer is what the control API says about the server.
type runningServer struct {
	Listen      map[string]string
	Region      string
	Credentials struct {
		Mode          string
		Authorization bool // requests for credentials need a token
	}
}

// knownTask is a task of GET /v1/tasks.
type knownTask struct {
	Name, ARN   string
	Containers  []knownContainer
	Credentials map[string]string // type of the role → path
}

type knownContainer struct {
	Name, DockerName, Service, ID, EndpointID, State string
	Addresses                                        map[string]string // network → address
	Environment                                      map[string]string
}

// Run asks the server where it is and whom it serves.
func (c envCommand) Run(ctx context.Context, env environment) error {
	if c.Role != "" {
		if _, err := local.ParseRole(c.Role); err != nil {
			return misuse{said(err)}
		}
	}
	var server runningServer
	if err := c.call(ctx, http.MethodGet, "/v1/status", nil, &server); err != nil {
		return err
	}
	var who knownContainer
	path := rolePath(c.Role)
	if c.Task != "" || c.Service != "" {
		var tasks []knownTask
		if err := c.call(ctx, http.MethodGet, "/v1/tasks", nil, &tasks); err != nil {
			return err
		}
		task, container, err := c.find(tasks)
		if err != nil {
			return err
		}
		who = container
		path = cmp.Or(path, task.Credentials["TaskApplication"])
	}
	form := c.Form
	if form == "" {
		form = formFull
		if c.Task != "" || c.Service != "" || c.Format == "compose" {
			form = formRelative
		}
	}
	v, err := c.variables(form, server, who, cmp.Or(path, "/creds"))
	if err != nil {
		return err
	}
	if form == formTLS {
		if err := c.addAuthority(ctx, &v); err != nil {
			return err
		}
	}
	if server.Credentials.Authorization && form != formPodIdentity {
		if err := c.addToken(&v); err != nil {
			return err
		}
	}
	return v.write(env.stdout, c.Format)
}

// rolePath is where the credentials of a role are; "" without one.
func rolePath(role string) string {
	switch {
	case role == "":
		return ""
	case strings.HasPrefix(role, "arn:"):
		return "/role-arn/" + role
	default:
		return "/role/" + role
	}
}

// variables are those of a form.
func (c envCommand) variables(form string, server runningServer, who knownContainer, path string) (variables, error) {
	v := variables{}
	url, err := c.base(form, server)
	if err != nil {
		return nil, err
	}
	metadata, instance := url, instanceAt(url)
	switch form {
	case formRelative:
		v.add(varCredentialsRelative, path)
		instance = "" // at its own address, where SDKs look without being told
	case formPodIdentity:
		v.add(varCredentialsFull, url+"/v1/credentials")
		if err := c.addToken(&v); err != nil {
			return nil, err
		}
		metadata, instance = "http://"+local.ECSAddress, ""
	case formTLS:
		v.add(varCredentialsFull, url+path)
		plain, err := c.base(formFull, server)
		if err != nil {
			return nil, err
		}
		metadata, instance = plain, instanceAt(plain)
	default:
		v.add(varCredentialsFull, url+path)
	}
	v.addMetadata(metadata, who.EndpointID)
	v.add(varIMDSEndpoint, instance)
	v.addRegion(cmp.Or(who.Environment[varRegion], server.Region))
	v.add(varExecution, who.Environment[varExecution])
	if server.Credentials.Mode == "offline" {
		v.add(varSTS, metadata)
	}
	return v, nil
}

// instanceAt is where the server of a URL has its instance metadata: not at the
// address of the ECS agent, where only the agent's endpoints answer.
func instanceAt(url string) string {
	if url == "http://"+local.ECSAddress {
		return "http://" + local.IMDSAddress
	}
	return url
}

// base is the URL for a form, without a slash at its end.
func (c envCommand) base(form string, server runningServer) (string, error) {
	if c.URL != "" {
		return strings.TrimSuffix(c.URL, "/"), nil
	}
	scheme, name := "http://", "ecs"
	switch form {
	case formRelative:
		return "http://" + local.ECSAddress, nil
	case formPodIdentity:
		return "http://" + local.PodIdentityAddress, nil
	case formTLS:
		scheme, name = "https://", "tls"
	}
	address := server.Listen[name]
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("the server does not serve TLS: start it with --tls-listen, as in --tls-listen 127.0.0.1:51681")
	}
	standard := scheme == "http://" && port == "80" || scheme == "https://" && port == "443"
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		// It listens everywhere: in a container, as the image does, or here.
		host = "127.0.0.1"
		if standard {
			host = local.ECSAddress
		}
	}
	if standard {
		return scheme + host, nil
	}
	return scheme + net.JoinHostPort(host, port), nil
}

// addToken adds the token that the server wants. The server does not tell it,
// so it comes from where the server has it: the same variables.
func (c envCommand) addToken(v *variables) error {
	token, file := os.Getenv("ECS_LOCAL_AUTHORIZATION_TOKEN"), os.Getenv("ECS_LOCAL_AUTHORIZATION_TOKEN_FILE")
	switch {
	case token != "":
		v.add(varAuthorization, token)
	case file != "":
		v.add(varAuthorizationFile, file)
	case c.Form == formPodIdentity:
		v.add(varAuthorization, "local") // the service wants one, and takes any
	default:
		return fmt.Errorf("the server wants an authorization token, which it does not tell: set ECS_LOCAL_AUTHORIZATION_TOKEN or ECS_LOCAL_AUTHORIZATION_TOKEN_FILE as for the server")
	}
	return nil
}

// addAuthority adds what makes SDKs trust the server's certificate: Go replaces
// what it trusts by the bundle, Node.js adds to it. For a container's endpoint,
// boto3 and the AWS CLI heed no variable; docs/networking.md says what they do.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html
func (c envCommand) addAuthority(ctx context.Context, v *variables) error {
	certificate, err := c.authority(ctx)
	if err != nil {
		return err
	}
	alone, bundle, err := keepAuthority(certificate)
	if err != nil {
		return err
	}
	v.add("AWS_CA_BUNDLE", bundle)
	v.add("SSL_CERT_FILE", bundle)
	v.add("NODE_EXTRA_CA_CERTS", alone)
	return nil
}

// find returns the container that the flags name, or the task alone.
func (c envCommand) find(tasks []knownTask) (knownTask, knownContainer, error) {
	var names []string
	for _, t := range tasks {
		names = append(names, t.Name)
	}
	known := " (" + cmp.Or(strings.Join(names, ", "), "none is known") + ")"
	if c.Task != "" {
		tasks = slices.DeleteFunc(tasks, func(t knownTask) bool { return t.Name != c.Task && t.ARN != c.Task })
		if len(tasks) == 0 {
			return knownTask{}, knownContainer{}, fmt.Errorf("no task is called %q%s: check --task", c.Task, known)
		}
	}
	type match struct {
		task      knownTask
		container knownContainer
	}
	var found []match
	for _, t := range tasks {
		for _, one := range t.Containers {
			if c.Service == "" || c.Service == one.Name || c.Service == one.Service || c.Service == one.DockerName {
				found = append(found, match{t, one})
			}
		}
	}
	switch {
	case c.Service == "" && len(found) != 1:
		return tasks[0], knownContainer{}, nil
	case len(found) == 0:
		return knownTask{}, knownContainer{}, fmt.Errorf("no container is called %q in the tasks%s: check --service, and that it runs", c.Service, known)
	case len(found) > 1:
		var candidates []string
		for _, m := range found {
			candidates = append(candidates, m.container.DockerName)
		}
		return knownTask{}, knownContainer{}, fmt.Errorf("%q names %d containers (%s): give --task, or the whole name of one as --service", c.Service, len(found), strings.Join(candidates, ", "))
	}
	return found[0].task, found[0].container, nil
}
