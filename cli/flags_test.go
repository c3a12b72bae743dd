package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// serveFlags parses a command line and returns the flags of serve by name.
func serveFlags(t *testing.T, args ...string) map[string]*kong.Flag {
	t.Helper()
	parser, err := kong.New(&commands{}, kong.Resolvers(kong.ResolverFunc(metadataPort)))
	if err != nil {
		t.Fatal(err)
	}
	if err := forgetEmpty(parser.Model); err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"serve"}, args...)); err != nil {
		t.Fatalf("serve %q: %v", args, err)
	}
	flags := map[string]*kong.Flag{}
	for _, node := range parser.Model.Children {
		if node.Name != "serve" {
			continue
		}
		for _, flag := range node.Flags {
			flags[flag.Name] = flag
		}
	}
	if len(flags) < 20 {
		t.Fatalf("serve has the flags %v", flags)
	}
	return flags
}

// twoValues returns values that a flag takes and has not by default.
func twoValues(flag *kong.Flag) (one, another string) {
	switch {
	case flag.Name == "isolate-credentials":
		return "false", "true"
	case flag.IsBool():
		return "true", "false"
	case flag.Enum != "":
		var all []string
		for value := range flag.EnumMap() {
			if value != "" && value != flag.Default {
				all = append(all, value)
			}
		}
		if len(all) == 1 {
			return all[0], flag.Default
		}
		return all[0], all[1]
	case flag.Target.Type() == reflect.TypeFor[time.Duration]():
		return "7s", "8s"
	default:
		return "one", "another"
	}
}

func TestEveryFlagOfServeHasAVariable(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, flag := range serveFlags(t) {
		variable := "ECS_LOCAL_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if len(flag.Envs) != 1 || flag.Envs[0] != variable {
			t.Errorf("--%s has the variables %q, want %s", name, flag.Envs, variable)
			continue
		}
		if !strings.Contains(string(page), "`--"+name+"`") {
			t.Errorf("docs/configuration.md does not name --%s", name)
		}
		t.Run(name, func(t *testing.T) {
			shown := func(flag *kong.Flag) string { return fmt.Sprint(flag.Target.Interface()) }
			own := shown(flag)
			one, another := twoValues(flag)
			t.Setenv(variable, one)
			byVariable := shown(serveFlags(t)[name])
			byFlag := shown(serveFlags(t, "--"+name+"="+another)[name])
			t.Setenv(variable, "")
			byEmpty := shown(serveFlags(t)[name])
			if strings.Trim(byVariable, "[]") != one || strings.Trim(byFlag, "[]") != another {
				t.Errorf("%s=%s makes it %s, and --%s=%s %s", variable, one, byVariable, name, another, byFlag)
			}
			if name == "control-listen" {
				own = "" // which turns it off
			}
			if byEmpty != own {
				t.Errorf("%s= makes it %q, want %q", variable, byEmpty, own)
			}
		})
	}
}

// The image sets ECS_LOCAL_LISTEN, so the older variable has to win over it.
func TestThePortOfTheToolItReplaces(t *testing.T) {
	for _, tc := range []struct {
		port, listen string
		args         []string
		want         string
	}{
		{"8080", ":80", nil, ":8080"},
		{"8080", "", nil, "127.0.0.1:8080"},
		{"8080", "[::1]:80", nil, "[::1]:8080"},
		{"8080", ":80", []string{"--listen=:81"}, ":81"},
		{"", ":80", nil, ":80"},
		{"", "", nil, "127.0.0.1:51679"},
	} {
		t.Setenv("ECS_LOCAL_METADATA_PORT", tc.port)
		t.Setenv("ECS_LOCAL_LISTEN", tc.listen)
		if got := serveFlags(t, tc.args...)["listen"].Target.String(); got != tc.want {
			t.Errorf("port %q, listen %q, %q: listens on %q, want %q", tc.port, tc.listen, tc.args, got, tc.want)
		}
	}
}
