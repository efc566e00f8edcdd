package main

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/internal/kernel/_asm/wino"
)

// training generates pooling that records which of the 2×2 pixels gave the maximum, and its
// inverse.
func training(f *file) {
	bits := make([]uint32, blockChannels)
	for l := range bits {
		bits[l] = 1 << l
	}
	f.table("laneBits", bits)
	poolHits(f)
	unpool(f)
}

// poolHits is maxPool with the masks of every output.
func poolHits(out *file) {
	const name = "maxPoolHitsNEON"
	f := out.text(name, "(n int, x0, x1, y *float32, hits *uint16, lo float32)", name+" is maxPoolHitsTwin.")
	n, x0, x1, y, h := f.param("n"), f.param("x0"), f.param("x1"), f.param("y"), f.param("hits")
	table := f.general()
	bits, masks := span(0, blockVectors), span(4, 4)
	top, live, v, hit, lo := vec(8), vec(9), vec(10), vec(11), vec(12)
	f.broadcast("lo", lo)
	f.op("MOVD $laneBits<>(SB), %v", table)
	f.loadBlock(table, 0, bits...)
	f.loop("pixel", n, func() {
		f.zero(masks...)
		quarters(func(q, d int) {
			f.maximum(top, x0, x1, d, v, hit)
			f.store(top, y, d)
			f.do3("fcmgt", live, top, lo)
			for i, p := range pixels(x0, x1) {
				f.load(v, p.base, p.offset+d)
				f.do3("fcmeq", hit, v, top)
				f.do3("and", hit, hit, live)
				f.do3("bic", live, live, hit)
				f.do3("and", hit, hit, bits[q])
				f.do3("orr", masks[i], masks[i], hit)
			}
		})
		for i, m := range masks {
			f.do2("addv", m, m) // no bit twice: the sum is the union
			f.storeHalf(m, h, 2*i)
		}
		f.advance(2*block, x0, x1)
		f.advance(block, y)
		f.advance(8, h)
	})
	f.end()
}

// unpool gives dy to the pixels in whose masks it belongs.
func unpool(out *file) {
	const name = "unpoolNEON"
	f := out.text(name, "(n int, hits *uint16, dy, dx0, dx1 *float32)", name+" is unpoolTwin.")
	n, h, dy, dx0, dx1 := f.param("n"), f.param("hits"), f.param("dy"), f.param("dx0"), f.param("dx1")
	table, bit := f.general(), f.general()
	bits, d, mask, t := span(0, blockVectors), span(4, blockVectors), vec(8), span(9, blockVectors)
	f.op("MOVD $laneBits<>(SB), %v", table)
	f.loadBlock(table, 0, bits...)
	f.loop("pixel", n, func() {
		f.loadBlock(dy, 0, d...)
		for i, p := range pixels(dx0, dx1) {
			f.op("MOVHU %d(%v), %v", 2*i, h, bit)
			f.op("VDUP %v, V%d.S4", bit, mask)
			for v := range d {
				f.do3("cmtst", t[v], mask, bits[v])
				f.do3("and", t[v], t[v], d[v])
			}
			f.storeBlock(p.base, p.offset, t...)
		}
		f.advance(2*block, dx0, dx1)
		f.advance(block, dy)
		f.advance(8, h)
	})
	f.end()
}

