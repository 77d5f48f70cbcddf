package schemas

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"

	// What the scheme must know: types, conversions and defaults of every group with a row, and of what their subresources take.
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
)

// group is the rows of one group and version.
type group struct {
	version schema.GroupVersion
	kinds   []*Kind
}

// storedAs names the storage version of the rows that aren't their own. That one must come first in groups.
var storedAs = map[schema.GroupVersionResource]schema.GroupVersionResource{
	eventsv1.SchemeGroupVersion.WithResource("events"):                        {Version: "v1", Resource: "events"},
	autoscalingv1.SchemeGroupVersion.WithResource("horizontalpodautoscalers"): autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"),
}

// groups returns all rows, the group first that wins where two know the same name.
func groups() []group {
	return []group{
		{schema.GroupVersion{Version: "v1"}, coreKinds()},
		{appsv1.SchemeGroupVersion, appsKinds()},
		{eventsv1.SchemeGroupVersion, []*Kind{eventKind()}},
		{autoscalingv2.SchemeGroupVersion, []*Kind{autoscalerKind()}},
		{autoscalingv1.SchemeGroupVersion, []*Kind{autoscalerKind()}},
		{batchv1.SchemeGroupVersion, batchKinds()},
		{networkingv1.SchemeGroupVersion, networkingKinds()},
		{policyv1.SchemeGroupVersion, []*Kind{
			{KindName: "PodDisruptionBudget", Resource: "poddisruptionbudgets", ShortNames: []string{"pdb"},
				create: poddisruptionbudget.Strategy, update: updates(poddisruptionbudget.Strategy, poddisruptionbudget.StatusStrategy),
				Subresources: statusOnly(policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"))},
		}},
		{rbacv1.SchemeGroupVersion, rbacKinds()},
		{storagev1.SchemeGroupVersion, storageKinds()},
		{schedulingv1.SchemeGroupVersion, []*Kind{
			{KindName: "PriorityClass", Resource: "priorityclasses", ShortNames: []string{"pc"},
				create: priorityclass.Strategy, update: updates(priorityclass.Strategy)},
		}},
		{coordinationv1.SchemeGroupVersion, []*Kind{
			{KindName: "Lease", Resource: "leases", create: lease.Strategy, update: updates(lease.Strategy)},
		}},
		{discoveryv1.SchemeGroupVersion, []*Kind{
			{KindName: "EndpointSlice", Resource: "endpointslices", create: newSliceStrategy(), update: updates(newSliceStrategy())},
		}},
	}
}

var all = []string{"all"}

// updates files a kind's strategies: the first for the object itself, the second for its status.
func updates(strategies ...rest.RESTUpdateStrategy) map[string]rest.RESTUpdateStrategy {
	out := map[string]rest.RESTUpdateStrategy{"": strategies[0]}
	if len(strategies) > 1 {
		out["status"] = strategies[1]
	}
	return out
}

var readWrite = []string{"get", "patch", "update"}

func statusOnly(gvk schema.GroupVersionKind) []Subresource {
	return []Subresource{{Name: "status", Kind: gvk, Verbs: readWrite}}
}

func scaleAndStatus(gvk schema.GroupVersionKind) []Subresource {
	return append([]Subresource{{Name: "scale", Kind: autoscalingv1.SchemeGroupVersion.WithKind("Scale"), Verbs: readWrite}}, statusOnly(gvk)...)
}

func eventKind() *Kind {
	return &Kind{KindName: "Event", Resource: "events", ShortNames: []string{"ev"},
		create: event.Strategy, update: updates(event.Strategy), fields: eventFields}
}

func autoscalerKind() *Kind {
	return &Kind{KindName: "HorizontalPodAutoscaler", Resource: "horizontalpodautoscalers", ShortNames: []string{"hpa"}, Categories: all,
		create:       horizontalpodautoscaler.Strategy,
		update:       updates(horizontalpodautoscaler.Strategy, horizontalpodautoscaler.StatusStrategy),
		Subresources: statusOnly(autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"))}
}

func appsKinds() []*Kind {
	gvk := appsv1.SchemeGroupVersion.WithKind
	return []*Kind{
		{KindName: "ControllerRevision", Resource: "controllerrevisions",
			create: controllerrevision.Strategy, update: updates(controllerrevision.Strategy)},
		{KindName: "DaemonSet", Resource: "daemonsets", ShortNames: []string{"ds"}, Categories: all,
			create: daemonset.Strategy, update: updates(daemonset.Strategy, daemonset.StatusStrategy),
			Subresources: statusOnly(gvk("DaemonSet"))},
		{KindName: "Deployment", Resource: "deployments", ShortNames: []string{"deploy"}, Categories: all,
			create: deployment.Strategy, update: updates(deployment.Strategy, deployment.StatusStrategy),
			Subresources: scaleAndStatus(gvk("Deployment"))},
		{KindName: "ReplicaSet", Resource: "replicasets", ShortNames: []string{"rs"}, Categories: all,
			create: replicaset.Strategy, update: updates(replicaset.Strategy, replicaset.StatusStrategy),
			Subresources: scaleAndStatus(gvk("ReplicaSet")), fields: replicaSetFields},
		{KindName: "StatefulSet", Resource: "statefulsets", ShortNames: []string{"sts"}, Categories: all,
			create: statefulset.Strategy, update: updates(statefulset.Strategy, statefulset.StatusStrategy),
			Subresources: scaleAndStatus(gvk("StatefulSet"))},
	}
}

func batchKinds() []*Kind {
	gvk := batchv1.SchemeGroupVersion.WithKind
	return []*Kind{
		{KindName: "CronJob", Resource: "cronjobs", ShortNames: []string{"cj"}, Categories: all,
			create: cronjob.Strategy, update: updates(cronjob.Strategy, cronjob.StatusStrategy), Subresources: statusOnly(gvk("CronJob"))},
		{KindName: "Job", Resource: "jobs", Categories: all, fields: jobFields,
			create: job.Strategy, update: updates(job.Strategy, job.StatusStrategy), Subresources: statusOnly(gvk("Job"))},
	}
}

func networkingKinds() []*Kind {
	gvk := networkingv1.SchemeGroupVersion.WithKind
	return []*Kind{
		{KindName: "Ingress", Resource: "ingresses", ShortNames: []string{"ing"}, admit: admitIngress,
			create: ingress.Strategy, update: updates(ingress.Strategy, ingress.StatusStrategy), Subresources: statusOnly(gvk("Ingress"))},
		{KindName: "IngressClass", Resource: "ingressclasses", create: ingressclass.Strategy, update: updates(ingressclass.Strategy)},
		{KindName: "IPAddress", Resource: "ipaddresses", ShortNames: []string{"ip"},
			create: ipaddress.Strategy, update: updates(ipaddress.Strategy)},
		{KindName: "NetworkPolicy", Resource: "networkpolicies", ShortNames: []string{"netpol"},
			create: networkpolicy.Strategy, update: updates(networkpolicy.Strategy)},
		{KindName: "ServiceCIDR", Resource: "servicecidrs",
			create: servicecidr.Strategy, update: updates(servicecidr.Strategy, servicecidr.StatusStrategy),
			Subresources: statusOnly(gvk("ServiceCIDR"))},
	}
}

func rbacKinds() []*Kind {
	return []*Kind{
		{KindName: "ClusterRole", Resource: "clusterroles", plain: true, create: clusterrole.Strategy, update: updates(clusterrole.Strategy)},
		{KindName: "ClusterRoleBinding", Resource: "clusterrolebindings", create: clusterrolebinding.Strategy, update: updates(clusterrolebinding.Strategy)},
		{KindName: "Role", Resource: "roles", plain: true, create: role.Strategy, update: updates(role.Strategy)},
		{KindName: "RoleBinding", Resource: "rolebindings", create: rolebinding.Strategy, update: updates(rolebinding.Strategy)},
	}
}

func storageKinds() []*Kind {
	return []*Kind{
		{KindName: "CSIDriver", Resource: "csidrivers", create: csidriver.Strategy, update: updates(csidriver.Strategy)},
		{KindName: "CSINode", Resource: "csinodes", create: csinode.Strategy, update: updates(csinode.Strategy)},
		{KindName: "CSIStorageCapacity", Resource: "csistoragecapacities", create: csistoragecapacity.Strategy, update: updates(csistoragecapacity.Strategy)},
		{KindName: "StorageClass", Resource: "storageclasses", ShortNames: []string{"sc"},
			create: storageclass.Strategy, update: updates(storageclass.Strategy)},
		{KindName: "VolumeAttachment", Resource: "volumeattachments",
			create: volumeattachment.Strategy, update: updates(volumeattachment.Strategy, volumeattachment.StatusStrategy),
			Subresources: statusOnly(storagev1.SchemeGroupVersion.WithKind("VolumeAttachment"))},
		{KindName: "VolumeAttributesClass", Resource: "volumeattributesclasses", ShortNames: []string{"vac"},
			create: volumeattributesclass.Strategy, update: updates(volumeattributesclass.Strategy)},
	}
}
