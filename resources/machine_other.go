//go:build !linux && !darwin

package resources

// Machine returns 0: the memory of the machine isn't known here.
func Machine() int64 { return 0 }
