package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// build makes the ecs-local binary, once, and returns its path.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "ecs-local")
	return path, goBuild(repository(), path, ".", "-X main.version=e2e")
})

func goBuild(dir, output, pkg, ldflags string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w "+ldflags, "-o", output, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", pkg, dir, err, out)
	}
	return nil
}

// program returns the path of the ecs-local binary.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// images are those that this process made.
var images struct {
	sync.Mutex
	tags []string
}

func removeLater(tag string) {
	images.Lock()
	images.tags = append(images.tags, tag)
	images.Unlock()
}

// removeImages is for the end of the process.
func removeImages() {
	if len(images.tags) == 0 {
		return
	}
	c, err := engine()
	if err != nil {
		return
	}
	for _, tag := range images.tags {
		if _, err := c.ImageRemove(context.Background(), tag, image.RemoveOptions{Force: true, PruneChildren: true}); err != nil && !errdefs.IsNotFound(err) {
			fmt.Fprintf(os.Stderr, "remove image %s: %v\n", tag, err)
		}
	}
}

// sidecarImage is an image of ecs-local that was made from nothing but the
// binary and the settings of the project's Dockerfile.
var sidecarImage = sync.OnceValues(func() (string, error) {
	path, err := build()
	if err != nil {
		return "", err
	}
	settings, err := imageSettings(filepath.Join(repository(), "Dockerfile"))
	if err != nil {
		return "", err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	c, err := engine()
	if err != nil {
		return "", err
	}
	return importImage(c, "ecs-local", settings, []file{
		{name: strings.TrimPrefix(entrypoint(settings), "/"), mode: 0o755, data: binary},
		{name: "home/", mode: 0o755},
		{name: "tmp/", mode: 0o1777},
	})
})

// probeImage is an image of the probe, under the names of the tools that it
// stands in for too.
var probeImage = sync.OnceValues(func() (string, error) { return probeFor("") })

// awsImage is the probe in the place of the image of the AWS CLI, which can
// do what the examples do with that.
var awsImage = sync.OnceValues(func() (string, error) { return probeFor(`ENTRYPOINT ["/usr/bin/aws"]`) })

// forwarderImage is an image of the probe in the place of another program's,
// which really runs elsewhere.
func forwarderImage(t *testing.T, port, target string) string {
	t.Helper()
	return imageOf(t, func() (string, error) {
		return probeFor(fmt.Sprintf(`CMD ["/probe", "forward", ":%s", %q]`, port, target))
	})
}

// probeFor is an image of the probe, with one more setting unless it is empty.
func probeFor(setting string) (string, error) {
	c, err := engine()
	if err != nil {
		return "", err
	}
	files, err := probeFiles()
	if err != nil {
		return "", err
	}
	settings := slices.Clone(probeSettings)
	if setting != "" {
		settings = append(settings, setting)
	}
	return importImage(c, "probe", settings, files)
}

var probeSettings = []string{"ENV PATH=/usr/bin:/bin", "ENV AWS_EC2_METADATA_DISABLED=true"}

// probeProgram makes the binary of the probe, once, and returns its path.
var probeProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "probe")
	return path, goBuild(filepath.Join(repository(), "e2e"), path, "./probe", "")
})

var probeFiles = sync.OnceValues(func() ([]file, error) {
	path, err := probeProgram()
	if err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read binary: %w", err)
	}
	files := []file{{name: "probe", mode: 0o755, data: binary}, {name: "tmp/", mode: 0o1777}}
	for _, name := range []string{"bin/sh", "usr/bin/aws", "usr/bin/curl", "bin/grep", "bin/sleep", "usr/bin/probe"} {
		files = append(files, file{name: name, link: "/probe"})
	}
	return files, nil
})

func imageOf(t *testing.T, image func() (string, error)) string {
	t.Helper()
	requireDocker(t)
	tag, err := image()
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

// imageSettings returns those instructions of the last stage of a Dockerfile
// that set how the image runs, each on one line.
func imageSettings(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read Dockerfile: %w", err)
	}
	var settings []string
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
		switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.ToUpper(word) {
		case "FROM":
			settings = nil
		case "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR":
			settings = append(settings, strings.TrimSpace(line))
		}
	}
	if entrypoint(settings) == "" {
		return nil, fmt.Errorf("%s: expected an ENTRYPOINT [\"/…\"]", path)
	}
	return settings, nil
}

// entrypoint returns the program of the ENTRYPOINT instruction.
func entrypoint(settings []string) string {
	for _, line := range settings {
		if rest, ok := strings.CutPrefix(line, "ENTRYPOINT"); ok {
			if parts := strings.Split(rest, `"`); len(parts) > 1 {
				return parts[1]
			}
		}
	}
	return ""
}

// A file goes into an image. A name with a slash at its end is a folder.
type file struct {
	name string
	mode int64
	data []byte
	link string
}

// importImage makes an image of one layer that holds these files.
func importImage(c *client.Client, name string, settings []string, files []file) (string, error) {
	archive, err := tarOf(files)
	if err != nil {
		return "", err
	}
	tag := unique(name) + ":latest"
	out, err := c.ImageImport(context.Background(), image.ImportSource{Source: archive, SourceName: "-"}, tag,
		image.ImportOptions{Changes: append(slices.Clone(settings), "LABEL "+labelRun+"="+run)})
	if err != nil {
		return "", fmt.Errorf("import image %s: %w", tag, err)
	}
	answer, err := io.ReadAll(out)
	_ = out.Close()
	if err != nil || bytes.Contains(answer, []byte(`"error"`)) {
		return "", fmt.Errorf("import image %s: %w %s", tag, err, answer)
	}
	removeLater(tag)
	return tag, nil
}

func tarOf(files []file) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write header of %s: %w", f.name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("close archive: %w", err)
	}
	return &b, nil
}
