package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/local"
	localconfig "github.com/ecs-local/ecs-local/local/config"
	"github.com/ecs-local/ecs-local/local/imds"
)

// The example in docs/imds.md is a configuration that is accepted as it is,
// and the page names every key.
func TestTheInstanceIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "docs", "imds.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("no example")
	}
	file, err := localconfig.Parse("docs/imds.md", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := instanceConfig("", file.IMDS, local.Facts{}); len(problems) > 0 {
		t.Error(problems)
	}

	const unknown = "unknown unknown unknown"
	_, problems := imds.Decode(map[string]any{unknown: "", "instance": map[string]any{unknown: ""}})
	if len(problems) != 2 {
		t.Fatal(problems)
	}
	for _, p := range problems {
		_, keys, _ := strings.Cut(p.Msg, "the keys here are ")
		for key := range strings.SplitSeq(keys, ", ") {
			if !regexp.MustCompile("(?m)^ *(# )?" + key + ":|`" + key + "`").Match(page) {
				t.Errorf("docs/imds.md does not name %q", key)
			}
		}
	}
}
