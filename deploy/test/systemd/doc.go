// Package systemd boots a machine of namespaces, with the systemd that is installed
// here as its first process, installs the relay as the README of deploy/systemd says,
// and sees it work in its sandbox.
package systemd
