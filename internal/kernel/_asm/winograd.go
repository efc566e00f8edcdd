package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/verydeep/vgg/internal/kernel/_asm/wino"
)

// Transforms of the Winograd convolutions F(4×4,3×3), F(6×6,3×3), F(4×4,5×5) and
// F(2×2,7×7); docs/kernels.md derives them. Every function works on one channel block: a
// vector holds 16 channels (AVX-512) or 8 (AVX2, in two passes over the halves), so the
// transforms are elementwise and need no shuffles.

// expr builds the vector arithmetic of one transform.
type expr struct {
	s      isa
	consts Mem
	offset map[float64]int
	pinned map[float64]vec
}

// pin returns e with constants in registers; the caller names as many as there is room for.
// An operand in memory takes a load, and loads limit the transforms.
func (e expr) pin(values ...float64) expr {
	e.pinned = map[float64]vec{}
	for _, k := range values {
		e.pinned[k] = e.load(e.memory(k))
	}
	return e
}

// memory is the address of the constant k.
func (e expr) memory(k float64) Mem {
	o, ok := e.offset[k]
	if !ok {
		panic(fmt.Sprint("no constant ", k))
	}
	return e.consts.Offset(o)
}

// constant is k as an operand.
func (e expr) constant(k float64) Op {
	if v, ok := e.pinned[k]; ok {
		return v
	}
	return e.memory(k)
}

// constants declares each value 16 times over, so that it can be a full-width operand.
func constants(values ...float64) (Mem, map[float64]int) {
	m := GLOBL("winoConst", attr.RODATA|attr.NOPTR)
	at := map[float64]int{}
	for i, v := range values {
		at[v] = i * block
		for l := 0; l < 16; l++ {
			DATA(i*block+4*l, U32(math.Float32bits(float32(v))))
		}
	}
	return m, at
}

type vec = reg.VecVirtual

func (e expr) vec() vec {
	if e.s.wide() {
		return ZMM()
	}
	return YMM()
}

func (e expr) load(m Op) vec    { v := e.vec(); VMOVUPS(m, v); return v }
func (e expr) Add(a, b vec) vec { v := e.vec(); VADDPS(b, a, v); return v }
func (e expr) Sub(a, b vec) vec { v := e.vec(); VSUBPS(b, a, v); return v }

// Mad returns a + k·b.
func (e expr) Mad(a vec, k float64, b vec) vec {
	v := e.vec()
	VMOVAPS(a, v)
	return e.MadInto(v, k, b)
}

// MadInto adds k·b to a, which is overwritten.
func (e expr) MadInto(a vec, k float64, b vec) vec {
	if k < 0 {
		VFNMADD231PS(e.constant(-k), b, a)
	} else {
		VFMADD231PS(e.constant(k), b, a)
	}
	return a
}

// Scale returns k·a.
func (e expr) Scale(k float64, a vec) vec {
	v := e.vec()
	VMULPS(e.constant(k), a, v)
	return v
}

// rows addresses row·stride for up to eight rows: base + i·s.
type rows struct{ base, s, s3, s5, s7 reg.Register }

func stepsOf(base, s reg.Register) rows {
	s3, s5, s7 := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: s, Index: s, Scale: 2}, s3)
	LEAQ(Mem{Base: s, Index: s, Scale: 4}, s5)
	LEAQ(Mem{Base: s3, Index: s, Scale: 4}, s7)
	return rows{base, s, s3, s5, s7}
}

func (r rows) at(i, disp int) Mem {
	switch i {
	case 0:
		return Mem{Base: r.base, Disp: disp}
	case 1, 2, 4:
		return Mem{Base: r.base, Index: r.s, Scale: uint8(i), Disp: disp}
	case 3:
		return Mem{Base: r.base, Index: r.s3, Scale: 1, Disp: disp}
	case 5:
		return Mem{Base: r.base, Index: r.s5, Scale: 1, Disp: disp}
	case 6:
		return Mem{Base: r.base, Index: r.s3, Scale: 2, Disp: disp}
	default:
		return Mem{Base: r.base, Index: r.s7, Scale: 1, Disp: disp}
	}
}

// gridRows is the distance from one row of a tile's points to the next on the form's grid.
type gridRows struct {
	row  reg.GPVirtual // a row of the grid
	last reg.GPVirtual // to the last point, ∞, where points before it are left out; or nil
	at   []int
}

