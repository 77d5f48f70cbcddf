package feed

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/nodewire"
)

func TestPodReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		w.create(pod("a"))
		w.bind(podName("a"), "n1")
		bound := w.get(podName("a"))

		r := report(bound, "ContainerStarted", corev1.PodRunning)
		r.Note = &nodewire.Note{Reason: "Started", Message: "Started container c"}
		answer := w.feed.Pod(t.Context(), "n1", r)
		require.Empty(t, answer.Error)
		o := w.get(podName("a"))
		e := o.Facet(events.Observed)
		require.Equal(t, answer.Revision, e.Revision)
		require.Equal(t, "node:n1", e.Actor)
		require.Equal(t, "ContainerStarted", e.Type)
		require.Equal(t, bound.Revision(), e.Cause, "because it was bound")
		require.Equal(t, []string{"status.phase"}, e.Changed)
		require.Equal(t, "Started", e.Note.Reason)
		require.Equal(t, corev1.PodRunning, o.Typed().(*corev1.Pod).Status.Phase)

		// The same again is no news, with its note (an answer was lost) or without.
		require.Equal(t, answer.Revision, w.feed.Pod(t.Context(), "n1", r).Revision)
		r.Note = nil
		require.Equal(t, answer.Revision, w.feed.Pod(t.Context(), "n1", r).Revision)
	})
}

func TestPodReportRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		w.create(pod("a"))
		w.bind(podName("a"), "n1")
		o := w.get(podName("a"))
		before := w.view.State().Revision()

		answer := w.feed.Pod(t.Context(), "n2", report(o, "ContainerStarted", corev1.PodRunning))
		require.True(t, answer.Gone, "another node's pod")
		earlier := report(o, "ContainerStarted", corev1.PodRunning)
		earlier.UID = "an-earlier-one"
		require.True(t, w.feed.Pod(t.Context(), "n1", earlier).Gone)
		unseen := earlier
		unseen.Cause = before + 1 // another feed has told the node of that pod
		answer = w.feed.Pod(t.Context(), "n1", unseen)
		require.Contains(t, answer.Error, "report again")
		require.False(t, answer.Gone, "what this feed has yet to see is not gone")
		for _, bad := range []string{"", "containerStarted", "Container Started", "X\r\nWake-Actor: user:admin"} {
			answer := w.feed.Pod(t.Context(), "n1", report(o, bad, corev1.PodRunning))
			require.Contains(t, answer.Error, "event type", bad)
			require.False(t, answer.Gone)
		}
		require.Contains(t, w.feed.Pod(t.Context(), "n1", report(o, "Fine", "Dancing")).Error, "phase")
		require.Equal(t, before, w.view.State().Revision(), "nothing was written")
	})
}

func TestReportKeepsWhatIsOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		w.create(pod("a"))
		w.bind(podName("a"), "n1")
		o := w.get(podName("a"))
		with := o.Typed().(*corev1.Pod).DeepCopy()
		placed := with.Status.Conditions
		with.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
		w.do(events.Observe(o, with, "PodDisrupted"))

		r := report(w.get(podName("a")), "ContainerStarted", corev1.PodRunning)
		r.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse}}
		r.Status.QOSClass = corev1.PodQOSGuaranteed
		require.Empty(t, w.feed.Pod(t.Context(), "n1", r).Error)
		status := w.get(podName("a")).Typed().(*corev1.Pod).Status
		want := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
		require.Equal(t, append(want, placed...), status.Conditions)
		require.Equal(t, corev1.PodQOSBestEffort, status.QOSClass)

		require.Empty(t, w.feed.Pod(t.Context(), "n1", report(o, "PodEnded", corev1.PodSucceeded)).Error)
		require.Empty(t, w.feed.Pod(t.Context(), "n1", report(o, "ContainerStarted", corev1.PodRunning)).Error)
		require.Equal(t, corev1.PodSucceeded, w.get(podName("a")).Typed().(*corev1.Pod).Status.Phase, "the end is the end")
	})
}

func TestRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		for _, name := range []string{"a", "held"} {
			w.create(pod(name))
			w.bind(podName(name), "n1")
		}
		removed := func(name string) nodewire.Answer {
			r := report(w.get(podName(name)), "PodStopped", corev1.PodFailed)
			r.Removed = true
			return w.feed.Pod(t.Context(), "n1", r)
		}
		terminate := func(name string, finalizers ...string) {
			o := w.get(podName(name))
			p := o.Typed().(*corev1.Pod).DeepCopy()
			now := metav1.Now()
			p.DeletionTimestamp, p.Finalizers = &now, finalizers
			w.do(events.Alter(o, p, "PodDeletionRequested"))
		}
		require.Empty(t, removed("a").Error)
		require.Equal(t, corev1.PodFailed, w.get(podName("a")).Typed().(*corev1.Pod).Status.Phase, "nobody asked it to end: only its status changes")
		terminate("a")
		requested := w.get(podName("a")).Revision()
		require.Empty(t, removed("a").Error)
		_, exists := w.view.State().Get(podName("a").ref())
		require.False(t, exists)
		tombstone := w.view.State().Slot(podName("a").ref()).Facet(events.Desired)
		require.Equal(t, "node:n1", tombstone.Actor)
		require.Equal(t, requested, tombstone.Cause)

		terminate("held", "example.com/held")
		require.Empty(t, removed("held").Error)
		require.Equal(t, corev1.PodFailed, w.get(podName("held")).Typed().(*corev1.Pod).Status.Phase, "a finalizer holds it")
	})
}

