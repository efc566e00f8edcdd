package vgg

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/weights"
)

// TestReleaseTable recomputes what the table says of each release.
func TestReleaseTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Releases() {
		o := DefaultOptions(r.Name)
		if r.Headless {
			o.Classes = 0
		}
		s, err := Summarise(o)
		if err != nil {
			t.Fatal(err)
		}
		if s.Parameters != r.Parameters || s.Config != r.Name {
			t.Errorf("%s: %d parameters of %s, the network has %d", r.File, r.Parameters, r.Name, s.Parameters)
		}
		if err := r.Preprocess.Validate(); err != nil || r.Preprocess.Crop != o.Input || r.Preprocess.Resize != 256 {
			t.Errorf("%s: preprocessing %+v, %v", r.File, r.Preprocess, err)
		}
		if bgr(r.Preprocess.Name) == (r.Source == "torchvision") {
			t.Errorf("%s: BGR %v", r.File, bgr(r.Preprocess.Name))
		}
		if !strings.HasPrefix(r.URL, "https://") || !strings.HasSuffix(r.URL, "/"+r.File) || seen[r.URL] || r.Licence == "" {
			t.Errorf("%s: address %s, licence %q", r.File, r.URL, r.Licence)
		}
		seen[r.URL] = true
		if !(r.Top1 < r.Top5 && r.Top1 > 0.69 && r.Top5 < 0.93) && (r.Top1 != 0 || r.Top5 != 0 || !r.Headless) {
			t.Errorf("%s: accuracies %v and %v", r.File, r.Top1, r.Top5)
		}
		switch r.Source {
		case "torchvision": // whose names end with the hash
			m := regexp.MustCompile(`-([0-9a-f]{8})\.pth$`).FindStringSubmatch(r.File)
			if m == nil || !strings.HasPrefix(r.SHA256, m[1]) || r.MD5 != "" {
				t.Errorf("%s: SHA-256 %q", r.File, r.SHA256)
			}
		case "keras":
			if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(r.MD5) || r.SHA256 != "" {
				t.Errorf("%s: MD5 %q", r.File, r.MD5)
			}
		}
	}
	if len(seen) != 15 {
		t.Errorf("%d releases, want 15", len(seen))
	}
}

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

// TestKnownLayouts: what only the releases of a project look like has their
// preprocessing and ImageNet's classes; torchvision's names are everybody's.
func TestKnownLayouts(t *testing.T) {
	paper := Options{Config: "D", Classes: 1000, Width: 1, FC: 4096, Input: 224}
	other := func(change func(*Options)) Options { o := paper; change(&o); return o }
	for _, c := range []struct {
		names  string
		format weights.Format
		o      Options
		want   string
	}{
		{schemeKeras, weights.Keras, paper, "keras"},
		{schemePaper, weights.CaffeModel, paper, "caffe"},
		{schemePaper, weights.MatConvNet, paper, "vgg"},
		{schemePaper, weights.NPZ, paper, "vgg"},
		{schemeTimm, weights.Safetensors, other(func(o *Options) { o.Config = "D-BN" }), "torchvision"},
		{schemeTorchvision, weights.PyTorch, paper, ""},
		{schemeKeras, weights.Keras, other(func(o *Options) { o.Classes = 10 }), ""},
		{schemePaper, weights.CaffeModel, other(func(o *Options) { o.Width = 0.5 }), ""},
		{schemePaper, weights.CaffeModel, other(func(o *Options) { o.Config = "64 64 M FC" }), ""},
	} {
		k := Contents{Names: c.names, Format: c.format, Options: c.o}
		if got := k.knownLayout(); got != c.want {
			t.Errorf("%s of %s, %+v: %q, want %q", c.names, c.format, c.o, got, c.want)
		}
	}
}
