package weights

import (
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/pickle"
)

// MetaLayerOrder is the key of the metadata that says why the order of Layers is that of
// attributes: it names the classes whose forward isn't in the file.
const MetaLayerOrder = "torch.layer_order"

// moduleReader lists the layers of a pickled module in the order in which its forward
// calls them. The forward of PyTorch's own containers and of torchvision's VGG is known.
// Other classes' is taken to call their modules in the order of the attributes, and is
// noted.
type moduleReader struct {
	layers []Layer
	own    []string // classes whose forward isn't known
	spend  func(n int) error
}

// readModule lists the layers of module m.
func readModule(m *pickle.Object, spend func(n int) error) (*moduleReader, error) {
	r := &moduleReader{spend: spend}
	return r, r.module("", m, 0)
}

// children returns the modules in m, with their names.
func children(m *pickle.Object) (names []string, modules []*pickle.Object) {
	d, _ := m.Attributes.Get("_modules").(*pickle.Dict)
	if d == nil {
		return nil, nil
	}
	for i, k := range d.Keys {
		name, ok := k.(string)
		of, also := d.Values[i].(*pickle.Object)
		if ok && also {
			names, modules = append(names, name), append(modules, of)
		}
	}
	return names, modules
}

// module appends the layers of m, whose tensors have names that begin with prefix.
func (r *moduleReader) module(prefix string, m *pickle.Object, depth int) error {
	if depth > maxModuleDepth {
		return malformed("", "modules in modules, over %d deep", maxModuleDepth)
	}
	if err := r.spend(64 + len(prefix)); err != nil {
		return err
	}
	name := strings.TrimSuffix(prefix, ".")
	if why := changedForward(m); why != "" {
		r.note(m.Class.Name)
		r.layers = append(r.layers, Layer{Name: name, Op: className(m.Class) + " with " + why})
		return nil
	}
	if l, ok := torchLayer(m); ok {
		l.Name = name
		l.Tensors = torchRoles(prefix, l.Op, m)
		r.layers = append(r.layers, l)
		return nil
	}
	names, modules := children(m)
	switch class := m.Class; {
	case class.String() == "torchvision.models.vgg.VGG":
		return r.torchvision(prefix, names, modules, depth)
	case class.String() == "torch.nn.modules.container.Sequential", parallelClasses[class.Name] && strings.HasPrefix(class.Module, "torch."):
	case len(names) == 0 && isFlatten(class):
		if class.String() != "fastai.layers.Flatten" {
			r.note(class.Name)
		}
		r.layers = append(r.layers, Layer{Name: name, Op: "flatten"})
		return nil
	case len(names) == 0:
		r.layers = append(r.layers, Layer{Name: name, Op: className(class), Tensors: torchRoles(prefix, "", m)})
		return nil
	default:
		r.note(class.Name)
	}
	for i, of := range modules {
		if err := r.module(prefix+names[i]+".", of, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// torchvision appends the layers of torchvision's VGG: its forward calls features, avgpool,
// flatten and classifier, whatever else was attached to it.
func (r *moduleReader) torchvision(prefix string, names []string, modules []*pickle.Object, depth int) error {
	for _, part := range []string{"features", "avgpool", "flatten", "classifier"} {
		if part == "flatten" {
			r.layers = append(r.layers, Layer{Name: prefix + part, Op: part})
			continue
		}
		if i := slices.Index(names, part); i >= 0 {
			if err := r.module(prefix+part+".", modules[i], depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// note notes a class whose forward isn't known.
func (r *moduleReader) note(class string) {
	if class = display(class); !slices.Contains(r.own, class) {
		r.own = append(r.own, class)
	}
}

// parallelClasses hold one module that does all.
var parallelClasses = map[string]bool{"DataParallel": true, "DistributedDataParallel": true, "AveragedModel": true, "OptimizedModule": true}

// isFlatten tells whether a class without modules is one that users write, for which older
// versions of PyTorch have no module, or fastai's.
func isFlatten(class pickle.Global) bool {
	return slices.Contains([]string{"Flatten", "View", "Reshape"}, class.Name)
}

// className names a class for an error: those of PyTorch and torchvision by their name
// alone.
func className(class pickle.Global) string {
	if strings.HasPrefix(class.Module, "torch.nn.modules.") || strings.HasPrefix(class.Module, "torchvision.") {
		return display(class.Name)
	}
	return display(class.String())
}

// changedForward says by what a module's forward was changed; "" if by nothing.
func changedForward(m *pickle.Object) string {
	if m.Attributes.Get("forward") != nil {
		return "a forward of its own"
	}
	for _, key := range []string{"_forward_hooks", "_forward_pre_hooks"} {
		d := attributesOf(m.Attributes.Get(key))
		if d == nil {
			continue
		}
		for _, hook := range d.Values {
			if !computesParameter(hook) {
				return "hooks of its forward"
			}
		}
	}
	return ""
}

// computesParameter tells whether a hook only computes a parameter from others, which
// [File.reparametrised] does.
func computesParameter(hook any) bool {
	o, ok := hook.(*pickle.Object)
	if !ok {
		return false
	}
	switch o.Class.Module {
	case "torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm", "torch.nn.utils.prune":
		return true
	}
	return false
}

// torchRoles returns the names of the tensors of a layer by role.
func torchRoles(prefix, op string, m *pickle.Object) map[string]string {
	roles := map[string]string{"weight": "weight", "bias": "bias", "weight_orig": "weight", "weight_v": "weight", "bias_orig": "bias"}
	if op == "batchnorm" {
		roles = map[string]string{"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "variance"}
	}
	tensors := make(map[string]string)
	for _, key := range []string{"_parameters", "_buffers"} {
		d, _ := m.Attributes.Get(key).(*pickle.Dict)
		if d == nil {
			continue
		}
		for i, k := range d.Keys {
			name, _ := k.(string)
			if _, ok := d.Values[i].(*torchTensor); ok && roles[name] != "" {
				tensors[roles[name]] = prefix + name
			}
		}
	}
	return tensors
}

// torchLayer describes a module of a class whose forward is known and that has no modules
// in it. It is false for any other.
func torchLayer(m *pickle.Object) (l Layer, ok bool) {
	class := m.Class
	switch {
	case strings.HasPrefix(class.Name, "Normali") && (strings.HasPrefix(class.Module, "torchvision.transforms.") || strings.HasPrefix(class.Module, "kornia.")):
		return Layer{Op: "normalize"}, true
	case class.Name == "AdaptiveConcatPool2d" && strings.HasPrefix(class.Module, "fastai."):
		return Layer{Op: "globalmaxavgpool", Attributes: map[string][]float64{"size": adaptiveSize(m, "size")}}, true
	case !strings.HasPrefix(class.Module, "torch.nn.modules."):
		return l, false
	}
	read, ok := torchLayers[class.Name]
	if !ok {
		return l, false
	}
	l.Attributes = make(map[string][]float64)
	var why string
	if l.Op, why = read(m.Attributes, l.Attributes); why != "" {
		l.Op = class.Name + " " + why
	}
	return l, true
}

// torchOp returns the reader of a class that has one attribute, or none.
func torchOp(op, attribute, as string) func(from *pickle.Dict, to map[string][]float64) (string, string) {
	return func(from *pickle.Dict, to map[string][]float64) (string, string) {
		if v := torchNumbers(from.Get(attribute)); v != nil && attribute != "" {
			to[as] = v
		}
		return op, ""
	}
}

// torchLayers reads the attributes of a module by its class. Each returns the operation, and
// why it is another function than the operation's, if it is.
var torchLayers = map[string]func(from *pickle.Dict, to map[string][]float64) (op, why string){
	"Conv2d": torchConv, "Linear": torchOp("fc", "", ""), "Identity": torchOp("identity", "", ""),
	"BatchNorm1d": torchNorm, "BatchNorm2d": torchNorm, "SyncBatchNorm": torchNorm,
	"ReLU": torchOp("relu", "", ""), "LeakyReLU": torchOp("leakyrelu", "negative_slope", "alpha"), "ELU": torchOp("elu", "alpha", "alpha"),
	"SiLU": torchOp("silu", "", ""), "Tanh": torchOp("tanh", "", ""), "Sigmoid": torchOp("sigmoid", "", ""), "GELU": torchGELU,
	"Dropout": torchOp("dropout", "p", "ratio"), "Dropout1d": torchOp("dropout", "p", "ratio"), "Dropout2d": torchOp("dropout", "p", "ratio"),
	"AlphaDropout": torchOp("dropout", "p", "ratio"), "FeatureAlphaDropout": torchOp("dropout", "p", "ratio"),
	"MaxPool2d": torchPool("maxpool"), "AvgPool2d": torchPool("avgpool"),
	"AdaptiveAvgPool2d": torchAdaptive("avgpool"), "AdaptiveMaxPool2d": torchAdaptive("maxpool"),
	"Flatten": torchFlatten, "Softmax": torchSoftmax("softmax"), "LogSoftmax": torchSoftmax("logsoftmax"),
	"LocalResponseNorm": torchLRN, "ZeroPad2d": torchZeroPad,
}

// torchNumbers returns the numbers of a number, a bool or a tuple; nil for anything else.
func torchNumbers(v any) []float64 {
	switch v := v.(type) {
	case int64:
		return []float64{float64(v)}
	case float64:
		return []float64{v}
	case bool:
		if v {
			return []float64{1}
		}
		return []float64{0}
	}
	var list []float64
	for _, item := range pickle.Items(v) {
		n := torchNumbers(item)
		if len(n) != 1 {
			return nil
		}
		list = append(list, n[0])
	}
	return list
}

// both returns a size of height and width, which may be one number for both.
func both(v any) []float64 {
	n := torchNumbers(v)
	if len(n) == 1 {
		return []float64{n[0], n[0]}
	}
	return n
}

// isTrue tells whether an attribute is set.
func isTrue(v any) bool { return slices.Equal(torchNumbers(v), []float64{1}) }

func torchConv(from *pickle.Dict, to map[string][]float64) (string, string) {
	to["kernel_shape"], to["strides"] = both(from.Get("kernel_size")), both(from.Get("stride"))
	to["dilations"], to["group"] = both(from.Get("dilation")), torchNumbers(from.Get("groups"))
	switch p := from.Get("padding").(type) {
	case string:
		to["padding"] = map[string][]float64{"same": {1}, "valid": {0}}[p]
	default:
		if sides := both(p); len(sides) == 2 {
			to["pads"] = []float64{sides[0], sides[1], sides[0], sides[1]}
		}
	}
	if mode, ok := from.Get("padding_mode").(string); ok && mode != "zeros" {
		return "conv", "with padding_mode " + display(mode)
	}
	return "conv", ""
}

func torchNorm(from *pickle.Dict, to map[string][]float64) (string, string) {
	to["epsilon"] = torchNumbers(from.Get("eps"))
	if slices.Equal(torchNumbers(from.Get("track_running_stats")), []float64{0}) {
		return "batchnorm", "with track_running_stats False, which normalises by each batch"
	}
	return "batchnorm", ""
}

func torchGELU(from *pickle.Dict, _ map[string][]float64) (string, string) {
	if mode, ok := from.Get("approximate").(string); ok && mode != "none" {
		return "gelu", "with approximate " + display(mode)
	}
	return "gelu", ""
}

func torchPool(op string) func(from *pickle.Dict, to map[string][]float64) (string, string) {
	return func(from *pickle.Dict, to map[string][]float64) (string, string) {
		to["kernel_shape"], to["strides"] = both(from.Get("kernel_size")), both(from.Get("stride"))
		if to["strides"] == nil {
			to["strides"] = to["kernel_shape"]
		}
		to["pads"], to["dilations"] = both(from.Get("padding")), both(from.Get("dilation"))
		switch {
		case isTrue(from.Get("ceil_mode")):
			return op, "with ceil_mode True"
		case from.Get("divisor_override") != nil:
			return op, "with a divisor_override"
		}
		return op, ""
	}
}

// adaptiveSize returns the height and width of an adaptive pooling's output; nil if one of
// them is the input's.
func adaptiveSize(m *pickle.Object, key string) []float64 {
	v := m.Attributes.Get(key)
	if v == nil && key == "size" { // fastai's default
		return []float64{1, 1}
	}
	return both(v)
}

func torchAdaptive(op string) func(from *pickle.Dict, to map[string][]float64) (string, string) {
	return func(from *pickle.Dict, to map[string][]float64) (string, string) {
		size := both(from.Get("output_size"))
		if len(size) != 2 {
			return op, "without an output_size of two numbers"
		}
		to["size"] = size
		return "adaptive" + op, ""
	}
}

func torchFlatten(from *pickle.Dict, _ map[string][]float64) (string, string) {
	start, end := torchNumbers(from.Get("start_dim")), torchNumbers(from.Get("end_dim"))
	if !slices.Equal(start, []float64{1}) || !slices.Equal(end, []float64{-1}) && !slices.Equal(end, []float64{3}) {
		return "flatten", "with other dims than 1 to -1"
	}
	return "flatten", ""
}

func torchSoftmax(op string) func(from *pickle.Dict, to map[string][]float64) (string, string) {
	return func(from *pickle.Dict, _ map[string][]float64) (string, string) {
		dim := from.Get("dim")
		if n := torchNumbers(dim); dim != nil && !slices.Equal(n, []float64{1}) && !slices.Equal(n, []float64{-1}) {
			return op, "over another dim than 1"
		}
		return op, ""
	}
}

func torchLRN(from *pickle.Dict, to map[string][]float64) (string, string) {
	for key, as := range map[string]string{"size": "size", "alpha": "alpha", "beta": "beta", "k": "bias"} {
		to[as] = torchNumbers(from.Get(key))
	}
	return "lrn", ""
}

func torchZeroPad(from *pickle.Dict, to map[string][]float64) (string, string) {
	p := torchNumbers(from.Get("padding")) // left, right, top, bottom
	if len(p) == 1 {
		p = []float64{p[0], p[0], p[0], p[0]}
	}
	if len(p) == 4 {
		to["pads"] = []float64{p[2], p[0], p[3], p[1]}
	}
	return "pad", ""
}
