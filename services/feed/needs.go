package feed

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
	"github.com/wakehq/wake/schemas/ingressclass"
)

// needsOf gives the Secrets and ConfigMaps that an object names, each once: an Ingress those of its certificates, a pod those for pulling images, in its
// environment and in its volumes. It is never nil.
func needsOf(o *events.Object) []object {
	n := &needs{namespace: o.Ref.Namespace, found: []object{}}
	switch typed := o.Typed().(type) {
	case *networkingv1.Ingress:
		for _, secret := range ingressclass.Secrets(typed) {
			n.add(nodewire.Secrets, secret)
		}
	case *corev1.Pod:
		n.pod(typed)
	}
	slices.SortFunc(n.found, compareObjects)
	return slices.Compact(n.found)
}

func (n *needs) pod(pod *corev1.Pod) {
	for _, secret := range pod.Spec.ImagePullSecrets {
		n.add(nodewire.Secrets, secret.Name)
	}
	for i := range pod.Spec.Volumes {
		n.volume(&pod.Spec.Volumes[i])
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			n.environment(containers[i].Env, containers[i].EnvFrom)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		n.environment(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom)
	}
}

type needs struct {
	namespace string
	found     []object
}

func (n *needs) add(resource nodewire.Resource, name string) {
	if name != "" {
		n.found = append(n.found, object{resource, n.namespace, name})
	}
}

func (n *needs) volume(v *corev1.Volume) {
	switch {
	case v.Secret != nil:
		n.add(nodewire.Secrets, v.Secret.SecretName)
	case v.ConfigMap != nil:
		n.add(nodewire.ConfigMaps, v.ConfigMap.Name)
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			if source.Secret != nil {
				n.add(nodewire.Secrets, source.Secret.Name)
			}
			if source.ConfigMap != nil {
				n.add(nodewire.ConfigMaps, source.ConfigMap.Name)
			}
		}
	case v.CSI != nil && v.CSI.NodePublishSecretRef != nil:
		n.add(nodewire.Secrets, v.CSI.NodePublishSecretRef.Name)
	}
}

func (n *needs) environment(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for i := range env {
		source := env[i].ValueFrom
		if source == nil {
			continue
		}
		if source.SecretKeyRef != nil {
			n.add(nodewire.Secrets, source.SecretKeyRef.Name)
		}
		if source.ConfigMapKeyRef != nil {
			n.add(nodewire.ConfigMaps, source.ConfigMapKeyRef.Name)
		}
	}
	for i := range from {
		if from[i].SecretRef != nil {
			n.add(nodewire.Secrets, from[i].SecretRef.Name)
		}
		if from[i].ConfigMapRef != nil {
			n.add(nodewire.ConfigMaps, from[i].ConfigMapRef.Name)
		}
	}
}
