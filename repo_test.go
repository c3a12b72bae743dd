package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/ecs-local/ecs-local"

// pkg is what go list says of a package of this module. Tests do not count.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string // everything it imports, and what that imports
}

// rel is the package's path within the module; "." for the root.
func (p pkg) rel() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./...")
	cmd.Env = append(os.Environ(), "GOOS=linux") // where nothing is left out
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var p pkg
		if err := decoder.Decode(&p); err != nil {
			t.Fatalf("decode the output of go list: %v", err)
		}
		all = append(all, p)
	}
	return all
}

// layer says which packages of ours one package may import, and why no others.
type layer struct {
	pkg    string
	may    []string
	reason string
}

var layers = []layer{
	{".", []string{"cli"}, "main only hands over to cli"},
	{"cli", []string{"handlers", "local", "local/authority", "local/config", "local/creds", "local/docker", "local/fault", "local/imds", "local/imdsclient", "local/metadata", "local/metadatafile", "local/netfault", "local/protection", "local/scan"}, "cli wires everything; nothing is beside it"},
	{"imdstest", []string{"handlers", "local", "local/imds"}, "imdstest is the service for other programs' tests: it joins handler and instance, as cli does"},
	{"handlers", []string{"local", "local/fault", "local/imds", "local/metadata", "local/protection"}, "handlers ask small interfaces: cli hands in what implements them"},
	{"local", nil, "local is the words and the rules; everything else builds on it"},
	{"local/authority", nil, "the authority signs what it is asked to: who may ask is handed in"},
	{"local/config", []string{"local"}, "what reads the outside world meets only in cli"},
	{"local/creds", []string{"local"}, "what reads the outside world meets only in cli"},
	{"local/docker", []string{"local"}, "what reads the outside world meets only in cli"},
	{"local/docker/dockertest", nil, "the engine of the tests speaks HTTP, as the real one does, and knows nothing of ours"},
	{"local/fault", []string{"local"}, "what makes a fault real is handed in"},
	{"local/imds", []string{"local"}, "the instance is a value: what comes from outside is handed in"},
	{"local/imdsclient", []string{"local"}, "the client knows no server of ours: it talks to real instances too"},
	{"local/netfault", []string{"local", "local/fault"}, "it makes real what package fault describes"},
	{"local/scan", []string{"local"}, "what reads the outside world meets only in cli"},
	{"local/metadata", []string{"local"}, "documents are made of local values and nothing else"},
	{"local/metadatafile", []string{"local"}, "the file is made of local values; the snapshots come from cli"},
	{"local/protection", []string{"local"}, "protection is kept in memory and calls nobody"},
}

// keeper is the only package of ours, with those below it, that may import a
// library.
type keeper struct{ library, pkg, reason string }

var keepers = []keeper{
	{"github.com/docker/docker", "local/docker", "then another Docker client is one package's work"},
	{"github.com/google/nftables", "local/netfault", "the network of a container is changed in one place, which knows what must not be cut off"},
	{"github.com/vishvananda/netlink", "local/netfault", "the network of a container is changed in one place, which knows what must not be cut off"},
	{"github.com/vishvananda/netns", "local/netfault", "a thread in another namespace harms whoever runs on it next"},
	{"github.com/aws/aws-sdk-go-v2/config", "local/creds", "base credentials are found in one place, which never finds ecs-local itself"},
	{"github.com/aws/aws-sdk-go-v2/service/sts", "local/creds", "every call of STS is cached, and made once for all who wait for it"},
}

// beyond is what package local does not reach, not even by way of others.
var beyond = map[string]string{
	"net/http":                 "HTTP belongs to handlers",
	"github.com/docker/docker": "Docker belongs to local/docker",
	"github.com/aws":           "AWS belongs to local/creds",
	"go.yaml.in/yaml/v3":       "YAML belongs to local/config",
}

// within reports whether path is pkg or below it.
func within(path, pkg string) bool { return path == pkg || strings.HasPrefix(path, pkg+"/") }

