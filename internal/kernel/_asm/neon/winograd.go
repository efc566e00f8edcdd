package main

import (
	"slices"

	"github.com/verydeep/vgg/internal/kernel/_asm/wino"
)

// Every transform works on one channel block, a quarter of it, four channels, at a time, so
// that it is elementwise and needs no shuffles. Columns first, then rows.

func winograd(f *file) {
	for _, form := range wino.Forms {
		for _, t := range form.Tiles() {
			inputTransform(f, t)
			outputTransform(f, t, false)
			outputTransform(f, t, true)
		}
		weightTransform(f, form)
	}
	for _, form := range wino.Trained {
		for _, t := range form.Tiles() {
			outputHits(f, t)
			outputMask(f, t)
			gradTransform(f, t)
		}
		weightGradTransform(f, form)
	}
}

// steps returns n pointers, each a stride after the last.
func (f *function) steps(base, stride gp, n int) []gp {
	p := []gp{base}
	for i := 1; i < n; i++ {
		r := f.general()
		f.op("ADD %v, %v, %v", stride, p[i-1], r)
		p = append(p, r)
	}
	return p
}

// grid addresses the points of a tile on the form's grid of products: cols are the pointers
// to the points of the first row, off the distance of the row at hand.
type grid struct {
	f              *function
	cols           []gp
	at             []int // the rows on the grid
	off, row, skip gp    // row: from a row to the next; skip: to the last, where others are left out
	skips          bool
}

// newGrid takes base and a stride between points, both of which it overwrites.
func newGrid(f *function, base, stride gp, side int, down, along []int) *grid {
	g := &grid{f: f, at: down, cols: []gp{base}}
	for i := 1; i < len(along); i++ {
		r := f.general()
		f.op("ADD %v, %v, %v", stride, g.cols[i-1], r)
		for range along[i] - along[i-1] - 1 {
			f.op("ADD %v, %v, %[2]v", stride, r)
		}
		g.cols = append(g.cols, r)
	}
	g.off = f.general()
	f.op("MOVD $%d, %v", side, g.off)
	f.op("MUL %v, %v, %[2]v", g.off, stride)
	g.row = stride
	if gap := down[len(down)-1] - down[len(down)-2]; gap > 1 {
		g.skip, g.skips = f.general(), true
		f.op("MOVD $%d, %v", gap, g.off)
		f.op("MUL %v, %v, %v", g.off, g.row, g.skip)
	}
	return g
}

func (g *grid) begin() { g.f.op("MOVD $0, %v", g.off) }

// next goes from the tile's row i to the next.
func (g *grid) next(i int) {
	switch {
	case i+1 == len(g.at):
	case g.skips && i+2 == len(g.at):
		g.f.op("ADD %v, %v, %[2]v", g.skip, g.off)
	default:
		g.f.op("ADD %v, %v, %[2]v", g.row, g.off)
	}
}

// tiled repeats the code, for each quarter of the block, of as many tiles as the register
// counts. A tile's pointers end a block further; between goes on from there to the next tile.
func (f *function) tiled(c *code, tiles gp, constantsAt int, quarter gp, pointers []gp, before, between func()) {
	f.loop("tile", tiles, func() {
		if before != nil {
			before()
		}
		f.op("MOVD $%d, %v", blockVectors, quarter)
		f.loop("quarter", quarter, func() {
			c.emit()
			f.advance(width, pointers...)
		})
		between()
	})
	c.loadConstants(constantsAt)
	c.loadStack(constantsAt)
	f.end()
}

// inputTransform: V = Bᵀ d B of tiles along a row, each Cols pixels after the last.
func inputTransform(out *file, t wino.Tile) {
	height, width1 := t.Rows+t.R-1, t.Cols+t.R-1
	down, along := t.Points(t.Rows), t.Points(t.Cols)
	name := "winoInput" + t.Suffix() + "NEON"
	f := out.text(name, "(tiles int, x *float32, xRow int, v *float32, vStride int)", name+" is winoInputTwin for "+t.Outputs()+".")
	tiles, x, xRow, v, vStride := f.param("tiles"), f.param("x"), f.stride("xRow"), f.param("v"), f.stride("vStride")
	rows := f.steps(x, xRow, height)
	g := newGrid(f, v, vStride, t.Side(), down, along)
	c, quarter, at := newCode(f), xRow, len(f.lines)
	points := newTable(len(down), width1)
	for j := range width1 {
		d := make([]value, height)
		for i := range d {
			d[i] = c.load(rows[i], j*block)
		}
		wino.Input(c, t.Form, d, func(i int, o value) { points[slices.Index(down, i)][j] = o })
	}
	c.do(g.begin)
	for i := range down {
		wino.Input(c, t.Form, points[i], func(j int, o value) { c.storeAt(o, g.cols[slices.Index(along, j)], g.off) })
		c.do(func() { g.next(i) })
	}
	f.tiled(c, tiles, at, quarter, slices.Concat(rows, g.cols), nil, func() { f.advance((t.Cols-1)*block, rows...) })
}

