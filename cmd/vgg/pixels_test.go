//go:build unix

package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/preprocess"
)

// A photo is a file and the same picture as pixels, with the box of what it shows.
type photo struct {
	class string
	raw   []byte
	image *preprocess.Image // as it is stored
	box   [4]float64
}

// photos returns n JPEG files by class, none of them square: noise with a bright square.
func photos(t *testing.T, n int, seed int) []photo {
	t.Helper()
	var all []photo
	for channel, class := range []string{"red", "green", "blue"} {
		for i := range n {
			w, h := 27+i, 19-i%2
			x, y := 3+2*i, 2+i
			noise := vggtest.Noise(uint64(100*seed + 10*channel + i))
			im := image.NewRGBA(image.Rect(0, 0, w, h))
			for v := range h {
				for u := range w {
					c := noise(u, v)
					p := [3]uint8{c.R / 4, c.G / 4, c.B / 4}
					p[channel] += 80
					if x <= u && u < x+9 && y <= v && v < y+6 {
						p[channel] += 100
					}
					im.SetRGBA(u, v, color.RGBA{p[0], p[1], p[2], 255})
				}
			}
			var b bytes.Buffer
			if err := jpeg.Encode(&b, im, &jpeg.Options{Quality: 95}); err != nil {
				t.Fatal(err)
			}
			stored, err := preprocess.Decode(b.Bytes(), preprocess.DecodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, photo{class, b.Bytes(), stored, [4]float64{float64(x), float64(y), float64(x + 9), float64(y + 6)}})
		}
	}
	return all
}

// photoFolders returns two folders with the networks of testdata/compat and with photographs:
// those of change, and the same pictures as they are to be seen. change returns the file, the
// picture to be seen, and the box in each.
func photoFolders(t *testing.T, change func(i int, p photo) (file []byte, seen *preprocess.Image, box, seenBox [4]float64)) (dir, want string) {
	t.Helper()
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for _, d := range dirs {
		for _, name := range []string{"net.safetensors", "boxes.safetensors", "recipe.yaml"} {
			data, err := os.ReadFile(filepath.Join("../../testdata/compat/v0", name))
			if err != nil {
				t.Fatal(err)
			}
			vggtest.WriteFiles(t, d, map[string][]byte{name: data})
		}
	}
	for seed, part := range []string{"train", "val"} {
		tables := [2]string{"file,x0,y0,x1,y1,class\n", "file,x0,y0,x1,y1,class\n"}
		for i, p := range photos(t, 3, seed) {
			file, seen, box, seenBox := change(i, p)
			var b bytes.Buffer
			if err := png.Encode(&b, seen); err != nil {
				t.Fatal(err)
			}
			// The format shows in the bytes, not in the name.
			name := fmt.Sprintf("%s/%d.jpg", p.class, i%3)
			vggtest.WriteFiles(t, filepath.Join(dirs[0], "data", part), map[string][]byte{name: file})
			vggtest.WriteFiles(t, filepath.Join(dirs[1], "data", part), map[string][]byte{name: b.Bytes()})
			for k, box := range [][4]float64{box, seenBox} {
				tables[k] += fmt.Sprintf("%s,%v,%v,%v,%v,%s\n", name, box[0], box[1], box[2], box[3], p.class)
			}
		}
		for k, d := range dirs {
			vggtest.WriteFiles(t, filepath.Join(d, "data"), map[string][]byte{part + "_boxes.csv": []byte(tables[k])})
		}
	}
	return dirs[0], dirs[1]
}

