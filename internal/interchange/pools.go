package interchange

import (
	"fmt"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/weights"
)

// adaptivePool follows a pooling to a size: to one pixel it is a global pooling. By averages to
// the size of the paper's last map it is that of torchvision's networks, which does nothing to
// the paper's inputs, and to another size a layer of the head. The network with a maximum is one
// for inputs whose map has the size, which stays as it is.
func (r *layerReader) adaptivePool(k architecture.Kind, a attributes) error {
	size := a["size"]
	switch {
	case len(size) != 2 || size[0] != size[1] || size[0] < 1 || size[0] > network.MaxInput:
		return fmt.Errorf("pooling to %v pixels, want a square", size)
	case size[0] == 1:
		return r.globalPool(k)
	}
	side := int(size[0])
	r.o.adaptive = k == architecture.GlobalAverage
	if w := r.last(); w != nil && !w.relu && w.Kind == architecture.Convolution {
		return fmt.Errorf("it follows the convolution %s without a rectification, want one", w.name)
	}
	if r.o.adaptive && !r.vector && side <= architecture.MaxAdaptive && side != network.DefaultInput>>r.o.Count(architecture.Pooling) {
		return r.inHead(architecture.Layer{Kind: architecture.Adaptive, Side: side})
	}
	return r.onMap(side)
}

// PoolsAdaptively tells whether the framework pools the last map to the size that the head
// reads, by averages, whatever the size of the map: an AdaptiveAvgPool2d is in the file, or the
// names are those of torchvision's VGGs, which have one to 7×7 pixels.
func (o *Outline) PoolsAdaptively(side int) bool {
	if o.Complete {
		return o.adaptive && o.mapSide == side
	}
	return o.scheme == Torchvision && side == network.DefaultInput>>o.Count(architecture.Pooling)
}

// averagePool follows a pooling by windows of averages: one of the whole map is a global
// pooling, one of a single pixel does nothing.
func (r *layerReader) averagePool(a attributes) error {
	windows := a["kernel_shape"]
	square := len(windows) > 0 && a.all("kernel_shape", windows[0]) && a.all("pads", 0) && a.all("dilations", 1)
	switch {
	case square && windows[0] == 1 && a.all("strides", 1):
		return nil
	case r.coversMap(a):
		return r.globalPool(architecture.GlobalAverage)
	case square && windows[0] > 1 && r.f.Format() == "PyTorch" && r.poolsLast():
		if err := r.onMap(int(windows[0])); err != nil {
			return err
		}
		return r.globalPool(architecture.GlobalAverage)
	}
	if r.f.Format() == weights.ONNX && r.poolsLast() {
		return fmt.Errorf("windows %v: want max-pooling, 2×2 with stride 2, or averages of the whole map; if the model has an AdaptiveAvgPool2d here, which torch.onnx.export writes so, save it with its code (torch.jit.script(model).save)", windows)
	}
	return fmt.Errorf("windows %v: want max-pooling, 2×2 with stride 2", windows)
}

// poolsLast tells whether the layer that is read stands after the last convolution.
func (r *layerReader) poolsLast() bool {
	for _, l := range r.f.Layers()[r.index:] {
		if l.Op == "conv" {
			return false
		}
	}
	return true
}

// onMap notes that the network is one for inputs whose last map has that side.
func (r *layerReader) onMap(side int) error {
	if r.o.mapSide != 0 && r.o.mapSide != side {
		return fmt.Errorf("pooling to %d×%d pixels after one to %d×%[3]d", side, side, r.o.mapSide)
	}
	r.o.mapSide = side
	return nil
}

// poolingInput checks the side of the input against the map that a pooling in the file
// leaves as it is, or as one pixel. Where nothing gives the side, it is the paper's if that
// fits.
func (o *Outline) poolingInput(a architecture.Architecture, given int) error {
	poolings := a.Poolings()
	if o.mapSide == 0 || firstOf(given, network.DefaultInput)>>poolings == o.mapSide {
		return nil
	}
	least, most := o.mapSide<<poolings, (o.mapSide+1)<<poolings-1
	if given > 0 {
		return fmt.Errorf("a pooling for maps of %d×%d pixels, those of inputs of %d to %d, want inputs of %d pixels", o.mapSide, o.mapSide, least, most, given)
	}
	return &AmbiguousError{fmt.Sprintf("a pooling to %d×%d pixels: inputs of %d to %d pixels have maps of this size: say the side (--input %d)", o.mapSide, o.mapSide, least, most, least)}
}

// normalize follows a normalisation of the pixels, whose numbers are the preprocessing.
func (r *layerReader) normalize() error {
	if len(r.o.layers) > 0 {
		return fmt.Errorf("want it before the first convolution")
	}
	return nil
}
