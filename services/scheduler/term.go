package scheduler

import (
	"encoding/binary"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
)

// term is a set of pods, as an affinity term or a spread constraint selects it, counted per domain: per value of a label of the nodes that
// they are on. Terms that say the same are one.
type term struct {
	key       string
	topology  string     // the label that makes the domains
	selectors []selector // a pod is in the set if all select it
	settled   bool       // pods that are being deleted don't count
	users     int        // pods whose rules speak of it

	matching map[string]int // pods of the set by domain
	total    int            // of matching
	byNode   map[*node]int  // pods of the set
	holding  map[string]int // pods that refuse to share a domain with the set
	spreads  []*spread      // what is derived from byNode
}

// selector selects pods by namespace and labels.
type selector struct {
	namespaces []string        // by name...
	namespaced labels.Selector // ...or by label; nil selects none
	pods       labels.Selector
}

func (t *term) includes(a *account, p *pod) bool {
	if t.settled && p.leaving {
		return false
	}
	for i := range t.selectors {
		s := &t.selectors[i]
		if !s.pods.Matches(p.labels) {
			return false
		}
		if !slices.Contains(s.namespaces, p.ref.Namespace) && (s.namespaced == nil || !s.namespaced.Matches(a.namespaces[p.ref.Namespace])) {
			return false
		}
	}
	return true
}

// byNamespaceLabels says that the set depends on the labels of namespaces.
func (t *term) byNamespaceLabels() bool {
	return slices.ContainsFunc(t.selectors, func(s selector) bool { return s.namespaced != nil && !s.namespaced.Empty() })
}

// domain returns the domain of a node.
func (t *term) domain(n *node) (string, bool) {
	if n.object == nil {
		return "", false
	}
	value, ok := n.object.Labels[t.topology]
	return value, ok
}

// use returns the term that says the same as t, counting it from now on if nobody did.
func (a *account) use(t *term) *term {
	known := a.terms[t.key]
	if known == nil {
		known = t
		known.matching, known.holding, known.byNode = map[string]int{}, map[string]int{}, map[*node]int{}
		a.terms[t.key] = known
		for _, p := range a.pods {
			a.match(known, p)
		}
	}
	known.users++
	return known
}

// dropTerm ends one use of a term.
func (a *account) dropTerm(t *term) {
	if t.users--; t.users > 0 {
		return
	}
	delete(a.terms, t.key)
	for _, p := range a.pods {
		p.in = slices.DeleteFunc(p.in, func(other *term) bool { return other == t })
	}
}

// match files a pod under a term if it is in the set.
func (a *account) match(t *term, p *pod) {
	if !t.includes(a, p) {
		return
	}
	i, _ := slices.BinarySearchFunc(p.in, t.key, func(other *term, key string) int { return strings.Compare(other.key, key) })
	p.in = slices.Insert(p.in, i, t)
	if p.node != nil {
		t.count(p.node, 1)
	}
}

// count counts a pod of the set, sign times.
func (t *term) count(n *node, sign int) {
	if t.byNode[n] += sign; t.byNode[n] == 0 {
		delete(t.byNode, n)
	}
	domain, ok := t.domain(n)
	if !ok {
		return
	}
	t.total += sign
	tally(t.matching, domain, sign)
	for _, s := range t.spreads {
		s.count(n, domain, sign)
	}
}

func tally[K comparable](counts map[K]int, key K, sign int) {
	if counts[key] += sign; counts[key] == 0 {
		delete(counts, key)
	}
}

// countTerms counts a pod on a node in its terms, sign times.
func countTerms(p *pod, n *node, sign int) {
	for _, t := range p.in {
		t.count(n, sign)
	}
	if p.rules == nil {
		return
	}
	for _, t := range p.rules.apart {
		if domain, ok := t.domain(n); ok {
			tally(t.holding, domain, sign)
		}
	}
}

// foldNamespace brings the account up to date with the labels of a namespace.
func (a *account) foldNamespace(name string, o *events.Object) {
	now := labels.Set{}
	if o != nil {
		now = o.Meta().GetLabels()
	}
	if labels.Equals(a.namespaces[name], now) {
		return
	}
	a.reviewed++
	var affected []*pod
	for _, p := range a.pods {
		if p.ref.Namespace == name {
			affected = append(affected, p)
		}
	}
	each := func(do func(*term, *pod)) {
		for _, t := range a.terms {
			if t.byNamespaceLabels() {
				for _, p := range affected {
					do(t, p)
				}
			}
		}
	}
	each(a.unmatch)
	if a.namespaces[name] = now; o == nil {
		delete(a.namespaces, name)
	}
	each(a.match)
}

func (a *account) unmatch(t *term, p *pod) {
	i := slices.Index(p.in, t)
	if i < 0 {
		return
	}
	p.in = slices.Delete(p.in, i, i+1)
	if p.node != nil {
		t.count(p.node, -1)
	}
}

// affinitySelector is whom a term of pod affinity speaks of (KEP-2249 for namespaceSelector, KEP-3633 for the label keys).
func affinitySelector(p *corev1.Pod, t *corev1.PodAffinityTerm) (selector, error) {
	s := selector{namespaces: t.Namespaces}
	var err error
	if t.NamespaceSelector != nil {
		if s.namespaced, err = metav1.LabelSelectorAsSelector(t.NamespaceSelector); err != nil {
			return s, err
		}
	} else if len(t.Namespaces) == 0 {
		s.namespaces = []string{p.Namespace}
	}
	s.pods, err = podSelector(p, t.LabelSelector, t.MatchLabelKeys, t.MismatchLabelKeys)
	return s, err
}

// podSelector adds the pod's own values of some labels to a selector.
func podSelector(p *corev1.Pod, base *metav1.LabelSelector, same, other []string) (labels.Selector, error) {
	if base == nil {
		return labels.Nothing(), nil
	}
	base = base.DeepCopy()
	add := func(keys []string, operator metav1.LabelSelectorOperator) {
		for _, key := range keys {
			if value, ok := p.Labels[key]; ok {
				base.MatchExpressions = append(base.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{value}})
			}
		}
	}
	add(same, metav1.LabelSelectorOpIn)
	add(other, metav1.LabelSelectorOpNotIn)
	return metav1.LabelSelectorAsSelector(base)
}

func newTerm(topology string, settled bool, selectors ...selector) *term {
	t := &term{topology: topology, settled: settled, selectors: selectors}
	b := appendText(nil, 'k', topology)
	if settled {
		b = append(b, 's')
	}
	for _, s := range selectors {
		b = binary.AppendUvarint(b, uint64(len(s.namespaces)))
		for _, name := range s.namespaces {
			b = appendText(b, 'n', name)
		}
		if s.namespaced != nil {
			b = appendText(b, 'l', s.namespaced.String())
		}
		b = appendText(b, 'p', describe(s.pods))
	}
	t.key = string(b)
	return t
}

// describe tells a selector of nothing, whose text is empty, from one of everything, whose text is empty too.
func describe(s labels.Selector) string {
	if _, selectable := s.Requirements(); !selectable {
		return "!"
	}
	return s.String()
}
