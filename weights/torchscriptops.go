package weights

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/verydeep/vgg/tensor"
)

// functional says which operator a function of torch.nn.functional is, and where its
// arguments are in the function's.
type functional struct {
	op    string
	order []int
}

// arguments returns the operator's arguments.
func (f functional) arguments(args []any) []any {
	var list []any
	for _, i := range f.order {
		if i < len(args) {
			list = append(list, args[i])
		}
	}
	return list
}

var scriptFunctional = map[string]functional{
	"relu": {"torch.relu", []int{0}}, "leaky_relu": {"torch.leaky_relu", []int{0, 1}}, "elu": {"torch.elu", []int{0, 1}},
	"silu": {"torch.silu", []int{0}}, "gelu": {"torch.gelu", []int{0}}, "tanh": {"torch.tanh", []int{0}}, "sigmoid": {"torch.sigmoid", []int{0}},
	"softmax": {"torch.softmax", []int{0, 1}}, "log_softmax": {"torch.log_softmax", []int{0, 1}},
	"dropout": {"torch.dropout", []int{0, 1, 2}}, "dropout1d": {"torch.dropout", []int{0, 1, 2}}, "dropout2d": {"torch.dropout", []int{0, 1, 2}},
	"alpha_dropout": {"torch.dropout", []int{0, 1, 2}}, "feature_alpha_dropout": {"torch.dropout", []int{0, 1, 2}},
	"_max_pool2d": {"torch.max_pool2d", []int{0, 1, 2, 3, 4, 5}}, "adaptive_avg_pool2d": {"torch.adaptive_avg_pool2d", []int{0, 1}},
	"_adaptive_max_pool2d": {"adaptive_max_pool2d", []int{0, 1}},
	"batch_norm":           {"torch.batch_norm", []int{0, 3, 4, 1, 2, 5, 6, 7}}, "linear": {"torch.linear", []int{0, 1, 2}},
	"local_response_norm": {"local_response_norm", []int{0, 1, 2, 3, 4}}, "normalize": {"normalize", []int{0, 1, 2, 3}},
}

// scriptQueries are operators that tell something of the activation and leave it alone.
var scriptQueries = []string{"dim", "size", "len", "numel", "is_floating_point", "requires_grad", "__is__", "__isnot__"}

// scriptSame are operators that change nothing of the activation.
var scriptSame = []string{"contiguous", "clone", "detach", "to", "alias", "type_as", "identity"}

// operator follows an operator. One that takes the activation becomes a layer.
func (s *scope) operator(name string, args []any) (any, error) {
	op := strings.TrimPrefix(name, "torch.")
	if len(op) > 1 && !strings.HasPrefix(op, "__") {
		op = strings.TrimSuffix(op, "_") // in place
	}
	at := slices.IndexFunc(args, func(v any) bool { _, ok := v.(scriptActivation); return ok })
	if slices.Contains(scriptQueries, op) || at < 0 {
		return s.constantOf(op, args)
	}
	x := args[at].(scriptActivation)
	switch {
	case slices.Contains(scriptSame, op) && at == 0:
		return x, nil
	case x.step != len(s.layers):
		return nil, s.errorf("%s of the output of an earlier layer than the last", display(name))
	case op == "add" || op == "sub" || op == "mul" || op == "div" || op == "rsub":
		return s.arithmetic(op, args, at)
	case op == "addmm" && at == 1 && len(args) > 2:
		if w, ok := args[2].(scriptTensor); ok && w.transposed {
			w.transposed = false
			return s.operator("torch.linear", []any{x, w, args[0]})
		}
	}
	read, ok := scriptOperators[op]
	if !ok || at != 0 {
		return nil, s.errorf("%s, which isn't understood", display(name))
	}
	for len(args) < 10 {
		args = append(args, nil)
	}
	l := Layer{Attributes: map[string][]float64{}}
	var why string
	if l.Op, why = read(s, &l, args); why != "" {
		return nil, s.errorf("%s %s", display(name), why)
	}
	if l.Op == "" { // it is there once more
		return x, nil
	}
	y := s.layer(l)
	if name == "torch.adaptive_max_pool2d" { // with the indices of the maxima
		return []any{y, scriptUnknown{}}, nil
	}
	return y, nil
}

// layer appends a layer and returns its output.
func (s *scope) layer(l Layer) scriptActivation {
	self, _ := s.values["self"].(*scriptModule)
	if w := l.Tensors["weight"] + l.Tensors["mean"]; w != "" {
		l.Name = w[:max(0, strings.LastIndexByte(w, '.'))]
	}
	if l.Name == "" && self != nil {
		l.Name = strings.TrimSuffix(self.prefix, ".")
	}
	if l.Name == "" {
		l.Name = s.place
	}
	s.layers = append(s.layers, l)
	return scriptActivation{len(s.layers)}
}

