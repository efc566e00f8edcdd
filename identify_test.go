package vgg

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/releases"
	"github.com/verydeep/vgg/weights"
)

func TestImageNetNames(t *testing.T) {
	names, synsets := ImageNetClasses(), ImageNetSynsets()
	if len(names) != 1000 || len(synsets) != 1000 || !slices.IsSorted(synsets) || len(slices.Compact(slices.Clone(synsets))) != 1000 {
		t.Fatalf("%d names, %d synsets, want 1000 different ones, sorted", len(names), len(synsets))
	}
	for i, want := range map[int]string{0: "tench", 2: "great white shark", 134: "crane", 517: "crane", 639: "maillot", 999: "toilet tissue"} {
		if names[i] != want {
			t.Errorf("class %d is %q, want %q", i, names[i], want)
		}
	}
	// The validation images that carry their class in their name.
	dir := vggtest.Shared(t, "imagenet-sample")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, e := range entries {
		synset, name, ok := strings.Cut(strings.TrimSuffix(e.Name(), ".JPEG"), "_")
		if i, found := slices.BinarySearch(synsets, synset); ok && filepath.Ext(e.Name()) == ".JPEG" {
			checked++
			if !found || strings.ReplaceAll(name, "_", " ") != names[i] {
				t.Errorf("%s: class %d is %q", e.Name(), i, names[i])
			}
		}
	}
	if checked < 100 {
		t.Errorf("%d images, want 100", checked)
	}
}

// TestKnownLayouts: a layout that only a project's releases have gets their preprocessing
// and ImageNet's classes. Torchvision's names are used by everybody, and tell neither.
func TestKnownLayouts(t *testing.T) {
	paper := network.Options{Config: "D", Classes: 1000, Width: 1, FC: 4096, Input: 224}
	other := func(change func(*network.Options)) network.Options { o := paper; change(&o); return o }
	for _, c := range []struct {
		names  interchange.Scheme
		format weights.Format
		o      network.Options
		want   string
	}{
		{interchange.Keras, weights.Keras, paper, "keras"},
		{interchange.Paper, weights.CaffeModel, paper, "caffe"},
		{interchange.Paper, weights.NPZ, paper, "vgg"},
		{interchange.Timm, weights.Safetensors, other(func(o *network.Options) { o.Config = "D-BN" }), "torchvision"},
		{interchange.Torchvision, weights.PyTorch, paper, ""},
		{interchange.Keras, weights.Keras, other(func(o *network.Options) { o.Classes = 10 }), ""},
		{interchange.Paper, weights.CaffeModel, other(func(o *network.Options) { o.Width = 0.5 }), ""},
		{interchange.Paper, weights.CaffeModel, other(func(o *network.Options) { o.Config = "64 64 M FC" }), ""},
	} {
		k := Description{Names: string(c.names), Format: c.format, Options: c.o}
		if got := k.knownLayout(); got != c.want {
			t.Errorf("%s of %s, %+v: %q, want %q", c.names, c.format, c.o, got, c.want)
		}
	}
}

// holes leaves holes in a file where zeros are written.
type holes struct{ *os.File }

var zeros = make([]byte, 1<<20)

func (h holes) Write(p []byte) (int, error) {
	if len(p) == len(zeros) && bytes.Equal(p, zeros) {
		_, err := h.Seek(int64(len(p)), io.SeekCurrent)
		return len(p), err
	}
	return h.File.Write(p)
}

