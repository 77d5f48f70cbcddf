package ledgerapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas/fielddiff"
)

// Field is a field that differs. Before or After is absent where the field is; both are JSON values.
type Field struct {
	Path   string `json:"path"`
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	Secret bool   `json:"secret,omitempty"` // the values are not told: they are the word hidden
}

// hidden stands for what is not told.
const hidden = "(hidden)"

// bookkeeping are the fields that change with every write and say nothing of themselves, or that go without saying.
var bookkeeping = []string{"apiVersion", "kind", "metadata.name", "metadata.namespace", "metadata.generateName", "metadata.uid", "metadata.creationTimestamp",
	"metadata.resourceVersion", "metadata.managedFields", "metadata.generation", "metadata.selfLink", `metadata.annotations["` + corev1.LastAppliedConfigAnnotation + `"]`}

// clockwork are the ends of paths that only say when or of which generation something else was seen.
var clockwork = []string{".lastTransitionTime", ".lastUpdateTime", ".lastHeartbeatTime", ".lastProbeTime", ".observedGeneration"}

func isBookkeeping(path string) bool {
	for _, p := range bookkeeping {
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return slices.ContainsFunc(clockwork, func(end string) bool { return strings.HasSuffix(path, end) })
}

// picture is an object as JSON values, its status apart.
type picture struct {
	of           *events.Object
	rest, status map[string]any
}

// pictures keeps the newest picture of each object, so that what comes out of one event needn't be drawn again for the next.
type pictures map[events.Ref]*picture

// changedBy returns in which fields an event of a facet changed an object. That it was placed is told once: not as a condition too.
func changedBy(f events.Facet, before, after *picture) []Field {
	return compare(before, after, f != events.Observed, f == events.Observed)
}

// draw returns o's picture. What its facet event can't have changed is taken over from the picture before.
func (p pictures) draw(o *events.Object) (*picture, error) {
	if o == nil {
		return nil, nil
	}
	last := p[o.Ref]
	if last != nil && last.of == o {
		return last, nil
	}
	next := &picture{of: o}
	var err error
	if last != nil && last.of.Facet(events.Desired) == o.Facet(events.Desired) && last.of.Facet(events.Assigned) == o.Facet(events.Assigned) {
		next.rest = last.rest
		next.status, err = statusOf(o.Typed())
	} else {
		next.rest, next.status, err = whole(o.Typed())
	}
	if err != nil {
		return nil, err
	}
	p[o.Ref] = next
	return next, nil
}

func whole(obj runtime.Object) (rest, status map[string]any, err error) {
	if rest, err = runtime.DefaultUnstructuredConverter.ToUnstructured(obj); err != nil {
		return nil, nil, err
	}
	status, _ = rest["status"].(map[string]any)
	delete(rest, "status")
	return rest, status, nil
}

func statusOf(obj runtime.Object) (map[string]any, error) {
	field := reflect.ValueOf(obj).Elem().FieldByName("Status")
	if !field.IsValid() || !field.CanAddr() || field.Kind() != reflect.Struct {
		return nil, nil
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(field.Addr().Interface())
}

// compare returns in which fields two pictures of an object differ, in the parts that are asked for, without bookkeeping and without secrets.
func compare(before, after *picture, rest, status bool) []Field {
	var differences []fielddiff.Difference
	if rest {
		differences = fielddiff.Compare(before.ofRest(), after.ofRest())
	}
	if status {
		for _, d := range fielddiff.Compare(before.ofStatus(), after.ofStatus()) {
			d.Path = "status." + d.Path
			differences = append(differences, d)
		}
	}
	var out []Field
	for _, d := range differences {
		for _, f := range tell(d) {
			if isSecret(before, after) {
				f = conceal(f)
			}
			out = append(out, f)
		}
	}
	return out
}

func (p *picture) ofRest() map[string]any {
	if p == nil {
		return map[string]any{}
	}
	return p.rest
}

func (p *picture) ofStatus() map[string]any {
	if p == nil || p.status == nil {
		return map[string]any{}
	}
	return p.status
}

// tell words a difference without bookkeeping: metadata that came or went as a whole is told field by field.
func tell(d fielddiff.Difference) []Field {
	switch {
	case isBookkeeping(d.Path):
		return nil
	case d.Path != "metadata" && d.Path != "metadata.annotations":
		return []Field{{Path: d.Path, Before: d.Before, After: d.After}}
	}
	b, _ := d.Before.(map[string]any)
	a, _ := d.After.(map[string]any)
	keys := maps.Clone(b)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, a)
	var out []Field
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		out = append(out, tell(fielddiff.Difference{Path: fielddiff.Join(d.Path, key), Before: b[key], After: a[key]})...)
	}
	return out
}

func isSecret(pictures ...*picture) bool {
	for _, p := range pictures {
		if p != nil {
			_, secret := p.of.Typed().(*corev1.Secret)
			return secret
		}
	}
	return false
}

// conceal hides what a Secret holds, but not under which keys.
func conceal(f Field) Field {
	if f.Path != "data" && !strings.HasPrefix(f.Path, "data.") && !strings.HasPrefix(f.Path, "data[") {
		return f
	}
	f.Before, f.After, f.Secret = concealed(f.Before), concealed(f.After), true
	return f
}

func concealed(value any) any {
	switch v := value.(type) {
	case nil:
		return nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = hidden
		}
		return out
	}
	return hidden
}

// touching keeps the fields that concern one of paths; of a field that holds more, it is still the whole.
func touching(fields []Field, paths []fielddiff.Path) []Field {
	if len(paths) == 0 {
		return fields
	}
	return slices.DeleteFunc(slices.Clone(fields), func(f Field) bool {
		return !slices.ContainsFunc(paths, func(p fielddiff.Path) bool {
			return p.Touches(fielddiff.Difference{Path: f.Path, Before: f.Before, After: f.After})
		})
	})
}
