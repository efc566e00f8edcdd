// Command asm generates the amd64 kernels of internal/kernel.
//
//	go run . -out ../kernels_amd64.s -stubs ../kernels_amd64.go -pkg kernel
//
// Each generated function computes what the Go function that its comment names computes;
// docs/kernels.md derives the shapes of the tiles.
package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is one instruction set: its vectors and registers, and the register tiles that
// they allow.
type isa struct {
	name  string // suffix of the generated functions
	width int    // bytes of a vector
	regs  []reg.VecPhysical

	gemms []tileSize // gemms of 1 … rows rows by so many column blocks
	// stepsAhead is how many steps before their use the gemm's rows of a are prefetched.
	// They come from the second- or third-level cache: 900 cycles of AVX-512's 14 rows, 400
	// of AVX2's three.
	stepsAhead uint8
	wgrads     []tileSize // of rows in-channels by so many blocks of out-channels
	rgbWgrads  []int      // blocks of out-channels
}

// tileSize is a register tile's rows and blocks of 16 columns.
type tileSize struct{ rows, blocks int }

var avx512 = isa{name: "AVX512", width: 64, regs: []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
	reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
	reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31},
	gemms: []tileSize{{14, 2}, {14, 1}}, stepsAhead: 2, wgrads: []tileSize{{8, 2}, {8, 1}}, rgbWgrads: []int{2, 1}}

var avx2 = isa{name: "AVX2", width: 32, regs: []reg.VecPhysical{
	reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
	reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15},
	gemms: []tileSize{{6, 1}, {3, 2}}, stepsAhead: 4, wgrads: []tileSize{{4, 1}}, rgbWgrads: []int{1}}

const (
	block         = 64 // bytes of one channel block: 16 float32
	blockChannels = 16 // channels of a block
	rgbChannels   = 3  // channels of an image
)

// Flags of a gemm or wgrad tile; twin.go says what they do.
const (
	accumulate = 1
	addBias    = 2
	applyRelu  = 4
	overwrite  = 2 // of a wgrad tile
)

// Predicates of VCMPPS, whose operands avo lists last to first: less compares whether the
// third operand is less than the second.
var equal, less = Imm(0), Imm(1)

// vectors is the number of vectors in a channel block.
func (s isa) vectors() int { return block / s.width }

// wide reports whether a vector holds a whole channel block. That is AVX-512, which also
// has mask registers, and twice as many vector registers.
func (s isa) wide() bool { return s.width == block }

func (s isa) zero(r reg.VecPhysical) {
	if s.wide() {
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
