// Package volume keeps the files of pods on the node. It guarantees:
//
//   - Sync may be repeated at any time: it creates what is missing, updates what has changed, and leaves alone what containers wrote.
//   - A configMap, secret, downwardAPI or projected volume changes as a whole: readers see all of the old files or all of the new
//     ones, never a mixture, and a kill at any instant leaves one of the two.
//   - Secrets and emptyDirs of medium Memory lie in memory, never on a disk.
//   - A subPath never leads out of its volume, whatever links a container has left there.
//   - Remove leaves nothing of the pod behind.
package volume
