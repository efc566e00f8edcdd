package vgg

import (
	"encoding/json"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/weights"
)

// ExportOptions say in which form a model is written for others to read.
type ExportOptions struct {
	// Format is the kind of file: [weights.Safetensors], [weights.PyTorch], [weights.Keras],
	// [weights.NPZ] or [weights.ONNX]. Empty: as the path's extension says; see [FormatOf].
	Format weights.Format
	// Names is the scheme of the tensors' names: "native" (conv1_1.weight), "torchvision"
	// (features.0.weight), or of npz "conv1_1" (conv1_1_W, (H,W,in,out)). Empty: native of
	// safetensors, torchvision of PyTorch, conv1_1 of npz. Keras and ONNX have their own.
	Names string
	// DType is the type of the weights in the file: "f32", which is the default, "f16" or
	// "bf16". What is not a weight of a convolution or a fully connected layer stays f32.
	DType string
	// ONNX is how an ONNX model is made.
	ONNX ONNXOptions
	// Progress, where set, is told how many of the network's values are written. If it
	// returns false the export stops with an error, and an earlier file at the path stays.
	Progress func(done, total int64) (goOn bool)
}

// watch returns a function that makes sources report to o.Progress, of total values in
// all.
func (o ExportOptions) watch(total int64) func(weights.Source) weights.Source {
	var done int64
	stopped := false // a source that then yields nothing is an error
	return func(s weights.Source) weights.Source {
		if data := s.Data; o.Progress != nil {
			s.Data = func(yield func([]float32) bool) {
				if stopped {
					return
				}
				for piece := range data {
					if !yield(piece) {
						return
					}
					done += int64(len(piece))
					if stopped = !o.Progress(done, total); stopped {
						return
					}
				}
			}
		}
		return s
	}
}

// FormatOf tells the kind of file that an extension asks for: .safetensors, .pth and
// .pt, .weights.h5, .npz, .onnx.
func FormatOf(path string) (weights.Format, error) {
	if strings.HasSuffix(path, ".weights.h5") {
		return weights.Keras, nil
	}
	ext := strings.ToLower(filepath.Ext(path))
	for f, exts := range map[weights.Format][]string{
		weights.Safetensors: {".safetensors"}, weights.PyTorch: {".pth", ".pt"}, weights.NPZ: {".npz"}, weights.ONNX: {".onnx"},
	} {
		if slices.Contains(exts, ext) {
			return f, nil
		}
	}
	return "", fmt.Errorf("vgg: %s: extension %q, want .safetensors, .pth, .weights.h5, .npz or .onnx", path, ext)
}

// Export writes the model to a file that other tools read. What they pass over travels
// in the file's metadata: class names, preprocessing and options, so that [Open] finds
// them again. Keras's files have no place for it.
//
// Weights are written as the network has them: for pixels in RGB, preprocessed by
// Model.Preprocess. Its standard deviation could be folded into the first convolution,
// its mean not: a border of zeros stands for the mean pixel, and no other constant
// would. So both stay a step before the network.
func (m *Model) Export(path string, o ExportOptions) error {
	fail := func(err error) error { return fmt.Errorf("vgg: %s: %w", path, err) }
	if m.Localisation != nil {
		return fail(m.Localisation.errLocaliser(len(m.Classes)))
	}
	if err := checkModel(m.Net.opts, m.Classes, m.Preprocess, nil); err != nil {
		return fail(err)
	}
	if o.Format == "" {
		var err error
		if o.Format, err = FormatOf(path); err != nil {
			return err
		}
	}
	var total int64
	for _, p := range m.Net.Params() {
		total += int64(p.Len())
	}
	watch := o.watch(total)
	if o.Format == weights.ONNX {
		if o.Names != "" {
			return fail(fmt.Errorf("names %q, but ONNX has its own", o.Names))
		}
		dtype, err := dtypeOf(o.DType)
		if err != nil {
			return fail(err)
		}
		o.ONNX.DType, o.ONNX.watch = dtype, watch
		return m.SaveONNX(path, o.ONNX)
	}
	if o.Format == weights.Keras {
		if o.Names != "" || o.DType != "" && o.DType != "f32" {
			return fail(fmt.Errorf("names %q and dtype %q, but Keras has its own names, and f32", o.Names, o.DType))
		}
		tensors, err := m.Net.kerasTensors()
		if err != nil {
			return fail(err)
		}
		for i, s := range tensors {
			tensors[i] = watch(s)
		}
		return weights.WriteKeras(path, tensors)
	}
	tensors, err := m.sources(o)
	if err != nil {
		return fail(err)
	}
	for i, s := range tensors {
		tensors[i] = watch(s)
	}
	meta, err := m.metadata()
	if err != nil {
		return fail(err)
	}
	switch o.Format {
	case weights.Safetensors:
		return weights.WriteSafetensors(path, meta, tensors)
	case weights.PyTorch:
		return weights.WritePyTorch(path, meta, tensors)
	case weights.NPZ:
		return weights.WriteNPZ(path, meta, tensors)
	}
	return fail(fmt.Errorf("format %s can be read, not written", o.Format))
}

// metadata is what travels with the weights, each value in JSON.
func (m *Model) metadata() (map[string]string, error) {
	meta := map[string]string{}
	for key, v := range map[string]any{metaOptions: m.Net.opts, metaClasses: m.Classes, metaPreprocess: m.Preprocess, metaProvenance: m.Provenance} {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("metadata %s: %w", key, err)
		}
		meta[key] = string(text)
	}
	if m.Localisation != nil {
		text, err := json.Marshal(m.Localisation)
		if err != nil {
			return nil, fmt.Errorf("metadata %s: %w", metaLocalisation, err)
		}
		meta[metaLocalisation] = string(text)
	}
	return meta, nil
}