// constantOf returns the value of an operator on constants, where it matters for conditions.
func (s *scope) constantOf(op string, args []any) (any, error) {
	known := func(v any) bool { _, ok := v.(scriptUnknown); return !ok }
	switch {
	case strings.HasSuffix(op, "RaiseException"):
		return nil, s.errorf("an error that is raised")
	case (op == "__is__" || op == "__isnot__") && len(args) == 2 && known(args[0]) && args[1] == nil:
		return (args[0] == nil) == (op == "__is__"), nil
	case op == "__not__" && len(args) == 1:
		if b, ok := args[0].(bool); ok {
			return !b, nil
		}
	case slices.Contains([]string{"t", "view", "reshape", "unsqueeze", "to", "clone", "detach"}, op) && len(args) > 0:
		if t, ok := args[0].(scriptTensor); ok {
			t.transposed = t.transposed != (op == "t")
			return t, nil
		}
	case len(args) == 2:
		a, b := scriptNumbers(args[0]), scriptNumbers(args[1])
		if len(a) != 1 || len(b) != 1 {
			return scriptUnknown{}, nil
		}
		switch op {
		case "eq":
			return a[0] == b[0], nil
		case "ne":
			return a[0] != b[0], nil
		case "lt":
			return a[0] < b[0], nil
		case "gt":
			return a[0] > b[0], nil
		case "le":
			return a[0] <= b[0], nil
		case "ge":
			return a[0] >= b[0], nil
		}
	}
	return scriptUnknown{}, nil
}

// scriptNumbers returns the numbers of a constant or a list of constants, nil of anything else.
func scriptNumbers(v any) []float64 {
	switch v := v.(type) {
	case float64, int64, bool:
		return torchNumbers(v)
	case []any:
		list := make([]float64, 0, len(v))
		for _, x := range v {
			n := scriptNumbers(x)
			if len(n) != 1 {
				return nil
			}
			list = append(list, n[0])
		}
		return list
	}
	return nil
}

// pixelMap is what is done to the pixels before the first layer: scale·x + offset.
type pixelMap struct {
	source        string
	scale, offset [3]float64
}

// note adds the map to the metadata as a normalisation.
func (p pixelMap) note(h *header) error {
	if p.source == "" {
		return nil
	}
	n := torchNormalize{Source: p.source}
	for c := range 3 {
		if !(p.scale[c] > 0) || math.IsInf(p.scale[c], 0) {
			return malformed("", "%s: pixels times %v, want factors above 0", p.source, p.scale)
		}
		n.Mean = append(n.Mean, -p.offset[c]/p.scale[c])
		n.Std = append(n.Std, 1/p.scale[c])
	}
	text, err := json.Marshal([]torchNormalize{n})
	if err != nil {
		return malformed("", "%s: %v", p.source, err)
	}
	h.meta["torch.normalize"] = string(text)
	return nil
}

// arithmetic follows an operation of the activation, which is argument at, with numbers. It
// is part of the preprocessing, before the first layer, and nothing of a network after it.
func (s *scope) arithmetic(op string, args []any, at int) (any, error) {
	if len(args) < 2 || at > 1 || at == 1 && op != "add" && op != "mul" || slices.ContainsFunc(s.layers, func(l Layer) bool { return l.Op != "normalize" }) {
		return nil, s.errorf("arithmetic on the activation")
	}
	var by []float64
	switch v := args[1-at].(type) {
	case scriptTensor:
		by = s.read(v)
	default:
		by = scriptNumbers(v)
	}
	if len(args) > 2 && !slices.Equal(scriptNumbers(args[2]), []float64{1}) || len(by) != 1 && len(by) != 3 {
		return nil, s.errorf("arithmetic on the pixels with something else than one number or three")
	}
	p := &s.pixels
	if p.source == "" {
		p.source, _, _ = strings.Cut(s.place, ":")
		p.scale = [3]float64{1, 1, 1}
	}
	for c := range 3 {
		k := by[c%len(by)]
		switch op {
		case "add":
			p.offset[c] += k
		case "sub":
			p.offset[c] -= k
		case "rsub": // k − x
			p.scale[c], p.offset[c] = -p.scale[c], k-p.offset[c]
		case "mul":
			p.scale[c], p.offset[c] = p.scale[c]*k, p.offset[c]*k
		case "div":
			p.scale[c], p.offset[c] = p.scale[c]/k, p.offset[c]/k
		}
	}
	return s.layer(Layer{Op: "normalize"}), nil
}

