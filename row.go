package vgg

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A row says a network's layers, first to last, separated by spaces:
//
//	64            3×3 convolution with 64 channels, then the rectification
//	1×256, 1x256  the same with 1×1 filters, or any other odd side
//	64bn          the same with batch normalisation before the rectification
//	LRN           local response normalisation with the paper's values
//	LRN(5,1,1e-4,0.75)  the same with n, k, α and β of its own
//	M             2×2 max-pooling
//	FC256         fully connected layer of 256 units, its rectification and dropout; FC256bn
//	FC            the same of Options.FC units; the last one has Options.Classes and neither
//
// Fully connected layers end the row, the last of them without a number; without any,
// the paper's three follow: FC FC FC.
const (
	maxRowLayers = 512
	maxPoolings  = 14
	maxChannels  = 1 << 15
	maxSide      = 15 // of a filter
)

var (
	convToken = regexp.MustCompile(`^(?:([0-9]{1,2})[×xX])?([0-9]{1,6})((?i)bn)?$`)
	fcToken   = regexp.MustCompile(`^(?i:FC)([0-9]{1,7})?((?i)bn)?$`)
	lrnToken  = regexp.MustCompile(`^(?i:LRN)(?:\(([^,()]+),([^,()]+),([^,()]+),([^,()]+)\))?$`)
)

// looksLikeRow tells a row with a mistake in it from a name with one.
func looksLikeRow(s string) bool {
	return strings.ContainsAny(s, " \t\n") || s != "" && strings.Trim(s, "0123456789xX×bnBN") == ""
}

// parseRow reads a row; its name is the row in canonical spelling.
func parseRow(s string) (architecture, error) {
	var a architecture
	var names []string
	convolutions := 0
	fields := strings.Fields(s)
	if len(fields) > maxRowLayers {
		return a, fmt.Errorf("%d layers, want at most %d", len(fields), maxRowLayers)
	}
	for i, f := range fields {
		l, err := parseLayer(f)
		if err != nil {
			return a, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if l.kind == convolution {
			convolutions++
		}
		if l.kind != connected {
			names = append(names, l.token())
		}
		switch {
		case l.kind == connected:
			a.head = append(a.head, l)
		case len(a.head) > 0:
			return a, fmt.Errorf("layer %d: %q after a fully connected layer, want those last", i+1, f)
		default:
			a.layers = append(a.layers, l)
		}
	}
	switch last := len(a.head) - 1; {
	case convolutions == 0:
		return a, errNoConvolution
	case a.poolings() > maxPoolings:
		return a, fmt.Errorf("%d poolings, want at most %d", a.poolings(), maxPoolings)
	case last < 0:
		a.head = paperHead()
	case a.head[last] != layerSpec{kind: connected}:
		return a, fmt.Errorf("layer %d: %q is last, want FC, which has as many units as there are classes", len(fields), fields[len(fields)-1])
	}
	if !slices.Equal(a.head, paperHead()) { // which needs no saying
		for _, l := range a.head {
			names = append(names, l.token())
		}
	}
	a.name = strings.Join(names, " ")
	return a, nil
}

func parseLayer(f string) (layerSpec, error) {
	if strings.EqualFold(f, "M") {
		return layerSpec{kind: pooling}, nil
	}
	if m := lrnToken.FindStringSubmatch(f); m != nil {
		return parseLRN(f, m[1:])
	}
	if m := fcToken.FindStringSubmatch(f); m != nil {
		l := layerSpec{kind: connected, bn: m[2] != ""}
		if m[1] != "" {
			if l.channels, _ = strconv.Atoi(m[1]); l.channels < 1 || l.channels > maxUnits {
				return l, fmt.Errorf("%q: want 1 to %d units", f, maxUnits)
			}
		}
		return l, nil
	}
	m := convToken.FindStringSubmatch(f)
	if m == nil {
		return layerSpec{}, fmt.Errorf("%q, want a convolution (64, 1×64, 64bn), M, LRN or FC", f)
	}
	l := layerSpec{kind: convolution, r: 3, bn: m[3] != ""}
	if m[1] != "" {
		l.r, _ = strconv.Atoi(m[1])
	}
	l.channels, _ = strconv.Atoi(m[2])
	switch {
	case l.r%2 == 0 || l.r > maxSide:
		return l, fmt.Errorf("%q: filters of side %d, want an odd number up to %d", f, l.r, maxSide)
	case l.channels < 1 || l.channels > maxChannels:
		return l, fmt.Errorf("%q: want 1 to %d channels", f, maxChannels)
	}
	return l, nil
}

func parseLRN(f string, values []string) (layerSpec, error) {
	l := layerSpec{kind: normalisation}
	if values[0] == "" {
		return l, nil
	}
	var err error
	if l.lrn.size, err = strconv.Atoi(values[0]); err != nil || l.lrn.size < 1 || l.lrn.size%2 == 0 || l.lrn.size > maxChannels {
		return l, fmt.Errorf("%q: LRN over %s channels, want an odd number", f, values[0])
	}
	for i, to := range []*float32{&l.lrn.k, &l.lrn.alpha, &l.lrn.beta} {
		x, err := strconv.ParseFloat(values[i+1], 32)
		if err != nil || !(x >= 0 && x <= 1e6) || i == 0 && x == 0 {
			return l, fmt.Errorf("%q: %s, want a number from 0 to 1e6, and k above 0", f, values[i+1])
		}
		*to = float32(x)
	}
	return l, nil
}

// token is the layer in the row's canonical spelling.
func (l layerSpec) token() string {
	bn := ""
	if l.bn {
		bn = "bn"
	}
	switch {
	case l.kind == pooling:
		return "M"
	case l.kind == normalisation && l.lrn == lrnValues{}:
		return "LRN"
	case l.kind == normalisation:
		return fmt.Sprintf("LRN(%d,%g,%g,%g)", l.lrn.size, l.lrn.k, l.lrn.alpha, l.lrn.beta)
	case l.kind == connected && l.channels == 0:
		return "FC" + bn
	case l.kind == connected:
		return fmt.Sprintf("FC%d%s", l.channels, bn)
	case l.r != 3:
		return fmt.Sprintf("%d×%d%s", l.r, l.channels, bn)
	}
	return fmt.Sprintf("%d%s", l.channels, bn)
}
