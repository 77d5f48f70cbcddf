// Package fielddiff says in which fields two objects differ, the way people name fields: spec.template.spec.containers[web].image. It guarantees:
//
//   - Equal objects have no differences, and the order of the differences is that of the paths.
//   - List entries that carry a name (or another identifying key) are compared with their namesakes, whatever their position.
//   - A Blame tells of every field of a value which change set it last. An entry put into a list changes nothing about the others.
//   - A Path is what people write to say which fields they mean; it need not mention lists' entries.
package fielddiff

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Difference is one field that differs. Before or After is nil where the field is absent; both are what encoding/json decodes.
type Difference struct {
	Path          string
	Before, After any
}

// Compare returns the differences between two JSON values.
func Compare(before, after any) []Difference {
	var d []Difference
	compare("", before, after, &d)
	slices.SortStableFunc(d, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return d
}

func compare(path string, before, after any, d *[]Difference) {
	switch b := before.(type) {
	case map[string]any:
		if a, ok := after.(map[string]any); ok {
			compareMaps(path, b, a, d)
			return
		}
	case []any:
		if a, ok := after.([]any); ok {
			compareLists(path, b, a, d)
			return
		}
	}
	if !reflect.DeepEqual(before, after) {
		*d = append(*d, Difference{Path: path, Before: before, After: after})
	}
}

func compareMaps(path string, before, after map[string]any, d *[]Difference) {
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		compare(Join(path, key), before[key], after[key], d)
	}
}

// Join appends a key to a path; it quotes a key that holds a dot, as label keys do.
func Join(path, key string) string {
	switch {
	case strings.ContainsAny(key, "./"):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func compareLists(path string, before, after []any, d *[]Difference) {
	if keyOf, ok := identify(before, after); ok {
		b, a := file(before, keyOf), file(after, keyOf)
		keys := maps.Clone(b)
		maps.Copy(keys, a)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			compare(path+"["+key+"]", b[key], a[key], d)
		}
		return
	}
	for i := range max(len(before), len(after)) {
		compare(path+"["+strconv.Itoa(i)+"]", at(before, i), at(after, i), d)
	}
}

func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}
