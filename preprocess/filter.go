package preprocess

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Filter is a rescaling filter. [Bilinear] and [Bicubic] are antialiased as PIL defines
// them: the more an image is reduced, the wider their support, so that every source pixel
// counts. The others have the same support at every scale, as TensorFlow's and Keras's
// resize without antialias: a reduced image is made of a few source pixels.
type Filter int

const (
	Bilinear        Filter = iota // triangle, support 1
	Bicubic                       // Keys's cubic with a = -0.5, support 2
	BilinearAliased               // Bilinear without antialiasing
	BicubicAliased                // Bicubic without antialiasing
)

// filterNames are the filters' names, in their order.
var filterNames = []string{"bilinear", "bicubic", "bilinear-aliased", "bicubic-aliased"}

// wantFilter lists them.
var wantFilter = strings.Join(filterNames[:len(filterNames)-1], ", ") + " or " + filterNames[len(filterNames)-1]

// cubic tells whether the filter is one of the cubic ones.
func (f Filter) cubic() bool { return f == Bicubic || f == BicubicAliased }

// aliased tells whether the filter's support stays the same where an image is reduced.
func (f Filter) aliased() bool { return f == BilinearAliased || f == BicubicAliased }

// String returns the filter's name.
func (f Filter) String() string {
	if f.validate() != nil {
		return fmt.Sprintf("Filter(%d)", int(f))
	}
	return filterNames[f]
}

// MarshalText writes the filter's name.
func (f Filter) MarshalText() ([]byte, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	return []byte(f.String()), nil
}

// UnmarshalText reads a filter's name.
func (f *Filter) UnmarshalText(text []byte) error {
	i := slices.Index(filterNames, string(text))
	if i < 0 {
		return fmt.Errorf("preprocess: filter: %q, want %s", text, wantFilter)
	}
	*f = Filter(i)
	return nil
}

func (f Filter) validate() error {
	if f < 0 || int(f) >= len(filterNames) {
		return fmt.Errorf("preprocess: filter: Filter(%d), want %s", int(f), wantFilter)
	}
	return nil
}

// at returns the filter's value at x. The unit is a source or a target pixel,
// whichever is wider.
func (f Filter) at(x float64) float64 {
	x = math.Abs(x)
	if !f.cubic() {
		return max(1-x, 0)
	}
	const a = -0.5
	switch {
	case x < 1:
		return float64(float64(float64((a+2)*x)-(a+3))*x)*x + 1
	case x < 2:
		return float64((float64((float64((x-5)*x)+8)*x) - 4) * a)
	}
	return 0
}
