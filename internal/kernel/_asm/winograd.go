package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Transforms of the Winograd convolutions F(4×4,3×3), F(6×6,3×3), F(4×4,5×5) and
// F(2×2,7×7); docs/kernels.md derives them. Every function works on one channel block: a
// vector holds 16 channels (AVX-512) or 8 (AVX2, in two passes over the halves), so the
// transforms are elementwise and need no shuffles.

// form is F(m×m,r×r).
type form struct{ m, r int }

// side is the side of an input tile, and of the grid of products.
func (f form) side() int { return f.m + f.r - 1 }

// suffix distinguishes the form's functions by name.
func (f form) suffix() string {
	if f.r == 3 {
		return fmt.Sprint(f.m)
	}
	return fmt.Sprintf("%dx%d", f.m, f.r)
}

// tile is a tile of a form: m×m outputs, or, for 3×3 filters in the last row and column of
// tiles, fewer outputs at fewer of the form's points.
type tile struct {
	form
	rows, cols int // outputs
}

func (t tile) narrow() bool { return t.rows < t.m || t.cols < t.m }

// suffix distinguishes the tile's functions by name.
func (t tile) suffix() string {
	if t.narrow() {
		return fmt.Sprintf("%dr%dc%d", t.m, t.rows, t.cols)
	}
	return t.form.suffix()
}

func (t tile) outputs() string {
	if t.narrow() {
		return fmt.Sprintf("%d×%d outputs at points of F(%d×%[3]d,3×3)", t.rows, t.cols, t.m)
	}
	return fmt.Sprintf("%d×%[1]d outputs and %d×%[2]d filters", t.m, t.r)
}

// tiles lists the whole tile and the narrow ones.
func (f form) tiles() []tile {
	all := []tile{}
	for rows := f.m; rows > 0; rows -= 2 {
		for cols := f.m; cols > 0; cols -= 2 {
			if t := (tile{f, rows, cols}); f.r == 3 || !t.narrow() {
				all = append(all, t)
			}
		}
	}
	return all
}

// points lists the indices, on the form's grid, of the points of a tile of m outputs: 0, ±1
// and ∞ for two outputs, ±2 too for four.
func (f form) points(m int) []int {
	var at []int
	for i := 0; i < m+f.r-2; i++ {
		at = append(at, i)
	}
	return append(at, f.side()-1)
}

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
func (e expr) add(a, b vec) vec { v := e.vec(); VADDPS(b, a, v); return v }
func (e expr) sub(a, b vec) vec { v := e.vec(); VSUBPS(b, a, v); return v }

// mad returns a + k·b.
func (e expr) mad(a vec, k float64, b vec) vec {
	v := e.vec()
	VMOVAPS(a, v)
	return e.madInto(v, k, b)
}

// madInto adds k·b to a, which is overwritten.
func (e expr) madInto(a vec, k float64, b vec) vec {
	if k < 0 {
		VFNMADD231PS(e.constant(-k), b, a)
	} else {
		VFMADD231PS(e.constant(k), b, a)
	}
	return a
}

// scale returns k·a.
func (e expr) scale(k float64, a vec) vec {
	v := e.vec()
	VMULPS(e.constant(k), a, v)
	return v
}

// put takes value i of a transform.
type put func(i int, v vec)

