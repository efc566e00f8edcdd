package kernel

import (
	"os"
	"slices"
)

// everyCase is whether tests run every combination of cases, plans and threads, as in CI;
// otherwise each pair of them. It is vggtest.All, which the tests in this package can't import.
var everyCase = os.Getenv("VGG_TEST_ALL") != ""

// setsUnderTest lists the instruction sets that tests run on: those of this machine, or,
// where VGG_CPU names a partial set (avx2-gemm), that one alone.
func setsUnderTest() []*ISA {
	all := ISAs()
	if s := Current(); !slices.Contains(all, s) {
		return []*ISA{s}
	}
	return all
}