// dtypeOf is the files' word for a type.
func dtypeOf(s string) (string, error) {
	switch s {
	case "":
		return "F32", nil
	case "f32", "f16", "bf16":
		return strings.ToUpper(s), nil
	}
	return "", fmt.Errorf("dtype %q, want f32, f16 or bf16", s)
}

// sources lists the tensors under the names and of the type asked for.
func (m *Model) sources(o ExportOptions) ([]weights.Source, error) {
	dtype, err := dtypeOf(o.DType)
	if err != nil {
		return nil, err
	}
	if o.Names == "" {
		o.Names = map[weights.Format]string{weights.PyTorch: schemeTorchvision, weights.NPZ: schemePaper}[o.Format]
	}
	var tensors []weights.Source
	switch o.Names {
	case "", namesNative:
		tensors = m.Net.Tensors()
	case schemeTorchvision:
		tensors, err = m.Net.torchvisionTensors()
	case schemePaper:
		tensors, err = m.Net.columnTensors()
	default:
		err = fmt.Errorf("names %q, want %s, %s or %s", o.Names, namesNative, schemeTorchvision, schemePaper)
	}
	if err != nil {
		return nil, err
	}
	for i := range tensors {
		if len(tensors[i].Shape) > 1 {
			tensors[i].DType = dtype
		}
	}
	return tensors, nil
}

// torchvisionTensors names the tensors by the indices that torchvision's layers have:
// in features every convolution, normalisation, rectification and pooling counts, in the
// classifier every layer, rectification and dropout.
func (n *Network) torchvisionTensors() ([]weights.Source, error) {
	names := map[string]string{}
	part, index := "features", 0
	for _, l := range n.chain.Layers() {
		switch l := l.(type) {
		case *nn.Conv:
			if len(l.Weight.Shape) == 2 && part == "features" {
				part, index = "classifier", 0
			}
			names[l.Name()] = fmt.Sprintf("%s.%d", part, index)
			index++
			if l.ReLU {
				index++
			}
		case *nn.BatchNorm:
			if part != "features" {
				return nil, fmt.Errorf("%s: torchvision has no names for batch normalisation in the classifier", l.Name())
			}
			names[l.Name()] = fmt.Sprintf("%s.%d", part, index)
			index += 2 // its rectification too
		default:
			index++
		}
	}
	tensors := n.Tensors()
	for i, t := range tensors {
		at := strings.LastIndexByte(t.Name, '.')
		tensors[i].Name = names[t.Name[:at]] + t.Name[at:]
	}
	return tensors, nil
}

// columnTensors are the tensors as vgg16_weights.npz has them: conv1_1_W of shape
// (R,R,in,out), fc6_W of shape (in,out) with its in-units in (H,W,C) order, conv1_1_b.
func (n *Network) columnTensors() ([]weights.Source, error) {
	var tensors []weights.Source
	for i, s := range n.Tensors() {
		p := n.Params()[i]
		layer, word := s.Name[:strings.LastIndexByte(s.Name, '.')], s.Name[strings.LastIndexByte(s.Name, '.')+1:]
		switch norm := strings.HasSuffix(layer, ".bn"); {
		case norm:
			words := map[string]string{"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
			s.Name = layer + "." + words[word]
		case word == "bias":
			s.Name = layer + "_b"
		default:
			from := supply{columns: true, channelsLast: true}
			in := p.Len() / p.Shape[0]
			from.channels, from.side = in, 1
			if len(p.Shape) == 4 {
				from.channels, from.side = p.Shape[1], p.Shape[2]
				s.Shape = []int{p.Shape[2], p.Shape[3], p.Shape[1], p.Shape[0]}
			} else {
				s.Shape = []int{in, p.Shape[0]}
				if c, ok := n.firstConnected(p); ok {
					from.channels = c
					for from.side*from.side*c < in {
						from.side++
					}
				}
			}
			s.Name, s.Data = layer+"_W", columns(p, from)
		}
		tensors = append(tensors, s)
	}
	return tensors, nil
}

// kerasTensors are those of columnTensors as Keras calls them: conv1_1/kernel,
// conv1_1/bias, conv1_1.bn/gamma.
func (n *Network) kerasTensors() ([]weights.Source, error) {
	tensors, err := n.columnTensors()
	for i, s := range tensors {
		if layer, ok := strings.CutSuffix(s.Name, "_W"); ok {
			tensors[i].Name = layer + "/kernel"
		} else if layer, ok := strings.CutSuffix(s.Name, "_b"); ok {
			tensors[i].Name = layer + "/bias"
		} else {
			at := strings.LastIndexByte(s.Name, '.')
			tensors[i].Name = s.Name[:at] + "/" + s.Name[at+1:]
		}
	}
	return tensors, err
}

// firstConnected tells how many channels the activation has that p is the fully
// connected layer of, if it is the first.
func (n *Network) firstConnected(p *nn.Param) (channels int, ok bool) {
	for _, l := range n.chain.Layers() {
		conv, isConv := l.(*nn.Conv)
		switch {
		case isConv && conv.Weight == p:
			return channels, channels > 0
		case isConv && len(conv.Weight.Shape) == 2:
			return 0, false
		case isConv:
			channels = conv.Weight.Shape[0]
		}
	}
	return 0, false
}

// columns yields a weight in-unit by in-unit, in the order of a file.
func columns(p *nn.Param, from supply) iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		k := p.Shape[0]
		buf := make([]float32, k)
		for j := range p.Len() / k {
			if p.GetInputs(from.inUnit(j), buf) != nil || !yield(buf) {
				return
			}
		}
	}
}
