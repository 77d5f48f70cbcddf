package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	keptEvents    = 2000
	segmentEvents = 500
	writers       = 4
)

// ancient is what nobody touches for a long time.
const ancient = `
apiVersion: v1
kind: ConfigMap
metadata: {name: ancient}
data: {value: "one"}
---
apiVersion: v1
kind: Secret
metadata: {name: till}
stringData: {pin: "4711"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: old}
spec:
  replicas: 2
  selector: {matchLabels: {app: old}}
  template:
    metadata: {labels: {app: old}}
    spec:
      containers: [{name: main, image: example.com/app:1}]
---
apiVersion: v1
kind: Service
metadata: {name: old}
spec: {selector: {app: old}, ports: [{port: 80}]}
`

// busy is a cluster in which ConfigMaps change all the time, but no others than bulk-<writer>.
type busy struct {
	*cluster
	stop func()
}

func (c *cluster) keepBusy() *busy {
	ctx, cancel := context.WithCancel(c.t.Context())
	var writing sync.WaitGroup
	client := c.client().CoreV1().ConfigMaps("default")
	for i := range writers {
		name := fmt.Sprintf("bulk-%d", i)
		writing.Go(func() {
			for n := 0; ctx.Err() == nil; n++ { // while the cluster is away this fails, and is tried again
				m, err := client.Get(ctx, name, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					_, _ = client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
				}
				if err != nil {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				m.Data = map[string]string{"value": strconv.Itoa(n)}
				_, _ = client.Update(ctx, m, metav1.UpdateOptions{})
			}
		})
	}
	b := &busy{cluster: c, stop: func() { cancel(); writing.Wait() }}
	c.t.Cleanup(b.stop)
	return b
}

// until waits until the ledger has a revision.
func (b *busy) until(revision uint64) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("revision %d is written", revision), func() error {
		if newest := number(b.t, b.newest()); newest < revision {
			return fmt.Errorf("the ledger is at %d", newest)
		}
		return nil
	})
}

// streamBegins is what wake status says of the archive: where the stream begins; 1 if nothing was trimmed.
func (c *cluster) streamBegins() uint64 {
	c.t.Helper()
	status := c.wake("status")
	require.NotContains(c.t, status, "FAILING")
	require.Contains(c.t, status, "Archive ")
	if m := regexp.MustCompile(`the stream begins at (\d+)`).FindStringSubmatch(status); m != nil {
		return number(c.t, m[1])
	}
	return 1
}

// questions about the past, whose answers no later event changes.
func (c *cluster) questions(first, then, later, pod string) [][]string {
	return [][]string{
		{"log", "deployment/old", "-p", "--all", "--to", later},
		{"log", "-o", "json", "--all", "--to", later, "--from", first},
		{"at", first, "get", "configmaps", "-A", "-o", "yaml"},
		{"at", then, "get", "deployments,replicasets,pods,services,endpoints,configmaps,secrets,nodes", "-A", "-o", "yaml"},
		{"at", later, "get", "all", "-A", "-o", "yaml"},
		{"blame", "deployment/old", "--at", then},
		{"blame", "deployment/old", "--at", later, "--status"},
		{"blame", "configmap/ancient", "--at", then},
		{"why", "pod/" + pod, "--at", then},
		{"why", "deployment/old.spec.replicas", "--at", later},
		{"why", "configmap/ancient.data.value", "--at", later},
		{"diff", first, then, "-p", "--all", "--status"},
		{"diff", then, later, "-p", "--all", "--status"},
		{"impact", first},
	}
}

func (c *cluster) answers(questions [][]string) (out []string) {
	c.t.Helper()
	for _, q := range questions {
		answer := c.wake(q...)
		require.Greater(c.t, strings.Count(answer, "\n"), 1, "wake %s: %s", strings.Join(q, " "), answer)
		out = append(out, answer)
	}
	return out
}

func (c *cluster) sameAnswers(when string, questions [][]string, expected []string) {
	c.t.Helper()
	for i, q := range questions {
		require.Equal(c.t, expected[i], c.wake(q...), "%s: wake %s", when, strings.Join(q, " "))
	}
}

// provesBoth says that archive and stream are proven.
func (c *cluster) provesBoth() {
	c.t.Helper()
	v := c.verifyClean()
	require.Len(c.t, v.Proofs, 2)
	require.Equal(c.t, []string{"archive and stream", "stream"}, []string{v.Proofs[0].Place, v.Proofs[1].Place})
	require.EqualValues(c.t, 1, v.Proofs[0].First)
	require.Greater(c.t, v.Proofs[1].First, uint64(1))
	c.t.Logf("wake verify:\n%s", c.verifyForPeople())
}

