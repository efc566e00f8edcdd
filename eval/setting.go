package eval

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/preprocess"
)

// Setting is how a network is shown images.
type Setting struct {
	Protocol Protocol `json:"protocol" yaml:"protocol"`
	// Scales lists the test scales Q: smallest sides, in pixels, that an image is rescaled
	// to, or for a network whose Fit is Squash both sides. The soft-max posteriors are averaged over them (§4.2).
	Scales []int `json:"scales" yaml:"scales"`
	// Flip averages the posteriors of the central crop or the dense pass with those of
	// the mirrored image (§3.2). Multi-crop and ten-crop contain mirror images anyway.
	Flip bool `json:"flip" yaml:"flip"`
}

// String returns the setting as it stands behind a file of weights on the command line.
func (s Setting) String() string {
	text := ""
	for i, q := range s.Scales {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprint(q)
	}
	text += ":" + s.Protocol.String()
	if s.Flip {
		text += ", flipped"
	}
	return text
}

// Validate returns an error if a network whose input crop has the given side, in pixels,
// can't be shown images in this way.
func (s Setting) Validate(side int) error {
	if err := s.Protocol.validate(); err != nil {
		return err
	}
	if len(s.Scales) == 0 {
		return fmt.Errorf("eval: no scales, want at least one")
	}
	for i, q := range s.Scales {
		if q < side {
			return fmt.Errorf("eval: scale %d, want at least the network's input side %d", q, side)
		}
		if slices.Contains(s.Scales[:i], q) {
			return fmt.Errorf("eval: scale %d twice, want each once", q)
		}
	}
	return nil
}

// CheckFit returns an error where the setting has no meaning for a network of the given input
// side whose images are rescaled by f. A squashed image of that side is one crop, so several
// crops want a larger scale.
func (s Setting) CheckFit(f preprocess.Fit, side int) error {
	if f != preprocess.Squash {
		return nil
	}
	for _, p := range s.Protocol.parts() {
		if p.Mirrors() && slices.Contains(s.Scales, side) {
			return fmt.Errorf("eval: protocol %v of images squashed to %d×%d, which hold one crop of the network's input side: want larger scales, or centre or dense", s.Protocol, side, side)
		}
	}
	return nil
}

// View is one protocol at one test scale. A setting's posterior is the mean over its
// views.
type View struct {
	Protocol Protocol // any but MultiCropDense, which is two views
	Scale    int      // Q, pixels
	Flip     bool     // as in [Setting]; false for protocols that contain mirror images
}

// Views lists the setting's views, protocol by protocol and scale by scale.
func (s Setting) Views() []View {
	var views []View
	for _, p := range s.Protocol.parts() {
		for _, q := range s.Scales {
			views = append(views, View{p, q, s.Flip && !p.Mirrors()})
		}
	}
	return views
}

// setting returns the setting that consists of the view alone.
func (v View) setting() Setting { return Setting{v.Protocol, []int{v.Scale}, v.Flip} }

// pieces returns how many images or crops the view shows of an image.
func (v View) pieces() int {
	switch {
	case v.Protocol == MultiCrop:
		return 2 * gridSide * gridSide
	case v.Protocol == TenCrop:
		return 10
	case v.Flip:
		return 2
	}
	return 1
}

// combine returns the setting's posterior, given that of each of its views: the mean
// over scales, then over the protocols' parts.
func (s Setting) combine(views [][]float32) []float32 {
	var parts [][]float32
	for i := 0; i < len(views); i += len(s.Scales) {
		parts = append(parts, Mean(views[i:i+len(s.Scales)]...))
	}
	return Mean(parts...)
}

// Mean returns the mean of posteriors, class by class, summed in float64 in their order
// and rounded once. The mean of one is itself.
func Mean(posteriors ...[]float32) []float32 {
	if len(posteriors) == 1 {
		return posteriors[0]
	}
	mean := make([]float32, len(posteriors[0]))
	for k := range mean {
		sum := 0.0
		for _, p := range posteriors {
			sum += float64(p[k])
		}
		mean[k] = float32(sum / float64(len(posteriors)))
	}
	return mean
}
