package main

import (
	"fmt"
	"strings"
)

// Instructions that Go's assembler has no name for are written as words, each with its text
// in ARM's syntax behind it; tools/neon assembles that text by LLVM and compares.
// The numbers are the opcodes of the Arm Architecture Reference Manual, C7.2.

// word writes an instruction by its encoding.
func (f *function) word(code uint32, format string, args ...any) {
	f.op("WORD $0x%08x // %s", code, fmt.Sprintf(format, args...))
}

// three are the instructions of three vectors.
var three = map[string]struct {
	code  uint32
	lanes string
}{
	"fadd": {0x4e20d400, "4s"}, "fsub": {0x4ea0d400, "4s"}, "fmul": {0x6e20dc00, "4s"}, "fdiv": {0x6e20fc00, "4s"},
	"fadd.2d": {0x4e60d400, "2d"}, "fsub.2d": {0x4ee0d400, "2d"}, "fmla": {0x4e20cc00, "4s"}, "fmla.2d": {0x4e60cc00, "2d"},
	"fcmgt": {0x6ea0e400, "4s"}, "fcmeq": {0x4e20e400, "4s"}, "cmtst": {0x4ea08c00, "4s"},
	"bic": {0x4e601c00, "16b"}, "bit": {0x6ea01c00, "16b"}, "bif": {0x6ee01c00, "16b"}, "orr": {0x4ea01c00, "16b"}, "and": {0x4e201c00, "16b"},
}

// do3 writes d = n op m; fmla, bit and bif also read d.
func (f *function) do3(name string, d, n, m vec) {
	i, ok := three[name]
	if !ok {
		panic("no instruction " + name)
	}
	mnemonic, _, _ := strings.Cut(name, ".")
	f.word(i.code|uint32(m)<<16|uint32(n)<<5|uint32(d), "%[1]s v%[2]d.%[5]s, v%[3]d.%[5]s, v%[4]d.%[5]s", mnemonic, d, n, m, i.lanes)
}

// two are the instructions of two vectors.
var two = map[string]struct {
	code uint32
	text string
}{
	"fsqrt": {0x6ea1f800, "fsqrt v%d.4s, v%d.4s"},
	"fcmlt": {0x4ea0e800, "fcmlt v%d.4s, v%d.4s, #0.0"},
	"fcmgt": {0x4ea0c800, "fcmgt v%d.4s, v%d.4s, #0.0"},
	// The lower and the upper half of n, widened: float32 to float64, float16 to float32,
	// and 16 bits to the upper half of 32.
	"fcvtl.2d": {0x0e617800, "fcvtl v%d.2d, v%d.2s"}, "fcvtl2.2d": {0x4e617800, "fcvtl2 v%d.2d, v%d.4s"},
	"fcvtl.4s": {0x0e217800, "fcvtl v%d.4s, v%d.4h"}, "fcvtl2.4s": {0x4e217800, "fcvtl2 v%d.4s, v%d.8h"},
	"shll": {0x2e613800, "shll v%d.4s, v%d.4h, #16"}, "shll2": {0x6e613800, "shll2 v%d.4s, v%d.8h, #16"},
	"addv": {0x4eb1b800, "addv s%d, v%d.4s"},
}

// do2 writes d = op n.
func (f *function) do2(name string, d, n vec) {
	i, ok := two[name]
	if !ok {
		panic("no instruction " + name)
	}
	f.word(i.code|uint32(n)<<5|uint32(d), i.text, d, n)
}

// element is one lane of a register.
type element struct {
	reg  vec
	lane int
}

func (e element) bits() uint32 {
	return uint32(e.lane&1)<<21 | uint32(e.lane>>1)<<11 | uint32(e.reg)<<16
}

// byElement are the instructions whose second operand is one lane.
var byElement = map[string]uint32{"fmla": 0x4f801000, "fmls": 0x4f805000, "fmul": 0x4f809000}

// lane writes d ± n·m, or n·m, where m is one lane for all.
func (f *function) lane(name string, d, n vec, m element) {
	f.word(byElement[name]|m.bits()|uint32(n)<<5|uint32(d), "%s v%d.4s, v%d.4s, v%d.s[%d]", name, d, n, m.reg, m.lane)
}

// Loads and stores at the sum of two registers.
func (f *function) loadAt(d vec, base, index gp) {
	f.word(0x3ce06800|uint32(index)<<16|uint32(base)<<5|uint32(d), "ldr q%d, [x%d, x%d]", d, int(base), int(index))
}
func (f *function) storeAt(s vec, base, index gp) {
	f.word(0x3ca06800|uint32(index)<<16|uint32(base)<<5|uint32(s), "str q%d, [x%d, x%d]", s, int(base), int(index))
}

// storeHalf stores the lowest 16 bits of s.
func (f *function) storeHalf(s vec, base gp, offset int) {
	f.word(0x7d000000|uint32(offset/2)<<10|uint32(base)<<5|uint32(s), "str h%d, [x%d, #%d]", s, int(base), offset)
}

// larger writes a where a > b, else b, to b: one behaviour for zeros and NaN on all
// processors, that of x86's MAXPS. FMAX differs.
func (f *function) larger(a, b, mask vec) {
	f.do3("fcmgt", mask, a, b)
	f.do3("bit", b, a, mask)
}

// rectify writes zero where v is negative; NaN and −0 stay.
func (f *function) rectify(v, mask vec) {
	f.do2("fcmlt", mask, v)
	f.do3("bic", v, v, mask)
}
