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
	e := Event{Facet: facet, Ref: ref, Payload: payload,
		Type: get(HeaderType), Actor: get(HeaderActor), Key: get(HeaderKey), UID: get(HeaderUID), ID: get(HeaderID),
		Tombstone: get(HeaderTombstone) == "1"}
	number := func(name string) (n uint64) {
		if text := get(name); text != "" && err == nil {
			if n, err = strconv.ParseUint(text, 10, 64); err != nil {
				err = fmt.Errorf("header %s: %w", name, err)
			}
		}
		return n
	}
	e.Cause, e.Correlation, e.Basis = number(HeaderCause), number(HeaderCorrelation), number(HeaderBasis)
	e.Schema = int(number(HeaderSchema))
	if at := number(HeaderAt); at != 0 {
		e.At = time.UnixMilli(int64(at)).UTC()
	}
	if changed := get(HeaderChanged); changed != "" {
		e.Changed = strings.Split(changed, ",")
	}
	if note := get(HeaderNote); note != "" && err == nil {
		err = json.Unmarshal([]byte(note), &e.Note)
	}
	switch {
	case err != nil:
		return Event{}, err
	case e.Schema > SchemaVersion:
		return Event{}, fmt.Errorf("schema version %d is newer than %d, the newest that this wake understands", e.Schema, SchemaVersion)
	case e.Type == "" || e.Schema == 0 || e.UID == "":
		return Event{}, fmt.Errorf("not written by wake: header %s, %s or %s is missing", HeaderType, HeaderSchema, HeaderUID)
	}
	return e, nil
}