// The stream is trimmed while the cluster works, and nobody can tell by what he is answered, or by what he may write.
func TestRetentionKeepsThePast(t *testing.T) {
	c := startIn(t, filepath.Join(t.TempDir(), "wake"), "--no-agent", "--keep-events", strconv.Itoa(keptEvents), "--segment-events", strconv.Itoa(segmentEvents))
	c.simulateNode("s1")
	c.apply(ancient)
	c.kubectl("rollout", "status", "deployment/old", "--timeout=60s")
	first := c.kubectl("get", "configmap", "ancient", "-o", "jsonpath={.metadata.resourceVersion}")
	c.kubectl("patch", "configmap", "ancient", "-p", `{"data":{"value":"two"}}`)
	c.kubectl("scale", "deployment/old", "--replicas=3")
	c.kubectl("rollout", "status", "deployment/old", "--timeout=60s")
	then := c.newest()
	pod := strings.TrimPrefix(strings.Fields(c.kubectl("get", "pods", "-l", "app=old", "-o", "name"))[0], "pod/")

	b := c.keepBusy()
	b.until(keptEvents / 2)
	b.stop() // while it is asked
	c.kubectl("scale", "deployment/old", "--replicas=1")
	c.kubectl("wait", "deployment/old", "--for=jsonpath={.status.replicas}=1", "--timeout=60s")
	later := c.newest()
	questions := c.questions(first, then, later, pod)
	answers := c.answers(questions)
	require.EqualValues(t, 1, c.streamBegins(), "nothing was trimmed yet")
	untouched := c.present()

	b = c.keepBusy()
	c.eventually("the stream begins after the first answers' moments", func() error {
		if begins := c.streamBegins(); begins <= number(t, then) {
			return fmt.Errorf("it begins at %d", begins)
		}
		return nil
	})
	c.sameAnswers("while the stream is trimmed", questions, answers)
	for range 3 {
		c.kill()
		c.begin()
		b.until(number(t, c.newest()) + segmentEvents)
	}
	c.eventually("all of the answers' moments are in the archive alone", func() error {
		if begins := c.streamBegins(); begins <= number(t, later) {
			return fmt.Errorf("it begins at %d", begins)
		}
		return nil
	})
	c.sameAnswers("with all of it in the archive, after kills", questions, answers)
	b.stop()
	t.Logf("wake status:\n%s", c.wake("status"))

	require.Equal(t, untouched, c.present(), "what nobody touched is as it was")
	c.provesBoth()
	c.oldObjectsAreGuarded(untouched)
	c.stop()
	c.provesBoth()
	c.refusesWithoutArchive()
	c.sameAnswers("after all that", questions, answers)
}

// present is what there is of the ancient objects, by kind and name: as JSON, with resource versions.
func (c *cluster) present() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for _, name := range []string{"configmap/ancient", "secret/till", "service/old"} {
		out[name] = c.kubectl("get", name, "-o", "json")
	}
	return out
}

// oldObjectsAreGuarded changes objects whose last events the stream has forgotten.
func (c *cluster) oldObjectsAreGuarded(untouched map[string]string) {
	c.t.Helper()
	ctx, client := c.t.Context(), c.client().CoreV1().ConfigMaps("default")
	var m corev1.ConfigMap
	require.NoError(c.t, json.Unmarshal([]byte(untouched["configmap/ancient"]), &m))
	require.Less(c.t, number(c.t, m.ResourceVersion), c.streamBegins())
	_, err := client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ancient"}}, metav1.CreateOptions{})
	require.True(c.t, apierrors.IsAlreadyExists(err), "%v", err)
	stale := m.DeepCopy()
	stale.ResourceVersion = strconv.FormatUint(number(c.t, m.ResourceVersion)-1, 10)
	stale.Data["value"] = "stale"
	_, err = client.Update(ctx, stale, metav1.UpdateOptions{})
	require.True(c.t, apierrors.IsConflict(err), "%v", err)

	fresh := m.DeepCopy()
	fresh.Data["value"] = "three"
	updated, err := client.Update(ctx, fresh, metav1.UpdateOptions{})
	require.NoError(c.t, err)
	_, err = client.Update(ctx, fresh, metav1.UpdateOptions{})
	require.True(c.t, apierrors.IsConflict(err), "an update on what has changed since: %v", err)
	require.Equal(c.t, "three", updated.Data["value"])

	c.kubectl("delete", "secret", "till")
	c.kubectl("create", "secret", "generic", "till", "--from-literal=pin=1")
	_, err = c.client().CoreV1().Services("default").Patch(ctx, "old", types.MergePatchType, []byte(`{"spec":{"selector":{"app":"new"}}}`), metav1.PatchOptions{})
	require.NoError(c.t, err)
	c.kubectl("delete", "service", "old")
	c.kubectl("scale", "deployment/old", "--replicas=4")
	c.kubectl("rollout", "status", "deployment/old", "--timeout=60s")
	c.kubectl("delete", "deployment", "old", "--cascade=foreground", "--timeout=60s")
	contains(c.t, c.wake("log", "configmap/ancient", "-p"), "ConfigMapCreated", "one", "two", "three")
	contains(c.t, c.wake("log", "deployment/old"), "DeploymentCreated", "DeploymentScaled")
}

// refusesWithoutArchive takes the archive away from a stopped cluster whose stream was trimmed: it says what is missing and where it looked.
func (c *cluster) refusesWithoutArchive() {
	c.t.Helper()
	archive := filepath.Join(c.dir, "archive")
	require.NoError(c.t, os.Rename(archive, archive+".away"))
	out, err := c.run("", "wake", append([]string{"up", "--data-dir", c.dir, "--listen", c.listen}, c.args...)...)
	require.Error(c.t, err)
	c.t.Logf("wake up without the archive: %s", out)
	require.Regexp(c.t, `revisions 1 to \d+ are missing`, out)
	contains(c.t, out, "the archive in "+archive+" is empty", "put back the archive's directory")
	_, err = c.tryVerify()
	require.Error(c.t, err)
	c.t.Logf("wake verify without the archive: %v", err)
	require.NoError(c.t, errors.Join(os.RemoveAll(archive), os.Rename(archive+".away", archive)))
	c.begin()
}
