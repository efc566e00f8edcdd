package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"

	"github.com/verydeep/vgg/tensor"
)

// Names of the one input and of the outputs of every model.
const (
	inputName      = "input"
	scoresOutput   = "scores"
	postOutput     = "posteriors"
	mapOutput      = "map"
	fp32           = "FP32"
	bytesType      = "BYTES"
	maxTensors     = 16
	maxDims        = 8
	maxParameters  = 64
	maxJSONLevels  = 32
	maxRequestKeys = 4096
)

// inferRequest is a request of the protocol.
type inferRequest struct {
	ID         string         `json:"id"`
	Parameters map[string]any `json:"parameters"`
	Inputs     []wireTensor   `json:"inputs"`
	Outputs    []wireOutput   `json:"outputs"`
}

// wireTensor is a tensor of a request.
type wireTensor struct {
	Name       string          `json:"name"`
	Shape      []json.Number   `json:"shape"`
	Datatype   string          `json:"datatype"`
	Parameters map[string]any  `json:"parameters"`
	Data       json.RawMessage `json:"data"`

	raw   []byte // binary data
	shape []int
}

// wireOutput is an output that a request asks for.
type wireOutput struct {
	Name       string         `json:"name"`
	Parameters map[string]any `json:"parameters"`
}

// copies is the most memory that the request's inputs take beside its body: a tensor has as
// many bytes as it came in, or, of a number and a comma, twice as many. The JSON itself is there
// twice more.
func (r *inferRequest) copies() int64 {
	n := 0
	for _, t := range r.Inputs {
		n += len(t.raw) + 4*len(t.Data)
	}
	return int64(n)
}

// images are the images of a request: tensors, or encoded pictures.
type images struct {
	x        *tensor.Tensor
	pictures [][]byte
}

// decodeInfer reads the body of an inference request. headerLength is the header
// Inference-Header-Content-Length, "" if there is none.
func decodeInfer(body []byte, headerLength string) (*inferRequest, error) {
	text, binaries := body, []byte(nil)
	if headerLength != "" {
		n, err := strconv.ParseUint(headerLength, 10, 63)
		if err != nil || n > uint64(len(body)) {
			return nil, badRequest("Inference-Header-Content-Length %q, want the bytes of the JSON, at most the body's %d", abbreviated(headerLength), len(body))
		}
		if n == 0 { // the body is the single input
			return &inferRequest{
				Parameters: map[string]any{"binary_data_output": true},
				Inputs:     []wireTensor{{Name: inputName, Datatype: bytesType, shape: []int{1}, raw: withLength(body)}},
			}, nil
		}
		text, binaries = body[:n], body[n:]
	}
	var r inferRequest
	if err := decodeJSON(text, &r); err != nil {
		return nil, err
	}
	if len(r.Inputs) > maxTensors || len(r.Outputs) > maxTensors {
		return nil, badRequest("%d inputs and %d outputs, the most is %d", len(r.Inputs), len(r.Outputs), maxTensors)
	}
	for i := range r.Inputs {
		t := &r.Inputs[i]
		var err error
		if t.shape, err = shapeOf(t.Shape); err != nil {
			return nil, badRequest("input %q: %w", abbreviated(t.Name), err)
		}
		n, given, err := wholeParameter(t.Parameters, "binary_data_size")
		if err != nil {
			return nil, badRequest("input %q: %w", abbreviated(t.Name), err)
		}
		switch {
		case !given && t.Data == nil:
			return nil, badRequest("input %q has neither data nor the parameter binary_data_size", abbreviated(t.Name))
		case given && t.Data != nil:
			return nil, badRequest("input %q has both data and the parameter binary_data_size", abbreviated(t.Name))
		case given && headerLength == "":
			return nil, badRequest("input %q is binary, but the header Inference-Header-Content-Length is missing", abbreviated(t.Name))
		case given:
			if n > int64(len(binaries)) {
				return nil, badRequest("input %q has %d bytes, of which %d came", abbreviated(t.Name), n, len(binaries))
			}
			t.raw, binaries = binaries[:n:n], binaries[n:]
		}
	}
	if len(binaries) > 0 {
		return nil, badRequest("%d bytes after the last binary tensor", len(binaries))
	}
	return &r, nil
}

// withLength returns an element of BYTES.
func withLength(data []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data...)
}

// wholeParameter returns a parameter that is a whole number from 0 on.
func wholeParameter(parameters map[string]any, name string) (n int64, given bool, err error) {
	v, given := parameters[name]
	if !given {
		return 0, false, nil
	}
	number, ok := v.(json.Number)
	if ok {
		n, err = strconv.ParseInt(number.String(), 10, 64)
	}
	if !ok || err != nil || n < 0 {
		return 0, true, fmt.Errorf("parameter %s of %v, want a whole number from 0 on", name, abbreviated(fmt.Sprint(v)))
	}
	return n, true, nil
}

