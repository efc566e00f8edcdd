package main

func norms(f *file) {
	scaleShift(f)
	normSums(f)
	normDots(f)
	normGrad(f)
	squares(f)
	lrn(f)
	lrnGrad(f)
	lrnSpread(f)
	widen(f, "F16", "fcvtl.4s", "fcvtl2.4s")
	widen(f, "BF16", "shll", "shll2")
	mixedDot(f)
	mixedAdd(f)
}

func scaleShift(out *file) {
	const name = "scaleShiftNEON"
	f := out.text(name, "(n int, x, y, scale, shift *float32, lo float32)", name+" is scaleShiftTwin.")
	n, x, y, scale, shift := f.param("n"), f.param("x"), f.param("y"), f.param("scale"), f.param("shift")
	a, b, lo := span(0, 4), span(4, 4), vec(8)
	f.broadcast("lo", lo)
	f.loadBlock(scale, 0, a...)
	f.loadBlock(shift, 0, b...)
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			xv, t, mask := vec(9+3*v), vec(10+3*v), vec(11+3*v)
			f.load(xv, x, d)
			f.move(b[v], t)
			f.do3("fmla", t, xv, a[v])
			f.larger(lo, t, mask)
			f.store(t, y, d)
		})
		f.advance(block, x, y)
	})
	f.end()
}

// doubles widens the block at p to eight vectors of float64; t is a register to use.
func (f *function) doubles(p gp, regs []vec, t vec) {
	quarters(func(v, d int) {
		f.load(t, p, d)
		f.do2("fcvtl.2d", regs[2*v], t)
		f.do2("fcvtl2.2d", regs[2*v+1], t)
	})
}

// addDoubles adds the sums to the 16 float64 at p.
func (f *function) addDoubles(p gp, acc []vec, t vec) {
	for v, a := range acc {
		f.load(t, p, v*width)
		f.do3("fadd.2d", a, a, t)
	}
	f.storeBlock(p, 0, acc...)
}

func normSums(out *file) {
	const name = "normSumsNEON"
	f := out.text(name, "(n int, x, ref *float32, sum, sq *float64)", name+" is normSumsTwin.")
	n, x, ref, sum, sq := f.param("n"), f.param("x"), f.param("ref"), f.param("sum"), f.param("sq")
	refs, sums, sqs, t := span(0, 8), span(8, 8), span(16, 8), span(24, 8)
	f.doubles(ref, refs, t[0])
	f.zero(sums...)
	f.zero(sqs...)
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			low, lo, hi := t[v%2*3], t[v%2*3+1], t[v%2*3+2]
			f.load(low, x, d)
			f.do2("fcvtl.2d", lo, low)
			f.do2("fcvtl2.2d", hi, low)
			for i, w := range []vec{lo, hi} {
				f.do3("fsub.2d", w, w, refs[2*v+i])
				f.do3("fadd.2d", sums[2*v+i], sums[2*v+i], w)
				f.do3("fmla.2d", sqs[2*v+i], w, w)
			}
		})
		f.advance(block, x)
	})
	f.addDoubles(sum, sums, t[0])
	f.addDoubles(sq, sqs, t[0])
	f.end()
}

func normDots(out *file) {
	const name = "normDotsNEON"
	f := out.text(name, "(n int, x, ref, dy *float32, sum, dot *float64)", name+" is normDotsTwin.")
	n, x, ref, dy, sum, dot := f.param("n"), f.param("x"), f.param("ref"), f.param("dy"), f.param("sum"), f.param("dot")
	refs, sums, dots, t := span(0, 8), span(8, 8), span(16, 8), span(24, 8)
	f.doubles(ref, refs, t[0])
	f.zero(sums...)
	f.zero(dots...)
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			f.load(t[0], x, d)
			f.load(t[1], dy, d)
			for i, half := range []string{"fcvtl.2d", "fcvtl2.2d"} {
				xv, g := t[2+2*i], t[3+2*i]
				f.do2(half, xv, t[0])
				f.do2(half, g, t[1])
				f.do3("fsub.2d", xv, xv, refs[2*v+i])
				f.do3("fadd.2d", sums[2*v+i], sums[2*v+i], g)
				f.do3("fmla.2d", dots[2*v+i], g, xv)
			}
		})
		f.advance(block, x, dy)
	})
	f.addDoubles(sum, sums, t[0])
	f.addDoubles(dot, dots, t[0])
	f.end()
}

