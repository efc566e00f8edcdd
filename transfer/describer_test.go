package transfer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
	"github.com/verydeep/vgg/preprocess"
)

// TestDescriber describes pictures one by one as Extract does all of them, to the bit.
func TestDescriber(t *testing.T) {
	dir := t.TempDir()
	data := [][]byte{vggtest.PNG(60, 50, vggtest.Noise(1)), vggtest.PNG(44, 90, vggtest.Noise(2))}
	for i, d := range data {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.png", i)), d, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	images, err := OpenImages(t.Context(), ImageOptions{Layout: Files}, dir)
	if err != nil {
		t.Fatal(err)
	}
	open := func(seed uint64) func() (*vgg.Model, error) {
		return func() (*vgg.Model, error) { return tiny.Random(16, seed), nil }
	}
	one := Net{Weights: "one", Open: open(1)}
	scales := Net{Weights: "one", Scales: []int{32, 48}, Open: open(1)}
	layer := Net{Weights: "one", Layer: "conv3_2", Open: open(1)}
	other := Net{Weights: "two", Layer: "pool4", Open: open(2)}
	for name, c := range map[string]struct {
		nets []Net
		o    Options
	}{
		"the command line's": {[]Net{one}, DefaultOptions()},
		"without mirrors":    {[]Net{one}, Options{}},
		"scales":             {[]Net{scales}, DefaultOptions()},
		"averaged":           {[]Net{scales}, Options{Flip: true, Average: true}},
		"raw":                {[]Net{scales}, Options{Flip: true, Raw: true}},
		"maximum":            {[]Net{layer}, Options{Flip: true, Max: true}},
		"unrectified":        {[]Net{layer}, Options{Flip: true, Unrectified: true}},
		"central crop":       {[]Net{layer}, Options{Flip: true, Crop: true}},
		"two networks":       {[]Net{scales, other}, DefaultOptions()},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "x.npy")
			if _, err := Extract(t.Context(), c.nets, images, out, c.o); err != nil {
				t.Fatal(err)
			}
			d, err := Open(t.Context(), out)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			want, err := d.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			first, err := NewDescriber(c.nets, c.o)
			if err != nil {
				t.Fatal(err)
			}
			second, err := DescriberOf(d.Header, func(n NetID) (*vgg.Model, error) {
				if n.Weights == "two" {
					return tiny.Random(16, 2), nil
				}
				return tiny.Random(16, 1), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, file := range data {
				im, err := preprocess.Decode(file, preprocess.DecodeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if ways := first.Orients(); !slices.Equal(ways, []preprocess.Orient{preprocess.Stored}) {
					t.Errorf("orientations %v", ways)
				}
				for _, describer := range []*Describer{first, second} {
					got, err := describer.Describe(t.Context(), map[preprocess.Orient]*preprocess.Image{preprocess.Stored: im})
					if err != nil {
						t.Fatal(err)
					}
					if err := vggtest.SameBits(got, want[i*describer.Dim():(i+1)*describer.Dim()]); err != nil {
						t.Errorf("image %d: %v", i, err)
					}
				}
			}
		})
	}
	t.Run("another network", func(t *testing.T) {
		d, err := NewDescriber([]Net{one}, DefaultOptions())
		if err != nil {
			t.Fatal(err)
		}
		h := d.header
		h.Nets = slices.Clone(h.Nets)
		h.Nets[0].Preprocess.Filter = preprocess.Bicubic
		if _, err := DescriberOf(h, func(NetID) (*vgg.Model, error) { return tiny.Random(16, 1), nil }); err == nil {
			t.Error("other preprocessing is no error")
		}
	})
}
