package resources

import "fmt"

// MemoryError reports what takes more memory than the machine has.
type MemoryError struct {
	What          string // "the parameters", "training"
	Need, Machine int64  // bytes
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%s takes about %s of memory, and the process may use %s", e.What, mebibytes(e.Need), mebibytes(e.Machine))
}

// Fits returns a [*MemoryError] if what needs more bytes than [Machine] tells. Memory is asked
// for only after it: the Go runtime ends a process that is refused memory.
func Fits(what string, need int64) error {
	if machine := Machine(); machine > 0 && need > machine {
		return &MemoryError{what, need, machine}
	}
	return nil
}
