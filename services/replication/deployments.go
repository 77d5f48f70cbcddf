package replication

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

// deployments decides about Deployments.
type deployments struct {
	orphans *owned.Orphans
}

// NewDeployments returns the decider of Deployments.
func NewDeployments() runner.Decider { return &deployments{orphans: owned.NewOrphans(replicaSetKind)} }

// Name implements runner.Decider.
func (d *deployments) Name() string { return actor }

// Holds implements runner.Sharer.
func (d *deployments) Holds(key events.Ref) bool { return key.GroupResource() == deploymentKind }

// Fold implements runner.Folder.
func (d *deployments) Fold(c events.Change) { d.orphans.Fold(c) }

// Keys implements runner.Decider: a Deployment that changed, or the one whose ReplicaSet did.
func (d *deployments) Keys(c events.Change, s *events.State) []events.Ref {
	switch ref := c.Ref(); ref.GroupResource() {
	case deploymentKind:
		return []events.Ref{ref}
	case replicaSetKind:
		keys := append(owningDeployment(nil, c.Old), owningDeployment(nil, c.New)...)
		if c.New != nil && metav1.GetControllerOfNoCopy(c.New.Meta()) == nil {
			for o := range s.All(deploymentKind, ref.Namespace) {
				selector, err := metav1.LabelSelectorAsSelector(o.Typed().(*appsv1.Deployment).Spec.Selector)
				if err == nil && selector.Matches(labels.Set(c.New.Meta().GetLabels())) {
					keys = append(keys, o.Ref)
				}
			}
		}
		return keys
	}
	return nil
}

func owningDeployment(keys []events.Ref, rs *events.Object) []events.Ref {
	if rs == nil {
		return keys
	}
	owner := metav1.GetControllerOfNoCopy(rs.Meta())
	if owner == nil || owner.Kind != "Deployment" || owner.APIVersion != appsv1.SchemeGroupVersion.String() {
		return keys
	}
	return append(keys, events.Ref{Group: appsv1.GroupName, Resource: "deployments", Namespace: rs.Ref.Namespace, Name: owner.Name})
}
