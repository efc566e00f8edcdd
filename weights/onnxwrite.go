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

// ONNXModel is a graph to write as an ONNX model of opset 13 and IR version 7.
type ONNXModel struct {
	Producer, ProducerVersion string // the program that writes it
	Graph                     string // the graph's name
	Inputs, Outputs           []ONNXPort
	// Nodes are in an order in which each follows the nodes whose outputs it takes.
	Nodes []ONNXNode
	// Tensors are the initialisers. One of another type than F32 gets the type added to its
	// name (conv1_1.weight.f16), and a Cast node converts it to F32.
	Tensors  []Source
	Metadata map[string]string
}

// ONNXPort is an input or an output of type F32.
type ONNXPort struct {
	Name  string
	Shape []ONNXDim
}

// ONNXDim is the length of an axis: Size or, if the axis may have any length, a name for
// that.
type ONNXDim struct {
	Size int
	Name string
}

// ONNXNode applies an operator. An attribute is an int, a float32, a string or an []int.
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

// WriteONNX writes a model to an ONNX file at path. The file appears as that of
// [WriteSafetensors] does. Equal arguments give equal bytes.
//
// It is an error if a name is empty, is not UTF-8 or comes twice, if a node takes an input
// that nothing before it makes, if an attribute is of another type, if a source has another
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
	g, err := m.encodeGraph(stored, nodes)
	if err != nil {
		return err
	}
	var head []byte
	head = appendNumber(head, 1, onnxWriteIR)
	head = appendText(head, 2, m.Producer)
	head = appendText(head, 3, m.ProducerVersion)
	head = protowire.AppendTag(head, 7, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(g.length))
	var tail []byte
	tail = appendMessage(tail, 8, appendNumber(nil, 2, onnxWriteOpset))
	for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
		tail = appendMessage(tail, 14, appendText(appendText(nil, 1, k), 2, m.Metadata[k]))
	}
	if total := int64(len(head)) + g.length + int64(len(tail)); total > maxONNX {
		return fmt.Errorf("a model of %d bytes, want at most %d in an ONNX file: store the weights as F16 or BF16", total, maxONNX)
	}

	bw := bufio.NewWriterSize(w, chunk)
	bw.Write(head) // bw keeps the first error, which every later call returns
	bw.Write(g.before)
	for i, t := range stored {
		bw.Write(g.heads[i])
		if err := writeElements(bw, t); err != nil {
			return err
		}
	}
	bw.Write(g.after)
	bw.Write(tail)
	return bw.Flush()
}

// encodedGraph is a GraphProto without the data of its tensors.
type encodedGraph struct {
	before, after []byte   // what comes before and after the tensors
	heads         [][]byte // of each tensor, up to its data
	length        int64    // with the data
}

func (m *ONNXModel) encodeGraph(stored []Source, nodes []ONNXNode) (*encodedGraph, error) {
	g := &encodedGraph{}
	for _, n := range nodes {
		message, err := n.encode()
		if err != nil {
			return nil, err
		}
		g.before = appendMessage(g.before, 1, message)
	}
	g.before = appendText(g.before, 2, m.Graph)
	for _, p := range m.Inputs {
		g.after = appendMessage(g.after, 11, p.encode())
	}
	for _, p := range m.Outputs {
		g.after = appendMessage(g.after, 12, p.encode())
	}
	g.length = int64(len(g.before)) + int64(len(g.after))
	for _, t := range stored {
		size, err := t.size()
		if err != nil {
			return nil, err
		}
		if size > maxONNX {
			return nil, fmt.Errorf("%s: %d bytes, want at most %d of a whole ONNX file", display(t.Name), size, maxONNX)
		}
		head := t.encodeONNXHead(size)
		g.heads = append(g.heads, head)
		g.length += int64(len(head)) + size
	}
	return g, nil
}

// stored returns the tensors under the names that they are written with, and the nodes that
// convert the others to F32.
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

// check returns an error if a name or a text is wrong.
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

// encode returns the NodeProto.
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

// encode returns the ValueInfoProto.
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

// encodeONNXHead returns the graph's field with the TensorProto, up to its data of so many
// bytes.
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