// truth returns a parameter that is true or false.
func truth(parameters map[string]any, name string, def bool) (bool, error) {
	v, given := parameters[name]
	if !given {
		return def, nil
	}
	b, ok := v.(bool)
	if !ok {
		return false, badRequest("parameter %s of %v, want true or false", name, abbreviated(fmt.Sprint(v)))
	}
	return b, nil
}

// shapeOf returns a shape whose size can be computed.
func shapeOf(numbers []json.Number) ([]int, error) {
	if len(numbers) == 0 || len(numbers) > maxDims {
		return nil, fmt.Errorf("a shape of %d numbers, want 1 to %d", len(numbers), maxDims)
	}
	shape := make([]int, len(numbers))
	for i, n := range numbers {
		v, err := strconv.ParseInt(n.String(), 10, 32)
		if err != nil || v < 1 {
			return nil, fmt.Errorf("a shape with %s, want whole numbers from 1 on", abbreviated(n.String()))
		}
		shape[i] = int(v)
	}
	if _, err := tensor.Size(shape...); err != nil {
		return nil, err
	}
	return shape, nil
}

// imagesOf returns the images of a request's input.
func imagesOf(r *inferRequest, limits Limits) (*images, error) {
	if len(r.Inputs) != 1 {
		return nil, badRequest("%d inputs, want one, %q", len(r.Inputs), inputName)
	}
	t := &r.Inputs[0]
	if t.Name != inputName {
		return nil, badRequest("input %q, want %q", abbreviated(t.Name), inputName)
	}
	if n := t.shape[0]; n > limits.Images {
		return nil, refuse(http.StatusRequestEntityTooLarge, "images", "%d images in a request, the most is %d", n, limits.Images)
	}
	switch t.Datatype {
	case fp32:
		if len(t.shape) != 4 || t.shape[1] != 3 {
			return nil, badRequest("input %q of shape %v, want [N,3,H,W] of preprocessed pixels in RGB", inputName, t.shape)
		}
		x, err := t.floats(limits)
		return &images{x: x}, err
	case bytesType:
		if len(t.shape) > 2 || len(t.shape) == 2 && t.shape[1] != 1 {
			return nil, badRequest("input %q of shape %v, want [N] or [N,1] of encoded pictures", inputName, t.shape)
		}
		pictures, err := t.elements()
		return &images{pictures: pictures}, err
	}
	return nil, badRequest("input %q of datatype %q, want %s of shape [N,3,H,W] or %s of shape [N]", inputName, abbreviated(t.Datatype), fp32, bytesType)
}

// floats returns the values of an FP32 tensor.
func (t *wireTensor) floats(limits Limits) (*tensor.Tensor, error) {
	n, err := tensor.Size(t.shape...)
	if err != nil {
		return nil, badRequest("input %q: %w", t.Name, err)
	}
	if t.raw != nil || t.Data == nil {
		if int64(len(t.raw)) != 4*int64(n) {
			return nil, badRequest("input %q of shape %v has %d bytes, want %d", t.Name, t.shape, len(t.raw), 4*int64(n))
		}
		x := tensor.New(t.shape...)
		for i := range x.Data {
			x.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.raw[4*i:]))
		}
		return finite(x)
	}
	if n > len(t.Data) { // each value has a byte at least
		return nil, badRequest("input %q of shape %v wants %d values, its data has %d bytes", t.Name, t.shape, n, len(t.Data))
	}
	x := tensor.New(t.shape...)
	count := 0
	err = eachValue(t.Data, func(value []byte) error {
		if count == n {
			return fmt.Errorf("more than %d values", n)
		}
		v, err := strconv.ParseFloat(string(value), 32)
		if err != nil {
			return fmt.Errorf("value %d of %s, want a number of 32 bits", count, abbreviated(string(value)))
		}
		x.Data[count] = float32(v)
		count++
		return nil
	})
	if err == nil && count != n {
		err = fmt.Errorf("%d values, want %d", count, n)
	}
	if err != nil {
		return nil, badRequest("input %q of shape %v: %w", t.Name, t.shape, err)
	}
	return x, nil
}

// finite returns x, or a failure if a value isn't a number.
func finite(x *tensor.Tensor) (*tensor.Tensor, error) {
	if !tensor.Finite(x.Data) {
		return nil, badRequest("input %q has values that are infinite or not numbers", inputName)
	}
	return x, nil
}