// brokenRules lists imports that are not allowed, packages without a rule, and
// rules about packages that do not exist, so that the rules cannot rot.
func brokenRules(all []pkg, layers []layer, keepers []keeper, beyond map[string]string) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	exists := func(name string) bool {
		return slices.ContainsFunc(all, func(p pkg) bool { return p.rel() == name })
	}
	used := func(library string) bool {
		return slices.ContainsFunc(all, func(p pkg) bool {
			return slices.ContainsFunc(p.Deps, func(dep string) bool { return within(dep, library) })
		})
	}
	for _, l := range layers {
		for _, name := range append([]string{l.pkg}, l.may...) {
			if !exists(name) {
				report("the layer of %s names package %s, which does not exist: remove it there", l.pkg, name)
			}
		}
	}
	for _, k := range keepers {
		if !exists(k.pkg) {
			report("the keeper of %s is package %s, which does not exist", k.library, k.pkg)
		}
		if !used(k.library) {
			report("nothing uses %s any more: remove it from keepers", k.library)
		}
	}
	for library := range beyond {
		if !used(library) {
			report("nothing uses %s any more: remove it from beyond", library)
		}
	}
	for _, p := range all {
		i := slices.IndexFunc(layers, func(l layer) bool { return l.pkg == p.rel() })
		if i < 0 {
			report("package %s has no layer: add one, with a reason", p.rel())
			continue
		}
		for _, imported := range p.Imports {
			if own, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.Contains(layers[i].may, own) {
				report("%s must not import %s: %s", p.rel(), own, layers[i].reason)
			}
			for _, k := range keepers {
				if within(imported, k.library) && !within(p.rel(), k.pkg) {
					report("%s must not import %s, only %s may: %s", p.rel(), imported, k.pkg, k.reason)
				}
			}
		}
		if p.rel() != "local" {
			continue
		}
		for library, reason := range beyond {
			if slices.ContainsFunc(p.Deps, func(dep string) bool { return within(dep, library) }) {
				report("local must not reach %s: %s", library, reason)
			}
		}
	}
	slices.Sort(problems)
	return problems
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, problem := range brokenRules(packages(t), layers, keepers, beyond) {
		t.Error(problem)
	}
}

// The rules must notice what they are for.
func TestImportRulesNotice(t *testing.T) {
	t.Parallel()
	all := []pkg{
		{ImportPath: module, Imports: []string{module + "/local"}, Deps: []string{"example.com/library/sub"}},
		{ImportPath: module + "/local", Imports: []string{"example.com/library/sub"}, Deps: []string{"example.com/library/sub"}},
		{ImportPath: module + "/new"},
	}
	got := brokenRules(all,
		[]layer{{".", []string{"cli"}, "so it is"}, {"local", nil, ""}},
		[]keeper{{"example.com/library", ".", "so it is"}, {"example.com/unused", "gone", ""}},
		map[string]string{"example.com/library": "so it is", "example.com/gone": ""})
	want := []string{
		". must not import local: so it is",
		"local must not import example.com/library/sub, only . may: so it is",
		"local must not reach example.com/library: so it is",
		"nothing uses example.com/gone any more: remove it from beyond",
		"nothing uses example.com/unused any more: remove it from keepers",
		"package new has no layer: add one, with a reason",
		"the keeper of example.com/unused is package gone, which does not exist",
		"the layer of . names package cli, which does not exist: remove it there",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("got other problems (-want +got):\n%s", diff)
	}
}

// Configuration comes in at one place. What else reads the environment works
// differently in a test, and nobody sees why.
func TestOnlyCLIReadsTheEnvironment(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.rel() == "cli" {
			continue
		}
		for _, name := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range readsEnvironment(t, path.Join(p.rel(), name), source) {
				t.Errorf("%s: only cli reads the environment: take it as an argument", at)
			}
		}
	}
}

// readsEnvironment returns where a file reads environment variables.
func readsEnvironment(t *testing.T, name string, source []byte) (at []string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	readers := map[string]bool{} // the names by which the file knows os and syscall
	for _, spec := range file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		if imported != "os" && imported != "syscall" {
			continue
		}
		if spec.Name != nil {
			imported = spec.Name.Name
		}
		readers[imported] = true
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		from, ok := selector.X.(*ast.Ident)
		if ok && readers[from.Name] && slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, selector.Sel.Name) {
			at = append(at, files.Position(n.Pos()).String())
		}
		return true
	})
	return at
}

func TestReadsEnvironment(t *testing.T) {
	t.Parallel()
	const source = `package x

import (
	system "os"
	"syscall"
)

var (
	a = system.Getenv("A")
	b = system.Environ
	c, _ = syscall.Getenv("C")
	d = system.Getpid()
)
`
	want := []string{"x.go:9:6", "x.go:10:6", "x.go:11:9"}
	if diff := cmp.Diff(want, readsEnvironment(t, "x.go", []byte(source))); diff != "" {
		t.Errorf("got other places (-want +got):\n%s", diff)
	}
}

// goFiles returns the Go files of every folder of the repository, by folder.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (slices.Contains([]string{"bin", "build", "dist", "testdata"}, name) || len(name) > 1 && strings.HasPrefix(entry.Name(), ".")) {
			return filepath.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".go") {
			found[filepath.ToSlash(filepath.Dir(name))] = append(found[filepath.ToSlash(filepath.Dir(name))], name)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk the repository: %v", err)
	}
	return found
}

