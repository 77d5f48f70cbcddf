package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/dns/resolv"
)

// sandboxSpec resolves the pause container of a pod.
func sandboxSpec(in Input, attempt int) *SandboxSpec {
	pod := in.Pod
	s := &SandboxSpec{
		Pod:          refOf(pod),
		Attempt:      attempt,
		Hostname:     hostname(pod, in.Node),
		HostNetwork:  pod.Spec.HostNetwork,
		HostIPC:      pod.Spec.HostIPC,
		ShareHostPID: pod.Spec.HostPID,
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, p := range c.Ports {
			if p.HostPort != 0 && !pod.Spec.HostNetwork {
				s.Ports = append(s.Ports, p)
			}
		}
	}
	if pod.Spec.Subdomain != "" && !pod.Spec.HostNetwork {
		s.Subdomain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, in.Node.ClusterDomain)
	}
	for _, alias := range pod.Spec.HostAliases {
		for _, name := range alias.Hostnames {
			s.Hosts = append(s.Hosts, name+":"+alias.IP)
		}
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		s.Sysctls = map[string]string{}
		for _, ctl := range sc.Sysctls {
			s.Sysctls[ctl.Name] = ctl.Value
		}
	}
	resolveDNS(in, s)
	return s
}

func refOf(pod *corev1.Pod) PodRef { return PodRef{pod.Namespace, pod.Name, string(pod.UID)} }

// hostname is the pod's: its own in the spec, or its name, cut to what a host name may hold.
func hostname(pod *corev1.Pod, node Node) string {
	if pod.Spec.HostNetwork {
		return node.Name
	}
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// resolveDNS follows the pod's dnsPolicy. What is the node's own anyway is left to Docker, which follows the node's file as it changes.
func resolveDNS(in Input, s *SandboxSpec) {
	node := in.Node
	conf := resolv.ForPod(in.Pod, node.Resolver, resolv.Cluster{Servers: node.ClusterDNS, Domain: node.ClusterDomain})
	if slices.Equal(conf.Nameservers, node.Resolver.Nameservers) && slices.Equal(conf.Searches, node.Resolver.Searches) && slices.Equal(conf.Options, node.Resolver.Options) {
		return
	}
	s.DNS, s.DNSSearch, s.DNSOptions = conf.Nameservers, conf.Searches, conf.Options
	if len(s.DNSSearch) == 0 {
		s.DNSSearch = []string{"."} // or Docker takes the node's
	}
}

// needsNetwork says whether the pod waits for the pod network: it is on it, or asks the name server there.
func needsNetwork(pod *corev1.Pod) bool {
	return !pod.Spec.HostNetwork || pod.Spec.DNSPolicy == corev1.DNSClusterFirstWithHostNet
}

// containerSpec resolves one attempt of a container. Its error says what of the pod's spec can't be resolved.
func containerSpec(in Input, c *corev1.Container, attempt int) (*ContainerSpec, error) {
	pod := in.Pod
	env, values, err := environment(in, c)
	if err != nil {
		return nil, err
	}
	mounts, err := mountsOf(in, c, values)
	if err != nil {
		return nil, err
	}
	s := &ContainerSpec{
		Pod:        refOf(pod),
		Name:       c.Name,
		Attempt:    attempt,
		SandboxID:  in.Seen.Sandbox.ID,
		Image:      c.Image,
		Command:    expandAll(c.Command, values),
		Args:       expandAll(c.Args, values),
		Env:        env,
		WorkingDir: c.WorkingDir,
		TTY:        c.TTY,
		Stdin:      c.Stdin,
		StdinOnce:  c.StdinOnce,
		Mounts:     mounts,
		Security:   securityOf(pod, c),
		Resources:  resourcesOf(in, c),
		HostPID:    pod.Spec.HostPID,
		SharePID:   pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,

		TerminationPath:   c.TerminationMessagePath,
		TerminationPolicy: c.TerminationMessagePolicy,
	}
	if s.TerminationPath == "" {
		s.TerminationPath = corev1.TerminationMessagePathDefault
	}
	s.TerminationFile = path.Join(in.Node.PodDir(s.Pod.UID), "containers", c.Name, strconv.Itoa(attempt))
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		s.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	return s, nil
}

// VolumeDir is where a volume's files lie on the node.
func VolumeDir(podDir, volume string) string { return path.Join(podDir, "volumes", volume) }

func mountsOf(in Input, c *corev1.Container, values map[string]string) ([]Mount, error) {
	var mounts []Mount
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(in.Pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			return nil, fmt.Errorf("volumeMount %q of container %q names no volume of the pod", m.Name, c.Name)
		}
		mount := Mount{
			Source:   VolumeDir(in.Node.PodDir(string(in.Pod.UID)), m.Name),
			SubPath:  m.SubPath,
			Target:   m.MountPath,
			ReadOnly: m.ReadOnly,
		}
		if m.SubPathExpr != "" {
			mount.SubPath = expand(m.SubPathExpr, values)
		}
		volume := in.Pod.Spec.Volumes[i]
		if volume.HostPath != nil {
			mount.Source = volume.HostPath.Path
		}
		if volume.ConfigMap != nil || volume.Secret != nil || volume.DownwardAPI != nil || volume.Projected != nil {
			mount.ReadOnly = true
		}
		if p := m.MountPropagation; p != nil {
			switch *p {
			case corev1.MountPropagationHostToContainer:
				mount.Propagation = "rslave"
			case corev1.MountPropagationBidirectional:
				mount.Propagation = "rshared"
			}
		}
		mounts = append(mounts, mount)
	}
	return mounts, nil
}

