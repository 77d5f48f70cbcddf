// Package nodes tests the line to machines that joined: whom it lets in, and that a node which was taken over gets nowhere with it.
package nodes
