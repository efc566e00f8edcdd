package kernel

import "golang.org/x/sys/unix"

// fastCores counts the performance cores of Apple's processors.
func fastCores() int {
	n, _ := unix.SysctlUint32("hw.perflevel0.logicalcpu")
	return int(n)
}

func appleCores() bool { return true }
