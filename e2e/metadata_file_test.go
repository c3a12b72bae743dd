package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// The file that a container finds in a directory which it shares with
// ecs-local: complete once it runs, anew after a restart, gone with it.
func TestContainerFindsItsMetadataFile(t *testing.T) {
	t.Parallel()
	c := requireDocker(t)
	net, _ := newNetwork(t, c)
	shared := freeDir(t)
	web := filepath.Join(shared, "web")
	if err := errors.Join(os.Mkdir(web, 0o777), os.Chmod(shared, 0o777), os.Chmod(web, 0o777)); err != nil {
		t.Fatalf("make folder: %v", err)
	}
	startSidecar(t, c, spec{
		networks: []attachment{{network: net}},
		env:      []string{"ECS_LOCAL_METADATA_FILE_ROOT=/metadata"},
		host:     container.HostConfig{Binds: []string{shared + ":/metadata"}},
	})
	const folder = "/opt/ecs/metadata/web"
	app := startProbe(t, c, spec{
		networks: []attachment{{network: net}},
		env:      []string{"ECS_CONTAINER_METADATA_FILE=" + folder + "/ecs-container-metadata.json"},
		labels:   map[string]string{"ecs-local.metadata-file": "/metadata/web"},
		host:     container.HostConfig{Binds: []string{web + ":" + folder + ":ro"}},
	})

	type file struct {
		ContainerID, ContainerName, DockerContainerName, ImageID, ImageName, MetadataFileStatus string
		Networks                                                                                []struct {
			NetworkMode   string
			IPv4Addresses []string
		}
	}
	path := filepath.Join(web, "ecs-container-metadata.json")
	complete := func() (f file, err error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return f, fmt.Errorf("read the file: %w", err)
		}
		if err := json.Unmarshal(text, &f); err != nil {
			return f, fmt.Errorf("decode the file: %w", err)
		}
		if f.MetadataFileStatus != "READY" {
			return f, fmt.Errorf("the status is %q", f.MetadataFileStatus)
		}
		return f, nil
	}
	var got file
	eventually(t, longest, func() (err error) { got, err = complete(); return err })
	info, err := c.ContainerInspect(within(t, longest), app.id)
	if err != nil {
		t.Fatalf("inspect container: %v", err)
	}
	if got.ContainerID != app.id || got.DockerContainerName != info.Name || got.ImageID != info.Image || got.ImageName != info.Config.Image {
		t.Errorf("the file is about another container: %+v", got)
	}
	if len(got.Networks) != 1 || got.Networks[0].NetworkMode != net || len(got.Networks[0].IPv4Addresses) != 1 ||
		got.Networks[0].IPv4Addresses[0] != info.NetworkSettings.Networks[net].IPAddress {
		t.Errorf("networks are %+v", got.Networks)
	}
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o644 {
		t.Errorf("the file has mode %v (%v), want 0644", stat.Mode(), err)
	}

	remove(t, c, app.id)
	eventually(t, longest, func() error {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the container is gone and its file is still there (%w)", err)
		}
		return nil
	})
}
