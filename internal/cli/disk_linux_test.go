package cli_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/verydeep/vgg/internal/cli"
)

// Output that could not be written is an error, not a success.
func TestFullStandardOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no device that is always full: ", err)
	}
	defer full.Close()
	for _, args := range [][]string{{"summary", "A"}, {"summary", "A", "--json"}, {"version"}, {"--help"}, {"bench", "--width=0.01", "--fc=8", "--size=32", "--json"}} {
		var stderr strings.Builder
		code := cli.Main(t.Context(), args, strings.NewReader(""), full, &stderr, environment)
		if code != 1 || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("vgg %s: exit code %d, standard error %q", strings.Join(args, " "), code, stderr.String())
		}
	}
}

// A run whose disk is full ends with an error, and leaves no file of weights that is
// not whole.
func TestTrainOnFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skip("can't make a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	run := filepath.Join(disk, "run")
	args := append([]string{"train", "--data", trainFolder(t), "--out", run, "--width=0.2", "--fc=64"}, tinyRecipe...)
	var stderr strings.Builder
	code := cli.Main(t.Context(), args, strings.NewReader(""), io.Discard, &stderr, environment)
	if code != 1 || !strings.Contains(stderr.String(), "no space left") || !strings.Contains(stderr.String(), ".safetensors") {
		t.Errorf("exit code %d, standard error %q", code, stderr.String())
	}
	files, err := os.ReadDir(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		switch name := f.Name(); {
		case name == "recipe.yaml", name == "metrics.jsonl", name == "curve.png", strings.HasPrefix(name, "events.out.tfevents."):
		default:
			t.Errorf("%s is left behind", name)
		}
	}
}
