//go:build !darwin || !arm64

package kernel

// fastCores is 0 where all cores count as equal.
func fastCores() int { return 0 }
