package weights

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/hdf5"
)

// Keras has three layouts in HDF5, and reads them as
// https://keras.io/guides/serialization_and_saving names them:
//
//   - weights of Keras 1 and 2 (.h5): the attribute layer_names lists groups, and the
//     attribute weight_names of each group lists the paths of its datasets, such as
//     block1_conv1/kernel:0;
//   - whole models of Keras 1 and 2 (.h5): the same in the group model_weights, with the
//     layers as JSON in the attribute model_config;
//   - weights of Keras 3 (.weights.h5): datasets layers/conv2d_1/vars/0, without the
//     layers' order. A .keras file has these and the layers (keraszip.go). Layers that are
//     attributes of a subclassed model, or in lists, are under the attribute's name:
//     block1/layers/conv2d/vars/0, convs/conv2d_1/vars/0, fc/vars/0.

// isHDF5 reports whether a file is HDF5.
func isHDF5(head []byte, _ io.ReaderAt, _ int64) bool {
	return strings.HasPrefix(string(head), hdf5.Signature)
}

func readKerasHDF5(r io.ReaderAt, size int64, _ *folder) (*header, error) {
	h := &header{meta: make(map[string]string)}
	k := &kerasFile{h: h, size: size, paths: make(map[string]int)}
	if err := k.read(r, nil); err != nil {
		return nil, hdf5Error(err)
	}
	return h, nil
}

// hdf5Error turns an error of package hdf5 into a *FormatError.
func hdf5Error(err error) error {
	if e, ok := errors.AsType[*hdf5.FormatError](err); ok {
		return &FormatError{Reason: e.Reason}
	}
	return err
}

// inLayer adds to an error the layer or tensor that it is of, unless it names one.
func inLayer(name string, err error) error {
	if e, ok := hdf5Error(err).(*FormatError); ok {
		if e.Tensor == "" {
			e.Tensor = name
		}
		return e
	}
	return fmt.Errorf("%s: %w", display(name), err)
}

// kerasFile gathers the tensors of a file, layer by layer.
type kerasFile struct {
	h      *header
	r      io.ReaderAt
	size   int64
	bytes  int64 // of all tensors so far
	layers []kerasGroup
	paths  map[string]int // index in layers
	silent []string       // names of layers without weights
	full   bool           // tensors have their layers' whole paths as names
}

// kerasGroup is a layer and its tensors.
type kerasGroup struct {
	path    []string // kerasLayer.path
	stored  string   // kerasLayer.stored, joined
	tensors []kerasTensor
}

type kerasTensor struct {
	name string // kernel, bias …
	data *hdf5.Dataset
	bf16 bool
}

// read reads an HDF5 file into k.h. chain is the model's config, if another file has it.
func (k *kerasFile) read(r io.ReaderAt, chain []kerasLayer) error {
	f, err := hdf5.Open(r, k.size)
	if err != nil {
		return err
	}
	k.r = r
	root, err := f.Root()
	if err != nil {
		return err
	}
	for _, name := range []string{"keras_version", "backend"} {
		if err := k.note(root, name); err != nil {
			return err
		}
	}
	if err := k.readMeta(root); err != nil {
		return err
	}
	models := root
	if ok, err := root.Has("model_weights"); err != nil {
		return err
	} else if ok {
		if models, err = root.Child("model_weights"); err != nil {
			return err
		}
	}
	names, old, err := longStrings(models, "layer_names")
	if err != nil {
		return err
	}
	if old {
		if err := k.readOld(models, names); err != nil {
			return err
		}
		config, ok, err := longStrings(root, "model_config")
		if err != nil {
			return err
		}
		if err := k.finish(); err != nil {
			return err
		}
		if ok && len(config) == 1 {
			if training, ok, err := longStrings(root, "training_config"); err != nil {
				return err
			} else if ok && len(training) == 1 {
				if err := noteLoss(k.h, []byte(training[0])); err != nil {
					return err
				}
			}
			return describeConfig(k.h, []byte(config[0]))
		}
		if err := k.noteLayerKinds(); err != nil {
			return err
		}
		return k.noteLayerNames(names)
	}
	found, err := k.readVariables(root, chain)
	if err != nil {
		return err
	}
	if !found {
		return malformed("", "HDF5 without the attribute layer_names or the group layers, want a file of Keras")
	}
	if len(chain) == 0 {
		if err := k.noteLayerKinds(); err != nil {
			return err
		}
	}
	return k.finish()
}

// longStrings returns the strings of an attribute, which Keras cuts into name0, name1, …
// where it would be too long for an object header.
func longStrings(o *hdf5.Object, name string) ([]string, bool, error) {
	values, ok, err := o.Strings(name)
	if ok || err != nil {
		return values, ok, err
	}
	for i := 0; ; i++ {
		part, more, err := o.Strings(name + strconv.Itoa(i))
		if !more || err != nil {
			return values, i > 0, err
		}
		values = append(values, part...)
	}
}

