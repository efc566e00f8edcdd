//go:build !linux && !darwin

package cli

// peakRSS is 0 where the system doesn't tell.
func peakRSS() int64 { return 0 }
