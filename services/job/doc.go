// Package job runs pods until as many as were asked for have succeeded.
//
// Its nouns: a Job makes pods; each ends in success or failure and is then counted, exactly once. A Job that ends does so in two steps, as in
// Kubernetes: it is decided (SuccessCriteriaMet, FailureTarget), and it is over when its last pod is gone (Complete, Failed).
//
//	reads   jobs, pods, namespaces, priorityclasses
//	writes  desired: the pods that it owns; a Job that has outlived its ttlSecondsAfterFinished
//	        observed: jobs
//
// Invariants:
//
//   - A pod of a Job carries the finalizer batch.kubernetes.io/job-tracking until it is counted. That it loses the finalizer and that the
//     Job's counters grow is one atomic batch, so no pod is counted twice, and none that nobody asked to end is missed, whoever removes it afterwards
//     and whenever a process dies. That is why status.uncountedTerminatedPods, Kubernetes' bridge between the two writes, stays empty.
//   - A pod that was asked to end counts by what was known of it then: as a failure if a client asked, not at all if its Job was suspended or
//     shrank. Should it succeed in that very moment its work is done again, as in Kubernetes.
//   - Never more than spec.parallelism pods are active, nor more than completions that are missing.
//   - Whatever is made or ended for a Job stands in one atomic batch with its status. Two deciders that know the same never both act on it.
//   - A Job that has ended makes no pods.
package job