// rowByRow is tileRows without a register for the last step.
func rowByRow(n int, stride reg.GPVirtual, at []int) gridRows {
	g := gridRows{row: GP64(), at: at}
	IMUL3Q(U32(uint32(n)), stride, g.row)
	return g
}

func tileRows(n int, stride reg.GPVirtual, at []int) gridRows {
	g := gridRows{row: GP64(), at: at}
	IMUL3Q(U32(uint32(n)), stride, g.row)
	if skip := n - len(at) + 1; skip > 1 {
		g.last = GP64()
		IMUL3Q(U32(uint32(skip)), g.row, g.last)
	}
	return g
}

// advance brings p from the tile's row i to the next.
func (g gridRows) advance(p reg.GPVirtual, i int) {
	switch {
	case i+1 == len(g.at):
	case g.at[i+1]-g.at[i] > 1 && g.last != nil:
		ADDQ(g.last, p)
	default:
		for range g.at[i+1] - g.at[i] {
			ADDQ(g.row, p)
		}
	}
}

// scratch is an aligned local array of n blocks.
func scratch(n int) reg.GPVirtual {
	p := GP64()
	LEAQ(AllocLocal(n*block+block), p)
	ADDQ(Imm(block-1), p)
	ANDQ(I32(-block), p)
	return p
}

func winoText(name, signature, doc string) {
	TEXT(name, 0, signature)
	Pragma("noescape")
	Doc(doc)
}

func strideParam(name string) reg.GPVirtual {
	p := param(name)
	SHLQ(Imm(2), p)
	return p
}

func winograd(s isa, consts Mem, offset map[float64]int) {
	e := expr{s, consts, offset, nil}
	for _, f := range wino.Forms {
		for _, t := range f.Tiles() {
			e.inputTransform(t)
			e.outputTransform(t, storeOutputs)
			e.outputTransform(t, poolOutputs)
		}
		e.weightTransform(f, false)
		if e.s.wide() && slices.Contains(wino.Trained, f) {
			e.weightTransform(f, true)
		}
	}
	for _, f := range wino.Trained {
		for _, t := range f.Tiles() {
			e.outputHits(t)
			e.outputMask(t)
			e.gradTransform(t)
		}
		e.weightGradTransform(f)
	}
}

// eachHalf emits body once for a 16-lane vector, or as a loop over the two halves of
// the channel block; the pointers advance between them and return.
func (e expr) eachHalf(label string, body func(), pointers ...reg.Register) {
	if e.s.wide() {
		body()
		return
	}
	n := GP64()
	MOVQ(U32(2), n)
	Label(label)
	body()
	for _, p := range pointers {
		ADDQ(Imm(32), p)
	}
	DECQ(n)
	JNZ(LabelRef(label))
	for _, p := range pointers {
		SUBQ(U32(64), p)
	}
}

// tilesAhead is how many tiles before their use x and pooled outputs are prefetched. A row
// of tiles is eight streams from memory or the third-level cache, more than the hardware
// follows in time, and pooled outputs are few lines written between long sums.
const tilesAhead = 2

