package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/pkg/jsonmessage"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/agent/plan"
)

// Errors that a plan tells apart.
var (
	ErrNoImage      = errors.New("no such image")
	ErrInvalidImage = errors.New("invalid image name")
	ErrRunsAsRoot   = errors.New("container has runAsNonRoot and image will run as root")
)

// logs rotate as the kubelet's do.
var logConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "5"}}

// sandboxOOMScore spares the sandbox: its death costs the pod its network.
const sandboxOOMScore = -998

// CreateSandbox creates a pod's pause container, without a network but for a pod that is in the host's. It isn't fresh if an earlier try got through.
func (d *Docker) CreateSandbox(ctx context.Context, s *plan.SandboxSpec) (id string, fresh bool, err error) {
	labels := d.podLabels(s.Pod, s.Attempt)
	config := &container.Config{Image: pauseImage, Labels: labels}
	host := &container.HostConfig{
		LogConfig:   container.LogConfig{Type: "none"},
		NetworkMode: "none",
		IpcMode:     container.IPCModeShareable,
		ExtraHosts:  s.Hosts,
		DNS:         s.DNS,
		DNSSearch:   s.DNSSearch,
		DNSOptions:  s.DNSOptions,
		Sysctls:     s.Sysctls,
		OomScoreAdj: d.oomScore(sandboxOOMScore),
	}
	if s.HostIPC {
		host.IpcMode = "host"
	}
	if s.HostNetwork {
		host.NetworkMode = "host"
	} else if err := onPodNetwork(s, config, host); err != nil {
		return "", false, err
	}
	return d.create(ctx, config, host, name("pause", s.Pod, s.Attempt))
}

// onPodNetwork prepares a sandbox for the network that it will be attached to, and writes down what that has to know of it.
func onPodNetwork(s *plan.SandboxSpec, config *container.Config, host *container.HostConfig) error {
	config.Hostname = s.Hostname
	own := s.Hostname
	if s.Subdomain != "" {
		own = s.Hostname + "." + s.Subdomain + " " + s.Hostname // the full name first, as "hostname -f" goes by that
	}
	texts := make([]string, len(s.Addresses))
	for i, a := range s.Addresses {
		texts[i] = a.String()
		host.ExtraHosts = append(host.ExtraHosts[:len(host.ExtraHosts):len(host.ExtraHosts)], own+":"+texts[i])
		if a.Is6() { // Docker takes IPv6 away from containers on no network
			host.Sysctls = maps.Clone(host.Sysctls)
			if host.Sysctls == nil {
				host.Sysctls = map[string]string{}
			}
			host.Sysctls["net.ipv6.conf.all.disable_ipv6"] = "0"
			host.Sysctls["net.ipv6.conf.default.accept_dad"] = "0" // the bridge may send the question back to who asks
		}
	}
	config.Labels[labelAddresses] = strings.Join(texts, ",")
	if len(s.Ports) == 0 {
		return nil
	}
	ports, err := json.Marshal(s.Ports)
	if err != nil {
		return fmt.Errorf("wording the host ports of pod %s/%s: %w", s.Pod.Namespace, s.Pod.Name, err)
	}
	config.Labels[labelPorts] = string(ports)
	return nil
}

// name is a container's name in Docker. It is unique per attempt, which makes creating one safe to repeat.
func name(container string, ref plan.PodRef, attempt int) string {
	return fmt.Sprintf("wake_%s_%s_%s_%s_%d", container, ref.Name, ref.Namespace, ref.UID, attempt)
}

// CreateContainer creates an attempt of a container. It isn't fresh if an earlier try got through. The sources of its mounts must be
// there.
func (d *Docker) CreateContainer(ctx context.Context, s *plan.ContainerSpec) (id string, fresh bool, err error) {
	if s.Security.RequireNonRoot {
		if err := d.checkNonRoot(ctx, s); err != nil {
			return "", false, err
		}
	}
	if err := prepareTermination(s.TerminationFile); err != nil {
		return "", false, fmt.Errorf("preparing the termination message of container %s: %w", s.Name, err)
	}
	labels := d.podLabels(s.Pod, s.Attempt)
	labels[labelContainer] = s.Name
	labels[labelSandbox] = s.SandboxID
	labels[labelBackOff] = s.BackOff.String()
	labels[labelTermination] = s.TerminationFile
	if s.TerminationPolicy == corev1.TerminationMessageFallbackToLogsOnError {
		labels[labelFallback] = "true"
	}
	config := &container.Config{
		Image:        s.Image,
		Labels:       labels,
		Entrypoint:   s.Command,
		Cmd:          s.Args,
		Env:          s.Env,
		WorkingDir:   s.WorkingDir,
		Tty:          s.TTY,
		OpenStdin:    s.Stdin,
		StdinOnce:    s.StdinOnce,
		User:         s.Security.User,
		StopSignal:   s.StopSignal,
		AttachStdout: true,
		AttachStderr: true,
		Healthcheck:  &container.HealthConfig{Test: []string{"NONE"}},
	}
	return d.create(ctx, config, d.hostConfig(s), name(s.Name, s.Pod, s.Attempt))
}

