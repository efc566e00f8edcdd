package kernel

// LRN is local response normalisation across channels (Krizhevsky et al. 2012):
//
//	y_c = x_c · s_c^−β,  s_c = k + α Σ_{|j−c| ≤ n/2} x_j²
type LRN struct {
	Size           int // n, odd
	K, Alpha, Beta float32
}

type lrnTask struct {
	isa          *ISA
	w            *Work
	l            LRN
	x, y, dy, dx *Act // dy and dx nil in the forward pass
}

// LRNForward computes y from x.
func (w *Work) LRNForward(l LRN, x, y *Act) { w.runLRN(lrnTask{w: w, l: l, x: x, y: y}) }

// LRNBackward computes dx from x and dy.
func (w *Work) LRNBackward(l LRN, x, dy, dx *Act) {
	w.runLRN(lrnTask{w: w, l: l, x: x, dy: dy, dx: dx})
}

func (w *Work) runLRN(t lrnTask) {
	w.growLocal(t.l.scratch(t.x.C, t.x.W))
	t.isa = Current()
	w.lrnT = t
	w.Team.Run(t.x.N*t.x.H, &w.lrnT)
}

// scratch is the floats that a row of pixels takes: two of each channel, with n/2 zeros at
// either end of a pixel's channels.
func (l LRN) scratch(c, width int) int { return 2 * width * l.stride(c) }

func (l LRN) stride(c int) int { return blocks(c)*Block + 2*(l.Size/2) }

// Part does one row of pixels of one image. With s_c as above the gradient is
//
//	dx_c = dy_c·s_c^−β − 2αβ·x_c·Σ_{|j−c| ≤ n/2} dy_j·x_j·s_j^(−β−1).
func (t *lrnTask) Part(slot, i int) {
	n, y := i/t.x.H, i%t.x.H
	bs, width, stride, half := t.x.Blocks(), t.x.W, t.l.stride(t.x.C), t.l.Size/2
	sq := t.w.local[slot][:width*stride]
	rest := t.w.local[slot][width*stride:][:width*stride]
	for px := range width { // other tasks have used the memory
		for _, buf := range [][]float32{sq, rest} {
			clear(buf[px*stride:][:half])
			clear(buf[(px+1)*stride-half:][:half])
		}
	}
	for b := range bs {
		t.isa.squaresRow(width, t.x.Data[t.x.At(n, b, y, 0):], sq[half+b*Block:], stride)
	}
	for b := range bs {
		x := t.x.Data[t.x.At(n, b, y, 0):]
		if t.dy == nil {
			t.isa.lrnRow(t.l, width, x, sq[b*Block:], stride, t.y.Data[t.y.At(n, b, y, 0):])
			continue
		}
		t.isa.lrnGradRow(t.l, width, x, t.dy.Data[t.dy.At(n, b, y, 0):], sq[b*Block:], rest[half+b*Block:], stride, t.dx.Data[t.dx.At(n, b, y, 0):])
	}
	if t.dy == nil {
		return
	}
	for b := range bs {
		t.isa.lrnSpreadRow(t.l.Size, width, t.x.Data[t.x.At(n, b, y, 0):], rest[b*Block:], stride,
			t.dx.Data[t.dx.At(n, b, y, 0):], 2*t.l.Alpha*t.l.Beta)
	}
}
