// Package architecture holds the network configurations of Table 1 of Simonyan &
// Zisserman (2014) as data, and the language of rows in which they and any other
// network of the family are written.
package architecture

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
)

// table holds the columns of Table 1 (§2.2), and the net of §4.1 in which one 5×5
// convolution replaces each pair of 3×3 convolutions of B. The rows are in the language
// that [Parse] reads. A rectification follows every convolution, and three fully
// connected layers follow every row.
var table = []struct{ name, row string }{
	{"A", "64 M 128 M 256 256 M 512 512 M 512 512 M"},
	{"A-LRN", "64 LRN M 128 M 256 256 M 512 512 M 512 512 M"},
	{"B", "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M"},
	{"C", "64 64 M 128 128 M 256 256 1×256 M 512 512 1×512 M 512 512 1×512 M"},
	{"D", "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"},
	{"E", "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M"},
	{"B-shallow", "5×64 M 5×128 M 5×256 M 5×512 M 5×512 M"},
}

// aliases are the names by depth that other libraries use.
var aliases = map[string]string{
	"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E",
	"vgg11_bn": "A-BN", "vgg13_bn": "B-BN", "vgg16_bn": "D-BN", "vgg19_bn": "E-BN",
}

// suffixes name the normalised forms of a configuration; see [Names].
var suffixes = []string{"", "-BN", "-LRN"}

// Limits of what a row can say. They are far above what anyone needs, and low enough
// that no size computed from them overflows.
const (
	MaxLayers     = 512     // layers of a row
	MaxPoolings   = 14      // poolings of a row
	MaxChannels   = 1 << 15 // channels of a convolution at width 1
	MaxUnits      = 1 << 20 // units of a fully connected layer
	MaxFilterSide = 15      // side of a filter in pixels
	MaxAdaptive   = 64      // side of an adaptively pooled map in pixels
	MaxWidth      = 64      // factor on the channels of every convolution
)

// Names lists the configurations in the paper's order: A, A-LRN, B, C, D, E, and
// B-shallow. Each also exists with the suffix -BN (batch normalisation between every
// convolution and its rectification) and -LRN (local response normalisation after the
// first block).
func Names() []string {
	names := make([]string, len(table))
	for i, c := range table {
		names[i] = c.name
	}
	return names
}

// Kind is the kind of a layer.
type Kind int

const (
	Convolution Kind = iota
	Normalisation
	Pooling
	Connected
	// The other kinds stand in the head only, except for batch normalisation after a
	// rectification.
	GlobalAverage    // mean of each channel over the map
	GlobalMax        // maximum of each channel over the map
	GlobalMaxAverage // the maximum of each channel, then the mean of each: fastai's AdaptiveConcatPool2d
	Adaptive         // average pooling of the map to one of Side×Side pixels
	Flatten          // the map as one vector, in (C,H,W) order
	Euclidean        // division of all units by their Euclidean norm
	BatchNorm        // batch normalisation of each unit, or of each channel of a map
	Dropout
	Activation
)

// Function is an activation function. [Linear] is none.
type Function string

const (
	ReLU    Function = "RELU"
	Leaky   Function = "LEAKY" // x, or Value·x below 0
	ELU     Function = "ELU"   // x, or eˣ − 1 below 0
	GELU    Function = "GELU"  // x·Φ(x), Φ by the error function
	SiLU    Function = "SILU"  // x·σ(x)
	Tanh    Function = "TANH"
	Sigmoid Function = "SIGMOID"
	Linear  Function = "LINEAR"
)

// Ending tells what turns the network's scores into posteriors.
type Ending int

const (
	// Softmax is the soft-max over the classes.
	Softmax Ending = iota
	// LogSoftmax is the logarithm of the soft-max. The posteriors are the same.
	LogSoftmax
	// Sigmoids is the logistic function of each score. A last layer FC1 gives the
	// probability p of the second of two classes; that of the first is 1 − p. After FC every
	// class is a label of its own, which an image has or has not.
	Sigmoids
	// Scores is nothing: the outputs are scores, and there are no posteriors.
	Scores
)

// endings are the tokens of the endings.
var endings = []string{Softmax: "SOFTMAX", LogSoftmax: "LOGSOFTMAX", Sigmoids: "SIGMOID", Scores: "SCORES"}

// String returns the ending's token.
func (e Ending) String() string { return endings[e] }

// Layer is one layer of a row. A convolution includes its batch normalisation and its
// rectification. A fully connected layer includes its batch normalisation, its
// rectification and its dropout, unless it is Bare or the last one.
type Layer struct {
	Kind Kind
	// Side is the side of a convolution's filters, or of the map that an adaptive pooling
	// leaves, in pixels.
	Side int
	// Channels is the number of out-channels of a convolution at width 1, or of units of a
	// fully connected layer; 0 where the network's options give the units.
	Channels int
	// BatchNorm tells whether batch normalisation stands before the rectification.
	BatchNorm bool
	// LRN holds the values of a local response normalisation.
	LRN LRN
	// Bare tells that a fully connected layer has only what the layers after it say: no
	// rectification and no dropout of its own.
	Bare bool
	// Function is the function of an activation.
	Function Function
	// Value is the slope of a Leaky activation, or the ratio of a dropout, 0 where the
	// network's options give it.
	Value float32
}

