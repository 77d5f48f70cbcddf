package segment

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
)

// ErrGap says that an event is missing between two that should follow each other.
var ErrGap = errors.New("an event is missing")

// Reader reads a file. It may be used by many goroutines. The Raws that it gives share memory with each other; they must not be written to.
type Reader struct {
	file   io.ReaderAt
	name   string
	size   int64
	close  func() error
	header Header
	footer Footer

	blocks               []block // all
	states, notes, bodys []block
	index                []block
}

// OpenFile opens the file at path. The caller closes the Reader.
func OpenFile(path string) (*Reader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r, err := Open(file, info.Size(), path)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r.close = file.Close
	return r, nil
}

// Open opens a file of size bytes; name is what errors call it. Only its beginning and its end are read and checked; see Verify.
func Open(file io.ReaderAt, size int64, name string) (*Reader, error) {
	r := &Reader{file: file, name: name, size: size}
	directory, err := r.trailer()
	if err != nil {
		return nil, err
	}
	raw, err := r.outer(directory, directoryFrame, size-trailerBytes)
	if err != nil {
		return nil, err
	}
	if r.footer, r.blocks, err = decodeDirectory(raw.data, raw.count); err != nil {
		return nil, r.damaged(block{kind: directoryFrame, offset: directory}, "it is malformed")
	}
	for i, at := 0, int64(len(magic)); i <= len(r.blocks); i++ {
		if i == len(r.blocks) && at != directory || i < len(r.blocks) && r.blocks[i].offset != at {
			return nil, r.damaged(block{kind: directoryFrame, offset: directory}, "it does not fit the file")
		}
		if i < len(r.blocks) {
			at += r.blocks[i].size()
		}
	}
	if len(r.blocks) == 0 || r.blocks[0].kind != headerFrame {
		return nil, r.damaged(block{kind: directoryFrame, offset: directory}, "it tells of no header")
	}
	for kind, list := range map[byte]*[]block{stateFrame: &r.states, noteFrame: &r.notes, eventFrame: &r.bodys, indexFrame: &r.index} {
		for _, b := range r.blocks {
			if b.kind == kind {
				*list = append(*list, b)
			}
		}
	}
	text, err := readBlock(file, name, r.blocks[0])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &r.header); err != nil {
		return nil, r.damaged(r.blocks[0], "it is malformed")
	}
	if r.header.Format != Format {
		return nil, fmt.Errorf("%s has format %d, this wake reads %d: read it with the version of wake that wrote it", name, r.header.Format, Format)
	}
	return r, nil
}

func (r *Reader) damaged(b block, reason string) error {
	return &DamageError{File: r.name, Block: b.String(), First: b.first, Last: b.last, Reason: reason}
}

