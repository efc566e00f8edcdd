package weights

import (
	"io"
	"slices"
)

// Format names a kind of file.
type Format string

const (
	Safetensors Format = "safetensors"
	PyTorch     Format = "PyTorch"       // torch.save: .pth, .pt
	Keras       Format = "Keras"         // .h5, .weights.h5, .keras
	CaffeModel  Format = "Caffe"         // .caffemodel
	ONNX        Format = "ONNX"          // .onnx
	NPZ         Format = "npz"           // numpy.savez
	TFJS        Format = "TensorFlow.js" // layers-model: model.json and its shards
)

// Layer is one layer of the chain that some formats describe beside their tensors.
type Layer struct {
	Name string // as the file has it
	// Op is conv, fc, batchnorm, lrn, relu, maxpool, avgpool, flatten, dropout, softmax,
	// transpose or pad.
	Op string
	// Tensors are the names of the layer's tensors by role: weight, bias, and for
	// batchnorm scale, shift, mean and variance.
	Tensors map[string]string
	// Attributes are the numbers the layer was made with, by the names of the ONNX
	// operators: kernel_shape, strides, pads, epsilon, size, alpha, beta, bias, perm …
	Attributes map[string][]float64
}

// reader is how a format is told from the others and read. New formats are rows of
// formats.
type reader struct {
	format Format
	// is reports whether a file that begins with head, its first bytes, is of the
	// format.
	is func(head []byte, r io.ReaderAt, size int64) bool
	// read reads what describes the tensors. It must check every place and length
	// against size, and allocate in proportion to what is there. Data outside the file
	// is in files of beside. Errors lack the file's name.
	read func(r io.ReaderAt, size int64, beside *folder) (*header, error)
}

// formats are tried in order; what none of them takes is read as safetensors.
var formats = []reader{
	{ONNX, isONNX, readONNX},
	{PyTorch, isTorchZip, readTorchZip},
	{PyTorch, isTorchLegacy, readTorchLegacy},
	{NPZ, isNPZ, readNPZ},
	{CaffeModel, isCaffe, readCaffe},
	{TFJS, isTFJS, readTFJS},
	{Keras, isHDF5, readKerasHDF5},
	{Keras, isKerasZip, readKerasZip},
}

// Formats lists the formats that Open reads.
func Formats() []Format {
	all := []Format{Safetensors}
	for _, f := range formats {
		if !slices.Contains(all, f.format) {
			all = append(all, f.format)
		}
	}
	return all
}

// readAny recognises the format of a file by its content and reads its header.
func readAny(r io.ReaderAt, size int64, beside *folder) (*header, Format, error) {
	head := make([]byte, min(size, sniffBytes))
	if err := readFull(r, head, 0); err != nil {
		return nil, "", err
	}
	for _, f := range formats {
		if f.is(head, r, size) {
			h, err := f.read(r, size, beside)
			return h, f.format, err
		}
	}
	h, err := readHeader(r, size)
	return h, Safetensors, err
}
