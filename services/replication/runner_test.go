package replication

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
	"github.com/wakehq/wake/services/runner/transcript"
)

// cluster is a ledger on which things go wrong, two runners of each decider, and one node that makes every pod ready.
type cluster struct {
	*testing.T
	ledger *memory.Ledger
	view   *events.View
}

func newCluster(t *testing.T, seed uint64) *cluster {
	c := &cluster{T: t, ledger: memory.New(memory.Faults{Seed: seed, LostRequest: 0.05, LostAcknowledgement: 0.05, Duplicate: 0.05, Conflict: 0.05,
		Delay: 0.2, Stall: 0.2, MaxDelay: 30 * time.Millisecond})}
	view, err := events.OpenView(t.Context(), c.ledger, transcript.Registry(t))
	require.NoError(t, err)
	c.view = view
	return c
}

func (c *cluster) run(fresh func() runner.Decider) (kill func()) {
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = runner.Runner{Decider: fresh(), View: c.view, Ledger: c.ledger, Log: slog.New(slog.DiscardHandler)}.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// append appends what word makes of the present, again and again until the ledger has it.
func (c *cluster) append(word func(*events.State) []events.Proposal) {
	for {
		proposals := word(c.view.State())
		events.Audit{Actor: "user:tester", At: time.Now()}.Sign(proposals)
		if len(proposals) == 0 {
			return
		}
		if revision, err := c.ledger.Append(c.Context(), proposals...); err == nil {
			_, err = c.view.WaitFor(c.Context(), revision)
			require.NoError(c, err)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// node lets one pod take its next step: it is placed and becomes ready, or ends.
func (c *cluster) node() (busy bool) {
	c.append(func(s *events.State) []events.Proposal {
		busy = false
		for o := range s.All(podKind, "") {
			switch pod := o.Typed().(*corev1.Pod).DeepCopy(); {
			case pod.DeletionTimestamp != nil:
				busy = true
				return []events.Proposal{events.Remove(o, "PodDeleted")}
			case !owned.Ready(pod):
				busy = true
				pod.Status.Phase = corev1.PodRunning
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now())}}
				proposals := []events.Proposal{events.Observe(o, pod, "PodReported")}
				if pod.Spec.NodeName == "" {
					proposals = append(proposals, events.Place(o, events.Placement{Node: "n1"}, "PodBound"))
				}
				return proposals
			}
		}
		return nil
	})
	return busy
}

// apply creates the Deployment, or changes what edit changes.
func (c *cluster) apply(replicas int, image string) {
	c.append(func(s *events.State) []events.Proposal {
		kind, _ := s.Registry().ByStorage(deploymentKind.Group, deploymentKind.Resource)
		body := fmt.Sprintf(manifest, replicas, "{rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}")
		obj, _, err := kind.DecodeBody([]byte(body), "application/yaml", metav1.FieldValidationStrict)
		require.NoError(c, err)
		obj.(*appsv1.Deployment).Namespace = "default"
		obj.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image = image
		write := &schemas.Write{Namespace: "default", Now: time.Now()}
		if old, ok := s.Get(web); ok {
			write.Name = web.Name
			obj.(*appsv1.Deployment).Annotations = old.Meta().GetAnnotations()
			updated, _, err := kind.PrepareUpdate(write, obj, old.Typed())
			require.NoError(c, err)
			return []events.Proposal{events.Alter(old, updated, "DeploymentChanged", "spec")}
		}
		created, _, err := kind.PrepareCreate(write, obj)
		require.NoError(c, err)
		return []events.Proposal{events.Create(s, created, "DeploymentCreated")}
	})
}

// On a ledger that loses, doubles, delays and refuses, with deciders that are killed on the way, rollouts end as they should.
func TestRolloutOnABadLedger(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, seed)
				c.run(NewDeployments)
				c.run(NewSets)
				killDeployments, killSets := c.run(NewDeployments), c.run(NewSets)
				for round, image := range []string{"demo:1", "demo:2", "demo:1"} {
					c.apply(3+round, image)
					for quiet := 0; quiet < 20; quiet++ {
						if c.node() {
							quiet = 0
						}
						if quiet == 0 {
							killDeployments()
							killSets()
							killDeployments, killSets = c.run(NewDeployments), c.run(NewSets)
						}
						time.Sleep(200 * time.Millisecond)
					}
					o, ok := c.view.State().Get(web)
					require.True(t, ok)
					d := o.Typed().(*appsv1.Deployment)
					r := rollout{was: d, replicas: int32(3 + round)}
					require.True(t, r.complete(&d.Status), "%+v", d.Status)
					for pod := range c.view.State().All(podKind, "") {
						require.Equal(t, image, pod.Typed().(*corev1.Pod).Spec.Containers[0].Image)
					}
					require.Equal(t, 3+round, c.view.State().Count(podKind))
				}
			})
		})
	}
}
