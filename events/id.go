package events

import (
	"strconv"
	"sync/atomic"
)

// IDs gives event IDs that are unique as long as the prefix is.
type IDs struct {
	prefix string
	count  atomic.Uint64
}

// NewIDs returns IDs that begin with prefix.
func NewIDs(prefix string) *IDs { return &IDs{prefix: prefix + "."} }

// Identify returns proposals with an ID each. Those that have none are given one, in a copy: the caller's stay as they are.
func (s *IDs) Identify(proposals []Proposal) []Proposal {
	out := make([]Proposal, len(proposals))
	for i, p := range proposals {
		if p.ID == "" {
			p.ID = s.Next()
		}
		out[i] = p
	}
	return out
}

// Next returns an ID that was not returned before.
func (s *IDs) Next() string { return s.prefix + strconv.FormatUint(s.count.Add(1), 36) }
