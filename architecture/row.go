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
//	BN            batch normalisation of each channel, after the rectification or a pooling
//	FC256         fully connected layer of 256 units, its rectification and dropout; FC256bn
//	FC            the same with the options' units; the last one has the options' classes,
//	              and neither rectification nor dropout
//
// The head begins with the first of these, or with one of the following layers:
//
//	GAP, GMP      global average or maximum pooling of each channel
//	GMAP          both: the maxima, then the means
//	ADAPT7        average pooling of the map to 7×7 pixels, whatever its size: the mean of rows
//	              ⌊i·H/7⌋ to ⌈(i+1)·H/7⌉ − 1 and of columns likewise, as PyTorch pools
//	FLATTEN       the map as one vector; implied where FC follows a map
//	L2            division of all units by their Euclidean norm
//	BN            batch normalisation of each unit, or of each channel of a map
//	DROP, DROP0.3 dropout of the options' ratio, or of its own
//	RELU, LEAKY0.2, ELU, GELU, SILU, TANH, SIGMOID  activations
//	LINEAR        no activation
//
// A fully connected layer that BN or an activation follows has just what follows: neither
// rectification nor dropout of its own. Where DROP follows it, that dropout takes the place
// of its own, after the rectification. So FC256 is short for FC256 RELU DROP.
//
// The last fully connected layer has no number. A row without any has the paper's head: FC
// FC FC. The last token of a row may be the ending, which turns scores into posteriors:
//
//	SOFTMAX       soft-max, which need not be written
//	LOGSOFTMAX    its logarithm
//	SIGMOID       FC1 SIGMOID: one unit p, and two classes of 1 − p and p;
//	              FC SIGMOID: every class is a label of its own
//	SCORES        no posteriors
//
// The first token may be the name of a configuration, which stands for its features: D GAP
// FC. Tokens are read in any case.

var (
	convToken  = regexp.MustCompile(`^(?:([0-9]{1,2})[×xX])?([0-9]{1,6})((?i)bn)?$`)
	fcToken    = regexp.MustCompile(`^(?i:FC)([0-9]{1,7})?((?i)bn)?$`)
	adaptToken = regexp.MustCompile(`^(?i:ADAPT)([0-9]{1,3})$`)
	dropToken  = regexp.MustCompile(`^(?i:DROP)([0-9.]+(?i:e-?[0-9]+)?)?$`)
	leakToken  = regexp.MustCompile(`^(?i:LEAKY)([0-9.]+(?i:e-?[0-9]+)?)$`)
	lrnToken   = regexp.MustCompile(`^(?i:LRN)(?:\(([^,()]+),([^,()]+),([^,()]+),([^,()]+)\))?$`)
)

// looksLikeRow tells a row with a mistake in it from a name with one.
func looksLikeRow(s string) bool {
	return strings.ContainsAny(s, " \t\n") || s != "" && strings.Trim(s, "0123456789xX×bnBN") == ""
}

// plainTokens are the layers of a head that are written without a number.
var plainTokens = map[string]Layer{
	"GAP": {Kind: GlobalAverage}, "GMP": {Kind: GlobalMax}, "GMAP": {Kind: GlobalMaxAverage}, "FLATTEN": {Kind: Flatten}, "L2": {Kind: Euclidean}, "BN": {Kind: BatchNorm},
	"RELU": {Kind: Activation, Function: ReLU}, "ELU": {Kind: Activation, Function: ELU}, "GELU": {Kind: Activation, Function: GELU},
	"SILU": {Kind: Activation, Function: SiLU}, "TANH": {Kind: Activation, Function: Tanh}, "SIGMOID": {Kind: Activation, Function: Sigmoid},
	"LINEAR": {Kind: Activation, Function: Linear},
}

