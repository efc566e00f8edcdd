package kernel

func (s *ISA) maxPoolHitsRow(n int, x0, x1, y []float32, hits []uint16, lo float32) {
	if s.asm.maxPoolHits == nil {
		maxPoolHitsTwin(n, x0, x1, y, hits, lo)
		return
	}
	s.asm.maxPoolHits(n, &x0[0], &x1[0], &y[0], &hits[0], lo)
}

// prefetchLines prefetches n blocks of 16 floats from memory.
func (s *ISA) prefetchLines(n int, x []float32) {
	if s.asm.prefetch != nil {
		s.asm.prefetch(n, &x[:n*Block][0])
	}
}

func (s *ISA) unpoolRow(n int, hits []uint16, dy, dx0, dx1 []float32) {
	if s.asm.unpool == nil {
		unpoolTwin(n, hits, dy, dx0, dx1)
		return
	}
	s.asm.unpool(n, &hits[0], &dy[0], &dx0[0], &dx1[0])
}

func (s *ISA) addRow(n int, x, sum []float32) {
	if s.asm.addPixels == nil {
		addPixelsTwin(n, x, sum)
		return
	}
	s.asm.addPixels(n, &x[0], &sum[0])
}

// rgbGrad adds to the 9 × 16·nb tile dw.
func (s *ISA) rgbGrad(nb, h, w int, x []float32, xRow int, dy []float32, dyRow, dyPlane int, dw []float32) {
	one, whole := s.asm.rgbWgrad[0], s.asm.rgbWgrad[nb-1]
	switch {
	case whole != nil:
		whole(h, w, &x[0], xRow, &dy[0], dyRow, dyPlane, &dw[0])
	case one != nil:
		one(h, w, &x[0], xRow, &dy[0], dyRow, dyPlane, &dw[0])
		one(h, w, &x[0], xRow, &dy[dyPlane], dyRow, dyPlane, &dw[Block])
	default:
		rgbWgradTwin(nb*Block, h, w, x, xRow, dy, dyRow, dyPlane, dw)
	}
}

func (s *ISA) winoOutputHits(t tile, tiles int, p []float32, pStride int, y []float32, yRow int, hits []uint16, hitsRow int, bias []float32, lo float32) {
	f := s.asm.winoOutputHits.of(t)
	if f == nil {
		winoOutputHitsTwin(t, tiles, p, pStride, y, yRow, hits, hitsRow, bias, lo)
		return
	}
	f(tiles, &p[0], pStride, &y[0], yRow, &hits[0], 2*hitsRow, &bias[0], lo)
}

func (s *ISA) winoOutputMask(t tile, tiles int, p []float32, pStride int, y []float32, yRow int, x []float32, xRow int) {
	f := s.asm.winoOutputMask.of(t)
	if f == nil {
		winoOutputMaskTwin(t, tiles, p, pStride, y, yRow, x, xRow)
		return
	}
	f(tiles, &p[0], pStride, &y[0], yRow, &x[0], xRow)
}
