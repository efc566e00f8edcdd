package kernel

import "runtime"

// Threads is how many threads compute by default: as many as the process may use,
// runtime.GOMAXPROCS, which heeds a container's CPU quota. Where that is every core of a
// machine with fast and slow ones, it is as many as together compute most where each waits
// for the slowest.
func Threads() int {
	n := runtime.GOMAXPROCS(0)
	if fast := fastCores(); n == runtime.NumCPU() && fast > 0 {
		return min(n, fast)
	}
	return n
}
