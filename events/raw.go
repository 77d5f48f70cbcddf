package events

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Raw is an event as it is stored, nothing of it understood yet. Archives and proofs are made of it, so that they hold for events that
// this code can't read, too.
type Raw struct {
	Revision Revision
	Stored   time.Time // by the broker's clock, to the nanosecond
	Subject  string
	Header   []HeaderField // ordered by name; without those that are the broker's own (Nats-…)
	Payload  []byte

	// Kept is the digest of the payload as it was stored, where Payload is less than that: an archive thinned it (Payload is empty then), or an export
	// left out what is secret. Nil for a whole event. Everything but the payload is always whole.
	Kept *Digest
}

// HeaderField is one header of a Raw.
type HeaderField struct{ Name, Value string }

// RawReader hands out events as they are stored. Every stored event is given, understood or not, in ascending order.
type RawReader interface {
	// ReadRaw calls yield with the events from From to To (inclusive; To 0 is up to the end that there was at the beginning) until yield returns
	// false. A revision that the ledger should hold and doesn't is left out: the receiver must see to it that revisions are contiguous. ErrTooOld if from
	// lies before the first that is held.
	ReadRaw(ctx context.Context, from, to Revision, yield func(Raw) bool) error

	// Bounds returns the first and the last revision held. An empty ledger gives 0, 0 (or n+1, n if everything up to n was trimmed).
	Bounds(ctx context.Context) (first, last Revision, err error)
}

// Trimmer drops the oldest events of a ledger for good. Whoever calls it has archived them.
type Trimmer interface {
	// Trim drops the events up to and including revision.
	Trim(ctx context.Context, revision Revision) error
}

// RawOf returns e as a ledger stores it.
func RawOf(e *Event) Raw {
	r := Raw{Revision: e.Revision, Stored: e.Stored, Subject: Subject(e.Facet, e.Ref), Payload: e.Payload}
	EachHeader(e, func(name, value string) { r.Header = append(r.Header, HeaderField{name, value}) })
	slices.SortFunc(r.Header, func(a, b HeaderField) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// Get returns the value of a header, "" if there is none.
func (r *Raw) Get(name string) string {
	for i := range r.Header {
		if r.Header[i].Name == name {
			return r.Header[i].Value
		}
	}
	return ""
}

// Event reads r. An error means that the event must be set aside.
func (r *Raw) Event() (Event, error) {
	e, err := Decode(r.Subject, r.Get, r.Payload)
	if err != nil {
		return Event{}, err
	}
	e.Revision, e.Stored = r.Revision, r.Stored.UTC()
	return e, nil
}

// Digest is a SHA-256: of an event, or of a chain of them.
type Digest [sha256.Size]byte

// String gives d in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives d in hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("a digest is %d hexadecimal digits, not %d", hex.EncodedLen(len(d)), len(text))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// PayloadDigest returns the digest of r's payload as it was stored.
func (r *Raw) PayloadDigest() Digest {
	if r.Kept != nil {
		return *r.Kept
	}
	return sha256.Sum256(r.Payload)
}

// Without returns r with another payload, which says less; its Digest stays the same.
func (r *Raw) Without(payload []byte) Raw {
	less, kept := *r, r.PayloadDigest()
	less.Payload, less.Kept = payload, &kept
	return less
}

// Digest returns what identifies r: that of its revision, time, subject and headers, each with its length before it, and of its payload's digest. So it
// is the same for an event whose payload isn't whole any more, and still proves everything else about it.
func (r *Raw) Digest() Digest {
	size := 8 + 8 + 4 + len(r.Subject) + 4 + sha256.Size
	for i := range r.Header {
		size += 8 + len(r.Header[i].Name) + len(r.Header[i].Value)
	}
	b := make([]byte, 0, size)
	text := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, r.Revision)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Stored.UnixNano()))
	text(r.Subject)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Header)))
	for i := range r.Header {
		text(r.Header[i].Name)
		text(r.Header[i].Value)
	}
	payload := r.PayloadDigest()
	return sha256.Sum256(append(b, payload[:]...))
}

// Link returns the chain that next, the digest of the next event, makes of the chain d. The chain before the first event is the zero Digest.
func (d Digest) Link(next Digest) Digest {
	var both [2 * sha256.Size]byte
	copy(both[:], d[:])
	copy(both[sha256.Size:], next[:])
	return sha256.Sum256(both[:])
}
