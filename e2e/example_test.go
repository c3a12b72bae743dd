package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
)

// example brings up the project's example Compose file as it stands, but for
// the images, which cannot be pulled here.
func example(t *testing.T, c *client.Client) project {
	t.Helper()
	p := exampleOf(t, c, "docker-compose.example.yml", map[string]string{"ecs-local": imageOf(t, sidecarImage), "app": imageOf(t, probeImage)})
	p.compose(t, "up", "--detach")
	searchExampleLater(t, c, p)
	return p
}

// exampleOf returns the project of a file that has the network ecs-local, as
// it stands, but for the images of its services.
func exampleOf(t *testing.T, c *client.Client, file string, images map[string]string) project {
	t.Helper()
	lockAddresses(t)
	eventually(t, time.Minute, func() error {
		_, err := c.NetworkInspect(context.Background(), "ecs-local", network.InspectOptions{})
		if errdefs.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("a network ecs-local is there already (%w): end the Compose project that made it", err)
	})
	override := "services:\n"
	for service, image := range images {
		override += fmt.Sprintf("  %s: {image: %q}\n", service, image)
	}
	return newProject(t, nil, file, written(t, "images.yml", override))
}

// searchExampleLater is searchSidecarLater for the side-car of an example.
func searchExampleLater(t *testing.T, c *client.Client, p project) {
	t.Helper()
	searchSidecarLater(t, c, p.one(t, c, "ecs-local"), "http://"+ecsAddress+":51680")
}

// section returns the lines that an example's application wrote under a title.
func section(t *testing.T, text, title string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, title+"\n")
	if !ok {
		t.Fatalf("the application did not write %q:\n%s", title, text)
	}
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func good(body string) answer {
	return answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
}

func TestExampleComposeFileComesUpAndShowsMetadataAndCredentials(t *testing.T) {
	c := requireDocker(t)
	p := example(t, c)
	app, side := p.one(t, c, "app"), p.one(t, c, "ecs-local")
	if code, err := ended(within(t, longest), c, app); err != nil || code != 0 {
		t.Fatalf("the application ended with %d, %v\n%s", code, err, logs(t, c, app))
	}
	text := logs(t, c, app)

	t.Run("the application sees itself, its task and a key", func(t *testing.T) {
		if got := document[containerDocument](t, good(section(t, text, "My metadata:"))); got.DockerID != app || got.Name != "app" {
			t.Errorf("got container %s called %q, want %s called app", got.DockerID, got.Name, app)
		}
		task := document[taskDocument](t, good(section(t, text, "My task:")))
		if diff := cmp.Diff(map[string]bool{app: true}, task.ids()); diff != "" {
			t.Errorf("containers of the task (-want +got):\n%s", diff)
		}
		if key := section(t, text, "My credentials (without the secrets):"); !strings.HasPrefix(key, `"AccessKeyId":"A`) {
			t.Errorf("got %q, want an access key id", key)
		}
		if strings.Contains(text, "SecretAccessKey") || strings.Contains(text, `"Token"`) {
			t.Error("the example's log shows secrets")
		}
	})
	t.Run("a container without any setting reaches all three addresses", func(t *testing.T) {
		plain := startProbe(t, c, spec{networks: []attachment{{network: "ecs-local"}}})
		if err := plain.own(sidecar{url: "http://" + ecsAddress}); err != nil {
			t.Error(err)
		}
		// It is ecs-local that answers there: a plain 404, not a time-out.
		if a := plain.get(t, "http://"+imdsAddress+"/creds"); a.Status != http.StatusNotFound {
			t.Errorf("http://%s/creds: got status %d, want 404", imdsAddress, a.Status)
		}
		const pods = "http://" + podsAddress
		if a := plain.get(t, pods+"/creds"); a.Status != http.StatusNotFound {
			t.Errorf("%s/creds: got status %d, want 404", pods, a.Status)
		}
		if a := plain.get(t, pods+"/v1/credentials"); a.Status != http.StatusBadRequest || a.Body != "Service account token cannot be empty\n" {
			t.Errorf("%s/v1/credentials without a token: got status %d, %q", pods, a.Status, a.Body)
		}
	})
	t.Run("a container with a task role gets it at the address of Pod Identity", func(t *testing.T) {
		pod := startProbe(t, c, spec{networks: []attachment{{network: "ecs-local"}}, labels: map[string]string{
			"com.docker.compose.project": unique("pod"), "ecs-local.task-role": "shop-web",
		}})
		a := pod.asked(t, http.MethodGet, "http://"+podsAddress+"/v1/credentials", http.Header{"Authorization": {"local"}})
		got := document[struct {
			credentialsDocument
			AccountID string `json:"AccountId"`
		}](t, a)
		if got.AccessKeyID == "" || got.SecretAccessKey == "" || got.Token == "" || got.AccountID != "000000000000" {
			t.Errorf("got account %q; want key, secret and token, in the account 000000000000", got.AccountID)
		}
	})
	t.Run("the side-car runs without capabilities and cannot write", func(t *testing.T) {
		info, err := c.ContainerInspect(within(t, longest), side)
		if err != nil {
			t.Fatalf("inspect container: %v", err)
		}
		if !info.HostConfig.ReadonlyRootfs || len(info.HostConfig.CapDrop) == 0 || info.HostConfig.Privileged {
			t.Errorf("got read-only %t, dropped %v", info.HostConfig.ReadonlyRootfs, info.HostConfig.CapDrop)
		}
		if info.State.Health == nil || info.State.Health.Status != "healthy" {
			t.Errorf("got health %+v, want healthy", info.State.Health)
		}
	})
}

func TestSecondComposeProjectSharesTheSidecarAndIsATaskOfItsOwn(t *testing.T) {
	c := requireDocker(t)
	first := example(t, c)
	override := written(t, "images.yml", fmt.Sprintf("services: {report: {image: %q}}\n", imageOf(t, probeImage)))
	second := newProject(t, nil, "docs/examples/second-project.yml", override)
	second.compose(t, "up", "--detach")

	report, app := second.one(t, c, "report"), first.one(t, c, "app")
	if code, err := ended(within(t, longest), c, report); err != nil || code != 0 {
		t.Fatalf("the application ended with %d, %v\n%s", code, err, logs(t, c, report))
	}
	theirs := document[taskDocument](t, good(section(t, logs(t, c, report), "My task:")))
	if diff := cmp.Diff(map[string]bool{report: true}, theirs.ids()); diff != "" {
		t.Errorf("the second project's task (-want +got):\n%s", diff)
	}
	if theirs.Family != second.name {
		t.Errorf("got family %q, want the project's name %q", theirs.Family, second.name)
	}

	// The first project asks again, now that the second is there.
	start(t, c, app)
	if code, err := ended(within(t, longest), c, app); err != nil || code != 0 {
		t.Fatalf("the application ended with %d, %v\n%s", code, err, logs(t, c, app))
	}
	runs := strings.Split(logs(t, c, app), "My metadata:")
	ours := document[taskDocument](t, good(section(t, runs[len(runs)-1], "My task:")))
	if diff := cmp.Diff(map[string]bool{app: true}, ours.ids()); diff != "" {
		t.Errorf("the first project's task (-want +got):\n%s", diff)
	}
	if ours.TaskARN == theirs.TaskARN {
		t.Errorf("both tasks have the ARN %s", ours.TaskARN)
	}
}
