package kernel

import "fmt"

// Act is an activation blocked by channel, [N][C/16][H+2P][W+2P][16]: the 16
// channels of a pixel are stored together, a border of P pixels surrounds every plane
// (below and on the right it may be wider, for tiles that reach beyond the image), and
// channels past C are zero. The writer of an Act whose border will be read clears the
// border first, with [Act.ClearBorder].
type Act struct {
	N, C, H, W int
	Pad        int // P, above and left
	End        int // below and right
	Data       []float32
}

// ActLen is the number of floats that an Act of these sizes with an even border holds.
func ActLen(n, c, h, w, pad int) int { return BorderedLen(n, c, h, w, pad, pad) }

// BorderedLen is the number of floats that an Act of these sizes holds.
func BorderedLen(n, c, h, w, pad, end int) int {
	return n * blocks(c) * (h + pad + end) * (w + pad + end) * Block
}

// Shape sets the sizes of a, with an even border, and takes its data from the start of
// buf, which must be long enough.
func (a *Act) Shape(n, c, h, w, pad int, buf []float32) { a.Bordered(n, c, h, w, pad, pad, buf) }

// Bordered is [Act.Shape] with another border below and on the right.
func (a *Act) Bordered(n, c, h, w, pad, end int, buf []float32) {
	*a = Act{N: n, C: c, H: h, W: w, Pad: pad, End: end, Data: buf[:BorderedLen(n, c, h, w, pad, end)]}
}

// Blocks is the number of channel blocks.
func (a *Act) Blocks() int { return blocks(a.C) }

// rowLen is the distance in floats between two rows of a plane.
func (a *Act) rowLen() int { return (a.W + a.Pad + a.End) * Block }

// planeLen is the distance between two channel blocks of an image.
func (a *Act) planeLen() int { return (a.H + a.Pad + a.End) * a.rowLen() }

// imageLen is the distance between two images.
func (a *Act) imageLen() int { return a.Blocks() * a.planeLen() }

// At is the offset in Data of pixel (y, x) of block b of image n; y and x count from
// the first pixel inside the border, and may reach Pad pixels outside.
func (a *Act) At(n, b, y, x int) int {
	return ((n*a.Blocks()+b)*(a.H+a.Pad+a.End)+y+a.Pad)*a.rowLen() + (x+a.Pad)*Block
}

// ClearBorder zeroes the border of every plane.
func (a *Act) ClearBorder() {
	if a.Pad == 0 && a.End == 0 {
		return
	}
	row := a.rowLen()
	for p := 0; p < len(a.Data); p += a.planeLen() {
		plane := a.Data[p : p+a.planeLen()]
		clear(plane[:a.Pad*row])
		clear(plane[len(plane)-a.End*row:])
		for y := a.Pad; y < a.Pad+a.H; y++ {
			clear(plane[y*row:][:a.Pad*Block])
			clear(plane[(y+1)*row-a.End*Block:][:a.End*Block])
		}
	}
}

// FromNCHW fills a from planar data of shape (N,C,H,W).
func (a *Act) FromNCHW(x []float32) {
	a.checkPlanar(x)
	a.ClearBorder()
	for i := range a.N * a.Blocks() {
		a.fromPlanar(x, i, 0, a.H)
	}
}

func (a *Act) checkPlanar(x []float32) {
	if len(x) != a.N*a.C*a.H*a.W {
		panic("kernel: planar data does not match the shape")
	}
}

// fromPlanar fills rows y0 … y1−1 of channel block i, counted over images.
func (a *Act) fromPlanar(x []float32, i, y0, y1 int) {
	n, b := i/a.Blocks(), i%a.Blocks()
	cs := min(Block, a.C-b*Block)
	for y := y0; y < y1; y++ {
		row := a.Data[a.At(n, b, y, 0):][:a.W*Block]
		if cs < Block {
			clear(row)
		}
		for c := range cs {
			src := x[((n*a.C+b*Block+c)*a.H+y)*a.W:][:a.W]
			for i, v := range src {
				row[i*Block+c] = v
			}
		}
	}
}

// inputTask runs FromNCHW by bands of rows.
type inputTask struct {
	x     []float32
	a     *Act
	bands int
}

// inputRows is the number of rows that a part fills.
const inputRows = 16

// FromNCHW is [Act.FromNCHW], split over the team.
func (w *Work) FromNCHW(x []float32, a *Act) {
	a.checkPlanar(x)
	a.ClearBorder()
	w.inputT = inputTask{x, a, (a.H + inputRows - 1) / inputRows}
	w.Team.Run(a.N*a.Blocks()*w.inputT.bands, &w.inputT)
}

func (t *inputTask) Part(_, i int) {
	y := i % t.bands * inputRows
	t.a.fromPlanar(t.x, i/t.bands, y, min(y+inputRows, t.a.H))
}

// ToNCHW writes a as planar data of shape (N,C,H,W).
func (a *Act) ToNCHW(x []float32) {
	a.checkPlanar(x)
	for n := range a.N {
		for c := range a.C {
			for y := range a.H {
				row := a.Data[a.At(n, c/Block, y, 0):][:a.W*Block]
				dst := x[((n*a.C+c)*a.H+y)*a.W:][:a.W]
				for i := range dst {
					dst[i] = row[i*Block+c%Block]
				}
			}
		}
	}
}

// String gives the shape.
func (a *Act) String() string { return fmt.Sprintf("[%d %d %d %d]", a.N, a.C, a.H, a.W) }
