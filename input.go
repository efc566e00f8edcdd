package vgg

import (
	"fmt"
	"image"
)

// CentralCrop writes what the network sees of an image into dst: the central crop of the
// image rescaled to scale q in pixels, preprocessed, as planar values of shape (3,S,S) for
// an input of S pixels a side. q is at least S; Preprocess.Resize is the weights' own.
func (m *Model) CentralCrop(dst []float32, im image.Image, q int) error {
	if m == nil || m.Net == nil {
		return ErrNoNetwork
	}
	side := m.Net.Options().Input
	if q < side {
		return fmt.Errorf("vgg: scale %d, want at least the network's input side %d", q, side)
	}
	if len(dst) != 3*side*side {
		return fmt.Errorf("vgg: %d values for the crop, want 3×%d×%d", len(dst), side, side)
	}
	return m.centralCrop(dst, im, q)
}