// LRN holds n, k, α and β of a local response normalisation (§3.3 of Krizhevsky et al.
// 2012). The zero value stands for the paper's values.
type LRN struct {
	Size           int
	K, Alpha, Beta float32
}

// Near tells whether two sets of values differ by rounding alone.
func (v LRN) Near(w LRN) bool {
	near := func(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-6*math.Abs(float64(b)) }
	return v.Size == w.Size && near(v.K, w.K) && near(v.Alpha, w.Alpha) && near(v.Beta, w.Beta)
}

// Architecture is a configuration, parsed.
type Architecture struct {
	// Name is the canonical name: a name of the table, or the row in canonical spelling.
	Name string
	// Features are the layers before the fully connected ones.
	Features []Layer
	// Head are the fully connected layers and what stands between them. The units of the
	// last fully connected one are the classes; see [Architecture.Binary] for the exception.
	Head []Layer
	// Ending turns the scores into posteriors.
	Ending Ending
}

// LastConnected returns the index in Head of the last fully connected layer.
func (a Architecture) LastConnected() int {
	last := len(a.Head) - 1
	for last >= 0 && a.Head[last].Kind != Connected {
		last--
	}
	return last
}

// Binary tells whether one unit with a sigmoid tells two classes apart.
func (a Architecture) Binary() bool {
	last := a.LastConnected()
	return a.Ending == Sigmoids && last >= 0 && a.Head[last].Channels == 1
}

// plain tells whether the head is the paper's.
func (a Architecture) plain() bool {
	return a.Ending == Softmax && slices.Equal(a.Head, PaperHead())
}

// WithHead returns the canonical name of a configuration's features with another head, in
// the language of rows: "GAP FC256 BN RELU FC".
func WithHead(config, head string) (string, error) {
	a, err := Parse(config)
	if err != nil {
		return "", err
	}
	b, err := ParseHead(head)
	if err != nil {
		return "", err
	}
	a.Head, a.Ending = b.Head, b.Ending
	a.Name = a.rowName()
	return a.canonical().Name, nil
}

// WithEnding returns the canonical name of a configuration with another ending. The last
// layer then has a unit for each class: one unit that tells two classes apart becomes two.
func WithEnding(config string, e Ending) (string, error) {
	a, err := Parse(config)
	if err != nil {
		return "", err
	}
	if a.Binary() {
		a.Head[a.LastConnected()].Channels = 0
	}
	a.Ending = e
	a.Name = a.rowName()
	return a.canonical().Name, nil
}

// ParseHead reads a head alone: an architecture without features. The error names the
// layer that can't be read.
func ParseHead(head string) (Architecture, error) {
	a, err := parseRow("1 " + head)
	if err == nil && len(a.Features) > 1 {
		err = fmt.Errorf("%q, want a head without convolutions, poolings and LRN", a.Features[1])
	}
	if err == nil && strings.TrimSpace(head) == "" {
		err = errors.New("empty")
	}
	if err != nil {
		return Architecture{}, fmt.Errorf("vgg: head %q: %w, want a head such as \"GAP FC256 BN RELU FC\"", head, err)
	}
	a.Name, a.Features = a.HeadName(), nil
	return a, nil
}

// PaperHead returns the head of every row without FC: fc6, fc7 and fc8, whose units the
// network's options give.
func PaperHead() []Layer {
	return []Layer{{Kind: Connected}, {Kind: Connected}, {Kind: Connected}}
}

// Parse reads the name of a configuration (in any case, perhaps with -BN or -LRN), a
// name by depth such as vgg16_bn, or a row of layers. The error names the layer that
// can't be read.
func Parse(name string) (Architecture, error) {
	full := name
	if a, ok := aliases[strings.ToLower(name)]; ok {
		full = a
	}
	if a, ok := byName(full); ok {
		return a, nil
	}
	a, err := parseWithHead(name)
	switch {
	case err == nil:
		return a.canonical(), nil
	case looksLikeRow(name):
		return Architecture{}, fmt.Errorf("vgg: configuration %q: %w", name, err)
	}
	return Architecture{}, fmt.Errorf("vgg: configuration %q: want one of %s, with -BN or -LRN behind it for its normalised form, or a row such as \"32bn 32 M 64bn 64 M FC256 FC\"", name, strings.Join(Names(), ", "))
}

// byName returns the configuration of that name, perhaps with a suffix.
func byName(name string) (Architecture, bool) {
	for _, c := range table {
		suffix, ok := cutPrefixFold(name, c.name)
		if !ok {
			continue
		}
		if a, ok := named(c.name, strings.ToUpper(suffix)); ok {
			return a, true
		}
	}
	return Architecture{}, false
}