// inputTransform: V = Bᵀ d B of tiles along a row, each m pixels after the last.
func (e expr) inputTransform(t wino.Tile) {
	n, height, width := t.Side(), t.Rows+t.R-1, t.Cols+t.R-1
	down := t.Points(t.Rows)
	name := "winoInput" + t.Suffix() + e.s.name
	winoText(name, "func(tiles int, x *float32, xRow int, v *float32, vStride int)", name+" is winoInputTwin for "+t.Outputs()+".")
	tiles, x, xRow, v, vStride := param("tiles"), param("x"), strideParam("xRow"), param("v"), strideParam("vStride")
	tmp := scratch(height * width)
	xr, vr := stepsOf(x, xRow), stepsOf(nil, vStride)
	next := tileRows(n, vStride, down)
	p := GP64()
	pins := []float64{5, 4, 2}
	switch {
	case t.Narrow() && e.s.wide():
		pins = []float64{2, 4, 3}
	case t.Narrow():
		pins = nil
	case n == 8 && e.s.wide():
		pins = []float64{5.25, 4.25, 0.25, 1.25, 4, 5, 2, 0.5}
	case n == 8:
		pins = []float64{4.25, 1.25, 5, 0.25}
	}
	e = e.pin(pins...)
	Label(name + "_tile")
	e.eachHalf(name+"_half", func() {
		for j := 0; j < width; j++ {
			d := make([]vec, height)
			for i := range d {
				d[i] = e.load(xr.at(i, j*block))
			}
			for i := 0; i < height && j >= t.R-1 && !t.Narrow(); i++ {
				PREFETCHT1(xr.at(i, (j+tilesAhead*t.M)*block))
			}
			wino.Input(e, t.Form, d, func(i int, o vec) { VMOVAPS(o, at(tmp, (slices.Index(down, i)*width+j)*block)) })
		}
		MOVQ(v, p)
		vr.base = p
		for i := range down {
			d := make([]vec, width)
			for j := range d {
				d[j] = e.load(at(tmp, (i*width+j)*block))
			}
			wino.Input(e, t.Form, d, func(j int, o vec) { VMOVUPS(o, vr.at(j, 0)) })
			next.advance(p, i)
		}
	}, x, v)
	ADDQ(U32(uint32(t.Cols*block)), x)
	ADDQ(Imm(block), v)
	DECQ(tiles)
	JNZ(LabelRef(name + "_tile"))
	VZEROUPPER()
	RET()
}

