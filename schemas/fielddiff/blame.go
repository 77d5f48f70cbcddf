package fielddiff

import (
	"maps"
	"reflect"
	"slices"
)

// Blame says of a value, and of every field in it, which change set it last. It never changes.
type Blame struct {
	Mark   uint64 // the change that set the field, or that brought the map or list into being
	fields map[string]*Blame
	items  []*Blame
}

// Blamed returns the blame of after: where it differs from before, of which b tells, it was set by the change that mark names. A nil b knows of nothing before.
func (b *Blame) Blamed(before, after any, mark uint64) *Blame {
	if b == nil {
		return fresh(after, mark)
	}
	switch was := before.(type) {
	case map[string]any:
		if is, ok := after.(map[string]any); ok {
			return b.blameMap(was, is, mark)
		}
	case []any:
		if is, ok := after.([]any); ok {
			return b.blameList(was, is, mark)
		}
	}
	if reflect.DeepEqual(before, after) {
		return b
	}
	return fresh(after, mark)
}

func (b *Blame) blameMap(before, after map[string]any, mark uint64) *Blame {
	out := &Blame{Mark: b.Mark, fields: make(map[string]*Blame, len(after))}
	for key, value := range after {
		out.fields[key] = b.fields[key].Blamed(before[key], value, mark)
	}
	return out
}

func (b *Blame) blameList(before, after []any, mark uint64) *Blame {
	out := &Blame{Mark: b.Mark, items: make([]*Blame, len(after))}
	for i, place := range align(before, after) {
		if place < 0 {
			out.items[i] = fresh(after[i], mark)
			continue
		}
		out.items[i] = b.items[place].Blamed(before[place], after[i], mark)
	}
	return out
}

func fresh(value any, mark uint64) *Blame {
	b := &Blame{Mark: mark}
	switch v := value.(type) {
	case map[string]any:
		b.fields = make(map[string]*Blame, len(v))
		for key, field := range v {
			b.fields[key] = fresh(field, mark)
		}
	case []any:
		for _, item := range v {
			b.items = append(b.items, fresh(item, mark))
		}
	}
	return b
}

// Each calls yield with every field of value that holds no others, in the order in which YAML is written: by key, lists as they are.
func (b *Blame) Each(value any, yield func(path string, value any, mark uint64)) {
	b.each("", value, yield)
}

func (b *Blame) each(path string, value any, yield func(string, any, uint64)) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b.fields[key].each(Join(path, key), v[key], yield)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		names := ItemNames(v)
		for i, item := range v {
			b.items[i].each(path+"["+names[i]+"]", item, yield)
		}
		if len(v) > 0 {
			return
		}
	}
	yield(path, value, b.Mark)
}
