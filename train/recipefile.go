package train

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/verydeep/vgg/internal/wholefile"
)

// LoadRecipe reads a YAML file over base: keys that the file doesn't have keep base's
// values. An unknown key and a second document are errors. [Recipe.Validate] finds impossible values.
func LoadRecipe(path string, base Recipe) (Recipe, error) {
	data, err := wholefile.Read(path, wholefile.MaxText)
	if err != nil {
		return base, fmt.Errorf("train: recipe: %w", err)
	}
	r, err := ParseRecipe(data, base)
	if err != nil {
		return base, fmt.Errorf("train: recipe %s: %w", path, err)
	}
	return r, nil
}

// ParseRecipe is [LoadRecipe] of YAML in memory.
func ParseRecipe(text []byte, base Recipe) (Recipe, error) {
	r := base
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err := d.Decode(&r)
	if err == nil && !errors.Is(d.Decode(new(any)), io.EOF) {
		err = errors.New("more than one document, want one: remove what follows the second ---")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return base, errors.New(unknownField.ReplaceAllString(err.Error(), "unknown key $1"))
	}
	return r, nil
}

// With returns the recipe with the value of one key changed. The key is as in a file, with
// a point between nested keys (schedule.patience); the value is YAML.
func (r Recipe) With(key, value string) (Recipe, error) {
	path := strings.Split(key, ".")
	at := r.node()
	for i, name := range path {
		v := child(at, name)
		if v == nil || (v.Kind == yaml.MappingNode) != (i < len(path)-1) {
			return r, fmt.Errorf("train: recipe: unknown key %s", key)
		}
		at = v
	}
	var given yaml.Node
	if err := yaml.Unmarshal([]byte(value), &given); err != nil || len(given.Content) != 1 {
		return r, fmt.Errorf("train: recipe: %s: %q, want a value in YAML", key, value)
	}
	doc := given.Content[0]
	for _, name := range slices.Backward(path) {
		doc = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: name}, doc}}
	}
	changed := r
	if err := doc.Decode(&changed); err != nil {
		text := strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:")), " ")
		return r, fmt.Errorf("train: recipe: %s: %s", key, lineOfValue.ReplaceAllString(text, ""))
	}
	return changed, nil
}

// lineOfValue matches the line number in the YAML decoder's errors.
var lineOfValue = regexp.MustCompile(`^line \d+: `)

// node returns the recipe as a YAML tree.
func (r Recipe) node() *yaml.Node {
	var n yaml.Node
	if err := n.Encode(r); err != nil {
		panic("train: a recipe has no YAML form")
	}
	return &n
}

// hasKey reports whether a recipe in YAML has a key at its top level.
func hasKey(text, key string) bool {
	var doc yaml.Node
	return yaml.Unmarshal([]byte(text), &doc) == nil && len(doc.Content) == 1 && child(doc.Content[0], key) != nil
}

// child returns the value of a key in a mapping; nil if there is none.
func child(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; mapping.Kind == yaml.MappingNode && i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// Difference is a key of two recipes with its two values, which differ.
type Difference struct {
	Key, A, B string
}

// Differences returns the keys in which a and b differ, in the order of the keys.
func Differences(a, b Recipe) []Difference {
	var all []Difference
	var compare func(prefix string, a, b *yaml.Node)
	compare = func(prefix string, a, b *yaml.Node) {
		for i := 0; i < len(a.Content); i += 2 {
			key, va, vb := prefix+a.Content[i].Value, a.Content[i+1], b.Content[i+1]
			if va.Kind == yaml.MappingNode {
				compare(key+".", va, vb)
			} else if ta, tb := flowText(va), flowText(vb); ta != tb {
				all = append(all, Difference{key, ta, tb})
			}
		}
	}
	compare("", a.node(), b.node())
	return all
}

// flowText returns a value on one line.
func flowText(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	var parts []string
	for _, c := range n.Content {
		parts = append(parts, flowText(c))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// unknownField matches the YAML decoder's error of a key without a field.
var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// YAML returns the whole recipe as YAML.
func (r Recipe) YAML() []byte {
	data, err := yaml.Marshal(r)
	if err != nil {
		panic("train: a recipe has no YAML form")
	}
	return data
}
