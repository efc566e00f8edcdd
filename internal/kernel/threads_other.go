//go:build !arm64 || (!linux && !darwin)

package kernel

// fastCores is 0 where all cores count as equal.
func fastCores() int { return 0 }

func appleCores() bool { return false }