// readOld reads the layouts of Keras 1 and 2.
func (k *kerasFile) readOld(models *hdf5.Object, layers []string) error {
	if _, ok := k.h.meta["keras_version"]; !ok {
		for _, name := range []string{"keras_version", "backend"} {
			if err := k.note(models, name); err != nil {
				return err
			}
		}
	}
	for _, layer := range layers {
		group, err := models.Child(layer)
		if err != nil {
			return inLayer(layer, err)
		}
		names, _, err := longStrings(group, "weight_names")
		if err != nil {
			return inLayer(layer, err)
		}
		if len(names) == 0 {
			k.silent = append(k.silent, layer)
		}
		// If the layer is a model, its weights have one parent for each of its own layers.
		parents := make(map[string]bool)
		for _, name := range names {
			parents[parentOf(name)] = true
		}
		for _, name := range names {
			o, err := group.Lookup(strings.Split(name, "/")...)
			if err != nil {
				return inLayer(layer, err)
			}
			path := []string{layer}
			if parent := parentOf(name); len(parents) > 1 && parent != "" {
				path = append(path, parent[strings.LastIndexByte(parent, '/')+1:])
			}
			if err := k.add(path, "", oldTensorName(path[len(path)-1], name), o); err != nil {
				return inLayer(layer+"/"+name, err)
			}
		}
	}
	return nil
}

func parentOf(name string) string {
	return name[:max(0, strings.LastIndexByte(name, '/'))]
}

// oldTensorName returns kernel for conv1/kernel:0, and for Keras 1's conv1_W_1:0.
func oldTensorName(layer, name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	if base, number, ok := strings.Cut(name, ":"); ok && isNumber(number) {
		name = base
	}
	switch name {
	case "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance":
		return name
	}
	short := strings.TrimPrefix(name, layer+"_")
	if i := strings.LastIndexByte(short, '_'); i > 0 && isNumber(short[i+1:]) {
		short = short[:i]
	}
	switch short {
	case "W", "kernel":
		return "kernel"
	case "b", "bias":
		return "bias"
	case "gamma", "beta", "moving_mean", "moving_variance":
		return short
	case "running_mean":
		return "moving_mean"
	case "running_std": // the variance, whatever its name
		return "moving_variance"
	}
	return name
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// kerasContainers are the attributes that hold a model's layers in one version or another.
var kerasContainers = []string{"layers", "_layers", "_layer_checkpoint_dependencies"}

// variableWalk goes through the groups of a file of Keras 3.
type variableWalk struct {
	k       *kerasFile
	chain   []kerasLayer
	inChain map[string]int // index in chain by kerasLayer.stored
	visited map[*hdf5.Object]bool
	found   bool // a group of layers
}

// readVariables reads the layout of Keras 3. It reports whether the file has it. The order
// and the names of the layers are the chain's, if there is one.
func (k *kerasFile) readVariables(root *hdf5.Object, chain []kerasLayer) (found bool, err error) {
	w := &variableWalk{k: k, chain: chain, inChain: make(map[string]int, len(chain)), visited: make(map[*hdf5.Object]bool)}
	for i, l := range chain {
		w.inChain[strings.Join(l.stored, "/")] = i
	}
	if err := w.model(root, nil, 0); err != nil {
		return w.found, err
	}
	if len(chain) == 0 {
		slices.SortStableFunc(k.layers, compareUnordered)
		return w.found, nil
	}
	index := func(g kerasGroup) int {
		if i, ok := w.inChain[g.stored]; ok {
			return i
		}
		return len(chain)
	}
	slices.SortStableFunc(k.layers, func(a, b kerasGroup) int { return index(a) - index(b) })
	return w.found, nil
}

// kerasState are groups that hold no layer's weights.
var kerasState = []string{"vars", kerasMeta, "optimizer", "seed_generator", "random_generator", "metrics", "loss_tracker"}

// model reads the layers of the model that o is, unless it is a layer of another kind.
// Without a config, these are also the groups that are named after attributes.
func (w *variableWalk) model(o *hdf5.Object, path []string, depth int) error {
	for _, container := range kerasContainers {
		ok, err := o.Has(container)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		w.found = true
		layers, err := o.Child(container)
		if err != nil {
			return err
		}
		if err := w.children(layers, path, "layers", depth); err != nil {
			return err
		}
	}
	if len(w.chain) > 0 || o.IsDataset() {
		return nil
	}
	return w.children(o, path, "", depth)
}

// children reads the layers in a group: all of a container, or those that are attributes.
func (w *variableWalk) children(group *hdf5.Object, path []string, container string, depth int) error {
	names, err := group.Sorted()
	if err != nil {
		return err
	}
	for _, name := range names {
		if container == "" && (strings.HasPrefix(name, "_") || slices.Contains(kerasState, name) || slices.Contains(kerasContainers, name)) {
			continue
		}
		layer, err := group.Child(name)
		if err != nil {
			return err
		}
		if err := w.layer(layer, append(path[:len(path):len(path)], container, name), depth); err != nil {
			return inLayer(strings.Join(path, "/")+"/"+name, err)
		}
	}
	return nil
}

// layer reads a layer and, if it is a model, the layers in it.
func (w *variableWalk) layer(o *hdf5.Object, path []string, depth int) error {
	if w.visited[o] || depth > kerasDepth {
		return malformed("", "group %s: within itself, or twice", display(strings.Join(path, "/")))
	}
	w.visited[o] = true
	if o.IsDataset() {
		return nil
	}
	if err := w.model(o, path, depth+1); err != nil {
		return err
	}
	if ok, err := o.Has("vars"); !ok || err != nil {
		return err
	}
	if path[len(path)-2] == "" {
		w.found, w.k.full = true, true
	}
	var known *kerasLayer
	if i, ok := w.inChain[strings.Join(path, "/")]; ok {
		known = &w.chain[i]
	}
	return w.k.readVars(o, path, known)
}

// readVars reads the tensors of a layer of Keras 3.
func (k *kerasFile) readVars(layer *hdf5.Object, path []string, known *kerasLayer) error {
	vars, err := layer.Child("vars")
	if err != nil {
		return err
	}
	names, err := vars.Names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		k.silent = append(k.silent, path[len(path)-1])
	}
	stored := strings.Join(path, "/")
	named := make([]string, 0, len(path)/2)
	for i := 1; i < len(path); i += 2 {
		named = append(named, path[i])
	}
	// Later versions write the layer's own name.
	own, ok, err := vars.Strings("name")
	if err != nil {
		return err
	}
	class := path[len(path)-1]
	if ok && len(own) == 1 && own[0] != "" {
		// An attribute's name says more than one that Keras made of the class.
		if attribute := path[len(path)-2] == ""; !attribute || !automatic.MatchString(own[0]) {
			named[len(named)-1] = own[0]
		} else {
			class = own[0]
		}
	}
	if known != nil {
		named = known.path
	}
	var objects []*hdf5.Object
	for i := range names {
		o, err := vars.Child(strconv.Itoa(i))
		if err != nil {
			return err
		}
		objects = append(objects, o)
	}
	roles := variableNames(class, len(names), known)
	if roles == nil && known == nil {
		roles = rolesByShape(objects)
	}
	for i, o := range objects {
		name := strconv.Itoa(i)
		if i < len(roles) {
			name = roles[i]
		}
		if err := k.add(named, stored, name, o); err != nil {
			return err
		}
	}
	return nil
}

