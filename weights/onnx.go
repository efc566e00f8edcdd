package weights

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/verydeep/vgg/internal/protoscan"
)

// An ONNX model is a ModelProto of onnx.proto
// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Its tensors are the graph's
// initialisers and the tensors of its Constant nodes, under their own names. Its layers
// are the nodes, which must form a chain (onnxchain.go).

// Opsets whose operators are known. Those after 22 changed only the types that the
// operators of a chain take.
const minOpset, maxOpset = 7, 28

// onnxModel is a ModelProto.
type onnxModel struct {
	r      io.ReaderAt
	p      *protoscan.Scanner
	beside *folder // of external data
	opset  int64
	meta   map[string]string
	graph  onnxGraph
	size   int64
	// external is the size of the largest file of external data.
	external int64
	parts    int // inputs, outputs and attributes of the nodes
}

// onnxGraph is a GraphProto.
type onnxGraph struct {
	nodes           []onnxNode
	inputs, outputs []onnxPort
	tensors         []*onnxTensor // the initialisers
}

// bytes returns the bytes of the model and its data.
func (m *onnxModel) bytes() int64 { return m.size + m.external }

// onnxPort is a ValueInfoProto: an input or output. dims is nil if the file doesn't give
// the shape. A symbolic or unknown length is -1.
type onnxPort struct {
	name string
	elem int64 // TensorProto.DataType
	dims []int64
}

// Values of TensorProto.DataType.
const typeUint8, typeInt8, typeUint64 = 2, 3, 13

// onnxNode is a NodeProto.
type onnxNode struct {
	name, op, domain string
	inputs, outputs  []string
	attributes       []onnxAttribute
}

// onnxAttribute is an AttributeProto: numbers, a text or a tensor. Of other kinds, only
// the name is read.
type onnxAttribute struct {
	name    string
	numbers []float64
	ints    []int64
	text    string
	tensor  *onnxTensor
}

