package main

func elementwise(f *file) {
	maxPool(f)
	maxPoolGrad(f)
	reluGrad(f)
	sumPixels(f)
	addPixels(f)
	addSquares(f)
	addDifferences(f)
	sgd(f)
	transpose(f)
	prefetch(f)
}

// quarters calls do with the offset of each vector of a block.
func quarters(do func(v, offset int)) {
	for v := range blockVectors {
		do(v, v*width)
	}
}

func maxPool(out *file) {
	const name = "maxPoolNEON"
	f := out.text(name, "(n int, x0, x1, y *float32)", name+" is maxPoolTwin.")
	n, x0, x1, y := f.param("n"), f.param("x0"), f.param("x1"), f.param("y")
	f.loop("pixel", n, func() {
		quarters(func(v, d int) { f.maximum(vec(v), x0, x1, d, 4, 5) })
		f.storeBlock(y, 0, span(0, blockVectors)...)
		f.advance(2*block, x0, x1)
		f.advance(block, y)
	})
	f.end()
}

// maximum is the maximum of the 2×2 pixels at offset d: of m and a later value v, v unless
// m > v.
func (f *function) maximum(m vec, x0, x1 gp, d int, v, mask vec) {
	f.load(m, x0, d)
	for _, p := range pixels(x0, x1)[1:] {
		f.load(v, p.base, p.offset+d)
		f.do3("fcmgt", mask, m, v)
		f.do3("bif", m, v, mask)
	}
}

// pixel is the address of one of 2×2 pixels.
type pixel struct {
	base   gp
	offset int
}

func pixels(x0, x1 gp) []pixel { return []pixel{{x0, 0}, {x0, block}, {x1, 0}, {x1, block}} }

// maxPoolGrad gives dy to the first of the four pixels that equals the maximum.
func maxPoolGrad(out *file) {
	const name = "maxPoolGradNEON"
	f := out.text(name, "(n int, x0, x1, y, dy, dx0, dx1 *float32)", name+" is maxPoolGradTwin.")
	n, x0, x1, y, dy, dx0, dx1 := f.param("n"), f.param("x0"), f.param("x1"), f.param("y"), f.param("dy"), f.param("dx0"), f.param("dx1")
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			top, left, hit, t := vec(0), vec(1), vec(2), vec(3)
			f.load(top, y, d)
			f.load(left, dy, d) // what no position has taken yet
			to := pixels(dx0, dx1)
			for i, p := range pixels(x0, x1) {
				f.load(t, p.base, p.offset+d)
				f.do3("fcmeq", hit, t, top)
				f.and(hit, left, t)
				f.store(t, to[i].base, to[i].offset+d)
				f.do3("bic", left, left, hit)
			}
		})
		f.advance(2*block, x0, x1, dx0, dx1)
		f.advance(block, y, dy)
	})
	f.end()
}

func reluGrad(out *file) {
	const name = "reluGradNEON"
	f := out.text(name, "(n int, y, dy, sum *float32)", name+" is reluGradTwin.")
	n, y, dy, sum := f.param("n"), f.param("y"), f.param("dy"), f.param("sum")
	acc := span(0, blockVectors)
	f.zero(acc...)
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			t, mask := vec(4+2*v), vec(5+2*v)
			f.load(mask, y, d)
			f.load(t, dy, d)
			f.do2("fcmgt", mask, mask)
			f.and(mask, t, t)
			f.store(t, dy, d)
			f.do3("fadd", acc[v], acc[v], t)
		})
		f.advance(block, y, dy)
	})
	f.addTo(sum, acc)
	f.end()
}

// addTo adds the sums to the block at p.
func (f *function) addTo(p gp, acc []vec) {
	for v, a := range acc {
		t := vec(vectors - 1)
		f.load(t, p, v*width)
		f.do3("fadd", a, a, t)
	}
	f.storeBlock(p, 0, acc...)
}

// addRow adds n pixels to acc.
func (f *function) addRow(n, x gp, acc []vec) {
	t := span(blockVectors, blockVectors)
	f.loop("pixel", n, func() {
		f.loadBlock(x, 0, t...)
		for v, a := range acc {
			f.do3("fadd", a, a, t[v])
		}
		f.advance(block, x)
	})
}

func sumPixels(out *file) {
	const name = "sumPixelsNEON"
	f := out.text(name, "(n int, x, sum *float32)", name+" is sumPixelsTwin.")
	n, x, sum := f.param("n"), f.param("x"), f.param("sum")
	acc := span(0, blockVectors)
	f.zero(acc...)
	f.addRow(n, x, acc)
	f.addTo(sum, acc)
	f.end()
}

// addPixels is sumPixels, but adds each pixel to sum.
func addPixels(out *file) {
	const name = "addPixelsNEON"
	f := out.text(name, "(n int, x, sum *float32)", name+" is addPixelsTwin.")
	n, x, sum := f.param("n"), f.param("x"), f.param("sum")
	acc := span(0, blockVectors)
	f.loadBlock(sum, 0, acc...)
	f.addRow(n, x, acc)
	f.storeBlock(sum, 0, acc...)
	f.end()
}

