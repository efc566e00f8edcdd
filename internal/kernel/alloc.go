package kernel

// Alloc returns n zeroed floats. A large buffer is asked to lie in huge pages where
// the system has them: the first touch of half a gigabyte in 4 KiB pages costs more
// than a training step, and the weights outrun the TLB afterwards.
func Alloc(n int) []float32 {
	buf := make([]float32, n)
	if n >= hugePage {
		adviseHuge(buf)
	}
	return buf
}

// hugePage is the floats in 2 MiB.
const hugePage = 1 << 19
