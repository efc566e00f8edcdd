package vgg

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/internal/interchange"
	"github.com/verydeep/vgg/progress"
	"github.com/verydeep/vgg/weights"
)

// ExportOptions chooses the form of a file that other tools read.
type ExportOptions struct {
	// Format is the kind of file: [weights.Safetensors], [weights.PyTorch], [weights.Keras],
	// [weights.NPZ] or [weights.ONNX]. Empty: by the path's extension; see [FormatOf].
	Format weights.Format
	// Names is the naming scheme of the tensors: "native" (conv1_1.weight), "torchvision"
	// (features.0.weight) or, for npz, "conv1_1" (conv1_1_W, (H,W,in,out)). Empty: native
	// for safetensors, torchvision for PyTorch, conv1_1 for npz. Keras and ONNX have their
	// own.
	Names string
	// DType is the type of the convolutions' and fully connected layers' weights in the
	// file: "f32", which is the default, "f16" or "bf16". All else stays f32.
	DType string
	// ONNX chooses the form of an ONNX graph.
	ONNX ONNXOptions
	// Progress is told the network's values that are written and those in all.
	Progress progress.Func
}

// ONNXOptions chooses the form of an ONNX graph. The zero value is the classifier for any
// number of images, which gives class scores.
type ONNXOptions struct {
	// Batch is the number of images that the graph takes; 0 for any.
	Batch int
	// Dense writes the fully connected layers as convolutions (§3.2), so that the graph
	// takes images of any size from Options.Input on and gives a class score map. Otherwise
	// they are matrix products, and images are Options.Input pixels a side.
	Dense bool
	// Softmax ends the graph with the soft-max over classes.
	Softmax bool
}

