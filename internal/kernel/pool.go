package kernel

// poolTask is 2×2 max-pooling with stride 2 of one channel block of one image.
type poolTask struct {
	isa  *ISA
	x, y *Act
}

// MaxPool computes 2×2 max-pooling with stride 2: x is (N,C,H,W), y is
// (N,C,⌊H/2⌋,⌊W/2⌋).
func (w *Work) MaxPool(x, y *Act) {
	w.poolT = poolTask{Current(), x, y}
	w.Team.Run(x.N*x.Blocks(), &w.poolT)
}

func (t *poolTask) Part(_, i int) {
	n, b := i/t.x.Blocks(), i%t.x.Blocks()
	for y := range t.y.H {
		t.isa.maxPoolRow(t.y.W, t.x.Data[t.x.At(n, b, 2*y, 0):], t.x.Data[t.x.At(n, b, 2*y+1, 0):], t.y.Data[t.y.At(n, b, y, 0):])
	}
}

type poolGradTask struct {
	isa          *ISA
	x, y, dy, dx *Act
}

// MaxPoolGrad computes dx from dy: each gradient goes to the first maximum of its 2×2
// pixels, in row order, as in PyTorch.
func (w *Work) MaxPoolGrad(x, y, dy, dx *Act) {
	w.poolGT = poolGradTask{Current(), x, y, dy, dx}
	w.Team.Run(x.N*x.Blocks(), &w.poolGT)
}

func (t *poolGradTask) Part(_, i int) {
	n, b := i/t.x.Blocks(), i%t.x.Blocks()
	x, y, dy, dx := t.x, t.y, t.dy, t.dx
	for r := range y.H {
		t.isa.maxPoolGradRow(y.W, x.Data[x.At(n, b, 2*r, 0):], x.Data[x.At(n, b, 2*r+1, 0):],
			y.Data[y.At(n, b, r, 0):], dy.Data[dy.At(n, b, r, 0):],
			dx.Data[dx.At(n, b, 2*r, 0):], dx.Data[dx.At(n, b, 2*r+1, 0):])
		if x.W%2 == 1 { // the last column was not pooled
			clear(dx.Data[dx.At(n, b, 2*r, x.W-1):][:Block])
			clear(dx.Data[dx.At(n, b, 2*r+1, x.W-1):][:Block])
		}
	}
	if x.H%2 == 1 {
		clear(dx.Data[dx.At(n, b, x.H-1, 0):][:x.W*Block])
	}
}