// parseWithHead reads a row. Its features may be written as the name of a configuration:
// "D GAP FC".
func parseWithHead(row string) (Architecture, error) {
	first, head, ok := strings.Cut(strings.TrimSpace(row), " ")
	if full, alias := aliases[strings.ToLower(first)]; alias {
		first = full
	}
	if a, named := byName(first); named && ok {
		b, err := ParseHead(head)
		if err != nil {
			return b, err
		}
		a.Head, a.Ending = b.Head, b.Ending
		return parseRow(a.rowName())
	}
	return parseRow(row)
}

// Canonical returns the canonical name of what [Parse] reads: D for vgg16, the row in
// canonical spelling for a row that the table doesn't have.
func Canonical(name string) (string, error) {
	a, err := Parse(name)
	return a.Name, err
}

// named returns a row of the table with one of its suffixes.
func named(name, suffix string) (Architecture, bool) {
	for _, a := range configurations() {
		if a.Name == name+suffix {
			a.Features, a.Head = slices.Clone(a.Features), slices.Clone(a.Head)
			return a, true
		}
	}
	return Architecture{}, false
}

// configurations has the rows of the table, each with its suffixes.
var configurations = sync.OnceValue(func() (all []Architecture) {
	for _, c := range table {
		for _, suffix := range suffixes {
			row := c.row
			if suffix == "-LRN" {
				if strings.Contains(row, "LRN") || c.name == "A" { // A-LRN is a row of its own
					continue
				}
				row = strings.Replace(row, "M", "LRN M", 1)
			}
			a, err := parseRow(row)
			if err != nil {
				panic("vgg: malformed configuration table")
			}
			if suffix == "-BN" {
				for i := range a.Features {
					a.Features[i].BatchNorm = a.Features[i].Kind == Convolution
				}
			}
			a.Name = c.name + suffix
			all = append(all, a)
		}
	}
	return all
})

// canonical returns the row of the table that has the layers of a, or a itself.
func (a Architecture) canonical() Architecture {
	if !a.plain() {
		return a
	}
	for _, c := range configurations() {
		if slices.Equal(c.Features, a.Features) {
			c.Features, c.Head = slices.Clone(c.Features), slices.Clone(c.Head)
			return c
		}
	}
	return a
}

// Poolings returns how often the network halves its input.
func (a Architecture) Poolings() int { return a.Count(Pooling) }

// Count returns the number of layers of a kind before the head.
func (a Architecture) Count(k Kind) int {
	n := 0
	for _, l := range a.Features {
		if l.Kind == k {
			n++
		}
	}
	return n
}

// Fit returns the configuration of the table and the width that have the layers of a.
// Where none has, it returns a's row and width 1.
func (a Architecture) Fit() (config string, width float64) {
	if a.plain() {
		for _, c := range table {
			for _, suffix := range suffixes {
				n, ok := named(c.name, suffix)
				if !ok {
					continue
				}
				if w, ok := a.width(n); ok {
					return n.Name, w
				}
			}
		}
	}
	text := a.rowName()
	row, err := parseRow(text)
	if err != nil {
		return text, 1 // Parse says why
	}
	return row.Name, 1
}

// width returns the factor that makes the channels of n, rounded, those of a. Where
// several do, it is the plainest number.
func (a Architecture) width(n Architecture) (float64, bool) {
	if len(a.Features) != len(n.Features) {
		return 0, false
	}
	lo, hi := 0.0, math.Inf(1)
	candidates := []float64{1}
	for i, l := range a.Features {
		m := n.Features[i]
		if l.Kind != m.Kind || l.Side != m.Side || l.BatchNorm != m.BatchNorm || l.LRN != m.LRN {
			return 0, false
		}
		if l.Kind != Convolution {
			continue
		}
		if l.Channels > 1 {
			lo = max(lo, (float64(l.Channels)-0.5)/float64(m.Channels))
		}
		hi = min(hi, (float64(l.Channels)+0.5)/float64(m.Channels))
		candidates = append(candidates, float64(l.Channels)/float64(m.Channels))
	}
	if lo >= hi {
		return 0, false
	}
	for _, w := range append(candidates, (lo+hi)/2) {
		if a.hasWidth(n, w) {
			return w, true
		}
	}
	return 0, false
}

func (a Architecture) hasWidth(n Architecture, w float64) bool {
	for i, l := range a.Features {
		if l.Kind == Convolution && Widen(n.Features[i].Channels, w) != l.Channels {
			return false
		}
	}
	return w <= MaxWidth
}

// Widen returns the channels of a convolution at a width: n times width, rounded, and
// at least 1.
func Widen(n int, width float64) int {
	return max(1, int(math.Round(float64(n)*width)))
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

var errNoConvolution = errors.New("no convolution, want at least one")
