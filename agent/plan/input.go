package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/dns/resolv"
)

// Input is all that a decision about one pod depends on.
type Input struct {
	Now     time.Time
	Pod     *corev1.Pod      // as wanted; for a pod that only Docker knows of, what the labels tell
	Gone    bool             // the cluster doesn't have the pod on this node any more: take it down, whatever its spec says
	Last    corev1.PodStatus // the status that was decided before
	Node    Node
	Objects Objects
	Seen    Seen
	Memory  Memory
}

// Node is what a pod may learn of the node it runs on.
type Node struct {
	Name          string
	IP            string
	ClusterDNS    []string    // name servers for the cluster's names; none: nobody answers those
	ClusterDomain string      // "cluster.local"
	Resolver      resolv.Conf // the node's own
	Allocatable   corev1.ResourceList
	Dir           string // holds one directory per pod, named by its UID
	NoNetwork     string // why no pod can be on the pod network now; empty: they can
}

// PodDir is the directory of the pod's files on the node.
func (n Node) PodDir(uid string) string { return n.Dir + "/" + uid }

// Objects are the objects in the pod's namespace that it may refer to. Revision grows whenever what the pod's volumes show may
// have changed: these objects or the pod's own labels and annotations.
type Objects struct {
	Revision   uint64
	ConfigMaps map[string]*corev1.ConfigMap
	Secrets    map[string]*corev1.Secret
	Services   []*corev1.Service // sorted by name; those of the pod's namespace, and default/kubernetes
}

// Seen is what Docker says of the pod.
type Seen struct {
	Sandbox    *Sandbox
	Containers []Container // every attempt of every container, in any order
}

// State is what a container is doing.
type State string

// A container is created, then runs, then has exited. One that could not be started stays Created and carries an Error.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Sandbox is the pause container that holds a pod's namespaces. It is Running only when it is attached to the pod network too.
type Sandbox struct {
	ID      string
	Attempt int
	State   State
	IPs     []string
	PID     int
	Own     bool                   // the addresses were allocated by the agent: Docker has given it no network
	Ports   []corev1.ContainerPort // of the node at which it answers
}

// Container is one attempt of a container.
type Container struct {
	ID        string
	Name      string
	Attempt   int
	SandboxID string
	State     State
	ImageID   string
	BackOff   time.Duration // how long after its exit the next attempt waits
	Created   time.Time
	Started   time.Time
	Finished  time.Time
	ExitCode  int32
	OOMKilled bool
	Error     string // why it could not be started
	Message   string // its termination message
}

// failedToStart says that the attempt is over without ever having run.
func (c *Container) failedToStart() bool { return c.State == Created && c.Error != "" }

// over says that the attempt is history.
func (c *Container) over() bool { return c.State == Exited || c.failedToStart() }

// ended is when the attempt became history.
func (c *Container) ended() time.Time {
	if c.Finished.After(c.Created) {
		return c.Finished
	}
	return c.Created
}

// exitCode is the attempt's exit code as the status shows it.
func (c *Container) exitCode() int32 {
	if c.failedToStart() {
		return startErrorCode
	}
	return c.ExitCode
}

// Failure is a thing that went wrong Count times in a row, last at At.
type Failure struct {
	Count   int
	At      time.Time
	Reason  string // as a waiting reason or an event has it
	Message string
}

// Again returns the failure that follows f when the same thing goes wrong once more.
func (f Failure) Again(at time.Time, reason, message string) Failure {
	return Failure{Count: f.Count + 1, At: at, Reason: reason, Message: message}
}

// retryAt is when to try again: base after the first failure, doubling up to limit. It is the zero time when nothing failed.
func (f Failure) retryAt(base, limit time.Duration) time.Time {
	if f.Count == 0 {
		return time.Time{}
	}
	return f.At.Add(doubled(base, f.Count-1, limit))
}

// doubled returns base doubled n times, at most limit.
func doubled(base time.Duration, n int, limit time.Duration) time.Duration {
	for range n {
		if base >= limit {
			return limit
		}
		base *= 2
	}
	return min(base, limit)
}

// Memory is what the agent knows from having acted, and Docker doesn't tell. All of it may be lost at any instant.
type Memory struct {
	Busy       map[string]Action  // by Action.Key: what is under way
	Volumes    Volumes            // the pod's volumes
	Sandbox    Failure            // creating or starting the sandbox
	Images     map[string]Image   // by container name
	Containers map[string]Failure // by container name: creating it
	Hooks      map[string]Hook    // by container ID: its postStart hook; a container that isn't here has none to wait for
	Probes     map[ProbeKey]Verdict
}

// Volumes is how far a pod's volumes are.
type Volumes struct {
	Revision uint64 // of the Objects that they show; 0 before the first time
	Failure  Failure
	Removed  bool
}

// Image is what is known of a container's image.
type Image struct {
	Missing bool // Docker doesn't have it
	Pulled  int  // the attempt for which it was pulled last, counted from 1
	Failure Failure
}

// Hook is the state of a postStart hook.
type Hook string

// A hook is pending from the start of its container until it ends one way or the other.
const (
	HookPending Hook = "pending"
	HookDone    Hook = "done"
	HookFailed  Hook = "failed"
)

// ProbeKind is what a probe is for.
type ProbeKind string

// The kinds of probes.
const (
	Startup   ProbeKind = "Startup"
	Readiness ProbeKind = "Readiness"
	Liveness  ProbeKind = "Liveness"
)

// ProbeKey names one probe of one attempt of a container.
type ProbeKey struct {
	ContainerID string
	Kind        ProbeKind
}

// Verdict is what a probe says once a threshold is reached.
type Verdict struct {
	Success bool
	Message string
}
