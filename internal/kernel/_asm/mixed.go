package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// mixed generates products of float32 with float64, n blocks of 16.
func mixed(s isa) {
	mixedDot(s)
	mixedAdd(s)
}

func mixedDot(s isa) {
	name := "mixedDot" + s.name
	text(name, "func(n int, x *float32, w, sum *float64)", name+" is mixedDotTwin.")
	n, x, w, sum := param("n"), param("x"), param("w"), param("sum")
	vd := 2 * s.vectors()
	sums, t := s.regs[:vd], s.regs[vd:2*vd]
	for v := range sums {
		s.zero(sums[v])
	}
	Label(name + "_block")
	for v := range sums {
		VCVTPS2PD(at(x, v*s.width/2), t[v])
		VFMADD231PD(at(w, v*s.width), t[v], sums[v])
	}
	ADDQ(Imm(block), x)
	ADDQ(U32(2*block), w)
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	s.addDoubles(sum, sums)
	VZEROUPPER()
	RET()
}

func mixedAdd(s isa) {
	name := "mixedAdd" + s.name
	text(name, "func(n int, a float64, x *float32, w *float64)", name+" is mixedAddTwin.")
	n, x, w := param("n"), param("x"), param("w")
	vd := 2 * s.vectors()
	t, u, a := s.regs[:vd], s.regs[vd:2*vd], s.regs[2*vd]
	low := XMM()
	Load(Param("a"), low)
	VBROADCASTSD(low, a)
	Label(name + "_block")
	for v := range t {
		VCVTPS2PD(at(x, v*s.width/2), t[v])
		VMOVUPD(at(w, v*s.width), u[v])
		VFMADD231PD(a, t[v], u[v])
		VMOVUPD(u[v], at(w, v*s.width))
	}
	ADDQ(Imm(block), x)
	ADDQ(U32(2*block), w)
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	VZEROUPPER()
	RET()
}
