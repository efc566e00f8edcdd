package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/cli"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// environment returns VGG_CPU, which holds for the whole process, and nothing else.
func environment(key string) string {
	if key == vggtest.CPU {
		return os.Getenv(key)
	}
	return ""
}

// tinyRecipe trains within milliseconds.
var tinyRecipe = []string{"--config=A", "--input=32", "--scale-min=32", "--scale-max=36", "--test-scale=32", "--batch=4", "--epochs=1000", "--init=he", "--learning-rate=1e-5"}

// trainFolder makes a folder of two classes.
func trainFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for class, c := range map[string]color.RGBA{"dark": {9, 9, 9, 255}, "light": {240, 240, 240, 255}} {
		for i := range 5 {
			vggtest.WriteFiles(t, dir, map[string][]byte{fmt.Sprintf("%s/%d.png", class, i): vggtest.PNG(40, 40, func(x, y int) color.RGBA {
				if x == i && y == i {
					return vggtest.Red
				}
				return c
			})})
		}
	}
	return dir
}

// onText calls a function when some text has been written to it.
type onText struct {
	text string
	call func()
	seen strings.Builder
}

func (w *onText) Write(p []byte) (int, error) {
	w.seen.Write(p)
	if strings.Contains(w.seen.String(), w.text) {
		w.call()
	}
	return len(p), nil
}

// TestInterruptedTraining checks that an interrupted training run exits with 130 and leaves
// weights that open.
func TestInterruptedTraining(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		run := filepath.Join(t.TempDir(), "run")
		args := append([]string{"train", "--data", trainFolder(t), "--out", run, "--width=0.05", "--fc=8"}, tinyRecipe...)
		ctx, interrupt := context.WithCancelCause(t.Context())
		human := &onText{text: " 2/1000 ", call: func() { interrupt(errors.New("signal")) }}
		var other bytes.Buffer
		var stdout, stderr io.Writer = human, &other
		if asJSON {
			args = append(args, "--json")
			stdout, stderr = stderr, stdout
		}
		code := cli.Main(ctx, args, strings.NewReader(""), stdout, stderr, environment)
		if code != 130 || !strings.Contains(other.String(), "interrupted; the weights so far are in "+filepath.Join(run, "last.safetensors")) {
			t.Fatalf("exit code %d, %q", code, other.String())
		}
		if asJSON != strings.HasPrefix(other.String(), `{"error":`) {
			t.Errorf("JSON %v: %q", asJSON, other.String())
		}
		if strings.Contains(human.seen.String(), " 4/1000 ") {
			t.Error("the run went on after the interruption")
		}
		for _, name := range []string{"last.safetensors", "best.safetensors"} {
			if _, err := vgg.Open(t.Context(), filepath.Join(run, name), vgg.OpenOptions{}); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(filepath.Join(run, "curve.png")); err != nil {
			t.Error(err)
		}
	}
}

// TestInterrupted checks that every command that computes stops at an interruption.
func TestInterrupted(t *testing.T) {
	dir := trainFolder(t)
	weights := filepath.Join(t.TempDir(), "w.safetensors")
	m := tiny.Colours(3)
	m.Classes = []string{"dark", "light", "other"}
	if err := m.Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	run := filepath.Join(t.TempDir(), "run")
	for _, args := range [][]string{
		{"classify", weights, filepath.Join(dir, "dark", "0.png")},
		{"eval", weights, "--data", dir},
		{"bench", "A", "--width=0.05", "--side=32", "--fc=8"},
		append([]string{"train", "--data", dir, "--out", run, "--width=0.05", "--fc=8"}, tinyRecipe...),
	} {
		var stderr strings.Builder
		if code := cli.Main(ctx, args, strings.NewReader(""), io.Discard, &stderr, environment); code != 130 || stderr.String() != "vgg: interrupted\n" {
			t.Errorf("vgg %s: exit code %d, standard error %q", args[0], code, stderr.String())
		}
	}
	if _, err := os.Stat(run); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run directory is left behind: %v", err)
	}
}

// blocked is a standard input that nobody writes to.
type blocked struct{}

func (blocked) Read([]byte) (int, error) { select {} }

// TestInterruptedWaiting checks that the first signal ends a command that waits for its
// standard input, and that named pipes and devices are refused at once.
func TestInterruptedWaiting(t *testing.T) {
	weights := filepath.Join(t.TempDir(), "w.safetensors")
	if err := tiny.Colours(3).Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { interrupt(errors.New("signal")) })
	var stdout, stderr bytes.Buffer
	done := make(chan int)
	go func() {
		done <- cli.Main(ctx, []string{"classify", weights, "-"}, blocked{}, &stdout, &stderr, environment)
	}()
	select {
	case code := <-done:
		if code != 130 {
			t.Errorf("exit code %d, %q", code, stderr.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a signal while it waits for standard input isn't heard")
	}
}
