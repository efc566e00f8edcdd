package main

import "fmt"

// Flags of a gemm or wgrad tile are bits; twin.go says what they do.
const (
	accumulateBit = 0
	biasBit       = 1
	reluBit       = 2
	storeBits     = 3 // accumulate or overwrite, of a wgrad tile
)

// gemms generates the register tiles of the indirect matrix product. Of 32 registers, 6
// rows × 4 vectors are sums, 6 hold four channels of each row, and 2 a part of b; or 3 rows ×
// 8 vectors, 3 and 4.
func gemms(f *file) {
	for _, channels := range []int{blockChannels, rgbChannels} {
		for nb, most := range []int{6, 3} {
			for rows := 1; rows <= most; rows++ {
				gemm(f, rows, nb+1, channels)
			}
		}
	}
}

func gemm(out *file, mr, nb, channels int) {
	name := fmt.Sprintf("gemm%dx%dNEON", mr, nb*16)
	if channels == rgbChannels {
		name = "rgb" + name
	}
	f := out.text(name, "(steps int, offs *int, a, b, c *float32, cStride int, bias *float32, flags int)",
		fmt.Sprintf("%s is gemmTwin with %d rows, %d columns and %d channels a step.", name, mr, nb*16, channels))
	steps, offs, a, b, c := f.param("steps"), f.param("offs"), f.param("a"), f.param("b"), f.param("c")
	cStride, bias, flags := f.stride("cStride"), f.param("bias"), f.param("flags")
	nv := nb * blockVectors
	acc := func(r, v int) vec { return vec(r*nv + v) }
	spare := span(mr*nv, vectors-mr*nv)
	rows, bs := spare[:mr], spare[mr:mr+min(4, (len(spare)-mr)/2*2)]

	// each row of each column block, by its address and its sums
	eachBlock := func(do func(base gp, offset int, regs ...vec)) {
		p := f.general()
		f.op("MOVD %v, %v", c, p)
		for j := range nb {
			for r := range mr {
				do(p, r*block, span(int(acc(r, j*blockVectors)), blockVectors)...)
			}
			if j+1 < nb {
				f.op("ADD %v, %v, %[2]v", cStride, p)
			}
		}
		f.used--
	}
	f.op("TBNZ $%d, %v, load", accumulateBit, flags)
	f.zero(span(0, mr*nv)...)
	f.op("B step")
	f.label("load")
	eachBlock(f.loadBlock)

	ap, n := f.general(), f.general()
	products := func(k int, of func(r int) element) {
		for v := 0; v < nv; v += 2 {
			pair := bs[v%len(bs):][:2]
			f.loadPair(pair[0], pair[1], b, k*2*block+v*width)
			for i, bv := range pair {
				for r := range mr {
					f.lane("fmla", acc(r, v+i), bv, of(r))
				}
			}
		}
	}
	f.loop("step", steps, func() {
		f.op("MOVD.P 8(%v), %v", offs, ap)
		f.op("ADD %v<<2, %v, %[1]v", ap, a)
		if channels == rgbChannels {
			// A row's three channels may be the last of memory.
			for k := range channels {
				for r, reg := range rows {
					f.op("FMOVS %d(%v), F%d", r*block+4*k, ap, reg)
				}
				products(k, func(r int) element { return element{rows[r], 0} })
			}
			f.advance(channels*2*block, b)
			return
		}
		f.op("MOVD $%d, %v", blockVectors, n)
		f.loop("channels", n, func() {
			for r, reg := range rows {
				f.load(reg, ap, r*block)
			}
			for k := range lanes {
				products(k, func(r int) element { return element{rows[r], k} })
			}
			f.advance(width, ap)
			f.advance(lanes*2*block, b)
		})
	})

	f.op("TBZ $%d, %v, relu", biasBit, flags)
	for v := range nv {
		f.load(spare[0], bias, v*width)
		for r := range mr {
			f.do3("fadd", acc(r, v), acc(r, v), spare[0])
		}
	}
	f.label("relu")
	f.op("TBZ $%d, %v, store", reluBit, flags)
	for i := range mr * nv {
		f.rectify(vec(i), spare[i%2])
	}
	f.label("store")
	eachBlock(f.storeBlock)
	f.end()
}

