package runtime

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"github.com/wakehq/wake/agent/plan"
)

// Sighting is one container as Docker has it: a pod's sandbox or one of its containers. Both are nil when it is gone.
type Sighting struct {
	ID        string
	Pod       plan.PodRef
	Sandbox   *plan.Sandbox
	Container *plan.Container
}

// inspections is how many containers are looked at in parallel when all are.
const inspections = 4

// List looks at everything that belongs to this cluster.
func (d *Docker) List(ctx context.Context) ([]Sighting, error) {
	listed, err := d.client.ContainerList(ctx, container.ListOptions{All: true, Filters: d.mine()})
	if err != nil {
		return nil, fmt.Errorf("listing the cluster's containers: %w", err)
	}
	sightings := make([]Sighting, len(listed))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inspections)
	for i, c := range listed {
		group.Go(func() (err error) {
			sightings[i], err = d.Inspect(ctx, c.ID)
			if sightings[i].Pod.UID == "" {
				sightings[i].Pod = refFrom(c.Labels)
			}
			return err
		})
	}
	return sightings, group.Wait()
}

// Inspect looks at one container.
func (d *Docker) Inspect(ctx context.Context, id string) (Sighting, error) {
	c, err := d.client.ContainerInspect(ctx, id)
	if cerrdefs.IsNotFound(err) {
		return Sighting{ID: id}, nil
	}
	if err != nil {
		return Sighting{}, fmt.Errorf("inspecting container %s: %w", id, err)
	}
	labels := c.Config.Labels
	s := Sighting{ID: c.ID, Pod: refFrom(labels)}
	if labels[labelContainer] == "" {
		s.Sandbox = &plan.Sandbox{ID: c.ID, Attempt: number(labels, labelAttempt), State: stateOf(c.State), PID: c.State.Pid}
		if addresses := labels[labelAddresses]; addresses != "" {
			s.Sandbox.Own, s.Sandbox.IPs = true, strings.Split(addresses, ",")
			if err := json.Unmarshal([]byte(cmp.Or(labels[labelPorts], "[]")), &s.Sandbox.Ports); err != nil {
				return Sighting{}, fmt.Errorf("the label %s of container %s: %w", labelPorts, id, err)
			}
			return s, nil
		}
		// One that an earlier version made is on Docker's network.
		for _, n := range c.NetworkSettings.Networks {
			for _, ip := range []string{n.IPAddress, n.GlobalIPv6Address} {
				if ip != "" {
					s.Sandbox.IPs = append(s.Sandbox.IPs, ip)
				}
			}
		}
		return s, nil
	}
	s.Container = &plan.Container{
		ID:        c.ID,
		Name:      labels[labelContainer],
		Attempt:   number(labels, labelAttempt),
		SandboxID: labels[labelSandbox],
		State:     stateOf(c.State),
		ImageID:   c.Image,
		BackOff:   duration(labels, labelBackOff),
		Created:   timeOf(c.Created),
		Started:   timeOf(c.State.StartedAt),
		Finished:  timeOf(c.State.FinishedAt),
		ExitCode:  int32(c.State.ExitCode),
		OOMKilled: c.State.OOMKilled,
		Error:     c.State.Error,
	}
	if s.Container.State == plan.Exited {
		s.Container.Message = d.terminationMessage(ctx, c.ID, labels, s.Container.ExitCode)
	}
	return s, nil
}

// stateOf folds Docker's states into the plan's.
func stateOf(s *container.State) plan.State {
	switch {
	case s.Running || s.Paused || s.Restarting:
		return plan.Running
	case s.Status == container.StateCreated:
		return plan.Created
	}
	return plan.Exited
}

// timeOf is a time as Docker writes it; zero if it isn't one.
func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// Limits of a termination message, as the kubelet has them.
const (
	messageBytes   = 4096
	fallbackBytes  = 2048
	fallbackLines  = "80"
	fallbackWithin = 5 * time.Second
)

// terminationMessage is what the container left in its termination file, or the end of its log where the pod asks for that.
func (d *Docker) terminationMessage(ctx context.Context, id string, labels map[string]string, exitCode int32) string {
	if name := labels[labelTermination]; name != "" {
		if message := head(name, messageBytes); message != "" {
			return message
		}
	}
	if labels[labelFallback] == "" || exitCode == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, fallbackWithin)
	defer cancel()
	var log bytes.Buffer
	if err := d.copyLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: fallbackLines}, &log, &log); err != nil {
		return ""
	}
	return string(log.Bytes()[max(0, log.Len()-fallbackBytes):])
}

// head returns the first n bytes of a file; nothing if it can't be read, as the message is only a courtesy.
func head(name string, n int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}

// Event says that something happened to a container.
type Event struct {
	ID  string
	Pod plan.PodRef
	// Running, Exited, or empty when the container was removed.
	State plan.State
}

// Events calls handle for each event until the connection or ctx ends, and returns why. What happened before isn't told, so it first
// calls connected: a List that begins then misses nothing.
func (d *Docker) Events(ctx context.Context, connected func(), handle func(Event)) error {
	filter := d.mine()
	filter.Add("type", string(events.ContainerEventType))
	states := map[events.Action]plan.State{
		events.ActionStart: plan.Running, events.ActionDie: plan.Exited, events.ActionDestroy: "",
	}
	for action := range states {
		filter.Add("event", string(action))
	}
	messages, errs := d.client.Events(ctx, events.ListOptions{Filters: filter})
	connected()
	for {
		select {
		case m := <-messages:
			handle(Event{ID: m.Actor.ID, Pod: refFrom(m.Actor.Attributes), State: states[m.Action]})
		case err := <-errs:
			return fmt.Errorf("the stream of Docker's events ended: %w", err)
		}
	}
}

// mine selects this cluster's containers.
func (d *Docker) mine() filters.Args {
	return filters.NewArgs(filters.Arg("label", labelCluster+"="+d.config.Cluster))
}
