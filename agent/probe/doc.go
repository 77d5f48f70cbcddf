// Package probe asks containers how they are. It guarantees:
//
//   - A verdict is given only when a threshold is reached: so many successes, or so many failures, in a row.
//   - A command that could not be run in the container, since Docker doesn't answer, say, counts neither way.
//   - A probe never overlaps with itself, never takes longer than its timeout, and ends with its context.
//   - HTTP redirects to other hosts aren't followed, and no certificate is checked: as the kubelet does.
package probe
