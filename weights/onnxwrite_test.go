package weights

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/bfloat16"
)

// smallGraph is a graph of a convolution and a product of matrices.
func smallGraph() ONNXModel {
	return ONNXModel{
		Producer: "test", ProducerVersion: "1", Graph: "g",
		Inputs:  []ONNXPort{{"x", []ONNXDim{{Name: "N"}, {Size: 3}, {Size: 4}, {Size: 4}}}},
		Outputs: []ONNXPort{{"y", []ONNXDim{{Name: "N"}, {Size: 5}}}},
		Nodes: []ONNXNode{
			{Op: "Conv", Name: "conv", Inputs: []string{"x", "w", "b"}, Outputs: []string{"c"}, Attributes: map[string]any{"pads": []int{1, 1, 1, 1}, "kernel_shape": []int{3, 3}}},
			{Op: "LRN", Name: "lrn", Inputs: []string{"c"}, Outputs: []string{"l"}, Attributes: map[string]any{"size": 5, "alpha": float32(0.5), "bias": float32(2)}},
			{Op: "Flatten", Name: "flat", Inputs: []string{"l"}, Outputs: []string{"f"}},
			{Op: "Gemm", Name: "fc", Inputs: []string{"f", "m"}, Outputs: []string{"y"}, Attributes: map[string]any{"transB": 1}},
		},
		Tensors:  []Source{source("w", 2, 3, 3, 3), source("b", 2), source("m", 5, 32)},
		Metadata: map[string]string{"k": "犬", "a": ""},
	}
}

// Reading gives what was written.
func TestWriteONNX(t *testing.T) {
	for _, dtype := range []string{"", "F16", "BF16"} {
		m := smallGraph()
		m.Tensors[0].DType, m.Tensors[2].DType = dtype, dtype
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := WriteONNX(path, m); err != nil {
			t.Fatal(err)
		}
		f := openProto(t, path)
		suffix := map[string]string{"F16": ".f16", "BF16": ".bf16"}[dtype]
		want := fmt.Sprintf("[{conv conv map[bias:b weight:w%[1]s] map[kernel_shape:[3 3] pads:[1 1 1 1] strides:[1 1]]} "+
			"{lrn lrn map[] map[alpha:[0.5] beta:[0.75] bias:[2] size:[5]]} {flat flatten map[] map[]} {fc fc map[weight:m%[1]s] map[transB:[1]]}]", suffix)
		if got := fmt.Sprint(f.Layers()); got != want {
			t.Errorf("%s: layers %s\nwant %s", dtype, got, want)
		}
		meta := map[string]string{"k": "犬", "a": "", "onnx.ir_version": "7", "onnx.opset": "13", "onnx.producer": "test", "onnx.producer_version": "1", "onnx.input": "? 3 4 4"}
		if !maps.Equal(f.Metadata(), meta) {
			t.Errorf("metadata %q, want %q", f.Metadata(), meta)
		}
		for _, s := range m.Tensors {
			name := s.Name
			if s.DType != "" {
				name += suffix
			}
			got, err := f.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			want := elements(s)
			for i, v := range want {
				switch s.DType {
				case "F16":
					want[i] = fromHalf(toHalf(v))
				case "BF16":
					want[i] = bfloat16.Float32(bfloat16.From(v))
				}
			}
			if !slices.Equal(got.Shape, s.Shape) || !slices.Equal(got.Data, want) {
				t.Errorf("%s: %v of shape %v, want %v of %v", name, got.Data, got.Shape, want, s.Shape)
			}
		}
		var again [2]bytes.Buffer
		for i := range again {
			if err := encodeONNX(&again[i], m); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(again[0].Bytes(), again[1].Bytes()) || int64(again[0].Len()) != f.Size() {
			t.Error("equal arguments give other bytes")
		}
	}
}

func TestWriteONNXErrors(t *testing.T) {
	huge := Source{Name: "w", Shape: []int{1 << 14, 1 << 15}, Data: func(func([]float32) bool) { t.Error("data asked for") }}
	for want, change := range map[string]func(*ONNXModel){
		"w: name given twice":      func(m *ONNXModel) { m.Tensors[1].Name = "w" },
		"an empty name":            func(m *ONNXModel) { m.Nodes[0].Name = "" },
		"conv: name given twice":   func(m *ONNXModel) { m.Nodes[1].Name = "conv" },
		"f: name given twice":      func(m *ONNXModel) { m.Nodes[3].Outputs[0] = "f" },
		"not UTF-8":                func(m *ONNXModel) { m.Nodes[0].Name = "\xff" },
		"metadata: k: not UTF-8":   func(m *ONNXModel) { m.Metadata["k"] = "\xff" },
		"node fc: input q, which":  func(m *ONNXModel) { m.Nodes[3].Inputs[0] = "q" },
		"output q, which no node":  func(m *ONNXModel) { m.Outputs[0].Name = "q" },
		"attribute size is a bool": func(m *ONNXModel) { m.Nodes[1].Attributes["size"] = true },
		"b: dtype F64, want F32":   func(m *ONNXModel) { m.Tensors[1].DType = "F64" },
		"b: 2 elements given":      func(m *ONNXModel) { m.Tensors[1].Shape = []int{3} },
		"w: 2147483648 bytes":      func(m *ONNXModel) { m.Tensors[0] = huge },
		"a model of ": func(m *ONNXModel) {
			m.Tensors[0] = huge
			m.Tensors[0].Shape = []int{math.MaxInt32 / 4}
		},
	} {
		m := smallGraph()
		change(&m)
		dir := t.TempDir()
		path := filepath.Join(dir, "m.onnx")
		err := WriteONNX(path, m)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "weights: "+path+": ") {
			t.Errorf("%v, want %q", err, want)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("%q: left behind %v, %v", want, left, err)
		}
	}
}
