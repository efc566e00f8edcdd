package cli

import "syscall"

// peakRSS is the most memory, in bytes, that the process has had resident, or 0.
func peakRSS() int64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return usage.Maxrss
}
