package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

// What a pipeline has under way at most. The broker queues 10,000 messages for a stream and refuses more.
const (
	windowMessages = 2048
	windowBytes    = 16 << 20
)

var errUnanswered = errors.New("no acknowledgement came")

// pipeline is one AppendEach under way.
type pipeline struct {
	mu       sync.Mutex
	moved    chan struct{} // holds a token when something was answered
	results  []events.Result
	waiting  []bool // sent and not answered yet
	messages int    // how many those are
	bytes    int
	size     func(index int) int
	refused  map[int]error // proposals that no ledger would take
}

// AppendEach implements events.Ledger. What is not acknowledged is appended again once the rest is, one by one.
func (l *Ledger) AppendEach(ctx context.Context, proposals []events.Proposal) []events.Result {
	identified := l.ids.Identify(proposals)
	p := &pipeline{moved: make(chan struct{}, 1), results: make([]events.Result, len(proposals)), waiting: make([]bool, len(proposals)),
		size: func(i int) int { return len(identified[i].Payload) }, refused: map[int]error{}}
	number := l.register(p)
	defer l.unregister(number)
	l.send(ctx, p, identified, l.inbox+strconv.FormatUint(number, 36)+".")
	p.wait(ctx, func() bool { return p.messages == 0 })
	p.mu.Lock()
	for i := range p.waiting {
		if p.waiting[i] {
			p.waiting[i], p.results[i].Err = false, errUnanswered
		}
	}
	p.mu.Unlock() // from here on nobody else touches results: answers that come too late find nothing waiting
	for i := range p.results {
		if err := p.refused[i]; err != nil {
			p.results[i].Err = err
			continue
		}
		l.conclude(ctx, &p.results[i], identified[i:i+1], proposals[i].ID != "")
	}
	return p.results
}

// conclude makes of what came back for a proposal what the caller is told.
func (l *Ledger) conclude(ctx context.Context, r *events.Result, proposal []events.Proposal, repeated bool) {
	switch err := r.Err; {
	case err == nil:
	case isConflict(err) && repeated:
		r.Revision, r.Err = l.settle(ctx, &proposal[0])
	case isConflict(err):
		r.Err = conflict(&proposal[0], 1)
	case again(err) && ctx.Err() == nil:
		r.Revision, r.Err = l.append(ctx, proposal, true)
	default:
		r.Err = fmt.Errorf("appending %s: %w", describe(proposal), err)
	}
}

// send sends proposals in order, as fast as the window allows. Those for the same facet wait for each other: on a replicated stream a
// guard is only checked against what is stored, and the second would be refused even if the first is.
func (l *Ledger) send(ctx context.Context, p *pipeline, proposals []events.Proposal, inbox string) {
	var out message
	latest := make(map[string]int, len(proposals))
	stalled := false
	for i := range proposals {
		if err := proposals[i].Check(); err != nil {
			p.refused[i] = err
			continue
		}
		out.set(&proposals[i])
		before, twice := latest[out.msg.Subject]
		latest[out.msg.Subject] = i
		room := func() bool {
			return p.messages < windowMessages && (p.bytes < windowBytes || p.messages == 0) && (!twice || !p.waiting[before])
		}
		if stalled = stalled || ctx.Err() != nil || !p.wait(ctx, room); stalled {
			p.results[i].Err = errUnanswered
			continue
		}
		p.begin(i)
		out.msg.Reply = inbox + strconv.Itoa(i)
		if err := l.conn.PublishMsg(&out.msg); err != nil {
			p.end(i, 0, err)
		}
	}
}

// wait waits until until() holds, and gives up when ctx ends or nothing is answered for a while.
func (p *pipeline) wait(ctx context.Context, until func() bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !until() {
		p.mu.Unlock()
		moved := true
		select {
		case <-p.moved:
		case <-ctx.Done():
			moved = false
		case <-time.After(answerWithin):
			moved = false
		}
		p.mu.Lock()
		if !moved {
			return until()
		}
	}
	return true
}

func (p *pipeline) begin(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[i] = true
	p.messages++
	p.bytes += p.size(i)
}

func (p *pipeline) end(i int, revision events.Revision, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.waiting) || !p.waiting[i] {
		return
	}
	p.waiting[i] = false
	p.messages--
	p.bytes -= p.size(i)
	p.results[i] = events.Result{Revision: revision, Err: err}
	select {
	case p.moved <- struct{}{}:
	default:
	}
}

func (l *Ledger) register(p *pipeline) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.started++
	l.pipelines[l.started] = p
	return l.started
}

func (l *Ledger) unregister(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.pipelines, number)
}

// acknowledged takes the broker's answers for all pipelines.
func (l *Ledger) acknowledged(answer *nats.Msg) {
	name, index, _ := strings.Cut(strings.TrimPrefix(answer.Subject, l.inbox), ".")
	number, err := strconv.ParseUint(name, 36, 64)
	if err != nil {
		return
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 {
		return
	}
	l.mu.Lock()
	p := l.pipelines[number]
	l.mu.Unlock()
	if p != nil {
		revision, err := acknowledgement(answer)
		p.end(i, revision, err)
	}
}
