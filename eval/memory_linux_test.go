package eval_test

import (
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/resources"
)

// The process that calls the library stays within the bound that the options give, though
// nobody tunes the garbage collector: the weights are most of what is live, and garbage of
// their size would exceed the bound.
func TestProcessStaysWithinMemory(t *testing.T) {
	const images = 150
	if dir := os.Getenv("VGG_TEST_EVALUATE"); dir != "" {
		evaluateWithin(t, dir)
		return
	}
	vggtest.SkipShort(t, "takes hundreds of megabytes")
	dir := t.TempDir()
	wideModel(t, filepath.Join(dir, "w.safetensors"))
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range images {
		file := func(i int) string { return filepath.Join(dir, "data", []string{"a", "b"}[i%2], strconv.Itoa(i)+".jpg") }
		if i < 10 {
			photograph(t, file(i), 500+rng.IntN(500), 500+rng.IntN(500), i)
		} else if err := os.Link(file(i%10), file(i)); err != nil {
			t.Fatal(err)
		}
	}
	child := exec.Command(os.Args[0], "-test.run=^TestProcessStaysWithinMemory$", "-test.v")
	child.Env = append(os.Environ(), "VGG_TEST_EVALUATE="+dir, "GOGC=100", "GOMEMLIMIT=off")
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var done, unreadable int
	var bound int64
	if _, err := fmt.Sscanf(string(regexp.MustCompile(`evaluated .*`).Find(out)), "evaluated %d, unreadable %d within %d", &done, &unreadable, &bound); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	match := regexp.MustCompile(`VmHWM:\s+([0-9]+) kB`).FindSubmatch(out)
	if match == nil {
		t.Fatalf("no peak in %s", out)
	}
	kib, err := strconv.ParseInt(string(match[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d images, peak %d MiB of %d MiB", done, kib>>10, bound>>20)
	if peak := kib << 10; done != images || unreadable != 0 || peak > bound || peak < bound/2 {
		t.Errorf("%d images and %d unreadable with a peak of %d MiB, want %d within %d MiB, and at least half of it", done, unreadable, peak>>20, images, bound>>20)
	}
}

// evaluateWithin evaluates the weights and images of a folder within a bound of memory,
// and prints what came of it with the process's peak.
func evaluateWithin(t *testing.T, dir string) {
	m, err := vgg.Open(t.Context(), filepath.Join(dir, "w.safetensors"), vgg.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := dataset.Open(t.Context(), filepath.Join(dir, "data"), dataset.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Of the default bound, 2 GiB are for images and activations.
	o := eval.Options{Resources: resources.Resources{Workers: 4, Memory: eval.DefaultMemory(m.Net) - 2<<30 + 80<<20}, Scales: []int{224}, Flip: true}
	r, err := eval.Run(t.Context(), m, d, o)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("evaluated %d, unreadable %d within %d\n%s\n", r.Images, r.Unreadable, o.Memory, status)
}

// wideModel writes a network that consists of fully connected weights for the most part:
// 190 MiB.
func wideModel(t *testing.T, path string) {
	t.Helper()
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC = 2, 1./8, 8000
	net, err := network.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.Init(network.He, 1); err != nil {
		t.Fatal(err)
	}
	spec, err := preprocess.Preset("vgg")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&vgg.Model{Net: net, Classes: []string{"a", "b"}, Preprocess: spec}).Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

// photograph writes a JPEG file of w×h pixels.
func photograph(t *testing.T, path string, w, h, seed int) {
	t.Helper()
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			im.SetRGBA(x, y, color.RGBA{uint8(x + seed), uint8(y * seed), uint8(x ^ y), 255})
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(f, im, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
