package weights

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/pickle"
)

// torchClassKeys are the keys, in lower case, under which checkpoints have the names of the
// classes: a list of names, a dict of indices by name, or a dict of names by index.
var torchClassKeys = map[string]bool{
	"class_to_idx": true, "class_to_index": true, "idx_to_class": true, "index_to_class": true, "id2label": true, "label2id": true,
	"classes": true, "class_names": true, "classnames": true, "label_names": true, "labels": true, "vocab": true,
}

// torchNoteKeys are the keys of dicts and objects in a checkpoint that hold such keys:
// the hyper-parameters of Lightning, the meta of OpenMMLab, parsed arguments.
var torchNoteKeys = map[string]bool{
	"meta": true, "dataset_meta": true, "hyper_parameters": true, "hparams": true, "args": true, "config": true, "cfg": true,
	"model": true, "net": true, "module": true, "network": true,
}

// classNotes gathers the names of classes of a checkpoint.
type classNotes struct {
	meta map[string]string
	// budget is the bytes of JSON, and of keys to look at, that are left. In a hostile pickle
	// one long name may stand in a list a million times.
	budget int64
}

// noteClasses adds to the metadata, as JSON, the names of classes that a checkpoint or a
// module has, under the keys that lead to them: checkpoint.class_to_idx.
func noteClasses(meta map[string]string, root any, length int64) {
	n := &classNotes{meta, namesSlack + namesRatio*length}
	n.note("checkpoint.", root, 0)
	if o, ok := root.(*pickle.Object); ok && strings.HasPrefix(o.Class.Module, "fastai.") {
		n.noteVocabulary(o, make(map[any]bool), 0)
	}
}

// noteVocabulary notes the classes of a Learner of fastai, which are deep in its data loaders.
// If there are several lists, it is the first.
func (n *classNotes) noteVocabulary(v any, seen map[any]bool, depth int) {
	const key = "checkpoint.vocab"
	if n.budget -= 16; n.budget < 0 || depth > maxModuleDepth || n.meta[key] != "" {
		return
	}
	switch v := v.(type) {
	case *pickle.Object:
		if seen[v] {
			return
		}
		seen[v] = true
		if v.Class.String() == "fastai.data.transforms.CategoryMap" {
			items := v.Attributes.Get("items")
			if l, ok := items.(*pickle.Object); ok { // a list of fastcore
				items = l.Attributes.Get("items")
			}
			if text := n.json(items); text != "" {
				n.meta[key] = text
			}
			return
		}
		if v.Attributes != nil {
			n.noteVocabulary(v.Attributes, seen, depth+1)
		}
		for _, of := range v.List.Items {
			n.noteVocabulary(of, seen, depth+1)
		}
	case *pickle.Dict:
		if seen[v] {
			return
		}
		seen[v] = true
		for _, of := range v.Values {
			n.noteVocabulary(of, seen, depth+1)
		}
	case *pickle.List, *pickle.Tuple:
		if seen[v] {
			return
		}
		seen[v] = true
		for _, of := range pickle.Items(v) {
			n.noteVocabulary(of, seen, depth+1)
		}
	}
}

func (n *classNotes) note(prefix string, v any, depth int) {
	d := attributesOf(v)
	if d == nil {
		return
	}
	const most = 256
	for i, k := range d.Keys[:min(len(d.Keys), most)] {
		name, ok := k.(string)
		if n.budget -= 16; n.budget < 0 {
			return
		}
		if !ok || len(name) > maxNote {
			continue
		}
		lower := strings.ToLower(name)
		if torchClassKeys[lower] {
			if text := n.json(d.Values[i]); text != "" {
				n.meta[prefix+name] = text
				continue
			}
		}
		if torchNoteKeys[lower] && depth < 3 {
			n.note(prefix+name+".", d.Values[i], depth+1)
		}
	}
}

// attributesOf returns the items of a dict, or the attributes of an object.
func attributesOf(v any) *pickle.Dict {
	switch v := v.(type) {
	case *pickle.Dict:
		return v
	case *pickle.Object:
		if len(v.Dict.Keys) > 0 {
			return &v.Dict
		}
		return v.Attributes
	}
	return nil
}

// json returns names of classes as JSON: a list, a dict of indices by name, or a dict of
// names by index. It returns "" of anything else.
func (n *classNotes) json(v any) string {
	var b bytes.Buffer
	quote := func(s string) bool {
		if n.budget -= int64(len(s)) + 16; n.budget < 0 {
			return false
		}
		text, _ := json.Marshal(s) // of a string: no error
		b.Write(text)
		return true
	}
	if items := pickle.Items(v); len(items) > 0 {
		for i, item := range items {
			b.WriteByte("[,"[min(i, 1)])
			if s, ok := item.(string); !ok || !quote(s) {
				return ""
			}
		}
		return b.String() + "]"
	}
	d := attributesOf(v)
	if d == nil || len(d.Keys) == 0 {
		return ""
	}
	for i, k := range d.Keys {
		b.WriteByte("{,"[min(i, 1)])
		if number, ok := k.(int64); ok {
			k = strconv.FormatInt(number, 10)
		}
		if s, ok := k.(string); !ok || !quote(s) {
			return ""
		}
		b.WriteByte(':')
		switch v := d.Values[i].(type) {
		case string:
			if !quote(v) {
				return ""
			}
		case int64:
			b.WriteString(strconv.FormatInt(v, 10))
		default:
			return ""
		}
	}
	return b.String() + "}"
}
