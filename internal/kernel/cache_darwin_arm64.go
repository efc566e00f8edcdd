package kernel

import "golang.org/x/sys/unix"

// systemCaches asks for the performance cores' caches: a cluster of them shares the second
// level. The cache beyond it, of the whole chip, isn't told; it counts as memory.
func systemCaches() caches {
	size, _ := unix.SysctlUint64("hw.perflevel0.l2cachesize")
	cores, _ := unix.SysctlUint32("hw.perflevel0.cpusperl2")
	return caches{l2: int(size) / max(1, int(cores)), l3: int(size)}
}
