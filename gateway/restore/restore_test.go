package restore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/events/memory"
	"github.com/wakehq/wake/gateway/restore"
	"github.com/wakehq/wake/schemas"
)

var registry = func() *schemas.Registry {
	r, err := schemas.NewRegistry()
	if err != nil {
		panic(err)
	}
	return r
}()

// world is a ledger with its state, in which a test is the only one to act.
type world struct {
	t       require.TestingT
	ledger  events.Ledger
	state   *events.State
	pasts   []*events.State // by revision
	clock   time.Time
	uids    int
	options restore.Options
}

func newWorld(t require.TestingT) *world {
	w := &world{t: t, ledger: memory.New(memory.Faults{}), state: events.NewState(registry), clock: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)}
	w.pasts = []*events.State{w.state.Fork()}
	return w
}

func (w *world) uid() types.UID {
	w.uids++
	return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", w.uids))
}

func (w *world) write(namespace string) *schemas.Write {
	return &schemas.Write{Namespace: namespace, Now: w.clock, NewUID: w.uid}
}

// append appends proposals in one batch and folds them.
func (w *world) append(proposals ...events.Proposal) {
	w.clock = w.clock.Add(time.Second)
	events.Audit{Actor: "user:ada", Basis: w.state.Revision(), At: w.clock}.Sign(proposals)
	last, err := w.ledger.Append(context.Background(), proposals...)
	require.NoError(w.t, err)
	require.NoError(w.t, w.ledger.Read(context.Background(), events.Query{From: w.state.Revision() + 1, To: last}, func(e events.Event) bool {
		_, err := w.state.Apply(e)
		require.NoError(w.t, err)
		w.pasts = append(w.pasts, w.state.Fork())
		return true
	}))
}

func (w *world) create(obj runtime.Object) *events.Object {
	ref, err := w.state.RefOf(obj)
	require.NoError(w.t, err)
	kind, _ := registry.ByStorage(ref.Group, ref.Resource)
	created, _, err := kind.PrepareCreate(w.write(ref.Namespace), obj)
	require.NoError(w.t, err)
	w.append(events.Create(w.state, created, kind.KindName+"Created"))
	return w.get(ref)
}

func (w *world) get(ref events.Ref) *events.Object {
	o, ok := w.state.Get(ref)
	require.True(w.t, ok, "%s", ref)
	return o
}

func edit[T runtime.Object](w *world, o *events.Object, change func(T)) *events.Object {
	changed := o.Typed().DeepCopyObject().(T)
	change(changed)
	prepared, _, err := o.Kind.PrepareUpdate(w.write(o.Ref.Namespace), changed, o.Typed())
	require.NoError(w.t, err)
	w.append(events.Alter(o, prepared, o.Kind.KindName+"Changed"))
	return w.get(o.Ref)
}

func report[T runtime.Object](w *world, o *events.Object, change func(T)) {
	changed := o.Typed().DeepCopyObject().(T)
	change(changed)
	w.append(events.Observe(o, changed, o.Kind.KindName+"StatusChanged"))
}

func (w *world) remove(o *events.Object) { w.append(events.Remove(o, o.Kind.KindName+"Deleted")) }

// empty ends all that is in a namespace, and it.
func (w *world) empty(name string) {
	for _, gr := range w.state.Resources() {
		for o := range w.state.All(gr, name) {
			if o.Kind.Namespaced && !o.IsNote() {
				w.remove(w.get(o.Ref))
			}
		}
	}
	w.remove(w.get(events.Ref{Resource: "namespaces", Name: name}))
}

func (w *world) plan(at events.Revision, s restore.Selection) (*restore.Plan, error) {
	return restore.Make(restore.Input{Past: w.pasts[at], Present: w.state.Fork(), Selection: s, Options: w.options, Now: w.clock, NewUID: w.uid})
}

// restore carries a plan out, which must not be blocked.
func (w *world) restore(at events.Revision, s restore.Selection) *restore.Plan {
	plan, err := w.plan(at, s)
	require.NoError(w.t, err)
	require.Empty(w.t, plan.Blocked())
	if proposals := plan.Proposals(); len(proposals) > 0 {
		w.append(proposals...)
	}
	return plan
}

func actions(p *restore.Plan) map[string]restore.Action {
	out := map[string]restore.Action{}
	for _, s := range p.Steps {
		out[s.Kind+" "+s.Ref.Name] = s.Action
	}
	return out
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}}
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func configMap(ns, name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: meta(ns, name), Data: map[string]string{"key": value}}
}

func template(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "demo:1"}}}}
}

func deployment(ns, name string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: meta(ns, name), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: template(name)}}
}

