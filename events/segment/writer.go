package segment

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// Format is the version of the format that this code writes. Files of another aren't read.
const Format = 1

// Sizes of blocks, in bytes uncompressed: large ones compress better, and a look-up reads one of each kind.
const (
	eventBlockBytes = 256 << 10
	stateBlockBytes = 128 << 10
	indexBlockBytes = 32 << 10
)

// Header says what a file is of. It is at the file's beginning.
type Header struct {
	Format    int               `json:"format"`
	Cluster   string            `json:"cluster"`             // which cluster's ledger it is from
	Deciders  map[string]string `json:"deciders,omitempty"`  // the configuration of those who decided
	Base      events.Revision   `json:"base"`                // the state is as of this revision; the first event is the one after it
	BaseTime  time.Time         `json:"baseTime"`            // when the event at Base was stored; zero if Base is 0
	Chain     events.Digest     `json:"chain"`               // the hash chain up to Base
	Forgotten events.Revision   `json:"forgotten,omitempty"` // the state leaves out objects that ended, and all of whose events are up to this revision
	Thinned   bool              `json:"thinned,omitempty"`   // superseded observed events were thinned
}

// Footer says what a file came to. It is at the file's end.
type Footer struct {
	Last      events.Revision `json:"last"` // of the last event; Base if there are none
	LastTime  time.Time       `json:"lastTime"`
	Chain     events.Digest   `json:"chain"`             // the hash chain up to Last
	Events    int             `json:"events"`            // how many
	Partial   int             `json:"partial,omitempty"` // those of them whose payload was dropped or replaced
	Facets    int             `json:"facets"`            // how many facets the state has
	StateSize int64           `json:"stateSize"`         // bytes, uncompressed
	EventSize int64           `json:"eventSize"`
	Notes     int             `json:"notes"`
}

// Writer writes a file: first the state, then notes, then events, each of which there may be none, then Close. After an error it is of no more use.
type Writer struct {
	out    io.Writer
	offset int64
	header Header
	footer Footer
	blocks []block
	kind   byte // of the block being filled; 0 at first
	record recordWriter
	block  block
	state  string // the last subject
	noted  events.Revision
	index  map[string]*posting
}

// posting is where a subject's events are: revisions as differences.
type posting struct {
	count int
	last  events.Revision
	raw   []byte
}

// NewWriter begins a file on out, which stays the caller's to close. Format needn't be set.
func NewWriter(out io.Writer, header Header) (*Writer, error) {
	header.Format = Format
	w := &Writer{out: out, header: header, footer: Footer{Last: header.Base, LastTime: header.BaseTime, Chain: header.Chain}, index: map[string]*posting{}}
	if err := w.write([]byte(magic)); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	return w, w.frame(block{kind: headerFrame, count: 1}, raw)
}

func (w *Writer) write(data []byte) error {
	n, err := w.out.Write(data)
	w.offset += int64(n)
	if err != nil {
		return fmt.Errorf("writing a segment after revision %d: %w", w.header.Base, err)
	}
	return nil
}

// frame compresses raw and writes it.
func (w *Writer) frame(b block, raw []byte) error {
	encoder, err := compressor()
	if err != nil {
		return err
	}
	if len(raw) > maxRawBytes {
		return fmt.Errorf("a block of %d bytes: a file has blocks of at most %d", len(raw), maxRawBytes)
	}
	data := encoder.EncodeAll(raw, make([]byte, 0, len(raw)/4+zstdOverhead))
	b.offset, b.stored, b.raw = w.offset, uint32(len(data)), uint32(len(raw))
	header := b.header(data)
	w.blocks = append(w.blocks, b)
	if err := w.write(header[:]); err != nil {
		return err
	}
	return w.write(data)
}