// Bᵀd, the input transform of d, which has a value for each point of the tile; results go
// to the tile's points on the form's grid.
func (e expr) input(f form, d []vec, put put) {
	last := f.side() - 1
	switch {
	case len(d) == 4: // a narrow tile's rows are scaled, as the weights are the form's
		zero, one := e.sub(d[0], d[2]), 2.25
		if last == 5 {
			zero, one = e.scale(4, zero), 3
		}
		put(0, zero)
		put(last, e.sub(d[3], d[1]))
		b := e.scale(one, d[1])
		put(1, e.madInto(e.scale(-one, d[2]), -one, d[1]))
		put(2, e.madInto(b, -one, d[2]))
		return
	case len(d) == 6 && last == 7:
		put(0, e.madInto(e.mad(d[0], 0.25, d[4]), -1.25, d[2]))
		put(last, e.madInto(e.mad(d[5], -5, d[3]), 4, d[1]))
		a, b := e.madInto(e.scale(0.75, d[4]), -3, d[2]), e.madInto(e.scale(0.75, d[3]), -3, d[1])
		put(1, e.add(a, b))
		put(2, e.sub(a, b))
		a, b = e.scale(3.75, e.sub(d[4], d[2])), e.scale(3.75, e.sub(d[3], d[1]))
		put(3, e.mad(a, 2, b))
		put(4, e.mad(a, -2, b))
		return
	case len(d) == 6:
		put(0, e.madInto(e.mad(d[4], -5, d[2]), 4, d[0]))
		put(5, e.madInto(e.mad(d[5], -5, d[3]), 4, d[1]))
		a, b := e.mad(d[4], -4, d[2]), e.mad(d[3], -4, d[1])
		put(1, e.add(a, b))
		put(2, e.sub(a, b))
		a, b = e.sub(d[4], d[2]), e.sub(d[3], d[1])
		put(3, e.mad(a, 2, b))
		put(4, e.mad(a, -2, b))
		return
	}
	put(0, e.madInto(e.sub(d[0], d[6]), 5.25, e.sub(d[4], d[2])))
	put(7, e.madInto(e.sub(d[7], d[1]), 5.25, e.sub(d[3], d[5])))
	// pairs ±: the even part and the odd part of the polynomial's points ±1, ±2, ±½
	a, b := e.madInto(e.add(d[2], d[6]), -4.25, d[4]), e.madInto(e.add(d[1], d[5]), -4.25, d[3])
	put(1, e.add(a, b))
	put(2, e.sub(a, b))
	a, b = e.madInto(e.mad(d[6], 0.25, d[2]), -1.25, d[4]), e.madInto(e.mad(d[5], 0.25, d[1]), -1.25, d[3])
	put(3, e.mad(a, 2, b))
	put(4, e.mad(a, -2, b))
	a, b = e.madInto(e.mad(d[6], 4, d[2]), -5, d[4]), e.madInto(e.mad(d[5], 4, d[1]), -5, d[3])
	put(5, e.mad(a, 0.5, b))
	put(6, e.mad(a, -0.5, b))
}

// Aᵀd, the output transform of a tile's values to m.
func (e expr) output(m int, d []vec, put put) {
	if len(d) == 4 {
		put(0, e.add(e.add(d[0], d[1]), d[2]))
		put(1, e.add(e.sub(d[1], d[2]), d[3]))
		return
	}
	s1, t1 := e.add(d[1], d[2]), e.sub(d[1], d[2])
	s2, t2 := e.add(d[3], d[4]), e.sub(d[3], d[4])
	if len(d) == 6 {
		put(0, e.add(e.add(d[0], s1), s2))
		put(1, e.mad(t1, 2, t2))
		put(2, e.mad(s1, 4, s2))
		put(3, e.madInto(e.add(d[5], t1), 8, t2))
		return
	}
	s3, t3 := e.add(d[5], d[6]), e.sub(d[5], d[6])
	// value i is s1 + 2ⁱs2 + 2⁵⁻ⁱs3 for even i, the same of t for odd ones
	put(0, e.madInto(e.add(e.add(d[0], s1), s2), 32, s3))
	if m == 2 {
		put(1, e.add(e.madInto(e.mad(t1, 2, t2), 16, t3), d[7]))
		return
	}
	put(1, e.madInto(e.mad(t1, 2, t2), 16, t3))
	put(2, e.madInto(e.mad(s1, 4, s2), 8, s3))
	if m == 4 {
		put(3, e.madInto(e.madInto(e.add(d[7], t1), 8, t2), 4, t3))
		return
	}
	put(3, e.madInto(e.mad(t1, 8, t2), 4, t3))
	put(4, e.madInto(e.mad(s1, 16, s2), 2, s3))
	put(5, e.add(e.madInto(e.add(d[7], t1), 32, t2), t3))
}

