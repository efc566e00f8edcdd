//go:build !linux && !darwin

package kernel

// accessible allocates n floats with a page of guard values on either side. An
// operand lies in mem[lo:hi].
func accessible(n int) (mem []float32, lo, hi int, free func()) {
	const page = 1024
	return make([]float32, n+2*page), page, page + n, func() {}
}