// securityOf merges the container's security context over the pod's.
func securityOf(pod *corev1.Pod, c *corev1.Container) Security {
	p, s := pod.Spec.SecurityContext, c.SecurityContext
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	if s == nil {
		s = &corev1.SecurityContext{}
	}
	out := Security{
		Privileged:      s.Privileged != nil && *s.Privileged,
		ReadOnlyRoot:    s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem,
		NoNewPrivileges: s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation,
		UnmaskedProc:    s.ProcMount != nil && *s.ProcMount == corev1.UnmaskedProcMount,
	}
	user, group, nonRoot := first(s.RunAsUser, p.RunAsUser), first(s.RunAsGroup, p.RunAsGroup), first(s.RunAsNonRoot, p.RunAsNonRoot)
	if user != nil {
		out.User = strconv.FormatInt(*user, 10)
	}
	if group != nil {
		out.User += ":" + strconv.FormatInt(*group, 10)
	}
	out.RequireNonRoot = nonRoot != nil && *nonRoot && (user == nil || *user == 0)
	for _, g := range p.SupplementalGroups {
		out.Groups = append(out.Groups, strconv.FormatInt(g, 10))
	}
	if p.FSGroup != nil {
		out.Groups = append(out.Groups, strconv.FormatInt(*p.FSGroup, 10))
	}
	if s.Capabilities != nil {
		for _, capability := range s.Capabilities.Add {
			out.AddCapabilities = append(out.AddCapabilities, string(capability))
		}
		for _, capability := range s.Capabilities.Drop {
			out.DropCapabilities = append(out.DropCapabilities, string(capability))
		}
	}
	profile := first(s.SeccompProfile, p.SeccompProfile)
	out.SeccompUnconfined = profile != nil && profile.Type == corev1.SeccompProfileTypeUnconfined
	return out
}

// first returns the first pointer that isn't nil.
func first[T any](ps ...*T) *T {
	for _, p := range ps {
		if p != nil {
			return p
		}
	}
	return nil
}

// resourcesOf turns requests and limits into what Docker enforces, by the kubelet's rules: 1 CPU is 1024 shares, at least 2.
func resourcesOf(in Input, c *corev1.Container) Resources {
	r := Resources{
		NanoCPUs: c.Resources.Limits.Cpu().MilliValue() * 1_000_000,
		Memory:   c.Resources.Limits.Memory().Value(),
	}
	milli := c.Resources.Requests.Cpu().MilliValue()
	if _, set := c.Resources.Requests[corev1.ResourceCPU]; !set {
		milli = c.Resources.Limits.Cpu().MilliValue()
	}
	r.CPUShares = max(milli*1024/1000, 2)
	switch qosClass(in.Pod, in.Pod.Status.QOSClass) {
	case corev1.PodQOSGuaranteed:
		r.OOMScoreAdj = -997
	case corev1.PodQOSBestEffort:
		r.OOMScoreAdj = 1000
	default:
		capacity := max(in.Node.Allocatable.Memory().Value(), 1)
		r.OOMScoreAdj = int(min(max(1000-1000*c.Resources.Requests.Memory().Value()/capacity, 3), 999))
	}
	return r
}

// qosClass is the pod's quality of service class: what was decided when it was created, or what its resources amount to.
func qosClass(pod *corev1.Pod, decided corev1.PodQOSClass) corev1.PodQOSClass {
	if decided != "" {
		return decided
	}
	guaranteed, some := true, false
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := c.Resources.Limits[name]
			request, requested := c.Resources.Requests[name]
			some = some || limited && !limit.IsZero() || requested && !request.IsZero()
			guaranteed = guaranteed && limited && !limit.IsZero() && (!requested || request.Cmp(limit) == 0)
		}
	}
	switch {
	case !some:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// sortedKeys are a map's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
