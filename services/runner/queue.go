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
	waiting []item
	pending map[events.Ref]int // index into waiting, counted from base
	base    int
	delayed map[events.Ref]delay
	next    *btree.BTreeG[delay] // all of delayed, the earliest first
}

type item struct {
	key   events.Ref
	cause Cause
}

type delay struct {
	item
	at time.Time
}

// isBefore orders by time; keys of the same time have some order.
func (d delay) isBefore(other delay) bool {
	a, b := d.key, other.key
	return cmp.Or(d.at.Compare(other.at), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Resource, b.Resource),
		cmp.Compare(a.Group, b.Group)) < 0
}

func newQueue() *queue {
	return &queue{pending: map[events.Ref]int{}, delayed: map[events.Ref]delay{}, next: btree.NewBTreeGOptions(delay.isBefore, btree.Options{NoLocks: true})}
}

// add asks for key. The newest cause counts.
func (q *queue) add(key events.Ref, cause Cause) {
	if i, ok := q.pending[key]; ok {
		if it := &q.waiting[i-q.base]; cause.Revision > it.cause.Revision {
			it.cause = cause
		}
		return
	}
	q.pending[key] = q.base + len(q.waiting)
	q.waiting = append(q.waiting, item{key, cause})
}

// take returns the next key. What was to be looked at later is forgotten: the decision names a new time.
func (q *queue) take() (item, bool) {
	if len(q.waiting) == 0 {
		return item{}, false
	}
	it := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.base++
	delete(q.pending, it.key)
	q.forget(it.key)
	return it, true
}

// later asks for key at a time, or earlier if that was asked for already.
func (q *queue) later(key events.Ref, cause Cause, at time.Time) {
	if d, ok := q.delayed[key]; ok && d.at.Before(at) {
		return
	}
	q.forget(key)
	d := delay{item{key, cause}, at}
	q.delayed[key] = d
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
		q.forget(d.key)
		q.add(d.key, d.cause)
	}
}

// timer fires at once if a key waits and may be decided, else when the next one is due.
func (q *queue) timer(decidable bool) *time.Timer {
	if decidable && len(q.waiting) > 0 {
		return time.NewTimer(0)
	}
	if d, ok := q.next.Min(); ok {
		return time.NewTimer(time.Until(d.at))
	}
	return time.NewTimer(time.Hour)
}
