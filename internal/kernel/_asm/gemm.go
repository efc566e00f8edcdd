package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// prefetchAhead is how far ahead of its use, in bytes, b is prefetched: a panel's 256
// channels, which is what most calls multiply. The hardware's prefetchers stop at the end
// of a 4 KiB page, and waiting for the next one from memory takes as long as multiplying
// it. A tile of 16 columns prefetches both halves of a row of 32 too, as its caller may come
// back for the other half. A single row does nothing but read b: the hardware follows that
// by itself, and a fifth faster.
const prefetchAhead = 32768

const gemmSignature = "func(steps int, offs *int, a, b, c *float32, cStride int, bias *float32, flags int)"

// gemms generates the register tiles of the indirect matrix product.
//
// AVX-512 has 32 registers: 14 rows × 2 vectors of accumulators, 2 of b, 2 for
// broadcasts. AVX2 has 16: 3 rows × 4 vectors of accumulators, 1 of b, 3 broadcasts; of
// one block of 16 columns, 6 rows × 2 vectors, 2, 2.
func gemms(s isa) {
	for _, channels := range []int{blockChannels, rgbChannels} {
		for _, most := range s.gemms {
			for rows := 1; rows <= most.rows; rows++ {
				gemm(s, tileSize{rows, most.blocks}, channels)
			}
		}
	}
}

// gemm generates one tile; a step reduces over the given number of channels: 16, or the 3
// of an image.
func gemm(s isa, size tileSize, channels int) {
	mr, nb := size.rows, size.blocks
	name := fmt.Sprintf("gemm%dx%d%s", mr, nb*16, s.name)
	if channels == rgbChannels {
		name = "rgb" + name
	}
	text(name, gemmSignature, fmt.Sprintf("%s is gemmTwin with %d rows, %d columns and %d channels a step.", name, mr, nb*16, channels))
	steps, offs, a, b, c := param("steps"), param("offs"), param("a"), param("b"), param("c")
	cStride, bias, flags := param("cStride"), param("bias"), param("flags")
	SHLQ(Imm(2), cStride)

	nv := nb * s.vectors() // vectors across the tile
	acc := func(r, v int) reg.VecPhysical { return s.regs[r*nv+v] }
	spare := s.regs[mr*nv:]
	// each of the column blocks' vectors in turn, with c moved from block to block
	eachBlock := func(f func(r, v int, m Mem)) {
		p := GP64()
		MOVQ(c, p)
		for v := 0; v < nv; v++ {
			for r := 0; r < mr; r++ {
				f(r, v, at(p, r*block+(v%s.vectors())*s.width))
			}
			if v+1 < nv && (v+1)%s.vectors() == 0 {
				ADDQ(cStride, p)
			}
		}
	}

	if channels == rgbChannels { // the sums are so few that the lines of c are prefetched before them
		for j := 0; j < nb; j++ {
			for r := 0; r < mr; r++ {
				m := at(c, r*block)
				if j > 0 {
					m = Mem{Base: c, Index: cStride, Scale: 1, Disp: r * block}
				}
				PREFETCHT0(m)
			}
		}
	}
	TESTQ(U32(accumulate), flags)
	JNZ(LabelRef(name + "_load"))
	for i := 0; i < mr*nv; i++ {
		s.zero(s.regs[i])
	}
	JMP(LabelRef(name + "_start"))
	Label(name + "_load")
	eachBlock(func(r, v int, m Mem) { VMOVUPS(m, acc(r, v)) })

	unroll := min(4, channels)
	ap, n := GP64(), GP64()
	Label(name + "_start")
	// The rows of a later step are prefetched as if all steps were as far apart as the first
	// two. A single row is read in order, and an image's steps are near each other.
	stride, prefetches := GP64(), channels == blockChannels && mr > 1
	if prefetches {
		XORQ(stride, stride)
		CMPQ(steps, Imm(1))
		JE(LabelRef(name + "_step"))
		MOVQ(Mem{Base: offs, Disp: 8}, stride)
		SUBQ(Mem{Base: offs}, stride)
		SHLQ(Imm(2), stride)
	}
	Label(name + "_step")
	MOVQ(Mem{Base: offs}, ap)
	LEAQ(Mem{Base: a, Index: ap, Scale: 4}, ap)
	if prefetches {
		for r := 0; r < mr; r++ {
			PREFETCHT0(Mem{Base: ap, Index: stride, Scale: s.stepsAhead, Disp: r * block})
		}
	}
	ADDQ(Imm(8), offs)
	if channels > unroll {
		MOVQ(U32(uint32(channels/unroll)), n)
		Label(name + "_chan")
	}
	q := 0
	for k := 0; k < unroll; k++ {
		if prefetches {
			for v := 0; v < 2; v++ {
				PREFETCHT1(at(b, prefetchAhead+k*2*block+v*block))
			}
		}
		bm := func(v int) Mem { return at(b, k*2*block+v*s.width) }
		if len(spare) <= nv { // too few for b and a broadcast: all broadcasts, and b one by one
			for r := 0; r < mr; r++ {
				VBROADCASTSS(at(ap, r*block+k*4), spare[r])
			}
			for v := 0; v < nv; v++ {
				VMOVUPS(bm(v), spare[mr])
				for r := 0; r < mr; r++ {
					VFMADD231PS(spare[mr], spare[r], acc(r, v))
				}
			}
			continue
		}
		bv, free := spare[:nv], spare[nv:min(nv+4, len(spare))]
		for v := 0; v < nv; v++ {
			VMOVUPS(bm(v), bv[v])
		}
		for r := 0; r < mr; r++ {
			t := free[q%len(free)]
			q++
			VBROADCASTSS(at(ap, r*block+k*4), t)
			for v := 0; v < nv; v++ {
				VFMADD231PS(bv[v], t, acc(r, v))
			}
		}
	}
	ADDQ(U32(uint32(unroll*2*block)), b)
	if channels > unroll {
		ADDQ(Imm(uint64(unroll*4)), ap)
		DECQ(n)
		JNZ(LabelRef(name + "_chan"))
	}
	DECQ(steps)
	JNZ(LabelRef(name + "_step"))

	TESTQ(U32(addBias), flags)
	JZ(LabelRef(name + "_relu"))
	for v := 0; v < nv; v++ {
		VMOVUPS(at(bias, v*s.width), spare[0])
		for r := 0; r < mr; r++ {
			VADDPS(spare[0], acc(r, v), acc(r, v))
		}
	}
	Label(name + "_relu")
	TESTQ(U32(applyRelu), flags)
	JZ(LabelRef(name + "_store"))
	s.zero(spare[0])
	for i := 0; i < mr*nv; i++ {
		VMAXPS(s.regs[i], spare[0], s.regs[i])
	}
	Label(name + "_store")
	eachBlock(func(r, v int, m Mem) { VMOVUPS(acc(r, v), m) })
	VZEROUPPER()
	RET()
}