func readONNX(r io.ReaderAt, size int64, beside *folder) (*header, error) {
	m := &onnxModel{r: r, p: protoscan.New(r), beside: beside, size: size, meta: map[string]string{}}
	graph := false
	err := m.p.Fields(protoscan.Span{End: size}, func(f protoscan.Field) (err error) {
		switch f.Num {
		case 1:
			var v int64
			v, err = f.Integer()
			m.meta["onnx.ir_version"] = strconv.FormatInt(v, 10)
		case 2:
			m.meta["onnx.producer"], err = m.p.Text(f, maxProtoName)
		case 3:
			m.meta["onnx.producer_version"], err = m.p.Text(f, maxProtoName)
		case 7:
			if graph {
				return malformed("", "byte %d: a second graph", f.Begin)
			}
			graph = true
			err = m.readGraph(f)
		case 8:
			err = m.readOpset(f)
		case 14:
			err = m.readMetadata(f)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	switch {
	case !graph:
		return nil, malformed("", "an ONNX model without a graph")
	case m.opset < minOpset || m.opset > maxOpset:
		return nil, refused("", "an ONNX model of opset %d, want %d to %d", m.opset, minOpset, maxOpset)
	}
	m.meta["onnx.opset"] = strconv.FormatInt(m.opset, 10)
	return m.header()
}

// readOpset reads an OperatorSetIdProto.
func (m *onnxModel) readOpset(f protoscan.Field) error {
	domain, version := "", int64(0)
	s, err := f.Message()
	if err != nil {
		return err
	}
	err = m.p.Fields(s, func(f protoscan.Field) (err error) {
		switch f.Num {
		case 1:
			domain, err = m.p.Text(f, maxProtoName)
		case 2:
			version, err = f.Integer()
		}
		return err
	})
	if domain == "" || domain == "ai.onnx" {
		m.opset = version
	}
	return err
}

// readMetadata reads a StringStringEntryProto of the model's own metadata.
func (m *onnxModel) readMetadata(f protoscan.Field) error {
	key, value, err := m.readPair(f)
	if len(m.meta) == maxProtoLayers {
		return malformed("", "byte %d: more than %d metadata", f.Begin, maxProtoLayers)
	}
	m.meta[key] = value
	return err
}

func (m *onnxModel) readPair(f protoscan.Field) (key, value string, err error) {
	s, err := f.Message()
	if err != nil {
		return "", "", err
	}
	err = m.p.Fields(s, func(f protoscan.Field) (err error) {
		switch f.Num {
		case 1:
			key, err = m.p.Text(f, maxProtoName)
		case 2:
			value, err = m.p.Text(f, maxProtoText)
		}
		return err
	})
	return key, value, err
}

func (m *onnxModel) readGraph(f protoscan.Field) error {
	s, err := f.Message()
	if err != nil {
		return err
	}
	g, count := &m.graph, 0
	return m.p.Fields(s, func(f protoscan.Field) error {
		switch f.Num {
		case 1, 5, 11, 12:
			if count++; count > maxProtoLayers {
				return malformed("", "byte %d: more than %d nodes and tensors", f.Begin, maxProtoLayers)
			}
		}
		switch f.Num {
		case 1:
			n, err := m.readNode(f)
			g.nodes = append(g.nodes, n)
			return err
		case 5:
			t, err := m.readTensor(f)
			g.tensors = append(g.tensors, t)
			return err
		case 11, 12:
			v, err := m.readPort(f)
			if f.Num == 11 {
				g.inputs = append(g.inputs, v)
			} else {
				g.outputs = append(g.outputs, v)
			}
			return err
		case 15:
			return refused("", "a graph with a sparse initialiser, want dense tensors")
		}
		return nil
	})
}

func (m *onnxModel) readNode(f protoscan.Field) (n onnxNode, err error) {
	s, err := f.Message()
	if err != nil {
		return n, err
	}
	err = m.p.Fields(s, func(f protoscan.Field) (err error) {
		if m.parts++; m.parts > maxProtoParts {
			return malformed("", "byte %d: nodes of more than %d inputs, outputs and attributes", f.Begin, maxProtoParts)
		}
		var text string
		switch f.Num {
		case 1, 2:
			text, err = m.p.Text(f, maxProtoName)
			if f.Num == 1 {
				n.inputs = append(n.inputs, text)
			} else {
				n.outputs = append(n.outputs, text)
			}
		case 3:
			n.name, err = m.p.Text(f, maxProtoName)
		case 4:
			n.op, err = m.p.Text(f, maxProtoName)
		case 5:
			var a onnxAttribute
			a, err = m.readAttribute(f)
			n.attributes = append(n.attributes, a)
		case 7:
			n.domain, err = m.p.Text(f, maxProtoName)
		}
		return err
	})
	return n, err
}

func (m *onnxModel) readAttribute(f protoscan.Field) (a onnxAttribute, err error) {
	s, err := f.Message()
	if err != nil {
		return a, err
	}
	err = m.p.Fields(s, func(f protoscan.Field) (err error) {
		switch f.Num {
		case 1:
			a.name, err = m.p.Text(f, maxProtoName)
		case 2, 7: // f, floats
			a.numbers, err = m.p.Floats(a.numbers, f, maxAxes)
		case 3, 8: // i, ints
			a.ints, err = m.p.Integers(a.ints, f, maxAxes)
		case 4:
			// Only the names of modes matter. Other texts may hold any bytes.
			if f.Type == protowire.BytesType && f.Length() <= 32 {
				a.text, err = m.p.Text(f, 32)
			}
		case 5:
			a.tensor, err = m.readTensor(f)
		}
		return err
	})
	for _, v := range a.ints {
		a.numbers = append(a.numbers, float64(v))
	}
	return a, err
}

func (m *onnxModel) readPort(f protoscan.Field) (v onnxPort, err error) {
	s, err := f.Message()
	if err != nil {
		return v, err
	}
	// Each message has the next as a field: ValueInfoProto.type, TypeProto.tensor_type,
	// Tensor.shape, TensorShapeProto.dim.
	err = m.p.Fields(s, func(f protoscan.Field) (err error) {
		switch f.Num {
		case 1:
			v.name, err = m.p.Text(f, maxProtoName)
		case 2:
			err = m.within(f, 1, func(f protoscan.Field) error {
				err := m.within(f, 1, func(f protoscan.Field) (err error) {
					v.elem, err = f.Integer()
					return err
				})
				if err != nil {
					return err
				}
				return m.within(f, 2, func(f protoscan.Field) error {
					v.dims = []int64{}
					return m.within(f, 1, func(f protoscan.Field) error {
						if len(v.dims) == maxAxes {
							return malformed("", "byte %d: more than %d axes", f.Begin, maxAxes)
						}
						v.dims = append(v.dims, -1)
						return m.within(f, 1, func(f protoscan.Field) error {
							d, err := f.Integer()
							if d > 0 {
								v.dims[len(v.dims)-1] = d
							}
							return err
						})
					})
				})
			})
		}
		return err
	})
	return v, err
}

// within calls visit for the fields of that number in the message f.
func (m *onnxModel) within(f protoscan.Field, num protowire.Number, visit func(protoscan.Field) error) error {
	s, err := f.Message()
	if err != nil {
		return err
	}
	return m.p.Fields(s, func(f protoscan.Field) error {
		if f.Num == num {
			return visit(f)
		}
		return nil
	})
}

// isONNX reports whether a file looks like a ModelProto: its first fields are all known
// and of their types, and one is the version.
func isONNX(head []byte, r io.ReaderAt, size int64) bool {
	version, rest := false, false
	ok := plausible(head, r, size, func(f protoscan.Field) bool {
		switch f.Num {
		case 1: // ir_version
			version = f.Type == protowire.VarintType && 1 <= f.Value && f.Value < 100
			return version
		case 5: // model_version
			return f.Type == protowire.VarintType
		case 2, 3, 4, 6, 7, 8, 14, 20, 25, 26:
			rest = true
			return f.Type == protowire.BytesType
		}
		return false
	})
	return ok && version && rest
}

// describe returns the node's name for an error, or that of its output if it has none.
func (n *onnxNode) describe() string {
	if n.name == "" && len(n.outputs) > 0 {
		return fmt.Sprintf("node of output %s (%s)", display(n.outputs[0]), display(n.op))
	}
	return fmt.Sprintf("node %s (%s)", display(n.name), display(n.op))
}

// refuse returns the error of a node that is no part of a chain.
func (n *onnxNode) refuse(format string, args ...any) error {
	return refused(n.describe(), format, args...)
}

// leastInputs has the number of inputs that an operator can't do without, where that is more
// than one, in every opset that is read.
var leastInputs = map[string]int{
	"Add": 2, "Sub": 2, "Mul": 2, "Div": 2, "Pow": 2, "PRelu": 2,
	"Conv": 2, "ConvInteger": 2, "Gemm": 2, "MatMul": 2, "MatMulInteger": 2,
	"BatchNormalization": 5, "GroupNormalization": 3, "InstanceNormalization": 3, "LayerNormalization": 2,
	"Gather": 2, "Reshape": 2, "Expand": 2, "ArrayFeatureExtractor": 2,
	"QuantizeLinear": 2, "DequantizeLinear": 2,
	"QGemm": 5, "QLinearAdd": 5, "QLinearConv": 5, "QLinearGlobalAveragePool": 4, "QLinearMatMul": 5, "QLinearMul": 5,
}

// noInputs has the operators that take nothing.
var noInputs = []string{"Constant", "EyeLike", "Loop", "If", "RandomNormal", "RandomUniform"}

// complete returns an error if the node lacks an input.
func (n *onnxNode) complete() error {
	least := leastInputs[n.op]
	if least == 0 && !slices.Contains(noInputs, n.op) {
		least = 1
	}
	for i := range least {
		if i >= len(n.inputs) || n.inputs[i] == "" {
			return malformed("", "%s: input %d of %d is missing", n.describe(), i+1, least)
		}
	}
	return nil
}

// attribute returns the attribute of that name, nil if the node has none.
func (n *onnxNode) attribute(name string) *onnxAttribute {
	for i := range n.attributes {
		if n.attributes[i].name == name {
			return &n.attributes[i]
		}
	}
	return nil
}

// numbers returns the numbers of the attribute of that name, or the default.
func (n *onnxNode) numbers(name string, otherwise ...float64) []float64 {
	if a := n.attribute(name); a != nil && len(a.numbers) > 0 {
		return a.numbers
	}
	return otherwise
}

func (n *onnxNode) number(name string, otherwise float64) float64 {
	return n.numbers(name, otherwise)[0]
}

func (n *onnxNode) text(name, otherwise string) string {
	if a := n.attribute(name); a != nil && a.text != "" {
		return strings.ToUpper(a.text)
	}
	return otherwise
}

// label returns the node's name, or that of its output if it has none.
func (n *onnxNode) label() string {
	if n.name == "" {
		return n.outputs[0]
	}
	return n.name
}
