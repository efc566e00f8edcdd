package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/verydeep/vgg/internal/kernel/_asm/wino"
)

// Kernels that only training needs: pooling that records which of the 2×2 pixels gave the
// maximum, its inverse, the gradient through a rectification, and the weight gradient of
// the first layer.

// training generates those that are no transforms of Winograd's algorithm.
func training(s isa) {
	poolHits(s)
	unpool(s)
	addPixels(s)
	for _, blocks := range s.rgbWgrads {
		rgbWgrad(s, blocks)
	}
}

// hits stores the masks of the four values of 2×2 pixels to h: bits where the maximum m
// came from the value, the first of equal ones, and none where m is at most lo. With AVX2
// it stores one byte of each mask, that of the half of the block at hand.
func hits(s isa, m, lo, t Op, values [4]Op, h reg.Register, disp int, live, hit reg.GPVirtual) {
	if s.wide() {
		VCMPPS(less, m, lo, reg.K1) // lo < m
		for i, v := range values {
			VCMPPS(equal, v, m, reg.K1, reg.K2)
			KMOVW(reg.K2, at(h, disp+2*i))
			if i < 3 {
				KANDNW(reg.K1, reg.K2, reg.K1)
			}
		}
		return
	}
	VCMPPS(less, m, lo, t)
	VMOVMSKPS(t, live.As32())
	for i, v := range values {
		VCMPPS(equal, v, m, t)
		VMOVMSKPS(t, hit.As32())
		ANDL(live.As32(), hit.As32())
		MOVB(hit.As8(), at(h, disp+2*i))
		XORL(hit.As32(), live.As32())
	}
}

