package events

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers of an event on the wire. Absent means the zero value.
const (
	HeaderType        = "Wake-Type"
	HeaderActor       = "Wake-Actor"
	HeaderKey         = "Wake-Key"
	HeaderCause       = "Wake-Cause"
	HeaderCorrelation = "Wake-Correlation"
	HeaderBasis       = "Wake-Basis"
	HeaderAt          = "Wake-At"      // Unix milliseconds
	HeaderChanged     = "Wake-Changed" // comma-separated paths
	HeaderSchema      = "Wake-Schema"
	HeaderUID         = "Wake-Uid"
	HeaderTombstone   = "Wake-Tombstone"
	HeaderNote        = "Wake-Note" // JSON
	HeaderID          = "Wake-Id"
	HeaderContentType = "Content-Type"
)

// Content types of payloads.
const (
	ContentProtobuf = "application/vnd.kubernetes.protobuf"
	ContentJSON     = "application/json"
)

// maxChangedBytes bounds the changed paths: subject and headers together should stay well under NATS' 4 KiB control line.
const maxChangedBytes = 1024

const moreChanged = "…"

// EachHeader calls set with every header of e.
func EachHeader(e *Event, set func(name, value string)) {
	text := func(name, value string) {
		if value != "" {
			set(name, value)
		}
	}
	number := func(name string, value uint64) {
		if value != 0 {
			set(name, strconv.FormatUint(value, 10))
		}
	}
	text(HeaderType, e.Type)
	text(HeaderActor, e.Actor)
	text(HeaderKey, e.Key)
	number(HeaderCause, e.Cause)
	number(HeaderCorrelation, e.Correlation)
	number(HeaderBasis, e.Basis)
	if !e.At.IsZero() {
		set(HeaderAt, strconv.FormatInt(e.At.UnixMilli(), 10))
	}
	text(HeaderChanged, joinChanged(e.Changed))
	number(HeaderSchema, uint64(max(e.Schema, SchemaVersion)))
	text(HeaderUID, e.UID)
	text(HeaderID, e.ID)
	if e.Tombstone {
		set(HeaderTombstone, "1")
	}
	if e.Note != nil {
		if note, err := json.Marshal(e.Note); err == nil {
			set(HeaderNote, string(note))
		}
	}
	if len(e.Payload) > 0 {
		set(HeaderContentType, contentType(e.Facet))
	}
}

func contentType(f Facet) string {
	if f == Assigned {
		return ContentJSON
	}
	return ContentProtobuf
}

func joinChanged(paths []string) string {
	joined := strings.Join(paths, ",")
	if len(joined) > maxChangedBytes {
		// With the mark it must fit again, so that an event that was read is written as it was.
		joined = joined[:strings.LastIndexByte(joined[:maxChangedBytes-len(moreChanged)], ',')+1] + moreChanged
	}
	return joined
}

// Decode builds an event from its subject and headers; get returns "" for an absent header. An error means that the event must be set aside.
func Decode(subject string, get func(name string) string, payload []byte) (Event, error) {
	facet, ref, err := ParseSubject(subject)
	if err != nil {
		return Event{}, err
	}
	f := fields{typ: get(HeaderType), actor: get(HeaderActor), key: get(HeaderKey), uid: get(HeaderUID), id: get(HeaderID), tombstone: get(HeaderTombstone),
		cause: get(HeaderCause), correlation: get(HeaderCorrelation), basis: get(HeaderBasis), at: get(HeaderAt), schema: get(HeaderSchema),
		changed: get(HeaderChanged), note: get(HeaderNote)}
	return f.event(facet, ref, payload)
}

// fields are the headers of an event as they are on the wire.
type fields struct {
	typ, actor, key, uid, id, tombstone, cause, correlation, basis, at, schema, changed, note string
}

// of returns the field that a header fills, nil if it fills none.
func (f *fields) of(name string) *string {
	switch name {
	case HeaderType:
		return &f.typ
	case HeaderActor:
		return &f.actor
	case HeaderKey:
		return &f.key
	case HeaderUID:
		return &f.uid
	case HeaderID:
		return &f.id
	case HeaderTombstone:
		return &f.tombstone
	case HeaderCause:
		return &f.cause
	case HeaderCorrelation:
		return &f.correlation
	case HeaderBasis:
		return &f.basis
	case HeaderAt:
		return &f.at
	case HeaderSchema:
		return &f.schema
	case HeaderChanged:
		return &f.changed
	case HeaderNote:
		return &f.note
	}
	return nil
}

func (f *fields) event(facet Facet, ref Ref, payload []byte) (Event, error) {
	e := Event{Facet: facet, Ref: ref, Payload: payload, Type: f.typ, Actor: f.actor, Key: f.key, UID: f.uid, ID: f.id, Tombstone: f.tombstone == "1"}
	var schema, at uint64
	for _, n := range [...]struct {
		name, text string
		to         *uint64
	}{{HeaderCause, f.cause, &e.Cause}, {HeaderCorrelation, f.correlation, &e.Correlation}, {HeaderBasis, f.basis, &e.Basis}, {HeaderSchema, f.schema, &schema}, {HeaderAt, f.at, &at}} {
		if n.text == "" {
			continue
		}
		var err error
		if *n.to, err = strconv.ParseUint(n.text, 10, 64); err != nil {
			return Event{}, fmt.Errorf("header %s: %w", n.name, err)
		}
	}
	e.Schema = int(schema)
	if at != 0 {
		e.At = time.UnixMilli(int64(at)).UTC()
	}
	if f.changed != "" {
		e.Changed = strings.Split(f.changed, ",")
	}
	if f.note != "" {
		if err := json.Unmarshal([]byte(f.note), &e.Note); err != nil {
			return Event{}, err
		}
	}
	switch {
	case e.Schema > SchemaVersion:
		return Event{}, fmt.Errorf("schema version %d is newer than %d, the newest that this wake understands", e.Schema, SchemaVersion)
	case e.Type == "" || e.Schema == 0 || e.UID == "":
		return Event{}, fmt.Errorf("not written by wake: header %s, %s or %s is missing", HeaderType, HeaderSchema, HeaderUID)
	}
	return e, nil
}
