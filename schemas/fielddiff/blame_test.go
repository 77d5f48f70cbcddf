package fielddiff

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// blameOf folds values, the first set by change 1, and tells who set each field of the last.
func blameOf(t require.TestingT, values ...string) (out []string) {
	var b *Blame
	var before any
	for i, text := range values {
		after := decode(t, text)
		b = b.Blamed(before, after, uint64(i+1))
		before = after
	}
	b.Each(before, func(path string, value any, mark uint64) {
		out = append(out, fmt.Sprintf("%s=%v:%d", path, value, mark))
	})
	return out
}

func TestBlame(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string
		want   []string
	}{
		{"a field", []string{`{"a":1,"b":2}`, `{"a":1,"b":3}`, `{"a":1,"b":3,"c":4}`}, []string{"a=1:1", "b=3:2", "c=4:3"}},
		{"set to what it was", []string{`{"a":1}`, `{"a":2}`, `{"a":1}`}, []string{"a=1:3"}},
		{"gone and back", []string{`{"a":{"b":1}}`, `{}`, `{"a":{"b":1}}`}, []string{"a.b=1:3"}},
		{"a container put first", []string{`[{"name":"web","image":"1"}]`, `[{"name":"log","image":"1"},{"name":"web","image":"1"}]`,
			`[{"name":"log","image":"1"},{"name":"web","image":"2"}]`}, []string{"[log].image=1:2", "[log].name=log:2", "[web].image=2:3", "[web].name=web:1"}},
		{"ports by number and protocol", []string{`[{"port":53,"protocol":"UDP","n":1}]`, `[{"port":53,"protocol":"TCP","n":1},{"port":53,"protocol":"UDP","n":1}]`},
			[]string{"[53/TCP].n=1:2", "[53/TCP].port=53:2", "[53/TCP].protocol=TCP:2", "[53/UDP].n=1:1", "[53/UDP].port=53:1", "[53/UDP].protocol=UDP:1"}},
		{"an argument put in between", []string{`["a","b","c"]`, `["a","x","b","c"]`}, []string{"[0]=a:1", "[1]=x:2", "[2]=b:1", "[3]=c:1"}},
		{"entries without keys", []string{`[{"x":1,"y":1},{"x":9}]`, `[{"x":2,"y":1},{"x":9}]`}, []string{"[0].x=2:2", "[0].y=1:1", "[1].x=9:1"}},
		{"empty ones", []string{`{"a":{},"b":[]}`, `{"a":{},"b":[],"c":{}}`}, []string{"a=map[]:1", "b=[]:1", "c=map[]:2"}},
		{"another type", []string{`{"a":{"b":1}}`, `{"a":[1]}`}, []string{"a[0]=1:2"}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, blameOf(t, c.values...)) })
	}
}

// Whatever happens to lists, every field of the last value has a blame, and one that is newer than all that set nothing.
func TestBlameKeepsUpWithLists(t *testing.T) {
	list := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 8), func(l []string) any {
		out := make([]any, len(l))
		for i, s := range l {
			out[i] = s
		}
		return out
	})
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(list, 1, 5).Draw(t, "values")
		var b *Blame
		var before any
		for i, after := range values {
			b = b.Blamed(before, after, uint64(i+1))
			before = after
		}
		again := b.Blamed(before, before, 99)
		marks, same := []uint64{}, []uint64{}
		b.Each(before, func(_ string, _ any, mark uint64) { marks = append(marks, mark) })
		again.Each(before, func(_ string, _ any, mark uint64) { same = append(same, mark) })
		require.Equal(t, marks, same, "what changes nothing is blamed for nothing")
		require.Len(t, marks, max(1, len(before.([]any))))
	})
}

func TestPaths(t *testing.T) {
	image := Difference{Path: "spec.template.spec.containers[web].image", Before: "a", After: "b"}
	label := Difference{Path: `metadata.labels["app.kubernetes.io/name"]`, After: "b"}
	whole := Difference{Path: "spec", After: decode(t, `{"replicas":3,"template":{"spec":{"containers":[{"name":"web","image":"a"}]}}}`)}
	other := Difference{Path: "spec.template.spec.containers[log]", Before: decode(t, `{"name":"log","image":"a"}`)}
	for text, want := range map[string][4]bool{ // of image, label, whole, other
		"spec":                                           {true, false, true, true},
		"spec.template":                                  {true, false, true, true},
		".spec.template.spec.containers":                 {true, false, true, true},
		"spec.template.spec.containers[web]":             {true, false, true, false},
		"spec.template.spec.containers[*].image":         {true, false, true, true},
		"spec.template.spec.containers.image":            {true, false, true, true},
		"spec.template.spec.containers[log].image":       {false, false, false, true},
		"spec.template.spec.containers[web].image.x":     {false, false, false, false},
		"spec.replicas":                                  {false, false, true, false},
		"spec.temp":                                      {false, false, false, false},
		`metadata.labels["app.kubernetes.io/name"]`:      {false, true, false, false},
		"metadata.labels[app.kubernetes.io/name]":        {false, true, false, false},
		"metadata.labels.app.kubernetes.io/name":         {false, true, false, false},
		"metadata.labels.app":                            {false, false, false, false},
		"spec.template.spec.containers[web].resources[]": {},
	} {
		p, err := ParsePath(text)
		if text[len(text)-1] == ']' && text[len(text)-2] == '[' {
			require.ErrorContains(t, err, "a bracket")
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, [4]bool{p.Touches(image), p.Touches(label), p.Touches(whole), p.Touches(other)}, text)
	}
	for _, bad := range []string{"", ".", "a..b", "a[", `a["b]`} {
		_, err := ParsePath(bad)
		require.Error(t, err, bad)
	}
	p, err := ParsePath("c.image")
	require.NoError(t, err)
	require.Equal(t, []any{"a", "b"}, p.Within(decode(t, `{"c":[{"name":"x","image":"a"},{"name":"y","image":"b"}]}`)))
}