// sameByEveryCommand runs commands in two folders and compares what they print and write.
func sameByEveryCommand(t *testing.T, dir, want, net, scales string, trainFlags string) {
	t.Helper()
	for _, c := range []string{
		"classify NET data/val/*/*.jpg --scale Q",
		"eval NET --data data --scales Q",
		"eval NET --data data --scales Q --protocol dense --flip --out eval.jsonl",
		"eval NET --data data --scales Q --protocol multi-crop",
		"eval NET --data data --scales Q --protocol ten-crop",
		"explain NET data/val/red/0.jpg --scales Q --out x.png",
		"features NET data --scales Q --out f.npy",
		"transfer train f.npy --out svm.safetensors --c 1",
		"transfer predict svm.safetensors data/val/*/*.jpg",
		"index NET data/train --scales Q --out index.npy",
		"similar index.npy data/val/*/*.jpg",
	} {
		args := append(strings.Fields(strings.NewReplacer("NET", net, "Q", scales).Replace(c)), "--json")
		got, _ := vggIn(t, dir, args...)
		wanted, _ := vggIn(t, want, args...)
		sameJSON(t, c, strings.ReplaceAll(got, dir, want), wanted, 0)
	}
	for _, name := range []string{"f.npy", "index.npy"} {
		if readFile(t, dir, name) != readFile(t, want, name) {
			t.Errorf("%s: other descriptors", name)
		}
	}
	train := strings.Fields("train --data data --recipe recipe.yaml --epochs 3 --out run " + trainFlags)
	vggIn(t, dir, train...)
	vggIn(t, want, train...)
	sameJSON(t, "run/metrics.jsonl", readFile(t, dir, "run/metrics.jsonl"), readFile(t, want, "run/metrics.jsonl"), 0)
	sameNetwork(t, open(t, dir, "run", "last.safetensors"), open(t, want, "run", "last.safetensors"), 0)
}

// TestOrientations: a photograph of any EXIF orientation is to every command the photograph
// that a viewer shows. The weights are an earlier version's, which say nothing of it.
func TestOrientations(t *testing.T) {
	dir, want := photoFolders(t, func(i int, p photo) ([]byte, *preprocess.Image, [4]float64, [4]float64) {
		o := 8 - i%8
		return vggtest.Turned(p.raw, byte(o)), preprocess.Turn(p.image, o), p.box, preprocess.TurnBox(p.box, p.image.W, p.image.H, o)
	})
	sameByEveryCommand(t, dir, want, "net.safetensors", "18", "--orient upright")

	for _, c := range []string{
		"localize boxes.safetensors data/val/*/*.jpg --classifier net.safetensors",
		"localize eval boxes.safetensors --data data",
		"localize eval boxes.safetensors --classifier net.safetensors --data data --protocol multi-crop",
		"localize eval boxes.safetensors --classifier net.safetensors --data data --protocol dense --out boxes.jsonl",
	} {
		args := append(strings.Fields(c), "--json")
		got, _ := vggIn(t, dir, args...)
		wanted, _ := vggIn(t, want, args...)
		sameJSON(t, c, got, wanted, 1e-12)
	}
	train := strings.Fields("localize train --init-from net.safetensors --data data --recipe recipe.yaml --epochs 3 --orient upright --out boxrun")
	vggIn(t, dir, train...)
	vggIn(t, want, train...)
	sameJSON(t, "boxrun/metrics.jsonl", readFile(t, dir, "boxrun/metrics.jsonl"), readFile(t, want, "boxrun/metrics.jsonl"), 1e-5)
	got, wanted := open(t, dir, "boxrun", "last.safetensors").Localisation, open(t, want, "boxrun", "last.safetensors").Localisation
	for class, b := range wanted.ClassBoxes {
		for i := range b {
			if math.Abs(b[i]-got.ClassBoxes[class][i]) > 1e-12 {
				t.Errorf("mean box of class %d: %v, want %v", class, got.ClassBoxes[class], b)
			}
		}
	}

	// Pixels as they are stored give something else, and don't go into the same result file.
	upright, _ := vggIn(t, dir, "classify", "net.safetensors", "data/val/red/0.jpg", "--json")
	stored, _ := vggIn(t, dir, "classify", "net.safetensors", "data/val/red/0.jpg", "--json", "--orient", "stored")
	if upright == stored {
		t.Error("--orient stored changes nothing")
	}
	fails(t, dir, "orientation upright, want stored", "eval net.safetensors --data data --scales 18 --protocol dense --flip --out eval.jsonl --orient stored")
	fails(t, dir, "orientation upright, want stored", "features net.safetensors data --scales 18 --out f.npy --orient stored")
	fails(t, dir, "orientation upright, want stored", "localize eval boxes.safetensors --classifier net.safetensors --data data --protocol dense --out boxes.jsonl --orient stored")

	// A file says itself which way up it was trained.
	vggIn(t, dir, "convert", "net.safetensors", "stored.safetensors", "--orient", "stored")
	if got, _ := vggIn(t, dir, "classify", "stored.safetensors", "data/val/red/0.jpg", "--json"); got != stored {
		t.Errorf("weights that say stored: %s, want %s", got, stored)
	}
}

