package policy

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events/nodewire"
)

// term is a part of a rule; one of no family fits to both.
type term struct {
	family string // suffix
	words  string
}

// chainOf words what a policy allows in a direction, and names the sets that this refers to.
func chainOf(d direction, rules []nodewire.PolicyRule) (words, sets []string) {
	c := &wording{direction: d, sets: map[string]bool{}}
	for _, r := range rules {
		c.rule(r)
	}
	return c.rules, sorted(c.sets)
}

type wording struct {
	direction
	rules []string
	sets  map[string]bool
}

func (c *wording) rule(r nodewire.PolicyRule) {
	for _, id := range r.Targets {
		for _, f := range families {
			c.accept(c.at(f, targetSet+id))
		}
	}
	ports := c.ports(r.Ports)
	for _, peer := range c.peers(r) {
		for _, port := range ports {
			c.accept(peer, port)
		}
	}
}

// accept adds a rule, unless its terms never match the same packet.
func (c *wording) accept(terms ...term) {
	family := ""
	var words []string
	for _, t := range terms {
		if t.family != "" && family != "" && t.family != family {
			return
		}
		if t.family != "" {
			family = t.family
		}
		if t.words != "" {
			words = append(words, t.words)
		}
	}
	c.rules = append(c.rules, strings.Join(append(words, "accept"), " "))
}

// at is the term for a set of addresses with ports, those of the end that is connected to.
func (c *wording) at(f family, set string) term {
	return term{f.suffix, f.header + " daddr . meta l4proto . th dport @" + c.use(set+f.suffix)}
}

func (c *wording) use(set string) string {
	c.sets[set] = true
	return set
}

func (c *wording) peers(r nodewire.PolicyRule) (terms []term) {
	if r.Everybody {
		return []term{{}}
	}
	for _, id := range r.Groups {
		for _, f := range families {
			terms = append(terms, term{f.suffix, f.header + " " + c.peer + " @" + c.use(groupSet+id+f.suffix)})
		}
	}
	for _, f := range families {
		var words []string
		for _, i := range intervalsOf(r.Blocks, f) {
			words = append(words, i.String())
		}
		if len(words) > 0 {
			terms = append(terms, term{f.suffix, f.header + " " + c.peer + " { " + strings.Join(words, ", ") + " }"})
		}
	}
	return terms
}

func (c *wording) ports(ports []nodewire.PolicyPort) (terms []term) {
	if len(ports) == 0 {
		return []term{{}}
	}
	if words := portsOf(ports); len(words) > 0 {
		terms = append(terms, term{words: "meta l4proto . th dport { " + strings.Join(words, ", ") + " }"})
	}
	for _, p := range ports {
		if p.Name == "" {
			continue
		}
		for _, f := range families {
			terms = append(terms, c.at(f, namedSet(p.Protocol, p.Name)))
		}
	}
	return terms
}

// namedSet is the set of the isolated pods' ports of a name.
func namedSet(protocol corev1.Protocol, name string) string {
	return portSet + strings.ToLower(string(protocol)) + "-" + name
}
