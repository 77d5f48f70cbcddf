// Package runtime is the node's Docker Engine. It alone talks to Docker, and it decides nothing: every call carries out one step of
// a plan. It guarantees:
//
//   - All that is needed to find a pod again (its identity, attempt numbers, back-offs) is in the labels of its containers.
//   - Every step may be repeated: creating what is there returns it, and stopping or removing what is gone is no error.
//   - Only containers with the label of this cluster are seen or touched.
//   - No registry is needed for pods as such: the pause image is made here, from a program of a few hundred bytes.
package runtime
