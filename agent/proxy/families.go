package proxy

import (
	"context"
	"errors"
	"net/netip"
)

// Families are the backends of several address families as one backend. Each ignores the keys of the others.
type Families []Backend

var _ Backend = Families(nil)

// CommonFamilies sorts networks of two kinds by address family, IPv4 first, and leaves out families that one of the kinds lacks.
func CommonFamilies(a, b []netip.Prefix) [][2][]netip.Prefix {
	var all [][2][]netip.Prefix
	for _, v4 := range []bool{true, false} {
		of := func(nets []netip.Prefix) (found []netip.Prefix) {
			for _, net := range nets {
				if net.Addr().Is4() == v4 {
					found = append(found, net)
				}
			}
			return found
		}
		if pair := [2][]netip.Prefix{of(a), of(b)}; len(pair[0]) > 0 && len(pair[1]) > 0 {
			all = append(all, pair)
		}
	}
	return all
}

// Reconcile implements Backend.
func (f Families) Reconcile(ctx context.Context, state State) error {
	return f.each(func(b Backend) error { return b.Reconcile(ctx, state) })
}

// Update implements Backend.
func (f Families) Update(ctx context.Context, diff Diff) error {
	return f.each(func(b Backend) error { return b.Update(ctx, diff) })
}

// Intact implements Backend.
func (f Families) Intact(ctx context.Context) (bool, error) {
	intact := true
	err := f.each(func(b Backend) error {
		ok, err := b.Intact(ctx)
		intact = intact && ok
		return err
	})
	return intact && err == nil, err
}

// Remove implements Backend.
func (f Families) Remove(ctx context.Context) error {
	return f.each(func(b Backend) error { return b.Remove(ctx) })
}

// Close implements Backend.
func (f Families) Close() error { return f.each(Backend.Close) }

// each goes on after an error: a family that fails must not cost the other.
func (f Families) each(do func(Backend) error) error {
	var failed []error
	for _, b := range f {
		failed = append(failed, do(b))
	}
	return errors.Join(failed...)
}
