package kernel

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const sysfsCPUs = "/sys/devices/system/cpu"

// usableCores are the processors that this process may use, with their capacities.
var usableCores = sync.OnceValue(func() []core {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	return sysfsCores(os.DirFS(sysfsCPUs), set.IsSet)
})

func fastCores() int { return fastest(usableCores()) }

// systemCaches are those of the fastest processor: the first is a slow one on many machines.
func systemCaches() caches {
	cpu := 0
	if cores := usableCores(); len(cores) > 0 {
		cpu = cores[0].cpu
	}
	return sysfsCaches(os.DirFS(sysfsCPUs), cpu)
}

// appleCores reports whether the processor is one of Apple's.
var appleCores = sync.OnceValue(func() bool { return sysfsPart(os.DirFS(sysfsCPUs), 0).apple() })
