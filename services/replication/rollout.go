package replication

import (
	"fmt"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// bounds returns how many pods a Deployment may have beyond its replicas and how many of them may be unavailable during a rolling update.
// Percentages are of its replicas, the surge rounded up, the other down; if that leaves no room to move, one may be unavailable.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || rolling == nil {
		return 0, 0
	}
	replicas := int(orOne(d.Spec.Replicas))
	scaled := func(value *intstr.IntOrString, up bool) int32 {
		if value == nil {
			return 0
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(value, replicas, up)
		if err != nil || n < 0 {
			return 0
		}
		return int32(min(n, math.MaxInt32))
	}
	surge, unavailable = scaled(rolling.MaxSurge, true), scaled(rolling.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, int32(replicas))
}

func scaleMessage(name string, from, to int32) string {
	direction := "up"
	if to < from {
		direction = "down"
	}
	return fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, name, from, to)
}

// scale sets m's size, and the annotations from which a later change of the Deployment's size is shared out.
func (r *rollout) scale(m *member, size int32) {
	m.is.Spec.Replicas = &size
	r.annotateSize(m)
}

// roll moves replicas from the old ReplicaSets to the newest, as far as the bounds allow. It takes the next step when every ReplicaSet has
// answered to the last: until then one may still act on what it was told before, and its counts say too little.
func (r *rollout) roll() {
	if !r.answered() {
		return
	}
	r.grow()
	r.dropUnhealthy()
	r.dropAvailable()
}

func (r *rollout) answered() bool {
	return !slices.ContainsFunc(r.all(), func(m *member) bool { return m.was.Status.ObservedGeneration < m.was.Generation })
}

// grow makes the newest ReplicaSet as large as it may be. Pods that are about to be ended take up room until they are.
func (r *rollout) grow() {
	size := r.newest.size()
	switch {
	case size > r.replicas:
		r.scale(r.newest, r.replicas)
	case size < r.replicas:
		if room := r.replicas + r.surge - sum(r.all(), (*member).footprint); room > 0 {
			r.scale(r.newest, min(size+room, r.replicas))
		}
	}
}

// dropUnhealthy ends old pods that aren't available, oldest ReplicaSet first: nobody will miss them. It leaves as many as the newest
// ReplicaSet's own unavailable pods need, so that a template that never becomes available doesn't eat up the old ones.
func (r *rollout) dropUnhealthy() {
	room := sum(r.all(), (*member).size) - (r.replicas - r.absent) - (r.newest.size() - r.newest.available())
	for _, m := range r.old {
		if drop := min(m.size()-m.available(), room); drop > 0 {
			r.scale(m, m.size()-drop)
			room -= drop
		}
	}
}

// dropAvailable ends old pods that are available, as long as enough others are.
func (r *rollout) dropAvailable() {
	spare := sum(r.all(), (*member).available) - (r.replicas - r.absent)
	for _, m := range r.old {
		if drop := min(m.size(), spare); drop > 0 {
			r.scale(m, m.size()-drop)
			spare -= drop
		}
	}
}

// recreate ends all old pods and begins with the new ones when the last is gone.
func (r *rollout) recreate() {
	gone := true
	for _, m := range r.old {
		if m.size() != 0 {
			r.scale(m, 0)
		}
		s := &m.was.Status
		terminating := s.TerminatingReplicas != nil && *s.TerminatingReplicas > 0
		gone = gone && orOne(m.was.Spec.Replicas) == 0 && s.ObservedGeneration >= m.was.Generation && s.Replicas == 0 && !terminating
	}
	if !gone {
		r.revise()
		return
	}
	r.begin()
	if r.newest.size() != r.replicas {
		r.scale(r.newest, r.replicas)
	}
}

// resized says that the Deployment's size has changed since its ReplicaSets were last scaled.
func (r *rollout) resized() bool {
	return slices.ContainsFunc(r.all(), func(m *member) bool {
		desired, ok := annotatedNumber(m.was, desiredAnnotation)
		return m.size() > 0 && ok && desired != r.replicas
	})
}

// resize shares a change of the Deployment's size out among its ReplicaSets, in proportion to theirs, without going on with a rollout. Like roll
// it waits for answers.
func (r *rollout) resize() {
	if !r.answered() {
		return
	}
	active := slices.DeleteFunc(slices.Clone(r.all()), func(m *member) bool { return m.size() == 0 })
	defer func() {
		for _, m := range active {
			r.annotateSize(m)
		}
	}()
	switch {
	case len(active) == 1:
		r.resizeOnly(active[0])
	case len(active) == 0:
		if last := r.all(); len(last) > 0 {
			r.resizeOnly(last[len(last)-1])
		}
	case r.saturated():
		for _, m := range r.old {
			if m.size() > 0 {
				r.scale(m, 0)
			}
		}
	case r.was.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType:
		r.share(active)
	}
}

func (r *rollout) resizeOnly(m *member) {
	if m.size() != r.replicas {
		r.scale(m, r.replicas)
	}
}

// saturated says that the newest ReplicaSet alone is the whole Deployment.
func (r *rollout) saturated() bool {
	if r.newest == nil {
		return false
	}
	desired, _ := annotatedNumber(r.newest.was, desiredAnnotation)
	return r.newest.size() == r.replicas && desired == r.replicas && r.newest.was.Status.AvailableReplicas == r.replicas
}

func (r *rollout) share(active []*member) {
	allowed := int32(0)
	if r.replicas > 0 {
		allowed = r.replicas + r.surge
	}
	add := allowed - sum(active, (*member).size)
	if add > 0 {
		add = max(0, allowed-sum(r.all(), (*member).footprint))
	}
	// The largest gives or takes first; of equals, the newest grows first and the oldest shrinks first.
	if add > 0 {
		slices.Reverse(active)
	}
	slices.SortStableFunc(active, func(a, b *member) int { return int(b.size()) - int(a.size()) })
	sizes, added := make([]int32, len(active)), int32(0)
	for i, m := range active {
		part := r.fraction(m)
		if left := add - added; add > 0 {
			part = min(part, left)
		} else {
			part = max(part, left)
		}
		if add == 0 {
			part = 0
		}
		sizes[i] = m.size() + part
		added += part
	}
	sizes[0] = max(0, sizes[0]+add-added) // what rounding left over
	for i, m := range active {
		r.scale(m, max(0, sizes[i]))
	}
}

// fraction is the share of m in the change from the Deployment's former largest size to its present one.
func (r *rollout) fraction(m *member) int32 {
	if r.replicas == 0 {
		return -m.size()
	}
	before, ok := annotatedNumber(m.was, maxAnnotation)
	if !ok || before == 0 {
		if before = r.was.Status.Replicas; before == 0 {
			return 0
		}
	}
	size := float64(m.size()) * float64(r.replicas+r.surge) / float64(before)
	return int32(math.Round(size)) - m.size()
}
