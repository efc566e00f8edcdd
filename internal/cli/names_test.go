package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// Names of files needn't be UTF-8, neither of those that are read nor of those that are written.
func TestNamesOfAnyBytes(t *testing.T) {
	const compat = "../../testdata/compat/v0/"
	dir := t.TempDir()
	picture, err := os.ReadFile(compat + "data/val/red/0.png")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "caf\xe9.png")
	if err := os.WriteFile(name, picture, 0o666); err != nil {
		vggtest.Skip(t, "names that aren't UTF-8")
	}
	if stdout, stderr, code := program(t, "classify", compat+"net.safetensors", name, "--top", "1"); code != 0 || !strings.Contains(stdout, "red") {
		t.Errorf("exit %d, %s%s, want the class red", code, stdout, stderr)
	}
	out := filepath.Join(dir, "na\xefve.npz")
	if _, stderr, code := program(t, "convert", compat+"net.safetensors", out); code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	if _, err := os.Stat(out); err != nil {
		t.Error(err)
	}
}
