package events

// AgentLabel marks, with the value "true", the nodes that report through the node feed: their silence is the feed's to notice, and no
// Lease tells of them.
const AgentLabel = "wake.dev/agent"

// StartLease names the Lease that is renewed whenever the cluster is started, so that what follows from a start follows from the ledger.
func StartLease() Ref {
	return Ref{Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-system", Name: "wake"}
}

// AnnouncedBy is the annotation of an IPAddress that names the node which is to answer for the address on its link.
const AnnouncedBy = "wake.dev/announced-by"

// IngressLabel marks, with the value "true", the nodes that serve Ingresses: those are told of them and of the Secrets with their certificates.
const IngressLabel = "ingress.wake.dev/node"
