package addresspool

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Where the pools are kept.
const (
	Namespace = metav1.NamespaceSystem
	ConfigMap = "load-balancer-pools"
)

// Range is addresses of one family, both ends inclusive.
type Range struct{ First, Last netip.Addr }

// Contains says whether address is one of the range.
func (r Range) Contains(address netip.Addr) bool {
	return address.Is4() == r.First.Is4() && r.First.Compare(address) <= 0 && address.Compare(r.Last) <= 0
}

// String gives a single address as such, and all else as 192.0.2.1-192.0.2.9.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// Pool is addresses under one name.
type Pool struct {
	Name          string
	Ranges        []Range
	AutoAssign    bool // given to services that don't ask for the pool
	AvoidBuggyIPs bool // not the IPv4 addresses that end in .0 and .255, which some routers drop
	Namespaces    []string
	NodeSelector  labels.Selector // the nodes that may announce the addresses
}

// Contains says whether address is one of the pool.
func (p Pool) Contains(address netip.Addr) bool {
	if p.AvoidBuggyIPs && address.Is4() {
		if last := address.As4()[3]; last == 0 || last == 255 {
			return false
		}
	}
	return slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.Contains(address) })
}

// Serves says whether services of a namespace may have addresses of the pool.
func (p Pool) Serves(namespace string) bool {
	return len(p.Namespaces) == 0 || slices.Contains(p.Namespaces, namespace)
}

// String gives the name and the ranges.
func (p Pool) String() string {
	texts := make([]string, 0, len(p.Ranges))
	for _, r := range p.Ranges {
		texts = append(texts, r.String())
	}
	return fmt.Sprintf("%s (%s)", p.Name, strings.Join(texts, ", "))
}

// wire is a pool as it is written.
type wire struct {
	Addresses     []string          `json:"addresses"`
	AutoAssign    *bool             `json:"autoAssign"`
	AvoidBuggyIPs bool              `json:"avoidBuggyIPs"`
	Namespaces    []string          `json:"namespaces"`
	NodeSelector  map[string]string `json:"nodeSelector"`
}

// Parse reads the data of the ConfigMap. Pools with an error are left out.
func Parse(data map[string]string) ([]Pool, field.ErrorList) {
	var pools []Pool
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(data)) {
		pool, err := parsePool(name, data[name])
		if err == nil {
			err = overlaps(pools, pool)
		}
		if err != nil {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(name), data[name], err.Error()))
			continue
		}
		pools = append(pools, pool)
	}
	return pools, errs
}

func parsePool(name, text string) (Pool, error) {
	w := wire{}
	if !strings.Contains(text, "addresses") {
		w.Addresses = strings.Split(strings.TrimSpace(text), ",")
	} else if err := yaml.UnmarshalStrict([]byte(text), &w); err != nil {
		return Pool{}, fmt.Errorf("not a pool: %w", err)
	}
	pool := Pool{Name: name, AutoAssign: w.AutoAssign == nil || *w.AutoAssign, AvoidBuggyIPs: w.AvoidBuggyIPs, Namespaces: w.Namespaces}
	var err error
	if pool.NodeSelector, err = labels.ValidatedSelectorFromSet(w.NodeSelector); err != nil {
		return Pool{}, fmt.Errorf("nodeSelector: %w", err)
	}
	for _, part := range w.Addresses {
		r, err := ParseRange(strings.TrimSpace(part))
		if err != nil {
			return Pool{}, err
		}
		pool.Ranges = append(pool.Ranges, r)
	}
	if len(pool.Ranges) == 0 {
		return Pool{}, fmt.Errorf("a pool without addresses: say addresses: [192.0.2.100-192.0.2.120]")
	}
	return pool, overlaps([]Pool{}, pool)
}

// ParseRange reads 192.0.2.0/28, 192.0.2.1-192.0.2.9 or 192.0.2.1.
func ParseRange(text string) (Range, error) {
	example := "192.0.2.0/28, 192.0.2.1-192.0.2.9 or 192.0.2.1"
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return Range{}, fmt.Errorf("%q is no range of addresses, such as %s: %w", text, example, err)
		}
		return Range{prefix.Masked().Addr(), last(prefix.Masked())}, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err := netip.ParseAddr(strings.TrimSpace(from))
	if err != nil {
		return Range{}, fmt.Errorf("%q is no range of addresses, such as %s: %w", text, example, err)
	}
	end, err := netip.ParseAddr(strings.TrimSpace(to))
	if err != nil {
		return Range{}, fmt.Errorf("%q is no range of addresses, such as %s: %w", text, example, err)
	}
	switch {
	case first.Is4() != end.Is4():
		return Range{}, fmt.Errorf("%q begins with one IP family and ends with the other", text)
	case end.Less(first):
		return Range{}, fmt.Errorf("%q ends before it begins", text)
	case first.Zone() != "" || end.Zone() != "" || first.Is4In6() || end.Is4In6():
		return Range{}, fmt.Errorf("%q has addresses with a zone or IPv4 written as IPv6", text)
	case first.IsMulticast() || first.IsLoopback() || first.IsUnspecified() || first.IsLinkLocalUnicast():
		return Range{}, fmt.Errorf("%q has addresses that no service can be reached at from outside", text)
	}
	return Range{first, end}, nil
}

// last is the last address of a prefix.
func last(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	address, _ := netip.AddrFromSlice(bytes)
	return address
}

// overlaps refuses addresses that are in a pool twice, or in two.
func overlaps(pools []Pool, pool Pool) error {
	for i, r := range pool.Ranges {
		for _, other := range pool.Ranges[:i] {
			if other.Contains(r.First) || r.Contains(other.First) {
				return fmt.Errorf("%s and %s overlap", other, r)
			}
		}
		for _, p := range pools {
			for _, other := range p.Ranges {
				if other.Contains(r.First) || r.Contains(other.First) {
					return fmt.Errorf("%s overlaps %s of pool %s", r, other, p.Name)
				}
			}
		}
	}
	return nil
}
