package resources

import (
	"encoding/binary"
	"syscall"
)

// Machine returns the memory of the machine in bytes, 0 if the system doesn't tell.
func Machine() int64 {
	// The syscall package takes the number for text and cuts a last zero byte off.
	text, err := syscall.Sysctl("hw.memsize")
	if err != nil || len(text) > 8 {
		return 0
	}
	var number [8]byte
	copy(number[:], text)
	return int64(binary.LittleEndian.Uint64(number[:]))
}
