package interchange

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

var nativeName = regexp.MustCompile(`^(conv\d+_\d+|fc\d+)(\.bn)?\.(weight|bias)$`)

// HasNativeNames tells whether a tensor of the file has a name of scheme Native.
func HasNativeNames(f *weights.File) bool {
	return slices.ContainsFunc(f.Tensors(), func(e weights.Entry) bool {
		return nativeName.MatchString(e.Name)
	})
}

// lookup finds a parameter's tensor. ONNX files name those in 16 bits by their type.
func lookup(f *weights.File, name string) (weights.Entry, error) {
	e, err := f.Lookup(name)
	if err != nil && f.Format() == weights.ONNX {
		for _, half := range []string{".f16", ".bf16"} {
			if e, err := f.Lookup(name + half); err == nil {
				return e, nil
			}
		}
	}
	return e, err
}

// NativeLocations finds the parameters under their own names, and reports all tensors that
// don't fit. If more, the file may hold tensors that aren't among the parameters.
func NativeLocations(f *weights.File, params []*nn.Param, more bool) ([]Location, error) {
	var errs []error
	var locations []Location
	want := map[string]bool{}
	for _, p := range params {
		want[p.Name] = true
		e, err := lookup(f, p.Name)
		want[e.Name] = true
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Equal(e.Shape, p.Shape) && !(len(p.Shape) == 2 && len(e.Shape) == 4 && e.Shape[0] == p.Shape[0] && e.Shape[1]*e.Shape[2]*e.Shape[3] == p.Shape[1]) {
			errs = append(errs, &weights.ShapeError{File: f.Name(), Tensor: p.Name, Shape: e.Shape, Want: p.Shape})
		}
		locations = append(locations, Location{Tensor: e.Name})
	}
	for _, e := range f.Tensors() {
		if !want[e.Name] && !more && !strings.HasPrefix(e.Name, constantPrefix) {
			errs = append(errs, fmt.Errorf("vgg: %s: %s: the network has no such parameter", f.Name(), e.Name))
		}
	}
	return locations, joinFirst(f.Name(), errs)
}

// SwapInput turns a first convolution that takes BGR into one that takes RGB.
func SwapInput(n *network.Network) error {
	p := n.Params()[0]
	w := make([]float32, p.Len())
	if err := p.Get(w); err != nil {
		return err
	}
	plane := p.Shape[2] * p.Shape[3]
	for k := 0; k < len(w); k += 3 * plane {
		b, r := w[k:k+plane], w[k+2*plane:k+3*plane]
		for i := range b {
			b[i], r[i] = r[i], b[i]
		}
	}
	return p.Set(w)
}
