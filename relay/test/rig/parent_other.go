//go:build !linux

package rig

import "syscall"

// endWithParent can do nothing here: [Rig.Close] has to.
func endWithParent(*syscall.SysProcAttr) {}
