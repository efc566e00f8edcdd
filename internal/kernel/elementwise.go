package kernel

// Mask is a dropout mask: a pure function of the key (seed, iteration and layer), the
// image and the unit, so neither threads nor the parts of a batch change it.
type Mask struct {
	Key   uint64
	Image int     // index of the batch's first image in the iteration
	Ratio float32 // share of units dropped, 0 ≤ Ratio < 1
}

// keep reports whether unit u of image i, counted from m.Image, is kept.
func (m Mask) keep(i, u int) bool {
	h := mix(mix(m.Key+uint64(m.Image+i)*0x9e3779b97f4a7c15) + uint64(u)*0xd1b54a32d192ed03)
	return float32(h>>40) >= m.Ratio*(1<<24)
}

// MaskKey is the key of a layer's masks in one iteration.
func MaskKey(seed uint64, iteration int, layer uint64) uint64 {
	return mix(mix(mix(seed)+uint64(iteration)) + layer)
}

// mix is the finaliser of SplitMix64 (Steele et al. 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

type maskTask struct {
	m    Mask
	x, y *Act
}

// Dropout computes y = x·mask/(1−ratio). It also computes the gradient, dx from dy. Units
// are counted in (C,H,W) order.
func (w *Work) Dropout(m Mask, x, y *Act) {
	w.maskT = maskTask{m, x, y}
	w.Team.Run(x.N*x.Blocks(), &w.maskT)
}

func (t *maskTask) Part(_, i int) {
	n, b := i/t.x.Blocks(), i%t.x.Blocks()
	scale := 1 / (1 - t.m.Ratio)
	for y := range t.x.H {
		src := t.x.Data[t.x.At(n, b, y, 0):][:t.x.W*Block]
		dst := t.y.Data[t.y.At(n, b, y, 0):][:t.x.W*Block]
		for j, v := range src {
			c, x := b*Block+j%Block, j/Block
			if t.m.keep(n, (c*t.x.H+y)*t.x.W+x) {
				dst[j] = v * scale
			} else {
				dst[j] = 0
			}
		}
	}
}

type reluTask struct {
	x, y, dy *Act // dy nil in the forward pass
}

// Relu computes y = max(0, x).
func (w *Work) Relu(x, y *Act) {
	w.reluT = reluTask{x: x, y: y}
	w.Team.Run(x.N*x.Blocks(), &w.reluT)
}

// ReluGrad computes dx: dy where x is positive, else 0.
func (w *Work) ReluGrad(x, dy, dx *Act) {
	w.reluT = reluTask{x: x, y: dx, dy: dy}
	w.Team.Run(x.N*x.Blocks(), &w.reluT)
}

func (t *reluTask) Part(_, i int) {
	n, b := i/t.x.Blocks(), i%t.x.Blocks()
	for y := range t.x.H {
		src := t.x.Data[t.x.At(n, b, y, 0):][:t.x.W*Block]
		dst := t.y.Data[t.y.At(n, b, y, 0):][:len(src)]
		if t.dy == nil {
			for j, v := range src {
				dst[j] = max(0, v)
			}
			continue
		}
		dy := t.dy.Data[t.dy.At(n, b, y, 0):][:len(src)]
		for j, v := range src {
			dst[j] = 0
			if v > 0 {
				dst[j] = dy[j]
			}
		}
	}
}

type sgdTask struct {
	isa                   *ISA
	w, v, dw              []float32
	rate, momentum, decay float32
}

// sgdLen is the number of floats that a part updates.
const sgdLen = 1 << 16

// SGD updates weights w and momentum v from the gradient dw:
// v = momentum·v + dw + decay·w, w −= rate·v. Lengths are multiples of 16.
func (w *Work) SGD(weights, v, dw []float32, rate, momentum, decay float32) {
	w.sgdT = sgdTask{Current(), weights, v, dw, rate, momentum, decay}
	w.Team.Run((len(weights)+sgdLen-1)/sgdLen, &w.sgdT)
}

func (t *sgdTask) Part(_, i int) {
	a, b := i*sgdLen, min(len(t.w), (i+1)*sgdLen)
	t.isa.sgdBlocks((b-a)/Block, t.w[a:b], t.v[a:b], t.dw[a:b], t.rate, t.momentum, t.decay)
}
