package plan

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every type of fact that facts.go words is in the catalogue.
func TestTheCatalogueIsComplete(t *testing.T) {
	known := map[string]bool{}
	for _, doc := range EventTypes {
		known[doc.Type] = true
	}
	file, err := parser.ParseFile(token.NewFileSet(), "facts.go", nil, 0)
	require.NoError(t, err)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		var types []ast.Expr
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Type" {
				types = append(types, n.Value)
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "warn" {
				types = append(types, n.Args[0])
			}
		case *ast.ReturnStmt:
			types = n.Results
		}
		for _, e := range types {
			lit, ok := e.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || !strings.HasPrefix(lit.Value, `"`) || lit.Value == `""` {
				continue
			}
			name, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			found++
			require.True(t, known[name], "%s is not in EventTypes", name)
		}
		return true
	})
	require.Greater(t, found, 25)
}
