package verify

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// identity is what the events of one decision have in common.
type identity struct {
	service string
	key     string
	basis   events.Revision
	at      int64 // Unix ms
}

const serviceActor = "service:"

// identityOf returns the decision that an event names; the zero identity if it names none, as what a service was told from outside doesn't.
func identityOf(e *events.Event) identity {
	name, ok := strings.CutPrefix(e.Actor, serviceActor)
	if !ok || e.Key == "" {
		return identity{}
	}
	return identity{service: name, key: e.Key, basis: e.Basis, at: e.At.UnixMilli()}
}

// sighting is that a decision is recorded in an event.
type sighting struct {
	identity
	revision events.Revision
}

// sightings is what the events up to a revision record.
type sightings struct {
	all []sighting
	to  events.Revision
	err error
}

// perChunk is how many events are looked at between two messages, at most.
const perChunk = 1024

// scout reads ahead which decisions are recorded, so that they can be made when the state is at their basis. The channel is closed when the end was
// reached, or ctx has ended.
func scout(ctx context.Context, config Config) <-chan sightings {
	out := make(chan sightings, 1)
	from := events.Revision(1)
	if config.Start != nil {
		from = config.Start.Revision() + 1
	}
	go func() {
		defer close(out)
		var chunk sightings
		n := 0
		send := func() bool {
			select {
			case out <- chunk:
				chunk, n = sightings{}, 0
				return true
			case <-ctx.Done():
				return false
			}
		}
		chunk.err = config.Ledger.Read(ctx, events.Query{From: from, To: config.To}, func(e events.Event) bool {
			if id := identityOf(&e); id != (identity{}) {
				chunk.all = append(chunk.all, sighting{id, e.Revision})
			}
			chunk.to = e.Revision
			if n++; n < min(perChunk, config.Ahead) {
				return true
			}
			return send()
		})
		if chunk.err == nil {
			chunk.to = config.To
		}
		send()
	}()
	return out
}

// lookAhead takes note of the decisions that are recorded up to a revision.
func (v *verification) lookAhead(revision events.Revision) error {
	for v.scouted < min(revision, v.To) {
		chunk, ok := <-v.ahead
		if !ok {
			return context.Canceled
		}
		if chunk.err != nil {
			return fmt.Errorf("looking ahead from revision %d: %w", v.scouted, chunk.err)
		}
		v.scouted = chunk.to
		for _, s := range chunk.all {
			v.sight(s)
		}
	}
	return nil
}

// sight files a decision under its basis, or extends what is known of it.
func (v *verification) sight(s sighting) {
	if d, known := v.open[s.identity]; known {
		d.last = s.revision
		return
	}
	d := &decision{identity: s.identity, at: time.UnixMilli(s.at).UTC(), last: s.revision}
	key, ok := parseKey(s.key)
	d.ref, d.service = key, v.services[s.service]
	switch {
	case d.service == nil:
		v.skip(s.service, UnknownService, s.revision)
		return
	case !ok:
		d.impossible = fmt.Sprintf("its key %q names nothing", s.key)
	case s.basis >= s.revision:
		d.impossible = fmt.Sprintf("it says that it was decided on the state at %d, which is not before it", s.basis)
	case s.basis < v.first:
		v.skip(s.service, NotHeld, s.revision)
		return
	case s.basis < v.state.Revision():
		v.skip(s.service, TooFar, s.revision)
		return
	default:
		v.waiting[s.basis] = append(v.waiting[s.basis], d)
	}
	v.open[s.identity] = d
}

func (v *verification) skip(service string, reason Reason, revision events.Revision) {
	if revision < v.From {
		return
	}
	n := v.skipped[skip{service, reason}]
	if n == nil {
		n = &NotVerified{Service: service, Reason: reason, First: revision}
		v.skipped[skip{service, reason}] = n
	}
	n.Events++
}

// parseKey is the inverse of Ref.String. A key may have an empty name: that of all objects of a kind.
func parseKey(key string) (events.Ref, bool) {
	resource, name, ok := strings.Cut(key, "/")
	if !ok || resource == "" {
		return events.Ref{}, false
	}
	ref := events.Ref{Name: name}
	ref.Resource, ref.Group, _ = strings.Cut(resource, ".")
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		ref.Namespace, ref.Name = namespace, rest
	}
	return ref, ref.String() == key
}