// FormatOf returns the format that a path's extension asks for: .safetensors, .pth and
// .pt, .weights.h5, .keras, .npz, .onnx.
func FormatOf(path string) (weights.Format, error) {
	if strings.HasSuffix(path, ".weights.h5") || strings.HasSuffix(path, ".keras") {
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
	return "", fmt.Errorf("vgg: %s: extension %q, want .safetensors, .pth, .keras, .weights.h5, .npz or .onnx", path, ext)
}

// Export writes the model to a file that other tools read. Class names, preprocessing and
// options are in the file's metadata, which those tools ignore and from which [Open]
// restores them. The file appears under its name only when it is complete; an earlier file
// stays until then, and also if ctx ends.
//
// The weights are those of the network: for pixels in RGB, preprocessed by
// Model.Preprocess. The standard deviation could be folded into the first convolution, but
// the mean could not: a border of zeros stands for the mean pixel, and no other constant
// would. So both stay a step before the network.
//
// An ONNX model has opset 13, an input of preprocessed RGB, (N,3,H,W), and the layers'
// names for its nodes and tensors. Dropout, which does nothing in inference, is left out.
// The graph tells the network itself, so that its dropout and the units of absent layers
// are not restored, and a network that ends early is a graph for others only.
//
// A .keras file is a whole model of Keras 3, which takes RGB pixels of 0 … 255: the
// preprocessing of their values and the ending are layers of it. A .weights.h5 file has the
// weights alone, for pixels that are preprocessed.
//
// A localisation network is written as native safetensors only.
func (m *Model) Export(ctx context.Context, path string, o ExportOptions) error {
	fail := func(err error) error { return fmt.Errorf("vgg: %s: %w", path, err) }
	if m == nil || m.Net == nil {
		return fail(errors.New("a model without a network"))
	}
	if o.Format == "" {
		var err error
		if o.Format, err = FormatOf(path); err != nil {
			return err
		}
	}
	native := o.Format == weights.Safetensors && (o.Names == "" || o.Names == string(interchange.Native))
	if m.Localisation != nil && !native {
		return fail(m.Localisation.refusal(len(m.Classes)))
	}
	if err := m.check(); err != nil {
		return fail(err)
	}
	scheme, dtype, err := o.form()
	if err != nil {
		return fail(err)
	}
	tensors, err := interchange.Tensors(m.Net, scheme, dtype)
	if err != nil {
		return fail(err)
	}
	watchSources(ctx, tensors, o.Progress)
	meta, err := m.metadata()
	if err != nil {
		return fail(err)
	}
	switch o.Format {
	case weights.Safetensors:
		err = weights.WriteSafetensors(path, meta, tensors)
	case weights.PyTorch:
		err = weights.WritePyTorch(path, meta, tensors)
	case weights.NPZ:
		err = weights.WriteNPZ(path, meta, tensors)
	case weights.Keras:
		err = m.exportKeras(path, meta, tensors)
	case weights.ONNX:
		err = m.exportONNX(path, meta, tensors, o.ONNX)
	}
	if err != nil && ctx.Err() != nil {
		return fail(context.Cause(ctx))
	}
	return err
}

// form returns the naming scheme and the type of the tensors.
func (o ExportOptions) form() (interchange.Scheme, string, error) {
	dtype := strings.ToUpper(o.DType)
	switch o.DType {
	case "":
		dtype = "F32"
	case "f32", "f16", "bf16":
	default:
		return "", "", fmt.Errorf("dtype %q, want f32, f16 or bf16", o.DType)
	}
	scheme := interchange.Scheme(o.Names)
	switch o.Format {
	case weights.ONNX:
		if o.Names != "" {
			return "", "", fmt.Errorf("names %q, but ONNX has its own", o.Names)
		}
		return interchange.Native, dtype, nil
	case weights.Keras:
		if o.Names != "" || dtype != "F32" {
			return "", "", fmt.Errorf("names %q and dtype %q, but Keras has its own names, and f32", o.Names, o.DType)
		}
		return interchange.Keras, dtype, nil
	case weights.Safetensors, weights.PyTorch, weights.NPZ:
	default:
		return "", "", fmt.Errorf("format %s can be read, not written", o.Format)
	}
	if o.Names != "" {
		if !slices.Contains([]interchange.Scheme{interchange.Native, interchange.Torchvision, interchange.Paper}, scheme) {
			return "", "", fmt.Errorf("names %q, want %s, %s or %s", o.Names, interchange.Native, interchange.Torchvision, interchange.Paper)
		}
		return scheme, dtype, nil
	}
	switch o.Format {
	case weights.PyTorch:
		scheme = interchange.Torchvision
	case weights.NPZ:
		scheme = interchange.Paper
	default:
		scheme = interchange.Native
	}
	return scheme, dtype, nil
}

// exportONNX writes the network's graph over its tensors.
func (m *Model) exportONNX(path string, meta map[string]string, tensors []weights.Source, o ONNXOptions) error {
	g, err := interchange.ONNX(m.Net, tensors, interchange.ONNXOptions(o))
	if err != nil {
		return fmt.Errorf("vgg: %s: %w", path, err)
	}
	if a, err := architecture.Parse(m.Net.Options().Config); err == nil && slices.Equal(a.Head, architecture.PaperHead()) && a.Ending == architecture.Softmax {
		delete(meta, metaOptions) // the graph tells them
	}
	meta[metaInput] = fmt.Sprint(m.Net.Options().Input)
	g.Metadata = meta
	return weights.WriteONNX(path, g)
}

// exportKeras writes the weights for Keras, or the whole model if the path ends in .keras.
func (m *Model) exportKeras(path string, meta map[string]string, tensors []weights.Source) error {
	if !strings.HasSuffix(path, ".keras") {
		return weights.WriteKeras(path, meta, tensors)
	}
	config, err := interchange.KerasModel(m.Net, m.Preprocess)
	if err != nil {
		return fmt.Errorf("vgg: %s: %w", path, err)
	}
	return weights.WriteKerasModel(path, meta, config, tensors)
}

// watchSources makes the tensors report to report as they are written, and end early when
// ctx does, which makes their writer fail.
func watchSources(ctx context.Context, tensors []weights.Source, report progress.Func) {
	total := int64(0)
	for _, s := range tensors {
		n := int64(1)
		for _, d := range s.Shape {
			n *= int64(d)
		}
		total += n
	}
	counter := progress.NewCounter(report, total)
	for i := range tensors {
		data := tensors[i].Data
		tensors[i].Data = func(yield func([]float32) bool) {
			for piece := range data {
				if ctx.Err() != nil || !yield(piece) {
					return
				}
				counter.Add(len(piece))
			}
		}
	}
}
