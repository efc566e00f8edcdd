package kernel

import "slices"

// setsUnderTest lists the instruction sets that tests run on: those of this machine, or,
// where VGG_CPU names a partial set (avx2-gemm), that one alone.
func setsUnderTest() []*ISA {
	all := ISAs()
	if s := Current(); !slices.Contains(all, s) {
		return []*ISA{s}
	}
	return all
}
