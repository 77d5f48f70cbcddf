package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// explain says why no node will do for a pod, in the form that Kubernetes gives it, with the nearest miss.
func (a *account) explain(p *pod, c *company) string {
	head := fmt.Sprintf("0/%d nodes are available: ", a.existing)
	if a.existing == 0 {
		return head + "no nodes are registered."
	}
	if why := p.impossible(); why != "" {
		return head + why + "."
	}
	s := a.newSearch(p, c)
	s.scan()
	message := head + s.out.words() + "."
	if len(s.near.misses) > 0 {
		nearest := s.near.misses[0].node
		message += fmt.Sprintf(" Nearest miss: %s lacks %s.", nearest.name, p.shape.lacks(nearest))
	}
	return message
}

// words lists the reasons with their counts, the largest first.
func (c counts) words() string {
	sorted := slices.SortedFunc(slices.Values(c), func(x, y reasonCount) int {
		return cmp.Or(cmp.Compare(y.nodes, x.nodes), strings.Compare(x.reason, y.reason))
	})
	words := make([]string, len(sorted))
	for i, r := range sorted {
		words[i] = fmt.Sprintf("%d %s", r.nodes, r.reason)
	}
	return strings.Join(words, ", ")
}
