package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/wakehq/wake/events"
)

const (
	magic    = "WAKESEG1"
	endMagic = "WAKEEND1"

	frameHeaderBytes = 36
	trailerBytes     = 28
	// maxRawBytes bounds a block uncompressed, so that no file makes a reader ask for more memory than that. A directory of 100,000 blocks fits.
	maxRawBytes = 64 << 20
	// zstdOverhead is how much larger than its contents a block may be that doesn't compress.
	zstdOverhead = 4 << 10
)

// The kinds of frames, in the order in which they come.
const (
	headerFrame    = 'H'
	stateFrame     = 'S'
	noteFrame      = 'N'
	eventFrame     = 'E'
	indexFrame     = 'I'
	directoryFrame = 'D'
)

var frameNames = map[byte]string{headerFrame: "header", stateFrame: "state", noteFrame: "notes", eventFrame: "events", indexFrame: "index", directoryFrame: "directory"}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// compressor and decompressor are stateless as they are used here, and expensive to make.
var (
	compressor = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	})
	decompressor = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxRawBytes))
	})
)

// block tells where a frame is and what is in it.
type block struct {
	kind        byte
	offset      int64
	stored, raw uint32 // bytes, compressed and not
	count       uint32 // records
	first, last events.Revision
	checksum    uint32
	time        int64  // when the first record was stored, in Unix nanoseconds; events only
	key         string // the first subject; state and index only
}

// size is that of the whole frame.
func (b *block) size() int64 { return frameHeaderBytes + int64(b.stored) }

func (b *block) String() string {
	s := fmt.Sprintf("the %s block at byte %d", frameNames[b.kind], b.offset)
	if b.last > 0 {
		s += fmt.Sprintf(", revisions %d–%d", b.first, b.last)
	}
	return s
}

// header gives the frame's header; the checksum is over it and the data.
func (b *block) header(data []byte) [frameHeaderBytes]byte {
	var h [frameHeaderBytes]byte
	h[0] = b.kind
	binary.LittleEndian.PutUint32(h[4:], b.stored)
	binary.LittleEndian.PutUint32(h[8:], b.raw)
	binary.LittleEndian.PutUint32(h[12:], b.count)
	binary.LittleEndian.PutUint64(h[16:], b.first)
	binary.LittleEndian.PutUint64(h[24:], b.last)
	b.checksum = crc32.Update(crc32.Checksum(h[:32], castagnoli), castagnoli, data)
	binary.LittleEndian.PutUint32(h[32:], b.checksum)
	return h
}

// readFrame reads the frame that b tells of, and its contents as they are stored.
func readFrame(r io.ReaderAt, file string, b block) ([]byte, error) {
	damaged := func(reason string) error {
		return &DamageError{File: file, Block: b.String(), First: b.first, Last: b.last, Reason: reason}
	}
	frame := make([]byte, b.size())
	if n, err := r.ReadAt(frame, b.offset); err != nil && n < len(frame) {
		if err == io.EOF {
			return nil, damaged("the file ends within it")
		}
		return nil, fmt.Errorf("reading %s of %s: %w", b.String(), file, err)
	}
	expected := b
	if header := expected.header(frame[frameHeaderBytes:]); expected.checksum != b.checksum || string(header[:]) != string(frame[:frameHeaderBytes]) {
		return nil, damaged("its checksum is wrong")
	}
	return frame, nil
}

// readBlock gives the contents of b.
func readBlock(r io.ReaderAt, file string, b block) ([]byte, error) {
	frame, err := readFrame(r, file, b)
	if err != nil {
		return nil, err
	}
	decoder, err := decompressor()
	if err != nil {
		return nil, err
	}
	if b.raw > maxRawBytes {
		return nil, &DamageError{File: file, Block: b.String(), First: b.first, Last: b.last, Reason: fmt.Sprintf("it claims %d bytes", b.raw)}
	}
	raw, err := decoder.DecodeAll(frame[frameHeaderBytes:], make([]byte, 0, b.raw))
	if err != nil || len(raw) != int(b.raw) {
		return nil, &DamageError{File: file, Block: b.String(), First: b.first, Last: b.last, Reason: "it does not decompress"}
	}
	return raw, nil
}

// DamageError says what part of a file can't be read. The rest can.
type DamageError struct {
	File        string
	Block       string          // "the events block at byte 1234, revisions 7–9"
	First, Last events.Revision // that it holds; 0 if it holds none, or that isn't known
	Reason      string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged: %s: %s (put back an undamaged copy of the file)", e.File, e.Block, e.Reason)
}
