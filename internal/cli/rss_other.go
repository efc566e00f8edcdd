//go:build !linux && !darwin && !windows

package cli

// peakRSS returns 0, as the system doesn't tell the resident memory.
func peakRSS() int64 { return 0 }