func normGrad(out *file) {
	const name = "normGradNEON"
	f := out.text(name, "(n int, x, dy, dx, ref, a, b, c *float32)", name+" is normGradTwin.")
	n, x, dy, dx := f.param("n"), f.param("x"), f.param("dy"), f.param("dx")
	ref, a, b, c := span(0, 4), span(4, 4), span(8, 4), span(12, 4)
	for i, p := range []string{"ref", "a", "b", "c"} {
		f.loadBlock(f.param(p), 0, span(4*i, 4)...)
	}
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			xv, g, t := vec(16+3*v), vec(17+3*v), vec(18+3*v)
			f.load(xv, x, d)
			f.load(g, dy, d)
			f.do3("fsub", xv, xv, ref[v])
			f.move(c[v], t)
			f.do3("fmla", t, xv, b[v])
			f.do3("fmla", t, g, a[v])
			f.store(t, dx, d)
		})
		f.advance(block, x, dy, dx)
	})
	f.end()
}

func squares(out *file) {
	const name = "squaresNEON"
	f := out.text(name, "(n int, x, sq *float32, stride int)", name+" is squaresTwin.")
	n, x, sq, stride := f.param("n"), f.param("x"), f.param("sq"), f.stride("stride")
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			f.load(vec(v), x, d)
			f.do3("fmul", vec(v), vec(v), vec(v))
			f.store(vec(v), sq, d)
		})
		f.advance(block, x)
		f.op("ADD %v, %v, %[2]v", stride, sq)
	})
	f.end()
}

// window sums size unaligned blocks, each a float further, from p on.
func (f *function) window(p, size, q, j gp, sums []vec) {
	f.op("MOVD %v, %v", p, q)
	f.op("MOVD %v, %v", size, j)
	f.zero(sums...)
	f.loop("window", j, func() {
		for v, s := range sums {
			f.load(vec(28+v), q, v*width)
			f.do3("fadd", s, s, vec(28+v))
		}
		f.advance(4, q)
	})
}

func lrn(out *file) {
	const name = "lrnNEON"
	f := out.text(name, "(n, size int, x, sq *float32, stride int, y *float32, k, alpha float32)", name+" is lrnTwin for β = 3/4.")
	n, size, x, sq, stride, y := f.param("n"), f.param("size"), f.param("x"), f.param("sq"), f.stride("stride"), f.param("y")
	q, j := f.general(), f.general()
	k, alpha, sum := vec(0), vec(1), span(2, 4)
	f.broadcast("k", k)
	f.broadcast("alpha", alpha)
	f.loop("pixel", n, func() {
		f.window(sq, size, q, j, sum)
		quarters(func(v, d int) {
			s, r, xv := vec(6+3*v), vec(7+3*v), vec(8+3*v)
			f.load(xv, x, d)
			f.move(k, s)
			f.do3("fmla", s, sum[v], alpha)
			f.do2("fsqrt", s, s)
			f.do2("fsqrt", r, s)
			f.do3("fmul", s, s, r) // s^¾
			f.do3("fdiv", xv, xv, s)
			f.store(xv, y, d)
		})
		f.advance(block, x, y)
		f.op("ADD %v, %v, %[2]v", stride, sq)
	})
	f.end()
}

