package events

import (
	"bytes"
	"fmt"
	"strings"
)

// maxRecurring bounds how many recurring strings a Decoder remembers.
const maxRecurring = 1 << 12

// Decoder is Decode for events as they come over the wire, in great numbers: strings that recur (types, actors, keys, namespaces) are held once, and an event holds
// on to nothing but what is its own. It belongs to one goroutine.
type Decoder struct {
	recurring map[string]string
}

// Decode builds an event from a subject and NATS' header block ("NATS/1.0", then lines "Name: value", then an empty one). It keeps nothing of what it is given.
func (d *Decoder) Decode(subject, headers, payload []byte) (Event, error) {
	facet, ref, err := ParseSubject(string(subject))
	if err != nil {
		return Event{}, err
	}
	f, err := readFields(string(headers))
	if err != nil {
		return Event{}, err
	}
	e, err := f.event(facet, ref, bytes.Clone(payload))
	if err != nil {
		return Event{}, err
	}
	for _, s := range [...]*string{&e.Type, &e.Actor, &e.Key, &e.Ref.Group, &e.Ref.Resource, &e.Ref.Namespace} {
		*s = d.recur(*s)
	}
	own := e.UID + e.ID + e.Ref.Name
	uid, id := len(e.UID), len(e.UID)+len(e.ID)
	e.UID, e.ID, e.Ref.Name = own[:uid], own[uid:id], own[id:]
	if len(e.Changed) > 0 {
		e.Changed = strings.Split(strings.Clone(f.changed), ",")
	}
	return e, nil
}

func (d *Decoder) recur(s string) string {
	if s == "" {
		return ""
	}
	if known, ok := d.recurring[s]; ok {
		return known
	}
	if d.recurring == nil || len(d.recurring) >= maxRecurring {
		d.recurring = map[string]string{}
	}
	s = strings.Clone(s)
	d.recurring[s] = s
	return s
}

// readFields reads a header block. Of a header that is there twice, the first counts.
func readFields(block string) (f fields, err error) {
	line, rest, ok := headerLine(block)
	if !ok || line != "NATS/1.0" {
		return f, fmt.Errorf("a header block that begins with %.20q is none of NATS' version 1.0", block)
	}
	for {
		if line, rest, ok = headerLine(rest); !ok {
			return f, fmt.Errorf("a header block of %d bytes does not end with an empty line", len(block))
		}
		if line == "" {
			return f, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return f, fmt.Errorf("the header line %.40q has no colon", line)
		}
		if field := f.of(name); field != nil && *field == "" {
			*field = strings.TrimLeft(value, " \t")
		}
	}
}

func headerLine(block string) (line, rest string, ok bool) {
	line, rest, ok = strings.Cut(block, "\n")
	return strings.TrimSuffix(line, "\r"), rest, ok
}
