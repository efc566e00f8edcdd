package interchange

import (
	"regexp"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/weights"
)

// kerasLayerName matches the names that Keras 1 and 2 give to layers.
var kerasLayerName = regexp.MustCompile(`^([a-z]+(?:_?[a-z]+)*(?:2d)?)(?:_\d+)?$`)

// kerasKinds are the kinds of layers by these names, without number.
var kerasKinds = map[string]string{
	"conv2d": "conv", "convolution2d": "conv", "max_pooling2d": "pool", "maxpooling2d": "pool", "dense": "fc", "batch_normalization": "norm",
	"zero_padding2d": "", "zeropadding2d": "", "dropout": "", "flatten": "", "activation": "", "input": "", "re_lu": "", "softmax": "",
}

// kerasPositions returns the positions of layers in a file of weights alone whose layers have
// the names that Keras gave them, as VGG-Face's has: the order of all layers, and so the
// places of the poolings, is in the file. It is empty if a layer is of another kind.
func kerasPositions(f *weights.File) map[string]position {
	var names []string
	if boundedjson.Unmarshal([]byte(f.Metadata()[weights.MetaLayerNames]), &names) != nil {
		return nil
	}
	kinds := make([]string, len(names))
	lastPool := -1
	for i, name := range names {
		m := kerasLayerName.FindStringSubmatch(name)
		if m == nil {
			return nil
		}
		kind, ok := kerasKinds[m[1]]
		if !ok {
			return nil
		}
		if kinds[i] = kind; kind == "pool" {
			lastPool = i
		}
	}
	positions := map[string]position{}
	block, index := 1, 0
	head := lastPool >= 0 && headOfConvolutions(f, names[lastPool+1:])
	for i, name := range names {
		p := position{block: block, index: index}
		switch kinds[i] {
		case "pool":
			block, index = block+1, 0
			continue
		case "conv":
			index++
			p.index = index
			if head && i > lastPool {
				p = position{part: classifier, index: index}
			}
		case "norm":
			p.norm = true
		case "fc":
			index++
			p = position{part: classifier, index: index}
		default:
			continue
		}
		positions[name] = p
	}
	return positions
}

// unplaceable matches the names that Keras gives to layers without weights that are in none of the
// paper's networks and change what the network computes.
var unplaceable = regexp.MustCompile(`^(average_pooling2d|elu|leaky_re_lu|leakyrelu|thresholded_re_lu|gelu|up_sampling2d|cropping2d|lambda|add|subtract|multiply|average|maximum|minimum|concatenate|dot|unit_normalization|resizing|permute)(_\d+)?$`)

// kerasDoubt says which layers a file of weights alone has whose places it doesn't tell; "" if
// it has none, or doesn't tell them.
func kerasDoubt(f *weights.File) string {
	var names []string
	if boundedjson.Unmarshal([]byte(f.Metadata()[weights.MetaLayerKinds]), &names) != nil {
		return ""
	}
	var kinds []string
	for _, name := range names {
		if m := unplaceable.FindStringSubmatch(name); m != nil && !slices.Contains(kinds, m[1]) {
			kinds = append(kinds, m[1])
		}
	}
	if kinds == nil {
		return ""
	}
	return "the file has layers of the kinds " + strings.Join(kinds, ", ") + ", and doesn't tell where they stand"
}

// headOfConvolutions tells whether the convolutions among the layers after the last pooling
// stand for fully connected ones: a large filter, then filters of 1×1.
func headOfConvolutions(f *weights.File, names []string) bool {
	found := false
	for _, name := range names {
		e, err := f.Lookup(name + "/kernel")
		if err != nil || len(e.Shape) != 4 {
			continue
		}
		if side := e.Shape[0]; !found && side <= 5 || found && side != 1 {
			return false
		}
		found = true
	}
	return found
}