func lrnGrad(out *file) {
	const name = "lrnGradNEON"
	f := out.text(name, "(n, size int, x, dy, sq, rest *float32, stride int, dx *float32, k, alpha float32)", name+" is lrnGradTwin for β = 3/4.")
	n, size, x, dy := f.param("n"), f.param("size"), f.param("x"), f.param("dy")
	sq, rest, stride, dx := f.param("sq"), f.param("rest"), f.stride("stride"), f.param("dx")
	q, j := f.general(), f.general()
	k, alpha, sum := vec(0), vec(1), span(2, 4)
	f.broadcast("k", k)
	f.broadcast("alpha", alpha)
	f.loop("pixel", n, func() {
		f.window(sq, size, q, j, sum)
		quarters(func(v, d int) {
			s, r, t, u, xv := vec(6+5*v), vec(7+5*v), vec(8+5*v), vec(9+5*v), vec(10+5*v)
			f.load(u, dy, d)
			f.load(xv, x, d)
			f.move(k, s)
			f.do3("fmla", s, sum[v], alpha)
			f.do2("fsqrt", r, s)
			f.do2("fsqrt", t, r)
			f.do3("fmul", r, r, t) // s^¾
			f.do3("fdiv", u, u, r) // dy·s^−¾
			f.store(u, dx, d)
			f.do3("fmul", u, u, xv)
			f.do3("fdiv", u, u, s)
			f.store(u, rest, d)
		})
		f.advance(block, x, dy, dx)
		f.op("ADD %v, %v, %[2]v", stride, sq)
		f.op("ADD %v, %v, %[2]v", stride, rest)
	})
	f.end()
}

func lrnSpread(out *file) {
	const name = "lrnSpreadNEON"
	f := out.text(name, "(n, size int, x, rest *float32, stride int, dx *float32, c float32)", name+" is lrnSpreadTwin.")
	n, size, x, rest, stride, dx := f.param("n"), f.param("size"), f.param("x"), f.param("rest"), f.stride("stride"), f.param("dx")
	q, j := f.general(), f.general()
	c, sum := vec(0), span(2, 4)
	f.op("FMOVS %s, F%d", f.argument("c"), c)
	f.loop("pixel", n, func() {
		f.window(rest, size, q, j, sum)
		quarters(func(v, d int) {
			xv, t := vec(6+2*v), vec(7+2*v)
			f.load(xv, x, d)
			f.load(t, dx, d)
			f.do3("fmul", xv, xv, sum[v])
			f.lane("fmls", t, xv, element{c, 0})
			f.store(t, dx, d)
		})
		f.advance(block, x, dx)
		f.op("ADD %v, %v, %[2]v", stride, rest)
	})
	f.end()
}

// widen generates the conversion of weights stored in 16 bits: n blocks of 16.
func widen(out *file, format, lower, upper string) {
	name := "widen" + format + "NEON"
	f := out.text(name, "(n int, src *uint16, dst *float32)", name+" is widenTwin for "+format+".")
	n, src, dst := f.param("n"), f.param("src"), f.param("dst")
	f.loop("block", n, func() {
		f.loadPair(0, 1, src, 0)
		for i := range 2 {
			f.do2(lower, vec(2+2*i), vec(i))
			f.do2(upper, vec(3+2*i), vec(i))
		}
		f.storeBlock(dst, 0, span(2, 4)...)
		f.advance(block/2, src)
		f.advance(block, dst)
	})
	f.end()
}

func mixedDot(out *file) {
	const name = "mixedDotNEON"
	f := out.text(name, "(n int, x *float32, w, sum *float64)", name+" is mixedDotTwin.")
	n, x, w, sum := f.param("n"), f.param("x"), f.param("w"), f.param("sum")
	sums, t, ws := span(0, 8), span(8, 8), span(16, 8)
	f.zero(sums...)
	f.loop("block", n, func() {
		f.doubles(x, t, 24)
		f.loadBlock(w, 0, ws...)
		for v := range sums {
			f.do3("fmla.2d", sums[v], t[v], ws[v])
		}
		f.advance(block, x)
		f.advance(2*block, w)
	})
	f.addDoubles(sum, sums, 24)
	f.end()
}

func mixedAdd(out *file) {
	const name = "mixedAddNEON"
	f := out.text(name, "(n int, a float64, x *float32, w *float64)", name+" is mixedAddTwin.")
	n, x, w := f.param("n"), f.param("x"), f.param("w")
	t, ws, a := span(0, 8), span(8, 8), vec(16)
	f.op("FMOVD %s, F%d", f.argument("a"), a)
	f.op("VDUP V%d.D[0], V%[1]d.D2", a)
	f.loop("block", n, func() {
		f.doubles(x, t, 24)
		f.loadBlock(w, 0, ws...)
		for v := range ws {
			f.do3("fmla.2d", ws[v], t[v], a)
		}
		f.storeBlock(w, 0, ws...)
		f.advance(block, x)
		f.advance(2*block, w)
	})
	f.end()
}