// newTable returns rows of values.
func newTable(rows, cols int) [][]value {
	t := make([][]value, rows)
	for i := range t {
		t[i] = make([]value, cols)
	}
	return t
}

// outputRows is the first half of the output transform, of the rows of a tile's products. It
// returns the columns.
func outputRows(c *code, t wino.Tile, g *grid) [][]value {
	columns := newTable(t.Cols, len(g.at))
	c.do(g.begin)
	for i := range g.at {
		d := make([]value, len(g.cols))
		for j := range d {
			d[j] = c.loadAt(g.cols[j], g.off)
		}
		wino.Output(c, t.Cols, d, func(j int, o value) { columns[j][i] = o })
		c.do(func() { g.next(i) })
	}
	return columns
}

// outputColumn is the second half, of one column.
func outputColumn(c *code, t wino.Tile, d []value) []value {
	o := make([]value, t.Rows)
	wino.Output(c, t.Rows, d, func(i int, v value) { o[i] = v })
	return o
}

// outputTransform: y = AᵀMA + bias, at least lo, of tiles along a row; with pool, the
// maxima of 2×2 of those.
func outputTransform(out *file, t wino.Tile, pool bool) {
	name, twin, outRows, outCols := "winoOutput", "winoOutputTwin", t.Rows, t.Cols
	if pool {
		name, twin, outRows, outCols = "winoOutputPool", "winoOutputTwin with pooling", t.Rows/2, t.Cols/2
	}
	name += t.Suffix() + "NEON"
	f := out.text(name, "(tiles int, m *float32, mStride int, y *float32, yRow int, bias *float32, lo float32)", name+" is "+twin+" for "+t.Outputs()+".")
	tiles, m, stride, y, yRow, bias := f.param("tiles"), f.param("m"), f.stride("mStride"), f.param("y"), f.stride("yRow"), f.param("bias")
	g := newGrid(f, m, stride, t.Side(), t.Points(t.Rows), t.Points(t.Cols))
	ys := f.steps(y, yRow, outRows)
	c, quarter := newCode(f), yRow
	lo := c.pin()
	f.broadcast("lo", lo)
	at := len(f.lines)
	columns, b := outputRows(c, t, g), c.load(bias, 0)
	finish := func(v value) value { return c.atLeast(c.Add(v, b), lo) }
	left := make([]value, t.Rows) // maxima of the column before
	for j := range t.Cols {
		o := outputColumn(c, t, columns[j])
		if !pool {
			for r, v := range o {
				c.store(finish(v), ys[r], j*block)
			}
			continue
		}
		for r := 0; r < t.Rows; r += 2 {
			top := c.larger(o[r], o[r+1])
			if j%2 == 0 {
				left[r] = top
				continue
			}
			c.store(finish(c.larger(top, left[r])), ys[r/2], j/2*block)
		}
	}
	pointers := slices.Concat(g.cols, ys, []gp{bias})
	f.tiled(c, tiles, at, quarter, pointers, nil, func() {
		f.advance((outCols-1)*block, ys...)
		f.advance(-block, bias)
	})
}