// wgrad generates the tile of the weight gradient: 4 in-channels by 16 out-channels, reduced
// over pixels. Its 16 sums cover the latency of the multiplication at four a cycle.
func wgrad(out *file) {
	const rows = 4
	name := fmt.Sprintf("wgrad%dx16NEON", rows)
	f := out.text(name, "(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32, flags int)",
		fmt.Sprintf("%s is wgradTwin with %d in-channels and 16 out-channels.", name, rows))
	h, w, x, xRow := f.param("h"), f.param("w"), f.param("x"), f.stride("xRow")
	dy, dyRow, dw, flags := f.param("dy"), f.stride("dyRow"), f.param("dw"), f.param("flags")
	acc := func(r int) []vec { return span(r*blockVectors, blockVectors) }
	dyv, xv := span(16, blockVectors), vec(20)
	xp, dp, n := f.general(), f.general(), f.general()
	f.op("TBNZ $%d, %v, load", accumulateBit, flags)
	f.zero(span(0, 16)...)
	f.op("B row")
	f.label("load")
	for r := range rows {
		f.loadBlock(dw, r*2*block, acc(r)...)
	}
	f.loop("row", h, func() {
		f.op("MOVD %v, %v", x, xp)
		f.op("MOVD %v, %v", dy, dp)
		f.op("MOVD %v, %v", w, n)
		f.loop("pixel", n, func() {
			f.loadBlock(dp, 0, dyv...)
			f.load(xv, xp, 0)
			for r := range rows {
				for v, d := range dyv {
					f.lane("fmla", acc(r)[v], d, element{xv, r})
				}
			}
			f.advance(block, xp, dp)
		})
		f.op("ADD %v, %v, %[2]v", xRow, x)
		f.op("ADD %v, %v, %[2]v", dyRow, dy)
	})
	f.op("TST $%d, %v", storeBits, flags)
	f.op("BNE store")
	for r := range rows {
		f.loadBlock(dw, r*2*block, dyv...)
		for v, d := range dyv {
			f.do3("fadd", acc(r)[v], acc(r)[v], d)
		}
	}
	f.label("store")
	for r := range rows {
		f.storeBlock(dw, r*2*block, acc(r)...)
	}
	f.end()
}

// rgbWgrad generates the tile of the first layer's weight gradient: a row of 3 taps × 3
// channels by a block of out-channels, in two halves.
func rgbWgrad(out *file) {
	const taps, channels = 3, 3
	const name = "rgbwgrad9x16NEON"
	f := out.text(name, "(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32)", name+" is rgbWgradTwin with 16 out-channels.")
	rows, w, x, xRow := f.param("h"), f.param("w"), f.param("x"), f.stride("xRow")
	dy, dyRow, dw := f.param("dy"), f.stride("dyRow"), f.param("dw")
	acc := func(r int) []vec { return span(2*r, 2) }
	dyv, xs := span(18, 2), span(20, 9)
	half, h, xr, dr, xp, dp, n := f.general(), f.general(), f.general(), f.general(), f.general(), f.general(), f.general()
	f.op("MOVD $2, %v", half)
	f.loop("half", half, func() {
		f.zero(span(0, 18)...)
		f.op("MOVD %v, %v", rows, h)
		f.op("MOVD %v, %v", x, xr)
		f.op("MOVD %v, %v", dy, dr)
		f.loop("row", h, func() {
			f.op("MOVD %v, %v", xr, xp)
			f.op("MOVD %v, %v", dr, dp)
			f.op("MOVD %v, %v", w, n)
			f.loop("pixel", n, func() {
				f.loadBlock(dp, 0, dyv...)
				for r, t := range xs {
					f.op("FMOVS %d(%v), F%d", r/channels*block+r%channels*4, xp, t)
				}
				for r, t := range xs {
					for v, d := range dyv {
						f.lane("fmla", acc(r)[v], d, element{t, 0})
					}
				}
				f.advance(block, xp, dp)
			})
			f.op("ADD %v, %v, %[2]v", xRow, xr)
			f.op("ADD %v, %v, %[2]v", dyRow, dr)
		})
		for r := range taps * channels {
			f.loadBlock(dw, r*2*block, dyv...)
			for v, d := range dyv {
				f.do3("fadd", acc(r)[v], acc(r)[v], d)
			}
			f.storeBlock(dw, r*2*block, acc(r)...)
		}
		f.advance(2*width, dy, dw)
	})
	f.end()
}