// Ad, the adjoint of F(4)'s output transform: 4 values to 6.
func (e expr) outputAdjoint(d []vec, put put) {
	put(0, d[0])
	put(5, d[3])
	s, t := e.add(d[0], d[2]), e.add(d[1], d[3])
	put(1, e.add(s, t))
	put(2, e.sub(s, t))
	u, v := e.mad(d[0], 4, d[2]), e.madInto(e.scale(2, d[1]), 8, d[3])
	put(3, e.add(u, v))
	put(4, e.sub(u, v))
}

// Gg, the weight transform of r values to m+r−1.
func (e expr) weights(m int, g []vec) []vec {
	if len(g) == 7 {
		odd := func(k0, k1, k2 float64) vec { return e.madInto(e.madInto(e.scale(k0, g[1]), k1, g[3]), k2, g[5]) }
		even := func(k0, k1, k2, k3 float64) vec {
			return e.madInto(e.madInto(e.madInto(e.scale(k0, g[0]), k1, g[2]), k2, g[4]), k3, g[6])
		}
		a, b := even(-2./9, -2./9, -2./9, -2./9), odd(2./9, 2./9, 2./9)
		c, d := even(1./90, 2./45, 8./45, 32./45), odd(1./45, 4./45, 16./45)
		f, h := even(1./45, 1./180, 1./720, 1./2880), odd(1./90, 1./360, 1./1440)
		return []vec{g[0], e.sub(a, b), e.add(a, b), e.add(c, d), e.sub(c, d), e.add(f, h), e.sub(f, h), g[6]}
	}
	s := e.add(g[0], g[2])
	if len(g) == 5 {
		a, b := e.scale(-2./9, e.add(s, g[4])), e.scale(2./9, e.add(g[1], g[3]))
		c := e.madInto(e.madInto(e.scale(1./90, g[0]), 2./45, g[2]), 8./45, g[4])
		d := e.madInto(e.scale(1./45, g[1]), 4./45, g[3])
		f := e.madInto(e.madInto(e.scale(1./45, g[0]), 1./180, g[2]), 1./720, g[4])
		h := e.madInto(e.scale(1./90, g[1]), 1./360, g[3])
		return []vec{g[0], e.sub(a, b), e.add(a, b), e.add(c, d), e.sub(c, d), e.add(f, h), e.sub(f, h), g[4]}
	}
	if m == 4 {
		a, b := e.scale(-1./6, s), e.scale(1./6, g[1])
		c := e.madInto(e.scale(1./24, g[0]), 1./6, g[2])
		d := e.scale(1./12, g[1])
		return []vec{e.scale(1./4, g[0]), e.sub(a, b), e.add(a, b), e.add(c, d), e.sub(c, d), g[2]}
	}
	a, b := e.scale(-2./9, s), e.scale(2./9, g[1])
	c, d := e.madInto(e.scale(1./90, g[0]), 2./45, g[2]), e.scale(1./45, g[1])
	f, h := e.madInto(e.scale(1./45, g[0]), 1./180, g[2]), e.scale(1./90, g[1])
	return []vec{g[0], e.sub(a, b), e.add(a, b), e.add(c, d), e.sub(c, d), e.add(f, h), e.sub(f, h), g[2]}
}

