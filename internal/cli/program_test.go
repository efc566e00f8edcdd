package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

func TestCalledAs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "vgg")
	if err := os.WriteFile(file, nil, 0o777); err != nil {
		t.Fatal(err)
	}
	cached := "/home/u/.cache/go-build/1f/1f0000000000000000000000000000000000000000000000000000000000001f-d/vgg"
	for _, test := range []struct{ executable, word, found, want string }{
		{file, "vgg", file, "vgg"},
		{file, "./vgg", "", "./vgg"},
		{file, "./vgg", file, "vgg"},
		{file, "my tools/vgg", "", "'my tools/vgg'"},
		{"/tmp/go-build123/b001/exe/vgg", "/tmp/go-build123/b001/exe/vgg", "", "go run github.com/verydeep/vgg/cmd/vgg"},
		{cached, cached, file, "go run github.com/verydeep/vgg/cmd/vgg"},
		{"/tmp/go-build1/b001/cli.test", "/tmp/go-build1/b001/cli.test", "", "vgg"},
	} {
		if runtime.GOOS == "windows" && test.word == "my tools/vgg" {
			continue
		}
		if got := calledAs(test.executable, test.word, test.found); got != test.want {
			t.Errorf("%q by %q: %q, want %q", test.executable, test.word, got, test.want)
		}
	}
	t.Chdir(filepath.Join("..", ".."))
	if got, want := calledAs(cached, cached, ""), "go run ./cmd/vgg"; got != want {
		t.Errorf("in the module's folder: %q, want %q", got, want)
	}
}

// TestQuoted gives words to a real shell.
func TestQuoted(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil || runtime.GOOS == "windows" {
		vggtest.Skip(t, "a shell")
	}
	for _, word := range []string{"a", "my photo.jpg", "it's", `a\b`, "$HOME", "conv*", "~", "", "a;b", "naïve.png", "#x", "--data=x y", "a\"b"} {
		out, err := exec.Command(shell, "-c", "printf %s "+quoted(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q: the shell reads %s as %q (%v)", word, quoted(word), out, err)
		}
	}
	if got := quoted("runs/a-1/best.safetensors"); got != "runs/a-1/best.safetensors" {
		t.Errorf("a plain path is %s", got)
	}
}
