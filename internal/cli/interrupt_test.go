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

// TestInterruptedRefining: refining that is interrupted leaves no model in the output, or the one
// that was there, and the same command goes on to the bits of one that wasn't interrupted.
func TestInterruptedRefining(t *testing.T) {
	dir, files := t.TempDir(), map[string][]byte{}
	for kind, class := range []string{"red", "green", "blue"} {
		for i := range []int{18, 6, 6}[kind] { // of one more than of the others together, for SVMs that learn next to nothing
			c := [][3]uint8{{200, 0, 0}, {0, 200, 0}, {0, 0, 200}}[kind]
			c[(kind+1)%3] = uint8(i)
			files[fmt.Sprintf("%s/%d.png", class, i)] = vggtest.PNG(36, 32, vggtest.Plain(color.RGBA{c[0], c[1], c[2], 255}))
		}
	}
	photos := filepath.Join(dir, "photos")
	vggtest.WriteFiles(t, photos, files)
	weights := filepath.Join(dir, "w.safetensors")
	if err := tiny.Colours(3).Save(t.Context(), weights); err != nil {
		t.Fatal(err)
	}
	teach := func(out, until string, more ...string) (code int, stdout, stderr string) {
		t.Helper()
		ctx, interrupt := context.WithCancelCause(t.Context())
		defer interrupt(nil)
		errs := &onText{text: until, call: func() {
			if until != "" {
				interrupt(errors.New("signal"))
			}
		}}
		var text strings.Builder
		args := append([]string{"teach", photos, "--net", weights, "--out", filepath.Join(dir, out), "--descriptors", filepath.Join(dir, "d.npy"), "--refine", "--c=1e-9", "--duplicates=0", "--sheet=none"}, more...)
		code = cli.Main(ctx, args, strings.NewReader(""), &text, errs, environment)
		return code, text.String(), errs.seen.String()
	}
	values := func(out string) (all []float32) {
		t.Helper()
		m, err := vgg.Open(t.Context(), filepath.Join(dir, out), vgg.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Net.Params() {
			v := make([]float32, p.Len())
			if err := p.Get(v); err != nil {
				t.Fatal(err)
			}
			all = append(all, v...)
		}
		return all
	}
	code, stdout, stderr := teach("whole.safetensors", "")
	if code != 0 || !strings.Contains(stdout, "of the refined model (") || !strings.Contains(stdout, "Of the SVMs, before fine-tuning:") {
		t.Fatalf("whole: exit code %d, %s%s", code, stdout, stderr)
	}
	want := values("whole.safetensors")
	interrupted := func(until string, more ...string) {
		t.Helper()
		code, _, stderr := teach("m.safetensors", until, more...)
		if code != 130 || !strings.Contains(stderr, "interrupted; the same command continues, and completes "+filepath.Join(dir, "m.safetensors")) {
			t.Fatalf("interrupted at %s: exit code %d, %s", until, code, stderr)
		}
	}
	same := func(what string) {
		t.Helper()
		if err := vggtest.SameBits(values("m.safetensors"), want); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, until := range []string{"Refining (head)", "Refining (upper)"} {
		interrupted(until)
		if _, err := os.Stat(filepath.Join(dir, "m.safetensors")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("interrupted at %s: the output exists: %v", until, err)
		}
	}
	head := filepath.Join(dir, "m-refine", "head", "best.safetensors")
	before, err := os.Stat(head)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := teach("m.safetensors", ""); code != 0 {
		t.Fatalf("gone on with: exit code %d, %s", code, stderr)
	}
	same("gone on with")
	if after, err := os.Stat(head); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the head has learnt twice: %v", err)
	}

	// Of other pictures it is another run, which --overwrite begins; it, too, goes on.
	vggtest.WriteFiles(t, photos, map[string][]byte{"blue/more.png": vggtest.PNG(36, 32, vggtest.Plain(color.RGBA{9, 9, 220, 255}))})
	if code, _, stderr := teach("whole.safetensors", "", "--overwrite"); code != 0 {
		t.Fatalf("another run: exit code %d, %s", code, stderr)
	}
	old := want
	want = values("whole.safetensors")
	if vggtest.SameBits(old, want) == nil {
		t.Fatal("another picture changes nothing")
	}
	interrupted("Refining (upper)", "--overwrite")
	if err := vggtest.SameBits(values("m.safetensors"), old); err != nil {
		t.Errorf("the output while another is made: %v", err)
	}
	if before, err = os.Stat(head); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := teach("m.safetensors", "", "--overwrite"); code != 0 {
		t.Fatalf("gone on with by --overwrite: exit code %d, %s", code, stderr)
	}
	same("gone on with by --overwrite")
	if after, err := os.Stat(head); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the head has learnt twice by --overwrite: %v", err)
	}
	if err := os.Remove(filepath.Join(photos, "blue", "more.png")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "m.safetensors")); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := teach("m.safetensors", ""); code != 1 || !strings.Contains(stderr, "m-refine: the refining of other pictures, or by other options: want another --out, or --overwrite to begin anew") {
		t.Errorf("other pictures without --overwrite: exit code %d, %s", code, stderr)
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
	a, b, out := filepath.Join(dir, "dark", "0.png"), filepath.Join(dir, "light", "0.png"), t.TempDir()
	for _, args := range [][]string{
		{"teach", dir, "--net", weights, "--out", filepath.Join(out, "m.safetensors"), "--descriptors", filepath.Join(out, "d.npy")},
		{"distance", a, b, "--net", weights, "--features=conv1_1", "--out", filepath.Join(out, "map.png")},
		{"stylise", a, b, "--net", weights, "--content-layers=conv1_1", "--style-layers=conv1_1", "--long-side=32", "--out", filepath.Join(out, "s.png")},
		{"explain", weights, a, "--out", filepath.Join(out, "e.png")},
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