// Gᵀu, the adjoint of F(4)'s weight transform: 6 values to 3.
func (e expr) weightsAdjoint(u []vec) []vec {
	s1, t1 := e.add(u[1], u[2]), e.sub(u[2], u[1])
	s2, t2 := e.add(u[3], u[4]), e.sub(u[3], u[4])
	return []vec{
		e.madInto(e.madInto(e.scale(1./4, u[0]), -1./6, s1), 1./24, s2),
		e.madInto(e.scale(1./6, t1), 1./12, t2),
		e.mad(u[5], 1./6, e.sub(s2, s1)),
	}
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
	last reg.GPVirtual // to the last point, ∞, where points before it are left out
	at   []int
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
	case g.at[i+1]-g.at[i] > 1:
		ADDQ(g.last, p)
	default:
		ADDQ(g.row, p)
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
	for _, f := range []form{{4, 3}, {6, 3}, {4, 5}, {2, 7}} {
		for _, t := range f.tiles() {
			e.inputTransform(t)
			e.outputTransform(t, storeOutputs)
			e.outputTransform(t, poolOutputs)
		}
		e.weightTransform(f)
	}
	e.outputHits()
	e.outputMask()
	e.gradTransform()
	e.weightGradTransform()
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
func (e expr) inputTransform(t tile) {
	n, height, width := t.side(), t.rows+t.r-1, t.cols+t.r-1
	down := t.points(t.rows)
	name := "winoInput" + t.suffix() + e.s.name
	winoText(name, "func(tiles int, x *float32, xRow int, v *float32, vStride int)", name+" is winoInputTwin for "+t.outputs()+".")
	tiles, x, xRow, v, vStride := param("tiles"), param("x"), strideParam("xRow"), param("v"), strideParam("vStride")
	tmp := scratch(height * width)
	xr, vr := stepsOf(x, xRow), stepsOf(nil, vStride)
	next := tileRows(n, vStride, down)
	p := GP64()
	pins := []float64{5, 4, 2}
	switch {
	case t.narrow() && e.s.wide():
		pins = []float64{2, 4, 3}
	case t.narrow():
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
			for i := 0; i < height && j >= t.r-1 && !t.narrow(); i++ {
				PREFETCHT1(xr.at(i, (j+tilesAhead*t.m)*block))
			}
			e.input(t.form, d, func(i int, o vec) { VMOVAPS(o, at(tmp, (slices.Index(down, i)*width+j)*block)) })
		}
		MOVQ(v, p)
		vr.base = p
		for i := range down {
			d := make([]vec, width)
			for j := range d {
				d[j] = e.load(at(tmp, (i*width+j)*block))
			}
			e.input(t.form, d, func(j int, o vec) { VMOVUPS(o, vr.at(j, 0)) })
			next.advance(p, i)
		}
	}, x, v)
	ADDQ(U32(uint32(t.cols*block)), x)
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
func (e expr) outputRows(t tile, sr rows, src reg.GPVirtual, next gridRows, p reg.GPVirtual, tmp reg.Register) {
	MOVQ(src, p)
	sr.base = p
	for i := range t.points(t.rows) {
		var d []vec
		for _, j := range t.points(t.cols) {
			d = append(d, e.load(sr.at(j, 0)))
		}
		e.output(t.cols, d, func(j int, o vec) { VMOVAPS(o, at(tmp, (i*t.cols+j)*block)) })
		next.advance(p, i)
	}
}

