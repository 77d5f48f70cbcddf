package seal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
)

// What begins an envelope, by format. Format 1 is followed by the ciphertext; format 2 by the length of the shell (a varint), the shell and the ciphertext, which
// is empty in a redacted event.
const (
	magic1 = "wake-sealed-1:"
	magic2 = "wake-sealed-2:"
)

// envelope is a sealed payload taken apart.
type envelope struct {
	outside []byte // everything before the ciphertext; empty in format 1
	shell   []byte // part of outside; empty if there is none
	cipher  []byte
}

// parse takes a payload apart. The parts share its memory.
func parse(payload []byte) (envelope, error) {
	if cipher, ok := bytes.CutPrefix(payload, []byte(magic1)); ok {
		return envelope{cipher: cipher}, nil
	}
	rest, ok := bytes.CutPrefix(payload, []byte(magic2))
	if !ok {
		return envelope{}, errors.New("a secret that is not sealed, or in a newer way: it was not written by this wake or an older one")
	}
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > uint64(len(rest)-n) {
		return envelope{}, errors.New("a sealed secret whose shell is damaged")
	}
	end := len(magic2) + n + int(length)
	return envelope{outside: slices.Clip(payload[:end]), shell: slices.Clip(payload[end-int(length) : end]), cipher: payload[end:]}, nil
}

// outside returns the beginning of an envelope with a shell.
func outside(shell []byte) []byte {
	b := binary.AppendUvarint([]byte(magic2), uint64(len(shell)))
	return append(b, shell...)
}

// shellOf returns a Secret's payload without what is secret: data keeps its keys and loses its values, and so do annotations, because tools keep
// whole manifests in them. It is empty for a payload that isn't a Secret's.
func shellOf(payload []byte) []byte {
	var s corev1.Secret
	if s.Unmarshal(payload) != nil {
		return nil
	}
	for key := range s.Data {
		s.Data[key] = nil
	}
	for key := range s.StringData {
		s.StringData[key] = ""
	}
	for key := range s.Annotations {
		s.Annotations[key] = ""
	}
	shell, err := s.Marshal()
	if err != nil {
		return nil
	}
	return shell
}

// OpenShell opens e without a key: if it is a Secret's, its payload becomes the shell. Error: it has none.
func OpenShell(e *events.Event) error {
	if !sealable(e) {
		return nil
	}
	sealed, err := parse(e.Payload)
	switch {
	case err != nil:
		return err
	case len(sealed.shell) == 0:
		return errors.New("a secret sealed without a shell: it can't be shown without the key")
	}
	e.Payload = sealed.shell
	return nil
}

// Shell returns ledger as it can be read without the key: Secrets have their metadata, type and keys, and no data. Those that were sealed without a shell are
// set aside. It refuses to append a Secret, whose data would be lost.
func Shell(ledger events.Ledger) events.Ledger { return &shells{ledger} }

type shells struct{ events.Ledger }

// Append is events.Ledger's.
func (l *shells) Append(ctx context.Context, proposals ...events.Proposal) (events.Revision, error) {
	for i := range proposals {
		if sealable(&proposals[i].Event) {
			return 0, withoutKey(&proposals[i])
		}
	}
	return l.Ledger.Append(ctx, proposals...)
}

// AppendEach is events.Ledger's.
func (l *shells) AppendEach(ctx context.Context, proposals []events.Proposal) []events.Result {
	results := make([]events.Result, len(proposals))
	var allowed []events.Proposal
	var at []int
	for i, p := range proposals {
		if sealable(&p.Event) {
			results[i].Err = withoutKey(&p)
			continue
		}
		allowed, at = append(allowed, p), append(at, i)
	}
	for i, r := range l.Ledger.AppendEach(ctx, allowed) {
		results[at[i]] = r
	}
	return results
}

func withoutKey(p *events.Proposal) error {
	return fmt.Errorf("appending %s %s: the ledger was opened without the key that seals secrets", p.Type, p.Ref)
}

// Follow is events.Ledger's.
func (l *shells) Follow(ctx context.Context, start events.Start, deliver func(events.Batch) error) error {
	return follow(ctx, l.Ledger, start, OpenShell, deliver)
}

// Read is events.Ledger's. An event without a shell is given without its payload.
func (l *shells) Read(ctx context.Context, q events.Query, yield func(events.Event) bool) error {
	return read(ctx, l.Ledger, q, OpenShell, yield)
}

// Notes implements events.Noter.
func (l *shells) Notes(ctx context.Context, at events.Revision) (events.Recent, error) {
	return events.ReadNotes(ctx, l.Ledger, at)
}

// Redact returns r without what is secret: of a Secret's payload the shell is left, of one that has none, nothing. Its digest stays the same, see
// events.Raw.Kept. Shell and OpenShell read what is left; it is not proven by the digest as the rest of the event is.
func Redact(r events.Raw) events.Raw {
	if !mayBeSecret(r.Subject) || len(r.Payload) == 0 {
		return r
	}
	if sealed, err := parse(r.Payload); err == nil && len(sealed.shell) > 0 {
		return r.Without(bytes.Clone(sealed.outside))
	}
	return r.Without(nil)
}

// mayBeSecret says that a subject is that of a Secret's desired state, or can't be understood and looks like it.
func mayBeSecret(subject string) bool {
	facet, ref, err := events.ParseSubject(subject)
	if err != nil {
		return strings.Contains(subject, secrets.Resource)
	}
	return facet == events.Desired && ref.GroupResource() == secrets
}
