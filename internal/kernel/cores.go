package kernel

import (
	"cmp"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// core is a processor as Linux counts them, and how much it computes beside the fastest of the
// machine, in 1024ths.
type core struct{ cpu, capacity int }

// sysfsCores reads the capacities that Linux tells of the processors that may be used, the
// folders cpuN of /sys/devices/system/cpu, fastest first. It is empty where Linux tells none, as
// it does where all are equal.
func sysfsCores(folder fs.FS, mayUse func(cpu int) bool) []core {
	var cores []core
	entries, _ := fs.ReadDir(folder, ".")
	for _, e := range entries {
		number, found := strings.CutPrefix(e.Name(), "cpu")
		cpu, err := strconv.Atoi(number)
		if !found || err != nil || !mayUse(cpu) {
			continue
		}
		b, _ := fs.ReadFile(folder, e.Name()+"/cpu_capacity")
		if capacity, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && capacity > 0 {
			cores = append(cores, core{cpu, capacity})
		}
	}
	slices.SortFunc(cores, func(a, b core) int {
		return cmp.Or(cmp.Compare(b.capacity, a.capacity), cmp.Compare(a.cpu, b.cpu))
	})
	return cores
}

// fastest counts the cores, fastest first, that together compute most, where each waits for the
// slowest of them; 0 of none.
func fastest(cores []core) int {
	n, most := 0, 0
	for i, c := range cores {
		if all := (i + 1) * c.capacity; all >= most {
			n, most = i+1, all
		}
	}
	return n
}
