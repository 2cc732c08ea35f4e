package rig

import "syscall"

// endWithParent makes the kernel kill a process when the thread that started it
// ends: with the program, even if that is killed itself.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