// TestReportsRace lets a node and others write the same facet at once; each report gets in.
func TestReportsRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		w.create(pod("a"))
		w.bind(podName("a"), "n1")
		o := w.get(podName("a"))
		var wait sync.WaitGroup
		for _, reason := range []string{"A", "B", "C", "D"} {
			wait.Go(func() {
				r := report(o, "ContainerStarted", corev1.PodRunning)
				r.Status.Reason = reason
				require.Empty(t, w.feed.Pod(t.Context(), "n1", r).Error)
			})
		}
		wait.Wait()
		require.Equal(t, o.Revision()+4, w.view.State().Revision())
	})
}

func nodeReport(ready corev1.ConditionStatus) nodewire.NodeReport {
	return nodewire.NodeReport{At: time.Now(), Labels: map[string]string{"zone": "z", "node-restriction.kubernetes.io/secure": "yes"},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.Now()}}}}
}

func TestNodeReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		require.Empty(t, w.feed.Node(t.Context(), "n1", nodeReport(corev1.ConditionTrue)).Error)
		n1 := object{resource: nodewire.Nodes, name: "n1"}
		o := w.get(n1)
		require.Equal(t, NodeRegistered, o.Facet(events.Desired).Type)
		require.Equal(t, map[string]string{"zone": "z", events.AgentLabel: "true"}, o.Meta().GetLabels(), "no node gives itself a restricted label")
		require.Equal(t, corev1.ConditionTrue, condition(&o.Typed().(*corev1.Node).Status, corev1.NodeReady).Status)

		time.Sleep(DefaultSilence / 2)
		require.Empty(t, w.feed.Node(t.Context(), "n1", nodeReport(corev1.ConditionTrue)).Error)
		require.Equal(t, o.Revision(), w.get(n1).Revision(), "a heartbeat is no event")
		require.Empty(t, w.feed.Node(t.Context(), "n1", nodeReport(corev1.ConditionFalse)).Error)
		require.Equal(t, NodeStatusChanged, w.get(n1).Newest().Type)
		require.Equal(t, []string{"status.conditions"}, w.get(n1).Newest().Changed)
	})
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		n1 := object{resource: nodewire.Nodes, name: "n1"}
		ready := func() corev1.ConditionStatus {
			synctest.Wait()
			return condition(&w.get(n1).Typed().(*corev1.Node).Status, corev1.NodeReady).Status
		}
		require.Empty(t, w.feed.Node(t.Context(), "n1", nodeReport(corev1.ConditionTrue)).Error)
		w.attach("n1")
		beat := func(d time.Duration) {
			for range d / nodewire.HeartbeatEvery {
				time.Sleep(nodewire.HeartbeatEvery)
				_, err := w.feed.Heartbeat(t.Context(), "n1")
				require.NoError(t, err)
			}
		}
		beat(time.Minute)
		require.Equal(t, corev1.ConditionTrue, ready())
		time.Sleep(DefaultSilence + 2*time.Second)
		require.Equal(t, corev1.ConditionUnknown, ready())
		require.Equal(t, NodeLost, w.get(n1).Newest().Type)
		answer, err := w.feed.Heartbeat(t.Context(), "n1")
		require.NoError(t, err)
		require.Equal(t, nodewire.Beat{}, answer, "it must ask for a full slice")
		beat(2 * time.Second)
		require.Equal(t, corev1.ConditionTrue, ready())
		require.Equal(t, NodeReady, w.get(n1).Newest().Type)
		require.Equal(t, nodeReport(corev1.ConditionTrue).Status.Conditions[0].Reason, condition(&w.get(n1).Typed().(*corev1.Node).Status, corev1.NodeReady).Reason)
	})
}

// TestFeedBeginsAnew holds that a feed that has just begun calls nobody lost whom it couldn't hear.
func TestFeedBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), t)
		require.Empty(t, w.feed.Node(t.Context(), "n1", nodeReport(corev1.ConditionTrue)).Error)
		revision := w.view.State().Revision()
		w.feed.pulse.begin(time.Now().Add(time.Hour)) // the first feed holds its tongue
		time.Sleep(time.Minute)
		w.begin()
		time.Sleep(DefaultGrace - time.Second)
		synctest.Wait()
		require.Equal(t, revision, w.view.State().Revision())
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, NodeLost, w.get(object{resource: nodewire.Nodes, name: "n1"}).Newest().Type)
	})
}
