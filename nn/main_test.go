package nn

import (
	"fmt"
	"os"
	"testing"

	"github.com/verydeep/vgg/internal/kernel"
)

// TestMain runs the tests on the instruction set that VGG_CPU names, by default the
// best of this machine.
func TestMain(m *testing.M) {
	if err := kernel.Use(os.Getenv("VGG_CPU")); err != nil {
		fmt.Fprintln(os.Stderr, "VGG_CPU:", err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// TestInstructionSet also makes the go command's test cache depend on VGG_CPU: the cache
// records what is read while tests run, not before.
func TestInstructionSet(t *testing.T) {
	if want, got := os.Getenv("VGG_CPU"), kernel.Current().Name(); want != "" && got != want {
		t.Errorf("VGG_CPU is %q, the instruction set in use %q", want, got)
	}
}
