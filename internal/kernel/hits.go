package kernel

import "math"

// Hits records where the maxima of a 2×2 max-pooling came from. Every pixel of the output
// has, for each block of 16 channels, four masks of 16 bits, one for each input pixel in
// row order: [N][C/16][H][W][4], with H and W of the pooled activation. A channel is in
// the mask of the first pixel that equals the maximum. It is in none where a rectification
// made the maximum zero: there no gradient passes.
type Hits struct {
	N, C, H, W int
	Data       []uint16
}

// HitsLen is the number of masks that Hits of these sizes hold.
func HitsLen(n, c, h, w int) int { return 4 * n * blocks(c) * h * w }

// Shape sets the sizes and takes the data from the start of buf, which must be long enough.
func (h *Hits) Shape(n, c, height, width int, buf []uint16) {
	*h = Hits{N: n, C: c, H: height, W: width, Data: buf[:HitsLen(n, c, height, width)]}
}

// At is the offset in Data of pixel (y, x) of block b of image n.
func (h *Hits) At(n, b, y, x int) int {
	return 4 * (((n*blocks(h.C)+b)*h.H+y)*h.W + x)
}

// hitsTask pools a channel block of an image, or carries its gradient back.
type hitsTask struct {
	isa    *ISA
	x, y   *Act // activation or gradient before and after pooling
	hits   *Hits
	lo     float32
	unpool bool
}

// MaxPoolHits is [Work.MaxPool] that also records where the maxima came from. With relu, x
// is the output of a rectification.
func (w *Work) MaxPoolHits(x, y *Act, relu bool, hits *Hits) {
	w.hitsT = hitsTask{isa: Current(), x: x, y: y, hits: hits, lo: float32(math.Inf(-1))}
	if relu {
		w.hitsT.lo = 0
	}
	w.Team.Run(x.N*x.Blocks(), &w.hitsT)
}

// Unpool computes dx from dy: every gradient goes to the pixel that the maximum came from,
// and the other pixels get zero. The border of dx stays as it is.
func (w *Work) Unpool(hits *Hits, dy, dx *Act) {
	w.hitsT = hitsTask{isa: Current(), x: dx, y: dy, hits: hits, unpool: true}
	w.Team.Run(dx.N*dx.Blocks(), &w.hitsT)
}

func (t *hitsTask) Part(_, i int) {
	n, b := i/t.x.Blocks(), i%t.x.Blocks()
	x, y := t.x, t.y
	for r := range y.H {
		x0, x1 := x.Data[x.At(n, b, 2*r, 0):], x.Data[x.At(n, b, 2*r+1, 0):]
		pooled, hits := y.Data[y.At(n, b, r, 0):], t.hits.Data[t.hits.At(n, b, r, 0):]
		if !t.unpool {
			t.isa.maxPoolHitsRow(y.W, x0, x1, pooled, hits, t.lo)
			continue
		}
		t.isa.unpoolRow(y.W, hits, pooled, x0, x1)
		if x.W%2 == 1 { // the last column was not pooled
			clear(x0[(x.W-1)*Block:][:Block])
			clear(x1[(x.W-1)*Block:][:Block])
		}
	}
	if t.unpool && x.H%2 == 1 {
		clear(x.Data[x.At(n, b, x.H-1, 0):][:x.W*Block])
	}
}
