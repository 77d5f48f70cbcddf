package simulation

import (
	"container/heap"
	"time"
)

// agenda is what will happen outside of the services, the earliest first; what is to happen at the same time, in the order in which it was put down.
type agenda struct {
	entries entries
	count   int
}

type entry struct {
	at    time.Time
	place int
	do    func()
}

type entries []entry

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (e entries) Len() int { return len(e) }

func (e entries) Less(i, j int) bool {
	if e[i].at.Equal(e[j].at) {
		return e[i].place < e[j].place
	}
	return e[i].at.Before(e[j].at)
}

func (e entries) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *entries) Push(x any)   { *e = append(*e, x.(entry)) }

func (e *entries) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = entry{}
	*e = (*e)[:last]
	return x
}

func (a *agenda) add(at time.Time, do func()) {
	a.count++
	heap.Push(&a.entries, entry{at, a.count, do})
}

func (a *agenda) next() (time.Time, bool) {
	if len(a.entries) == 0 {
		return time.Time{}, false
	}
	return a.entries[0].at, true
}

func (a *agenda) due(now time.Time) bool {
	return len(a.entries) > 0 && !a.entries[0].at.After(now)
}

func (a *agenda) take() func() { return heap.Pop(&a.entries).(entry).do }