// writeState writes a state dict of D at full width, with torchvision's names and a head of
// these units, as torch.save writes it. All values are 0, those of the last bias tail.
func writeState(t *testing.T, path string, units []int, tail float32) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(holes{file})
	write := func(name string, size int, next func(left int) []byte) {
		w, err := z.CreateRaw(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store, CompressedSize64: uint64(size), UncompressedSize64: uint64(size)})
		for left := size; err == nil && left > 0; {
			b := next(left)
			left -= len(b)
			_, err = w.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text := func(s string) string {
		return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
	}
	number := func(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }
	pickle, stored := "\x80\x02}(", 0
	add := func(name string, value float32, shape ...int) {
		n, strides := 1, ""
		for _, k := range slices.Backward(shape) {
			strides, n = number(n)+strides, n*k
		}
		pickle += text(name) + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" + text(fmt.Sprint(stored)) + text("cpu") + number(n) + "tQ" + number(0) + "("
		for _, k := range shape {
			pickle += number(k)
		}
		pickle += "t(" + strides + "t\x89ccollections\nOrderedDict\n)RtR"
		write(fmt.Sprintf("data/%d", stored), 4*n, func(left int) []byte {
			if value != 0 {
				return binary.LittleEndian.AppendUint32(nil, math.Float32bits(value))
			}
			return zeros[:min(left, len(zeros))]
		})
		stored++
	}
	in, at := 3, 0
	for _, k := range []int{64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0} {
		if k == 0 {
			at++
			continue
		}
		add(fmt.Sprintf("features.%d.weight", at), 0, k, in, 3, 3)
		add(fmt.Sprintf("features.%d.bias", at), 0, k)
		in, at = k, at+2
	}
	in = 512 * 7 * 7
	for i, k := range units {
		value := float32(0)
		if i == len(units)-1 {
			value = tail
		}
		add(fmt.Sprintf("classifier.%d.weight", 3*i), 0, k, in)
		add(fmt.Sprintf("classifier.%d.bias", 3*i), value, k)
		in = k
	}
	for name, data := range map[string]string{"data.pkl": pickle + "u.", "byteorder": "little", "version": "3\n"} {
		write(name, len(data), func(int) []byte { return []byte(data) })
	}
	if err := errors.Join(z.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestReleaseOfConvolutions: a release is recognised whether its head is read or not, one of
// convolutions alone is told from the whole network's, and a file with another head is neither.
func TestReleaseOfConvolutions(t *testing.T) {
	paper := []int{4096, 4096, 1000}
	for _, c := range []struct {
		file    string
		units   []int
		tail    float32
		o       OpenOptions
		release string // "" for none
		pixels  string
	}{
		{"vgg16-397923af.pth", paper, 0, OpenOptions{}, "torchvision D", "torchvision"},
		{"vgg16-397923af.pth", paper, 0, OpenOptions{Headless: true}, "torchvision D", "torchvision"},
		{"vgg16-397923af.pth", paper, 0, OpenOptions{Headless: true, Config: "D", Preprocess: "unit"}, "torchvision D", "unit"},
		{"vgg16-397923af.pth", []int{4096, 4096, 10}, 0, OpenOptions{Headless: true, Preprocess: "unit"}, "", "unit"},
		{"vgg16-397923af.pth", nil, 0, OpenOptions{Headless: true, Preprocess: "unit"}, "", "unit"},
		{"other.pth", paper, 0, OpenOptions{Headless: true, Preprocess: "unit"}, "", "unit"},
		{"vgg16_features-amdegroot-88682ab5.pth", paper, float32(math.NaN()), OpenOptions{}, "torchvision D-features", "vgg16_features"},
		{"vgg16_features-amdegroot-88682ab5.pth", paper, float32(math.NaN()), OpenOptions{Headless: true}, "torchvision D-features", "vgg16_features"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		writeState(t, path, c.units, c.tail)
		f, err := weights.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Identify(t.Context(), f, c.o)
		if err != nil {
			t.Errorf("%s, head %v, %+v: %v", c.file, c.units, c.o, err)
		} else if d.Provenance["release"] != c.release || (d.Release != nil) != (c.release != "") || d.Preprocess.Name != c.pixels {
			t.Errorf("%s, head %v, %+v: release %q, %+v, pixels of %s, want %q, %s", c.file, c.units, c.o, d.Provenance["release"], d.Release, d.Preprocess.Name, c.release, c.pixels)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReleasesInBGR: Caffe's and Keras's releases take BGR, torchvision's RGB.
func TestReleasesInBGR(t *testing.T) {
	for _, r := range releases.All() {
		if takesBGR(r.Preprocess.Name) == (r.Source == "torchvision") {
			t.Errorf("%s: BGR %v", r.File, takesBGR(r.Preprocess.Name))
		}
	}
}
