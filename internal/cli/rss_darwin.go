package cli

import "syscall"

// peakRSS returns the largest resident memory of the process, in bytes, or 0 if it is unknown.
func peakRSS() int64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return usage.Maxrss
}
