package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/schemas/fielddiff"
)

// same says that an event is what a proposal, which isn't signed, wants recorded.
func same(e, p *events.Event) bool {
	if sameHead(e, p) && sameTold(e, p) {
		return bytes.Equal(e.Payload, p.Payload)
	}
	// Headers don't keep everything to the byte: long lists are cut.
	raw := events.RawOf(p)
	kept, err := raw.Event()
	return err == nil && sameHead(e, &kept) && sameTold(e, &kept) && bytes.Equal(e.Payload, kept.Payload)
}

func sameHead(e, p *events.Event) bool {
	return e.Type == p.Type && e.Facet == p.Facet && e.Ref == p.Ref && e.UID == p.UID && e.Tombstone == p.Tombstone &&
		(p.Cause == 0 || p.Cause == e.Cause && p.Correlation == e.Correlation)
}

func sameTold(e, p *events.Event) bool {
	return slices.Equal(e.Changed, p.Changed) && reflect.DeepEqual(e.Note, p.Note)
}

// compare gives the fields in which a proposal isn't the recorded event, as far as that is left.
func (v *verification) compare(e *events.Event, p *proposal) []Difference {
	decided := p.Event
	if thinned(e) {
		decided.Payload = nil
	}
	if same(e, &decided) {
		return nil
	}
	raw := events.RawOf(&decided)
	now, err := raw.Event()
	if err != nil {
		return []Difference{{Path: "event", Now: err.Error()}}
	}
	if now.Cause == 0 {
		now.Cause, now.Correlation = e.Cause, e.Correlation
	}
	secret := e.Ref.GroupResource() == (events.GroupResource{Resource: "secrets"})
	var fields []Difference
	for _, d := range fielddiff.Compare(v.picture(e), v.picture(&now)) {
		if secret {
			d.Before, d.After = hidden(d.Before), hidden(d.After)
		}
		fields = append(fields, Difference{Path: d.Path, Recorded: d.Before, Now: d.After})
	}
	for _, d := range fielddiff.Compare(head(e), head(&now)) {
		fields = append(fields, Difference{Path: d.Path, Recorded: d.Before, Now: d.After})
	}
	if i := slices.IndexFunc(fields, func(d Difference) bool { return d.Path == nodePath }); i > 0 {
		fields = slices.Insert(slices.Delete(slices.Clone(fields), i, i+1), 0, fields[i])
	}
	if len(fields) == 0 {
		fields = []Difference{{Path: "payload", Recorded: fmt.Sprintf("%d bytes", len(e.Payload)), Now: fmt.Sprintf("%d bytes that mean the same", len(now.Payload))}}
	}
	return fields
}

// nodePath is where a placement says which node it is.
const nodePath = "assigned.node"

// kindOf says whether a difference is one in deed or in words.
func kindOf(fields []Difference) Kind {
	for i := range fields {
		if path := fields[i].Path; !strings.HasPrefix(path, "event.note") && (!strings.HasPrefix(path, "assigned.") || path == nodePath) {
			return Differs
		}
	}
	return Told
}

func hidden(value any) any {
	if value == nil {
		return nil
	}
	return "(hidden)"
}

// head gives the fields of the event itself.
func head(e *events.Event) any {
	fields := map[string]any{"type": e.Type, "object": e.Ref.String(), "uid": e.UID, "tombstone": e.Tombstone, "cause": e.Cause, "correlation": e.Correlation,
		"changed": fmt.Sprint(e.Changed)}
	if n := e.Note; n != nil {
		about := ""
		if n.About != nil {
			about = n.About.String()
		}
		fields["note"] = map[string]any{"reason": n.Reason, "message": n.Message, "warning": n.Warning, "about": about, "aboutID": n.AboutID}
	}
	return map[string]any{"event": fields}
}

// picture decodes an event's payload: the object's fields.
func (v *verification) picture(e *events.Event) any {
	if len(e.Payload) == 0 {
		return map[string]any{}
	}
	content, err := v.decode(e)
	if err != nil {
		return map[string]any{"payload": fmt.Sprintf("%d bytes that can't be read: %v", len(e.Payload), err)}
	}
	return content
}

func (v *verification) decode(e *events.Event) (any, error) {
	if e.Facet == events.Assigned {
		var content any
		err := json.Unmarshal(e.Payload, &content)
		return map[string]any{e.Facet.String(): content}, err
	}
	kind, ok := v.Registry.ByStorage(e.Ref.Group, e.Ref.Resource)
	if !ok {
		return nil, fmt.Errorf("no kind %s is known", e.Ref.GroupResource())
	}
	return unstructured(e, kind)
}

// unstructured gives the facet's part of the object.
func unstructured(e *events.Event, kind *schemas.Kind) (map[string]any, error) {
	var obj runtime.Object
	var err error
	if e.Facet == events.Desired {
		obj, err = kind.Decode(e.Payload, nil)
	} else {
		obj, err = kind.WithStatus(kind.New(), e.Payload)
	}
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	if e.Facet == events.Observed {
		return map[string]any{"status": content["status"]}, nil
	}
	delete(content, "status")
	return content, nil
}
