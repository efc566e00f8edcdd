package preprocess

import "fmt"

// Fit chooses the size that an image is rescaled to before it is cropped.
type Fit int

const (
	// Keep keeps the aspect: the smallest side becomes Q (section 3.2), as by torchvision's
	// Resize(Q). It is the paper's.
	Keep Fit = iota
	// Squash makes the image Q×Q whatever its aspect, as torchvision's Resize((Q, Q)), Keras's
	// target_size and timm's crop_mode "squash" do.
	Squash
)

// String returns the fit's name.
func (f Fit) String() string {
	switch f {
	case Keep:
		return "keep"
	case Squash:
		return "squash"
	}
	return fmt.Sprintf("Fit(%d)", int(f))
}

// MarshalText writes the fit's name.
func (f Fit) MarshalText() ([]byte, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	return []byte(f.String()), nil
}

// UnmarshalText reads a fit's name, "keep" or "squash".
func (f *Fit) UnmarshalText(text []byte) error {
	for _, known := range []Fit{Keep, Squash} {
		if string(text) == known.String() {
			*f = known
			return nil
		}
	}
	return fmt.Errorf("preprocess: fit: %q, want keep or squash", text)
}

func (f Fit) validate() error {
	if f != Keep && f != Squash {
		return fmt.Errorf("preprocess: fit: %v, want keep or squash", f)
	}
	return nil
}

// Size returns the size that an image of w×h pixels is rescaled to: with smallest side q
// ([ShortSide]), or squashed to q×q. All must be at least 1.
func (f Fit) Size(w, h, q int) (int, int) {
	if f == Squash {
		return q, q
	}
	return ShortSide(w, h, q)
}
