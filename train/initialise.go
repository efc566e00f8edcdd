package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/architecture"
	"github.com/verydeep/vgg/dataset"
	"github.com/verydeep/vgg/internal/journal"
	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// InitReport lists the layers by the origin of their initial weights. Its JSON keys are
// those of `vgg train --json` and of the metrics.
type InitReport struct {
	File   string   `json:"file"`
	Config string   `json:"config"` // of the file
	Rule   InitRule `json:"rule"`
	Taken  []string `json:"taken"`  // layers with the file's parameters
	Random []string `json:"random"` // layers drawn at random
	Left   []string `json:"left"`   // layers of the file that were not used
}

// preConvolutions is the number of convolutional layers that pre-initialisation takes (§3.1).
const preConvolutions = 4

// initialise sets the network's initial weights: random values, replaced by those that the
// recipe's rule takes from another model. Of a model with another head it takes the features
// alone. It resolves the recipe's rule Auto, and returns the file's preprocessing. The last
// layer, with what follows it, stays random with lastRandom, when its outputs mean something
// else than the file's, and where the file has other classes, by name. The same classes in
// another order have their weights in that order.
func initialise(ctx context.Context, net *network.Network, r *Recipe, open vgg.OpenOptions, lastRandom bool, classes []string) (*InitReport, *preprocess.Spec, error) {
	if err := net.Init(r.Init, r.Seed); err != nil {
		return nil, nil, err
	}
	if r.InitFrom == "" {
		return nil, nil, nil
	}
	from, err := openInitial(ctx, r.InitFrom, open)
	if err != nil {
		return nil, nil, fmt.Errorf("train: init_from: %w", err)
	}
	order := classOrder(from.Classes, classes)
	sorted := slices.IsSorted(order)
	// One unit that tells two classes apart has no rows to put in another order.
	lastRandom = lastRandom || order == nil || !sorted && isBinary(net.Options().Config)
	config := from.Net.Options().Config
	features, head := sameLayers(config, net.Options().Config)
	otherHead := features && !head
	if r.InitRule == Auto {
		r.InitRule = FineTune
		if !features {
			r.InitRule = PreInitialisation
		}
	}
	report := &InitReport{File: r.InitFrom, Config: config, Rule: r.InitRule, Taken: []string{}, Random: []string{}, Left: []string{}}
	wanted := wantedLayers(from.Net, r.InitRule)
	sources := map[string]*nn.Param{}
	for _, p := range from.Net.Params() {
		if wanted == nil && !(otherHead && !strings.HasPrefix(p.Name, "conv")) || wanted[layerOf(p)] {
			sources[p.Name] = p
		}
	}
	used := map[string]bool{}
	layers := layersOf(net.Params())
	last := lastLayers(layers)
	for _, p := range net.Params() {
		src, isLast := sources[p.Name], slices.Contains(last, layerOf(p))
		switch {
		case src == nil || lastRandom && isLast:
		case slices.Equal(src.Shape, p.Shape):
			rows := order
			if !isLast || sorted {
				rows = nil
			}
			if err := copyParam(p, src, rows); err != nil {
				return nil, nil, fmt.Errorf("train: init_from: %s: %w", r.InitFrom, err)
			}
			used[layerOf(p)] = true
		case !isLast || !otherClasses(p, src):
			return nil, nil, fmt.Errorf("train: init_from: %s: %s: shape %s, want %s", r.InitFrom, p.Name, journal.Shape(src.Shape), journal.Shape(p.Shape))
		}
	}
	for _, l := range layers {
		if used[l] {
			report.Taken = append(report.Taken, l)
		} else {
			report.Random = append(report.Random, l)
		}
	}
	for _, l := range layersOf(from.Net.Params()) {
		if !used[l] {
			report.Left = append(report.Left, l)
		}
	}
	if len(report.Taken) == 0 {
		return nil, nil, fmt.Errorf("train: init_from: %s: no layer of configuration %s has the name and shape of one of %s", r.InitFrom, config, net.Options().Config)
	}
	return report, &from.Preprocess, nil
}

// isBinary reports whether one unit tells two classes apart.
func isBinary(config string) bool {
	a, err := architecture.Parse(config)
	return err == nil && a.Binary()
}

// sameLayers reports whether two configurations have the same features, and whether their
// heads are the same but for the units of the last fully connected layer, adaptive poolings and the ending.
func sameLayers(a, b string) (features, head bool) {
	x, err := architecture.Parse(a)
	y, err2 := architecture.Parse(b)
	if err != nil || err2 != nil {
		return false, false
	}
	adaptive := func(l architecture.Layer) bool { return l.Kind == architecture.Adaptive }
	x.Head, y.Head = slices.DeleteFunc(x.Head, adaptive), slices.DeleteFunc(y.Head, adaptive)
	for _, head := range [][]architecture.Layer{x.Head, y.Head} {
		for i := len(head) - 1; i >= 0; i-- {
			if head[i].Kind == architecture.Connected {
				head[i].Channels = 0
				break
			}
		}
	}
	return slices.Equal(x.Features, y.Features), slices.Equal(x.Head, y.Head)
}

