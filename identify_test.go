package vgg

import (
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

// TestReleasesInBGR: Caffe's and Keras's releases take BGR, torchvision's RGB.
func TestReleasesInBGR(t *testing.T) {
	for _, r := range releases.All() {
		if takesBGR(r.Preprocess.Name) == (r.Source == "torchvision") {
			t.Errorf("%s: BGR %v", r.File, takesBGR(r.Preprocess.Name))
		}
	}
}