// wgrads generates the tiles of the weight gradient: rows in-channels by one or
// two blocks of out-channels, reduced over pixels.
func wgrads(s isa) {
	for _, size := range s.wgrads {
		wgrad(s, size.rows, size.blocks)
	}
}

func wgrad(s isa, rows, nb int) {
	name := fmt.Sprintf("wgrad%dx%d%s", rows, nb*16, s.name)
	text(name, "func(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32, flags int)",
		fmt.Sprintf("%s is wgradTwin with %d in-channels and %d out-channels.", name, rows, nb*16))
	h, w, x, xRow := param("h"), param("w"), param("x"), param("xRow")
	dy, dyRow, dyPlane, dw, flags := param("dy"), param("dyRow"), param("dyPlane"), param("dw"), param("flags")
	SHLQ(Imm(2), xRow)
	SHLQ(Imm(2), dyRow)
	SHLQ(Imm(2), dyPlane)

	nv := nb * s.vectors()
	acc := func(r, v int) reg.VecPhysical { return s.regs[r*nv+v] }
	dyv := s.regs[rows*nv : rows*nv+nv]
	free := s.regs[rows*nv+nv:]
	if len(free) > 4 {
		free = free[:4]
	}
	tile := func(f func(a reg.VecPhysical, m Mem)) {
		for r := 0; r < rows; r++ {
			for v := 0; v < nv; v++ {
				f(acc(r, v), at(dw, r*2*block+v*s.width))
			}
		}
	}
	TESTQ(U32(accumulate), flags)
	JNZ(LabelRef(name + "_load"))
	for i := 0; i < rows*nv; i++ {
		s.zero(s.regs[i])
	}
	JMP(LabelRef(name + "_row"))
	Label(name + "_load")
	tile(func(a reg.VecPhysical, m Mem) { VMOVUPS(m, a) })
	xp, dp, n := GP64(), GP64(), GP64()
	Label(name + "_row")
	MOVQ(x, xp)
	MOVQ(dy, dp)
	MOVQ(w, n)
	Label(name + "_pixel")
	for v := 0; v < nv; v++ {
		m := at(dp, (v%s.vectors())*s.width)
		if v >= s.vectors() {
			m = Mem{Base: dp, Index: dyPlane, Scale: 1, Disp: m.Disp}
		}
		VMOVUPS(m, dyv[v])
	}
	for r := 0; r < rows; r++ {
		t := free[r%len(free)]
		VBROADCASTSS(at(xp, r*4), t)
		for v := 0; v < nv; v++ {
			VFMADD231PS(dyv[v], t, acc(r, v))
		}
	}
	ADDQ(Imm(block), xp)
	ADDQ(Imm(block), dp)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	ADDQ(xRow, x)
	ADDQ(dyRow, dy)
	DECQ(h)
	JNZ(LabelRef(name + "_row"))
	TESTQ(U32(accumulate|overwrite), flags)
	JNZ(LabelRef(name + "_store"))
	tile(func(a reg.VecPhysical, m Mem) { VADDPS(m, a, a) })
	Label(name + "_store")
	tile(func(a reg.VecPhysical, m Mem) { VMOVUPS(a, m) })
	VZEROUPPER()
	RET()
}
