package cli_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
)

var mixedImages = flag.Int("mixed", 60, "images of mixed sizes that evaluation's memory is measured on")

// Evaluation of images of mixed sizes, a panorama among them, stays within the bound
// that it is given and prints.
func TestEvaluationMemory(t *testing.T) {
	vggtest.SkipShort(t, "takes hundreds of megabytes")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	weights := filepath.Join(dir, "w.safetensors")
	saveNarrow(t, weights)
	rng := rand.New(rand.NewPCG(5, 5))
	sizes := [][2]int{{5000, 200}, {20, 20}, {200, 5000}, {3000, 2000}}
	for i := range *mixedImages {
		var size [2]int
		if i < len(sizes) {
			size = sizes[i]
		} else {
			size = [2]int{60 + rng.IntN(640), 60 + rng.IntN(640)}
		}
		file := filepath.Join(dir, "data", []string{"a", "b"}[i%2], strconv.Itoa(i)+".jpg")
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		im := image.NewRGBA(image.Rect(0, 0, size[0], size[1]))
		for y := range size[1] {
			for x := range size[0] {
				im.SetRGBA(x, y, color.RGBA{uint8(x + i), uint8(y * i), uint8(x ^ y), 255})
			}
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, im, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, memory := range []string{"700MiB"} {
		cmd := exec.Command(self, "eval", weights, "--data", filepath.Join(dir, "data"), "--protocol", "dense", "--scales", "256", "--memory", memory, "--json")
		cmd.Args[0] = "vgg" // by which TestMain knows the command
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, &stderr)
		}
		var r struct {
			Images  int
			Memory  int64 `json:"memory_bytes"`
			PeakRSS int64 `json:"peak_rss_bytes"`
		}
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d images, peak %d MiB; %s", memory, r.Images, r.PeakRSS>>20, &stderr)
		if r.Images != *mixedImages || r.PeakRSS > r.Memory || r.PeakRSS < 100<<20 {
			t.Errorf("%d images with a peak of %d bytes, want %d within %d", r.Images, r.PeakRSS, *mixedImages, r.Memory)
		}
	}
}

// saveNarrow writes a D of an eighth of its width with random weights.
func saveNarrow(t *testing.T, path string) {
	t.Helper()
	o := network.DefaultOptions("D")
	o.Classes, o.Width, o.FC = 2, 1./8, 32
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
