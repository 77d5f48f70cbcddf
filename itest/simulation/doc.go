// Package simulation tests services/simulation with the deciders of a real cluster, which services may not import from each other.
package simulation
