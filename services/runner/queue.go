package runner

import (
	"cmp"
	"time"

	"github.com/tidwall/btree"

	"github.com/wakehq/wake/events"
)

// conflictAfter is how long after a conflict a key is decided again: the other writer's event is about to arrive.
const conflictAfter = 5 * time.Millisecond

// queue holds the keys to be decided, in the order in which they were asked for, each once, and those to be looked at later.
type queue struct {
	waiting []Turn
	pending map[events.Ref]int // index into waiting, counted from base
	base    int
	delayed map[events.Ref]delay
	next    *btree.BTreeG[delay] // all of delayed, the earliest first
}

type delay struct {
	Turn
	at time.Time
}

// isBefore orders by time; keys of the same time have some order.
func (d delay) isBefore(other delay) bool {
	a, b := d.Key, other.Key
	return cmp.Or(d.at.Compare(other.at), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Resource, b.Resource),
		cmp.Compare(a.Group, b.Group)) < 0
}

func newQueue() *queue {
	return &queue{pending: map[events.Ref]int{}, delayed: map[events.Ref]delay{}, next: btree.NewBTreeGOptions(delay.isBefore, btree.Options{NoLocks: true})}
}

// add asks for key. The newest cause counts.
func (q *queue) add(key events.Ref, cause Cause) {
	if i, ok := q.pending[key]; ok {
		if turn := &q.waiting[i-q.base]; cause.Revision > turn.Cause.Revision {
			turn.Cause = cause
		}
		return
	}
	q.pending[key] = q.base + len(q.waiting)
	q.waiting = append(q.waiting, Turn{key, cause})
}

// take returns the next key. What was to be looked at later is forgotten.
func (q *queue) take() (Turn, bool) {
	if len(q.waiting) == 0 {
		return Turn{}, false
	}
	turn := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.base++
	delete(q.pending, turn.Key)
	q.forget(turn.Key)
	return turn, true
}

// later asks for a key at a time, or earlier if that was asked for already.
func (q *queue) later(turn Turn, at time.Time) {
	if d, ok := q.delayed[turn.Key]; ok && d.at.Before(at) {
		return
	}
	q.forget(turn.Key)
	d := delay{turn, at}
	q.delayed[turn.Key] = d
	q.next.Set(d)
}

func (q *queue) forget(key events.Ref) {
	if d, ok := q.delayed[key]; ok {
		delete(q.delayed, key)
		q.next.Delete(d)
	}
}

// due asks for the delayed keys whose time has come.
func (q *queue) due(now time.Time) {
	for d, ok := q.next.Min(); ok && !d.at.After(now); d, ok = q.next.Min() {
		q.forget(d.Key)
		q.add(d.Key, d.Cause)
	}
}

// earliest returns when the first of the delayed keys is due.
func (q *queue) earliest() (time.Time, bool) {
	d, ok := q.next.Min()
	return d.at, ok
}
