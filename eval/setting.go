package eval

import (
	"fmt"
	"slices"
)

// Setting says how images are shown to a network.
type Setting struct {
	Protocol Protocol `json:"protocol" yaml:"protocol"`
	// Scales lists the smallest sides Q, in pixels, that an image is rescaled to; the
	// soft-max posteriors are averaged over them (§4.2).
	Scales []int `json:"scales" yaml:"scales"`
	// Flip averages the posteriors of the central crop or the dense pass with those of
	// the mirrored image (§3.2). Multi-crop and ten-crop hold mirror images anyway.
	Flip bool `json:"flip" yaml:"flip"`
}

// String names the setting as it stands behind a file of weights on the command line.
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

// validate checks the setting for a network of an input side.
func (s Setting) validate(side int) error {
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

// view is one protocol at one scale: what a posterior is the mean of.
type view struct {
	protocol Protocol // not MultiCropDense
	scale    int
	flip     bool
}

// views lists the setting's views, protocol by protocol and scale by scale.
func (s Setting) views() []view {
	var vs []view
	for _, p := range s.Protocol.parts() {
		for _, q := range s.Scales {
			vs = append(vs, view{p, q, s.Flip && !p.Mirrors()})
		}
	}
	return vs
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
