// Package seal keeps secrets out of the ledger in plain text. It guarantees:
//
//   - The desired facet of every Secret is encrypted before it is appended (AES-256-GCM, a nonce of its own, bound to its subject and UID, so that a
//     sealed payload moved to another object doesn't open) and opened as it is read.
//   - The key lives in a file of its own, mode 0600, and nowhere in the ledger.
//   - An event that doesn't open is set aside, never shown sealed and never dropped.
//   - Without the key everything about a Secret can be read but its data and its annotations' values (Shell), and exports can leave the data out for
//     good (Redact). No byte of either is in what is left.
//
// A sealed payload is an envelope: the shell (the Secret without its secrets, in plain text, authenticated with the rest) and the ciphertext of the whole payload.
// Ledgers of before hold envelopes without a shell (format 1); they open as ever.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wakehq/wake/events"
)

const keyBytes = 32

// secrets is what is sealed.
var secrets = events.GroupResource{Resource: "secrets"}

// Ledger is a ledger whose Secrets are sealed in the one beneath.
type Ledger struct {
	events.Ledger
	aead     cipher.AEAD
	redacted bool // what Redact left may be beneath
}

// New returns ledger with Secrets sealed under the key in keyFile, which is made if it doesn't exist.
func New(ledger events.Ledger, keyFile string) (*Ledger, error) {
	key, err := loadKey(keyFile)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("the key in %s: %w", keyFile, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("the key in %s: %w", keyFile, err)
	}
	return &Ledger{Ledger: ledger, aead: aead}, nil
}

// Redacted returns l for a ledger that may be redacted, as an export is: a Secret whose data was left out is given as its shell, as Shell gives it. A cluster's own
// ledger is not to be read so: nothing proves a shell without its ciphertext, and one that lost it must be noticed.
func (l *Ledger) Redacted() *Ledger {
	return &Ledger{Ledger: l.Ledger, aead: l.aead, redacted: true}
}

func loadKey(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key that seals secrets: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("%s does not hold a key (%d bytes in hexadecimal): put back the file that this cluster was started with; without it its secrets can't be read", file, keyBytes)
	}
	return key, nil
}

// makeKey writes the file whole or not at all: a torn key would lock the secrets for good.
func makeKey(file string) ([]byte, error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails, since Go 1.24
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("making a key to seal secrets with: %w", err)
	}
	temporary := file + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a key to seal secrets with: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("writing the key to seal secrets with: %w", err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return nil, fmt.Errorf("writing the key to seal secrets with: %w", err)
	}
	return key, nil
}

// Append is events.Ledger's.
func (l *Ledger) Append(ctx context.Context, proposals ...events.Proposal) (events.Revision, error) {
	return l.Ledger.Append(ctx, l.seal(proposals)...)
}

// AppendEach is events.Ledger's.
func (l *Ledger) AppendEach(ctx context.Context, proposals []events.Proposal) []events.Result {
	return l.Ledger.AppendEach(ctx, l.seal(proposals))
}

// Follow is events.Ledger's.
func (l *Ledger) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	return follow(ctx, l.Ledger, start, l.open, deliver)
}

// Read is events.Ledger's. An event that doesn't open is given without its payload.
func (l *Ledger) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	return read(ctx, l.Ledger, q, l.open, yield)
}

// Notes implements events.Noter: events with notes have no payload there, and so nothing to open.
func (l *Ledger) Notes(ctx context.Context, at events.Revision) (events.Recent, error) {
	return events.ReadNotes(ctx, l.Ledger, at)
}

// follow follows beneath and opens what is sealed; what doesn't open is set aside.
func follow(ctx context.Context, beneath events.Ledger, start events.Start, open func(*events.Event) error, deliver func(events.Batch) error) error {
	return beneath.Follow(ctx, start, func(b events.Batch) error {
		opened := b.Events[:0]
		for _, e := range b.Events {
			if err := open(&e); err != nil {
				b.SetAside = append(b.SetAside, events.SetAside{Revision: e.Revision, Subject: events.Subject(e.Facet, e.Ref), Reason: err.Error()})
				continue
			}
			opened = append(opened, e)
		}
		b.Events = opened
		return deliver(b)
	})
}

func read(ctx context.Context, beneath events.Ledger, q events.Query, open func(*events.Event) error, yield func(events.Event) bool) error {
	return beneath.Read(ctx, q, func(e events.Event) bool {
		if err := open(&e); err != nil {
			e.Payload = nil
		}
		return yield(e)
	})
}

// sealable says that e's payload is a secret's, which is sealed or to be sealed.
func sealable(e *events.Event) bool {
	return e.Ref.GroupResource() == secrets && e.Facet == events.Desired && len(e.Payload) > 0
}

// boundTo is what an envelope's ciphertext is authenticated with: whose it is, and what stands outside of it in format 2.
func boundTo(e *events.Event, outside []byte) []byte {
	b := []byte(events.Subject(e.Facet, e.Ref) + "\x00" + e.UID)
	if len(outside) > 0 {
		b = append(append(b, 0), outside...)
	}
	return b
}

// seal copies proposals only if one of them needs it.
func (l *Ledger) seal(proposals []events.Proposal) []events.Proposal {
	copied := false
	for i := range proposals {
		if !sealable(&proposals[i].Event) {
			continue
		}
		if !copied {
			proposals, copied = slices.Clone(proposals), true
		}
		e := &proposals[i].Event
		e.Payload = l.envelope(e)
	}
	return proposals
}

// envelope seals e's payload.
func (l *Ledger) envelope(e *events.Event) []byte {
	out := outside(shellOf(e.Payload))
	return l.aead.Seal(out, nil, e.Payload, boundTo(e, out))
}

func (l *Ledger) open(e *events.Event) error {
	if !sealable(e) {
		return nil
	}
	sealed, err := parse(e.Payload)
	if err != nil {
		return err
	}
	if len(sealed.cipher) == 0 {
		if l.redacted {
			return OpenShell(e)
		}
		return errors.New("a secret whose data was left out")
	}
	plain, err := l.aead.Open(nil, nil, sealed.cipher, boundTo(e, sealed.outside))
	if err != nil {
		return errors.New("a secret sealed with a key other than this cluster's, or altered since")
	}
	e.Payload = plain
	return nil
}

// MakeKey makes the key in keyFile, unless there is one.
func MakeKey(keyFile string) error {
	_, err := loadKey(keyFile)
	return err
}