// elements returns the elements of a BYTES tensor. In JSON they are strings in base64 with
// the parameter "content_type": "base64", as OpenVINO's server has it, or b64 objects.
func (t *wireTensor) elements() ([][]byte, error) {
	n := t.shape[0]
	var list [][]byte
	if t.raw != nil || t.Data == nil {
		rest := t.raw
		for len(rest) > 0 {
			if len(rest) < 4 {
				return nil, badRequest("input %q: %d bytes after the last element", t.Name, len(rest))
			}
			size := binary.LittleEndian.Uint32(rest)
			if uint64(size) > uint64(len(rest)-4) {
				return nil, badRequest("input %q: element %d has %d bytes, of which %d came", t.Name, len(list), size, len(rest)-4)
			}
			if len(list) == n {
				return nil, badRequest("input %q of shape %v has more than %d elements", t.Name, t.shape, n)
			}
			list, rest = append(list, rest[4:4+size]), rest[4+size:]
		}
	} else {
		err := eachValue(t.Data, func(value []byte) error {
			if len(list) == n {
				return fmt.Errorf("more than %d elements", n)
			}
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				return fmt.Errorf("element %d isn't a string", len(list))
			}
			data, err := fromDataURL(text)
			if err != nil {
				return fmt.Errorf("element %d: %w; in JSON, pictures are in base64", len(list), err)
			}
			list = append(list, data)
			return nil
		})
		if err != nil {
			return nil, badRequest("input %q: %w", t.Name, err)
		}
	}
	if len(list) != n {
		return nil, badRequest("input %q of shape %v has %d elements", t.Name, t.shape, len(list))
	}
	return list, nil
}

// eachValue calls do for the values of a JSON list, which may be nested, in order. The text
// is valid JSON.
func eachValue(text []byte, do func(value []byte) error) error {
	if len(text) == 0 || text[0] != '[' {
		return fmt.Errorf("data that isn't a list")
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '[' || c == ']' || c == ',' || c == ' ' || c == '\n' || c == '\t' || c == '\r':
			i++
		case c == '{':
			return fmt.Errorf("an object in the data, want numbers or strings")
		case c == '"':
			end := stringEnd(text, i)
			if err := do(text[i:end]); err != nil {
				return err
			}
			i = end
		default:
			end := i
			for end < len(text) && text[end] != ',' && text[end] != ']' && text[end] != ' ' && text[end] != '\n' && text[end] != '\t' && text[end] != '\r' {
				end++
			}
			if err := do(text[i:end]); err != nil {
				return err
			}
			i = end
		}
	}
	return nil
}

// stringEnd returns the end of the JSON string that begins at i.
func stringEnd(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// decodeJSON is json.Unmarshal of a request: a key that stands twice in an object, a value
// after the first and too many levels are errors.
func decodeJSON(text []byte, v any) error {
	if err := checkLevels(text); err != nil {
		return err
	}
	if start := bytes.TrimLeft(text, " \t\r\n"); len(start) > 0 && start[0] != '{' {
		return badRequest("JSON that begins with %q, want an object", abbreviated(string(start[:1])))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return badRequest("the JSON is truncated")
		}
		return badRequest("the JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest("the JSON has more than one value")
	}
	return checkKeys(text)
}

// checkLevels reports a text of too many levels before it is decoded.
func checkLevels(text []byte) error {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = stringEnd(text, i) - 1
		case '[', '{':
			if depth++; depth > maxJSONLevels {
				return badRequest("the JSON has more than %d levels", maxJSONLevels)
			}
		case ']', '}':
			depth--
		}
	}
	return nil
}

// checkKeys reports a key that stands twice in an object of a valid text, of which one value
// would be ignored.
func checkKeys(text []byte) error {
	type level struct {
		keys  map[string]bool // nil: a list
		value bool            // a key's value comes
	}
	var levels []level
	count := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			end := stringEnd(text, i)
			if n := len(levels); n > 0 && levels[n-1].keys != nil && !levels[n-1].value {
				var key string
				if err := json.Unmarshal(text[i:end], &key); err != nil {
					return badRequest("the JSON: %w", err)
				}
				if levels[n-1].keys[key] {
					return badRequest("the JSON has the key %q twice", abbreviated(key))
				}
				if count++; count > maxRequestKeys {
					return badRequest("the JSON has more than %d keys", maxRequestKeys)
				}
				levels[n-1].keys[key] = true
			}
			i = end - 1
		case '{':
			levels = append(levels, level{keys: map[string]bool{}})
		case '[':
			levels = append(levels, level{})
		case '}', ']':
			levels = levels[:len(levels)-1]
		case ':':
			levels[len(levels)-1].value = true
		case ',':
			levels[len(levels)-1].value = false
		}
	}
	return nil
}

// appendFloats appends little-endian values.
func appendFloats(dst []byte, values []float32) []byte {
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}
