//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// asProgram is the environment variable that makes the test binary run as vgg.
const asProgram = "VGG_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if path := os.Getenv(killedWriter); path != "" {
		writeForever(path)
		return
	}
	vggtest.Main(m)
}

// TestSignals checks that a signal ends a training run with a checkpoint and exit code 130,
// and that the run can be resumed.
func TestSignals(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	for class, c := range []color.RGBA{{200, 9, 9, 255}, {9, 9, 200, 255}} {
		for i := range 5 {
			vggtest.WriteFiles(t, data, map[string][]byte{fmt.Sprintf("class%d/%d.png", class, i): vggtest.PNG(40, 40, func(x, y int) color.RGBA {
				if x == i && y == i {
					return color.RGBA{255, 255, 255, 255}
				}
				return c
			})})
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		run := filepath.Join(t.TempDir(), "run")
		train := func(args ...string) *exec.Cmd {
			cmd := exec.Command(self, append([]string{"train", "--data", data, "--out", run}, args...)...)
			cmd.Env = append(os.Environ(), asProgram+"=1")
			return cmd
		}
		recipe := []string{"--config=A", "--width=0.05", "--fc=8", "--input=32", "--scale-min=32", "--scale-max=36", "--test-scale=32",
			"--batch=4", "--epochs=100000", "--init=he", "--learning-rate=1e-5"}
		cmd := train(recipe...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		sent := false
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if !sent && strings.Contains(lines.Text(), " 2/100000 ") {
				sent = true
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
		}
		err = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(stderr.String(), "vgg train --resume --out "+run+" continues from there") {
			t.Fatalf("%v: %v, exit code %d, standard error %q", signal, err, code, stderr.String())
		}
		checkpoints, err := filepath.Glob(filepath.Join(run, "checkpoints", "checkpoint-*.safetensors"))
		if err != nil || len(checkpoints) == 0 {
			t.Fatalf("%v: no checkpoint is left, %v", signal, err)
		}
		out, err := train("--resume", "--set", "max_iterations=1").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "max_iterations: 1, the checkpoint") {
			t.Errorf("%v: %v, want that iterations can't be lowered:\n%s", signal, err, out)
		}
	}
}
