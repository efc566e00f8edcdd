package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func elementwise(s isa) {
	maxPool(s)
	maxPoolGrad(s)
	reluGrad(s)
	sumPixels(s)
	addSquares(s)
	addDifferences(s)
	sgd(s)
}

func maxPool(s isa) {
	name := "maxPool" + s.name
	text(name, "func(n int, x0, x1, y *float32)", name+" is maxPoolTwin.")
	n, x0, x1, y := param("n"), param("x0"), param("x1"), param("y")
	Label(name + "_pixel")
	for v := 0; v < s.vectors(); v++ {
		m, d := s.regs[v], v*s.width
		VMOVUPS(at(x0, d), m)
		for _, p := range []Mem{at(x0, block+d), at(x1, d), at(x1, block+d)} {
			VMAXPS(p, m, m)
		}
		VMOVUPS(m, at(y, d))
	}
	ADDQ(U32(2*block), x0)
	ADDQ(U32(2*block), x1)
	ADDQ(Imm(block), y)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

// maxPoolGrad gives dy to the first of the four pixels that equals the maximum.
func maxPoolGrad(s isa) {
	name := "maxPoolGrad" + s.name
	text(name, "func(n int, x0, x1, y, dy, dx0, dx1 *float32)", name+" is maxPoolGradTwin.")
	n, x0, x1, y, dy, dx0, dx1 := param("n"), param("x0"), param("x1"), param("y"), param("dy"), param("dx0"), param("dx1")
	Label(name + "_pixel")
	for v := 0; v < s.vectors(); v++ {
		d := v * s.width
		yv, left, t, hit := s.regs[0], s.regs[1], s.regs[2], s.regs[3]
		VMOVUPS(at(y, d), yv)
		VMOVUPS(at(dy, d), left) // what no position has taken yet
		for i, p := range []Mem{at(x0, d), at(x0, block+d), at(x1, d), at(x1, block+d)} {
			out := at(dx0, (i%2)*block+d)
			if i >= 2 {
				out = at(dx1, (i%2)*block+d)
			}
			if s.wide() {
				k := []reg.OpmaskPhysical{reg.K1, reg.K2, reg.K3, reg.K4}[i]
				VCMPPS(equal, p, yv, k)
				VMOVAPS_Z(left, k, t)
				VMOVUPS(t, out)
				// a lane that was hit gives nothing to later pixels
				KNOTW(k, k)
				VMOVAPS_Z(left, k, left)
				continue
			}
			VCMPPS(equal, p, yv, hit)
			VANDPS(left, hit, t)
			VMOVUPS(t, out)
			VANDNPS(left, hit, left)
		}
	}
	for _, p := range []reg.GPVirtual{x0, x1, dx0, dx1} {
		ADDQ(U32(2*block), p)
	}
	ADDQ(Imm(block), y)
	ADDQ(Imm(block), dy)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

func reluGrad(s isa) {
	name := "reluGrad" + s.name
	text(name, "func(n int, y, dy, sum *float32)", name+" is reluGradTwin.")
	n, y, dy, sum := param("n"), param("y"), param("dy"), param("sum")
	vs := s.vectors()
	acc, zero, t, m := s.regs[:vs], s.regs[vs], s.regs[vs+1], s.regs[vs+2]
	for v := 0; v < vs; v++ {
		s.zero(acc[v])
	}
	s.zero(zero)
	Label(name + "_pixel")
	for v := 0; v < vs; v++ {
		d := v * s.width
		VMOVUPS(at(dy, d), t)
		if s.wide() {
			VCMPPS(less, at(y, d), zero, reg.K1) // 0 < y
			VMOVAPS_Z(t, reg.K1, t)
		} else {
			VCMPPS(less, at(y, d), zero, m)
			VANDPS(m, t, t)
		}
		VMOVUPS(t, at(dy, d))
		VADDPS(t, acc[v], acc[v])
	}
	ADDQ(Imm(block), y)
	ADDQ(Imm(block), dy)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	addTo(s, acc, sum)
}

func sumPixels(s isa) {
	name := "sumPixels" + s.name
	text(name, "func(n int, x, sum *float32)", name+" is sumPixelsTwin.")
	n, x, sum := param("n"), param("x"), param("sum")
	acc := s.regs[:s.vectors()]
	for _, a := range acc {
		s.zero(a)
	}
	Label(name + "_pixel")
	for v, a := range acc {
		VADDPS(at(x, v*s.width), a, a)
	}
	ADDQ(Imm(block), x)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	addTo(s, acc, sum)
}

func addSquares(s isa) {
	name := "addSquares" + s.name
	text(name, "func(n int, x, sums *float32)", name+" is addSquaresTwin.")
	n, x, sums := param("n"), param("x"), param("sums")
	Label(name + "_pixel")
	for v := 0; v < s.vectors(); v++ {
		d, t := v*s.width, s.regs[v]
		VMOVUPS(at(x, d), t)
		VMULPS(t, t, t)
		VADDPS(at(sums, d), t, t)
		VMOVUPS(t, at(sums, d))
	}
	ADDQ(Imm(block), x)
	ADDQ(Imm(block), sums)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

func addDifferences(s isa) {
	name := "addDifferences" + s.name
	text(name, "func(n int, a, b, p, q, w, sums *float32)", name+" is addDifferencesTwin.")
	n, a, b, p, q, w, sums := param("n"), param("a"), param("b"), param("p"), param("q"), param("w"), param("sums")
	vs := s.vectors()
	weights, pv, qv := s.regs[:vs], s.regs[vs], s.regs[vs+1]
	for v := 0; v < vs; v++ {
		VMOVUPS(at(w, v*s.width), weights[v])
	}
	Label(name + "_pixel")
	VBROADCASTSS(at(p, 0), pv)
	VBROADCASTSS(at(q, 0), qv)
	for v := 0; v < vs; v++ {
		d, t, u := v*s.width, s.regs[vs+2+2*v], s.regs[vs+3+2*v]
		VMULPS(at(a, d), pv, t)
		VMULPS(at(b, d), qv, u)
		VSUBPS(u, t, t)
		VMULPS(t, t, t)
		VMULPS(weights[v], t, t)
		VADDPS(at(sums, d), t, t)
		VMOVUPS(t, at(sums, d))
	}
	for _, pointer := range []reg.GPVirtual{a, b, sums} {
		ADDQ(Imm(block), pointer)
	}
	ADDQ(Imm(4), p)
	ADDQ(Imm(4), q)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

// addTo adds the accumulators to the block at sum and returns.
func addTo(s isa, acc []reg.VecPhysical, sum reg.GPVirtual) {
	for v, a := range acc {
		VADDPS(at(sum, v*s.width), a, a)
		VMOVUPS(a, at(sum, v*s.width))
	}
	VZEROUPPER()
	RET()
}

func sgd(s isa) {
	name := "sgd" + s.name
	text(name, "func(n int, w, v, dw *float32, rate, momentum, decay float32)", name+" is sgdTwin; n counts blocks of 16.")
	n, w, v, dw := param("n"), param("w"), param("v"), param("dw")
	rate, momentum, decay := s.regs[8], s.regs[9], s.regs[10]
	for i, p := range []string{"rate", "momentum", "decay"} {
		x := XMM()
		Load(Param(p), x)
		VBROADCASTSS(x, s.regs[8+i])
	}
	Label(name + "_block")
	for i := 0; i < s.vectors(); i++ {
		d := i * s.width
		wv, vv, gv := s.regs[0], s.regs[1], s.regs[2]
		VMOVUPS(at(w, d), wv)
		VMOVUPS(at(dw, d), gv)
		VFMADD231PS(decay, wv, gv)
		VMOVUPS(at(v, d), vv)
		VFMADD213PS(gv, momentum, vv) // v = momentum·v + g
		VMOVUPS(vv, at(v, d))
		VFNMADD231PS(rate, vv, wv)
		VMOVUPS(wv, at(w, d))
	}
	for _, p := range []reg.GPVirtual{w, v, dw} {
		ADDQ(Imm(block), p)
	}
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	VZEROUPPER()
	RET()
}

// transpose generates the 16×16 transpose from four 8×8 ones (AVX).
func transpose() {
	name := "transpose16AVX2"
	text(name, "func(dst *float32, dstStride int, src *float32, srcStride int)", name+" is transpose16Twin.")
	dst, ds, src, ss := param("dst"), param("dstStride"), param("src"), param("srcStride")
	SHLQ(Imm(2), ds)
	SHLQ(Imm(2), ss)
	y := avx2.regs
	sp, dp := GP64(), GP64()
	for bi := 0; bi < 2; bi++ {
		for bj := 0; bj < 2; bj++ {
			// rows 8bi…, columns 8bj… of src
			LEAQ(at(src, bj*32), sp)
			for r := 0; r < 8; r++ {
				VMOVUPS(Mem{Base: sp}, y[r])
				if r < 7 {
					ADDQ(ss, sp)
				}
			}
			for i := 0; i < 4; i++ { // pairs of rows interleaved
				VUNPCKLPS(y[2*i+1], y[2*i], y[8+2*i])
				VUNPCKHPS(y[2*i+1], y[2*i], y[8+2*i+1])
			}
			for i := 0; i < 2; i++ { // quadruples
				a, b, c, d := y[8+4*i], y[8+4*i+1], y[8+4*i+2], y[8+4*i+3]
				VSHUFPS(Imm(0x44), c, a, y[4*i])
				VSHUFPS(Imm(0xee), c, a, y[4*i+1])
				VSHUFPS(Imm(0x44), d, b, y[4*i+2])
				VSHUFPS(Imm(0xee), d, b, y[4*i+3])
			}
			for i := 0; i < 4; i++ { // halves
				VPERM2F128(Imm(0x20), y[4+i], y[i], y[8+i])
				VPERM2F128(Imm(0x31), y[4+i], y[i], y[12+i])
			}
			// row 8bj+r of dst, columns 8bi…
			MOVQ(dst, dp)
			if bi == 1 {
				ADDQ(Imm(32), dp)
			}
			for r := 0; r < 8; r++ {
				VMOVUPS(y[8+r], Mem{Base: dp})
				ADDQ(ds, dp)
			}
			if bj == 0 {
				t := GP64()
				MOVQ(ds, t)
				SHLQ(Imm(3), t)
				ADDQ(t, dst)
			} else {
				t := GP64()
				MOVQ(ds, t)
				SHLQ(Imm(3), t)
				SUBQ(t, dst)
			}
		}
		if bi == 0 {
			t := GP64()
			MOVQ(ss, t)
			SHLQ(Imm(3), t)
			ADDQ(t, src)
		}
	}
	VZEROUPPER()
	RET()
}
