package events

import (
	"fmt"
	"strings"
)

// SubjectPrefix begins the subject of every event:
//
//	ledger.<facet>.<group>.<resource>.<namespace>.<name>
const SubjectPrefix = "ledger"

const (
	coreToken    = "core" // the empty group
	clusterToken = "_"    // no namespace
)

// Subject returns the subject of a facet of an object. Subjects are encoded here and nowhere else.
func Subject(f Facet, r Ref) string {
	b := make([]byte, 0, len(SubjectPrefix)+16+len(r.Group)+len(r.Resource)+len(r.Namespace)+len(r.Name))
	return string(appendSubject(b, f, r))
}

func appendSubject(b []byte, f Facet, r Ref) []byte {
	b = append(b, SubjectPrefix...)
	for _, token := range [...]string{f.String(), orToken(r.Group, coreToken), r.Resource, orToken(r.Namespace, clusterToken), r.Name} {
		b = appendToken(append(b, '.'), token)
	}
	return b
}

// ParseSubject is the inverse of Subject.
func ParseSubject(subject string) (Facet, Ref, error) {
	var tokens [6]string
	n, rest, more := 0, subject, true
	for ; more && n < len(tokens); n++ {
		tokens[n], rest, more = strings.Cut(rest, ".")
	}
	if more || n != len(tokens) || tokens[0] != SubjectPrefix {
		return 0, Ref{}, fmt.Errorf("subject %q is not %s.<facet>.<group>.<resource>.<namespace>.<name>", subject, SubjectPrefix)
	}
	facet := facets
	for f, name := range facetNames {
		if name == tokens[1] {
			facet = Facet(f)
		}
	}
	if facet == facets {
		return 0, Ref{}, fmt.Errorf("subject %q has an unknown facet %q", subject, tokens[1])
	}
	for i, token := range tokens[2:] {
		plain, err := DecodeToken(token)
		if err != nil {
			return 0, Ref{}, fmt.Errorf("subject %q: %w", subject, err)
		}
		tokens[2+i] = plain
	}
	ref := Ref{Group: fromToken(tokens[2], coreToken), Resource: tokens[3], Namespace: fromToken(tokens[4], clusterToken), Name: tokens[5]}
	return facet, ref, nil
}

// EncodeToken makes any string one subject token of the letters that every NATS component accepts; bytes outside [A-Za-z0-9_-] become =XX.
func EncodeToken(s string) string {
	return string(appendToken(make([]byte, 0, len(s)), s))
}

func orToken(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

func fromToken(s, empty string) string {
	if s == empty {
		return ""
	}
	return s
}

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c >= 'A' && c <= 'Z' || c == '_'
}

func appendToken(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; plainByte(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// DecodeToken is the inverse of EncodeToken.
func DecodeToken(s string) (string, error) {
	if !strings.Contains(s, "=") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("token %q ends within an escape", s)
		}
		hi, lo := strings.IndexByte("0123456789ABCDEF", s[i+1]), strings.IndexByte("0123456789ABCDEF", s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("token %q has the malformed escape %q", s, s[i:i+3])
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

// Subjects returns the subjects that q selects, with NATS' wildcards.
func (q *Query) Subjects() []string {
	facet, group, resource, namespace, name := "*", "*", "*", "*", "*"
	if q.Facet != nil {
		facet = q.Facet.String()
	}
	if r := q.Ref; r != nil {
		group, resource = EncodeToken(orToken(r.Group, coreToken)), EncodeToken(r.Resource)
		namespace, name = EncodeToken(orToken(r.Namespace, clusterToken)), EncodeToken(r.Name)
	} else {
		if q.Group != nil {
			group = EncodeToken(orToken(*q.Group, coreToken))
		}
		if q.Resource != "" {
			resource = EncodeToken(q.Resource)
		}
		if q.Namespace != "" {
			namespace = EncodeToken(q.Namespace)
		}
	}
	return []string{strings.Join([]string{SubjectPrefix, facet, group, resource, namespace, name}, ".")}
}

// Selects says that q selects an event of facet f of r, leaving From, To and LastPerFacet aside.
func (q *Query) Selects(f Facet, r Ref) bool {
	switch {
	case q.Facet != nil && *q.Facet != f:
		return false
	case q.Ref != nil:
		return *q.Ref == r
	}
	return (q.Group == nil || *q.Group == r.Group) && (q.Resource == "" || q.Resource == r.Resource) &&
		(q.Namespace == "" || q.Namespace == r.Namespace)
}