// outputHits is the output transform with pooling and masks. Each quarter of the block
// adds its four bits to masks that begin as zero.
func outputHits(out *file, t wino.Tile) {
	name := "winoOutputHits" + t.Suffix() + "NEON"
	f := out.text(name, "(tiles int, m *float32, mStride int, y *float32, yRow int, hits *uint16, hitsRow int, bias *float32, lo float32)", name+" is winoOutputHitsTwin for "+t.Outputs()+"; hitsRow counts bytes.")
	tiles, m, stride, y, yRow := f.param("tiles"), f.param("m"), f.stride("mStride"), f.param("y"), f.stride("yRow")
	h, hitsRow, bias := f.param("hits"), f.param("hitsRow"), f.param("bias")
	g := newGrid(f, m, stride, t.Side(), t.Points(t.Rows), t.Points(t.Cols))
	ys, hs := f.steps(y, yRow, t.Rows/2), f.steps(h, hitsRow, t.Rows/2)
	table, quarter := f.general(), yRow
	old, mask := hitsRow, f.general()
	c := newCode(f)
	lo, bits := c.pin(), c.pin()
	f.broadcast("lo", lo)
	f.op("MOVD $laneBits<>(SB), %v", table)
	at := len(f.lines)
	columns, b := outputRows(c, t, g), c.load(bias, 0)
	var before []value // the column to the left
	for j := range t.Cols {
		o := outputColumn(c, t, columns[j])
		for r := range o {
			o[r] = c.Add(o[r], b)
		}
		if j%2 == 0 {
			before = o
			continue
		}
		for r := 0; r < t.Rows; r += 2 {
			left, below := before[r], before[r+1]
			values := []value{left, o[r], below, o[r+1]}
			top := c.larger(below, c.larger(left, c.larger(o[r], o[r+1])))
			live := c.record([]value{top}, false, func(d vec, s []vec) { f.do3("fcmgt", d, s[0], lo) })
			for i, v := range values {
				hit := c.three("and", c.three("fcmeq", v, top), live)
				live = c.three("bic", live, hit)
				sum := c.record([]value{hit}, false, func(d vec, s []vec) {
					f.do3("and", d, s[0], bits)
					f.do2("addv", d, d)
				})
				c.use(func(s []vec) {
					at := fmt.Sprintf("%d(%v)", 8*(j/2)+2*i, hs[r/2])
					f.op("VMOV V%d.S[0], %v", s[0], mask)
					f.op("MOVHU %s, %v", at, old)
					f.op("ORR %v, %v, %[2]v", old, mask)
					f.op("MOVH %v, %s", mask, at)
				}, sum)
			}
			c.store(c.atLeast(top, lo), ys[r/2], j/2*block)
		}
	}
	c.do(func() { f.op("VSHL $4, V%d.S4, V%[1]d.S4", bits) })
	pointers := slices.Concat(g.cols, ys, []gp{bias})
	f.tiled(c, tiles, at, quarter, pointers, func() {
		f.load(bits, table, 0)
		for _, p := range hs {
			for j := range t.Cols / 2 { // the masks of a pixel
				f.op("MOVD ZR, %d(%v)", 8*j, p)
			}
		}
	}, func() {
		f.advance((t.Cols/2-1)*block, ys...)
		f.advance(t.Cols/2*8, hs...)
		f.advance(-block, bias)
	})
}

// outputMask: y = AᵀMA where x is positive, else 0. It takes dx through the rectification
// before the layer, whose output is x. A pointer goes down the rows of x, as there are too few
// registers for all of them.
func outputMask(out *file, t wino.Tile) {
	name := "winoOutputMask" + t.Suffix() + "NEON"
	f := out.text(name, "(tiles int, m *float32, mStride int, y *float32, yRow int, x *float32, xRow int)", name+" is winoOutputMaskTwin for "+t.Outputs()+".")
	tiles, m, stride, y, yRow := f.param("tiles"), f.param("m"), f.stride("mStride"), f.param("y"), f.stride("yRow")
	x, xRow := f.param("x"), f.stride("xRow")
	g := newGrid(f, m, stride, t.Side(), t.Points(t.Rows), t.Points(t.Cols))
	ys, p := f.steps(y, yRow, t.Rows), f.general()
	c, quarter, at := newCode(f), yRow, len(f.lines)
	columns := outputRows(c, t, g)
	for j := range t.Cols {
		o := outputColumn(c, t, columns[j])
		c.do(func() { f.op("MOVD %v, %v", x, p) })
		for r, v := range o {
			c.store(c.three("and", v, c.positive(c.loadMoving(p, j*block))), ys[r], j*block)
			c.do(func() { f.op("ADD %v, %v, %[2]v", xRow, p) })
		}
	}
	f.tiled(c, tiles, at, quarter, slices.Concat(g.cols, ys, []gp{x}), nil, func() {
		f.advance((t.Cols-1)*block, ys...)
		f.advance((t.Cols-1)*block, x)
	})
}
