package weights

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// ONNXModel is a graph to write as an ONNX model of opset 13, IR version 7.
type ONNXModel struct {
	Producer, ProducerVersion string // the program that writes it
	Graph                     string // the graph's name
	Inputs, Outputs           []ONNXPort
	// Nodes in an order in which each comes after what it takes.
	Nodes []ONNXNode
	// Tensors are the initialisers. One of another type than F32 is kept under its name
	// with the type behind it (conv1_1.weight.f16), and a Cast node makes F32 of it.
	Tensors  []Source
	Metadata map[string]string
}

// ONNXPort is an input or an output, in F32.
type ONNXPort struct {
	Name  string
	Shape []ONNXDim
}

// ONNXDim is the length of an axis: Size or, of an axis that may be of any length, a
// name for it.
type ONNXDim struct {
	Size int
	Name string
}

// ONNXNode is an operator's use. An attribute is an int, a float32, a string or an []int.
type ONNXNode struct {
	Op, Name        string
	Inputs, Outputs []string
	Attributes      map[string]any
}

const (
	onnxWriteIR    = 7
	onnxWriteOpset = 13
	// maxONNX is the largest message that protobuf's readers take.
	maxONNX = math.MaxInt32
)

// WriteONNX writes a model to an ONNX file at path, which appears under its name only
// when it is complete, like that of [WriteSafetensors]. Equal arguments give equal bytes.
//
// It is an error if a name is empty, is not UTF-8 or comes twice, if a node takes what
// nothing before it makes, if an attribute is of another type, if a source has another
// number of elements than its shape, if the file would be over 2 GiB, or if writing
// fails.
func WriteONNX(path string, m ONNXModel) error {
	return writeAny(path, func(w io.Writer) error { return encodeONNX(w, m) })
}

// encodeONNX writes to w what WriteONNX writes to a file.
func encodeONNX(w io.Writer, m ONNXModel) error {
	stored, casts, err := m.stored()
	if err != nil {
		return err
	}
	nodes := slices.Concat(casts, m.Nodes)
	if err := m.check(stored, nodes); err != nil {
		return err
	}
	// The graph's parts before the tensors, each tensor's before its data, and after them.
	var before, after []byte
	for _, n := range nodes {
		message, err := n.encode()
		if err != nil {
			return err
		}
		before = appendMessage(before, 1, message)
	}
	before = appendText(before, 2, m.Graph)
	length := int64(len(before))
	heads := make([][]byte, len(stored))
	for i, t := range stored {
		size, err := t.size()
		if err != nil {
			return err
		}
		if size > maxONNX {
			return fmt.Errorf("%s: %d bytes, want at most %d of a whole ONNX file", display(t.Name), size, maxONNX)
		}
		heads[i] = t.encodeONNXHead(size)
		length += int64(len(heads[i])) + size
	}
	for _, p := range m.Inputs {
		after = appendMessage(after, 11, p.encode())
	}
	for _, p := range m.Outputs {
		after = appendMessage(after, 12, p.encode())
	}
	length += int64(len(after))

	var head []byte
	head = appendNumber(head, 1, onnxWriteIR)
	head = appendText(head, 2, m.Producer)
	head = appendText(head, 3, m.ProducerVersion)
	head = protowire.AppendTag(head, 7, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(length))
	var tail []byte
	tail = appendMessage(tail, 8, appendNumber(nil, 2, onnxWriteOpset))
	for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
		tail = appendMessage(tail, 14, appendText(appendText(nil, 1, k), 2, m.Metadata[k]))
	}
	if total := int64(len(head)) + length + int64(len(tail)); total > maxONNX {
		return fmt.Errorf("a model of %d bytes, want at most %d in an ONNX file: store the weights as F16 or BF16", total, maxONNX)
	}

	bw := bufio.NewWriterSize(w, chunk)
	bw.Write(head) // bw keeps the first error, which every later call returns
	bw.Write(before)
	for i, t := range stored {
		bw.Write(heads[i])
		if err := writeElements(bw, t); err != nil {
			return err
		}
	}
	bw.Write(after)
	bw.Write(tail)
	return bw.Flush()
}

// stored are the tensors by the names that they are kept under, and the nodes that make
// F32 of those that aren't.
func (m *ONNXModel) stored() (stored []Source, casts []ONNXNode, err error) {
	suffix := map[string]string{"F16": ".f16", "BF16": ".bf16"}
	for _, t := range m.Tensors {
		if dtype := t.dtype(); dtype != "F32" {
			if suffix[dtype] == "" {
				return nil, nil, fmt.Errorf("%s: dtype %s, want F32, F16 or BF16", display(t.Name), dtype)
			}
			name := t.Name + suffix[dtype]
			casts = append(casts, ONNXNode{Op: "Cast", Name: t.Name + ".cast", Inputs: []string{name}, Outputs: []string{t.Name}, Attributes: map[string]any{"to": 1}})
			t.Name = name
		}
		stored = append(stored, t)
	}
	return stored, casts, nil
}