// openInitial opens the model whose weights a run begins with. Of a file that doesn't tell
// its head, the features are opened.
func openInitial(ctx context.Context, path string, o vgg.OpenOptions) (*vgg.Model, error) {
	m, err := vgg.Open(ctx, path, o)
	var ambiguous *vgg.AmbiguousError
	if errors.As(err, &ambiguous) && o.Head == "" {
		o.Headless, o.Classes = true, nil
		return vgg.Open(ctx, path, o)
	}
	return m, err
}

// otherClasses reports whether the shapes of a parameter of the last layer differ only in
// the number of classes. The parameter then stays random.
func otherClasses(p, src *nn.Param) bool {
	return len(p.Shape) == len(src.Shape) && slices.Equal(p.Shape[1:], src.Shape[1:])
}

// wantedLayers returns the layers of a model that a rule takes, nil for all of them. The
// batch normalisation of a convolution is taken with it.
func wantedLayers(from *network.Network, rule InitRule) map[string]bool {
	if rule != PreInitialisation {
		return nil
	}
	wanted := map[string]bool{"fc6": true, "fc7": true, "fc8": true}
	convolutions := 0
	for _, l := range layersOf(from.Params()) {
		base, _, _ := strings.Cut(l, ".")
		if l == base && strings.HasPrefix(l, "conv") {
			convolutions++
		}
		if strings.HasPrefix(l, "conv") && convolutions <= preConvolutions {
			wanted[l] = true
		}
	}
	return wanted
}

// layerOf returns the name of a parameter's layer.
func layerOf(p *nn.Param) string { return p.Name[:strings.LastIndexByte(p.Name, '.')] }

// layersOf lists the layers that have parameters.
func layersOf(params []*nn.Param) []string {
	var names []string
	for _, p := range params {
		if l := layerOf(p); !slices.Contains(names, l) {
			names = append(names, l)
		}
	}
	return names
}

// lastLayers returns the last fully connected layer with the layers behind it; of a network
// without one, the last layer.
func lastLayers(layers []string) []string {
	at := len(layers) - 1
	for i, l := range layers {
		if strings.HasPrefix(l, "fc") && !strings.Contains(l, ".") {
			at = i
		}
	}
	return layers[at:]
}

// classOrder returns the index in was of each class; nil unless both are the same classes,
// each once.
func classOrder(was, classes []string) []int {
	if len(was) != len(classes) {
		return nil
	}
	order := make([]int, len(classes))
	for i, c := range classes {
		if order[i] = slices.Index(was, c); order[i] < 0 || slices.Contains(order[:i], order[i]) {
			return nil
		}
	}
	return order
}

// copyParam copies src to dst, row i from row order[i] unless order is nil.
func copyParam(dst, src *nn.Param, order []int) error {
	var buf []float32
	var err error
	if order != nil {
		buf = make([]float32, src.Len()/src.Shape[0])
		for i, at := range order {
			if err := src.GetRows(at, buf); err != nil {
				return err
			}
			if err := dst.SetRows(i, buf); err != nil {
				return err
			}
		}
		return nil
	}
	rowsOf(src, func(k0, n, row int) bool {
		buf = slices.Grow(buf[:0], n*row)[:n*row]
		if err = src.GetRows(k0, buf); err == nil {
			err = dst.SetRows(k0, buf)
		}
		return err == nil
	})
	return err
}

// startImages is the most images, spread evenly, over which the mean of targets is taken.
const startImages = 1000

// startAtMean sets the last layer to the mean target, if the recipe says so.
func (r *run) startAtMean(ctx context.Context) error {
	if !r.o.Recipe.MeanStart {
		return nil
	}
	data := r.o.Train
	loader := &dataset.Loader{Data: data, Spec: r.spec, Crop: r.o.Recipe.Input}
	step := (data.Len() + startImages - 1) / startImages
	var failed error
	start := r.o.Task.Start(func(yield func(dataset.Sample, dataset.View) bool) {
		for i := 0; i < data.Len(); i += step {
			if failed = context.Cause(ctx); failed != nil {
				return
			}
			v, err := loader.CentralView(i)
			switch {
			case dataset.Environment(ctx, err):
				failed = err
				return
			case err == nil && !yield(data.Samples[i], v): // unreadable images have been told of
				return
			}
		}
	})
	if failed != nil {
		return failed
	}
	last := lastLayers(layersOf(r.model.Net.Params()))
	for _, p := range r.model.Net.Params() {
		var err error
		switch {
		case !slices.Contains(last, layerOf(p)):
		case len(p.Shape) == 1 && p.Shape[0] == len(start):
			err = p.Set(start)
		default:
			err = p.Set(make([]float32, p.Len()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
