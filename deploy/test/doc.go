// Package test has no code: the folders in it try the files of deploy for real.
//
// It is a module of its own, so that what that takes (the types of Kubernetes for
// instance) is no dependency of the relay.
package test
