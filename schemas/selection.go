package schemas

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// FieldSelector reads a field selector as a client wrote it ("status.phase=Running,spec.nodeName!=n1"). A field by which this kind can't be
// selected is a bad request.
func (k *Kind) FieldSelector(text string) (fields.Selector, error) {
	selector, err := fields.ParseSelector(text)
	if err == nil {
		selector, err = selector.Transform(func(label, value string) (string, string, error) {
			return legacyscheme.Scheme.ConvertFieldLabel(k.GVK(), label, value)
		})
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("field selector %q for %s: %v", text, k.Resource, err))
	}
	return selector, nil
}

// Fields returns what a field selector sees of obj, which is in the storage version.
func (k *Kind) Fields(obj runtime.Object) fields.Set {
	m := obj.(metav1.Object)
	set := fields.Set{"metadata.name": m.GetName()}
	if k.Namespaced {
		set["metadata.namespace"] = m.GetNamespace()
	}
	if k.Storage.fields != nil {
		k.Storage.fields(obj, set)
	}
	return set
}

func podFields(obj runtime.Object, set fields.Set) {
	pod := obj.(*corev1.Pod)
	set["spec.nodeName"] = pod.Spec.NodeName
	set["spec.restartPolicy"] = string(pod.Spec.RestartPolicy)
	set["spec.schedulerName"] = pod.Spec.SchedulerName
	set["spec.serviceAccountName"] = pod.Spec.ServiceAccountName
	set["spec.hostNetwork"] = strconv.FormatBool(pod.Spec.HostNetwork)
	set["status.phase"] = string(pod.Status.Phase)
	set["status.podIP"] = pod.Status.PodIP
	set["status.nominatedNodeName"] = pod.Status.NominatedNodeName
}

func eventFields(obj runtime.Object, set fields.Set) {
	e := obj.(*corev1.Event)
	set["involvedObject.kind"] = e.InvolvedObject.Kind
	set["involvedObject.namespace"] = e.InvolvedObject.Namespace
	set["involvedObject.name"] = e.InvolvedObject.Name
	set["involvedObject.uid"] = string(e.InvolvedObject.UID)
	set["involvedObject.apiVersion"] = e.InvolvedObject.APIVersion
	set["involvedObject.resourceVersion"] = e.InvolvedObject.ResourceVersion
	set["involvedObject.fieldPath"] = e.InvolvedObject.FieldPath
	set["reason"] = e.Reason
	set["reportingComponent"] = e.ReportingController
	set["source"] = e.Source.Component
	if e.Source.Component == "" {
		set["source"] = e.ReportingController
	}
	set["type"] = e.Type
}

func nodeFields(obj runtime.Object, set fields.Set) {
	set["spec.unschedulable"] = strconv.FormatBool(obj.(*corev1.Node).Spec.Unschedulable)
}

func namespaceFields(obj runtime.Object, set fields.Set) {
	nameField(obj, set)
	set["status.phase"] = string(obj.(*corev1.Namespace).Status.Phase)
}

func secretFields(obj runtime.Object, set fields.Set) {
	set["type"] = string(obj.(*corev1.Secret).Type)
}

func serviceFields(obj runtime.Object, set fields.Set) {
	svc := obj.(*corev1.Service)
	set["spec.clusterIP"], set["spec.type"] = svc.Spec.ClusterIP, string(svc.Spec.Type)
}

func controllerFields(obj runtime.Object, set fields.Set) {
	set["status.replicas"] = strconv.Itoa(int(obj.(*corev1.ReplicationController).Status.Replicas))
}

func replicaSetFields(obj runtime.Object, set fields.Set) {
	set["status.replicas"] = strconv.Itoa(int(obj.(*appsv1.ReplicaSet).Status.Replicas))
}

func jobFields(obj runtime.Object, set fields.Set) {
	set["status.successful"] = strconv.Itoa(int(obj.(*batchv1.Job).Status.Succeeded))
}

// nameField repeats the name under the label that some kinds had before all had metadata.name.
func nameField(obj runtime.Object, set fields.Set) { set["name"] = obj.(metav1.Object).GetName() }