// variableNames returns the names of a layer's n variables in their order, nil if they
// aren't known. group is the name of the layer's class, with a number if there are
// several: conv2d_1.
func variableNames(group string, n int, known *kerasLayer) []string {
	class := group
	if i := strings.LastIndexByte(group, '_'); i > 0 && isNumber(group[i+1:]) {
		class = group[:i]
	}
	switch class {
	case "conv2d", "dense":
		return []string{"kernel", "bias"}
	case "normalization":
		return []string{"mean", "variance", "count"}
	case "batch_normalization":
	default:
		return nil
	}
	var names []string
	if known != nil {
		if string(known.config.Scale) != "false" {
			names = append(names, "gamma")
		}
		if known.config.Center == nil || *known.config.Center {
			names = append(names, "beta")
		}
		names = append(names, "moving_mean", "moving_variance")
	} else if n == 4 {
		names = []string{"gamma", "beta", "moving_mean", "moving_variance"}
	} else if n == 2 {
		names = []string{"moving_mean", "moving_variance"}
	}
	if len(names) != n {
		return nil
	}
	return names
}

// automatic matches the names that Keras gives to layers without one.
var automatic = regexp.MustCompile(`^(?:conv2d|dense|batch_normalization)(?:_\d+)?$`)

// rolesByShape returns the names of a layer's variables where nothing tells its class: a
// kernel of two or four axes, perhaps with a bias, is a convolution's or a fully connected
// layer's. It returns nil for any others.
func rolesByShape(vars []*hdf5.Object) []string {
	if len(vars) < 1 || len(vars) > 2 {
		return nil
	}
	kernel, err := vars[0].Dataset()
	if err != nil || len(kernel.Shape) != 2 && len(kernel.Shape) != 4 {
		return nil
	}
	if len(vars) == 2 {
		if bias, err := vars[1].Dataset(); err != nil || len(bias.Shape) != 1 || bias.Shape[0] != kernel.Shape[len(kernel.Shape)-1] {
			return nil
		}
	}
	return []string{"kernel", "bias"}
}