// small returns the values of a tensor of at most three; nil of any other.
func (f *torchFile) small(t *torchTensor) []float64 {
	e, err := f.entry("constant", t)
	n, sizeErr := tensor.Size(t.shape...)
	if err != nil || sizeErr != nil || n < 1 || n > 3 || !readable(e.DType) {
		return nil
	}
	values := make([]float32, n)
	if (&File{r: f.r}).decode(&e, values) != nil {
		return nil
	}
	var list []float64
	for _, v := range values {
		list = append(list, float64(v))
	}
	return list
}

// parameters sets the names of an operator's tensors by role. An optional one is nil.
func parameters(l *Layer, roles []string, args []any) (why string) {
	l.Tensors = make(map[string]string)
	for i, role := range roles {
		switch v := args[i].(type) {
		case nil:
		case scriptTensor:
			if v.name == "" || v.transposed {
				return fmt.Sprintf("with a %s that is no parameter", role)
			}
			l.Tensors[role] = v.name
		default:
			return fmt.Sprintf("with a %s that is no parameter", role)
		}
	}
	return ""
}

// scriptOperators read the arguments of operators on the activation, of which the first is
// the activation. Each returns the layer's operation, or why it is none; an operation of ""
// does nothing.
var scriptOperators = map[string]func(s *scope, l *Layer, args []any) (op, why string){
	"conv2d": func(s *scope, l *Layer, args []any) (string, string) {
		return convolution(l, args, 6)
	},
	"_convolution": func(s *scope, l *Layer, args []any) (string, string) {
		if args[6] != false {
			return "", "that is transposed"
		}
		return convolution(l, args, 8)
	},
	"linear": func(s *scope, l *Layer, args []any) (string, string) {
		return "fc", parameters(l, []string{"weight", "bias"}, args[1:])
	},
	"batch_norm": func(s *scope, l *Layer, args []any) (string, string) {
		if args[5] != false {
			return "", "that normalises by each batch, as in training"
		}
		l.Attributes["epsilon"] = scriptNumbers(args[7])
		return "batchnorm", parameters(l, []string{"scale", "shift", "mean", "variance"}, args[1:])
	},
	"relu": plainOperator("relu"), "silu": plainOperator("silu"), "tanh": plainOperator("tanh"), "sigmoid": plainOperator("sigmoid"),
	"gelu": func(s *scope, l *Layer, args []any) (string, string) {
		if args[1] != nil && args[1] != "none" {
			return "", fmt.Sprintf("with approximate %v", args[1])
		}
		return "gelu", ""
	},
	"leaky_relu": func(s *scope, l *Layer, args []any) (string, string) {
		l.Attributes["alpha"] = scriptNumbers(args[1])
		return "leakyrelu", ""
	},
	"elu": func(s *scope, l *Layer, args []any) (string, string) {
		for _, scale := range args[2:4] {
			if scale != nil && !slices.Equal(scriptNumbers(scale), []float64{1}) {
				return "", "with a scale"
			}
		}
		if args[1] != nil {
			l.Attributes["alpha"] = scriptNumbers(args[1])
		}
		return "elu", ""
	},
	"dropout": dropoutOperator, "feature_dropout": dropoutOperator, "alpha_dropout": dropoutOperator, "feature_alpha_dropout": dropoutOperator,
	"softmax": softmaxOperator("softmax"), "log_softmax": softmaxOperator("logsoftmax"),
	"max_pool2d": func(s *scope, l *Layer, args []any) (string, string) {
		return pooling(l, "maxpool", args[1], args[2], args[3], args[4], args[5])
	},
	"avg_pool2d": func(s *scope, l *Layer, args []any) (string, string) {
		if args[6] != nil {
			return "", "with a divisor_override"
		}
		return pooling(l, "avgpool", args[1], args[2], args[3], nil, args[4])
	},
	"adaptive_avg_pool2d": adaptiveOperator("adaptiveavgpool"), "adaptive_max_pool2d": adaptiveOperator("adaptivemaxpool"),
	"mean": globalOperator("globalavgpool"), "amax": globalOperator("globalmaxpool"),
	"flatten": func(s *scope, l *Layer, args []any) (string, string) {
		if end := args[2]; !slices.Equal(scriptNumbers(args[1]), []float64{1}) || end != nil && end != int64(-1) && end != int64(3) {
			return "", "of other axes than 1 to -1"
		}
		return "flatten", ""
	},
	"view": reshapeOperator, "reshape": reshapeOperator, "squeeze": squeezeOperator,
	"local_response_norm": func(s *scope, l *Layer, args []any) (string, string) {
		for i, name := range []string{"size", "alpha", "beta", "bias"} {
			l.Attributes[name] = scriptNumbers(args[i+1])
		}
		return "lrn", ""
	},
	"normalize": func(s *scope, l *Layer, args []any) (string, string) {
		for i, want := range []float64{2, 1, 1e-12} {
			if args[i+1] != nil && !slices.Equal(scriptNumbers(args[i+1]), []float64{want}) {
				return "", "by another norm than the Euclidean one over axis 1"
			}
		}
		return "l2", ""
	},
}