// fails runs a command that must print an error.
func fails(t *testing.T, dir, want, command string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, strings.Fields(command)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), asProgram+"=1", "VGG_CPU=go")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
		t.Errorf("vgg %s: %v, want %q:\n%s", command, err, want, out)
	}
}

// TestSquash: to a network of squashed images, a photograph is to every command the square that
// torchvision's Resize((s, s)) makes of it.
func TestSquash(t *testing.T) {
	const side = 20
	// The squares have other pixel statistics than the photographs, which training takes its mean
	// and its colour shift from.
	const sameStatistics = " --init-from net.safetensors --set colour_shift=0"
	dir, want := photoFolders(t, func(i int, p photo) ([]byte, *preprocess.Image, [4]float64, [4]float64) {
		seen, err := preprocess.Resize(p.image, side, side, preprocess.Bilinear)
		if err != nil {
			t.Fatal(err)
		}
		x, y := side/float64(p.image.W), side/float64(p.image.H)
		return p.raw, seen, p.box, [4]float64{p.box[0] * x, p.box[1] * y, p.box[2] * x, p.box[3] * y}
	})
	for _, d := range []string{dir, want} {
		vggIn(t, d, "convert", "net.safetensors", "net-squash.safetensors", "--resize", "squash")
	}
	if s := open(t, dir, "net-squash.safetensors").Preprocess; s.Fit != preprocess.Squash || s.Resize != s.Crop || s.Crop != 16 {
		t.Errorf("converted with --resize squash: %+v", s)
	}
	sameByEveryCommand(t, dir, want, "net-squash.safetensors", fmt.Sprint(side), "--resize squash --scale-min 20 --scale-max 20 --test-scale 20"+sameStatistics)
	if s := open(t, dir, "run", "last.safetensors").Preprocess; s.Fit != preprocess.Squash || s.Resize != side {
		t.Errorf("trained on squashed images: %+v", s)
	}
	for _, c := range []string{
		"localize eval boxes.safetensors --data data --scales 20 --resize squash",
		"localize eval boxes.safetensors --classifier net.safetensors --data data --scales 20 --protocol multi-crop --merge-below 0 --resize squash",
		"localize eval boxes.safetensors --classifier net-squash.safetensors --data data --scales 20 --protocol dense --merge-below 0 --resize squash",
	} {
		args := append(strings.Fields(c), "--json")
		got, _ := vggIn(t, dir, args...)
		wanted, _ := vggIn(t, want, args...)
		sameJSON(t, c, got, wanted, 1e-5)
	}
	train := strings.Fields("localize train --init-from net.safetensors --data data --recipe recipe.yaml --epochs 3 --resize squash --scale 20 --set colour_shift=0 --out boxrun")
	vggIn(t, dir, train...)
	vggIn(t, want, train...)
	sameJSON(t, "boxrun/metrics.jsonl", readFile(t, dir, "boxrun/metrics.jsonl"), readFile(t, want, "boxrun/metrics.jsonl"), 1e-4)

	// The weights' own scale is the crop's side: one crop, of which the dense map is one place.
	centre, _ := vggIn(t, dir, "eval", "net-squash.safetensors", "--data", "data", "--csv", "centre.csv")
	vggIn(t, dir, "eval", "net-squash.safetensors", "--data", "data", "--protocol", "dense", "--csv", "dense.csv")
	if a, b := readFile(t, dir, "centre.csv"), readFile(t, dir, "dense.csv"); a != b {
		t.Errorf("dense evaluation of one crop:\n%s\nwant that of the crop:\n%s", b, a)
	}
	if !strings.Contains(centre, "Top-1") && !strings.Contains(centre, "top-1") {
		t.Errorf("no error in:\n%s", centre)
	}
	for _, protocol := range []string{"multi-crop", "multi-crop-dense", "ten-crop"} {
		fails(t, dir, "squashed to 16×16", "eval net-squash.safetensors --data data --protocol "+protocol)
	}
	fails(t, dir, "squashed to 16×16", "localize eval boxes.safetensors --classifier net.safetensors --data data --protocol multi-crop --scales 16 --resize squash")
	fails(t, dir, "images are rescaled by squash, want as for the first network, keep", "localize eval boxes.safetensors --classifier net-squash.safetensors --data data --protocol dense")
}