// parseRow reads a row. Its name is the row in canonical spelling.
func parseRow(s string) (Architecture, error) {
	var a Architecture
	fields := strings.Fields(s)
	if len(fields) > MaxLayers {
		return a, fmt.Errorf("%d layers, want at most %d", len(fields), MaxLayers)
	}
	tokens := fields
	if n := len(fields); n > 0 {
		if e := slices.Index(endings, strings.ToUpper(fields[n-1])); e >= 0 {
			a.Ending, tokens = Ending(e), fields[:n-1]
		}
	}
	var head []Layer
	lastFC := ""
	for i, f := range tokens {
		l, err := parseLayer(f)
		if err != nil {
			return a, fmt.Errorf("layer %d: %w", i+1, err)
		}
		switch {
		case l.Kind >= Connected:
			head = append(head, l)
			if l.Kind == Connected {
				lastFC = f
			}
		case len(head) == 1 && head[0].Kind == BatchNorm && len(a.Features) > 0: // between layers of the features
			a.Features, head = append(a.Features, head[0], l), nil
		case len(head) > 0 && lastFC != "":
			return a, fmt.Errorf("layer %d: %q after a fully connected layer, want those last", i+1, f)
		case len(head) > 0:
			return a, fmt.Errorf("layer %d: %q after %s, which begins the head", i+1, f, head[0])
		default:
			a.Features = append(a.Features, l)
		}
	}
	switch {
	case a.Count(Convolution) == 0:
		return a, errNoConvolution
	case a.Poolings() > MaxPoolings:
		return a, fmt.Errorf("%d poolings, want at most %d", a.Poolings(), MaxPoolings)
	case len(head) == 0:
		a.Head = PaperHead()
	default:
		var err error
		if a.Head, err = normalHead(head, a.Ending); err != nil {
			return a, fmt.Errorf("layer %d: %q: %w", len(fields), fields[len(fields)-1], err)
		}
	}
	switch last := a.Head[a.LastConnected()]; {
	case last == Layer{Kind: Connected}, last == Layer{Kind: Connected, Channels: 1} && a.Ending == Sigmoids:
	default:
		return a, fmt.Errorf("layer %d: %q is last, want FC, which has as many units as there are classes", len(fields), lastFC)
	}
	if a.Binary() && a.LastConnected() != len(a.Head)-1 {
		return a, fmt.Errorf("layer %d: layers between FC1 and SIGMOID, want none", len(fields))
	}
	a.Name = a.rowName()
	if n := len(strings.Fields(a.Name)); n > MaxLayers {
		return a, fmt.Errorf("%d layers, want at most %d", n, MaxLayers)
	}
	return a, nil
}

// poolsAll tells whether a layer pools the whole map.
func (l Layer) poolsAll() bool {
	return l.Kind == GlobalAverage || l.Kind == GlobalMax || l.Kind == GlobalMaxAverage
}

// shapesUnits tells whether a layer says what follows a fully connected one.
func (l Layer) shapesUnits() bool { return l.Kind == BatchNorm || l.Kind == Activation }

// normalHead brings the layers of a head into the one order in which each head is written:
// fully connected layers include their rectification and dropout where they can, LINEAR
// and needless FLATTENs are left out.
func normalHead(layers []Layer, ending Ending) ([]Layer, error) {
	last := -1
	for i, l := range layers {
		if l.Kind == Connected {
			last = i
		}
	}
	if last < 0 {
		return nil, fmt.Errorf("no fully connected layer, want FC, which has as many units as there are classes")
	}
	var full []Layer // with nothing implied
	vector := false
	for i := 0; i < len(layers); i++ {
		l := layers[i]
		switch {
		case (l.poolsAll() || l.Kind == Adaptive) && vector:
			return nil, fmt.Errorf("%s of a vector, want it of a map", l)
		case l.poolsAll():
			vector = true
		case l.Kind == Flatten:
			if vector || !slices.ContainsFunc(layers[i:slices.IndexFunc(layers, func(l Layer) bool { return l.Kind == Connected })], func(l Layer) bool { return l.Kind == BatchNorm }) {
				continue
			}
			vector = true
		case l.Kind == Activation && l.Function == Linear:
			continue
		case l.Kind == Connected && i == last:
			vector = true
		case l.Kind == Connected:
			vector = true
			next := layers[i+1]
			implied := !next.shapesUnits()
			norm := l.BatchNorm
			l.BatchNorm, l.Bare = false, true
			full = append(full, l)
			if norm {
				full = append(full, Layer{Kind: BatchNorm})
			}
			if implied {
				full = append(full, Layer{Kind: Activation, Function: ReLU})
				if next.Kind != Dropout {
					full = append(full, Layer{Kind: Dropout})
				}
			}
			continue
		}
		full = append(full, l)
	}
	return shortened(full), nil
}

