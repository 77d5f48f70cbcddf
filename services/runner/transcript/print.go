package transcript

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/wakehq/wake/events"
)

// hidden matches fields that a transcript leaves out: identities that tests don't choose, and what is always the same.
var hidden = regexp.MustCompile(`^(apiVersion|kind|status\.qosClass)$` +
	`|^metadata\.(name|namespace|uid|resourceVersion|creationTimestamp|generateName|managedFields.*)$` +
	`|^metadata\.ownerReferences\[\d+\]\.(apiVersion|kind|uid|controller|blockOwnerDeletion)$`)

// incidental matches fields whose changes say nothing that the time of the event doesn't.
var incidental = regexp.MustCompile(`^status\.conditions\[\w+\]\.(type|lastTransitionTime|lastUpdateTime)$`)

// Line writes an event as a transcript does: a heading, then a line for each field that it changed.
//
//	12 ReplicaSetScaled replicasets.apps/default/web-x by service:replication because of 9 "ScalingReplicaSet: Scaled up …"
//	   spec.replicas: 3 → 5
func (e Entry) Line() string {
	var b strings.Builder
	ev := e.Event
	fmt.Fprintf(&b, "%d %s %s by %s", ev.Revision, ev.Type, ev.Ref, ev.Actor)
	if ev.Cause != 0 {
		fmt.Fprintf(&b, " because of %d", ev.Cause)
	}
	if n := ev.Note; n != nil {
		kind := ""
		if n.Warning {
			kind = "Warning "
		}
		fmt.Fprintf(&b, " %s%q", kind, n.Reason+": "+n.Message)
	}
	b.WriteByte('\n')
	if len(e.Changes) > 0 && e.Changes[0].Ref() == ev.Ref {
		for _, line := range differences(e.Changes[0]) {
			fmt.Fprintf(&b, "   %s\n", line)
		}
	}
	if why := reason(ev); why != "" {
		fmt.Fprintf(&b, "   why: %s\n", why)
	}
	return b.String()
}

// reason is the explanation that a placement carries, as it is stored.
func reason(e *events.Event) string {
	var placement struct{ Why json.RawMessage }
	if e.Facet != events.Assigned || json.Unmarshal(e.Payload, &placement) != nil {
		return ""
	}
	return string(placement.Why)
}

// differences lists the fields that a change set, changed or cleared. Of a new object the template, and of a new pod the spec, are left out.
func differences(c events.Change) []string {
	var old, now map[string]string
	if c.Old != nil {
		old = fields(c.Old)
	}
	if c.New == nil {
		return nil
	}
	now = fields(c.New)
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(now)) {
		was, had := old[path]
		switch {
		case hidden.MatchString(path) || incidental.MatchString(path) || had && was == now[path]:
		case had:
			lines = append(lines, fmt.Sprintf("%s: %s → %s", path, was, now[path]))
		case c.Old != nil || !strings.Contains(path, "template.") && (c.New.Ref.Resource != "pods" || !strings.HasPrefix(path, "spec.")):
			lines = append(lines, fmt.Sprintf("%s: %s", path, now[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(old)) {
		if _, kept := now[path]; !kept && !hidden.MatchString(path) && !incidental.MatchString(path) {
			lines = append(lines, fmt.Sprintf("%s: %s → none", path, old[path]))
		}
	}
	return lines
}

// fields flattens an object: "spec.replicas" to "3".
func fields(o *events.Object) map[string]string {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.Typed())
	if err != nil {
		return map[string]string{"": err.Error()}
	}
	out := map[string]string{}
	flatten("", content, out)
	return out
}

func flatten(path string, value any, out map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if strings.ContainsAny(key, "./") {
				key = "[" + key + "]"
			}
			flatten(strings.TrimPrefix(path+"."+key, "."), inner, out)
		}
	case []any:
		for i, inner := range v {
			flatten(path+"["+element(i, inner)+"]", inner, out)
		}
	case nil:
	default:
		out[path] = fmt.Sprint(v)
	}
}

// element names a list's element: by its type, where that is what tells conditions apart, else by its place.
func element(i int, value any) string {
	if m, ok := value.(map[string]any); ok && m["status"] != nil {
		if kind, ok := m["type"].(string); ok {
			return kind
		}
	}
	return strconv.Itoa(i)
}
