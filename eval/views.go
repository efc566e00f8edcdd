package eval

import (
	"fmt"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/metrics"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/tensor"
)

// prepared is an image as the network will see it, or why it can't.
type prepared struct {
	index int
	views []*tensor.Tensor // (1,3,H,W): for each scale the image and, with Flip, its mirror image
	err   error
}

// prepare reads image i and makes its views.
func (o Options) prepare(m *vgg.Model, data *dataset.Dataset, i int) prepared {
	p := prepared{index: i}
	im, err := decode(data, i)
	if err != nil {
		p.err = err
		return p
	}
	for _, q := range o.Scales {
		seen, err := o.rescale(m, im, q)
		if err != nil {
			p.err = err
			return p
		}
		p.views = append(p.views, planar(m.Preprocess, seen))
		if o.Flip {
			p.views = append(p.views, planar(m.Preprocess, preprocess.FlipH(seen)))
		}
	}
	return p
}

// rescale returns what the protocol shows of the image rescaled isotropically to
// smallest side q.
func (o Options) rescale(m *vgg.Model, im *preprocess.Image, q int) (*preprocess.Image, error) {
	w, h := preprocess.ShortSide(im.W, im.H, q)
	if o.Protocol == Dense {
		if h > o.MaxPixels/w {
			return nil, fmt.Errorf("eval: %d×%d pixels rescaled to %d×%d, want at most %d in all", im.W, im.H, w, h, o.MaxPixels)
		}
		return preprocess.ResizeRegion(im, w, h, m.Preprocess.Filter, 0, 0, w, h)
	}
	side := m.Net.Options().Input
	x, y := preprocess.CentreCrop(w, h, side)
	return preprocess.ResizeRegion(im, w, h, m.Preprocess.Filter, x, y, x+side, y+side)
}

func planar(s preprocess.Spec, im *preprocess.Image) *tensor.Tensor {
	x := tensor.New(1, 3, im.H, im.W)
	s.Tensor(x.Data, im, [3]float32{})
	return x
}

// posteriors runs every view of the images, which are of one size view by view, and
// returns each image's class posteriors: the mean of its views' soft-max.
func (o Options) posteriors(net *vgg.Network, images []prepared) ([][]float32, error) {
	classes := net.Options().Classes
	mean := make([][]float64, len(images))
	for i := range mean {
		mean[i] = make([]float64, classes)
	}
	p := make([]float32, classes)
	views := len(images[0].views)
	for v := range views {
		y, err := net.Forward(stack(images, v))
		if err != nil {
			return nil, err
		}
		for i := range images {
			spatialMean(p, y.Index(i).Data)
			metrics.Softmax(p, p)
			for k, pk := range p {
				mean[i][k] += float64(pk)
			}
		}
	}
	out := make([][]float32, len(images))
	for i, sums := range mean {
		out[i] = make([]float32, classes)
		for k, s := range sums {
			out[i][k] = float32(s / float64(views))
		}
	}
	return out, nil
}

// stack returns view v of the images as one tensor (N,3,H,W).
func stack(images []prepared, v int) *tensor.Tensor {
	one := images[0].views[v]
	if len(images) == 1 {
		return one
	}
	x := tensor.New(len(images), one.Dim(1), one.Dim(2), one.Dim(3))
	for i, im := range images {
		copy(x.Index(i).Data, im.views[v].Data)
	}
	return x
}

// spatialMean averages a class score map: dst is (K), scores (K,OH,OW).
func spatialMean(dst, scores []float32) {
	n := len(scores) / len(dst)
	for k := range dst {
		sum := 0.0
		for _, s := range scores[k*n : (k+1)*n] {
			sum += float64(s)
		}
		dst[k] = float32(sum / float64(n))
	}
}