// compareUnordered orders the layers of a file that doesn't give their order:
// convolutions, then layers with vectors alone, then fully connected layers. Within each
// kind it orders them by name, as compareNatural does.
func compareUnordered(a, b kerasGroup) int {
	rank := func(g kerasGroup) int {
		most := 0
		for _, t := range g.tensors {
			most = max(most, len(t.data.Shape))
		}
		switch {
		case most > 2:
			return 0
		case most < 2:
			return 1
		}
		return 2
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return compareNatural(a.stored, b.stored)
}

// compareNatural compares texts, and the numbers in them by value: conv2d, conv2d_2,
// conv2d_10.
func compareNatural(a, b string) int {
	digits := func(s string) int {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		return n
	}
	for a != "" && b != "" {
		i, j := digits(a), digits(b)
		if i > 0 && j > 0 {
			x, y := strings.TrimLeft(a[:i], "0"), strings.TrimLeft(b[:j], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if x != y {
				return strings.Compare(x, y)
			}
			a, b = a[i:], b[j:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// add adds a tensor of the layer at a path.
func (k *kerasFile) add(path []string, stored, name string, o *hdf5.Object) error {
	d, err := o.Dataset()
	if err != nil {
		return err
	}
	// Tensors may share their data, but in no sound file do they exceed this limit.
	if k.bytes += d.Bytes(); d.Bytes() > math.MaxInt64-k.bytes || k.bytes > maxShared*k.size+1<<20 {
		return malformed("", "tensors of more than %d times the file's %d bytes", maxShared, k.size)
	}
	t := kerasTensor{name: name, data: d}
	// A type that NumPy doesn't have is written as bytes, with its name as an attribute.
	if d.Type.Name == "opaque" && d.Type.Size == 2 {
		kind, _, err := o.Strings("dtype")
		if err != nil {
			return err
		}
		t.bf16 = len(kind) == 1 && kind[0] == "bfloat16"
	}
	key := strings.Join(path, "/") + "\x00" + stored
	i, ok := k.paths[key]
	if !ok {
		i = len(k.layers)
		k.paths[key] = i
		k.layers = append(k.layers, kerasGroup{path: path, stored: stored})
	}
	k.layers[i].tensors = append(k.layers[i].tensors, t)
	return nil
}

// maxShared limits the bytes of all tensors together, as a multiple of the file's.
const maxShared = 32

// finish lists the tensors in the header.
func (k *kerasFile) finish() error {
	paths := make([][]string, len(k.layers))
	for i, l := range k.layers {
		paths[i] = l.path
	}
	names := shortNames(paths)
	if k.full {
		for i, path := range paths {
			names[i] = strings.Join(path, "/")
		}
	}
	seen := make(map[string]bool)
	for i, l := range k.layers {
		for _, t := range l.tensors {
			name := names[i] + "/" + t.name
			if seen[name] {
				return malformed(name, "name given twice")
			}
			seen[name] = true
			k.h.entries = append(k.h.entries, k.entry(name, t))
		}
	}
	return nil
}

// entry describes a tensor.
func (k *kerasFile) entry(name string, t kerasTensor) entry {
	d := t.data
	dtype, ok := map[string]string{
		"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "bool": "BOOL",
		"int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
		"uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
	}[d.Type.Name]
	if t.bf16 {
		dtype, ok = "BF16", true
	}
	if !ok {
		dtype = d.Type.Name
	}
	e := entry{Entry: Entry{Name: name, DType: dtype, Shape: d.Shape}}
	if at, ok := d.Contiguous(); ok && !d.Type.BigEndian {
		e.begin, e.end = at, at+d.Bytes()
		return e
	}
	e.read = func(start int, dst []float32) error { return readDataset(d, dtype, start, dst) }
	return e
}

// readDataset reads the elements of a dataset of a readable type from start on.
func readDataset(d *hdf5.Dataset, dtype string, start int, dst []float32) error {
	width := d.Type.Size
	// A chunk is decompressed again for every piece that it is part of, so pieces are large.
	b := make([]byte, min(16*chunk, len(dst)*width))
	for len(dst) > 0 {
		n := min(len(dst), len(b)/width)
		piece := b[:n*width]
		if err := d.ReadAt(piece, int64(start)*int64(width)); err != nil {
			return hdf5Error(err)
		}
		if d.Type.BigEndian {
			for element := range slices.Chunk(piece, width) {
				slices.Reverse(element)
			}
		}
		convert(dst[:n], piece, dtype)
		dst = dst[n:]
		start += n
	}
	return nil
}
