package fielddiff

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// identifying are the keys by which entries of Kubernetes' lists are told apart (the merge keys of strategic merge patch), each with what goes with it where
// the first alone is not enough.
var identifying = [][]string{{"name"}, {"type"}, {"containerPort", "protocol"}, {"port", "protocol"}, {"mountPath"}, {"devicePath"}, {"uid"}, {"ip"},
	{"key", "effect"}, {"topologyKey", "whenUnsatisfiable"}, {"conditionType"}}

// identify finds what tells the entries apart in all of lists.
func identify(lists ...[]any) (keyOf func(entry any) string, ok bool) {
	for _, keys := range identifying {
		for n := range keys {
			keyOf := keyed(keys[:n+1])
			if !slices.ContainsFunc(lists, func(list []any) bool { return !distinct(list, keyOf) }) && slices.ContainsFunc(lists, func(list []any) bool { return len(list) > 0 }) {
				return keyOf, true
			}
		}
	}
	return nil, false
}

// keyed names an entry by its values of keys, "80/UDP"; "" if it lacks the first.
func keyed(keys []string) func(entry any) string {
	return func(entry any) string {
		m, ok := entry.(map[string]any)
		if !ok || m[keys[0]] == nil {
			return ""
		}
		name := fmt.Sprint(m[keys[0]])
		for _, key := range keys[1:] {
			if m[key] != nil {
				name += "/" + fmt.Sprint(m[key])
			}
		}
		return name
	}
}

func distinct(list []any, keyOf func(any) string) bool {
	seen := make(map[string]bool, len(list))
	for _, entry := range list {
		key := keyOf(entry)
		if key == "" || seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
}

func file(list []any, keyOf func(any) string) map[string]any {
	entries := make(map[string]any, len(list))
	for _, entry := range list {
		entries[keyOf(entry)] = entry
	}
	return entries
}

// ItemNames returns what paths call the entries of a list, in its order: their identifying key, or their position.
func ItemNames(list []any) []string {
	names := make([]string, len(list))
	keyOf, ok := identify(list)
	for i, entry := range list {
		if names[i] = strconv.Itoa(i); ok {
			names[i] = keyOf(entry)
		}
	}
	return names
}

// maxAlignment bounds the work of aligning two lists without keys, in comparisons; longer ones are compared by position.
const maxAlignment = 1 << 18

// align returns for each entry of after which of before it was, or -1: its namesake, or, in lists without keys, that of the longest common subsequence; what lies
// between two such entries on both sides is taken to have changed in its place.
func align(before, after []any) []int {
	from := make([]int, len(after))
	if keyOf, ok := identify(before, after); ok {
		places := make(map[string]int, len(before))
		for i, entry := range before {
			places[keyOf(entry)] = i
		}
		for i, entry := range after {
			from[i] = -1
			if place, known := places[keyOf(entry)]; known {
				from[i] = place
			}
		}
		return from
	}
	if len(before)*len(after) > maxAlignment {
		for i := range from {
			if from[i] = i; i >= len(before) {
				from[i] = -1
			}
		}
		return from
	}
	return inPlace(Common(before, after, reflect.DeepEqual), len(before))
}

// Common returns for each entry of after which of before it is in a longest common subsequence, or -1. It takes time and memory for each pair of them.
func Common[T any](before, after []T, same func(a, b T) bool) []int {
	longest := make([][]int32, len(before)+1)
	for i := range longest {
		longest[i] = make([]int32, len(after)+1)
	}
	for i := len(before) - 1; i >= 0; i-- {
		for j := len(after) - 1; j >= 0; j-- {
			if longest[i][j] = max(longest[i+1][j], longest[i][j+1]); same(before[i], after[j]) {
				longest[i][j] = longest[i+1][j+1] + 1
			}
		}
	}
	from := make([]int, len(after))
	for j := range from {
		from[j] = -1
	}
	for i, j := 0, 0; i < len(before) && j < len(after); {
		switch {
		case same(before[i], after[j]):
			from[j] = i
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	return from
}

// inPlace pairs the entries between two common ones, in order.
func inPlace(from []int, before int) []int {
	next := 0 // the first entry of before that nothing is paired with
	for j := 0; j < len(from); {
		if from[j] >= 0 {
			next = from[j] + 1
			j++
			continue
		}
		end, limit := j, before
		for ; end < len(from) && from[end] < 0; end++ {
		}
		if end < len(from) {
			limit = from[end]
		}
		for ; j < end; j++ {
			if next < limit {
				from[j] = next
				next++
			}
		}
	}
	return from
}
