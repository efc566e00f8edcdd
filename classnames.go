package vgg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/weights"
)

// ParseClasses reads the names of classes, in the order of their indices, from a text in
// one of the forms that other tools write:
//
//   - a JSON list of names
//   - a JSON object of indices by name, as PyTorch's class_to_idx and Keras'
//     class_indices are: {"cat": 0, "dog": 1}
//   - a JSON object of names by index, as Hugging Face's id2label and Keras'
//     imagenet_class_index.json are: {"0": "cat"}, {"0": ["n02123045", "tabby"]}
//   - one name a line, perhaps with its index before it: "0 cat"
//
// An index that is missing or comes twice is an error.
func ParseClasses(data []byte) ([]string, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	switch {
	case len(text) == 0:
		return nil, errors.New("empty, want a list of names")
	case text[0] == '[':
		var names []string
		if err := boundedjson.Unmarshal(text, &names); err != nil {
			return nil, fmt.Errorf("want a list of names: %w", err)
		}
		return names, nil
	case text[0] == '{':
		return parseClassObject(text)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		names = append(names, strings.TrimSpace(line))
	}
	return withoutIndices(names), nil
}

// withoutIndices removes the index before each name, if every name has its own there.
func withoutIndices(names []string) []string {
	var bare []string
	for i, name := range names {
		index, rest, ok := strings.Cut(name, " ")
		if strings.TrimSuffix(index, ":") != strconv.Itoa(i) || !ok {
			return names
		}
		bare = append(bare, strings.TrimSpace(rest))
	}
	return bare
}

// parseClassObject reads indices by name or names by index.
func parseClassObject(text []byte) ([]string, error) {
	var object map[string]json.RawMessage
	if err := boundedjson.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	byIndex := map[int]string{}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		index, name, err := classItem(key, object[key])
		if err != nil {
			return nil, err
		}
		if other, ok := byIndex[index]; ok {
			return nil, fmt.Errorf("%q and %q both have index %d", other, name, index)
		}
		byIndex[index] = name
	}
	names := make([]string, len(byIndex))
	for i := range names {
		name, ok := byIndex[i]
		if !ok {
			return nil, fmt.Errorf("%d classes, but none of index %d", len(byIndex), i)
		}
		names[i] = name
	}
	return names, nil
}

// classItem returns the index and the name of an item of a class object. A number as value
// is the index.
func classItem(key string, value json.RawMessage) (index int, name string, err error) {
	if boundedjson.Unmarshal(value, &index) == nil {
		return index, key, nil
	}
	index, err = strconv.Atoi(key)
	if err == nil {
		if boundedjson.Unmarshal(value, &name) == nil {
			return index, name, nil
		}
		var entry []string // Keras' synset and name, with _ for a space
		if boundedjson.Unmarshal(value, &entry) == nil && len(entry) > 0 {
			return index, strings.ReplaceAll(entry[len(entry)-1], "_", " "), nil
		}
	}
	return 0, "", fmt.Errorf(`%q: %s, want {"cat": 0, "dog": 1}, {"0": "cat", "1": "dog"} or {"0": ["n01440764", "tench"], …}`, key, value[:min(len(value), 40)])
}

// classList is a list of classes that came with the weights.
type classList struct {
	source string // "class_to_idx of the checkpoint", "labels.txt"
	names  []string
}

// classFiles are the lists of classes that a folder of weights may hold.
var classFiles = []string{
	"labels.txt", "classes.txt", "class_names.txt", "vocab.txt",
	"class_indices.json", "class_names.json", "class_to_idx.json", "idx_to_class.json", "id2label.json", "classes.json", "labels.json", "vocab.json",
}

// checkpointKeys are the keys under which a checkpoint has its classes, in lower case.
var checkpointKeys = []string{
	"class_to_idx", "class_to_index", "idx_to_class", "index_to_class", "id2label", "label2id",
	"classes", "class_names", "classnames", "label_names", "labels", "vocab",
}

// classLists returns the lists of classes that came with the weights: in the metadata, in
// the checkpoint, and in the files beside it.
func classLists(f *weights.File) ([]classList, error) {
	var lists []classList
	add := func(source, text string) error {
		names, err := ParseClasses([]byte(text))
		if err != nil {
			return fmt.Errorf("%s: %w: name the classes (--labels)", source, err)
		}
		lists = append(lists, classList{source, names})
		return nil
	}
	meta := f.Metadata()
	for _, key := range []string{metaClasses, "classes", "labels", "class_names", "id2label", "class_to_idx"} {
		if text := meta[key]; isJSON(text) {
			if err := add(key+" of the metadata", text); err != nil {
				return nil, err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		name, ok := strings.CutPrefix(key, "checkpoint.")
		last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
		if ok && slices.Contains(checkpointKeys, last) && isJSON(meta[key]) {
			if err := add(name+" of the checkpoint", meta[key]); err != nil {
				return nil, err
			}
		}
	}
	beside := f.Beside()
	if text, ok := beside["config.json"]; ok {
		of, err := configClasses(text)
		if err != nil {
			return nil, fmt.Errorf("config.json: %w: name the classes (--labels)", err)
		}
		lists = append(lists, of...)
	}
	for _, file := range classFiles {
		if text, ok := beside[file]; ok {
			if err := add(file, text); err != nil {
				return nil, err
			}
		}
	}
	return lists, nil
}

// isJSON tells a list or an object from another text.
func isJSON(text string) bool {
	return strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{")
}

// givenClasses returns the one list of n classes that came with the weights, and its
// sources; nil if there is none. Lists of another length, and lists that contradict each
// other, are errors that name them.
func givenClasses(f *weights.File, n int) (names []string, source string, err error) {
	lists, err := classLists(f)
	if err != nil {
		return nil, "", err
	}
	var sources []string
	for _, l := range lists {
		if len(l.names) != n {
			return nil, "", fmt.Errorf("%s: %d classes, want the network's %d: name the classes (--labels)", l.source, len(l.names), n)
		}
		if names != nil && !slices.Equal(names, l.names) {
			at := 0
			for l.names[at] == names[at] {
				at++
			}
			return nil, "", fmt.Errorf("%s and %s name different classes: of index %d, %q and %q: choose one (--labels)", sources[0], l.source, at, names[at], l.names[at])
		}
		names, sources = l.names, append(sources, l.source)
	}
	return names, strings.Join(sources, ", "), nil
}
