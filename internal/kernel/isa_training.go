package kernel

// trainingKernels is what of an instruction set only training needs.
type trainingKernels struct {
	maxPoolHits    func(n int, x0, x1, y *float32, hits *uint16, lo float32)
	unpool         func(n int, hits *uint16, dy, dx0, dx1 *float32)
	addPixels      func(n int, x, sum *float32)
	rgbWgrad       [2]func(h, w int, x *float32, xRow int, dy *float32, dyRow, dyPlane int, dw *float32) // by column blocks − 1
	prefetch       func(n int, p *float32)
	winoOutputHits func(tiles int, m *float32, mStride int, y *float32, yRow int, hits *uint16, hitsRow int, bias *float32, lo float32)
	winoOutputMask func(tiles int, m *float32, mStride int, y *float32, yRow int, x *float32, xRow int)
}

func (s *ISA) maxPoolHitsRow(n int, x0, x1, y []float32, hits []uint16, lo float32) {
	if s.training.maxPoolHits == nil {
		maxPoolHitsTwin(n, x0, x1, y, hits, lo)
		return
	}
	s.training.maxPoolHits(n, &x0[0], &x1[0], &y[0], &hits[0], lo)
}

// prefetchLines asks for n blocks of 16 floats, on their way from memory while something
// else is computed.
func (s *ISA) prefetchLines(n int, x []float32) {
	if s.training.prefetch != nil {
		s.training.prefetch(n, &x[:n*Block][0])
	}
}

func (s *ISA) unpoolRow(n int, hits []uint16, dy, dx0, dx1 []float32) {
	if s.training.unpool == nil {
		unpoolTwin(n, hits, dy, dx0, dx1)
		return
	}
	s.training.unpool(n, &hits[0], &dy[0], &dx0[0], &dx1[0])
}

func (s *ISA) addRow(n int, x, sum []float32) {
	if s.training.addPixels == nil {
		addPixelsTwin(n, x, sum)
		return
	}
	s.training.addPixels(n, &x[0], &sum[0])
}

// rgbGrad adds to the 9 × 16·nb tile dw.
func (s *ISA) rgbGrad(nb, h, w int, x []float32, xRow int, dy []float32, dyRow, dyPlane int, dw []float32) {
	f := s.training.rgbWgrad
	switch {
	case f[0] == nil:
		rgbWgradTwin(nb*Block, h, w, x, xRow, dy, dyRow, dyPlane, dw)
	case f[nb-1] != nil:
		f[nb-1](h, w, &x[0], xRow, &dy[0], dyRow, dyPlane, &dw[0])
	default:
		f[0](h, w, &x[0], xRow, &dy[0], dyRow, dyPlane, &dw[0])
		f[0](h, w, &x[0], xRow, &dy[dyPlane], dyRow, dyPlane, &dw[Block])
	}
}

func (s *ISA) winoOutputHits(tiles int, p []float32, pStride int, y []float32, yRow int, hits []uint16, hitsRow int, bias []float32, lo float32) {
	if s.training.winoOutputHits == nil {
		winoOutputHitsTwin(tiles, p, pStride, y, yRow, hits, hitsRow, bias, lo)
		return
	}
	s.training.winoOutputHits(tiles, &p[0], pStride, &y[0], yRow, &hits[0], 2*hitsRow, &bias[0], lo)
}

func (s *ISA) winoOutputMask(tiles int, p []float32, pStride int, y []float32, yRow int, x []float32, xRow int) {
	if s.training.winoOutputMask == nil {
		winoOutputMaskTwin(tiles, p, pStride, y, yRow, x, xRow)
		return
	}
	s.training.winoOutputMask(tiles, &p[0], pStride, &y[0], yRow, &x[0], xRow)
}
