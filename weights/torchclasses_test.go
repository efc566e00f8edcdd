package weights

import (
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/pickle"
)

func TestNoteClasses(t *testing.T) {
	list := func(items ...any) *pickle.List { return &pickle.List{Items: items} }
	dict := func(items ...any) *pickle.Dict {
		d := &pickle.Dict{}
		for i := 0; i < len(items); i += 2 {
			d.Keys, d.Values = append(d.Keys, items[i]), append(d.Values, items[i+1])
		}
		return d
	}
	object := &pickle.Object{Class: pickle.Global{Module: "argparse", Name: "Namespace"}, Attributes: dict("class_names", list("a", "b"))}
	for _, c := range []struct {
		name string
		root any
		want map[string]string
	}{
		{"a list", dict("classes", list("cat", `d"og`)), map[string]string{"checkpoint.classes": `["cat","d\"og"]`}},
		{"a tuple in meta", dict("meta", dict("CLASSES", &pickle.Tuple{Items: []any{"cat"}})), map[string]string{"checkpoint.meta.CLASSES": `["cat"]`}},
		{"indices by name", dict("class_to_idx", dict("b", int64(1), "a", int64(0))), map[string]string{"checkpoint.class_to_idx": `{"b":1,"a":0}`}},
		{"names by index", dict("hyper_parameters", dict("id2label", dict(int64(1), "b", int64(0), "a"))), map[string]string{"checkpoint.hyper_parameters.id2label": `{"1":"b","0":"a"}`}},
		{"an object", dict("args", object), map[string]string{"checkpoint.args.class_names": `["a","b"]`}},
		{"a module", &pickle.Object{Attributes: dict("class_to_idx", dict("a", int64(0)))}, map[string]string{"checkpoint.class_to_idx": `{"a":0}`}},
		{"a number", dict("classes", int64(10)), nil},
		{"no names", dict("classes", list("a", int64(1))), nil},
		{"tensors by name", dict("labels", dict("a", pickle.Opaque{})), nil},
		{"empty", dict("classes", list()), nil},
		{"too deep", dict("meta", dict("meta", dict("meta", dict("meta", dict("classes", list("a")))))), nil},
		{"nothing", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			meta := map[string]string{}
			noteClasses(meta, c.root, 1000)
			if len(meta) != len(c.want) {
				t.Errorf("%q, want %q", meta, c.want)
			}
			for key, want := range c.want {
				if meta[key] != want {
					t.Errorf("%s: %s, want %s", key, meta[key], want)
				}
			}
		})
	}

	// A long name costs its list a few bytes each time: it must not cost memory each time.
	long := strings.Repeat("x", 1<<16)
	items := make([]any, 1<<12)
	for i := range items {
		items[i] = long
	}
	meta := map[string]string{}
	noteClasses(meta, dict("classes", list(items...)), int64(len(long)+2*len(items)))
	if len(meta) > 0 {
		t.Errorf("%d bytes of a pickle of %d", len(meta["checkpoint.classes"]), len(long)+2*len(items))
	}
	// Dicts that hold each other end.
	loop := dict("classes", list("a"))
	loop.Keys, loop.Values = append(loop.Keys, "meta", "args"), append(loop.Values, loop, loop)
	noteClasses(meta, loop, 1000)
	if meta["checkpoint.classes"] != `["a"]` {
		t.Errorf("%q", meta)
	}
}
