package weights

import (
	"encoding/binary"
	"unsafe"
)

// littleEndian tells whether numbers lie in memory as they do in files.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// memory is the bytes that x lies in: on a little-endian processor F32 is read into them
// as it is. Mapping the file would save this one copy more, but a file that somebody cut
// short under the mapping would kill the process instead of giving an error.
func memory(x []float32) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
}