// weightTransform: U = G g Gᵀ, for n adjacent blocks of 16 lanes.
func weightTransform(out *file, form wino.Form) {
	n, r := form.Side(), form.R
	name := "winoWeights" + form.Suffix() + "NEON"
	whole := wino.Tile{Form: form, Rows: form.M, Cols: form.M}
	f := out.text(name, "(n int, w *float32, wStride int, u *float32, uStride int)", name+" is winoWeightsTwin for "+whole.Outputs()+".")
	count, w, wStride, u, uStride := f.param("n"), f.param("w"), f.stride("wStride"), f.param("u"), f.stride("uStride")
	g := newGrid(f, u, uStride, n, whole.Points(whole.Rows), whole.Points(whole.Cols))
	p, below, quarter := f.general(), f.general(), f.general()
	f.op("MOVD $%d, %v", r, below)
	f.op("MUL %v, %v, %[2]v", wStride, below)
	c, at := newCode(f), len(f.lines)
	rows := newTable(n, r)
	for col := range r { // columns: taps below one another
		c.do(func() {
			f.op("MOVD %v, %v", w, p)
			for range col {
				f.op("ADD %v, %v, %[2]v", wStride, p)
			}
		})
		d := make([]value, r)
		for i := range d {
			d[i] = c.loadMoving(p, 0)
			if i+1 < r {
				c.do(func() { f.op("ADD %v, %v, %[2]v", below, p) })
			}
		}
		for i, o := range wino.Weights(c, form.M, d) {
			rows[i][col] = o
		}
	}
	c.do(g.begin)
	for i := range n {
		for j, o := range wino.Weights(c, form.M, rows[i]) {
			c.storeAt(o, g.cols[j], g.off)
		}
		c.do(func() { g.next(i) })
	}
	f.tiled(c, count, at, quarter, append([]gp{w}, g.cols...), nil, func() {})
}

// gradTransform: A dy Aᵀ of tiles along a row.
func gradTransform(out *file, t wino.Tile) {
	down, along := t.Points(t.Rows), t.Points(t.Cols)
	name := "winoGrad" + t.Suffix() + "NEON"
	f := out.text(name, "(tiles int, dy *float32, dyRow int, v *float32, vStride int)", name+" is winoGradTwin for "+t.Outputs()+".")
	tiles, dy, dyRow, v, vStride := f.param("tiles"), f.param("dy"), f.stride("dyRow"), f.param("v"), f.stride("vStride")
	rows := f.steps(dy, dyRow, t.Rows)
	g := newGrid(f, v, vStride, t.Side(), down, along)
	c, quarter, at := newCode(f), dyRow, len(f.lines)
	points := newTable(len(down), t.Cols)
	for j := range t.Cols {
		d := make([]value, t.Rows)
		for i := range d {
			d[i] = c.load(rows[i], j*block)
		}
		wino.OutputAdjoint(c, t.Form, d, func(i int, o value) { points[slices.Index(down, i)][j] = o })
	}
	c.do(g.begin)
	for i := range down {
		wino.OutputAdjoint(c, t.Form, points[i], func(j int, o value) { c.storeAt(o, g.cols[slices.Index(along, j)], g.off) })
		c.do(func() { g.next(i) })
	}
	f.tiled(c, tiles, at, quarter, slices.Concat(rows, g.cols), nil, func() { f.advance((t.Cols-1)*block, rows...) })
}

// weightGradTransform: dw += Gᵀ dU G, for n blocks of 16 lanes.
func weightGradTransform(out *file, form wino.Form) {
	n := form.Side()
	name := "winoWeightsGrad" + form.Suffix() + "NEON"
	whole := wino.Tile{Form: form, Rows: form.M, Cols: form.M}
	f := out.text(name, "(n int, du *float32, duStride int, dw *float32, dwStride int)", name+" is winoWeightsGradTwin for "+whole.Outputs()+".")
	count, du, duStride, dw, dwStride := f.param("n"), f.param("du"), f.stride("duStride"), f.param("dw"), f.stride("dwStride")
	g := newGrid(f, du, duStride, n, whole.Points(whole.Rows), whole.Points(whole.Cols))
	p, quarter := f.general(), f.general()
	c, at := newCode(f), len(f.lines)
	columns := newTable(3, n)
	c.do(g.begin)
	for i := range n {
		d := make([]value, n)
		for j := range d {
			d[j] = c.loadAt(g.cols[j], g.off)
		}
		for col, o := range wino.WeightsAdjoint(c, d) {
			columns[col][i] = o
		}
		c.do(func() { g.next(i) })
	}
	for col := range 3 {
		c.do(func() {
			f.op("MOVD %v, %v", dw, p)
			for range col {
				f.op("ADD %v, %v, %[2]v", dwStride, p)
			}
		})
		for r, o := range wino.WeightsAdjoint(c, columns[col]) {
			c.store(c.Add(o, c.loadMoving(p, 0)), p, 0)
			if r < 2 {
				c.do(func() {
					for range 3 {
						f.op("ADD %v, %v, %[2]v", dwStride, p)
					}
				})
			}
		}
	}
	f.tiled(c, count, at, quarter, append(slices.Clone(g.cols), dw), nil, func() {})
}
