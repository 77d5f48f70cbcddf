package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/agent/network"
	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/agent/runtime"
	"github.com/wakehq/wake/events/nodewire"
)

const (
	nodeLookEvery   = 10 * time.Second
	nodeReportEvery = 5 * time.Minute // without a change
	nodeRetry       = time.Second

	// dockerAway is how long Docker may not answer until the node isn't ready: containers go on without it, and it may only be restarted.
	dockerAway = 10 * time.Second
	// dockerAnswers is how long it may take to answer.
	dockerAnswers = 5 * time.Second

	// Below these the node is under pressure: the kubelet's default eviction thresholds.
	memoryLow      = 100 << 20
	diskLowPercent = 10
	pidLowPercent  = 10
)

// register finds out what the node has, before any pod is run.
func (a *Agent) register(ctx context.Context) error {
	info, err := a.engine.Info(ctx)
	if err != nil {
		return fmt.Errorf("node %s: %w", a.config.NodeName, err)
	}
	capacity, err := a.capacity(info)
	if err != nil {
		return fmt.Errorf("node %s: %w", a.config.NodeName, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node.Allocatable = capacity
	a.readResolver()
	return nil
}

// nodeNow is what pods may learn of the node.
func (a *Agent) nodeNow() plan.Node {
	node := a.node
	node.NoNetwork = *a.noNetwork.Load()
	names := a.names.Load()
	node.ClusterDNS, node.Resolver = names.servers, names.node
	return node
}

// dockerHealth is how Docker is.
type dockerHealth struct {
	watched error     // why its containers can't be watched, or nil
	asked   error     // why it doesn't answer, or nil
	since   time.Time // when it became well or unwell
}

func (h *dockerHealth) ailment() error { return errors.Join(h.watched, h.asked) }

// setHealth notes how Docker is now: update changes one of the two.
func (a *Agent) setHealth(update func(*dockerHealth)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.health.ailment()
	update(&a.health)
	after := a.health.ailment()
	if (before == nil) == (after == nil) {
		return
	}
	a.health.since = a.now()
	a.reportSoon()
	if after != nil {
		time.AfterFunc(dockerAway, a.reportSoon)
	}
}

// watched notes whether Docker's containers can be watched.
func (a *Agent) watched(err error) { a.setHealth(func(h *dockerHealth) { h.watched = err }) }

// reportSoon has the node reported now, if there is something to report.
func (a *Agent) reportSoon() {
	select {
	case a.nodeChanged <- struct{}{}:
	default:
	}
}

// ailment is why Docker can't be counted on; nil as long as it may only be restarted.
func (a *Agent) ailment() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Sub(a.health.since) < dockerAway {
		return nil
	}
	return a.health.ailment()
}

// ask asks Docker about itself. One that doesn't answer in time is as good as none.
func (a *Agent) ask(ctx context.Context) (runtime.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, dockerAnswers)
	defer cancel()
	info, err := a.engine.Info(ctx)
	a.setHealth(func(h *dockerHealth) { h.asked = err })
	return info, err
}

// reportNode reports the node at the start, on change, and from time to time. A process that takes over from an earlier one speaks up when it is as ready as
// that was, or can't be: a restart is nothing to tell of.
func (a *Agent) reportNode(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-a.entering:
	case <-a.nodeChanged:
	}
	var last corev1.NodeStatus
	var told time.Time
	for ctx.Err() == nil {
		wait := nodeLookEvery
		a.readResolver()
		status, labels, err := a.nodeStatus(ctx, last)
		if err == nil && (time.Since(told) > nodeReportEvery || !equality.Semantic.DeepEqual(last, status)) {
			var answer nodewire.Answer
			answer, err = a.config.Feed.ReportNode(ctx, nodewire.NodeReport{Labels: labels, Status: status, At: a.now()})
			if err == nil && answer.Error != "" {
				err = errors.New(answer.Error)
			}
			if err == nil {
				last, told = status, time.Now()
			}
		}
		if err != nil {
			a.log.Debug("the node's report was not taken", "error", err)
			wait = nodeRetry
		}
		select {
		case <-ctx.Done():
		case <-a.nodeChanged:
		case <-time.After(wait):
		}
	}
	return ctx.Err()
}

// nodeStatus is the node's status now; conditions keep their transition times from last.
func (a *Agent) nodeStatus(ctx context.Context, last corev1.NodeStatus) (corev1.NodeStatus, map[string]string, error) {
	info, err := a.ask(ctx)
	unhealthy := a.ailment()
	if err != nil && last.Capacity == nil {
		return last, nil, err
	}
	status := *last.DeepCopy()
	if err == nil {
		capacity, err := a.capacity(info)
		if err != nil {
			return last, nil, err
		}
		status.Capacity, status.Allocatable = capacity, capacity.DeepCopy()
		status.NodeInfo = nodeInfo(info)
	}
	if status.Addresses, err = a.addresses(); err != nil {
		return last, nil, err
	}
	status.Conditions = a.nodeConditions(last.Conditions, info.RootDir, unhealthy)
	labels := map[string]string{
		corev1.LabelHostname: a.config.NodeName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: status.NodeInfo.Architecture,
	}
	maps.Copy(labels, a.config.Labels)
	return status, labels, nil
}

