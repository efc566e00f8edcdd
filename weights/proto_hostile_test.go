package weights

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/verydeep/vgg/internal/vggtest"
)

// The pb functions write protobuf field by field, right or wrong.

func pbBytes(num protowire.Number, parts ...[]byte) []byte {
	var content []byte
	for _, p := range parts {
		content = append(content, p...)
	}
	return appendMessage(nil, num, content)
}

func pbText(num protowire.Number, s string) []byte { return appendText(nil, num, s) }

func pbInt(num protowire.Number, n int64) []byte { return appendNumber(nil, num, n) }

// pbLength is a field that claims so many bytes and has others.
func pbLength(num protowire.Number, claimed uint64, content ...byte) []byte {
	return append(protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), claimed), content...)
}

func pbFloats(n int) []byte {
	var b []byte
	for i := range n {
		b = protowire.AppendFixed32(b, math.Float32bits(float32(i)))
	}
	return b
}

func pbJoin(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// pbLayer is a V2 layer of a Caffe model.
func pbLayer(name, typ string, rest ...[]byte) []byte {
	return pbBytes(100, append([][]byte{pbText(1, name), pbText(2, typ)}, rest...)...)
}

// pbBlob is a blob of that shape with so many elements.
func pbBlob(elements int, shape ...int64) []byte {
	var dims []byte
	for _, d := range shape {
		dims = append(dims, pbInt(1, d)...)
	}
	return pbBytes(7, pbBytes(7, dims), pbBytes(5, pbFloats(elements)))
}

// pbModel is an ONNX model of such a graph.
func pbModel(graph ...[]byte) []byte {
	return pbJoin(pbInt(1, 8), pbText(2, "test"), pbBytes(7, graph...), pbBytes(8, pbInt(2, 13)))
}

func pbNode(op, name string, inputs []string, outputs []string, attributes ...[]byte) []byte {
	var b []byte
	for _, in := range inputs {
		b = append(b, pbText(1, in)...)
	}
	for _, out := range outputs {
		b = append(b, pbText(2, out)...)
	}
	return pbBytes(1, b, pbText(3, name), pbText(4, op), pbJoin(attributes...))
}

// pbTensor is an initialiser of float32 with so many elements.
func pbTensor(name string, elements int, shape ...int64) []byte {
	var dims []byte
	for _, d := range shape {
		dims = append(dims, pbInt(1, d)...)
	}
	return pbBytes(5, dims, pbInt(2, 1), pbText(8, name), pbBytes(9, pbFloats(elements)))
}

func pbInts(name string, v ...int64) []byte {
	b := pbText(1, name)
	for _, n := range v {
		b = append(b, pbInt(8, n)...)
	}
	return pbBytes(5, b)
}

// pbConstant is a Constant node of whole numbers.
func pbConstant(name string, v ...int64) []byte {
	return pbNode("Constant", name, nil, []string{name}, pbInts("value_ints", v...))
}

var pbIn, pbOut = pbBytes(11, pbText(1, "x")), pbBytes(12, pbText(1, "y"))

type hostileFile struct {
	file []byte
	want string // in the error
}

func hostileCaffe() map[string]hostileFile {
	conv := func(blobs ...[]byte) []byte { return pbLayer("c", "Convolution", blobs...) }
	deep := []byte{}
	for range 10_000 {
		deep = pbBytes(100, deep)[:min(4096, len(deep)+4)]
	}
	many := pbJoin()
	for i := range maxProtoLayers + 1 {
		many = append(many, pbLayer(fmt.Sprint(i), "ReLU")...)
	}
	alternating := []byte{}
	for range maxProtoPieces + 1 {
		alternating = append(alternating, pbJoin(pbBytes(5, pbFloats(1)), protowire.AppendFixed32(protowire.AppendTag(nil, 5, protowire.Fixed32Type), 0))...)
	}
	return map[string]hostileFile{
		"length of 2^63":           {pbJoin(pbText(1, "n"), pbLength(100, 1<<63, 1, 2, 3)), "truncated: field 100 of 9223372036854775808 bytes"},
		"length of 2^64-1":         {pbJoin(pbText(1, "n"), pbLength(2, 1<<64-1)), "truncated: field 2 of 18446744073709551615 bytes, 0 follow"},
		"blob length of 2^63":      {pbLayer("c", "Convolution", pbLength(7, 1<<63)), "truncated: field 7 of 9223372036854775808 bytes"},
		"data beyond the blob":     {conv(pbJoin(pbBytes(7, pbLength(5, 400, 1, 2, 3, 4)))), "truncated: field 5 of 400 bytes, 4 follow"},
		"varint cut off":           {pbLayer("c", "Convolution", []byte{7 << 3, 0x80, 0x80}), "field 7"},
		"varint of 11 bytes":       {pbLayer("c", "Convolution", []byte{50 << 3 & 0x7f, 0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}), "byte "},
		"field number 0":           {pbLayer("c", "Convolution", []byte{2, 0}), "no field of a protobuf message"},
		"group":                    {pbLayer("c", "Convolution", []byte{7<<3 | 3}), "wire type 3"},
		"wire type 7":              {pbLayer("c", "Convolution", []byte{7<<3 | 7}), "wire type 7"},
		"name a number":            {pbBytes(100, pbInt(1, 7)), "field 1 has the wire type 0, want 2"},
		"name not UTF-8":           {pbLayer("\xff\xfe", "ReLU"), "not UTF-8"},
		"name of 1 MB":             {pbLayer(strings.Repeat("n", 1<<20), "ReLU"), "a text of 1048576 bytes"},
		"no name":                  {pbLayer("", "ReLU"), "layer 1 (ReLU): no name"},
		"no type":                  {pbLayer("c", ""), "c: a layer without a type"},
		"layers of one name":       {pbJoin(pbLayer("r", "ReLU"), pbLayer("r", "ReLU")), "r: name given to two layers"},
		"no layers":                {pbJoin(pbText(1, "n"), pbLayer("d", "Data")), "without layers"},
		"too many layers":          {many, "more than 4000 layers"},
		"deep nesting":             {deep, "byte "},
		"shape overflows":          {conv(pbBlob(1, 1<<32, 1<<32, 1, 1)), "too many elements"},
		"shape wraps to the count": {conv(pbBlob(1, 1<<31+1, 1<<31+1, 1<<62+1, 1)), "too many elements"},
		"negative length":          {conv(pbBlob(1, -1, 1, 1, 1)), "length -1"},
		"more claimed than there":  {conv(pbBlob(8, 3, 1, 3, 1)), "a blob of shape [3 1 3 1] has 9 elements, its data 8"},
		"less claimed than there":  {conv(pbBlob(10, 3, 1, 3, 1)), "a blob of shape [3 1 3 1] has 9 elements, its data 10"},
		"65 axes":                  {conv(pbBlob(1, make([]int64, 65)...)), "more than 64 numbers"},
		"3 axes":                   {conv(pbBlob(9, 1, 3, 3)), "c/weight: shape [1 3 3], want 4 axes"},
		"odd bytes":                {conv(pbBytes(7, pbBytes(5, []byte{1, 2, 3}))), "field 5 doesn't hold elements of 4 bytes"},
		"data and double_data":     {conv(pbBytes(7, pbInt(1, 1), pbBytes(5, pbFloats(1)), pbBytes(8, make([]byte, 8)))), "both data and double_data"},
		"no blobs":                 {conv(), "c/weight: the layer has 0 blobs"},
		"4 blobs":                  {conv(pbBlob(0, 0), pbBlob(0, 0), pbBlob(0, 0), pbBlob(0, 0)), "more than 3 blobs"},
		"data in too many pieces":  {conv(pbBytes(7, alternating)), "more than 1024 pieces"},
		"another layer":            {pbLayer("cc", "Concat"), "layer cc (Concat): not a layer of a chain"},
		"scale alone":              {pbLayer("s", "Scale"), "layer s (Scale): want it after a BatchNorm layer"},
		"a branch": {pbJoin(pbLayer("a", "ReLU", pbText(3, "data"), pbText(4, "a")), pbLayer("b", "ReLU", pbText(3, "data"), pbText(4, "b"))),
			"layer b (ReLU): its input is data, not the layer before it"},
		"two bottoms": {pbLayer("b", "ReLU", pbText(3, "p"), pbText(3, "q")), "layer b (ReLU): its input is p, q"},
	}
}

func hostileONNX() map[string]hostileFile {
	relu := pbNode("Relu", "r", []string{"x"}, []string{"y"})
	conv := func(tensor []byte) []byte {
		return pbModel(pbIn, tensor, pbNode("Conv", "c", []string{"x", "w"}, []string{"y"}), pbOut)
	}
	after := func(nodes ...[]byte) []byte { return pbModel(append([][]byte{pbIn, pbOut}, nodes...)...) }
	external := func(location string) []byte {
		return conv(pbBytes(5, pbInt(1, 1), pbInt(1, 1), pbInt(1, 1), pbInt(1, 1), pbInt(2, 1), pbText(8, "w"), pbInt(14, 1),
			pbBytes(13, pbText(1, "location"), pbText(2, location))))
	}
	nodes := pbJoin()
	for i := range maxProtoLayers + 1 {
		nodes = append(nodes, pbNode("Relu", "r", []string{"x"}, []string{fmt.Sprint(i)})...)
	}
	inputs := make([]string, maxProtoParts)
	// Sums that double, each of all elements.
	doubling := [][]byte{pbIn, pbOut, pbTensor("w", 512, 512)}
	for i := range 200 {
		from := "w"
		if i > 0 {
			from = fmt.Sprint(i - 1)
		}
		doubling = append(doubling, pbNode("Add", fmt.Sprint("a", i), []string{from, from}, []string{fmt.Sprint(i)}))
	}
	doubling = append(doubling, pbNode("Relu", "r", []string{"x"}, []string{"z"}), pbNode("Mul", "m", []string{"z", "199"}, []string{"y"}))
	// Vectors of one element each that a sum repeats.
	wide := after(pbTensor("w", 2000, 2000, 1), pbTensor("v", 2000, 1, 2000), pbNode("Add", "a", []string{"w", "v"}, []string{"q"}), pbNode("Relu", "r", []string{"x"}, []string{"z"}), pbNode("Mul", "m", []string{"z", "q"}, []string{"y"}))
	quantised := func(n ...[]byte) []byte {
		return after(append([][]byte{pbTensor("s", 1), pbTensor("t", 2, 2), pbTensor("w", 9, 1, 1, 3, 3)}, n...)...)
	}
	nested := []byte{}
	for range 3000 {
		nested = pbBytes(6, pbBytes(1, pbBytes(5, nested))) // a subgraph's node's attribute's subgraph …
	}
	return map[string]hostileFile{
		"a sum of pixels and nothing": {after(pbNode("Add", "a", []string{"x", ""}, []string{"y"})), "node a (Add): input 2 of 2 is missing"},
		"a sum of nothing and pixels": {after(pbNode("Add", "a", []string{"", "x"}, []string{"y"})), "node a (Add): input 1 of 2 is missing"},
		"sums that add up":            {pbModel(doubling...), "are more than the file has bytes"},
		"a sum that repeats":          {wide, "not an operator that constants"},
		"scales of nowhere":           {quantised(pbNode("DequantizeLinear", "d", []string{"w", "t"}, []string{"q"}), pbNode("Conv", "c", []string{"x", "q"}, []string{"y"})), "2 scales on axis 1 of w"},
		"an axis of nowhere":          {quantised(pbNode("DequantizeLinear", "d", []string{"w", "t"}, []string{"q"}, pbInts("axis", 1<<40)), pbNode("Conv", "c", []string{"x", "q"}, []string{"y"})), "2 scales on axis"},
		"values not quantised":        {quantised(pbNode("DequantizeLinear", "d", []string{"x", "s"}, []string{"y"})), "of values that aren't quantised"},
		"quantised twice":             {quantised(pbNode("QuantizeLinear", "d", []string{"x", "s"}, []string{"a"}), pbNode("QuantizeLinear", "e", []string{"a", "s"}, []string{"y"})), "node e (QuantizeLinear): on quantised values"},
		"channels of nowhere":         {after(pbConstant("i", 7), pbNode("Gather", "g", []string{"x", "i"}, []string{"y"}, pbInts("axis", 1))), "an index outside the 3 channels"},
		"a split of nowhere":          {after(pbConstant("i", 1<<62, 1<<62), pbNode("Split", "s", []string{"x", "i"}, []string{"y", "z"}, pbInts("axis", 1))), "splits 3 channels"},
		"axes from the values":        {after(pbNode("Relu", "r", []string{"x"}, []string{"a"}), pbNode("Shape", "q", []string{"a"}, []string{"s"}), pbNode("ReduceMean", "m", []string{"a", "s"}, []string{"b"}), pbNode("ReduceMean", "n", []string{"b", "s"}, []string{"y"})), "node m (ReduceMean): axes depend on the input's shape"},
		"a scale from the values": {quantised(pbNode("DynamicQuantizeLinear", "d", []string{"x"}, []string{"q", "qs", "qz"}), pbNode("MatMulInteger", "m", []string{"q", "w", "qz"}, []string{"a"}), pbNode("Cast", "c", []string{"a"}, []string{"b"}),
			pbNode("Mul", "k", []string{"qs", "qs"}, []string{"e"}), pbNode("Mul", "l", []string{"b", "e"}, []string{"y"})), "multiplies images"},
		"strides of 0":            {after(pbNode("MaxPool", "m", []string{"x"}, []string{"y"}, pbInts("kernel_shape", 2, 2), pbInts("strides", 0, 0))), "strides [0 0]"},
		"graph of 2^63 bytes":     {pbJoin(pbInt(1, 8), pbLength(7, 1<<63, 1)), "truncated: field 7 of 9223372036854775808 bytes, 1 follow"},
		"no graph":                {pbJoin(pbInt(1, 8), pbText(2, "p")), "without a graph"},
		"two graphs":              {pbJoin(pbInt(1, 8), pbBytes(7), pbBytes(7)), "a second graph"},
		"opset 6":                 {pbJoin(pbInt(1, 8), pbBytes(7, pbIn, pbOut, relu), pbBytes(8, pbInt(2, 6))), "opset 6, want 7 to"},
		"opset of 2^62":           {pbJoin(pbInt(1, 8), pbBytes(7, pbIn, pbOut, relu), pbBytes(8, pbInt(2, 1<<62))), "opset 4611686018427387904"},
		"no input":                {pbModel(pbOut, relu), "a graph with 0 inputs"},
		"two inputs":              {pbModel(pbIn, pbBytes(11, pbText(1, "z")), pbOut, relu, pbNode("Relu", "s", []string{"z"}, []string{"q"})), "a graph with 2 inputs (x, z)"},
		"no layers":               {pbModel(pbIn, pbOut), "a graph without layers"},
		"output from elsewhere":   {pbModel(pbIn, pbBytes(12, pbText(1, "q")), relu), "last layer, r, isn't its output"},
		"sparse":                  {pbModel(pbIn, pbOut, relu, pbBytes(15)), "sparse initialiser"},
		"too many nodes":          {pbModel(pbIn, pbOut, nodes), "more than 4000 nodes"},
		"too many inputs":         {after(pbNode("Relu", "r", inputs, []string{"y"})), "more than 20000 inputs"},
		"deep nesting":            {after(pbNode("If", "i", []string{"x"}, []string{"y"}, pbBytes(5, nested))), "node i (If): a choice made while the graph runs"},
		"input of nowhere":        {after(pbNode("Relu", "r", []string{"q"}, []string{"y"})), "node r (Relu): input q, which nothing before it makes"},
		"itself for an input":     {after(pbNode("Relu", "r", []string{"y"}, []string{"y"})), "input y, which nothing before it makes"},
		"no output":               {after(pbNode("Relu", "r", []string{"x"}, nil)), "no output"},
		"output twice":            {after(relu, pbNode("Relu", "r2", []string{"y"}, []string{"y"})), "output y given twice"},
		"initialiser twice":       {pbModel(pbIn, pbOut, pbTensor("w", 1, 1), pbTensor("w", 1, 1), relu), "w: name given to two initialisers"},
		"initialiser, no name":    {pbModel(pbIn, pbOut, pbTensor("", 1, 1), relu), "an initialiser without a name"},
		"a branch":                {after(pbNode("Relu", "r", []string{"x"}, []string{"a"}), pbNode("Relu", "s", []string{"x"}, []string{"b"}), pbNode("Add", "j", []string{"a", "b"}, []string{"y"})), "node s (Relu): a second branch from x"},
		"a join":                  {after(pbNode("Relu", "r", []string{"x"}, []string{"a"}), pbNode("Add", "s", []string{"x", "a"}, []string{"y"})), "node s (Add): joins two branches"},
		"an operator":             {after(pbNode("LSTM", "l", []string{"x"}, []string{"y"})), "node l (LSTM): not an operator of a chain"},
		"an operator, no name":    {after(pbNode("Celu", "", []string{"x"}, []string{"y"})), "node of output y (Celu): not an operator"},
		"a domain":                {after(pbBytes(1, pbText(1, "x"), pbText(2, "y"), pbText(4, "Relu"), pbText(7, "com.microsoft"))), "domain com.microsoft"},
		"shape overflows":         {conv(pbTensor("w", 1, 1<<32, 1<<32, 1, 1)), "w: shape [4294967296 4294967296 1 1] has too many elements"},
		"negative length":         {conv(pbTensor("w", 1, -1, 1, 1, 1)), "length -1"},
		"more claimed than there": {conv(pbTensor("w", 8, 1, 1, 3, 3)), "w: F32 of shape [1 1 3 3] is 36 bytes, but raw_data holds 32"},
		"less claimed than there": {conv(pbTensor("w", 10, 1, 1, 3, 3)), "is 36 bytes, but raw_data holds 40"},
		"float_data of another count": {conv(pbBytes(5, pbInt(1, 1), pbInt(1, 1), pbInt(1, 1), pbInt(1, 2), pbInt(2, 1), pbText(8, "w"), pbBytes(4, pbFloats(3)))),
			"w: shape [1 1 1 2] has 2 elements, but float_data 3"},
		"no data":                {conv(pbBytes(5, pbInt(1, 3), pbInt(2, 1), pbText(8, "w"))), "w: shape [3] has 3 elements, but float_data 0"},
		"halves of 17 bits":      {conv(pbBytes(5, pbInt(1, 1), pbInt(2, 10), pbText(8, "w"), pbBytes(5, []byte{0xff, 0xff, 0x07}))), "w: element 0 of 17 bits and more, want 16"},
		"halves of other counts": {conv(pbBytes(5, pbInt(1, 9), pbInt(2, 10), pbText(8, "w"), pbBytes(5, []byte{1}))), "w: shape [9] has 9 elements, but int32_data 1"},
		"halves cut off":         {conv(pbBytes(5, pbInt(1, 1), pbInt(2, 10), pbText(8, "w"), pbBytes(5, []byte{0x80}))), "field"},
		"unknown type":           {conv(pbBytes(5, pbInt(1, 1), pbInt(1, 1), pbInt(1, 1), pbInt(1, 1), pbInt(2, 99), pbText(8, "w"))), ""},
		"segments":               {conv(pbBytes(5, pbBytes(3), pbInt(2, 1), pbText(8, "w"))), "a tensor in segments"},
		"kernel and weight":      {after(pbTensor("w", 9, 1, 1, 3, 3), pbNode("Conv", "c", []string{"x", "w"}, []string{"y"}, pbInts("kernel_shape", 5, 5))), "node c (Conv): kernel_shape [5 5], but a weight of shape [1 1 3 3]"},
		"pads of 2 axes":         {after(pbTensor("w", 9, 1, 1, 3, 3), pbNode("Conv", "c", []string{"x", "w"}, []string{"y"}, pbInts("pads", 1, 1))), "node c (Conv): a window"},
		"perm":                   {after(pbNode("Transpose", "t", []string{"x"}, []string{"y"}, pbInts("perm", 0, 9, 1, 2))), "node t (Transpose): perm [0 9 1 2]"},
		"perm twice":             {after(pbNode("Transpose", "t", []string{"x"}, []string{"y"}, pbInts("perm", 0, 1, 1, 2))), "perm [0 1 1 2]"},
		"batch moved":            {after(pbNode("Transpose", "t", []string{"x"}, []string{"y"}, pbInts("perm", 1, 0, 2, 3))), "moves the batch"},
		"huge pads": {after(pbTensor("w", 9, 1, 1, 3, 3), pbNode("Pad", "p", []string{"x"}, []string{"a"}, pbInts("pads", 0, 0, 1<<62, 0, 0, 0, 0, 0)), pbNode("Conv", "c", []string{"a", "w"}, []string{"y"})),
			"node p (Pad): pads [0 0 4611686018427387904"},
		"pad of the channels": {after(pbTensor("w", 9, 1, 1, 3, 3), pbNode("Pad", "p", []string{"x"}, []string{"a"}, pbInts("pads", 0, 1, 1, 0, 0, 1, 1, 0)), pbNode("Conv", "c", []string{"a", "w"}, []string{"y"})),
			"node p (Pad): pads"},
		"pad before pooling": {after(pbNode("Pad", "p", []string{"x"}, []string{"a"}, pbInts("pads", 0, 0, 1, 1, 0, 0, 1, 1)), pbNode("MaxPool", "m", []string{"a"}, []string{"y"}, pbInts("kernel_shape", 2, 2))),
			"node p (Pad): pads no convolution, but node m (MaxPool)"},
		"reshape to anything": {after(pbConstant("s", 0, 7, -1, 3), pbNode("Reshape", "rs", []string{"x", "s"}, []string{"y"})), "node rs (Reshape): reshapes to [0 7 -1 3], want a flattening"},
		"shapes from nowhere": {after(pbNode("RandomNormal", "n", nil, []string{"s"}), pbNode("Reshape", "rs", []string{"x", "s"}, []string{"y"})), "node n (RandomNormal): not an operator that constants"},
		"index outside": {after(pbNode("Shape", "sh", []string{"x"}, []string{"s"}), pbConstant("i", 1<<62), pbNode("Gather", "g", []string{"s", "i"}, []string{"q"}), pbNode("Reshape", "rs", []string{"x", "q"}, []string{"y"})),
			"node g (Gather): an index outside the shape"},
		"gemm of images":            {after(pbTensor("w", 1, 1, 1), pbNode("Conv", "c", []string{"x", "w4"}, []string{"a"}), pbNode("Gemm", "g", []string{"a", "w"}, []string{"y"})), "input w4, which nothing"},
		"bias of another length":    {after(pbTensor("w", 9, 1, 1, 3, 3), pbTensor("b", 2, 2), pbNode("Conv", "c", []string{"x", "w", "b"}, []string{"y"})), "node c (Conv): b: shape [2], want a vector of 1"},
		"add to nothing":            {after(pbTensor("b", 2, 2), pbNode("Add", "a", []string{"x", "b"}, []string{"y"})), "node a (Add): a constant of shape [2] for pixels, want one number for each channel"},
		"weight that isn't there":   {after(pbNode("Conv", "c", []string{"x", ""}, []string{"y"})), "node c (Conv): input 2 of 2 is missing"},
		"external without a path":   {external("w.bin"), "its data is in w.bin, a file beside it: open it by its path or from an fs.FS"},
		"external above":            {external("../w.bin"), `w: external data in ../w.bin, want the name of a file beside the model`},
		"external, absolute":        {external("/etc/passwd"), "w: external data in /etc/passwd, want the name"},
		"external, a drive":         {external(`C:w.bin`), "want the name of a file beside the model"},
		"external in a folder":      {external("a/w.bin"), "want the name of a file beside the model"},
		"external, backslash":       {external(`..\w.bin`), "want the name of a file beside the model"},
		"external, no name":         {external(""), "want the name of a file beside the model"},
		"external, negative offset": {conv(pbBytes(5, pbInt(2, 1), pbText(8, "w"), pbBytes(13, pbText(1, "offset"), pbText(2, "-4")))), "external_data offset -4, want a whole number"},
		"external, offset of 2^70":  {conv(pbBytes(5, pbInt(2, 1), pbText(8, "w"), pbBytes(13, pbText(1, "offset"), pbText(2, "1180591620717411303424")))), "external_data offset"},
	}
}

func TestHostileProtobuf(t *testing.T) {
	for kind, files := range map[Format]map[string]hostileFile{CaffeModel: hostileCaffe(), ONNX: hostileONNX()} {
		for name, c := range files {
			t.Run(string(kind)+" "+name, func(t *testing.T) {
				f, err := open(c.file)
				if c.want == "" && err == nil { // refused when it is read
					_, err = f.Read(f.Tensors()[0].Name)
					c.want = "dtype"
				}
				if err == nil {
					t.Fatalf("opened, with %v", f.Tensors())
				}
				if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
					t.Errorf("%q, want %q in it", err, c.want)
				}
				if _, ok := errors.AsType[*UnsupportedError](err); ok {
					t.Errorf("%q: not recognised", err)
				}
			})
		}
	}
}

