package vgg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// configurations are the columns of Table 1 (§2.2), and the net of §4.1 in which one
// 5×5 convolution stands for each pair of 3×3 in B, as rows of the language that
// [Options].Config speaks. Every convolution is followed by a rectification; three
// fully connected layers follow.
var configurations = []struct{ name, layers string }{
	{"A", "64 M 128 M 256 256 M 512 512 M 512 512 M"},
	{"A-LRN", "64 LRN M 128 M 256 256 M 512 512 M 512 512 M"},
	{"B", "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M"},
	{"C", "64 64 M 128 128 M 256 256 1×256 M 512 512 1×512 M 512 512 1×512 M"},
	{"D", "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"},
	{"E", "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M"},
	{"B-shallow", "5×64 M 5×128 M 5×256 M 5×512 M 5×512 M"},
}

// aliases are the names by depth under which others know the configurations.
var aliases = map[string]string{
	"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E",
	"vgg11_bn": "A-BN", "vgg13_bn": "B-BN", "vgg16_bn": "D-BN", "vgg19_bn": "E-BN",
}

// Configs lists the configurations' names in the paper's order. Each also exists with
// the suffix -BN (batch normalisation between every convolution and its rectification)
// and -LRN (local response normalisation after the first block).
func Configs() []string {
	names := make([]string, len(configurations))
	for i, c := range configurations {
		names[i] = c.name
	}
	return names
}

// layerKind is what a layer of a row is.
type layerKind int

const (
	convolution layerKind = iota
	normalisation
	pooling
	connected
)

// layerSpec is one layer of a row.
type layerSpec struct {
	kind     layerKind
	r        int  // convolution: filter side
	channels int  // convolution: at width 1; connected: units, 0 where the options say
	bn       bool // batch normalisation before the rectification
	lrn      lrnValues
}

// lrnValues are n, k, α and β of a local response normalisation; zero: the paper's.
type lrnValues struct {
	size           int
	k, alpha, beta float32
}

// architecture is a configuration, read.
type architecture struct {
	name   string // canonical: a name of the table, or the row
	layers []layerSpec
	head   []layerSpec // the fully connected layers
}

// paperHead is what follows every row that has no FC: fc6 and fc7 of Options.FC units,
// fc8 of Options.Classes.
func paperHead() []layerSpec {
	return []layerSpec{{kind: connected}, {kind: connected}, {kind: connected}}
}

// parseConfig reads a configuration's name, in any case, with its suffix, or a row.
func parseConfig(name string) (architecture, error) {
	full := name
	if a, ok := aliases[strings.ToLower(name)]; ok {
		full = a
	}
	for _, c := range configurations {
		suffix, ok := cutPrefixFold(full, c.name)
		if !ok {
			continue
		}
		if a, ok := named(c.name, strings.ToUpper(suffix)); ok {
			return a, nil
		}
	}
	if a, err := parseRow(name); err == nil {
		return a.canonical(), nil
	} else if looksLikeRow(name) {
		return architecture{}, fmt.Errorf("vgg: configuration %q: %w", name, err)
	}
	return architecture{}, fmt.Errorf("vgg: configuration %q: want one of %s, with -BN or -LRN behind it for its normalised form, or a row such as \"32bn 32 M 64bn 64 M FC256 FC\"", name, strings.Join(Configs(), ", "))
}

// named is a row of the table with one of its suffixes.
func named(name, suffix string) (architecture, bool) {
	for _, c := range configurations {
		if c.name != name {
			continue
		}
		row := c.layers
		if suffix == "-LRN" {
			if strings.Contains(row, "LRN") || c.name == "A" { // A-LRN is a row of its own
				return architecture{}, false
			}
			row = strings.Replace(row, "M", "LRN M", 1)
		}
		a, err := parseRow(row)
		if err != nil {
			panic("vgg: malformed configuration table")
		}
		switch suffix {
		case "", "-LRN":
		case "-BN":
			for i := range a.layers {
				a.layers[i].bn = a.layers[i].kind == convolution
			}
		default:
			return architecture{}, false
		}
		a.name = c.name + suffix
		return a, true
	}
	return architecture{}, false
}

// canonical gives a row that the table has the name that it has there.
func (a architecture) canonical() architecture {
	if !slices.Equal(a.head, paperHead()) {
		return a
	}
	for _, c := range configurations {
		for _, suffix := range []string{"", "-BN", "-LRN"} {
			if n, ok := named(c.name, suffix); ok && slices.Equal(n.layers, a.layers) {
				return n
			}
		}
	}
	return a
}

// poolings is how often the network halves its input.
func (a architecture) poolings() int {
	n := 0
	for _, l := range a.layers {
		if l.kind == pooling {
			n++
		}
	}
	return n
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

var errNoConvolution = errors.New("no convolution, want at least one")

// CanonicalConfig returns the name under which [Options].Config is kept: D for vgg16, the
// row itself for one that the table doesn't have.
func CanonicalConfig(name string) (string, error) {
	a, err := parseConfig(name)
	return a.name, err
}