func replicaSet(owner *events.Object, name string) *appsv1.ReplicaSet {
	d := owner.Typed().(*appsv1.Deployment)
	rs := &appsv1.ReplicaSet{ObjectMeta: meta(owner.Ref.Namespace, name), Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template}}
	rs.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))}
	return rs
}

func service(ns, name, ip string, port int32) *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(ns, name), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, ClusterIP: ip,
		Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80), NodePort: port}}}}
}

func ref(resource, ns, name string) events.Ref {
	return events.Ref{Resource: resource, Namespace: ns, Name: name}
}

func only(refs ...events.Ref) restore.Selection { return restore.Selection{Refs: refs} }

func TestANamespaceComesBack(t *testing.T) {
	w := newWorld(t)
	w.create(namespace("shop"))
	w.create(configMap("shop", "kube-root-ca.crt", "x"))
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "default"}})
	w.create(configMap("shop", "settings", "red"))
	web := w.create(deployment("shop", "web"))
	w.create(replicaSet(web, "web-1"))
	old := w.create(service("shop", "web", "10.96.0.7", 30080))
	kept := w.create(configMap("shop", "kept", "x"))
	kept = edit(w, kept, func(c *corev1.ConfigMap) { c.Finalizers = []string{"example.com/hold"} })
	owned := configMap("shop", "owned", "x")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: types.UID(web.UID())}}
	w.create(owned)
	then := w.state.Revision()
	w.empty("shop")
	tomb := w.state.Slot(ref("configmaps", "shop", "settings")).Facet(events.Desired)

	plan := w.restore(then, restore.Selection{Namespace: "shop"})
	require.Equal(t, map[string]restore.Action{
		"Namespace shop": restore.Create, "ConfigMap settings": restore.Create, "ConfigMap kept": restore.Create, "ConfigMap owned": restore.Create,
		"Deployment web": restore.Create, "Service web": restore.Create,
		"ConfigMap kube-root-ca.crt": restore.Skip, "ServiceAccount default": restore.Skip, "ReplicaSet web-1": restore.Skip}, actions(plan))
	require.Equal(t, "namespaces", plan.Proposals()[0].Ref.Resource, "it comes first")
	for _, p := range plan.Proposals() {
		require.Equal(t, events.Desired, p.Facet, "status isn't brought back")
		require.NotZero(t, p.Cause)
		require.Regexp(t, "Restored$", p.Type)
	}
	settings := w.get(ref("configmaps", "shop", "settings"))
	require.Equal(t, tomb.Revision, settings.Facet(events.Desired).Cause, "the deletion is the cause")
	require.Empty(t, w.get(kept.Ref).Meta().GetFinalizers())
	back := w.get(old.Ref).Typed().(*corev1.Service)
	require.Equal(t, "10.96.0.7", back.Spec.ClusterIP)
	require.EqualValues(t, 30080, back.Spec.Ports[0].NodePort)
	now := w.get(web.Ref)
	require.NotEqual(t, web.UID(), now.UID())
	require.Equal(t, types.UID(now.UID()), w.get(ref("configmaps", "shop", "owned")).Meta().GetOwnerReferences()[0].UID, "the owner's new UID")
}

func TestWhatAControllerMadeComesBackWhenAskedFor(t *testing.T) {
	w := newWorld(t)
	w.create(namespace("shop"))
	web := w.create(deployment("shop", "web"))
	rs := w.create(replicaSet(web, "web-1"))
	then := w.state.Revision()
	w.remove(w.get(rs.Ref))
	w.remove(w.get(web.Ref))
	alone, err := w.plan(then, only(rs.Ref))
	require.NoError(t, err)
	require.Equal(t, "left to Deployment web", alone.Steps[0].Reason)
	w.options.Owned = true
	w.restore(then, only(web.Ref))
	require.Equal(t, types.UID(w.get(web.Ref).UID()), w.get(rs.Ref).Meta().GetOwnerReferences()[0].UID)
}

func TestAnOwnerThatIsGoneIsLeftOut(t *testing.T) {
	w := newWorld(t)
	w.create(namespace("shop"))
	web := w.create(deployment("shop", "web"))
	rs := w.create(replicaSet(web, "web-1"))
	then := w.state.Revision()
	w.remove(w.get(rs.Ref))
	w.remove(w.get(web.Ref))
	w.options.Owned = true
	plan := w.restore(then, only(rs.Ref))
	require.Equal(t, "without its owner Deployment web, which is gone", plan.Steps[0].Reason)
	require.Empty(t, w.get(rs.Ref).Meta().GetOwnerReferences())
}

