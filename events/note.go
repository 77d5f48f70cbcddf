package events

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"

	"github.com/tidwall/btree"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxNotes bounds how many notes a State shows as Kubernetes Events; the ledger keeps them all.
const maxNotes = 10_000

// EventsResource is where a State shows notes: Kubernetes' core Events.
var EventsResource = GroupResource{Resource: "events"}

const noteType = "Noted"

// noteShelf remembers the order in which notes came, so that the oldest make room.
type noteShelf struct {
	byRevision btree.Map[Revision, Ref]
	owner      *owner
	copying    sync.Mutex
}

func (s *State) writableNotes() *noteShelf {
	if shelf := s.notes; shelf.owner != s.owner {
		shelf.copying.Lock()
		defer shelf.copying.Unlock()
		s.notes = &noteShelf{byRevision: *shelf.byRevision.Copy(), owner: s.owner}
	}
	return s.notes
}

// IsNote says that o is a note shown as an Event, not an object of its own.
func (o *Object) IsNote() bool { return o.facets[Desired] != nil && o.facets[Desired].Type == noteType }

// applyNote shows the note of e as a Kubernetes Event. The same note about the same object again is counted, as Kubernetes does.
func (s *State) applyNote(e *Event, changed func(Change)) {
	kind, ok := s.registry.ByStorage(EventsResource.Group, EventsResource.Resource)
	if !ok {
		return
	}
	about, uid := e.Ref, e.UID
	if e.Note.About != nil {
		about, uid = *e.Note.About, e.Note.AboutID
	}
	t := s.writable(EventsResource)
	ref := Ref{Resource: EventsResource.Resource, Namespace: cmp.Or(about.Namespace, metav1.NamespaceDefault), Name: noteName(about, uid, e.Note)}
	key := tableKey(ref.Namespace, ref.Name)
	shown := s.noteEvent(e, about, uid, ref)
	change := Change{Revision: e.Revision, Event: e}
	shelf := s.writableNotes()
	if old, ok := t.live.Get(key); ok {
		if !old.IsNote() {
			return
		}
		before := old.typed.(*corev1.Event) // a note is never unread
		shown.Count, shown.FirstTimestamp, shown.CreationTimestamp, shown.UID = before.Count+1, before.FirstTimestamp, before.CreationTimestamp, before.UID
		shelf.byRevision.Delete(old.rev)
		change.Old = old
	}
	o := &Object{Ref: ref, Kind: kind, rev: e.Revision}
	o.facets[Desired] = &Event{Revision: e.Revision, Ref: ref, UID: string(shown.UID), Type: noteType, Actor: e.Actor, Cause: e.Revision, At: e.At}
	if err := o.setTyped(shown); err != nil {
		return
	}
	t.live.Set(key, o)
	shelf.byRevision.Set(e.Revision, ref)
	change.New = o
	changed(change)
	s.trimNotes(t, shelf, e, changed)
}

func (s *State) trimNotes(t table, shelf *noteShelf, e *Event, changed func(Change)) {
	if shelf.byRevision.Len() <= maxNotes {
		return
	}
	_, ref, _ := shelf.byRevision.PopMin()
	old, _ := t.live.Delete(tableKey(ref.Namespace, ref.Name))
	changed(Change{Revision: e.Revision, Event: e, Old: old})
}

func noteName(about Ref, uid string, n *Note) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s", about.GroupResource(), uid, n.Reason, n.Message)
	return fmt.Sprintf("%s.%016x", about.Name, h.Sum64())
}

func (s *State) noteEvent(e *Event, about Ref, uid string, ref Ref) *corev1.Event {
	at := metav1.NewTime(e.At)
	if e.At.IsZero() {
		at = metav1.NewTime(e.Stored)
	}
	component := e.Actor[strings.IndexByte(e.Actor, ':')+1:]
	shown := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(fmt.Sprintf("note-%d", e.Revision)), CreationTimestamp: at},
		Reason:     e.Note.Reason, Message: e.Note.Message, Type: corev1.EventTypeNormal, Count: 1, FirstTimestamp: at, LastTimestamp: at,
		Source: corev1.EventSource{Component: component}, ReportingController: component,
		InvolvedObject: corev1.ObjectReference{Namespace: about.Namespace, Name: about.Name, UID: types.UID(uid)},
	}
	if strings.HasPrefix(e.Actor, "node:") {
		shown.Source = corev1.EventSource{Component: "wake-agent", Host: component}
		shown.ReportingController = "wake-agent"
	}
	if e.Note.Warning {
		shown.Type = corev1.EventTypeWarning
	}
	if kind, ok := s.registry.ByStorage(about.Group, about.Resource); ok {
		shown.InvolvedObject.Kind = kind.KindName
		shown.InvolvedObject.APIVersion = kind.GroupVersion.String()
	}
	return shown
}
