// Package systemd boots a machine of namespaces, with the systemd that is installed
// here as its first process, installs the relay as the README of deploy/systemd says,
// and sees it work in its sandbox. Packages are made of this commit as releases make them,
// and installed, upgraded and removed on another such machine.
package systemd
