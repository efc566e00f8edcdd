package kernel

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Caches are assumed to be so large, in bytes, where the system doesn't tell.
const (
	assumedL2 = 1 << 20
	assumedL3 = 1 << 24
)

// caches are bytes of cache: what one core has of the second level, and the whole of the
// last level that cores share.
type caches struct{ l2, l3 int }

// machineCaches are those of this machine.
var machineCaches = sync.OnceValue(func() caches {
	c := systemCaches()
	if c.l2 <= 0 {
		c.l2 = assumedL2
	}
	if c.l3 <= 0 {
		c.l3 = assumedL3
	}
	return c
})

// part names a kind of core, as ARM's register MIDR_EL1 does.
type part struct{ implementer, number int }

const (
	arm   = 0x41
	apple = 0x61
)

func (p part) apple() bool { return p.implementer == apple }

// partCaches are the caches of cores in machines whose firmware is known not to describe them:
// small computers, and virtual machines on a Mac. Apple's are those of an M1, the smallest.
func (p part) caches() caches {
	if p.apple() {
		return caches{3 << 20, 12 << 20}
	}
	return map[part]caches{
		{arm, 0xd03}: {128 << 10, 512 << 10}, // Cortex-A53: Raspberry Pi 3
		{arm, 0xd08}: {256 << 10, 1 << 20},   // Cortex-A72: Raspberry Pi 4
		{arm, 0xd0b}: {512 << 10, 2 << 20},   // Cortex-A76: Raspberry Pi 5
	}[p]
}

// sysfsPart reads which kind of core a processor is, from /sys/devices/system/cpu.
func sysfsPart(folder fs.FS, cpu int) part {
	b, _ := fs.ReadFile(folder, fmt.Sprintf("cpu%d/regs/identification/midr_el1", cpu))
	midr, err := strconv.ParseUint(strings.TrimSpace(string(b)), 0, 64)
	if err != nil {
		return part{}
	}
	return part{int(midr >> 24 & 0xff), int(midr >> 4 & 0xfff)}
}

// sysfsCaches reads Linux's description of a processor's caches, in /sys/devices/system/cpu.
// Where it tells none, the kind of core may; what neither tells is 0.
func sysfsCaches(folder fs.FS, cpu int) caches {
	if c := toldCaches(folder, cpu); c != (caches{}) {
		return c
	}
	return sysfsPart(folder, cpu).caches()
}

func toldCaches(folder fs.FS, cpu int) caches {
	dir := fmt.Sprintf("cpu%d/cache", cpu)
	text := func(file string) string {
		b, _ := fs.ReadFile(folder, path.Join(dir, file))
		return strings.TrimSpace(string(b))
	}
	var c caches
	entries, _ := fs.ReadDir(folder, dir)
	last := 0
	for _, e := range entries {
		level, _ := strconv.Atoi(text(path.Join(e.Name(), "level")))
		size := cacheSize(text(path.Join(e.Name(), "size")))
		if level < 2 || size == 0 || text(path.Join(e.Name(), "type")) == "Instruction" {
			continue
		}
		cores := cpuCount(text(path.Join(e.Name(), "shared_cpu_list")))
		if level == 2 {
			c.l2 = size / cores
		}
		// A second-level cache of several cores is the last level if there is no other.
		if (level > 2 || cores > 1) && level > last {
			c.l3, last = size, level
		}
	}
	return c
}

// cacheSize reads "1024K" or "32M".
func cacheSize(s string) int {
	unit := 1
	switch {
	case strings.HasSuffix(s, "K"):
		unit = 1 << 10
	case strings.HasSuffix(s, "M"):
		unit = 1 << 20
	}
	n, err := strconv.Atoi(strings.TrimRight(s, "KM"))
	if err != nil || n < 0 || n > 1<<30 {
		return 0
	}
	return n * unit
}

// cpuCount counts the processors of a list such as "0-3,8"; at least one.
func cpuCount(list string) int {
	n := 0
	for _, r := range strings.Split(list, ",") {
		from, to, isRange := strings.Cut(r, "-")
		a, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(to); err != nil || b < a || b-a > 1<<16 {
				continue
			}
		}
		n += b - a + 1
	}
	return max(1, n)
}
