package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// Pods that request nothing still do something: for the score, not the fit, they count as this much. Kubernetes takes the same values.
const (
	leastScoredCPU    = 100       // millicores
	leastScoredMemory = 200 << 20 // bytes
)

// amounts are quantities of what a node offers.
type amounts struct {
	cpu      int64 // millicores
	memory   int64 // bytes
	storage  int64 // bytes of ephemeral storage
	pods     int64
	extended map[corev1.ResourceName]int64 // huge pages, devices
}

// demand is what a pod takes from its node.
type demand struct {
	amounts
	scoredCPU, scoredMemory int64
	ports                   []hostPort
}

// hostPort is a port of the node itself. ip is empty for all addresses.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// overlaps says that only one of two pods with these ports can run on a node.
func (h hostPort) overlaps(other hostPort) bool {
	return h.port == other.port && h.protocol == other.protocol && (h.ip == "" || other.ip == "" || h.ip == other.ip)
}

func demandOf(p *corev1.Pod) demand {
	d := demand{amounts: amountsOf(resource.PodRequests(p, resource.PodResourcesOptions{})), ports: hostPorts(p)}
	d.pods = 1
	d.scoredCPU, d.scoredMemory = d.cpu, d.memory
	if d.cpu == 0 {
		d.scoredCPU = leastScoredCPU
	}
	if d.memory == 0 {
		d.scoredMemory = leastScoredMemory
	}
	return d
}

func amountsOf(list corev1.ResourceList) amounts {
	var a amounts
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			a.cpu = quantity.MilliValue()
		case corev1.ResourceMemory:
			a.memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			a.storage = quantity.Value()
		case corev1.ResourcePods:
			a.pods = quantity.Value()
		default:
			if a.extended == nil {
				a.extended = map[corev1.ResourceName]int64{}
			}
			a.extended[name] = quantity.Value()
		}
	}
	return a
}

// hostPorts lists the ports that a pod needs on its node; those of init containers count only if they keep running (sidecars, KEP-753).
func hostPorts(p *corev1.Pod) []hostPort {
	var ports []hostPort
	take := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ip := port.HostIP
				if ip == "0.0.0.0" || ip == "::" {
					ip = ""
				}
				ports = append(ports, hostPort{ip: ip, protocol: port.Protocol, port: port.HostPort})
			}
		}
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			take(c)
		}
	}
	for i := range p.Spec.Containers {
		take(&p.Spec.Containers[i])
	}
	return ports
}

// add counts d sign times.
func (a *amounts) add(d *amounts, sign int64) {
	a.cpu += sign * d.cpu
	a.memory += sign * d.memory
	a.storage += sign * d.storage
	a.pods += sign * d.pods
	for name, n := range d.extended {
		if a.extended == nil {
			a.extended = map[corev1.ResourceName]int64{}
		}
		if a.extended[name] += sign * n; a.extended[name] == 0 {
			delete(a.extended, name)
		}
	}
}

// extendedNames lists the extended resources that a names, sorted.
func (a *amounts) extendedNames() []corev1.ResourceName {
	return slices.Sorted(maps.Keys(a.extended))
}
