package trust

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/wakehq/wake/events"
)

// A chain file has a header and then a record per revision: the event's digest in full and a checksum over revision and digest. The event's digest rather than
// the chain's is kept because each event can be checked by itself with it, moved events can be recognised, and the chain follows from it; the
// checksum tells a torn write from an altered record.
const (
	chainMagic   = "wake-chain-1\x00\x00\x00\x00"
	headerBytes  = 128
	recordBytes  = sha256.Size + 4
	windowLength = 1024 // records that are read at once
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hole stands for the digest of an event that was missing when a break was accepted.
var hole events.Digest

// chainHeader begins a chain file.
type chainHeader struct {
	epoch   uint32
	first   events.Revision // of the first record
	before  events.Digest   // the chain before it
	cluster events.Digest   // of the cluster's ID
}

func (h chainHeader) bytes() []byte {
	b := append(make([]byte, 0, headerBytes), chainMagic...)
	b = binary.BigEndian.AppendUint32(b, h.epoch)
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = append(append(b, h.before[:]...), h.cluster[:]...)
	b = b[:headerBytes-4]
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseHeader(b []byte) (h chainHeader, ok bool) {
	body := b[:headerBytes-4]
	if string(body[:len(chainMagic)]) != chainMagic || binary.BigEndian.Uint32(b[headerBytes-4:]) != crc32.Checksum(body, castagnoli) {
		return h, false
	}
	body = body[len(chainMagic):]
	h.epoch, h.first = binary.BigEndian.Uint32(body), binary.BigEndian.Uint64(body[4:])
	copy(h.before[:], body[12:])
	copy(h.cluster[:], body[12+sha256.Size:])
	return h, true
}

// chainFile is an open chain file. It is used by one goroutine.
type chainFile struct {
	file   *os.File
	header chainHeader
	count  uint64 // records

	window      []byte
	windowStart uint64 // index of the record that window begins with
}

func chainPath(dir string, epoch int) string {
	return filepath.Join(dir, fmt.Sprintf("chain-%04d", epoch))
}

// errDamaged says that a file is not what the notary wrote.
var errDamaged = errors.New("the header is damaged")

// createChain makes an empty chain file, over one that nothing was recorded in yet.
func createChain(dir string, header chainHeader) (*chainFile, error) {
	path := chainPath(dir, int(header.epoch))
	if err := writeWhole(path, header.bytes()); err != nil {
		return nil, fmt.Errorf("beginning a chain file: %w", err)
	}
	return openChain(path, os.O_RDWR)
}

// openChain opens a chain file. Errors: fs.ErrNotExist, errDamaged.
func openChain(path string, flag int) (*chainFile, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	c := &chainFile{file: f}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var b [headerBytes]byte
	_, err = f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, f.Close())
	}
	var ok bool
	if c.header, ok = parseHeader(b[:]); !ok || err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, errDamaged), f.Close())
	}
	c.count = uint64(info.Size()-headerBytes) / recordBytes
	return c, nil
}

func (c *chainFile) close() error { return c.file.Close() }

// next is the revision of the next record.
func (c *chainFile) next() events.Revision { return c.header.first + c.count }

// at returns the digest that revision n was witnessed with. It is not ok if there is no sound record.
func (c *chainFile) at(n events.Revision) (d events.Digest, ok bool) {
	if n < c.header.first || n >= c.next() {
		return d, false
	}
	index := n - c.header.first
	if index < c.windowStart || index >= c.windowStart+uint64(len(c.window)/recordBytes) {
		if !c.slide(index) {
			return d, false
		}
	}
	b := c.window[(index-c.windowStart)*recordBytes:][:recordBytes]
	copy(d[:], b)
	return d, binary.BigEndian.Uint32(b[sha256.Size:]) == recordSum(n, d)
}

func (c *chainFile) slide(index uint64) bool {
	if c.window == nil {
		c.window = make([]byte, 0, windowLength*recordBytes)
	}
	n, err := c.file.ReadAt(c.window[:cap(c.window)], headerBytes+int64(index)*recordBytes)
	c.window, c.windowStart = c.window[:n/recordBytes*recordBytes], index
	return (err == nil || errors.Is(err, io.EOF)) && len(c.window) > 0
}

func recordSum(n events.Revision, d events.Digest) uint32 {
	var b [8 + sha256.Size]byte
	binary.BigEndian.PutUint64(b[:], n)
	copy(b[8:], d[:])
	return crc32.Checksum(b[:], castagnoli)
}

// append adds records. What a failed append left behind is written over by the next.
func (c *chainFile) append(digests []events.Digest) error {
	b := make([]byte, 0, len(digests)*recordBytes)
	for i, d := range digests {
		b = binary.BigEndian.AppendUint32(append(b, d[:]...), recordSum(c.next()+uint64(i), d))
	}
	if _, err := c.file.WriteAt(b, headerBytes+int64(c.count)*recordBytes); err != nil {
		return fmt.Errorf("recording %s in the chain: %w", span(c.next(), c.next()+uint64(len(digests))-1), err)
	}
	c.count += uint64(len(digests))
	c.window = c.window[:0]
	return nil
}

// sound returns the first revision from n on without a sound record, and whether sound records follow: then it isn't a torn tail.
func (c *chainFile) sound(n events.Revision) (end events.Revision, followed bool) {
	for n < c.next() {
		if _, ok := c.at(n); !ok {
			break
		}
		n++
	}
	for m := n + 1; m < c.next(); m++ {
		if _, ok := c.at(m); ok {
			return n, true
		}
	}
	return n, false
}

// dropFrom forgets the records from n on, which are torn.
func (c *chainFile) dropFrom(n events.Revision) error {
	c.count, c.window = n-c.header.first, c.window[:0]
	if err := c.file.Truncate(headerBytes + int64(c.count)*recordBytes); err != nil {
		return fmt.Errorf("dropping the torn end of the chain: %w", err)
	}
	return nil
}

// skipHoles returns the first revision from n on, but no later than end, that isn't recorded as a hole.
func (c *chainFile) skipHoles(n, end events.Revision) events.Revision {
	for n < end {
		if d, ok := c.at(n); !ok || d != hole {
			break
		}
		n++
	}
	return n
}
