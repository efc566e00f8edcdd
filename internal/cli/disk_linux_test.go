package cli_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/vggtest"
)

// Output that can't be written is an error.
func TestFullStandardOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		vggtest.Skip(t, "/dev/full")
	}
	defer full.Close()
	for _, args := range [][]string{{"summary", "A"}, {"summary", "A", "--json"}, {"version"}, {"--help"}, {"bench", "--width=0.01", "--fc=8", "--side=32", "--json"}} {
		var stderr strings.Builder
		code := cli.Main(t.Context(), args, strings.NewReader(""), full, &stderr, environment)
		if code != 1 || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("vgg %s: exit code %d, standard error %q", strings.Join(args, " "), code, stderr.String())
		}
	}
}

// A run on a full disk ends with an error and leaves no partial file of weights.
func TestTrainOnFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		vggtest.Skip(t, "the right to mount a file system")
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
