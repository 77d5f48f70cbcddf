// Package house holds the rules of the source tree: who may import whom, who alone may import the heavy libraries, how long a function may be,
// that every package says what it guarantees, and that deciders are pure.
package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module       = "github.com/wakehq/wake/"
	root         = "../.."
	maxFuncLines = 70
)

// source is one Go file of the repository.
type source struct {
	path string // from the root, with slashes
	file *ast.File
	set  *token.FileSet
}

func (s source) dir() string { return path.Dir(s.path) }
func (s source) top() string { top, _, _ := strings.Cut(s.path, "/"); return top }
func (s source) test() bool  { return strings.HasSuffix(s.path, "_test.go") }
func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.set.Position(n.Pos()).Line)
}

func (s source) imports() []string {
	var out []string
	for _, spec := range s.file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			out = append(out, name)
		}
	}
	return out
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	require.NoError(t, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator)))
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && name != root || rel == "bin" || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{path: rel, file: file, set: set})
		return nil
	}))
	require.NotEmpty(t, out)
	return out
}

// mayImport lists, for each top-level folder, which others it may import besides itself.
var mayImport = map[string][]string{
	"schemas":  {},
	"events":   {"schemas"},
	"services": {"schemas", "events"},
	"agent":    {"schemas", "events"},
	"gateway":  {"schemas", "events"},
	"cmd":      {"schemas", "events", "services", "agent", "gateway"},
	"deploy":   {},
	"itest":    {"schemas", "events", "services", "agent", "gateway"},
}

func TestImportsFollowTheDesign(t *testing.T) {
	for _, s := range sources(t) {
		allowed, known := mayImport[s.top()]
		require.True(t, known, "%s: a top-level folder that the design doesn't name", s.path)
		for _, name := range s.imports() {
			rest, own := strings.CutPrefix(name, module)
			if !own {
				continue
			}
			target, _, _ := strings.Cut(rest, "/")
			if target != s.top() && !slices.Contains(allowed, target) {
				t.Errorf("%s imports %s: %s may import only %v", s.path, name, s.top(), allowed)
			}
		}
	}
}

// Services speak through the ledger: one never imports another. The runner and its tests' transcripts are what they share.
func TestServicesDoNotImportEachOther(t *testing.T) {
	for _, s := range sources(t) {
		if s.top() != "services" {
			continue
		}
		own := strings.Split(s.path, "/")[1]
		for _, name := range s.imports() {
			rest, ok := strings.CutPrefix(name, module+"services/")
			if other, _, _ := strings.Cut(rest, "/"); ok && other != own && other != "runner" {
				t.Errorf("%s imports the service %s", s.path, other)
			}
		}
	}
}

// heavy names the only folders that may import a heavy dependency.
var heavy = map[string][]string{
	"k8s.io/kubernetes":        {"schemas"},
	"github.com/nats-io":       {"events"},
	"github.com/docker/docker": {"agent/runtime"},
	"github.com/labstack/echo": {"gateway"},
	"k8s.io/kubectl":           {"cmd/wake"},
	"sigs.k8s.io/knftables":    {"agent/proxy", "agent/network", "agent/policy"},
	"github.com/vishvananda":   {"agent"},
	"github.com/mdlayher":      {"agent/announce"},
	"github.com/coreos":        {"agent/network"},
}

func TestHeavyDependenciesHaveOneImporter(t *testing.T) {
	for _, s := range sources(t) {
		if s.top() == "itest" || s.test() {
			continue
		}
		for _, name := range s.imports() {
			for prefix, homes := range heavy {
				if !strings.HasPrefix(name, prefix) {
					continue
				}
				if !slices.ContainsFunc(homes, func(home string) bool { return s.dir() == home || strings.HasPrefix(s.dir(), home+"/") }) {
					t.Errorf("%s imports %s: only %v may", s.path, name, homes)
				}
			}
		}
	}
}

func TestFunctionsAreShort(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; lines > maxFuncLines {
				t.Errorf("%s: %s has %d lines, at most %d are allowed", s.at(f), f.Name.Name, lines, maxFuncLines)
			}
		}
	}
}

func TestPackagesSayWhatTheyGuarantee(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() && s.top() != "itest" {
			continue
		}
		documented[s.dir()] = documented[s.dir()] || s.file.Doc != nil && len(s.file.Doc.Text()) > 40
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

func TestNamesSayWhatIsInThem(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "misc", "models", "shared"}
	for _, s := range sources(t) {
		for _, part := range strings.Split(strings.TrimSuffix(s.path, ".go"), "/") {
			if slices.Contains(vague, part) {
				t.Errorf("%s: %q names nothing", s.path, part)
			}
		}
	}
}

// impure are the imports that a decider has no use for.
var impure = []string{"context", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "net", "net/http", "os", "sync", "sync/atomic", "runtime", "io"}

func TestDecidersArePure(t *testing.T) {
	seen := 0
	for _, s := range sources(t) {
		if s.test() || !strings.HasPrefix(path.Base(s.path), "decide") || strings.HasPrefix(s.path, "services/runner/") {
			continue
		}
		seen++
		for _, name := range s.imports() {
			if slices.Contains(impure, name) {
				t.Errorf("%s imports %s: a decider is pure", s.path, name)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: a decider is pure", s.at(n))
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer"}, n.Sel.Name) {
					t.Errorf("%s asks the clock: a decider is given the time", s.at(n))
				}
			}
			return true
		})
	}
	require.NotZero(t, seen, "no decider found")
}
