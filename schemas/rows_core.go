package schemas

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
)

func coreKinds() []*Kind {
	gvk := corev1.SchemeGroupVersion.WithKind
	return []*Kind{
		{KindName: "ConfigMap", Resource: "configmaps", ShortNames: []string{"cm"}, admit: admitConfigMap, carry: carryConfigMap,
			create: configmap.Strategy, update: updates(configmap.Strategy)},
		{KindName: "Endpoints", Resource: "endpoints", ShortNames: []string{"ep"},
			create: newEndpointsStrategy(), update: updates(newEndpointsStrategy())},
		eventKind(),
		{KindName: "LimitRange", Resource: "limitranges", ShortNames: []string{"limits"}, plain: true,
			create: limitrange.Strategy, update: updates(limitrange.Strategy)},
		namespaceKind(),
		{KindName: "Node", Resource: "nodes", ShortNames: []string{"no"}, fields: nodeFields, reports: true,
			create: node.Strategy, update: updates(node.Strategy, node.StatusStrategy),
			Subresources: []Subresource{
				{Name: "proxy", Kind: gvk("NodeProxyOptions"), Verbs: anyMethod},
				{Name: "status", Kind: gvk("Node"), Verbs: readWrite},
			}},
		{KindName: "PersistentVolume", Resource: "persistentvolumes", ShortNames: []string{"pv"}, fields: nameField, complete: completeVolume,
			create: persistentvolume.Strategy, update: updates(persistentvolume.Strategy, persistentvolume.StatusStrategy),
			Subresources: statusOnly(gvk("PersistentVolume"))},
		{KindName: "PersistentVolumeClaim", Resource: "persistentvolumeclaims", ShortNames: []string{"pvc"}, fields: nameField, complete: completeClaim,
			create: persistentvolumeclaim.Strategy, update: updates(persistentvolumeclaim.Strategy, persistentvolumeclaim.StatusStrategy),
			Subresources: statusOnly(gvk("PersistentVolumeClaim"))},
		podKind(),
		{KindName: "PodTemplate", Resource: "podtemplates", create: podtemplate.Strategy, update: updates(podtemplate.Strategy)},
		{KindName: "ReplicationController", Resource: "replicationcontrollers", ShortNames: []string{"rc"}, Categories: all,
			create: replicationcontroller.Strategy, update: updates(replicationcontroller.Strategy, replicationcontroller.StatusStrategy),
			Subresources: scaleAndStatus(gvk("ReplicationController")), fields: controllerFields},
		{KindName: "ResourceQuota", Resource: "resourcequotas", ShortNames: []string{"quota"},
			create: resourcequota.Strategy, update: updates(resourcequota.Strategy, resourcequota.StatusStrategy),
			Subresources: statusOnly(gvk("ResourceQuota"))},
		{KindName: "Secret", Resource: "secrets", create: secret.Strategy, update: updates(secret.Strategy), fields: secretFields},
		{KindName: "Service", Resource: "services", ShortNames: []string{"svc"}, Categories: all, fields: serviceFields,
			create: serviceStrategy{service.Strategy}, update: updates(serviceStrategy{service.Strategy}, service.StatusStrategy),
			admit: admitService, carry: carryService,
			Subresources: []Subresource{
				{Name: "proxy", Kind: gvk("ServiceProxyOptions"), Verbs: anyMethod},
				{Name: "status", Kind: gvk("Service"), Verbs: readWrite},
			}},
		{KindName: "ServiceAccount", Resource: "serviceaccounts", ShortNames: []string{"sa"},
			create: serviceaccount.Strategy, update: updates(serviceaccount.Strategy),
			Subresources: []Subresource{
				{Name: "token", Kind: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), Verbs: []string{"create"}},
			}},
	}
}

var anyMethod = []string{"create", "delete", "get", "patch", "update"}

func namespaceKind() *Kind {
	gvk := corev1.SchemeGroupVersion.WithKind("Namespace")
	k := &Kind{KindName: "Namespace", Resource: "namespaces", ShortNames: []string{"ns"}, fields: namespaceFields,
		create: namespace.Strategy, update: updates(namespace.Strategy, namespace.StatusStrategy),
		admit: admitNamespace, complete: completeNamespace, held: namespaceHeld,
		Subresources: []Subresource{
			{Name: "finalize", Kind: gvk, Verbs: []string{"update"}},
			{Name: "status", Kind: gvk, Verbs: readWrite},
		}}
	k.update["finalize"] = namespace.FinalizeStrategy
	return k
}

func podKind() *Kind {
	gvk := corev1.SchemeGroupVersion.WithKind
	connect := []string{"create", "get"}
	k := &Kind{KindName: "Pod", Resource: "pods", ShortNames: []string{"po"}, Categories: all, fields: podFields,
		create: pod.Strategy, update: updates(pod.Strategy, pod.StatusStrategy), admit: admitPod, decode: new(podSpecs).decode, complete: completePod,
		Subresources: []Subresource{
			{Name: "attach", Kind: gvk("PodAttachOptions"), Verbs: connect},
			{Name: "binding", Kind: gvk("Binding"), Verbs: []string{"create"}},
			{Name: "ephemeralcontainers", Kind: gvk("Pod"), Verbs: readWrite},
			{Name: "eviction", Kind: policyv1.SchemeGroupVersion.WithKind("Eviction"), Verbs: []string{"create"}},
			{Name: "exec", Kind: gvk("PodExecOptions"), Verbs: connect},
			{Name: "log", Kind: gvk("Pod"), Verbs: []string{"get"}},
			{Name: "portforward", Kind: gvk("PodPortForwardOptions"), Verbs: connect},
			{Name: "proxy", Kind: gvk("PodProxyOptions"), Verbs: anyMethod},
			{Name: "resize", Kind: gvk("Pod"), Verbs: readWrite},
			{Name: "status", Kind: gvk("Pod"), Verbs: readWrite},
		}}
	k.update["ephemeralcontainers"] = pod.EphemeralContainersStrategy
	k.update["resize"] = pod.ResizeStrategy
	return k
}
