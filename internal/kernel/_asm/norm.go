package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func norms(s isa) {
	scaleShift(s)
	normSums(s)
	normDots(s)
	normGrad(s)
	squares(s)
	lrn(s)
	lrnGrad(s)
	lrnSpread(s)
}

// loadBlock loads a block of 16 floats into registers.
func (s isa) loadBlock(p reg.GPVirtual, regs []reg.VecPhysical) {
	for v := 0; v < s.vectors(); v++ {
		VMOVUPS(at(p, v*s.width), regs[v])
	}
}

// loadDoubles loads a block of 16 floats into registers of doubles.
func (s isa) loadDoubles(p reg.GPVirtual, regs []reg.VecPhysical) {
	for v := 0; v < 2*s.vectors(); v++ {
		VCVTPS2PD(at(p, v*s.width/2), regs[v])
	}
}

// addDoubles adds the accumulators to the 16 doubles at p.
func (s isa) addDoubles(p reg.GPVirtual, acc []reg.VecPhysical) {
	for v := 0; v < 2*s.vectors(); v++ {
		VADDPD(at(p, v*s.width), acc[v], acc[v])
		VMOVUPD(acc[v], at(p, v*s.width))
	}
}

// broadcastParam loads a float parameter into every lane of r.
func broadcastParam(name string, r reg.VecPhysical) {
	x := XMM()
	Load(Param(name), x)
	VBROADCASTSS(x, r)
}

