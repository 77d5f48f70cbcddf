package simulation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
)

// DefaultSpan is how much virtual time passes where a question doesn't say: longer than the five minutes for which pods tolerate a lost node, and than the
// ten that a rollout may take.
const DefaultSpan = 30 * time.Minute

// Question is what somebody might do to the cluster, all of it at once, in the order of the fields.
type Question struct {
	Apply     []Manifest
	Namespace string // of objects in manifests that name none; empty is "default"
	Scale     []Scaling
	Delete    []events.Ref
	Cordon    []string // nodes
	Drain     []string // nodes
	Kill      []string // nodes
	Scheduler string   // what to call a change of the scheduler's settings; empty is none. The change itself is in the deciders.

	For   time.Duration // of virtual time; 0 is DefaultSpan
	Start time.Time     // zero: the state's own time
	Nodes Nodes
}

// Scaling is a number of replicas to be.
type Scaling struct {
	Ref      events.Ref
	Replicas int32
}

// Services gives deciders that have seen nothing yet, the same ones every time.
type Services func() []runner.Decider

// Ask answers a question about a cluster in a state. It runs the cluster twice: with present as if nothing were done, and with changed (the same as present
// unless the question is about them) as asked. An error is the API's about what the question asks for, or says that a decider falls over.
func Ask(ctx context.Context, state *events.State, present, changed Services, q Question) (*Report, error) {
	if q.For == 0 {
		q.For = DefaultSpan
	}
	if q.Start.IsZero() {
		q.Start = state.Time()
	}
	asked, err := q.run(ctx, state, changed, true)
	if err != nil {
		return nil, err
	}
	alone, err := q.run(ctx, state, present, false)
	if err != nil {
		return nil, fmt.Errorf("letting the cluster alone, for comparison: %w", err)
	}
	r := q.report(state, alone, asked)
	if q.Scheduler != "" && !q.isIdle() {
		same, err := q.run(ctx, state, present, true)
		if err != nil {
			return nil, fmt.Errorf("asking the same of the present scheduler, for comparison: %w", err)
		}
		r.compare(same)
	}
	return r, nil
}

// isIdle says that nothing is done.
func (q *Question) isIdle() bool {
	return len(q.Apply)+len(q.Scale)+len(q.Delete)+len(q.Cordon)+len(q.Drain)+len(q.Kill) == 0
}

// outcome is how a run ended.
type outcome struct {
	*chronicle
	*Simulation
	warnings []string
}

func (q *Question) run(ctx context.Context, state *events.State, services Services, act bool) (*outcome, error) {
	c := newChronicle()
	s := New(Config{State: state, Deciders: services(), Start: q.Start, Nodes: q.Nodes, Watch: c.see})
	c.began, c.present = s.start, s.state
	out := &outcome{chronicle: c, Simulation: s}
	if act {
		c.drained = q.Drain
		var err error
		if out.warnings, err = q.act(s); err != nil {
			return nil, err
		}
	}
	return out, s.Run(ctx, s.start.Add(q.For))
}

// act does what the question asks about.
func (q *Question) act(s *Simulation) (warnings []string, err error) {
	for _, m := range q.Apply {
		_, warned, err := s.Apply(m, q.Namespace)
		warnings = append(warnings, warned...)
		if err != nil {
			return warnings, err
		}
	}
	for _, scaling := range q.Scale {
		if err := s.Scale(scaling.Ref, scaling.Replicas); err != nil {
			return warnings, fmt.Errorf("scaling %s: %w", short(scaling.Ref), err)
		}
	}
	for _, ref := range q.Delete {
		if err := s.Delete(ref); err != nil {
			return warnings, fmt.Errorf("deleting %s: %w", short(ref), err)
		}
	}
	for _, does := range []struct {
		what  string
		nodes []string
		do    func(string) error
	}{{"cordoning", q.Cordon, s.Cordon}, {"draining", q.Drain, s.Drain}, {"killing", q.Kill, s.Kill}} {
		for _, node := range does.nodes {
			if err := does.do(node); err != nil {
				return warnings, fmt.Errorf("%s node %s: %w", does.what, node, err)
			}
		}
	}
	return warnings, nil
}

// words puts the question into words: "node n3 were killed", one for each thing done.
func (q *Question) words() (words []string) {
	for _, m := range q.Apply {
		words = append(words, m.Name+" were applied")
	}
	for _, s := range q.Scale {
		words = append(words, fmt.Sprintf("%s were scaled to %d", short(s.Ref), s.Replicas))
	}
	for _, ref := range q.Delete {
		words = append(words, short(ref)+" were deleted")
	}
	for _, does := range []struct {
		nodes []string
		what  string
	}{{q.Cordon, "cordoned"}, {q.Drain, "drained"}, {q.Kill, "killed"}} {
		switch {
		case len(does.nodes) == 1:
			words = append(words, fmt.Sprintf("node %s were %s", does.nodes[0], does.what))
		case len(does.nodes) > 1:
			words = append(words, fmt.Sprintf("nodes %s were %s", strings.Join(does.nodes, ", "), does.what))
		}
	}
	if q.Scheduler != "" {
		words = append(words, q.Scheduler)
	}
	return words
}

// short names an object as people do: "deployment/web", with the namespace where it isn't the default one.
func short(ref events.Ref) string {
	resource := strings.TrimSuffix(ref.Resource, "s")
	switch {
	case strings.HasSuffix(ref.Resource, "classes"), strings.HasSuffix(ref.Resource, "addresses"):
		resource = strings.TrimSuffix(ref.Resource, "es")
	case strings.HasSuffix(ref.Resource, "ies"):
		resource = strings.TrimSuffix(ref.Resource, "ies") + "y"
	case ref.Resource == "endpoints":
		resource = ref.Resource
	}
	return resource + "/" + name(ref)
}

func name(ref events.Ref) string {
	if ref.Namespace == "" || ref.Namespace == "default" {
		return ref.Name
	}
	return ref.Namespace + "/" + ref.Name
}
