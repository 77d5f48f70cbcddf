// Package fielddiff says in which fields two objects differ, the way people name fields: spec.template.spec.containers[web].image. It guarantees:
//
//   - Equal objects have no differences, and the order of the differences is that of the paths.
//   - List entries that carry a name (or another identifying key) are compared with their namesakes, whatever their position.
package fielddiff

import (
	"cmp"
	"fmt"
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

// identifying are the keys by which entries of Kubernetes' lists are told apart (the merge keys of strategic merge patch).
var identifying = []string{"name", "type", "containerPort", "port", "mountPath", "uid", "ip", "key", "topologyKey"}

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
		compare(join(path, key), before[key], after[key], d)
	}
}

// join quotes a key that holds a dot, as label keys do.
func join(path, key string) string {
	switch {
	case strings.ContainsAny(key, "./"):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func compareLists(path string, before, after []any, d *[]Difference) {
	b, okBefore := named(before)
	a, okAfter := named(after)
	if okBefore && okAfter && len(before)+len(after) > 0 {
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

// named files a list's entries under the first identifying key that all have, each with a value of its own.
func named(list []any) (map[string]any, bool) {
	for _, key := range identifying {
		entries := make(map[string]any, len(list))
		for _, entry := range list {
			if m, ok := entry.(map[string]any); ok && m[key] != nil {
				entries[fmt.Sprint(m[key])] = entry
			}
		}
		if len(entries) == len(list) {
			return entries, true
		}
	}
	return nil, false
}
