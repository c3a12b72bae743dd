package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local/imdsclient"
	"github.com/ecs-local/ecs-local/local/scan"
)

// imdsDumpCommand is "ecs-local imds dump".
type imdsDumpCommand struct {
	imdsFlags
	Format      string  `enum:"yaml,json" default:"yaml" help:"yaml or json."`
	Credentials bool    `negatable:"" help:"Write keys, tokens and the signatures of the identity document, too. User data is always written."`
	Rate        float64 `default:"50" help:"Requests a second (${default})."`
}

const dumpHeader = "# Instance metadata, written by \"ecs-local imds dump\". Replay it: ecs-local serve --config FILE\n"

// The signatures of the identity document prove who an instance is, which some
// services take for a login.
var signatures = regexp.MustCompile(`/dynamic/instance-identity/(signature|pkcs7|rsa2048)$`)

// Run walks the tree and writes a configuration file that makes the same one.
func (c imdsDumpCommand) Run(ctx context.Context, env environment) error {
	if c.Rate <= 0 {
		return misuse{fmt.Errorf("--rate %v: give a number above 0", c.Rate)}
	}
	client, err := c.client(ctx, env)
	if err != nil {
		return err
	}
	options := imdsclient.WalkOptions{Rate: rate.Limit(c.Rate)}
	if !c.Credentials {
		options.Skip = func(path string) bool { return imdsclient.Secret(path) || signatures.MatchString(path) }
	}
	found, err := client.Walk(ctx, "/latest", options)
	if err != nil {
		return said(err)
	}
	section, lost, err := replayable(newTree(found))
	if err != nil {
		return err
	}
	if err := writeConfig(env.stdout, c.Format, map[string]any{"imds": section}); err != nil {
		return err
	}
	for _, path := range found.Missing {
		fmt.Fprintf(env.stderr, "ecs-local: %s is listed but cannot be read (404): it is left out\n", scan.Printable(path))
	}
	for _, path := range lost {
		fmt.Fprintf(env.stderr, "ecs-local: no replay can have %s: it is left out\n", scan.Printable(path))
	}
	return nil
}

// newTree takes what a walk of /latest has found.
func newTree(found *imdsclient.Tree) tree {
	t := tree{values: map[string]string{}}
	for _, leaf := range found.Leaves {
		t.values[strings.TrimPrefix(leaf.Path, "/latest/")] = string(leaf.Value)
	}
	for _, path := range found.Skipped {
		t.hidden = append(t.hidden, strings.TrimPrefix(path, "/latest/"))
	}
	return t
}

// writeConfig writes a configuration with its keys sorted.
func writeConfig(w io.Writer, format string, document map[string]any) error {
	if format == "json" {
		if !valid(document) {
			return errors.New("JSON cannot hold user data or values that are not UTF-8: use --format yaml")
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(document)
	}
	var text bytes.Buffer
	text.WriteString(dumpHeader)
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(document), e.Close()); err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	_, err := w.Write(text.Bytes())
	return err
}

// valid reports whether all text is UTF-8.
func valid(v any) bool {
	switch v := v.(type) {
	case string:
		return utf8.ValidString(v)
	case []any:
		return !slices.ContainsFunc(v, func(v any) bool { return !valid(v) })
	case map[string]any:
		return !slices.ContainsFunc(slices.Collect(maps.Values(v)), func(v any) bool { return !valid(v) })
	default:
		return true
	}
}
