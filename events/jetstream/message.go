package jetstream

import (
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/wakehq/wake/events"
)

// message is an event on its way out. It is used again and again: the connection copies what it is given.
type message struct {
	msg    nats.Msg
	values []string // behind the header's slices, one value each
}

const headersPerEvent = 20

// set makes m the guarded message for p.
func (m *message) set(p *events.Proposal) {
	if m.msg.Header == nil {
		m.msg.Header = make(nats.Header, headersPerEvent)
	}
	clear(m.msg.Header)
	m.values = m.values[:0]
	m.msg.Subject, m.msg.Reply, m.msg.Data = events.Subject(p.Facet, p.Ref), "", p.Payload
	events.EachHeader(&p.Event, m.header)
	m.header(headerExpect, strconv.FormatUint(p.Expect, 10))
}

func (m *message) header(name, value string) {
	m.values = append(m.values, value)
	n := len(m.values)
	m.msg.Header[name] = m.values[n-1 : n : n]
}

// inBatch makes m number index (from 0) of the atomic batch that id names.
func (m *message) inBatch(id string, index int) {
	m.header(headerBatch, id)
	m.header(headerBatchSequence, strconv.Itoa(index+1))
}