// trailer checks both ends of the file and returns where the directory is.
func (r *Reader) trailer() (directory int64, _ error) {
	var begin [len(magic)]byte
	if _, err := r.file.ReadAt(begin[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading %s: %w", r.name, err)
	}
	if string(begin[:]) != magic {
		return 0, fmt.Errorf("%s is not a recording of a ledger: it does not begin with %s", r.name, magic)
	}
	cut := &DamageError{File: r.name, Block: "its end", Reason: fmt.Sprintf("after %d bytes: it was cut off, or its writing never finished", r.size)}
	if r.size < int64(len(magic))+trailerBytes {
		return 0, cut
	}
	var end [trailerBytes]byte
	if n, err := r.file.ReadAt(end[:], r.size-trailerBytes); err != nil && n < len(end) {
		return 0, fmt.Errorf("reading %s: %w", r.name, err)
	}
	directory = int64(binary.LittleEndian.Uint64(end[:]))
	if string(end[20:]) != endMagic || binary.LittleEndian.Uint32(end[16:]) != crc32.Checksum(end[:16], castagnoli) ||
		int64(binary.LittleEndian.Uint64(end[8:])) != r.size || directory < int64(len(magic)) || directory > r.size-trailerBytes-frameHeaderBytes {
		return 0, cut
	}
	return directory, nil
}

// outerBlock is a block that no directory tells of.
type outerBlock struct {
	data  []byte
	count uint32
}

// outer reads the block at offset, which ends at end, by its own header.
func (r *Reader) outer(offset int64, kind byte, end int64) (outerBlock, error) {
	var h [frameHeaderBytes]byte
	if n, err := r.file.ReadAt(h[:], offset); err != nil && n < len(h) {
		return outerBlock{}, fmt.Errorf("reading %s: %w", r.name, err)
	}
	b := block{kind: h[0], offset: offset, stored: binary.LittleEndian.Uint32(h[4:]), raw: binary.LittleEndian.Uint32(h[8:]), count: binary.LittleEndian.Uint32(h[12:]),
		first: binary.LittleEndian.Uint64(h[16:]), last: binary.LittleEndian.Uint64(h[24:]), checksum: binary.LittleEndian.Uint32(h[32:])}
	if b.kind != kind || offset+b.size() != end {
		return outerBlock{}, r.damaged(block{kind: kind, offset: offset}, "it is not where it should be")
	}
	data, err := readBlock(r.file, r.name, b)
	return outerBlock{data: data, count: b.count}, err
}

// Close closes the file if OpenFile opened it.
func (r *Reader) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Name returns what the file is called.
func (r *Reader) Name() string { return r.name }

// Size returns the file's size in bytes.
func (r *Reader) Size() int64 { return r.size }

// Header returns what the file begins with.
func (r *Reader) Header() Header { return r.header }

// Footer returns what the file ends with.
func (r *Reader) Footer() Footer { return r.footer }

// records decodes a whole block.
func (r *Reader) records(b block) ([]events.Raw, error) {
	raw, err := readBlock(r.file, r.name, b)
	if err != nil {
		return nil, err
	}
	in := recordReader{cursor: cursor{raw: raw}}
	out := make([]events.Raw, 0, min(int(b.count), len(raw)))
	for range b.count {
		record, err := in.next()
		if err != nil || record.Revision < b.first || record.Revision > b.last {
			return nil, r.damaged(b, "it is malformed")
		}
		out = append(out, record)
	}
	if len(in.raw) > 0 {
		return nil, r.damaged(b, "it is malformed")
	}
	return out, nil
}

// eachRecord gives the records of blocks in order, decompressing ahead.
func (r *Reader) eachRecord(blocks []block, yield func(events.Raw) bool) error {
	return ahead(blocks, r.records, func(records []events.Raw) bool { return each(records, yield) })
}

// State gives the last event of every facet as of Header().Base, ordered by subject, until yield returns false.
func (r *Reader) State(yield func(events.Raw) bool) error { return r.eachRecord(r.states, yield) }

// Notes gives the newest events with notes up to Header().Base, without their payloads, in order.
func (r *Reader) Notes(yield func(events.Raw) bool) error { return r.eachRecord(r.notes, yield) }

// Events gives the events from from to to (inclusive; 0 is open) in order, until yield returns false.
func (r *Reader) Events(from, to events.Revision, yield func(events.Raw) bool) error {
	if to == 0 {
		to = r.footer.Last
	}
	return r.eachRecord(r.blocksBetween(from, to), func(e events.Raw) bool {
		return e.Revision < from || e.Revision <= to && yield(e)
	})
}

// blocksBetween returns the blocks of events that hold any of from to to.
func (r *Reader) blocksBetween(from, to events.Revision) []block {
	begin := sort.Search(len(r.bodys), func(i int) bool { return r.bodys[i].last >= from })
	end := sort.Search(len(r.bodys), func(i int) bool { return r.bodys[i].first > to })
	return r.bodys[begin:max(begin, end)]
}

// RevisionAt returns the revision of the last event stored at or before t: at least Base, though that may be later than t.
func (r *Reader) RevisionAt(t time.Time) (events.Revision, error) {
	at := sort.Search(len(r.bodys), func(i int) bool { return r.bodys[i].time > t.UnixNano() })
	if at == 0 {
		return r.header.Base, nil
	}
	records, err := r.records(r.bodys[at-1])
	if err != nil {
		return 0, err
	}
	later := sort.Search(len(records), func(i int) bool { return records[i].Stored.After(t) })
	return r.bodys[at-1].first + events.Revision(later) - 1, nil
}

// Last returns the last event on subject up to a revision, the state's included; false if there is none. at must not lie before Base.
func (r *Reader) Last(subject string, at events.Revision) (events.Raw, bool, error) {
	found, err := r.LastOf([]string{subject}, at)
	if err != nil || len(found) == 0 {
		return events.Raw{}, false, err
	}
	return found[0], true, nil
}

// own gives e memory of its own.
func own(e events.Raw) events.Raw {
	e.Subject, e.Payload, e.Header = strings.Clone(e.Subject), slices.Clone(e.Payload), slices.Clone(e.Header)
	for i := range e.Header {
		e.Header[i].Value = strings.Clone(e.Header[i].Value)
	}
	return e
}
