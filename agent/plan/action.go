package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Verb is what an Action does.
type Verb string

// The verbs. Each is one step that is safe to repeat.
const (
	SyncVolumes     Verb = "SyncVolumes"     // make the pod's volumes show Revision of its objects
	CreateSandbox   Verb = "CreateSandbox"   // from Sandbox
	StartSandbox    Verb = "StartSandbox"    // ID
	StopSandbox     Verb = "StopSandbox"     // ID; it stays, so that its containers' logs can be read
	RemoveSandbox   Verb = "RemoveSandbox"   // ID
	PullImage       Verb = "PullImage"       // Image, for Attempt of Container
	CreateContainer Verb = "CreateContainer" // from Spec
	StartContainer  Verb = "StartContainer"  // ID
	RunPostStart    Verb = "RunPostStart"    // in ID
	StopContainer   Verb = "StopContainer"   // ID, with its preStop hook, within Grace
	RemoveContainer Verb = "RemoveContainer" // ID
	RemoveVolumes   Verb = "RemoveVolumes"   // all files of the pod on the node
)

// Action is one thing to do. The fields that a verb's comment doesn't name are empty.
type Action struct {
	Verb      Verb
	Container string // name
	ID        string // Docker's
	Attempt   int
	Image     string
	Revision  uint64
	Grace     time.Duration
	Hook      *corev1.LifecycleHandler
	Reason    string // why, as "kubectl describe" shows it
	Present   bool   // CreateContainer: the image wasn't pulled for this attempt, so it must be there already
	Sandbox   *SandboxSpec
	Spec      *ContainerSpec
}

// Key names what the action works on: of the actions with one key only one may be under way.
func (a Action) Key() string {
	switch a.Verb {
	case SyncVolumes, RemoveVolumes:
		return "volumes"
	case CreateSandbox, StartSandbox, StopSandbox, RemoveSandbox:
		return "sandbox"
	case PullImage, CreateContainer, StartContainer, RunPostStart:
		return "container " + a.Container
	case StopContainer:
		return fmt.Sprintf("stop %s %s", a.ID, a.Grace)
	}
	return "remove " + a.ID
}

// Cancellable says that the action may be cut short when the pod is to end.
func (a Action) Cancellable() bool { return a.Verb == PullImage || a.Verb == RunPostStart }

// String is the action as a transcript shows it.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(string(a.Verb))
	for _, part := range []struct{ name, value string }{
		{"", a.Container}, {"id", a.ID}, {"image", a.Image}, {"reason", a.Reason},
	} {
		if part.value == "" {
			continue
		}
		b.WriteByte(' ')
		if part.name != "" {
			b.WriteString(part.name + "=")
		}
		if strings.Contains(part.value, " ") {
			fmt.Fprintf(&b, "%q", part.value)
		} else {
			b.WriteString(part.value)
		}
	}
	if a.Verb == CreateContainer || a.Verb == CreateSandbox {
		fmt.Fprintf(&b, " attempt=%d", a.Attempt)
	}
	if a.Verb == StopContainer {
		fmt.Fprintf(&b, " grace=%s", a.Grace)
	}
	return b.String()
}

// Probe is a probe that should be running.
type Probe struct {
	Key       ProbeKey
	Container string
	Started   time.Time // of the container
	Spec      *corev1.Probe
	PodIP     string
}

// Decision is what to do now, what to say, and when to look again.
type Decision struct {
	Actions []Action
	Cancel  []string // keys of what is under way and not wanted any more
	Probes  []Probe
	Status  corev1.PodStatus
	Again   time.Time // zero: when something changes
	Done    bool      // nothing of the pod is left on the node
}

// PodRef names a pod.
type PodRef struct{ Namespace, Name, UID string }

// SandboxSpec is a pause container, resolved to the last detail.
type SandboxSpec struct {
	Pod          PodRef
	Attempt      int
	Hostname     string
	HostNetwork  bool
	Addresses    []netip.Addr // of the pod, unless it is in the host's network
	HostIPC      bool
	ShareHostPID bool
	Ports        []corev1.ContainerPort // those with a HostPort
	Subdomain    string                 // the rest of the pod's full name, if it has one
	Hosts        []string               // "name:address"
	DNS          []string
	DNSSearch    []string
	DNSOptions   []string
	Sysctls      map[string]string
}

// ContainerSpec is a container, resolved to the last detail.
type ContainerSpec struct {
	Pod        PodRef
	Name       string
	Attempt    int
	SandboxID  string
	BackOff    time.Duration
	Image      string
	Command    []string // nil: the image's
	Args       []string
	Env        []string
	WorkingDir string
	TTY, Stdin bool
	StdinOnce  bool
	Mounts     []Mount
	Security   Security
	Resources  Resources
	HostPID    bool
	SharePID   bool // one process namespace for all containers of the pod

	TerminationPath   string // in the container
	TerminationFile   string // on the node
	TerminationPolicy corev1.TerminationMessagePolicy
	StopSignal        string
}

// Mount makes Source on the node visible at Target.
type Mount struct {
	Source      string // the host's path, or the volume's directory
	SubPath     string // inside Source, which must not be left
	Target      string
	ReadOnly    bool
	Propagation string // "", rslave, rshared
}

// Security is what a container may do.
type Security struct {
	User              string // "uid" or "uid:gid"; empty: the image's
	RequireNonRoot    bool   // the image's user must not be root
	Groups            []string
	Privileged        bool
	ReadOnlyRoot      bool
	NoNewPrivileges   bool
	AddCapabilities   []string
	DropCapabilities  []string
	SeccompUnconfined bool
	UnmaskedProc      bool
}

// Resources is what a container may use, in Docker's units.
type Resources struct {
	CPUShares   int64
	NanoCPUs    int64
	Memory      int64 // bytes; 0: no limit
	OOMScoreAdj int
}