func TestAnAddressThatIsTakenIsGivenAnew(t *testing.T) {
	w := newWorld(t)
	w.create(namespace("shop"))
	web := w.create(service("shop", "web", "10.96.0.7", 30080))
	then := w.state.Revision()
	w.remove(web)
	w.create(service("shop", "thief", "10.96.0.7", 30080))
	plan := w.restore(then, only(web.Ref))
	require.Equal(t, "with a new cluster IP: service shop/thief has 10.96.0.7; with a new node port: service shop/thief has 30080", plan.Steps[0].Reason)
	back := w.get(web.Ref).Typed().(*corev1.Service)
	require.Empty(t, back.Spec.ClusterIP)
	require.Zero(t, back.Spec.Ports[0].NodePort)
}

func TestWhatHasRunIsNotRunAgain(t *testing.T) {
	w := newWorld(t)
	w.create(namespace("shop"))
	job := &batchv1.Job{ObjectMeta: meta("shop", "once"), Spec: batchv1.JobSpec{Template: template("once")}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	o := w.create(job)
	before := w.state.Revision()
	report(w, o, func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	})
	after := w.state.Revision()
	w.remove(w.get(o.Ref))
	for _, then := range []events.Revision{before, after} {
		plan, err := w.plan(then, only(o.Ref))
		require.NoError(t, err)
		require.Equal(t, restore.Skip, plan.Steps[0].Action)
		require.Empty(t, plan.Proposals())
	}
	w.options.Rerun = true
	w.restore(before, only(o.Ref))
	back := w.get(o.Ref).Typed().(*batchv1.Job)
	require.Equal(t, back.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel], string(back.UID), "the selector is that of the new Job")
	require.Empty(t, back.Status.Conditions)
}

func TestSecretsAreNotTold(t *testing.T) {
	w := newWorld(t)
	w.create(namespace("shop"))
	o := w.create(&corev1.Secret{ObjectMeta: meta("shop", "db"), Data: map[string][]byte{"password": []byte("hunter2")}})
	then := w.state.Revision()
	edit(w, o, func(s *corev1.Secret) {
		s.Data = map[string][]byte{"password": []byte("changed"), "more": []byte("sesame")}
	})
	plan := w.restore(then, only(o.Ref))
	require.Equal(t, "hunter2", string(w.get(o.Ref).Typed().(*corev1.Secret).Data["password"]))
	told := fmt.Sprintf("%+v", plan.Lines(0))
	require.Contains(t, told, "data.password")
	for _, value := range []string{"hunter2", "changed", "sesame", "aHVudGVyMg", "Y2hhbmdlZA", "c2VzYW1l"} {
		require.NotContains(t, told, value)
	}
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	w := newWorld(t)
	shop := w.create(namespace("shop"))
	web := w.create(deployment("shop", "web"))
	then := w.state.Revision()
	w.remove(web)
	other := deployment("shop", "web")
	other.Spec.Selector.MatchLabels["x"], other.Spec.Template.Labels["x"] = "y", "y"
	again := w.create(other)
	plan, err := w.plan(then, only(web.Ref))
	require.NoError(t, err)
	require.Len(t, plan.Blocked(), 1)
	require.Contains(t, plan.Steps[0].Reason, "field is immutable")
	require.Empty(t, plan.Proposals())

	w.remove(again)
	deletion, err := shop.Kind.PrepareDelete(w.write(""), shop.Typed(), nil)
	require.NoError(t, err)
	w.append(events.Alter(shop, deletion.Object, "NamespaceDeletionRequested"))
	plan, err = w.plan(then, only(web.Ref))
	require.NoError(t, err)
	require.Equal(t, "the namespace shop is being deleted: restore it when it is gone", plan.Steps[0].Reason)
	_, err = w.plan(then, restore.Selection{Namespace: "shop"})
	require.ErrorContains(t, err, "the namespace shop is still being deleted")
	_, err = w.plan(w.state.Revision(), only(web.Ref))
	var absent *restore.NotFoundError
	require.ErrorAs(t, err, &absent)
	require.ErrorContains(t, err, "had ended it; choose a moment before that")
	_, err = w.plan(1, only(web.Ref))
	require.ErrorContains(t, err, "it came later")
}

func TestPruneDeletesWhatCameLater(t *testing.T) {
	w := newWorld(t)
	w.create(namespace("shop"))
	web := w.create(deployment("shop", "web"))
	then := w.state.Revision()
	w.create(configMap("shop", "later", "x"))
	w.create(configMap("shop", "kube-root-ca.crt", "x"))
	w.create(replicaSet(web, "web-1"))
	require.Empty(t, w.restore(then, restore.Selection{Namespace: "shop"}).Proposals(), "unless asked, it stays")
	w.options.Prune = true
	plan := w.restore(then, restore.Selection{Namespace: "shop"})
	require.Equal(t, map[string]restore.Action{"Namespace shop": restore.Unchanged, "Deployment web": restore.Unchanged, "ConfigMap later": restore.Delete}, actions(plan))
	_, ok := w.state.Get(ref("configmaps", "shop", "later"))
	require.False(t, ok)
}
