// Command asm generates the amd64 kernels of internal/kernel.
//
//	go run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg kernel
//
// Each generated function equals the Go loop of the same name in
// internal/kernel/twin.go; the derivations of tile shapes are in docs/kernels.md.
package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is one instruction set: its vector width in bytes and its registers.
type isa struct {
	name  string // suffix of the generated functions
	width int    // bytes of a vector
	regs  []reg.VecPhysical
}

var avx512 = isa{"AVX512", 64, []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
	reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
	reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}}

var avx2 = isa{"AVX2", 32, []reg.VecPhysical{
	reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
	reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}}

// block is the bytes of one channel block: 16 float32.
const block = 64

// vectors is the number of vectors in a channel block.
func (s isa) vectors() int { return block / s.width }

func (s isa) zero(r reg.VecPhysical) {
	if s.width == 64 {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
}

// text opens a function whose pointers do not escape.
func text(name, signature, doc string) {
	TEXT(name, attr.NOSPLIT, signature)
	Pragma("noescape")
	Doc(doc)
}

func param(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

func at(base reg.Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

func main() {
	for _, s := range []isa{avx512, avx2} {
		gemms(s)
		wgrads(s)
		elementwise(s)
		norms(s)
		widen(s)
		training(s)
		mixed(s)
	}
	transpose()
	prefetch()
	consts, offset := constants(5, 4, 2, 5.25, 4.25, 0.25, 1.25, 0.5, 8, 16, 32, 3, 0.75, 3.75, 2.25, -3, -2.25,
		-1./6, 1./6, 1./24, 1./12, -2./9, 2./9, 1./90, 2./45, 1./45, 1./180, 8./45, 4./45, 1./720, 1./360, 16./45, 32./45, 1./1440, 1./2880)
	for _, s := range []isa{avx512, avx2} {
		winograd(s, consts, offset)
	}
	Generate()
}
