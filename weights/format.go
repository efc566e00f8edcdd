package weights

import (
	"fmt"
	"io"
	"slices"
)

// Format is a format of files, by its name.
type Format string

const (
	Safetensors Format = "safetensors"
	PyTorch     Format = "PyTorch"       // torch.save: .pth, .pt
	Keras       Format = "Keras"         // .h5, .weights.h5, .keras
	CaffeModel  Format = "Caffe"         // .caffemodel
	ONNX        Format = "ONNX"          // .onnx
	NPZ         Format = "npz"           // numpy.savez
	TFJS        Format = "TensorFlow.js" // layers-model: model.json and its shards
	MATLAB      Format = "MATLAB"        // .mat: MatConvNet's networks, or arrays
)

// Layer is one layer of the chain that some formats describe besides their tensors.
type Layer struct {
	Name string // in the file
	// Op is conv, fc, batchnorm, lrn, relu, maxpool, avgpool, flatten, dropout, softmax,
	// transpose, pad or another operation; identity for what does nothing in inference.
	Op string
	// Tensors maps roles to the names of the layer's tensors. Roles are weight and bias, and
	// for batchnorm scale, shift, mean and variance.
	Tensors map[string]string
	// Attributes are the numbers that define the layer, under the names that ONNX's
	// operators have: kernel_shape, strides, pads, epsilon, size, alpha, beta, bias, perm …
	Attributes map[string][]float64
	// Problem says why the layer can't be followed, and what to do; "" if it can.
	Problem string
}

// String shows the layer's name, its operation, its tensors and its numbers.
func (l Layer) String() string {
	text := fmt.Sprintf("{%s %s %v %v}", l.Name, l.Op, l.Tensors, l.Attributes)
	if l.Problem != "" {
		text += ": " + l.Problem
	}
	return text
}

// reader recognises and reads a format.
type reader struct {
	format Format
	// is reports whether a file is of the format. It begins with head.
	is func(head []byte, r io.ReaderAt, size int64) bool
	// read reads the description of the tensors. It must check every offset and length
	// against size, and allocate in proportion to what is there. Data that isn't in the
	// file is in files of the folder beside. Errors lack the file's name.
	read func(r io.ReaderAt, size int64, beside *folder) (*header, error)
}

// formats are tried in order. A file of none of them is read as safetensors.
var formats = []reader{
	{ONNX, isONNX, readONNX},
	{PyTorch, isTorchZip, readTorchZip},
	{PyTorch, isTorchLegacy, readTorchLegacy},
	{NPZ, isNPZ, readNPZ},
	{CaffeModel, isCaffe, readCaffe},
	{TFJS, isTFJS, readTFJS},
	{MATLAB, isMAT, readMAT},
	{Keras, isHDF5, readKerasHDF5},
	{Keras, isKerasZip, readKerasZip},
}

// Formats returns the formats that Open reads.
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
	if isShardIndex(head, r, size) {
		return readShardIndex(r, size, beside)
	}
	if e := foreign(head, r, size); e != nil {
		return nil, "", e
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
