package job

import "github.com/wakehq/wake/events"

const by = "service:" + actor

// EventTypes are the events that this service writes.
var EventTypes = []events.TypeDoc{
	{Type: "JobStarted", By: by, Meaning: "A Job made its first pods, or goes on after a suspension."},
	{Type: "JobProgressed", By: by, Meaning: "A Job's status was stated: pods were made, became ready or were counted."},
	{Type: "JobSuspended", By: by, Meaning: "A Job's pods are ended because spec.suspend says so."},
	{Type: "JobSucceeding", By: by, Meaning: "A Job has all the completions that it needs; its last pods are ending."},
	{Type: "JobFailing", By: by, Meaning: "A Job is given up; its last pods are ending."},
	{Type: "JobCompleted", By: by, Meaning: "A Job is over and has succeeded."},
	{Type: "JobFailed", By: by, Meaning: "A Job is over and has failed."},
	{Type: "JobDeleted", By: by, Meaning: "A Job has outlived its ttlSecondsAfterFinished."},
	{Type: "JobDeletionRequested", By: by, Meaning: "The same, of a Job that finalizers hold."},
	{Type: "PodCreated", By: by, Meaning: "A pod came into being from a template."},
	{Type: "PodCounted", By: by, Meaning: "A pod that has ended was counted, or its Job is gone: it lost the finalizer that kept it for that."},
	{Type: "PodDeletionRequested", By: by, Meaning: "A pod that may be running was asked to end within its grace period."},
	{Type: "PodDeleted", By: by, Meaning: "A pod that nothing of was running is gone."},
	{Type: "PodAdopted", By: by, Meaning: "A Job took up a pod that nothing controlled and that its selector matches."},
	{Type: "PodReleased", By: by, Meaning: "A Job let go of a pod that its selector does not match any more."},
}