// outputColumn is column j of the second half.
func (e expr) outputColumn(t tile, tmp reg.Register, j int) []vec {
	d := make([]vec, len(t.points(t.rows)))
	for i := range d {
		d[i] = e.load(at(tmp, (i*t.cols+j)*block))
	}
	o := make([]vec, t.rows)
	e.output(t.rows, d, func(i int, v vec) { o[i] = v })
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
func (e expr) outputTransform(t tile, end outputEnd) {
	n, out, pool := t.side(), t.cols, end == poolOutputs
	name, twin := "winoOutput", "winoOutputTwin"
	if pool {
		name, twin, out = "winoOutputPool", "winoOutputTwin with pooling", t.cols/2
	}
	name += t.suffix() + e.s.name
	winoText(name, "func(tiles int, m *float32, mStride int, y *float32, yRow int, bias *float32, lo float32)", name+" is "+twin+" for "+t.outputs()+".")
	tiles, src, stride, y, yRow, bias := param("tiles"), param("m"), strideParam("mStride"), param("y"), strideParam("yRow"), param("bias")
	tmp := scratch(len(t.points(t.rows)) * t.cols)
	sr := stepsOf(nil, stride)
	next := tileRows(n, stride, t.points(t.rows))
	p, q := GP64(), GP64()
	pins := []float64{2, 4, 8}
	switch {
	case t.narrow() && !e.s.wide():
		pins = nil
	case n == 8 && e.s.wide():
		pins = []float64{2, 4, 8, 16, 32}
	case n == 8:
		pins = []float64{2, 16, 32}
	}
	e = e.pin(pins...)
	Label(name + "_tile")
	if pool && !t.narrow() {
		MOVQ(y, q)
		for r := 0; r < t.rows/2; r++ {
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
		for j := 0; j < t.cols; j++ {
			o := e.outputColumn(t, tmp, j)
			if j == 0 {
				VBROADCASTSS(loAddr, lo)
			}
			MOVQ(y, q)
			if !pool {
				for r, v := range o {
					finish(v)
					VMOVUPS(v, at(q, j*block))
					if r+1 < t.rows {
						ADDQ(yRow, q)
					}
				}
				continue
			}
			var c []vec
			for r := 0; r < t.rows; r += 2 {
				VMAXPS(o[r+1], o[r], o[r])
				c = append(c, o[r])
			}
			if j%2 == 0 {
				// kept in scratch: the next column's transform needs the registers
				for r, v := range c {
					VMOVAPS(v, at(tmp, r*t.cols*block+j*block))
				}
				continue
			}
			for r, v := range c {
				VMAXPS(at(tmp, r*t.cols*block+(j-1)*block), v, v)
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

// weightTransform: U = G g Gᵀ, for n adjacent blocks of 16 lanes.
func (e expr) weightTransform(f form) {
	m, n, r := f.m, f.side(), f.r
	name := "winoWeights" + f.suffix() + e.s.name
	winoText(name, "func(n int, w *float32, wStride int, u *float32, uStride int)", name+" is winoWeightsTwin for "+tile{f, f.m, f.m}.outputs()+".")
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
			for i, o := range e.weights(m, d) {
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
			for j, o := range e.weights(m, d) {
				VMOVUPS(o, ur.at(j, 0))
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
	VZEROUPPER()
	RET()
}

// gradTransform: A dy Aᵀ of F(4)'s tiles along a row.
func (e expr) gradTransform() {
	const m, n = 4, 6
	name := "winoGrad4" + e.s.name
	winoText(name, "func(tiles int, dy *float32, dyRow int, v *float32, vStride int)", name+" is winoGradTwin for 4×4 outputs.")
	tiles, dy, dyRow, v, vStride := param("tiles"), param("dy"), strideParam("dyRow"), param("v"), strideParam("vStride")
	tmp := scratch(n * m)
	dr, vr := stepsOf(dy, dyRow), stepsOf(nil, vStride)
	next, p := GP64(), GP64()
	IMUL3Q(U32(n), vStride, next)
	e = e.pin(2, 4, 8)
	Label(name + "_tile")
	e.eachHalf(name+"_half", func() {
		for j := 0; j < m; j++ {
			d := make([]vec, m)
			for i := range d {
				d[i] = e.load(dr.at(i, j*block))
				PREFETCHT1(dr.at(i, (j+tilesAhead*m)*block))
			}
			e.outputAdjoint(d, func(i int, o vec) { VMOVAPS(o, at(tmp, (i*m+j)*block)) })
		}
		MOVQ(v, p)
		vr.base = p
		for i := 0; i < n; i++ {
			d := make([]vec, m)
			for j := range d {
				d[j] = e.load(at(tmp, (i*m+j)*block))
			}
			e.outputAdjoint(d, func(j int, o vec) { VMOVUPS(o, vr.at(j, 0)) })
			if i+1 < n {
				ADDQ(next, p)
			}
		}
	}, dy, v)
	ADDQ(U32(m*block), dy)
	ADDQ(Imm(block), v)
	DECQ(tiles)
	JNZ(LabelRef(name + "_tile"))
	VZEROUPPER()
	RET()
}

// weightGradTransform: dw += Gᵀ dU G of F(4), for n blocks of 16 lanes.
func (e expr) weightGradTransform() {
	const n = 6
	name := "winoWeightsGrad4" + e.s.name
	winoText(name, "func(n int, du *float32, duStride int, dw *float32, dwStride int)", name+" is winoWeightsGradTwin for 4×4 outputs.")
	count, du, duStride, dw, dwStride := param("n"), param("du"), strideParam("duStride"), param("dw"), strideParam("dwStride")
	tmp := scratch(3 * n)
	ur, wr := stepsOf(nil, duStride), stepsOf(nil, dwStride)
	next, w3, p := GP64(), GP64(), GP64()
	IMUL3Q(U32(n), duStride, next)
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
			for c, o := range e.weightsAdjoint(d) {
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
			for r, o := range e.weightsAdjoint(d) {
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