// State adds the last event of a facet. They come in ascending order of their subjects.
func (w *Writer) State(r events.Raw) error {
	switch {
	case w.kind != 0 && w.kind != stateFrame:
		return fmt.Errorf("event %d for the state comes after notes or events", r.Revision)
	case w.footer.Facets > 0 && r.Subject <= w.state:
		return fmt.Errorf("event %d for the state: subject %q comes after %q", r.Revision, r.Subject, w.state)
	case r.Revision > w.header.Base:
		return fmt.Errorf("event %d for the state as of revision %d", r.Revision, w.header.Base)
	}
	w.state = r.Subject
	w.footer.Facets++
	return w.add(stateFrame, stateBlockBytes, &r)
}

// Note adds an event with a note, up to the base. They come in ascending order, and are kept without payload.
func (w *Writer) Note(r events.Raw) error {
	switch {
	case w.kind == eventFrame:
		return fmt.Errorf("note %d comes after events", r.Revision)
	case r.Revision <= w.noted || r.Revision > w.header.Base:
		return fmt.Errorf("note %d comes after %d, as of revision %d", r.Revision, w.noted, w.header.Base)
	}
	w.noted = r.Revision
	w.footer.Notes++
	if len(r.Payload) > 0 {
		r = r.Without(nil)
	}
	return w.add(noteFrame, eventBlockBytes, &r)
}

// Event adds the next event.
func (w *Writer) Event(r events.Raw) error {
	if r.Revision != w.footer.Last+1 {
		return fmt.Errorf("event %d comes after %d: %w", r.Revision, w.footer.Last, ErrGap)
	}
	w.footer.Last, w.footer.LastTime = r.Revision, r.Stored
	w.footer.Chain = w.footer.Chain.Link(r.Digest())
	w.footer.Events++
	if r.Kept != nil {
		w.footer.Partial++
	}
	p := w.index[r.Subject]
	if p == nil {
		p = &posting{last: w.header.Base}
		w.index[strings.Clone(r.Subject)] = p
	}
	p.count++
	p.raw = binary.AppendUvarint(p.raw, r.Revision-p.last)
	p.last = r.Revision
	return w.add(eventFrame, eventBlockBytes, &r)
}

// Size returns how many bytes the events written so far take, uncompressed.
func (w *Writer) Size() int64 { return w.footer.EventSize + int64(len(w.record.raw)) }

// Copy takes over the state and the notes of r, which has the same base, as they are.
func (w *Writer) Copy(r *Reader) error {
	if w.kind != 0 || r.header.Base != w.header.Base {
		return fmt.Errorf("the state of %s is as of revision %d, this file's as of %d", r.name, r.header.Base, w.header.Base)
	}
	for _, b := range r.blocks {
		if b.kind != stateFrame && b.kind != noteFrame {
			continue
		}
		frame, err := readFrame(r.file, r.name, b)
		if err != nil {
			return err
		}
		b.offset = w.offset
		w.blocks = append(w.blocks, b)
		if err := w.write(frame); err != nil {
			return err
		}
	}
	w.kind = noteFrame
	w.footer.Facets, w.footer.StateSize, w.footer.Notes = r.footer.Facets, r.footer.StateSize, r.footer.Notes
	return nil
}

