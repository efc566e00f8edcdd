package weights

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/pickle"
)

// torchStateKeys are the keys under which checkpoints have the state dict.
var torchStateKeys = []string{"state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights", "params"}

const (
	maxModuleDepth = 100
	maxNote        = 200 // bytes of a value of a checkpoint that becomes metadata

	// The bytes that the names of tensors, and the search for them, may take: namesSlack,
	// and namesRatio times the pickle's bytes. Without a limit, modules that hold each
	// other would give names without end.
	namesSlack, namesRatio = 64 << 10, 16
)

// header lists the tensors of the state dict in a pickle's value: a state dict by itself,
// a checkpoint that has one under a key, or a module. length is the pickle's in bytes.
// script adds the layers of a module of TorchScript; nil where there can be none.
func (f *torchFile) header(root any, length int64, script func(h *header, root *pickle.Object) error) (*header, error) {
	h := &header{meta: make(map[string]string)}
	c := &stateCollector{budget: namesSlack + namesRatio*length}
	found, err := c.collect(root, nil)
	if err != nil {
		return nil, err
	}
	if o, ok := root.(*pickle.Object); ok && found == nil && strings.HasPrefix(o.Class.Module, "__torch__") {
		return nil, malformed("", "a module of TorchScript without parameters (class %s): torch.jit.freeze makes constants of its code of them: save the module as it is before torch.jit.freeze or optimize_for_inference, or its state_dict", display(o.Class.Name))
	}
	if found == nil {
		return nil, malformed("", "no state dict: found %s, want tensors by name, or such under %s",
			describePickled(root), strings.Join(torchStateKeys[:3], ", "))
	}
	if path := strings.Join(found, "."); path != "" {
		h.meta["torch.state_dict"] = path
	}
	noteCheckpoint(h.meta, root)
	noteClasses(h.meta, root, length)
	names, stripped := stripWrappers(c.names)
	if stripped != "" {
		h.meta["torch.stripped"] = stripped
	}
	if len(c.normalize) > 0 {
		text, err := json.Marshal(c.normalize)
		if err != nil {
			return nil, malformed("", "a normalisation of the input: %v", err)
		}
		h.meta["torch.normalize"] = string(text)
	}
	if c.root != nil {
		if err := c.describe(h, names, script); err != nil {
			return nil, err
		}
	}
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		if seen[name] {
			return nil, malformed(name, "name given twice")
		}
		seen[name] = true
		e, err := f.entry(name, c.tensors[i])
		if err != nil {
			return nil, err
		}
		h.entries = append(h.entries, e)
	}
	return h, nil
}

// stateCollector gathers the tensors of a state dict.
type stateCollector struct {
	names   []string
	tensors []*torchTensor
	budget  int64 // bytes left for names, and keys left to look at
	// normalize lists the modules that normalise the model's input by numbers of their own.
	normalize []torchNormalize
	// root is the module that has the tensors; nil if they are those of a state dict.
	root *pickle.Object
}

// describe adds the layers of the module that has the tensors. These have names in the file,
// in the order of c.names.
func (c *stateCollector) describe(h *header, names []string, script func(h *header, root *pickle.Object) error) error {
	if strings.HasPrefix(c.root.Class.Module, "__torch__") {
		if script == nil {
			return nil
		}
		if err := script(h, c.root); err != nil {
			return err
		}
	} else {
		r, err := readModule(c.root, c.spend)
		if err != nil {
			return err
		}
		h.layers = r.layers
		if len(r.own) > 0 {
			h.meta[MetaLayerOrder] = "that of attributes: the file doesn't hold the forward of " + strings.Join(r.own, ", ")
		}
	}
	as := make(map[string]string, len(names))
	for i, name := range c.names {
		as[name] = names[i]
	}
	for i := range h.layers {
		l := &h.layers[i]
		for role, name := range l.Tensors {
			if l.Tensors[role] = as[name]; as[name] == "" {
				delete(l.Tensors, role)
				continue
			}
			if at := strings.LastIndexByte(name, '.'); at >= 0 { // else the file is the layer itself
				l.Name = strings.TrimSuffix(as[name], name[at:])
			}
		}
	}
	return nil
}

// spend takes n from the budget.
func (c *stateCollector) spend(n int) error {
	if c.budget -= int64(n) + 16; c.budget < 0 {
		return malformed("", "modules that hold each other give too many tensors")
	}
	return nil
}

// collect finds the state dict in v and gathers its tensors. It returns the keys that
// lead to the state dict, nil if there is none.
func (c *stateCollector) collect(v any, path []string) ([]string, error) {
	switch v := v.(type) {
	case *pickle.Object:
		if len(v.Dict.Keys) > 0 { // a kind of dict
			return c.collect(&v.Dict, path)
		}
		err := c.module("", v, 0)
		if err != nil {
			return nil, err
		}
		if len(c.names) == 0 { // not a module, but perhaps what trains one, as fastai's Learner
			if v.Attributes == nil || len(path) > 0 {
				return nil, nil
			}
			return c.inObject(v)
		}
		c.root = v
		return append(path, "module "+v.Class.Name), nil
	case *pickle.Dict:
		if err := c.spend(len(v.Keys)); err != nil {
			return nil, err
		}
		if len(path) < 3 {
			for _, key := range torchStateKeys {
				switch of := v.Get(key).(type) {
				case *pickle.Dict, *pickle.Object:
					found, err := c.collect(of, append(path, key))
					if found != nil || err != nil {
						return found, err
					}
				}
			}
		}
		if err := c.tensorsOf("", v, nil); err != nil || len(c.names) == 0 {
			return nil, err
		}
		return append([]string{}, path...), nil
	}
	return nil, nil
}