// capacity is what the node has, and gives to pods.
func (a *Agent) capacity(info runtime.Info) (corev1.ResourceList, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(info.RootDir, &disk); err != nil {
		return nil, fmt.Errorf("measuring the disk under Docker's directory %s: %w", info.RootDir, err)
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(info.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(info.Memory, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(a.config.MaxPods), resource.DecimalSI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(disk.Blocks)*disk.Bsize, resource.BinarySI),
	}, nil
}

func nodeInfo(info runtime.Info) corev1.NodeSystemInfo {
	return corev1.NodeSystemInfo{
		MachineID:               line("/etc/machine-id"),
		SystemUUID:              line("/sys/class/dmi/id/product_uuid"),
		BootID:                  line("/proc/sys/kernel/random/boot_id"),
		KernelVersion:           info.Kernel,
		OSImage:                 info.OperatingSystem,
		ContainerRuntimeVersion: "docker://" + info.Version,
		KubeletVersion:          "v1.36.3-wake",
		OperatingSystem:         "linux",
		Architecture:            info.Architecture,
	}
}

// line is a file's contents without the end of the line; empty where the machine doesn't have it.
func line(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// nodeConditions are the node's conditions, Ready last as the kubelet has them.
func (a *Agent) nodeConditions(last []corev1.NodeCondition, disk string, unhealthy error) []corev1.NodeCondition {
	pressure := func(kind corev1.NodeConditionType, low bool, what, reason string) corev1.NodeCondition {
		c := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficient" + reason, Message: "kubelet has sufficient " + what + " available"}
		if low {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletHasInsufficient"+reason, "kubelet has insufficient "+what+" available"
		}
		return c
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the node agent is posting ready status"}
	if unhealthy != nil {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", "container runtime is down: "+unhealthy.Error()
	}
	if why := *a.noNetwork.Load(); why != "" && unhealthy == nil {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", "pod network not ready: "+why
	}
	conditions := []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, memoryIsLow(), "memory", "Memory"),
		pressure(corev1.NodeDiskPressure, diskIsLow(disk), "disk", "Disk"),
		pressure(corev1.NodePIDPressure, pidsAreLow(), "PID", "PID"),
		ready,
	}
	now := metav1.NewTime(a.now().UTC().Truncate(time.Second))
	for i := range conditions {
		c := &conditions[i]
		c.LastTransitionTime = now
		for _, before := range last {
			if before.Type == c.Type && before.Status == c.Status {
				c.LastTransitionTime = before.LastTransitionTime
			}
		}
	}
	return conditions
}

// memoryIsLow says that the machine has little memory left.
func memoryIsLow() bool {
	for row := range strings.Lines(line("/proc/meminfo")) {
		var kib int64
		if n, _ := fmt.Sscanf(row, "MemAvailable: %d kB", &kib); n == 1 {
			return kib<<10 < memoryLow
		}
	}
	return false
}

// diskIsLow says that the disk under dir has little room left.
func diskIsLow(dir string) bool {
	var disk unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &disk) != nil {
		return false
	}
	return disk.Bavail*100 < disk.Blocks*diskLowPercent
}

// pidsAreLow says that the machine can't make many more processes.
func pidsAreLow() bool {
	var limit, running, total int64
	if _, err := fmt.Sscan(line("/proc/sys/kernel/pid_max"), &limit); err != nil {
		return false
	}
	fields := strings.Fields(line("/proc/loadavg"))
	if len(fields) < 4 {
		return false
	}
	if _, err := fmt.Sscanf(fields[3], "%d/%d", &running, &total); err != nil {
		return false
	}
	return (limit-total)*100 < limit*pidLowPercent
}

// addresses are where other nodes reach this one, in the node's own family first, and its name.
func (a *Agent) addresses() ([]corev1.NodeAddress, error) {
	all := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: a.node.IP}}
	if own, err := netip.ParseAddr(a.node.IP); err == nil {
		other, err := network.OtherAddress(own)
		if err != nil {
			return nil, err
		}
		if other.IsValid() {
			all = append(all, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: other.String()})
		}
	}
	return append(all, corev1.NodeAddress{Type: corev1.NodeHostName, Address: a.config.NodeName}), nil
}

// outwardIP is the address of the interface that leads to the outside, or the first one that isn't loopback.
func outwardIP() (string, error) {
	// Connecting a datagram socket sends nothing: it only asks for the route.
	if conn, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		defer func() { _ = conn.Close() }()
		if addr, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			return addr.IP.String(), nil
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("looking for the node's address: %w", err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("the machine has no address but loopback; set the node's address by hand")
}