// poolHits is maxPool with hits.
func poolHits(s isa) {
	name := "maxPoolHits" + s.name
	text(name, "func(n int, x0, x1, y *float32, hits *uint16, lo float32)", name+" is maxPoolHitsTwin.")
	n, x0, x1, y, h := param("n"), param("x0"), param("x1"), param("y"), param("hits")
	live, hit := GP64(), GP64()
	lo, m, t := s.regs[1], s.regs[0], s.regs[2]
	x := XMM()
	Load(Param("lo"), x)
	VBROADCASTSS(x, lo)
	Label(name + "_pixel")
	for v := 0; v < s.vectors(); v++ {
		d := v * s.width
		VMOVUPS(at(x0, d), m)
		for _, p := range []Mem{at(x0, block+d), at(x1, d), at(x1, block+d)} {
			VMAXPS(p, m, m)
		}
		VMOVUPS(m, at(y, d))
		hits(s, m, lo, t, [4]Op{at(x0, d), at(x0, block+d), at(x1, d), at(x1, block+d)}, h, 0, live, hit)
		if v+1 < s.vectors() {
			INCQ(h)
		}
	}
	ADDQ(U32(2*block), x0)
	ADDQ(U32(2*block), x1)
	ADDQ(Imm(block), y)
	ADDQ(Imm(uint64(8-(s.vectors()-1))), h)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

// unpool gives dy to the pixels in whose masks it belongs.
func unpool(s isa) {
	name := "unpool" + s.name
	text(name, "func(n int, hits *uint16, dy, dx0, dx1 *float32)", name+" is unpoolTwin.")
	n, h, dy, dx0, dx1 := param("n"), param("hits"), param("dy"), param("dx0"), param("dx1")
	d, t := s.regs[0], s.regs[1]
	if !s.wide() { // the bits of the lanes
		for v := 0; v < 2; v++ {
			VMOVUPS(laneBits().Offset(v*32), s.regs[2+v])
		}
	}
	Label(name + "_pixel")
	for v := 0; v < s.vectors(); v++ {
		VMOVUPS(at(dy, v*s.width), d)
		for i := 0; i < 4; i++ {
			out := dx0
			if i >= 2 {
				out = dx1
			}
			if s.wide() {
				KMOVW(at(h, 2*i), reg.K1)
				VMOVAPS_Z(d, reg.K1, t)
			} else {
				VPBROADCASTW(at(h, 2*i), t)
				VPAND(s.regs[2+v], t, t)
				VPCMPEQD(s.regs[2+v], t, t)
				VANDPS(d, t, t)
			}
			VMOVUPS(t, at(out, i%2*block+v*s.width))
		}
	}
	ADDQ(Imm(8), h)
	ADDQ(Imm(block), dy)
	ADDQ(U32(2*block), dx0)
	ADDQ(U32(2*block), dx1)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

// prefetch prefetches cache lines; every amd64 processor can.
func prefetch() {
	const name = "prefetchAMD64"
	text(name, "func(n int, p *float32)", name+" asks for n cache lines.")
	n, p := param("n"), param("p")
	Label(name + "_line")
	PREFETCHT1(at(p, 0))
	ADDQ(Imm(block), p)
	DECQ(n)
	JNZ(LabelRef(name + "_line"))
	RET()
}

// addPixels is sumPixels, but adds each pixel to sum.
func addPixels(s isa) {
	name := "addPixels" + s.name
	text(name, "func(n int, x, sum *float32)", name+" is addPixelsTwin.")
	n, x, sum := param("n"), param("x"), param("sum")
	acc := s.regs[:s.vectors()]
	for v, a := range acc {
		VMOVUPS(at(sum, v*s.width), a)
	}
	Label(name + "_pixel")
	for v, a := range acc {
		VADDPS(at(x, v*s.width), a, a)
	}
	ADDQ(Imm(block), x)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	for v, a := range acc {
		VMOVUPS(a, at(sum, v*s.width))
	}
	VZEROUPPER()
	RET()
}

// rgbWgrad generates the tile of the first layer's weight gradient: a row of 3 taps × 3
// channels by nb blocks of out-channels, reduced over pixels. With AVX2 the halves of the
// block come one after another: 9 accumulators suffice to hide an addition's latency, and
// there aren't registers for 18.
func rgbWgrad(s isa, nb int) {
	const taps, channels = 3, 3
	name := fmt.Sprintf("rgbwgrad9x%d%s", nb*16, s.name)
	text(name, "func(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32)",
		fmt.Sprintf("%s is rgbWgradTwin with %d out-channels.", name, nb*16))
	rows, w, x, xRow := param("h"), param("w"), param("x"), strideParam("xRow")
	dy, dyRow, dyPlane, dw := param("dy"), strideParam("dyRow"), strideParam("dyPlane"), param("dw")
	nv := nb
	acc := func(r, v int) reg.VecPhysical { return s.regs[r*nv+v] }
	dyv := s.regs[9*nv : 10*nv]
	free := s.regs[10*nv:]
	if len(free) > 4 {
		free = free[:4]
	}
	halves := s.vectors()
	left := GP64()
	MOVQ(U32(uint32(halves)), left)
	h, xs, ds, xp, dp, n := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	Label(name + "_half")
	for i := 0; i < 9*nv; i++ {
		s.zero(s.regs[i])
	}
	MOVQ(rows, h)
	MOVQ(x, xs)
	MOVQ(dy, ds)
	Label(name + "_row")
	MOVQ(xs, xp)
	MOVQ(ds, dp)
	MOVQ(w, n)
	Label(name + "_pixel")
	for v := range dyv {
		m := at(dp, 0)
		if v == 1 {
			m = Mem{Base: dp, Index: dyPlane, Scale: 1}
		}
		VMOVUPS(m, dyv[v])
	}
	for r := 0; r < taps*channels; r++ {
		t := free[r%len(free)]
		VBROADCASTSS(at(xp, r/channels*block+r%channels*4), t)
		for v := range dyv {
			VFMADD231PS(dyv[v], t, acc(r, v))
		}
	}
	ADDQ(Imm(block), xp)
	ADDQ(Imm(block), dp)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	ADDQ(xRow, xs)
	ADDQ(dyRow, ds)
	DECQ(h)
	JNZ(LabelRef(name + "_row"))
	for r := 0; r < 9; r++ {
		for v := 0; v < nv; v++ {
			m := at(dw, r*2*block+v*block)
			VADDPS(m, acc(r, v), acc(r, v))
			VMOVUPS(acc(r, v), m)
		}
	}
	ADDQ(Imm(32), dy)
	ADDQ(Imm(32), dw)
	DECQ(left)
	JNZ(LabelRef(name + "_half"))
	VZEROUPPER()
	RET()
}

// outputHits is the output transform with pooling and hits. There are too few registers for
// what changes once a row: it stays in memory, in the place of its parameter.
func (e expr) outputHits(f wino.Tile) {
	s, n := e.s, f.Side()
	name := "winoOutputHits" + f.Suffix() + s.name
	winoText(name, "func(tiles int, m *float32, mStride int, y *float32, yRow int, hits *uint16, hitsRow int, bias *float32, lo float32)", name+" is winoOutputHitsTwin for "+f.Outputs()+"; hitsRow counts bytes.")
	src, stride, y, h, bias := param("m"), strideParam("mStride"), param("y"), param("hits"), param("bias")
	SHLQ(Imm(2), paramAddr("yRow"))
	tmp := scratch(len(f.Points(f.Rows)) * f.Cols)
	sr := stepsOf(nil, stride)
	next := rowByRow(n, stride, f.Points(f.Rows))
	p, q, live, hit := GP64(), GP64(), GP64(), GP64()
	if n == 8 && s.wide() {
		e = e.pin(2, 4, 8, 16, 32)
	}
	Label(name + "_tile")
	e.eachHalf(name+"_half", func() {
		e.outputRows(f, sr, src, next, p, tmp)
		lo := e.vec()
		for j := 0; j < f.Cols; j++ {
			o := e.outputColumn(f, tmp, j)
			for r, v := range o {
				VADDPS(Mem{Base: bias}, v, v)
				// the column's products are no longer needed
				if j%2 == 0 {
					VMOVAPS(v, at(tmp, (r*f.Cols+j)*block))
				}
			}
			if j%2 == 0 {
				continue
			}
			VBROADCASTSS(paramAddr("lo"), lo)
			for r := 0; r < f.Rows; r += 2 {
				left, below := at(tmp, (r*f.Cols+j-1)*block), at(tmp, ((r+1)*f.Cols+j-1)*block)
				top, t := e.vec(), e.vec()
				VMAXPS(o[r+1], o[r], top)
				VMAXPS(left, top, top)
				VMAXPS(below, top, top)
				MOVQ(h, q)
				for range r / 2 {
					ADDQ(paramAddr("hitsRow"), q)
				}
				hits(s, top, lo, t, [4]Op{left, o[r], below, o[r+1]}, q, 8*(j/2), live, hit)
				VMAXPS(top, lo, top)
				MOVQ(y, q)
				for range r / 2 {
					ADDQ(paramAddr("yRow"), q)
				}
				VMOVUPS(top, at(q, j/2*block))
			}
		}
		if !s.wide() {
			INCQ(h)
		}
	}, src, y, bias)
	if !s.wide() {
		SUBQ(Imm(2), h)
	}
	ADDQ(U32(uint32(f.Cols/2*block)), y)
	ADDQ(Imm(uint64(f.Cols/2*8)), h)
	ADDQ(Imm(block), src)
	DECQ(paramAddr("tiles"))
	JNZ(LabelRef(name + "_tile"))
	VZEROUPPER()
	RET()
}

// outputMask: y = AᵀMA where x is positive, else 0. It takes dx through the rectification
// before the layer, whose output is x.
func (e expr) outputMask(f wino.Tile) {
	n := f.Side()
	name := "winoOutputMask" + f.Suffix() + e.s.name
	winoText(name, "func(tiles int, m *float32, mStride int, y *float32, yRow int, x *float32, xRow int)", name+" is winoOutputMaskTwin for "+f.Outputs()+".")
	src, stride, y, x := param("m"), strideParam("mStride"), param("y"), param("x")
	yRow, xRow := paramAddr("yRow"), paramAddr("xRow")
	SHLQ(Imm(2), yRow)
	SHLQ(Imm(2), xRow)
	tmp := scratch(len(f.Points(f.Rows)) * f.Cols)
	sr := stepsOf(nil, stride)
	next := rowByRow(n, stride, f.Points(f.Rows))
	p, q, xp := GP64(), GP64(), GP64()
	if n == 8 && e.s.wide() {
		e = e.pin(2, 4, 8, 16, 32)
	}
	Label(name + "_tile")
	MOVQ(x, xp)
	for r := 0; r < f.Rows; r++ {
		for j := 0; j < f.Cols; j++ {
			PREFETCHT1(at(xp, (j+tilesAhead*f.M)*block))
		}
		ADDQ(xRow, xp)
	}
	e.eachHalf(name+"_half", func() {
		e.outputRows(f, sr, src, next, p, tmp)
		for j := 0; j < f.Cols; j++ {
			o := e.outputColumn(f, tmp, j)
			zero, mask := e.vec(), e.vec()
			if e.s.wide() {
				VPXORD(zero, zero, zero)
			} else {
				VXORPS(zero, zero, zero)
			}
			MOVQ(y, q)
			MOVQ(x, xp)
			for r, v := range o {
				if e.s.wide() {
					VCMPPS(less, at(xp, j*block), zero, reg.K1) // 0 < x
					VMOVAPS_Z(v, reg.K1, v)
				} else {
					VCMPPS(less, at(xp, j*block), zero, mask)
					VANDPS(mask, v, v)
				}
				VMOVUPS(v, at(q, j*block))
				if r+1 < f.Rows {
					ADDQ(yRow, q)
					ADDQ(xRow, xp)
				}
			}
		}
	}, src, y, x)
	ADDQ(U32(uint32(f.Cols*block)), y)
	ADDQ(U32(uint32(f.Cols*block)), x)
	ADDQ(Imm(block), src)
	DECQ(paramAddr("tiles"))
	JNZ(LabelRef(name + "_tile"))
	VZEROUPPER()
	RET()
}

var lanes Mem

// laneBits is memory with the mask bit of every lane of a block.
func laneBits() Mem {
	if lanes.Base == nil {
		lanes = GLOBL("laneBits", attr.RODATA|attr.NOPTR)
		for l := 0; l < 16; l++ {
			DATA(4*l, U32(1<<l))
		}
	}
	return lanes
}