// shortened writes FC256 for FC256 RELU DROP, and FC256bn for FC256 BN RELU DROP.
func shortened(full []Layer) []Layer {
	var head []Layer
	at := func(i int) Layer {
		if i < len(full) {
			return full[i]
		}
		return Layer{}
	}
	relu, drop := Layer{Kind: Activation, Function: ReLU}, Layer{Kind: Dropout}
	for i := 0; i < len(full); i++ {
		l := full[i]
		if l.Kind == Connected && l.Bare {
			n := 0
			if at(i+1).Kind == BatchNorm {
				n = 1
			}
			if after := at(i + n + 3); at(i+n+1) == relu && at(i+n+2) == drop && !after.shapesUnits() && after.Kind != Dropout {
				l.Bare, l.BatchNorm = false, n == 1
				i += n + 2
			}
		}
		head = append(head, l)
	}
	return head
}

// rowName returns the row in canonical spelling.
func (a Architecture) rowName() string {
	var names []string
	for _, l := range a.Features {
		names = append(names, l.String())
	}
	if !a.plain() {
		names = append(names, a.HeadName())
	}
	return strings.Join(names, " ")
}

// HeadName returns the head in canonical spelling, with its ending unless that is the
// soft-max.
func (a Architecture) HeadName() string {
	var names []string
	for i, l := range a.Head {
		names = append(names, l.String())
		if l.Bare && (i+1 == len(a.Head) || !a.Head[i+1].shapesUnits()) {
			names = append(names, string(Linear))
		}
	}
	last := ""
	if len(names) > 0 {
		last = names[len(names)-1]
	}
	if a.Ending != Softmax || slices.Contains(endings, last) {
		names = append(names, a.Ending.String())
	}
	return strings.Join(names, " ")
}

// kindTokens are the tokens of the kinds of layers that have neither number nor function.
var kindTokens = map[Kind]string{GlobalAverage: "GAP", GlobalMax: "GMP", GlobalMaxAverage: "GMAP", Flatten: "FLATTEN", Euclidean: "L2", BatchNorm: "BN"}

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
	if m := adaptToken.FindStringSubmatch(f); m != nil {
		l := Layer{Kind: Adaptive}
		if l.Side, _ = strconv.Atoi(m[1]); l.Side < 1 || l.Side > MaxAdaptive {
			return l, fmt.Errorf("%q: want a map of 1 to %d pixels a side", f, MaxAdaptive)
		}
		return l, nil
	}
	if l, ok := plainTokens[strings.ToUpper(f)]; ok {
		return l, nil
	}
	if m := dropToken.FindStringSubmatch(f); m != nil {
		l := Layer{Kind: Dropout}
		if m[1] == "" {
			return l, nil
		}
		ratio, err := strconv.ParseFloat(m[1], 32)
		if l.Value = float32(ratio); err != nil || !(l.Value > 0 && l.Value < 1) {
			return l, fmt.Errorf("%q: want a ratio above 0 and below 1", f)
		}
		return l, nil
	}
	if m := leakToken.FindStringSubmatch(f); m != nil {
		slope, err := strconv.ParseFloat(m[1], 32)
		if err != nil || !(slope >= 0 && slope <= 1) {
			return Layer{}, fmt.Errorf("%q: want a slope from 0 to 1", f)
		}
		return Layer{Kind: Activation, Function: Leaky, Value: float32(slope)}, nil
	}
	m := convToken.FindStringSubmatch(f)
	if m == nil {
		return Layer{}, fmt.Errorf("%q, want a convolution (64, 1×64, 64bn), M, LRN, FC or a layer of the head (GAP, GMP, FLATTEN, L2, BN, DROP0.3, RELU, …)", f)
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
	case l.Kind == Dropout && l.Value == 0:
		return "DROP"
	case l.Kind == Dropout:
		return fmt.Sprintf("DROP%g", l.Value)
	case l.Kind == Activation && l.Function == Leaky:
		return fmt.Sprintf("LEAKY%g", l.Value)
	case l.Kind == Activation:
		return string(l.Function)
	case l.Kind == Adaptive:
		return fmt.Sprintf("ADAPT%d", l.Side)
	case l.Kind > Connected:
		return kindTokens[l.Kind]
	case l.Kind == Connected && l.Channels == 0:
		return "FC" + bn
	case l.Kind == Connected:
		return fmt.Sprintf("FC%d%s", l.Channels, bn)
	case l.Side != 3:
		return fmt.Sprintf("%d×%d%s", l.Side, l.Channels, bn)
	}
	return fmt.Sprintf("%d%s", l.Channels, bn)
}
