package segment

import (
	"encoding/binary"
	"errors"
	"time"
	"unsafe"

	"github.com/wakehq/wake/events"
)

// A record is an event as it is stored: differences of revision and time to the record before it, flags, subject, headers, payload and, if that isn't whole,
// the digest that it had. Names of headers that Wake writes are a byte, others 0 and the name.

// withKept flags a record whose payload isn't whole.
const withKept = 1

// headerNames are never reordered: files refer to them by place, counted from 1.
var headerNames = []string{
	events.HeaderType, events.HeaderActor, events.HeaderKey, events.HeaderCause, events.HeaderCorrelation, events.HeaderBasis, events.HeaderAt, events.HeaderChanged,
	events.HeaderSchema, events.HeaderUID, events.HeaderTombstone, events.HeaderNote, events.HeaderID, events.HeaderContentType,
}

var headerNumbers = func() map[string]byte {
	numbers := map[string]byte{}
	for i, name := range headerNames {
		numbers[name] = byte(i + 1)
	}
	return numbers
}()

// recordWriter appends records to a block.
type recordWriter struct {
	raw      []byte
	revision int64
	time     int64
}

func (w *recordWriter) text(s string) {
	w.raw = binary.AppendUvarint(w.raw, uint64(len(s)))
	w.raw = append(w.raw, s...)
}

func (w *recordWriter) add(r *events.Raw) {
	revision, at := int64(r.Revision), r.Stored.UnixNano()
	w.raw = binary.AppendVarint(w.raw, revision-w.revision)
	w.raw = binary.AppendVarint(w.raw, at-w.time)
	w.revision, w.time = revision, at
	flags := byte(0)
	if r.Kept != nil {
		flags |= withKept
	}
	w.raw = append(w.raw, flags)
	w.text(r.Subject)
	w.raw = binary.AppendUvarint(w.raw, uint64(len(r.Header)))
	for i := range r.Header {
		number := headerNumbers[r.Header[i].Name]
		w.raw = append(w.raw, number)
		if number == 0 {
			w.text(r.Header[i].Name)
		}
		w.text(r.Header[i].Value)
	}
	w.raw = binary.AppendUvarint(w.raw, uint64(len(r.Payload)))
	w.raw = append(w.raw, r.Payload...)
	if r.Kept != nil {
		w.raw = append(w.raw, r.Kept[:]...)
	}
}

var errMalformed = errors.New("malformed")

// cursor reads what was written by appending. Once something is malformed it stays so and gives zero values.
type cursor struct {
	raw    []byte
	failed bool
}

func (c *cursor) fail() {
	c.failed, c.raw = true, nil
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.raw)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.raw = c.raw[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.raw)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.raw = c.raw[n:]
	return v
}

func (c *cursor) byte() byte {
	if len(c.raw) == 0 {
		c.fail()
		return 0
	}
	b := c.raw[0]
	c.raw = c.raw[1:]
	return b
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.raw)) {
		c.fail()
		return nil
	}
	b := c.raw[:n:n]
	c.raw = c.raw[n:]
	return b
}

// text gives a string that shares the block's memory, which nobody writes to once it is decompressed.
func (c *cursor) text() string {
	b := c.bytes(c.uvarint())
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// recordReader reads the records of a block. What it gives shares the block's memory.
type recordReader struct {
	cursor
	revision int64
	time     int64
	fields   []events.HeaderField // room for the headers of the next records
}

const fieldsAtOnce = 1024

// next reads a record.
func (r *recordReader) next() (out events.Raw, _ error) {
	r.revision += r.varint()
	r.time += r.varint()
	flags := r.byte()
	out.Revision, out.Stored = events.Revision(r.revision), time.Unix(0, r.time).UTC()
	out.Subject = r.text()
	out.Header = r.header()
	if payload := r.bytes(r.uvarint()); len(payload) > 0 {
		out.Payload = payload
	}
	if flags&withKept != 0 {
		out.Kept = new(events.Digest)
		copy(out.Kept[:], r.bytes(uint64(len(out.Kept))))
	}
	if r.failed || r.revision < 0 || flags&^withKept != 0 {
		return events.Raw{}, errMalformed
	}
	return out, nil
}

func (r *recordReader) header() []events.HeaderField {
	count := r.uvarint()
	if count == 0 || count > uint64(len(r.raw)) {
		if count != 0 {
			r.fail()
		}
		return nil
	}
	if count > uint64(len(r.fields)) {
		r.fields = make([]events.HeaderField, max(fieldsAtOnce, count))
	}
	header := r.fields[:count:count]
	r.fields = r.fields[count:]
	for i := range header {
		number := int(r.byte())
		switch {
		case number == 0:
			header[i].Name = r.text()
		case number <= len(headerNames):
			header[i].Name = headerNames[number-1]
		default:
			r.fail()
		}
		header[i].Value = r.text()
	}
	return header
}
