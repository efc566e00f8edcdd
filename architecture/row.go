package architecture

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A row lists the layers of a network, first to last, separated by spaces:
//
//	64            3×3 convolution with 64 channels, and its rectification
//	1×256, 1x256  the same with 1×1 filters, or any other odd side
//	64bn          the same with batch normalisation before the rectification
//	LRN           local response normalisation with the paper's values
//	LRN(5,1,1e-4,0.75)  the same with its own n, k, α and β
//	M             2×2 max-pooling
//	FC256         fully connected layer of 256 units, its rectification and dropout; FC256bn
//	FC            the same with the options' units; the last one has the options' classes,
//	              and neither rectification nor dropout
//
// Fully connected layers end the row, the last of them without a number. A row without
// any has the paper's three: FC FC FC.

var (
	convToken = regexp.MustCompile(`^(?:([0-9]{1,2})[×xX])?([0-9]{1,6})((?i)bn)?$`)
	fcToken   = regexp.MustCompile(`^(?i:FC)([0-9]{1,7})?((?i)bn)?$`)
	lrnToken  = regexp.MustCompile(`^(?i:LRN)(?:\(([^,()]+),([^,()]+),([^,()]+),([^,()]+)\))?$`)
)

// looksLikeRow tells a row with a mistake in it from a name with one.
func looksLikeRow(s string) bool {
	return strings.ContainsAny(s, " \t\n") || s != "" && strings.Trim(s, "0123456789xX×bnBN") == ""
}

// parseRow reads a row. Its name is the row in canonical spelling.
func parseRow(s string) (Architecture, error) {
	var a Architecture
	var names []string
	fields := strings.Fields(s)
	if len(fields) > MaxLayers {
		return a, fmt.Errorf("%d layers, want at most %d", len(fields), MaxLayers)
	}
	for i, f := range fields {
		l, err := parseLayer(f)
		if err != nil {
			return a, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if l.Kind != Connected {
			names = append(names, l.String())
		}
		switch {
		case l.Kind == Connected:
			a.Head = append(a.Head, l)
		case len(a.Head) > 0:
			return a, fmt.Errorf("layer %d: %q after a fully connected layer, want those last", i+1, f)
		default:
			a.Features = append(a.Features, l)
		}
	}
	switch last := len(a.Head) - 1; {
	case a.Count(Convolution) == 0:
		return a, errNoConvolution
	case a.Poolings() > MaxPoolings:
		return a, fmt.Errorf("%d poolings, want at most %d", a.Poolings(), MaxPoolings)
	case last < 0:
		a.Head = PaperHead()
	case a.Head[last] != Layer{Kind: Connected}:
		return a, fmt.Errorf("layer %d: %q is last, want FC, which has as many units as there are classes", len(fields), fields[len(fields)-1])
	}
	if !slices.Equal(a.Head, PaperHead()) {
		for _, l := range a.Head {
			names = append(names, l.String())
		}
	}
	a.Name = strings.Join(names, " ")
	return a, nil
}

func parseLayer(f string) (Layer, error) {
	if strings.EqualFold(f, "M") {
		return Layer{Kind: Pooling}, nil
	}
	if m := lrnToken.FindStringSubmatch(f); m != nil {
		return parseLRN(f, m[1:])
	}
	if m := fcToken.FindStringSubmatch(f); m != nil {
		l := Layer{Kind: Connected, BatchNorm: m[2] != ""}
		if m[1] != "" {
			if l.Channels, _ = strconv.Atoi(m[1]); l.Channels < 1 || l.Channels > MaxUnits {
				return l, fmt.Errorf("%q: want 1 to %d units", f, MaxUnits)
			}
		}
		return l, nil
	}
	m := convToken.FindStringSubmatch(f)
	if m == nil {
		return Layer{}, fmt.Errorf("%q, want a convolution (64, 1×64, 64bn), M, LRN or FC", f)
	}
	l := Layer{Kind: Convolution, Side: 3, BatchNorm: m[3] != ""}
	if m[1] != "" {
		l.Side, _ = strconv.Atoi(m[1])
	}
	l.Channels, _ = strconv.Atoi(m[2])
	switch {
	case l.Side%2 == 0 || l.Side > MaxFilterSide:
		return l, fmt.Errorf("%q: filters of side %d, want an odd number up to %d", f, l.Side, MaxFilterSide)
	case l.Channels < 1 || l.Channels > MaxChannels:
		return l, fmt.Errorf("%q: want 1 to %d channels", f, MaxChannels)
	}
	return l, nil
}

func parseLRN(f string, values []string) (Layer, error) {
	l := Layer{Kind: Normalisation}
	if values[0] == "" {
		return l, nil
	}
	var err error
	if l.LRN.Size, err = strconv.Atoi(values[0]); err != nil || l.LRN.Size < 1 || l.LRN.Size%2 == 0 || l.LRN.Size > MaxChannels {
		return l, fmt.Errorf("%q: LRN over %s channels, want an odd number", f, values[0])
	}
	for i, to := range []*float32{&l.LRN.K, &l.LRN.Alpha, &l.LRN.Beta} {
		x, err := strconv.ParseFloat(values[i+1], 32)
		if err != nil || !(x >= 0 && x <= 1e6) || i == 0 && x == 0 {
			return l, fmt.Errorf("%q: %s, want a number from 0 to 1e6, and k above 0", f, values[i+1])
		}
		*to = float32(x)
	}
	return l, nil
}

// String returns the layer in the row's canonical spelling.
func (l Layer) String() string {
	bn := ""
	if l.BatchNorm {
		bn = "bn"
	}
	switch {
	case l.Kind == Pooling:
		return "M"
	case l.Kind == Normalisation && l.LRN == LRN{}:
		return "LRN"
	case l.Kind == Normalisation:
		return fmt.Sprintf("LRN(%d,%g,%g,%g)", l.LRN.Size, l.LRN.K, l.LRN.Alpha, l.LRN.Beta)
	case l.Kind == Connected && l.Channels == 0:
		return "FC" + bn
	case l.Kind == Connected:
		return fmt.Sprintf("FC%d%s", l.Channels, bn)
	case l.Side != 3:
		return fmt.Sprintf("%d×%d%s", l.Side, l.Channels, bn)
	}
	return fmt.Sprintf("%d%s", l.Channels, bn)
}
