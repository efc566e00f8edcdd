// Command prng writes a bcryptprimitives.dll for Wine: prng FILE. Go's runtime takes its random
// numbers from the ProcessPrng of that library, which Wine has from version 8.14 on; Debian 12's
// is older. The file has no code: it forwards the name to advapi32's SystemFunction036, which
// takes the same arguments.
package main

import (
	"bytes"
	"encoding/binary"
	"log"
	"os"
)

// Layout of the file: headers, then one section with the export directory (Microsoft's "PE
// Format", "The .edata section").
const (
	fileAlign, memoryAlign = 0x200, 0x1000
	section                = memoryAlign // relative address of the section
	directory              = 40          // bytes of the export directory
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("want a file to write: bcryptprimitives.dll")
	}
	if err := os.WriteFile(os.Args[1], forwarder("bcryptprimitives.dll", "ProcessPrng", "ADVAPI32.SystemFunction036"), 0o666); err != nil {
		log.Fatal(err)
	}
}

// forwarder returns a library that exports a name as one of another library's.
func forwarder(library, name, to string) []byte {
	le := binary.LittleEndian
	functions := uint32(section + directory)
	names, ordinals := functions+4, functions+8
	text := ordinals + 4
	at := func(before ...string) uint32 { // relative address of the string after others
		n := text
		for _, s := range before {
			n += uint32(len(s)) + 1
		}
		return n
	}
	var exports bytes.Buffer
	for _, v := range []any{
		uint32(0), uint32(0), uint32(0), at(), uint32(1), uint32(1), uint32(1), functions, names, ordinals,
		at(library, name), at(library), uint16(0), uint16(0),
	} {
		binary.Write(&exports, le, v)
	}
	exports.WriteString(library + "\x00" + name + "\x00" + to + "\x00")
	size := uint32(exports.Len())

	var out bytes.Buffer
	dos := make([]byte, 64)
	copy(dos, "MZ")
	le.PutUint32(dos[60:], 64)
	out.Write(dos)
	out.WriteString("PE\x00\x00")
	for _, v := range []any{
		// COFF: amd64, one section; executable, large addresses, a library.
		uint16(0x8664), uint16(1), uint32(0), uint32(0), uint32(0), uint16(112 + 16*8), uint16(0x2022),
		// PE32+.
		uint16(0x20b), uint16(0), uint32(0), uint32(fileAlign), uint32(0), uint32(0), uint32(section),
		uint64(0x180000000), uint32(memoryAlign), uint32(fileAlign), [4]uint16{6, 0, 0, 0}, [2]uint16{6, 0}, uint32(0),
		uint32(2 * memoryAlign), uint32(fileAlign), uint32(0), uint16(3), uint16(0x140),
		uint64(1 << 20), uint64(1 << 12), uint64(1 << 20), uint64(1 << 12), uint32(0), uint32(16),
		[2]uint32{section, size}, [15 * 2]uint32{},
		// The section.
		[8]byte{'.', 'e', 'd', 'a', 't', 'a'}, size, uint32(section), uint32(fileAlign), uint32(fileAlign), uint32(0), uint32(0), uint32(0), uint32(0x40000040),
	} {
		binary.Write(&out, le, v)
	}
	out.Write(make([]byte, fileAlign-out.Len()))
	out.Write(exports.Bytes())
	out.Write(make([]byte, 2*fileAlign-out.Len()))
	return out.Bytes()
}
