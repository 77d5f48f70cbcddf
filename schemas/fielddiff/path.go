package fielddiff

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Path names fields the way differences do: spec.template.spec.containers[web].image. It means what lies below it too, and entries of lists may be left out or
// be [*]: spec.template.spec.containers.image is the image of every container.
type Path []step

// step is one name of a path; bracketed is an entry of a list, or a key that was written like one.
type step struct {
	name      string
	bracketed bool
}

// ParsePath understands a path; a leading dot is allowed. Keys that hold dots may be written in brackets and quotes, as differences do, or as they are.
func ParsePath(text string) (Path, error) {
	var p Path
	rest := strings.TrimPrefix(strings.TrimSpace(text), ".")
	for rest != "" {
		if rest[0] == '[' {
			name, after, err := bracket(rest)
			if err != nil {
				return nil, fmt.Errorf("the field path %q: %w", text, err)
			}
			p = append(p, step{name: name, bracketed: true})
			rest = strings.TrimPrefix(after, ".")
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, fmt.Errorf("the field path %q has an empty name: say it as in spec.template.spec.containers[web].image", text)
		}
		p = append(p, step{name: rest[:end]})
		rest = strings.TrimPrefix(rest[end:], ".")
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("an empty field path: say it as in spec.replicas")
	}
	return p, nil
}

// bracket takes [name] or ["name"] off text.
func bracket(text string) (name, rest string, err error) {
	if quoted, err := strconv.QuotedPrefix(text[1:]); err == nil {
		if rest, ok := strings.CutPrefix(text[1+len(quoted):], "]"); ok {
			name, err := strconv.Unquote(quoted)
			return name, rest, err
		}
	}
	name, rest, ok := strings.Cut(text[1:], "]")
	if !ok || name == "" || name[0] == '"' {
		return "", "", fmt.Errorf("a bracket isn't closed, or holds nothing")
	}
	return name, rest, nil
}

// Touches says that a difference concerns the fields that p names: it lies at or below them, or above them and they differ too.
func (p Path) Touches(d Difference) bool {
	at, err := ParsePath(d.Path)
	if err != nil {
		at = nil
	}
	return p.touches(at, d)
}

func (p Path) touches(at Path, d Difference) bool {
	switch {
	case len(p) == 0:
		return true
	case len(at) == 0:
		return !reflect.DeepEqual(p.values(d.Before), p.values(d.After))
	case at[0].bracketed && !p[0].bracketed && p.touches(at[1:], d):
		return true
	}
	for n := 1; n <= len(p); n++ {
		if p.named(n, at[0].name) && p[n:].touches(at[1:], d) {
			return true
		}
	}
	return false
}

// named says that the first n names of p are name: one, or several that make a key that holds dots.
func (p Path) named(n int, name string) bool {
	if n == 1 {
		return p[0].name == name || p[0].bracketed && p[0].name == "*"
	}
	parts := make([]string, n)
	for i, s := range p[:n] {
		parts[i] = s.name
	}
	return strings.Join(parts, ".") == name
}

// Within returns what of a value lies at p: nothing, one value, or one for each entry of lists that p doesn't tell apart.
func (p Path) Within(value any) []any { return p.values(value) }

func (p Path) values(value any) []any {
	if len(p) == 0 {
		if value == nil {
			return nil
		}
		return []any{value}
	}
	var found []any
	switch v := value.(type) {
	case map[string]any:
		for n := 1; n <= len(p); n++ {
			parts := make([]string, n)
			for i, s := range p[:n] {
				parts[i] = s.name
			}
			found = append(found, p[n:].values(v[strings.Join(parts, ".")])...)
		}
	case []any:
		names := ItemNames(v)
		for i, item := range v {
			switch {
			case !p[0].bracketed:
				found = append(found, p.values(item)...)
			case p[0].name == "*" || p[0].name == names[i]:
				found = append(found, p[1:].values(item)...)
			}
		}
	}
	return found
}

// Begins says that p lies in the field of that name of an object.
func (p Path) Begins(name string) bool { return len(p) > 0 && p[0].name == name }
