package weights

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/hdf5"
)

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
