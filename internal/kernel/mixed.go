package kernel

// Sums is scratch memory of [MixedDot], which a caller keeps from call to call.
type Sums [Block]float64

// MixedDot returns Σ x·w in float64. It panics if w is shorter than x.
func MixedDot(sums *Sums, x []float32, w []float64) float64 {
	clear(sums[:])
	whole := len(x) / Block
	w = w[:len(x)]
	if whole > 0 {
		Current().mixedDotBlocks(whole, x, w, sums[:])
	}
	for i := whole * Block; i < len(x); i++ {
		sums[i%Block] += float64(x[i]) * w[i]
	}
	for width := Block / 2; width > 0; width /= 2 {
		for i := range width {
			sums[i] += sums[i+width]
		}
	}
	return sums[0]
}

// MixedAdd adds a·x to w. It panics if w is shorter than x.
func MixedAdd(a float64, x []float32, w []float64) {
	whole := len(x) / Block
	w = w[:len(x)]
	if whole > 0 {
		Current().mixedAddBlocks(whole, a, x, w)
	}
	for i := whole * Block; i < len(x); i++ {
		w[i] += a * float64(x[i])
	}
}

// mixedDotTwin adds to sum[l], for each lane l, Σ x·w over n blocks.
func mixedDotTwin(n int, x []float32, w, sum []float64) {
	var s [Block]float64
	for i, v := range x[:n*Block] {
		s[i%Block] += float64(v) * w[i]
	}
	for l := range s {
		sum[l] += s[l]
	}
}

// mixedAddTwin adds a·x to n blocks of w.
func mixedAddTwin(n int, a float64, x []float32, w []float64) {
	for i, v := range x[:n*Block] {
		w[i] += a * float64(v)
	}
}

func (s *ISA) mixedDotBlocks(n int, x []float32, w, sum []float64) {
	if s.asm.mixedDot == nil {
		mixedDotTwin(n, x, w, sum)
		return
	}
	s.asm.mixedDot(n, &x[0], &w[0], &sum[0])
}

func (s *ISA) mixedAddBlocks(n int, a float64, x []float32, w []float64) {
	if s.asm.mixedAdd == nil {
		mixedAddTwin(n, a, x, w)
		return
	}
	s.asm.mixedAdd(n, a, &x[0], &w[0])
}