// check reports the first name that is wrong.
func (m *ONNXModel) check(stored []Source, nodes []ONNXNode) error {
	for k, v := range m.Metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("metadata: %s: not UTF-8", display(k))
		}
	}
	for _, s := range []string{m.Producer, m.ProducerVersion, m.Graph} {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%s: not UTF-8", display(s))
		}
	}
	made, names := map[string]bool{}, map[string]bool{}
	enter := func(seen map[string]bool, name string) error {
		switch {
		case name == "":
			return fmt.Errorf("an empty name in the graph")
		case !utf8.ValidString(name):
			return fmt.Errorf("%s: name is not UTF-8", display(name))
		case seen[name]:
			return fmt.Errorf("%s: name given twice", display(name))
		}
		seen[name] = true
		return nil
	}
	for _, p := range m.Inputs {
		if err := enter(made, p.Name); err != nil {
			return err
		}
	}
	for _, t := range stored {
		if err := enter(made, t.Name); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := enter(names, n.Name); err != nil {
			return err
		}
		for _, in := range n.Inputs {
			if !made[in] {
				return fmt.Errorf("node %s: input %s, which nothing before it makes", display(n.Name), display(in))
			}
		}
		for _, out := range n.Outputs {
			if err := enter(made, out); err != nil {
				return err
			}
		}
	}
	for _, p := range m.Outputs {
		if !made[p.Name] {
			return fmt.Errorf("output %s, which no node makes", display(p.Name))
		}
	}
	return nil
}

func appendMessage(b []byte, num protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), message)
}

func appendText(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func appendNumber(b []byte, num protowire.Number, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(n))
}

// encode is the NodeProto.
func (n *ONNXNode) encode() ([]byte, error) {
	var b []byte
	for _, in := range n.Inputs {
		b = appendText(b, 1, in)
	}
	for _, out := range n.Outputs {
		b = appendText(b, 2, out)
	}
	b = appendText(b, 3, n.Name)
	b = appendText(b, 4, n.Op)
	for _, name := range slices.Sorted(maps.Keys(n.Attributes)) {
		const float, integer, text, integers = 1, 2, 3, 7 // AttributeProto.AttributeType
		a, typ := appendText(nil, 1, name), int64(0)
		switch v := n.Attributes[name].(type) {
		case float32:
			typ = float
			a = protowire.AppendFixed32(protowire.AppendTag(a, 2, protowire.Fixed32Type), math.Float32bits(v))
		case int:
			typ = integer
			a = appendNumber(a, 3, int64(v))
		case string:
			typ = text
			a = appendText(a, 4, v)
		case []int:
			typ = integers
			for _, i := range v {
				a = appendNumber(a, 8, int64(i))
			}
		default:
			return nil, fmt.Errorf("node %s: attribute %s is a %T, want int, float32, string or []int", display(n.Name), display(name), v)
		}
		b = appendMessage(b, 5, appendNumber(a, 20, typ))
	}
	return b, nil
}

// encode is the ValueInfoProto.
func (p *ONNXPort) encode() []byte {
	var shape []byte
	for _, d := range p.Shape {
		if d.Name != "" {
			shape = appendMessage(shape, 1, appendText(nil, 2, d.Name))
		} else {
			shape = appendMessage(shape, 1, appendNumber(nil, 1, int64(d.Size)))
		}
	}
	tensor := appendMessage(appendNumber(nil, 1, 1), 2, shape) // elem_type FLOAT
	return appendMessage(appendText(nil, 1, p.Name), 2, appendMessage(nil, 1, tensor))
}

// encodeONNXHead is the field of the graph and the TensorProto within, up to the data of
// so many bytes.
func (s *Source) encodeONNXHead(size int64) []byte {
	var t []byte
	for _, d := range s.Shape {
		t = appendNumber(t, 1, int64(d))
	}
	t = appendNumber(t, 2, map[string]int64{"F32": 1, "F16": 10, "BF16": 16}[s.dtype()])
	t = appendText(t, 8, s.Name)
	t = protowire.AppendTag(t, 9, protowire.BytesType)
	t = protowire.AppendVarint(t, uint64(size))
	b := protowire.AppendTag(nil, 5, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(int64(len(t))+size))
	return append(b, t...)
}
