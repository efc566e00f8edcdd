package vgg

import (
	"fmt"
	"strconv"
	"strings"
)

// configurations are the columns of Table 1 (§2.2), and the net of §4.1 in which one
// 5×5 convolution stands for each pair of 3×3 in B. A number is a 3×3 convolution of
// that many channels, r×n an r×r one; M is 2×2 max-pooling. Every convolution is
// followed by a rectification; three fully connected layers follow.
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

// layerKind is what a layer of the table is.
type layerKind int

const (
	convolution layerKind = iota
	normalisation
	pooling
)

// layerSpec is one layer of a configuration before its fully connected ones.
type layerSpec struct {
	kind     layerKind
	r        int // filter side
	channels int // at width 1
}

// architecture is a configuration, read.
type architecture struct {
	name   string // canonical
	layers []layerSpec
	bn     bool
}

// parseConfig reads a configuration's name, in any case, with its suffix.
func parseConfig(name string) (architecture, error) {
	full := name
	if a, ok := aliases[strings.ToLower(name)]; ok {
		full = a
	}
	var a architecture
	for _, c := range configurations {
		suffix, ok := cutPrefixFold(full, c.name)
		if !ok {
			continue
		}
		switch strings.ToUpper(suffix) {
		case "":
			a = architecture{c.name, parseLayers(c.layers), false}
		case "-BN":
			a = architecture{c.name + "-BN", parseLayers(c.layers), true}
		case "-LRN":
			if c.name == "A" || strings.Contains(c.layers, "LRN") { // A-LRN is a row of its own
				continue
			}
			a = architecture{c.name + "-LRN", parseLayers(strings.Replace(c.layers, "M", "LRN M", 1)), false}
		default:
			continue
		}
		return a, nil
	}
	return a, fmt.Errorf("vgg: configuration %q: want one of %s, with -BN or -LRN behind it for its normalised form", name, strings.Join(Configs(), ", "))
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// parseLayers reads a row of the table.
func parseLayers(s string) []layerSpec {
	var layers []layerSpec
	for _, f := range strings.Fields(s) {
		switch f {
		case "M":
			layers = append(layers, layerSpec{kind: pooling})
		case "LRN":
			layers = append(layers, layerSpec{kind: normalisation})
		default:
			side, channels, ok := strings.Cut(f, "×")
			if !ok {
				side, channels = "3", f
			}
			layers = append(layers, layerSpec{convolution, number(side), number(channels)})
		}
	}
	return layers
}

// number reads a number of the table above.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("vgg: malformed configuration table")
	}
	return n
}
