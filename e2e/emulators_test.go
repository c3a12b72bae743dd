package e2e

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/docker/docker/client"
)

// emulated brings up an example whose AWS is another program's image. That
// program is moto_server, on this machine: its image, which cannot be pulled
// here, is replaced by a container that leads there.
func emulated(t *testing.T, c *client.Client, file, service, port string) (p project, moto string) {
	t.Helper()
	server, err := exec.LookPath("moto_server")
	if err != nil {
		leaveOut(t, "ECS_LOCAL_REQUIRE_CLIENTS", "no moto_server: "+err.Error())
	}
	host := addresses.Gateway // this machine, to the containers
	at := freePort(t, "127.0.0.1")
	p = exampleOf(t, c, file, map[string]string{
		"ecs-local": imageOf(t, sidecarImage), "app": imageOf(t, awsImage), service: forwarderImage(t, port, host+":"+at),
	})
	p.compose(t, "up", "--no-start") // the network is there now, and its gateway's address
	background(t, exec.Command(server, "-H", host, "-p", at))
	moto = "http://" + host + ":" + at
	playing(t, moto)
	p.compose(t, "up", "--detach")
	searchExampleLater(t, c, p)
	return p, moto
}

// said returns what the example's application has written, once it has ended.
func (p project) said(t *testing.T, c *client.Client) string {
	t.Helper()
	app := p.one(t, c, "app")
	if code, err := ended(within(t, longest), c, app); err != nil || code != 0 {
		t.Fatalf("the application ended with %d, %v\n%s", code, err, logs(t, c, app))
	}
	return strings.TrimSpace(printed(t, c, app))
}

// again runs the example's application with another command.
func (p project) again(t *testing.T, args ...string) string {
	t.Helper()
	out := p.compose(t, append([]string{"run", "--rm", "--no-TTY", "app"}, args...)...)
	return strings.TrimSpace(out)
}

var whoAmI = []string{"sts", "get-caller-identity", "--query", "Arn", "--output", "text"}

// roleOfMoto begins the identity of a session of shop-web that moto gave.
const roleOfMoto = "arn:aws:sts::" + motoAccount + ":assumed-role/shop-web/ecs-local-"

func TestMotoExampleGivesTheApplicationARoleOfMoto(t *testing.T) {
	c := requireDocker(t)
	p, moto := emulated(t, c, "docs/examples/moto.yml", "moto", "5000")
	if got := p.said(t, c); !strings.HasPrefix(got, roleOfMoto) {
		t.Errorf("the application is %q, want %s…", got, roleOfMoto)
	}
	document[credentialsDocument](t, fromHost(t, "http://"+ecsAddress+"/role/shop-web"))
	if a := request(t, http.MethodPost, "http://"+ecsAddress+"/", "Action=GetCallerIdentity&Version=2011-06-15", nil); a.Status != http.StatusNotFound {
		t.Errorf("beside moto's STS ecs-local plays one too: got status %d", a.Status)
	}
	storesAsRole(t, moto)
	_, cli := pythonClients(t)
	cmd := exec.CommandContext(within(t, longest), cli, whoAmI...)
	cmd.Env = pointedAt(t, "", "AWS_EC2_METADATA_DISABLED=true", "AWS_DEFAULT_REGION=us-east-1", relativeURI+"/role-arn/arn:aws:iam::111122223333:role/shop-web", "AWS_ENDPOINT_URL="+moto)
	if got, want := command(t, cmd), "arn:aws:sts::111122223333:assumed-role/shop-web/"; !strings.HasPrefix(got, want) {
		t.Errorf("a role of another account is %q to moto, want %s…", got, want)
	}
	searched(t, "http://"+ecsAddress+":51680", logs(t, c, p.one(t, c, "ecs-local")))
}

func TestLocalStackExampleGivesTheApplicationKeysThatNeedNoAccount(t *testing.T) {
	c := requireDocker(t)
	p, moto := emulated(t, c, "docs/examples/localstack.yml", "localstack", "4566")
	const ours = "arn:aws:sts::000000000000:assumed-role/shop-web/ecs-local-"
	if got := p.said(t, c); !strings.HasPrefix(got, ours) {
		t.Errorf("the application is %q, want %s…", got, ours)
	}
	// The emulator does not know whose keys these are, and takes them.
	if got, want := p.again(t, append(whoAmI, "--endpoint-url", "http://localstack:4566")...), "arn:aws:sts::"+motoAccount+":user/moto"; got != want {
		t.Errorf("to the emulator the application is %q, want %q", got, want)
	}
	document[credentialsDocument](t, fromHost(t, "http://"+ecsAddress+"/role/shop-web"))
	storesAsRole(t, moto)
	searched(t, "http://"+ecsAddress+":51680", logs(t, c, p.one(t, c, "ecs-local")))
}

// storesAsRole has the AWS CLI use the role's keys for something else than to
// say who it is.
func storesAsRole(t *testing.T, endpoint string) {
	t.Helper()
	_, cli := pythonClients(t)
	aws := func(args ...string) string {
		cmd := exec.CommandContext(within(t, longest), cli, args...)
		cmd.Env = pointedAt(t, "", "AWS_EC2_METADATA_DISABLED=true", "AWS_DEFAULT_REGION=us-east-1", relativeURI+"/role/shop-web", "AWS_ENDPOINT_URL="+endpoint)
		return strings.TrimSpace(command(t, cmd))
	}
	bucket := unique("bucket")
	aws("s3api", "create-bucket", "--bucket", bucket)
	if got := aws("s3api", "list-buckets", "--query", "Buckets[].Name", "--output", "text"); got != bucket {
		t.Errorf("the emulator has the buckets %q, want %q", got, bucket)
	}
}

// Without Compose: emulators on the machine itself.
func TestExecLeadsToAnEmulator(t *testing.T) {
	t.Parallel()
	_, cli := pythonClients(t)
	endpoint := sts(t)
	words := append([]string{program(t), "exec", "--role", "shop-web", "--", cli}, whoAmI...)
	run := func(env ...string) string {
		cmd := exec.CommandContext(within(t, longest), words[0], words[1:]...)
		cmd.Env = pointedAt(t, "", env...)
		return strings.TrimSpace(command(t, cmd))
	}
	if got := run("STS_ENDPOINT="+endpoint, "AWS_ENDPOINT_URL="+endpoint, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=testing", "AWS_SECRET_ACCESS_KEY=testing"); !strings.HasPrefix(got, roleOfMoto) {
		t.Errorf("with moto as STS it is %q, want %s…", got, roleOfMoto)
	}
	if got := run("AWS_ENDPOINT_URL=" + endpoint); !strings.HasPrefix(got, "arn:aws:sts::000000000000:assumed-role/shop-web/") {
		t.Errorf("with made-up credentials it is %q, want a session of shop-web by ecs-local's own STS", got)
	}
}