func TestOnePackageComment(t *testing.T) {
	t.Parallel()
	folders := goFiles(t)
	if len(folders["local"]) == 0 {
		t.Fatalf("found no Go files in local, but folders %v", folders)
	}
	for folder, names := range folders {
		var with []string
		for _, name := range names {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				with = append(with, name)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s: want one file with a package comment, got %d %v", folder, len(with), with)
		}
	}
}

// A feature is a line of FEATURES.md that names what proves it, so nobody can
// list a feature that does not exist.
func TestFeatures(t *testing.T) {
	t.Parallel()
	repository := os.DirFS(".")
	text, err := fs.ReadFile(repository, "FEATURES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range badFeatures(repository, string(text)) {
		t.Error(problem)
	}
}

var (
	featureLine = regexp.MustCompile(`^- (\S.*) — (\S+|script \S+\.txtar) \(([^()]+)\)$`)
	testName    = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)\w*$`)
	link        = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
)

// badFeatures returns what is wrong with the text of FEATURES.md: every line of
// a list is "- text — TestName (folder)", or "- text — script name.txtar
// (testdata/script)"; the test exists there, and so do the pages that the
// text links to.
func badFeatures(repository fs.FS, text string) (problems []string) {
	features := 0
	number := 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		number++
		report := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("FEATURES.md:%d: ", number)+fmt.Sprintf(format, args...))
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			if _, err := fs.Stat(repository, path.Clean(m[1])); err != nil {
				report("%s does not exist", m[1])
			}
		}
		if !strings.HasPrefix(strings.TrimSpace(line), "-") {
			continue
		}
		features++
		m := featureLine.FindStringSubmatch(line)
		if m == nil {
			report("want \"- text — TestName (folder)\", got %q", line)
			continue
		}
		proof, folder := m[2], path.Clean(m[3])
		if script, ok := strings.CutPrefix(proof, "script "); ok {
			if _, err := fs.Stat(repository, path.Join(folder, script)); err != nil {
				report("there is no script %s in %s", script, folder)
			}
			continue
		}
		if !testName.MatchString(proof) {
			report("%q is not the name of a test", proof)
			continue
		}
		switch found, err := hasTest(repository, folder, proof); {
		case err != nil:
			report("%v", err)
		case !found:
			report("there is no %s in %s", proof, folder)
		}
	}
	if features == 0 {
		problems = append(problems, "FEATURES.md lists no feature")
	}
	return problems
}

// docs/agent-checks.md lists the checks of the agent's tests, all of them, and
// for each one what proves it or why it cannot be.
func TestAgentChecks(t *testing.T) {
	t.Parallel()
	repository := os.DirFS(".")
	text, err := fs.ReadFile(repository, "docs/agent-checks.md")
	if err != nil {
		t.Fatal(err)
	}
	const all = 25
	for _, problem := range badChecks(repository, string(text), all) {
		t.Error(problem)
	}
}

var (
	checkLine = regexp.MustCompile(`^\| (\d+) \| ([^|]+) \| ([^|]*)\| ([^|]*)\|$`)
	proof     = regexp.MustCompile("^`(\\w+)` \\(([^()]+)\\)$")
)

// badChecks returns what is wrong with a table of checks: its lines have the
// numbers from 1 to all, and each one has tests that exist, as
// "`TestName` (folder), …", or a reason in the last column.
func badChecks(repository fs.FS, text string, all int) (problems []string) {
	next := 1
	for line := range strings.Lines(text) {
		m := checkLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		report := func(format string, args ...any) {
			problems = append(problems, "check "+m[1]+": "+fmt.Sprintf(format, args...))
		}
		if m[1] != fmt.Sprint(next) {
			report("want number %d", next)
		}
		next++
		proofs, reason := strings.TrimSpace(m[3]), strings.TrimSpace(m[4])
		if proofs == "" {
			if reason == "" {
				report("no test and no reason")
			}
			continue
		}
		for _, one := range strings.Split(proofs, ", ") {
			p := proof.FindStringSubmatch(one)
			if p == nil || !testName.MatchString(p[1]) {
				report("want \"`TestName` (folder)\", got %q", one)
				continue
			}
			switch found, err := hasTest(repository, path.Clean(p[2]), p[1]); {
			case err != nil:
				report("%v", err)
			case !found:
				report("there is no %s in %s", p[1], p[2])
			}
		}
	}
	if next != all+1 {
		problems = append(problems, fmt.Sprintf("%d checks, want %d", next-1, all))
	}
	return problems
}

func TestBadChecksAreNoticed(t *testing.T) {
	t.Parallel()
	repository := fstest.MapFS{"local/a_test.go": {Data: []byte("package local\n\nfunc TestA(t *testing.T) {}\n")}}
	for _, test := range []struct {
		name string
		text string
		want []string
	}{
		{"all in order", "| 1 | a | `TestA` (local) | |\n| 2 | b | | it cannot be |\n", nil},
		{"some are missing", "| 1 | a | `TestA` (local) | |\n", []string{"1 checks, want 2"}},
		{"a number is missing", "| 1 | a | `TestA` (local) | |\n| 3 | b | | it cannot be |\n", []string{"check 3: want number 2"}},
		{"neither a test nor a reason", "| 1 | a | `TestA` (local) | |\n| 2 | b | | |\n", []string{"check 2: no test and no reason"}},
		{"a test that does not exist", "| 1 | a | `TestA` (local), `TestB` (local) | |\n| 2 | b | | it cannot be |\n", []string{"check 1: there is no TestB in local"}},
		{"no folder", "| 1 | a | `TestA` | |\n| 2 | b | | it cannot be |\n", []string{"check 1: want \"`TestName` (folder)\", got \"`TestA`\""}},
		{"no test's name", "| 1 | a | `A` (local) | |\n| 2 | b | | it cannot be |\n", []string{"check 1: want \"`TestName` (folder)\", got \"`A` (local)\""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, badChecks(repository, test.text, 2)); diff != "" {
				t.Errorf("got other problems (-want +got):\n%s", diff)
			}
		})
	}
}

// hasTest reports whether the test files of a folder declare the function.
func hasTest(repository fs.FS, folder, name string) (bool, error) {
	files, err := fs.Glob(repository, path.Join(folder, "*_test.go"))
	if err != nil {
		return false, fmt.Errorf("list test files: %w", err)
	}
	for _, file := range files {
		source, err := fs.ReadFile(repository, file)
		if err != nil {
			return false, fmt.Errorf("read test file: %w", err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
		if err != nil {
			return false, fmt.Errorf("parse test file: %w", err)
		}
		for _, declared := range parsed.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == name {
				return true, nil
			}
		}
	}
	return false, nil
}

func TestBadFeaturesAreNoticed(t *testing.T) {
	t.Parallel()
	repository := fstest.MapFS{
		"docs/config.md":           {},
		"testdata/script/a.txtar":  {},
		"local/a_test.go":          {Data: []byte("package local\n\nfunc TestA(t *testing.T) {}\n\nfunc (x) TestMethod() {}\n")},
		"local/a.go":               {Data: []byte("package local\n\nfunc TestNot() {}\n")},
		"e2e/e2e_test.go":          {Data: []byte("package e2e\n\nfunc FuzzE(f *testing.F) {}\n")},
		"main_test.go":             {Data: []byte("package main\n\nfunc ExampleX() {}\n")},
		"local/docker/nil_test.go": {Data: []byte("package docker\n")},
	}
	for _, test := range []struct {
		name string
		text string
		want []string
	}{
		{"all in order", "# Features\n\nSee [the file](docs/config.md#top) and [AWS](https://aws.amazon.com).\n\n- it works — TestA (local)\n- more — FuzzE (e2e)\n- text — ExampleX (.)\n- a script — script a.txtar (testdata/script)\n", nil},
		{"no feature", "# Features\n", []string{"FEATURES.md lists no feature"}},
		{"no test", "- it works\n", []string{`FEATURES.md:1: want "- text — TestName (folder)", got "- it works"`}},
		{"another dash", "- it works - TestA (local)\n", []string{`FEATURES.md:1: want "- text — TestName (folder)", got "- it works - TestA (local)"`}},
		{"a list in a list", "  - it works — TestA (local)\n", []string{`FEATURES.md:1: want "- text — TestName (folder)", got "  - it works — TestA (local)"`}},
		{"a test that does not exist", "\n- it works — TestB (local)\n", []string{"FEATURES.md:2: there is no TestB in local"}},
		{"a test of another folder", "- it works — TestA (local/docker)\n", []string{"FEATURES.md:1: there is no TestA in local/docker"}},
		{"a function outside test files", "- it works — TestNot (local)\n", []string{"FEATURES.md:1: there is no TestNot in local"}},
		{"a method", "- it works — TestMethod (local)\n", []string{"FEATURES.md:1: there is no TestMethod in local"}},
		{"something else than a test", "- it works — local.A (local)\n", []string{`FEATURES.md:1: "local.A" is not the name of a test`}},
		{"a script that does not exist", "- it works — script b.txtar (testdata/script)\n", []string{"FEATURES.md:1: there is no script b.txtar in testdata/script"}},
		{"a page that does not exist", "- see [it](docs/none.md) — TestA (local)\n", []string{"FEATURES.md:1: docs/none.md does not exist"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, badFeatures(repository, test.text)); diff != "" {
				t.Errorf("got other problems (-want +got):\n%s", diff)
			}
		})
	}
}