// Opening a hostile file takes memory in proportion to its size.
func TestHostileProtobufAllocations(t *testing.T) {
	for _, files := range []map[string]hostileFile{hostileCaffe(), hostileONNX()} {
		for name, c := range files {
			const slack = 64 << 10
			limit := uint64(64*len(c.file) + slack)
			checkAllocation(t, name, c.file, limit)
		}
	}
}

// External data is read from the model's folder only, and its size is checked.
func TestONNXExternalEscapes(t *testing.T) {
	dir := t.TempDir()
	model := func(location string, more ...[]byte) string {
		tensor := pbBytes(5, pbInt(1, 1), pbInt(1, 1), pbInt(1, 2), pbInt(1, 1), pbInt(2, 1), pbText(8, "w"), pbInt(14, 1),
			pbBytes(13, pbText(1, "location"), pbText(2, location)), pbJoin(more...))
		b := pbModel(pbIn, tensor, pbNode("Conv", "c", []string{"x", "w"}, []string{"y"}), pbOut)
		path := filepath.Join(dir, "sub", "m.onnx")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := func(name string, bytes int) {
		if err := os.WriteFile(filepath.Join(dir, name), pbFloats(bytes / 4)[:bytes&^3], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	offset := func(key, value string) []byte { return pbBytes(13, pbText(1, key), pbText(2, value)) }
	good := model("data", offset("offset", "4"))
	file("sub/data", 12)
	file("secret", 1024)
	f, err := Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := f.Read("w"); err != nil || fmt.Sprint(x.Data) != "[1 2]" {
		t.Errorf("%v, %v, want the elements from byte 4 on", x, err)
	}
	// The file shrinks after it was opened.
	file("sub/data", 8)
	if _, err := f.Read("w"); err == nil {
		t.Error("read past the end of external data")
	}
	f.Close()
	file("sub/data", 12)
	if err := os.Symlink("../secret", filepath.Join(dir, "sub", "link")); err != nil {
		vggtest.Skip(t, "symbolic links")
	}
	if err := os.Mkdir(filepath.Join(dir, "sub", "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]string{
		"none": "none", "link": "link", "folder": "a directory, want a file", "..": "want the name of a file beside the model", "data\x00": "data",
	} {
		if f, err := Open(t.Context(), model(location)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "w: external data") {
			t.Errorf("%q: %v, %v, want %q", location, f, err, want)
		}
	}
	for key, c := range map[string]struct{ value, want string }{
		"offset": {"8", "external data of 8 bytes from byte 8 of data, which has 12"},
		"length": {"12", "is 8 bytes, but its external data 12"},
	} {
		if _, err := Open(t.Context(), model("data", offset(key, c.value))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", key, c.value, err, c.want)
		}
	}
	if _, err := Open(t.Context(), model("data", offset("offset", "9223372036854775807"))); err == nil {
		t.Error("an offset of 2⁶³-1 was taken")
	}
}

// fuzzProto opens what the fuzzer makes and reads every tensor.
func fuzzProto(t *testing.T, b []byte, format Format) {
	f, err := open(b)
	if err != nil {
		if f != nil || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
			t.Fatalf("%v, %q", f, err)
		}
		return
	}
	if f.Format() != format {
		return
	}
	names := map[string]bool{}
	for _, e := range f.Tensors() {
		names[e.Name] = true
		if !readable(e.DType) {
			continue
		}
		size, err := byteSize(e.DType, e.Shape)
		if err != nil {
			t.Fatal(err)
		}
		if size > int64(8*len(b)) {
			t.Fatalf("%s: %d bytes claimed by a file of %d", e.Name, size, len(b))
		}
		if _, err := f.Read(e.Name); err != nil {
			t.Fatalf("%s of %s %v: %v", e.Name, e.DType, e.Shape, err)
		}
	}
	for _, l := range f.Layers() {
		for role, name := range l.Tensors {
			if !names[name] {
				t.Fatalf("layer %s: no tensor %s for its %s", l.Name, name, role)
			}
		}
	}
}

// smallCaffe are whole Caffe models of some hundred bytes.
func smallCaffe() [][]byte {
	return [][]byte{
		pbJoin(pbText(1, "n"),
			pbLayer("conv1_1", "Convolution", pbBlob(54, 2, 3, 3, 3), pbBlob(2, 2), pbBytes(106, pbInt(1, 2), pbInt(3, 1), pbInt(4, 3), pbBytes(7, pbText(1, "xavier")))),
			pbLayer("bn", "BatchNorm", pbBlob(2, 2), pbBlob(2, 2), pbBlob(1, 1)), pbLayer("scale", "Scale", pbBlob(2, 2), pbBlob(2, 2)),
			pbLayer("relu", "ReLU"), pbLayer("pool", "Pooling", pbBytes(121, pbInt(1, 0), pbInt(2, 2), pbInt(3, 2))),
			pbLayer("norm", "LRN", pbBytes(118, pbInt(1, 5), protowire.AppendFixed32(protowire.AppendTag(nil, 2, protowire.Fixed32Type), 0x38d1b717))),
			pbLayer("fc8", "InnerProduct", pbBlob(8, 1, 1, 4, 2), pbBlob(4, 1, 1, 1, 4)), pbLayer("prob", "Softmax")),
		pbLayer("c", "Convolution", pbBytes(7, pbInt(1, 1), pbInt(2, 1), pbInt(3, 1), pbInt(4, 1), pbBytes(8, make([]byte, 8)))),
		// V1, unpacked
		pbJoin(
			pbBytes(2, pbText(4, "c"), pbInt(5, 4), pbText(2, "data"), pbText(3, "c"), pbBytes(6, pbInt(1, 1), pbInt(2, 1), pbInt(3, 1), pbInt(4, 2), []byte{0x2d, 1, 2, 3, 4, 0x2d, 5, 6, 7, 8})),
			pbBytes(2, pbText(4, "r"), pbInt(5, 18), pbText(2, "c"), pbText(3, "c"))),
	}
}

// smallONNX are whole ONNX models of some hundred bytes.
func smallONNX() [][]byte {
	var small bytes.Buffer
	m := smallGraph()
	m.Tensors[0].DType = "F16"
	if err := encodeONNX(&small, m); err != nil {
		panic(err)
	}
	halves := pbBytes(5, pbInt(1, 2), pbInt(2, 16), pbText(8, "b"), pbBytes(5, []byte{0x80, 0x7f, 1}))
	return [][]byte{
		small.Bytes(),
		pbModel(pbBytes(11, pbText(1, "x"), pbBytes(2, pbBytes(1, pbInt(1, 1), pbBytes(2, pbBytes(1, pbText(2, "N")), pbBytes(1, pbInt(1, 8)), pbBytes(1, pbInt(1, 8)), pbBytes(1, pbInt(1, 3)))))), pbOut,
			pbTensor("w", 54, 3, 3, 3, 2), halves, pbTensor("m", 20, 2, 10), pbTensor("bias", 10, 1, 10),
			pbNode("Transpose", "wt", []string{"w"}, []string{"w4"}, pbInts("perm", 3, 2, 0, 1)),
			pbNode("Pad", "p", []string{"x"}, []string{"a"}, pbInts("pads", 0, 1, 1, 0, 0, 1, 1, 0)),
			pbNode("Transpose", "t", []string{"a"}, []string{"c"}, pbInts("perm", 0, 3, 1, 2)),
			pbNode("Conv", "conv", []string{"c", "w4"}, []string{"d"}, pbBytes(5, pbText(1, "auto_pad"), pbText(4, "VALID"))),
			pbNode("Transpose", "u", []string{"d"}, []string{"e"}, pbInts("perm", 0, 2, 3, 1)),
			pbNode("Add", "add", []string{"e", "b"}, []string{"g"}),
			pbNode("Shape", "s", []string{"x"}, []string{"shape"}), pbConstant("zero", 0), pbConstant("rest", -1),
			pbNode("Gather", "n", []string{"shape", "zero"}, []string{"batch"}), pbNode("Concat", "cc", []string{"batch", "rest"}, []string{"to"}),
			pbNode("Reshape", "rs", []string{"g", "to"}, []string{"h"}),
			pbNode("MatMul", "mm", []string{"h", "m"}, []string{"i"}), pbNode("Add", "ab", []string{"i", "bias"}, []string{"y"})),
	}
}

// The fuzzers begin with files that can be opened.
func TestSmallProtobuf(t *testing.T) {
	for format, files := range map[Format][][]byte{CaffeModel: smallCaffe(), ONNX: smallONNX()} {
		for i, b := range files {
			f, err := open(b)
			if err != nil || f.Format() != format || len(f.Layers()) == 0 {
				t.Errorf("%s %d: %v", format, i, err)
			}
			fuzzProto(t, b, format)
		}
	}
}

// Any input of any operator may be missing: of the first node and of a later one.
func TestONNXMissingInputs(t *testing.T) {
	source, err := filepath.Glob("onnx*.go")
	if err != nil {
		t.Fatal(err)
	}
	operators := map[string]bool{}
	name := regexp.MustCompile(`"([A-Z][A-Za-z0-9]+)"`)
	for _, path := range source {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range name.FindAllStringSubmatch(string(text), -1) {
			operators[m[1]] = true
		}
	}
	if !operators["Conv"] || len(operators) < 60 {
		t.Fatalf("%d operators, want those of the reader", len(operators))
	}
	names := []string{"", "x", "w"}
	for op := range operators {
		for n := range 4 {
			for code := range int(math.Pow(3, float64(n))) {
				var inputs []string
				for range n {
					inputs, code = append(inputs, names[code%3]), code/3
				}
				for _, domain := range []string{"", "com.microsoft"} {
					for _, first := range []string{"x", "r"} {
						relu := pbNode("Relu", "r", []string{"x"}, []string{"r"})
						from := slices.Clone(inputs)
						for i, in := range from {
							if in == "x" {
								from[i] = first
							}
						}
						node := pbNode(op, "a", from, []string{"y"}, pbText(7, domain))
						fuzzProto(t, pbModel(pbIn, pbOut, pbTensor("w", 3, 3, 1, 1), relu, node), ONNX)
						fuzzProto(t, pbModel(pbIn, pbOut, pbTensor("w", 3), node), ONNX)
					}
				}
			}
		}
	}
}

func FuzzCaffe(f *testing.F) {
	for _, c := range hostileCaffe() {
		if len(c.file) < 4096 {
			f.Add(c.file)
		}
	}
	for _, b := range smallCaffe() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { fuzzProto(t, b, CaffeModel) })
}

func FuzzONNX(f *testing.F) {
	for _, c := range hostileONNX() {
		if len(c.file) < 4096 {
			f.Add(c.file)
		}
	}
	for _, b := range smallONNX() {
		f.Add(b)
	}
	whole, err := filepath.Glob(vggtest.Fixture(f, "../testdata/onnx/*.onnx"))
	if err != nil || len(whole) == 0 {
		f.Fatalf("%d files, %v", len(whole), err)
	}
	for _, path := range whole {
		if b, err := os.ReadFile(path); err == nil && len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { fuzzProto(t, b, ONNX) })
}
