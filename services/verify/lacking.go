package verify

import (
	"github.com/wakehq/wake/events"
)

// lacking keeps account of the facets whose payloads were dropped: superseded statuses that an archive thinned, Secrets that an export left out. What
// the services saw then can't be told any more until the facet is written anew.
type lacking struct {
	statuses map[slot]bool  // of any object: nearly every decision may depend on one
	desired  map[slot]bool  // those can't be folded at all
	homes    map[string]int // how many of desired a namespace has
}

func newLacking() lacking {
	return lacking{statuses: map[slot]bool{}, desired: map[slot]bool{}, homes: map[string]int{}}
}

// thinned says that an event is a status whose payload an archive may have dropped. An empty one that was recorded as such can't be told from it.
func thinned(e *events.Event) bool {
	return e.Facet == events.Observed && len(e.Payload) == 0 && !e.Tombstone
}

// note takes an event into account; err is why it could not be folded.
func (l *lacking) note(e *events.Event, err error) {
	at, empty := slot{e.Facet, e.Ref}, len(e.Payload) == 0 && !e.Tombstone
	switch e.Facet {
	case events.Observed:
		if thinned(e) {
			l.statuses[at] = true
		} else {
			delete(l.statuses, at)
		}
	case events.Desired:
		if e.Tombstone {
			delete(l.statuses, slot{events.Observed, e.Ref})
		}
		if was, is := l.desired[at], empty && err != nil; was != is {
			if is {
				l.desired[at] = true
				l.homes[e.Ref.Namespace]++
				return
			}
			delete(l.desired, at)
			l.homes[e.Ref.Namespace]--
		}
	}
}

// concerns says that a decision about a key may have depended on what was dropped.
func (l *lacking) concerns(key events.Ref) bool {
	home := key.Namespace
	if key.GroupResource() == (events.GroupResource{Resource: "namespaces"}) {
		home = key.Name
	}
	return len(l.statuses) > 0 || l.homes[home] > 0
}
