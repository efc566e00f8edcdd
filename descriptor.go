package vgg

import (
	"context"
	"image"
	"math"

	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// Descriptor returns the descriptor of an image, by which images are compared and
// classified (appendix B): the rectified activation of the penultimate layer, fc7 in the
// paper's networks, averaged over space and with that of the mirror image, divided by its
// Euclidean norm. The whole image is shown, rescaled as Preprocess says. The cosine of two
// descriptors is their dot product.
//
// The numbers are, to the bit, those that package transfer writes with its default options
// for the same pixels. It has other layers, scales and ways to pool, and takes whole
// collections. Activations that are NaN or infinite are [ErrNotFinite].
//
// The image is any that [preprocess.FromImage] takes; [preprocess.DecodeFile] and
// [preprocess.DecodeReader] read files as training does.
func (m *Model) Descriptor(ctx context.Context, im image.Image) ([]float32, error) {
	if m == nil || m.Net == nil {
		return nil, ErrNoNetwork
	}
	net, err := m.Net.Until(m.Net.DescriptorLayer(), true)
	if err != nil {
		return nil, err
	}
	pixels, err := preprocess.FromImage(im)
	if err != nil {
		return nil, err
	}
	spec := m.Preprocess
	w, h := spec.Fit.Size(pixels.W, pixels.H, spec.Resize)
	if pixels, err = preprocess.Resize(pixels, w, h, spec.Filter); err != nil {
		return nil, err
	}
	x := tensor.New(2, 3, h, w)
	spec.Tensor(x.Index(0).Data, pixels, [3]float32{})
	spec.Tensor(x.Index(1).Data, preprocess.FlipH(pixels), [3]float32{})
	shape, err := net.OutputShape(2, h, w)
	if err != nil {
		return nil, err
	}
	y := tensor.New(shape...)
	if err := net.ForwardContext(ctx, y, x); err != nil {
		return nil, err
	}
	if !tensor.Finite(y.Data) {
		return nil, ErrNotFinite
	}
	return normalised(spatialMeans(y)), nil
}

// spatialMeans averages activations (N,K,H,W) over space, and then over the images. Each
// mean is rounded once, as package eval does.
func spatialMeans(y *tensor.Tensor) []float32 {
	n, k := y.Shape[0], y.Shape[1]
	pixels := y.Shape[2] * y.Shape[3]
	mean := make([]float32, k)
	for c := range mean {
		sum := 0.0
		for i := range n {
			one := 0.0
			for _, v := range y.Data[(i*k+c)*pixels:][:pixels] {
				one += float64(v)
			}
			sum += float64(float32(one / float64(pixels)))
		}
		mean[c] = float32(sum / float64(n))
	}
	return mean
}

// normalised divides v by its Euclidean norm; zeros stay zeros.
func normalised(v []float32) []float32 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return v
	}
	by := 1 / math.Sqrt(sum)
	for i, x := range v {
		v[i] = float32(by * float64(x))
	}
	return v
}