func plainOperator(op string) func(s *scope, l *Layer, args []any) (string, string) {
	return func(*scope, *Layer, []any) (string, string) { return op, "" }
}

// convolution reads the arguments of a convolution, of which the groups are the last.
func convolution(l *Layer, args []any, groups int) (string, string) {
	a := l.Attributes
	a["strides"], a["dilations"] = scriptNumbers(args[3]), scriptNumbers(args[5])
	switch p := args[4].(type) {
	case string:
		a["padding"] = map[string][]float64{"same": {1}, "valid": {0}}[p]
	default:
		n := scriptNumbers(p)
		if len(n) != 2 {
			return "", "with a padding that isn't two numbers"
		}
		a["pads"] = []float64{n[0], n[1], n[0], n[1]}
	}
	if args[groups] != nil {
		a["group"] = scriptNumbers(args[groups])
	}
	return "conv", parameters(l, []string{"weight", "bias"}, args[1:])
}

func dropoutOperator(_ *scope, l *Layer, args []any) (string, string) {
	if args[2] != false {
		return "", "as in training: trace the model after model.eval()"
	}
	l.Attributes["ratio"] = scriptNumbers(args[1])
	return "dropout", ""
}

func softmaxOperator(op string) func(s *scope, l *Layer, args []any) (string, string) {
	return func(_ *scope, _ *Layer, args []any) (string, string) {
		if args[1] != nil && args[1] != int64(1) && args[1] != int64(-1) {
			return "", "over another axis than 1"
		}
		return op, ""
	}
}

// pooling reads the arguments of a pooling by windows.
func pooling(l *Layer, op string, kernel, stride, padding, dilation, ceil any) (string, string) {
	a := l.Attributes
	a["kernel_shape"], a["strides"], a["pads"] = scriptNumbers(kernel), scriptNumbers(stride), scriptNumbers(padding)
	if a["kernel_shape"] == nil {
		return "", "with windows that only a run could tell"
	}
	if len(a["strides"]) == 0 {
		a["strides"] = a["kernel_shape"]
	}
	if dilation != nil {
		a["dilations"] = scriptNumbers(dilation)
	}
	if ceil != nil && ceil != false {
		return "", "with ceil_mode True"
	}
	return op, ""
}

func adaptiveOperator(op string) func(s *scope, l *Layer, args []any) (string, string) {
	return func(_ *scope, l *Layer, args []any) (string, string) {
		n := scriptNumbers(args[1])
		if len(n) == 1 {
			n = []float64{n[0], n[0]}
		}
		if len(n) != 2 {
			return "", "to a size that isn't two numbers"
		}
		l.Attributes["size"] = n
		return op, ""
	}
}

func globalOperator(op string) func(s *scope, l *Layer, args []any) (string, string) {
	return func(_ *scope, _ *Layer, args []any) (string, string) {
		axes := scriptNumbers(args[1])
		for i := range axes {
			if axes[i] < 0 {
				axes[i] += 4
			}
		}
		slices.Sort(axes)
		if !slices.Equal(axes, []float64{2, 3}) {
			return "", "over other axes than height and width"
		}
		return op, ""
	}
}

// reshapeOperator follows a reshaping to one vector for each image.
func reshapeOperator(s *scope, _ *Layer, args []any) (string, string) {
	if to, ok := args[1].([]any); !ok || len(to) != 2 {
		return "", "to another shape than one vector for each image"
	}
	return "flatten", ""
}

// squeezeOperator follows the removal of axes of length 1, which are there after a global
// pooling alone.
func squeezeOperator(s *scope, _ *Layer, _ []any) (string, string) {
	if n := len(s.layers); n > 0 {
		l := s.layers[n-1]
		if strings.HasPrefix(l.Op, "global") || slices.Equal(l.Attributes["size"], []float64{1, 1}) {
			return "", ""
		}
	}
	return "", "of a map that no global pooling made"
}