func scaleShift(s isa) {
	name := "scaleShift" + s.name
	text(name, "func(n int, x, y, scale, shift *float32, lo float32)", name+" is scaleShiftTwin.")
	n, x, y, scale, shift := param("n"), param("x"), param("y"), param("scale"), param("shift")
	vs := s.vectors()
	a, b, lo := s.regs[:vs], s.regs[vs:2*vs], s.regs[2*vs]
	broadcastParam("lo", lo)
	s.loadBlock(scale, a)
	s.loadBlock(shift, b)
	Label(name + "_pixel")
	for v := 0; v < vs; v++ {
		t := s.regs[2*vs+1+v]
		VMOVUPS(at(x, v*s.width), t)
		VFMADD213PS(b[v], a[v], t)
		VMAXPS(t, lo, t) // a NaN stays one
		VMOVUPS(t, at(y, v*s.width))
	}
	ADDQ(Imm(block), x)
	ADDQ(Imm(block), y)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

func normSums(s isa) {
	name := "normSums" + s.name
	text(name, "func(n int, x, ref *float32, sum, sq *float64)", name+" is normSumsTwin.")
	n, x, ref, sum, sq := param("n"), param("x"), param("ref"), param("sum"), param("sq")
	vd := 2 * s.vectors()
	refs, sums, sqs, t := s.regs[:vd], s.regs[vd:2*vd], s.regs[2*vd:3*vd], s.regs[3*vd:]
	s.loadDoubles(ref, refs)
	for v := 0; v < vd; v++ {
		s.zero(sums[v])
		s.zero(sqs[v])
	}
	Label(name + "_pixel")
	for v := 0; v < vd; v++ {
		d := t[v%len(t)]
		VCVTPS2PD(at(x, v*s.width/2), d)
		VSUBPD(refs[v], d, d)
		VADDPD(d, sums[v], sums[v])
		VFMADD231PD(d, d, sqs[v])
	}
	ADDQ(Imm(block), x)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	s.addDoubles(sum, sums)
	s.addDoubles(sq, sqs)
	VZEROUPPER()
	RET()
}

func normDots(s isa) {
	name := "normDots" + s.name
	text(name, "func(n int, x, ref, dy *float32, sum, dot *float64)", name+" is normDotsTwin.")
	n, x, ref, dy, sum, dot := param("n"), param("x"), param("ref"), param("dy"), param("sum"), param("dot")
	vd := 2 * s.vectors()
	refs, sums, dots, t := s.regs[:vd], s.regs[vd:2*vd], s.regs[2*vd:3*vd], s.regs[3*vd:]
	s.loadDoubles(ref, refs)
	for v := 0; v < vd; v++ {
		s.zero(sums[v])
		s.zero(dots[v])
	}
	Label(name + "_pixel")
	for v := 0; v < vd; v++ {
		d, g := t[2*v%len(t)], t[(2*v+1)%len(t)]
		VCVTPS2PD(at(x, v*s.width/2), d)
		VCVTPS2PD(at(dy, v*s.width/2), g)
		VSUBPD(refs[v], d, d)
		VADDPD(g, sums[v], sums[v])
		VFMADD231PD(d, g, dots[v])
	}
	ADDQ(Imm(block), x)
	ADDQ(Imm(block), dy)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	s.addDoubles(sum, sums)
	s.addDoubles(dot, dots)
	VZEROUPPER()
	RET()
}

func normGrad(s isa) {
	name := "normGrad" + s.name
	text(name, "func(n int, x, dy, dx, ref, a, b, c *float32)", name+" is normGradTwin.")
	n, x, dy, dx := param("n"), param("x"), param("dy"), param("dx")
	vs := s.vectors()
	r := s.regs
	ref, a, b, c, t := r[:vs], r[vs:2*vs], r[2*vs:3*vs], r[3*vs:4*vs], r[4*vs:]
	for i, p := range []string{"ref", "a", "b", "c"} {
		s.loadBlock(param(p), r[i*vs:])
	}
	Label(name + "_pixel")
	for v := 0; v < vs; v++ {
		VMOVUPS(at(x, v*s.width), t[v])
		VSUBPS(ref[v], t[v], t[v])
		VFMADD213PS(c[v], b[v], t[v])
		VFMADD231PS(at(dy, v*s.width), a[v], t[v])
		VMOVUPS(t[v], at(dx, v*s.width))
	}
	ADDQ(Imm(block), x)
	ADDQ(Imm(block), dy)
	ADDQ(Imm(block), dx)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

func squares(s isa) {
	name := "squares" + s.name
	text(name, "func(n int, x, sq *float32, stride int)", name+" is squaresTwin.")
	n, x, sq, stride := param("n"), param("x"), param("sq"), param("stride")
	SHLQ(Imm(2), stride)
	Label(name + "_pixel")
	for v := 0; v < s.vectors(); v++ {
		t := s.regs[v]
		VMOVUPS(at(x, v*s.width), t)
		VMULPS(t, t, t)
		VMOVUPS(t, at(sq, v*s.width))
	}
	ADDQ(Imm(block), x)
	ADDQ(stride, sq)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

// window sums size unaligned blocks, each a float further, from p into sums.
func (s isa) window(name string, p, size reg.GPVirtual, sums []reg.VecPhysical) {
	q, j := GP64(), GP64()
	MOVQ(p, q)
	MOVQ(size, j)
	for v := 0; v < s.vectors(); v++ {
		s.zero(sums[v])
	}
	Label(name + "_window")
	for v := 0; v < s.vectors(); v++ {
		VADDPS(at(q, v*s.width), sums[v], sums[v])
	}
	ADDQ(Imm(4), q)
	DECQ(j)
	JNZ(LabelRef(name + "_window"))
}

func lrn(s isa) {
	name := "lrn" + s.name
	text(name, "func(n, size int, x, sq *float32, stride int, y *float32, k, alpha float32)", name+" is lrnTwin for β = 3/4.")
	n, size, x, sq, stride, y := param("n"), param("size"), param("x"), param("sq"), param("stride"), param("y")
	vs := s.vectors()
	k, alpha := s.regs[0], s.regs[1]
	sum, t := s.regs[2:2+vs], s.regs[2+vs:]
	broadcastParam("k", k)
	broadcastParam("alpha", alpha)
	SHLQ(Imm(2), stride)
	Label(name + "_pixel")
	s.window(name, sq, size, sum)
	for v := 0; v < vs; v++ {
		VFMADD213PS(k, alpha, sum[v])
		VSQRTPS(sum[v], sum[v])
		VSQRTPS(sum[v], t[v])
		VMULPS(t[v], sum[v], sum[v]) // s^¾
		VMOVUPS(at(x, v*s.width), t[v])
		VDIVPS(sum[v], t[v], t[v])
		VMOVUPS(t[v], at(y, v*s.width))
	}
	ADDQ(Imm(block), x)
	ADDQ(Imm(block), y)
	ADDQ(stride, sq)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

func lrnGrad(s isa) {
	name := "lrnGrad" + s.name
	text(name, "func(n, size int, x, dy, sq, rest *float32, stride int, dx *float32, k, alpha float32)", name+" is lrnGradTwin for β = 3/4.")
	n, size, x, dy := param("n"), param("size"), param("x"), param("dy")
	sq, rest, stride, dx := param("sq"), param("rest"), param("stride"), param("dx")
	vs := s.vectors()
	k, alpha := s.regs[0], s.regs[1]
	sum, t, u := s.regs[2:2+vs], s.regs[2+vs:2+2*vs], s.regs[2+2*vs:]
	broadcastParam("k", k)
	broadcastParam("alpha", alpha)
	SHLQ(Imm(2), stride)
	Label(name + "_pixel")
	s.window(name, sq, size, sum)
	for v := 0; v < vs; v++ {
		VFMADD213PS(k, alpha, sum[v])
		VSQRTPS(sum[v], t[v])
		VSQRTPS(t[v], u[v])
		VMULPS(u[v], t[v], t[v]) // s^¾
		VMOVUPS(at(dy, v*s.width), u[v])
		VDIVPS(t[v], u[v], u[v]) // dy·s^−¾
		VMOVUPS(u[v], at(dx, v*s.width))
		VMULPS(at(x, v*s.width), u[v], u[v])
		VDIVPS(sum[v], u[v], u[v])
		VMOVUPS(u[v], at(rest, v*s.width))
	}
	for _, p := range []reg.GPVirtual{x, dy, dx} {
		ADDQ(Imm(block), p)
	}
	ADDQ(stride, sq)
	ADDQ(stride, rest)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}

func lrnSpread(s isa) {
	name := "lrnSpread" + s.name
	text(name, "func(n, size int, x, rest *float32, stride int, dx *float32, c float32)", name+" is lrnSpreadTwin.")
	n, size, x, rest, stride, dx := param("n"), param("size"), param("x"), param("rest"), param("stride"), param("dx")
	vs := s.vectors()
	c := s.regs[0]
	sum, t := s.regs[1:1+vs], s.regs[1+vs:]
	broadcastParam("c", c)
	SHLQ(Imm(2), stride)
	Label(name + "_pixel")
	s.window(name, rest, size, sum)
	for v := 0; v < vs; v++ {
		VMULPS(at(x, v*s.width), sum[v], sum[v])
		VMOVUPS(at(dx, v*s.width), t[v])
		VFNMADD231PS(c, sum[v], t[v])
		VMOVUPS(t[v], at(dx, v*s.width))
	}
	ADDQ(Imm(block), x)
	ADDQ(Imm(block), dx)
	ADDQ(stride, rest)
	DECQ(n)
	JNZ(LabelRef(name + "_pixel"))
	VZEROUPPER()
	RET()
}
