package fielddiff

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func decode(t require.TestingT, text string) (v any) {
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

func TestCompare(t *testing.T) {
	for _, c := range []struct{ name, before, after, want string }{
		{"equal", `{"a":1,"b":[1,2]}`, `{"b":[1,2],"a":1}`, `[]`},
		{"scalar", `{"spec":{"replicas":3}}`, `{"spec":{"replicas":5}}`, `[{spec.replicas 3 5}]`},
		{"added and removed", `{"a":1}`, `{"b":2}`, `[{a 1 <nil>} {b <nil> 2}]`},
		{"label key", `{"labels":{"app.kubernetes.io/name":"x"}}`, `{"labels":{}}`, `[{labels["app.kubernetes.io/name"] x <nil>}]`},
		{"containers by name, reordered", `{"c":[{"name":"web","image":"a"},{"name":"log","image":"b"}]}`,
			`{"c":[{"name":"log","image":"b"},{"name":"web","image":"c"}]}`, `[{c[web].image a c}]`},
		{"plain list by position", `{"args":["a","b"]}`, `{"args":["a","c","d"]}`, `[{args[1] b c} {args[2] <nil> d}]`},
		{"ports without names", `{"p":[{"port":80}]}`, `{"p":[{"port":80},{"port":81}]}`, `[{p[81] <nil> map[port:81]}]`},
		{"other type", `{"a":{"b":1}}`, `{"a":[1]}`, `[{a map[b:1] [1]}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, fmt.Sprint(Compare(decode(t, c.before), decode(t, c.after))))
		})
	}
}

func TestCompareFindsNothingOnlyInEqualValues(t *testing.T) {
	value := rapid.Deferred(func() *rapid.Generator[any] {
		scalar := rapid.Map(rapid.SampledFrom([]string{`1`, `"x"`, `true`}), func(s string) (v any) { _ = json.Unmarshal([]byte(s), &v); return v })
		list := rapid.Map(rapid.SliceOfN(scalar, 0, 3), func(l []any) any { return l })
		return rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "b.c", "name"}), rapid.OneOf(scalar, list), 0, 3), func(m map[string]any) any { return m })
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := value.Draw(t, "a"), value.Draw(t, "b")
		require.Empty(t, Compare(a, a))
		same := fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b)
		require.Equal(t, same, len(Compare(a, b)) == 0)
		require.Len(t, Compare(b, a), len(Compare(a, b)))
	})
}