// add adds a record to the block being filled, and writes that when it is full.
func (w *Writer) add(kind byte, full int, r *events.Raw) error {
	if w.kind != kind {
		if err := w.flush(); err != nil {
			return err
		}
		w.kind = kind
	}
	b := &w.block
	if b.count == 0 {
		*b = block{kind: kind, first: r.Revision, last: r.Revision}
		switch kind {
		case stateFrame:
			b.key = strings.Clone(r.Subject)
		case eventFrame:
			b.time = r.Stored.UnixNano()
		}
	}
	b.first, b.last = min(b.first, r.Revision), max(b.last, r.Revision)
	b.count++
	w.record.add(r)
	if len(w.record.raw) < full {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if w.block.count == 0 {
		return nil
	}
	switch w.block.kind {
	case stateFrame:
		w.footer.StateSize += int64(len(w.record.raw))
	case eventFrame:
		w.footer.EventSize += int64(len(w.record.raw))
	}
	err := w.frame(w.block, w.record.raw)
	w.block, w.record = block{}, recordWriter{raw: w.record.raw[:0]}
	return err
}

// Close writes what is still to be written and says what the file came to.
func (w *Writer) Close() (Footer, error) {
	if err := w.flush(); err != nil {
		return Footer{}, err
	}
	if err := w.writeIndex(); err != nil {
		return Footer{}, err
	}
	directory := w.offset
	raw, err := encodeDirectory(&w.footer, w.blocks)
	if err != nil {
		return Footer{}, err
	}
	if err := w.frame(block{kind: directoryFrame, count: uint32(len(w.blocks))}, raw); err != nil {
		return Footer{}, err
	}
	trailer := binary.LittleEndian.AppendUint64(nil, uint64(directory))
	trailer = binary.LittleEndian.AppendUint64(trailer, uint64(w.offset+trailerBytes))
	trailer = binary.LittleEndian.AppendUint32(trailer, crc32.Checksum(trailer, castagnoli))
	return w.footer, w.write(append(trailer, endMagic...))
}

func (w *Writer) writeIndex() error {
	subjects := make([]string, 0, len(w.index))
	for subject := range w.index {
		subjects = append(subjects, subject)
	}
	slices.Sort(subjects)
	var out recordWriter
	b := block{kind: indexFrame, first: w.header.Base + 1, last: w.footer.Last}
	for i, subject := range subjects {
		if b.count == 0 {
			b.key = subject
		}
		b.count++
		p := w.index[subject]
		out.text(subject)
		out.raw = binary.AppendUvarint(out.raw, uint64(p.count))
		out.raw = append(out.raw, p.raw...)
		if len(out.raw) >= indexBlockBytes || i == len(subjects)-1 {
			if err := w.frame(b, out.raw); err != nil {
				return err
			}
			out.raw, b.count = out.raw[:0], 0
		}
	}
	return nil
}

// encodeDirectory gives the footer, as JSON, and the blocks.
func encodeDirectory(footer *Footer, blocks []block) ([]byte, error) {
	text, err := json.Marshal(footer)
	if err != nil {
		return nil, err
	}
	var out recordWriter
	out.text(string(text))
	for i := range blocks {
		b := &blocks[i]
		out.raw = append(out.raw, b.kind)
		for _, n := range [...]uint64{uint64(b.offset), uint64(b.stored), uint64(b.raw), uint64(b.count), b.first, b.last, uint64(b.checksum)} {
			out.raw = binary.AppendUvarint(out.raw, n)
		}
		switch b.kind {
		case stateFrame, indexFrame:
			out.text(b.key)
		case eventFrame:
			out.raw = binary.AppendVarint(out.raw, b.time)
		}
	}
	return out.raw, nil
}

func decodeDirectory(raw []byte, count uint32) (footer Footer, blocks []block, _ error) {
	in := cursor{raw: raw}
	if err := json.Unmarshal(in.bytes(in.uvarint()), &footer); err != nil {
		return Footer{}, nil, err
	}
	for range count {
		b := block{kind: in.byte(), offset: int64(in.uvarint()), stored: uint32(in.uvarint()), raw: uint32(in.uvarint()), count: uint32(in.uvarint()),
			first: in.uvarint(), last: in.uvarint(), checksum: uint32(in.uvarint())}
		switch b.kind {
		case stateFrame, indexFrame:
			b.key = strings.Clone(in.text())
		case eventFrame:
			b.time = in.varint()
		}
		if in.failed {
			return Footer{}, nil, errMalformed
		}
		blocks = append(blocks, b)
	}
	if len(in.raw) > 0 || !slices.IsSortedFunc(blocks, func(a, b block) int { return cmp.Compare(a.offset, b.offset) }) {
		return Footer{}, nil, errMalformed
	}
	return footer, blocks, nil
}