// prepareTermination makes an empty file that every user of the container may write its last words to.
func prepareTermination(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		return err
	}
	return os.Chmod(name, 0o666) // what the umask took
}

func (d *Docker) hostConfig(s *plan.ContainerSpec) *container.HostConfig {
	shared := "container:" + s.SandboxID
	h := &container.HostConfig{
		LogConfig:      logConfig,
		NetworkMode:    container.NetworkMode(shared),
		IpcMode:        container.IpcMode(shared),
		GroupAdd:       s.Security.Groups,
		Privileged:     s.Security.Privileged,
		ReadonlyRootfs: s.Security.ReadOnlyRoot,
		CapAdd:         s.Security.AddCapabilities,
		CapDrop:        s.Security.DropCapabilities,
		OomScoreAdj:    d.oomScore(s.Resources.OOMScoreAdj),
		Resources: container.Resources{
			CPUShares: s.Resources.CPUShares,
			NanoCPUs:  s.Resources.NanoCPUs,
			Memory:    s.Resources.Memory,
		},
	}
	if s.Resources.Memory > 0 {
		h.MemorySwap = s.Resources.Memory
	}
	switch {
	case s.HostPID:
		h.PidMode = "host"
	case s.SharePID:
		h.PidMode = container.PidMode(shared)
	}
	if s.Security.NoNewPrivileges {
		h.SecurityOpt = append(h.SecurityOpt, "no-new-privileges")
	}
	if s.Security.SeccompUnconfined {
		h.SecurityOpt = append(h.SecurityOpt, "seccomp=unconfined")
	}
	if s.Security.UnmaskedProc {
		h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{}
	}
	h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: s.TerminationFile, Target: s.TerminationPath})
	for _, m := range s.Mounts {
		bind := mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		if m.Propagation != "" {
			bind.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(m.Propagation)}
		}
		h.Mounts = append(h.Mounts, bind)
	}
	return h
}

// checkNonRoot refuses an image that would run as root.
func (d *Docker) checkNonRoot(ctx context.Context, s *plan.ContainerSpec) error {
	user, _, _ := strings.Cut(s.Security.User, ":")
	if user == "" {
		found, err := d.client.ImageInspect(ctx, s.Image)
		if cerrdefs.IsNotFound(err) {
			return fmt.Errorf("%w: %s", ErrNoImage, s.Image)
		}
		if err != nil {
			return fmt.Errorf("inspecting image %s: %w", s.Image, err)
		}
		if found.Config != nil {
			user, _, _ = strings.Cut(found.Config.User, ":")
		}
	}
	if uid, err := strconv.Atoi(user); err == nil && uid != 0 {
		return nil
	}
	return fmt.Errorf("%w (image %s, user %q; set runAsUser to a user other than 0)", ErrRunsAsRoot, s.Image, user)
}

// create creates a container, or finds it when an earlier try got through.
func (d *Docker) create(ctx context.Context, config *container.Config, host *container.HostConfig, name string) (id string, fresh bool, err error) {
	created, err := d.client.ContainerCreate(ctx, config, host, nil, nil, name)
	switch {
	case err == nil:
		return created.ID, true, nil
	case cerrdefs.IsConflict(err):
		found, inspectErr := d.client.ContainerInspect(ctx, name)
		if inspectErr == nil && found.Config.Labels[labelCluster] == d.config.Cluster {
			return found.ID, false, nil
		}
	case cerrdefs.IsNotFound(err) && strings.Contains(err.Error(), "No such image"):
		return "", false, fmt.Errorf("%w: %s", ErrNoImage, config.Image)
	case strings.Contains(err.Error(), "invalid reference format"):
		return "", false, fmt.Errorf("%w %q", ErrInvalidImage, config.Image)
	}
	return "", false, fmt.Errorf("creating container %s: %w", name, cause(err))
}

// Start starts a container.
func (d *Docker) Start(ctx context.Context, id string) error {
	if err := d.client.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return cause(err)
	}
	return nil
}

// Stop asks a container to end and kills it after grace. It returns when the container has ended.
func (d *Docker) Stop(ctx context.Context, id string, grace time.Duration) error {
	seconds := int((grace + time.Second - 1) / time.Second)
	err := d.client.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("stopping container %s: %w", id, err)
	}
	return nil
}

// Remove removes a container, killing it if it runs.
func (d *Docker) Remove(ctx context.Context, id string) error {
	err := d.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !cerrdefs.IsNotFound(err) && !strings.Contains(err.Error(), "is already in progress") {
		return fmt.Errorf("removing container %s: %w", id, err)
	}
	return nil
}

// Pull pulls an image; auth is an encoded registry credential, or empty.
func (d *Docker) Pull(ctx context.Context, ref, auth string) error {
	body, err := d.client.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth})
	if err != nil {
		if strings.Contains(err.Error(), "invalid reference format") {
			return fmt.Errorf("%w %q", ErrInvalidImage, ref)
		}
		return cause(err)
	}
	defer func() { _ = body.Close() }()
	// A pull that fails half-way says so in the stream.
	return jsonmessage.DisplayJSONMessagesStream(body, io.Discard, 0, false, nil)
}

// cause takes the client's framing off an error of the daemon: what remains is what a person reads in "kubectl describe".
func cause(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "Error response from daemon: "))
}
