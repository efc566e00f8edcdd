//go:build !amd64 && !arm64

package kernel

// canFlush reports whether the processor has the mode: small numbers stay what they are.
const (
	canFlush  = false
	flushBits = 0
)

func floatMode() uint64   { return 0 }
func setFloatMode(uint64) {}
