package transfer

import (
	"errors"
	"math"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
)

// Model.Descriptor has the bits of the descriptor that a file gets.
func TestModelDescriptor(t *testing.T) {
	images := open(t, Auto, folder(t))
	for seed, fit := range []preprocess.Fit{preprocess.Keep, preprocess.Squash} {
		n := smallNet(uint64(seed))
		m, err := n.Open()
		if err != nil {
			t.Fatal(err)
		}
		m.Preprocess.Fit, m.Preprocess.Resize = fit, 44
		n.Open = func() (*vgg.Model, error) { return m, nil }
		out, _ := extract(t, []Net{n}, images, "f.npy", DefaultOptions())
		d, x := contents(t, out)
		described := 0
		for i, row := range d.Rows {
			if row.Error != "" {
				continue
			}
			data, err := images.Read(i)
			if err != nil {
				t.Fatal(err)
			}
			im, err := preprocess.Decode(data, preprocess.DecodeOptions{Orient: m.Preprocess.Orient})
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.Descriptor(t.Context(), im)
			if err != nil {
				t.Fatal(err)
			}
			sameBits(t, row.File, got, x[i*d.Header.Dim:][:d.Header.Dim])
			if norm(got) < 0.99 {
				t.Errorf("%s: norm %v", row.File, norm(got))
			}
			described++
		}
		if described < 5 {
			t.Errorf("%d images described", described)
		}
	}
}

func TestModelDescriptorErrors(t *testing.T) {
	im := preprocess.NewImage(40, 40)
	for _, m := range []*vgg.Model{nil, {}} {
		if _, err := m.Descriptor(t.Context(), im); !errors.Is(err, vgg.ErrNoNetwork) {
			t.Errorf("without a network: %v", err)
		}
	}
	m, err := smallNet(1).Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Descriptor(t.Context(), nil); err == nil {
		t.Error("a nil image: no error")
	}
	for _, p := range m.Net.Params() {
		p.Value[0] = float32(math.NaN())
	}
	if _, err := m.Descriptor(t.Context(), im); !errors.Is(err, vgg.ErrNotFinite) {
		t.Errorf("weights with NaN: %v", err)
	}
}