func addSquares(out *file) {
	const name = "addSquaresNEON"
	f := out.text(name, "(n int, x, sums *float32)", name+" is addSquaresTwin.")
	n, x, sums := f.param("n"), f.param("x"), f.param("sums")
	f.loop("pixel", n, func() {
		quarters(func(v, d int) {
			t, sum := vec(2*v), vec(2*v+1)
			f.load(t, x, d)
			f.load(sum, sums, d)
			f.do3("fmul", t, t, t)
			f.do3("fadd", sum, sum, t)
			f.store(sum, sums, d)
		})
		f.advance(block, x, sums)
	})
	f.end()
}

func addDifferences(out *file) {
	const name = "addDifferencesNEON"
	f := out.text(name, "(n int, a, b, p, q, w, sums *float32)", name+" is addDifferencesTwin.")
	n, a, b, p, q, w, sums := f.param("n"), f.param("a"), f.param("b"), f.param("p"), f.param("q"), f.param("w"), f.param("sums")
	weights, pv, qv := span(0, blockVectors), vec(blockVectors), vec(blockVectors+1)
	f.loadBlock(w, 0, weights...)
	f.loop("pixel", n, func() {
		f.op("FMOVS (%v), F%d", p, pv)
		f.op("FMOVS (%v), F%d", q, qv)
		quarters(func(v, d int) {
			t, u, sum := vec(8+3*v), vec(9+3*v), vec(10+3*v)
			f.load(t, a, d)
			f.load(u, b, d)
			f.load(sum, sums, d)
			f.lane("fmul", t, t, element{pv, 0})
			f.lane("fmul", u, u, element{qv, 0})
			f.do3("fsub", t, t, u)
			f.do3("fmul", t, t, t)
			f.do3("fmul", t, t, weights[v])
			f.do3("fadd", sum, sum, t)
			f.store(sum, sums, d)
		})
		f.advance(block, a, b, sums)
		f.advance(4, p, q)
	})
	f.end()
}

func sgd(out *file) {
	const name = "sgdNEON"
	f := out.text(name, "(n int, w, v, dw *float32, rate, momentum, decay float32)", name+" is sgdTwin; n counts blocks of 16.")
	n, w, v, dw := f.param("n"), f.param("w"), f.param("v"), f.param("dw")
	rate, momentum, decay := vec(24), vec(25), vec(26)
	for i, p := range []string{"rate", "momentum", "decay"} {
		f.op("FMOVS %s, F%d", f.argument(p), int(rate)+i)
	}
	f.loop("block", n, func() {
		quarters(func(i, d int) {
			wv, vv, gv := vec(3*i), vec(3*i+1), vec(3*i+2)
			f.load(wv, w, d)
			f.load(gv, dw, d)
			f.load(vv, v, d)
			f.lane("fmla", gv, wv, element{decay, 0})
			f.lane("fmla", gv, vv, element{momentum, 0}) // the new v
			f.store(gv, v, d)
			f.lane("fmls", wv, gv, element{rate, 0})
			f.store(wv, w, d)
		})
		f.advance(block, w, v, dw)
	})
	f.end()
}

// transpose generates the 16×16 transpose from sixteen 4×4 ones.
func transpose(out *file) {
	const name = "transpose16NEON"
	f := out.text(name, "(dst *float32, dstStride int, src *float32, srcStride int)", name+" is transpose16Twin.")
	dst, ds, src, ss := f.param("dst"), f.stride("dstStride"), f.param("src"), f.stride("srcStride")
	down, along, sp, dp := f.general(), f.general(), f.general(), f.general()
	f.op("MOVD $%d, %v", 4, down)
	f.loop("down", down, func() { // four rows of src, four columns of dst
		f.op("MOVD %v, %v", dst, dp)
		f.op("MOVD $%d, %v", 4, along)
		f.loop("along", along, func() {
			f.op("MOVD %v, %v", src, sp)
			for r := range 4 {
				f.load(vec(r), sp, 0)
				if r < 3 {
					f.op("ADD %v, %v, %[2]v", ss, sp)
				}
			}
			for i := range 2 { // pairs of rows
				f.op("VTRN1 V%d.S4, V%d.S4, V%d.S4", 2*i+1, 2*i, 4+2*i)
				f.op("VTRN2 V%d.S4, V%d.S4, V%d.S4", 2*i+1, 2*i, 5+2*i)
			}
			for i := range 2 {
				f.op("VTRN1 V%d.D2, V%d.D2, V%d.D2", 6+i, 4+i, 16+i)
				f.op("VTRN2 V%d.D2, V%d.D2, V%d.D2", 6+i, 4+i, 18+i)
			}
			for r := range 4 {
				f.store(vec(16+r), dp, 0)
				f.op("ADD %v, %v, %[2]v", ds, dp)
			}
			f.advance(width, src)
		})
		f.op("ADD %v<<2, %v, %[2]v", ss, src)
		f.advance(-block, src)
		f.advance(width, dst)
	})
	f.end()
}

// prefetch prefetches cache lines into the second-level cache.
func prefetch(out *file) {
	const name = "prefetchNEON"
	f := out.text(name, "(n int, p *float32)", name+" asks for n blocks of 64 bytes.")
	n, p := f.param("n"), f.param("p")
	f.loop("line", n, func() {
		f.op("PRFM (%v), PLDL2KEEP", p)
		f.advance(block, p)
	})
	f.end()
}
