package kernel

// Alloc returns n zeroed floats. It asks for huge pages for a large buffer, where the
// system has them: the first touch of half a gigabyte in 4 KiB pages costs more than a
// training step, and afterwards the weights need more pages than the TLB holds.
func Alloc(n int) []float32 {
	buf := make([]float32, n)
	if n >= hugePage {
		adviseHuge(buf)
	}
	return buf
}

// hugePage is the floats in 2 MiB.
const hugePage = 1 << 19
