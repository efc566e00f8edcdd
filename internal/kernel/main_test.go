package kernel

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// TestMain runs the tests on the instruction set that VGG_CPU names, by default the
// best of this machine.
func TestMain(m *testing.M) {
	if err := Use(os.Getenv("VGG_CPU")); err != nil {
		fmt.Fprintln(os.Stderr, "VGG_CPU:", err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// TestInstructionSet also makes the go command's test cache depend on VGG_CPU: the cache
// records what is read while tests run, not before.
func TestInstructionSet(t *testing.T) {
	if want, got := os.Getenv("VGG_CPU"), Current().Name(); want != "" && got != want {
		t.Errorf("VGG_CPU is %q, the instruction set in use %q", want, got)
	}
}

// setsUnderTest lists the instruction sets that tests run on: those of this machine, or,
// where VGG_CPU names a partial set (avx2-gemm), that one alone.
func setsUnderTest() []*ISA {
	all := ISAs()
	if s := Current(); !slices.Contains(all, s) {
		return []*ISA{s}
	}
	return all
}
