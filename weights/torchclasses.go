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

// maxTorchClasses is the most names of classes that are taken from a checkpoint.
const maxTorchClasses = 1 << 20

// noteClasses adds to the metadata, as JSON, the names of classes that a checkpoint or a
// module has, under the keys that lead to them: checkpoint.class_to_idx.
func noteClasses(meta map[string]string, prefix string, v any, depth int) {
	d := attributesOf(v)
	if d == nil {
		return
	}
	const most = 256
	for i, k := range d.Keys[:min(len(d.Keys), most)] {
		name, ok := k.(string)
		if !ok || len(name) > maxNote {
			continue
		}
		lower := strings.ToLower(name)
		if torchClassKeys[lower] {
			if text := classesJSON(d.Values[i]); text != "" {
				meta[prefix+name] = text
				continue
			}
		}
		if torchNoteKeys[lower] && depth < 3 {
			noteClasses(meta, prefix+name+".", d.Values[i], depth+1)
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

// classesJSON returns names of classes as JSON: a list, a dict of indices by name, or a
// dict of names by index. It returns "" of anything else.
func classesJSON(v any) string {
	var b bytes.Buffer
	quote := func(s string) {
		text, _ := json.Marshal(s) // of a string: no error
		b.Write(text)
	}
	if items := pickle.Items(v); len(items) > 0 && len(items) <= maxTorchClasses {
		for i, item := range items {
			s, ok := item.(string)
			if !ok {
				return ""
			}
			b.WriteByte("[,"[min(i, 1)])
			quote(s)
		}
		return b.String() + "]"
	}
	d := attributesOf(v)
	if d == nil || len(d.Keys) == 0 || len(d.Keys) > maxTorchClasses {
		return ""
	}
	for i, k := range d.Keys {
		b.WriteByte("{,"[min(i, 1)])
		switch k := k.(type) {
		case string:
			quote(k)
		case int64:
			quote(strconv.FormatInt(k, 10))
		default:
			return ""
		}
		b.WriteByte(':')
		switch v := d.Values[i].(type) {
		case string:
			quote(v)
		case int64:
			b.WriteString(strconv.FormatInt(v, 10))
		default:
			return ""
		}
	}
	return b.String() + "}"
}