// inObject finds the module among the attributes of an object that holds one.
func (c *stateCollector) inObject(v *pickle.Object) ([]string, error) {
	for _, key := range torchStateKeys {
		if of, ok := v.Attributes.Get(key).(*pickle.Object); ok {
			found, err := c.collect(of, []string{v.Class.Name, key})
			if found != nil || err != nil {
				return found, err
			}
		}
	}
	return nil, nil
}

func (c *stateCollector) add(name string, t *torchTensor) error {
	if err := c.spend(len(name)); err != nil {
		return err
	}
	c.names = append(c.names, name)
	c.tensors = append(c.tensors, t)
	return nil
}

// tensorsOf adds the tensors among the values of d, except those with a name in skip.
func (c *stateCollector) tensorsOf(prefix string, d *pickle.Dict, skip map[any]bool) error {
	if err := c.spend(len(d.Keys)); err != nil {
		return err
	}
	for i, k := range d.Keys {
		name, ok := k.(string)
		t, also := d.Values[i].(*torchTensor)
		if ok && also && !skip[k] {
			if err := c.add(prefix+name, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// module adds what the state_dict method of a module returns: its parameters, its
// buffers, and those of the modules in it. A module of TorchScript has them as its
// attributes.
func (c *stateCollector) module(prefix string, m *pickle.Object, depth int) error {
	if depth > maxModuleDepth {
		return malformed("", "modules in modules, over %d deep", maxModuleDepth)
	}
	if m.Attributes == nil {
		return nil
	}
	if err := c.spend(len(prefix) + len(m.Attributes.Keys)); err != nil {
		return err
	}
	if err := c.noteNormalize(prefix, m); err != nil {
		return err
	}
	modules := m.Attributes
	if !strings.HasPrefix(m.Class.Module, "__torch__") {
		parameters, _ := m.Attributes.Get("_parameters").(*pickle.Dict)
		buffers, _ := m.Attributes.Get("_buffers").(*pickle.Dict)
		modules, _ = m.Attributes.Get("_modules").(*pickle.Dict)
		if parameters != nil {
			if err := c.tensorsOf(prefix, parameters, nil); err != nil {
				return err
			}
		}
		if buffers != nil {
			names := pickle.Items(m.Attributes.Get("_non_persistent_buffers_set"))
			if err := c.spend(len(names)); err != nil {
				return err
			}
			skip := make(map[any]bool, len(names))
			for _, name := range names {
				skip[name] = true
			}
			if err := c.tensorsOf(prefix, buffers, skip); err != nil {
				return err
			}
		}
	} else {
		if err := c.tensorsOf(prefix, modules, nil); err != nil {
			return err
		}
	}
	if modules == nil {
		return nil
	}
	if err := c.spend(len(modules.Keys)); err != nil {
		return err
	}
	for i, k := range modules.Keys {
		name, ok := k.(string)
		of, also := modules.Values[i].(*pickle.Object)
		if ok && also {
			if err := c.module(prefix+name+".", of, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// stripWrappers removes the parts of names that wrappers add: "module" of DataParallel,
// also around a part of the network as in features.module.0.weight, and "_orig_mod" of
// torch.compile. It returns what it removed, as "module." or "_orig_mod., module.". It
// removes nothing if two names would become one.
func stripWrappers(names []string) ([]string, string) {
	removed := make(map[string]bool)
	out := make([]string, len(names))
	unique := make(map[string]bool, len(names))
	for i, name := range names {
		parts := strings.Split(name, ".")
		last := len(parts) - 1
		kept := parts[:0]
		for j, p := range parts {
			if j < last && (p == "module" || p == "_orig_mod") {
				removed[p+"."] = true
				continue
			}
			kept = append(kept, p)
		}
		out[i] = strings.Join(kept, ".")
		unique[out[i]] = true
	}
	if len(removed) == 0 || len(unique) < len(names) {
		return names, ""
	}
	var list []string
	for p := range removed {
		list = append(list, p)
	}
	slices.Sort(list)
	return out, strings.Join(list, ", ")
}

// noteCheckpoint adds to the metadata the numbers and short texts that a checkpoint has
// beside its state dict, such as epoch and arch.
func noteCheckpoint(meta map[string]string, root any) {
	d, ok := root.(*pickle.Dict)
	if !ok {
		return
	}
	const most = 64
	for i, k := range d.Keys[:min(len(d.Keys), most)] {
		name, ok := k.(string)
		if !ok || len(name) > maxNote {
			continue
		}
		switch v := d.Values[i].(type) {
		case bool, int64:
			meta["checkpoint."+name] = fmt.Sprint(v)
		case float64:
			meta["checkpoint."+name] = strconv.FormatFloat(v, 'g', -1, 64)
		case string:
			if len(v) <= maxNote {
				meta["checkpoint."+name] = v
			}
		}
	}
}

// describePickled describes a value without a state dict for an error.
func describePickled(v any) string {
	switch v := v.(type) {
	case *pickle.Dict:
		var keys []string
		for _, k := range v.Keys[:min(len(v.Keys), 8)] {
			if s, ok := k.(string); ok {
				keys = append(keys, display(s))
			}
		}
		if len(keys) == 0 {
			return "a dict without tensors"
		}
		return "a dict of " + strings.Join(keys, ", ")
	case *pickle.List, *pickle.Tuple:
		return "a list"
	case *pickle.Object:
		return "an object of class " + display(v.Class.String())
	case *torchTensor:
		return "a tensor without a name"
	}
	return "a single value"
}