// paramAddr is the address of a parameter.
func paramAddr(name string) Mem {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// outputRows is the first half of the output transform: the rows of a tile's products,
// from src on, go to tmp.
func (e expr) outputRows(t wino.Tile, sr rows, src reg.GPVirtual, next gridRows, p reg.GPVirtual, tmp reg.Register) {
	MOVQ(src, p)
	sr.base = p
	for i := range t.Points(t.Rows) {
		var d []vec
		for _, j := range t.Points(t.Cols) {
			d = append(d, e.load(sr.at(j, 0)))
		}
		wino.Output(e, t.Cols, d, func(j int, o vec) { VMOVAPS(o, at(tmp, (i*t.Cols+j)*block)) })
		next.advance(p, i)
	}
}

// outputColumn is column j of the second half.
func (e expr) outputColumn(t wino.Tile, tmp reg.Register, j int) []vec {
	d := make([]vec, len(t.Points(t.Rows)))
	for i := range d {
		d[i] = e.load(at(tmp, (i*t.Cols+j)*block))
	}
	o := make([]vec, t.Rows)
	wino.Output(e, t.Rows, d, func(i int, v vec) { o[i] = v })
	return o
}

// outputEnd is how an output transform ends.
type outputEnd int

const (
	storeOutputs outputEnd = iota // it stores the outputs
	poolOutputs                   // it stores the maxima of 2×2 outputs
)

// outputTransform: y = AᵀMA + bias, at least lo, of tiles along a row; with pool, the
// maxima of 2×2 of those.
func (e expr) outputTransform(t wino.Tile, end outputEnd) {
	n, out, pool := t.Side(), t.Cols, end == poolOutputs
	name, twin := "winoOutput", "winoOutputTwin"
	if pool {
		name, twin, out = "winoOutputPool", "winoOutputTwin with pooling", t.Cols/2
	}
	name += t.Suffix() + e.s.name
	winoText(name, "func(tiles int, m *float32, mStride int, y *float32, yRow int, bias *float32, lo float32)", name+" is "+twin+" for "+t.Outputs()+".")
	tiles, src, stride, y, yRow, bias := param("tiles"), param("m"), strideParam("mStride"), param("y"), strideParam("yRow"), param("bias")
	tmp := scratch(len(t.Points(t.Rows)) * t.Cols)
	sr := stepsOf(nil, stride)
	next := tileRows(n, stride, t.Points(t.Rows))
	p, q := GP64(), GP64()
	pins := []float64{2, 4, 8}
	switch {
	case t.Narrow() && !e.s.wide():
		pins = nil
	case n == 8 && e.s.wide():
		pins = []float64{2, 4, 8, 16, 32}
	case n == 8:
		pins = []float64{2, 16, 32}
	}
	e = e.pin(pins...)
	Label(name + "_tile")
	if pool && !t.Narrow() {
		MOVQ(y, q)
		for r := 0; r < t.Rows/2; r++ {
			for j := 0; j < out; j++ {
				PREFETCHT0(at(q, (j+tilesAhead*out)*block))
			}
			ADDQ(yRow, q)
		}
	}
	e.eachHalf(name+"_half", func() {
		e.outputRows(t, sr, src, next, p, tmp)
		lo := e.vec()
		loAddr := paramAddr("lo")
		finish := func(v vec) {
			VADDPS(Mem{Base: bias}, v, v)
			VMAXPS(v, lo, v)
		}
		for j := 0; j < t.Cols; j++ {
			o := e.outputColumn(t, tmp, j)
			if j == 0 {
				VBROADCASTSS(loAddr, lo)
			}
			MOVQ(y, q)
			if !pool {
				for r, v := range o {
					finish(v)
					VMOVUPS(v, at(q, j*block))
					if r+1 < t.Rows {
						ADDQ(yRow, q)
					}
				}
				continue
			}
			var c []vec
			for r := 0; r < t.Rows; r += 2 {
				VMAXPS(o[r+1], o[r], o[r])
				c = append(c, o[r])
			}
			if j%2 == 0 {
				// kept in scratch: the next column's transform needs the registers
				for r, v := range c {
					VMOVAPS(v, at(tmp, r*t.Cols*block+j*block))
				}
				continue
			}
			for r, v := range c {
				VMAXPS(at(tmp, r*t.Cols*block+(j-1)*block), v, v)
				finish(v)
				VMOVUPS(v, at(q, (j/2)*block))
				if r+1 < len(c) {
					ADDQ(yRow, q)
				}
			}
		}
	}, src, y, bias)
	ADDQ(U32(uint32(out*block)), y)
	ADDQ(Imm(block), src)
	DECQ(tiles)
	JNZ(LabelRef(name + "_tile"))
	VZEROUPPER()
	RET()
}

// weightTransform: U = G g Gᵀ, for n adjacent blocks of 16 lanes. With past, U goes past the
// caches to memory; its addresses are those of whole cache lines.
func (e expr) weightTransform(f wino.Form, past bool) {
	m, n, r := f.M, f.Side(), f.R
	name, doc := "winoWeights", wino.Tile{Form: f, Rows: f.M, Cols: f.M}.Outputs()+"."
	store := func(o vec, to Mem) { VMOVUPS(o, to) }
	if past {
		name, doc = "winoWeightsPast", wino.Tile{Form: f, Rows: f.M, Cols: f.M}.Outputs()+", past the caches."
		store = func(o vec, to Mem) { VMOVNTPS(o, to) }
	}
	name += f.Suffix() + e.s.name
	winoText(name, "func(n int, w *float32, wStride int, u *float32, uStride int)", name+" is winoWeightsTwin for "+doc)
	count, g, gStride, u, uStride := param("n"), param("w"), strideParam("wStride"), param("u"), strideParam("uStride")
	tmp := scratch(n * r)
	gr, ur := stepsOf(nil, gStride), stepsOf(nil, uStride)
	below, next, p := GP64(), GP64(), GP64()
	IMUL3Q(U32(uint32(r)), gStride, below)
	IMUL3Q(U32(uint32(n)), uStride, next)
	Label(name + "_block")
	e.eachHalf(name+"_half", func() {
		for c := 0; c < r; c++ { // columns: taps below one another
			MOVQ(g, p)
			d := make([]vec, r)
			gr.base = p
			for y := range d {
				d[y] = e.load(gr.at(c, 0))
				if y+1 < r {
					ADDQ(below, p)
				}
			}
			for i, o := range wino.Weights(e, m, d) {
				VMOVAPS(o, at(tmp, (i*r+c)*block))
			}
		}
		MOVQ(u, p)
		ur.base = p
		for i := 0; i < n; i++ {
			d := make([]vec, r)
			for c := range d {
				d[c] = e.load(at(tmp, (i*r+c)*block))
			}
			for j, o := range wino.Weights(e, m, d) {
				store(o, ur.at(j, 0))
			}
			if i+1 < n {
				ADDQ(next, p)
			}
		}
	}, g, u)
	ADDQ(Imm(block), g)
	ADDQ(Imm(block), u)
	DECQ(count)
	JNZ(LabelRef(name + "_block"))
	if past {
		SFENCE() // before another thread reads U
	}
	VZEROUPPER()
	RET()
}

// gradTransform: A dy Aᵀ of tiles along a row.
func (e expr) gradTransform(t wino.Tile) {
	down := t.Points(t.Rows)
	name := "winoGrad" + t.Suffix() + e.s.name
	winoText(name, "func(tiles int, dy *float32, dyRow int, v *float32, vStride int)", name+" is winoGradTwin for "+t.Outputs()+".")
	tiles, dy, dyRow, v, vStride := param("tiles"), param("dy"), strideParam("dyRow"), param("v"), strideParam("vStride")
	tmp := scratch(len(down) * t.Cols)
	dr, vr := stepsOf(dy, dyRow), stepsOf(nil, vStride)
	next, p := rowByRow(t.Side(), vStride, down), GP64()
	switch {
	case e.s.wide():
		e = e.pin(2, 4, 8, 16, 32)
	case t.M == 4:
		e = e.pin(2, 4, 8)
	}
	Label(name + "_tile")
	e.eachHalf(name+"_half", func() {
		for j := 0; j < t.Cols; j++ {
			d := make([]vec, t.Rows)
			for i := range d {
				d[i] = e.load(dr.at(i, j*block))
				PREFETCHT1(dr.at(i, (j+tilesAhead*t.M)*block))
			}
			wino.OutputAdjoint(e, t.Form, d, func(i int, o vec) { VMOVAPS(o, at(tmp, (slices.Index(down, i)*t.Cols+j)*block)) })
		}
		MOVQ(v, p)
		vr.base = p
		for i := range down {
			d := make([]vec, t.Cols)
			for j := range d {
				d[j] = e.load(at(tmp, (i*t.Cols+j)*block))
			}
			wino.OutputAdjoint(e, t.Form, d, func(j int, o vec) { VMOVUPS(o, vr.at(j, 0)) })
			next.advance(p, i)
		}
	}, dy, v)
	ADDQ(U32(uint32(t.Cols*block)), dy)
	ADDQ(Imm(block), v)
	DECQ(tiles)
	JNZ(LabelRef(name + "_tile"))
	VZEROUPPER()
	RET()
}

// weightGradTransform: dw += Gᵀ dU G, for n blocks of 16 lanes.
func (e expr) weightGradTransform(f wino.Form) {
	n := f.Side()
	name := "winoWeightsGrad" + f.Suffix() + e.s.name
	winoText(name, "func(n int, du *float32, duStride int, dw *float32, dwStride int)", name+" is winoWeightsGradTwin for "+wino.Tile{Form: f, Rows: f.M, Cols: f.M}.Outputs()+".")
	count, du, duStride, dw, dwStride := param("n"), param("du"), strideParam("duStride"), param("dw"), strideParam("dwStride")
	tmp := scratch(3 * n)
	ur, wr := stepsOf(nil, duStride), stepsOf(nil, dwStride)
	next, w3, p := GP64(), GP64(), GP64()
	IMUL3Q(U32(uint32(n)), duStride, next)
	LEAQ(Mem{Base: dwStride, Index: dwStride, Scale: 2}, w3)
	Label(name + "_block")
	e.eachHalf(name+"_half", func() {
		MOVQ(du, p)
		ur.base = p
		for i := 0; i < n; i++ {
			d := make([]vec, n)
			for j := range d {
				d[j] = e.load(ur.at(j, 0))
			}
			for c, o := range wino.WeightsAdjoint(e, d) {
				VMOVAPS(o, at(tmp, (i*3+c)*block))
			}
			if i+1 < n {
				ADDQ(next, p)
			}
		}
		for c := 0; c < 3; c++ {
			d := make([]vec, n)
			for i := range d {
				d[i] = e.load(at(tmp, (i*3+c)*block))
			}
			MOVQ(dw, p)
			wr.base = p
			for r, o := range wino.WeightsAdjoint(e, d) {
				VADDPS(wr.at(c, 0), o, o)
				VMOVUPS(o, wr.at(c, 0))
				if r < 2 {
					ADDQ(w3, p)
				}
			}
		}
	}, du, dw)
	ADDQ(Imm(block), du)
	ADDQ(Imm(block), dw)
	DECQ(count)
	JNZ(LabelRef(name + "_block"))
	VZEROUPPER()
	RET()
}
