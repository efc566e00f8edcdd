package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// widen generates the conversions of weights stored in 16 bits: n blocks of 16.
func widen(s isa) {
	for _, format := range []string{"F16", "BF16"} {
		name := "widen" + format + s.name
		text(name, "func(n int, src *uint16, dst *float32)", name+" is widenTwin for "+format+".")
		n, src, dst := param("n"), param("src"), param("dst")
		Label(name + "_block")
		for v := 0; v < s.vectors(); v++ {
			from, r := at(src, v*s.width/2), s.regs[v]
			if format == "F16" {
				VCVTPH2PS(from, r)
			} else {
				VPMOVZXWD(from, r)
				VPSLLD(Imm(16), r, r)
			}
			VMOVUPS(r, at(dst, v*s.width))
		}
		PREFETCHT1(at(src, prefetchAhead))
		ADDQ(Imm(block/2), src)
		ADDQ(Imm(block), dst)
		DECQ(n)
		JNZ(LabelRef(name + "_block"))
		VZEROUPPER()
		RET()
	}
}
