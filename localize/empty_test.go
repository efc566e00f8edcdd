package localize

import (
	"context"
	"testing"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/preprocess"
)

// TestEmptyLocator: no networks, nil ones or no picture are errors of each protocol, not panics.
func TestEmptyLocator(t *testing.T) {
	m, err := vgg.Open(t.Context(), "../testdata/compat/v0/boxes.safetensors", vgg.OpenOptions{Localiser: true})
	if err != nil {
		t.Fatal(err)
	}
	picture := &preprocess.Image{W: 20, H: 20, Pix: make([]byte, 20*20*3)}
	nets := []Net{{Model: m}}
	if _, err := (&Locator{Nets: nets}).Centre(t.Context(), picture); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		locator Locator
		im      *preprocess.Image
	}{
		{"no network", Locator{}, picture},
		{"nil network", Locator{Nets: make([]Net, 1)}, picture},
		{"empty network", Locator{Nets: []Net{{Model: &vgg.Model{Localisation: m.Localisation}}}}, picture},
		{"nil classifier", Locator{Nets: nets, Classifiers: []*vgg.Model{nil}}, picture},
		{"empty classifier", Locator{Nets: nets, Classifiers: []*vgg.Model{{Classes: m.Classes}}}, picture},
		{"nil picture", Locator{Nets: nets}, nil},
		{"empty picture", Locator{Nets: nets}, &preprocess.Image{}},
	} {
		for name, call := range map[string]func(context.Context, *preprocess.Image) error{
			"centre": func(ctx context.Context, im *preprocess.Image) error { _, err := c.locator.Centre(ctx, im); return err },
			"dense":  func(ctx context.Context, im *preprocess.Image) error { _, err := c.locator.Dense(ctx, im); return err },
			"multi-crop": func(ctx context.Context, im *preprocess.Image) error {
				_, err := c.locator.MultiCrop(ctx, im)
				return err
			},
		} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("panic: %v", p)
					}
				}()
				if err := call(t.Context(), c.im); err == nil {
					t.Error("no error")
				}
			})
		}
	}
}
