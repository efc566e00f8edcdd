package preprocess

import (
	"fmt"
	"math"
)

// Filter is an antialiased rescaling filter as PIL defines it: the more an
// image is reduced, the wider its support, so that every source pixel counts.
type Filter int

const (
	Bilinear Filter = iota // triangle, support 1
	Bicubic                // Keys's cubic with a = -0.5, support 2
)

// String returns the filter's name.
func (f Filter) String() string {
	switch f {
	case Bilinear:
		return "bilinear"
	case Bicubic:
		return "bicubic"
	}
	return fmt.Sprintf("Filter(%d)", int(f))
}

// MarshalText writes the filter's name.
func (f Filter) MarshalText() ([]byte, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	return []byte(f.String()), nil
}

// UnmarshalText reads a filter's name, "bilinear" or "bicubic".
func (f *Filter) UnmarshalText(text []byte) error {
	for _, known := range []Filter{Bilinear, Bicubic} {
		if string(text) == known.String() {
			*f = known
			return nil
		}
	}
	return fmt.Errorf("preprocess: filter: %q, want bilinear or bicubic", text)
}

func (f Filter) validate() error {
	if f != Bilinear && f != Bicubic {
		return fmt.Errorf("preprocess: filter: %v, want bilinear or bicubic", f)
	}
	return nil
}

// at returns the filter's value at x. The unit is a source or a target pixel,
// whichever is wider.
func (f Filter) at(x float64) float64 {
	x = math.Abs(x)
	if f == Bilinear {
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
