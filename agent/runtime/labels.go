package runtime

import (
	"strconv"
	"time"

	"github.com/wakehq/wake/agent/plan"
)

// Labels by which a container is found again. They are all that Wake remembers of it.
const (
	labelPrefix      = "io.wake."
	labelCluster     = labelPrefix + "cluster"
	labelNamespace   = labelPrefix + "pod.namespace"
	labelPod         = labelPrefix + "pod.name"
	labelUID         = labelPrefix + "pod.uid"
	labelContainer   = labelPrefix + "container"
	labelAttempt     = labelPrefix + "attempt"
	labelSandbox     = labelPrefix + "sandbox"
	labelBackOff     = labelPrefix + "backoff"
	labelTermination = labelPrefix + "termination.file"
	labelFallback    = labelPrefix + "termination.fallback"
	labelAddresses   = labelPrefix + "pod.addresses" // of a sandbox on the pod network: "10.244.0.5,fd00:244::5"
	labelPorts       = labelPrefix + "pod.hostports" // JSON
)

func (d *Docker) podLabels(ref plan.PodRef, attempt int) map[string]string {
	return map[string]string{
		labelCluster:   d.config.Cluster,
		labelNamespace: ref.Namespace,
		labelPod:       ref.Name,
		labelUID:       ref.UID,
		labelAttempt:   strconv.Itoa(attempt),
	}
}

// refFrom is the pod that labels name.
func refFrom(labels map[string]string) plan.PodRef {
	return plan.PodRef{Namespace: labels[labelNamespace], Name: labels[labelPod], UID: labels[labelUID]}
}

// number is a label that holds one; 0 if it doesn't, as somebody may have forged it.
func number(labels map[string]string, name string) int {
	n, err := strconv.Atoi(labels[name])
	if err != nil {
		return 0
	}
	return n
}

// duration is a label that holds one; 0 if it doesn't.
func duration(labels map[string]string, name string) time.Duration {
	d, err := time.ParseDuration(labels[name])
	if err != nil {
		return 0
	}
	return d
}
