package weights

import (
	"encoding/binary"
	"unsafe"
)

// littleEndian reports whether numbers have the same bytes in memory as in files.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// memory returns the bytes of x, into which a little-endian processor reads F32 directly.
// Mapping the file would save this copy too, but truncating a mapped file kills the
// process, where reading it gives an error.
func memory(x []float32) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
}
