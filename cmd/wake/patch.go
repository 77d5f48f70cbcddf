package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fatih/color"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/schemas/fielddiff"
)

const (
	oneLine       = 60 // the longest value that is shown beside its path, in characters
	widestPath    = 56 // the longest path that others are aligned with, in characters
	contextLines  = 2  // unchanged lines shown around changed ones in a text
	longestBlock  = 400
	unchangedMark = "…"
)

var (
	green  = color.New(color.FgGreen)
	red    = color.New(color.FgRed)
	yellow = color.New(color.FgYellow)
	faint  = color.New(color.Faint)
	bold   = color.New(color.Bold)
	italic = color.New(color.Italic)
)

// patchLines words field changes, one or several lines each: "~ spec.replicas: 3 → 5", and what came or went as a block of YAML.
func patchLines(fields []ledgerapi.Field) []string {
	width := 0
	for _, f := range fields {
		if n := utf8.RuneCountInString(f.Path) + 1; beside(f) && n <= widestPath {
			width = max(width, n)
		}
	}
	var lines []string
	for _, f := range fields {
		lines = append(lines, fieldLines(f, width)...)
	}
	return lines
}

// beside says that a field's values have room on the line of its path.
func beside(f ledgerapi.Field) bool {
	before, okBefore := scalar(f.Before)
	after, okAfter := scalar(f.After)
	return okBefore && okAfter && utf8.RuneCountInString(before)+utf8.RuneCountInString(after) <= 2*oneLine
}

// scalar words a value that fits on a line.
func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case nil:
		return "", true
	case string:
		text := v
		if v == "" || strings.TrimSpace(v) != v {
			text = fmt.Sprintf("%q", v)
		}
		return text, !strings.Contains(v, "\n")
	case map[string]any:
		if len(v) > 0 {
			return "", false
		}
	case []any:
		for _, item := range v {
			if _, ok := item.(map[string]any); ok {
				return "", false
			}
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value), true
	}
	return string(text), len(text) <= oneLine
}

func fieldLines(f ledgerapi.Field, width int) []string {
	path := fmt.Sprintf("%-*s", width, f.Path+":")
	if !beside(f) {
		return blockLines(f)
	}
	before, _ := scalar(f.Before)
	after, _ := scalar(f.After)
	switch {
	case f.Secret && f.Before != nil && f.After != nil:
		return []string{yellow.Sprint("~ ") + path + " " + faint.Sprint("another value (hidden)")}
	case f.Before == nil:
		return []string{green.Sprint("+ " + path + " " + after)}
	case f.After == nil:
		return []string{red.Sprint("- " + path + " " + before)}
	}
	return []string{yellow.Sprint("~ ") + path + " " + red.Sprint(before) + " → " + green.Sprint(after)}
}

// blockLines words a field whose values take several lines.
func blockLines(f ledgerapi.Field) []string {
	switch {
	case f.Before == nil:
		return marked(green, "+", f.Path, yamlLines(f.After))
	case f.After == nil:
		return marked(red, "-", f.Path, yamlLines(f.Before))
	}
	lines := []string{yellow.Sprint("~ ") + f.Path + ":"}
	for _, l := range diffLines(yamlLines(f.Before), yamlLines(f.After)) {
		switch l[0] {
		case '+':
			l = green.Sprint(l)
		case '-':
			l = red.Sprint(l)
		}
		lines = append(lines, l)
	}
	return lines
}

func marked(c *color.Color, mark, path string, block []string) []string {
	lines := []string{c.Sprint(mark + " " + path + ":")}
	for i, l := range block {
		if i == longestBlock {
			return append(lines, faint.Sprintf("%s   … and %d more lines", mark, len(block)-i))
		}
		lines = append(lines, c.Sprint(mark+"   "+l))
	}
	return lines
}

// yamlLines writes a value as YAML; a text as its lines.
func yamlLines(value any) []string {
	if text, ok := value.(string); ok {
		return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	}
	text, err := yaml.Marshal(withoutNulls(value))
	if err != nil {
		return []string{fmt.Sprint(value)}
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// withoutNulls leaves out what is null: it says no more than an absent field.
func withoutNulls(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, field := range v {
			if field != nil {
				out[key] = withoutNulls(field)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = withoutNulls(item)
		}
		return out
	}
	return value
}

// diffLines compares two texts line by line, as "diff -u" words it, without its headers.
func diffLines(before, after []string) []string {
	type line struct {
		mark string
		text string
	}
	var all []line
	kept := keptLines(before, after)
	for i, j := 0, 0; i < len(before) || j < len(after); {
		switch {
		case i < len(before) && kept[i] < 0:
			all = append(all, line{"-", before[i]})
			i++
		case j < len(after) && (i >= len(before) || j < kept[i]):
			all = append(all, line{"+", after[j]})
			j++
		default:
			all = append(all, line{" ", before[i]})
			i, j = i+1, j+1
		}
	}
	near := func(at int) bool {
		for k := max(0, at-contextLines); k <= min(len(all)-1, at+contextLines); k++ {
			if all[k].mark != " " {
				return true
			}
		}
		return false
	}
	var out []string
	for i, l := range all {
		switch {
		case near(i):
			out = append(out, l.mark+"   "+l.text)
		case len(out) == 0 || !strings.HasSuffix(out[len(out)-1], unchangedMark):
			out = append(out, "    "+unchangedMark)
		}
	}
	return out
}

// maxTable bounds the work of comparing two texts, in pairs of lines.
const maxTable = 1 << 22

// keptLines returns for each line of before where it is in after, or -1, by a longest common subsequence.
func keptLines(before, after []string) []int {
	kept := make([]int, len(before))
	for i := range kept {
		kept[i] = -1
	}
	if len(before)*len(after) > maxTable {
		return kept
	}
	for j, i := range fielddiff.Common(before, after, func(a, b string) bool { return a == b }) {
		if i >= 0 {
			kept[i] = j
		}
	}
	return kept
}

// changeCounts counts the fields that came, changed and went.
type changeCounts struct{ added, changed, removed int }

func (c *changeCounts) add(fields []ledgerapi.Field) {
	for _, f := range fields {
		switch {
		case f.Before == nil:
			c.added++
		case f.After == nil:
			c.removed++
		default:
			c.changed++
		}
	}
}

// String gives "+1 ~2 -1", without what is nothing.
func (c changeCounts) String() string {
	var parts []string
	for _, part := range []struct {
		n     int
		mark  string
		color *color.Color
	}{{c.added, "+", green}, {c.changed, "~", yellow}, {c.removed, "-", red}} {
		if part.n > 0 {
			parts = append(parts, part.color.Sprintf("%s%d", part.mark, part.n))
		}
	}
	return strings.Join(parts, " ")
}

// sortedKeys is for maps that are printed.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
