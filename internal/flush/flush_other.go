//go:build !amd64 && !arm64

package flush

// Can reports whether the processor has the mode: small numbers stay what they are.
const (
	Can  = false
	bits = 0
)

func mode() uint64   { return 0 }
func setMode(uint64) {}
