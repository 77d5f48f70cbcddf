package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTimesAreMovedInACopy(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC))
	later := metav1.NewTime(at.Add(time.Minute))
	pods := &corev1.PodList{Items: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at, Labels: map[string]string{"a": "b"}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}}}}}}}}
	out := moved(pods, time.Minute).(*corev1.PodList)
	require.Equal(t, later, out.Items[0].CreationTimestamp)
	require.Equal(t, later, out.Items[0].Status.ContainerStatuses[0].State.Running.StartedAt)
	require.Nil(t, out.Items[0].DeletionTimestamp)
	require.Equal(t, at, pods.Items[0].CreationTimestamp, "the original stays")

	job := moved(&batchv1.Job{Status: batchv1.JobStatus{StartTime: &at}}, time.Minute).(*batchv1.Job)
	require.Equal(t, later, *job.Status.StartTime)
	require.True(t, job.CreationTimestamp.IsZero(), "a time that isn't set stays so")
	micro := metav1.NewMicroTime(at.Time)
	lease := moved(&coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &micro}}, time.Minute).(*coordinationv1.Lease)
	require.Equal(t, later.Time, lease.Spec.RenewTime.Time)
}
