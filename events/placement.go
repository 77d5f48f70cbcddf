package events

// Placement is the payload of a pod's Assigned facet, as JSON. Node is its first field.
type Placement struct {
	Node string  `json:"node"`
	Why  *Choice `json:"why,omitempty"` // nil where nobody chose: the binding came from outside
}

// Choice is why a scheduler placed a pod as it did, or not at all. It is kept with the binding, so it is small: some 100 to 400 bytes.
type Choice struct {
	Nodes int            `json:"nodes"`          // how many there were
	Out   map[string]int `json:"out,omitempty"`  // how many each reason ruled out, each node under the first that held; the rest would have done
	Top   []Candidate    `json:"top,omitempty"`  // the best, the chosen one first; at most 3
	Near  []Miss         `json:"near,omitempty"` // nodes that only lacked room, the nearest first; at most 2
}

// Candidate is a node that would have done, with the parts that its score is the sum of, in points: what speaks for it is positive.
type Candidate struct {
	Node   string `json:"node"`
	Free   int64  `json:"free,omitempty"`   // share of CPU and memory that is left, or used, as the scheduler is configured
	Prefer int64  `json:"prefer,omitempty"` // preferred node affinity
	Taints int64  `json:"taints,omitempty"` // taints to avoid
	Mates  int64  `json:"mates,omitempty"`  // pods of the same workload on the node
	Zone   int64  `json:"zone,omitempty"`   // the same, in the zone
	Pods   int64  `json:"pods,omitempty"`   // preferred pod affinity, anti-affinity and spread
}

// Score is the sum of the parts.
func (c Candidate) Score() int64 { return c.Free + c.Prefer + c.Taints + c.Mates + c.Zone + c.Pods }

// Miss is a node that had too little room.
type Miss struct {
	Node  string `json:"node"`
	Lacks string `json:"lacks"` // "300Mi of memory and 1 of cpu"
}
