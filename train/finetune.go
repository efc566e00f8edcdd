package train

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/nn"
	"github.com/verydeep/vgg/preprocess"
)

// FineTuneRecipe returns a recipe that fine-tunes the network in a file, with options o and
// preprocessing s, on other images. side is the typical smallest side of these images, in
// pixels ([dataset.Dataset.TypicalSide]). The last layer is drawn at random and learnt at
// the learning rate 1e-2, the others at a tenth of that.
//
// S is jittered between the network's test scale and 1.5 times that, but at most up to side,
// so that typical images are not enlarged. Q is the middle (§4).
//
// The paper fine-tunes at a lower learning rate (§3.1, appendix A). Batch, epochs and steps
// suit small sets of photographs.
func FineTuneRecipe(file string, o network.Options, s preprocess.Spec, side int) (Recipe, error) {
	r := PaperRecipe()
	r.Config, r.Width, r.FC, r.Input, r.Dropout, r.LRN = o.Config, o.Width, o.FC, o.Input, o.Dropout, o.LRN
	if r.FC == 0 {
		r.FC = PaperRecipe().FC
	}
	if r.LRN == "" {
		r.LRN = nn.Krizhevsky
	}
	r.InitFrom, r.InitRule = file, FineTune
	r.LayerRates = []string{"conv*=0.1"}
	if !o.Headless() {
		if err := r.rateHead(o); err != nil {
			return r, err
		}
	}
	r.Batch, r.Epochs, r.LearningRate = 32, 30, 1e-2
	r.Schedule.Name, r.Schedule.Steps = "step", []int{20, 27}
	r.Schedule.Decreases = len(r.Schedule.Steps)
	r.Filter, r.Resize, r.Orient = s.Filter, s.Fit, s.Orient
	r.ScaleMin = max(s.Resize, o.Input)
	r.ScaleMax = max(r.ScaleMin, min(side, r.ScaleMin*3/2))
	r.TestScale = (r.ScaleMin + r.ScaleMax) / 2
	return r, nil
}

// rateHead adds the learning rates of the head's layers: a tenth for all of them, but the last
// fully connected layer and what follows it, which is drawn at random.
func (r *Recipe) rateHead(o network.Options) error {
	summary, err := network.Summarise(o)
	if err != nil {
		return err
	}
	var layers []string
	for _, l := range summary.Layers {
		if l.Weights+l.Biases > 0 {
			layers = append(layers, l.Name)
		}
	}
	r.LayerRates = append(r.LayerRates, "fc*=0.1")
	if slices.ContainsFunc(layers, func(l string) bool { return strings.HasPrefix(l, "norm") }) {
		r.LayerRates = append(r.LayerRates, "norm*=0.1")
	}
	for _, l := range lastLayers(layers) {
		r.LayerRates = append(r.LayerRates, l+"=1")
	}
	return nil
}

// layerRate parses PATTERN=FACTOR.
func layerRate(text string) (pattern string, factor float64, err error) {
	pattern, number, _ := strings.Cut(text, "=")
	factor, err = strconv.ParseFloat(number, 64)
	if _, bad := path.Match(pattern, ""); err != nil || bad != nil || pattern == "" || !(factor > 0 && factor <= 1e6) {
		return "", 0, fmt.Errorf("%q, want PATTERN=FACTOR", text)
	}
	return pattern, factor, nil
}

// setRates sets the factors of the parameters' learning rates. Each pattern must match a
// layer.
func setRates(params []*nn.Param, rates []string) error {
	layers := layersOf(params)
	factors := map[string]float64{}
	for _, text := range rates {
		pattern, factor, err := layerRate(text)
		if err != nil {
			return fmt.Errorf("train: recipe: layer_rates: %w", err)
		}
		found := false
		for _, l := range layers {
			if ok, err := path.Match(pattern, l); err == nil && ok {
				factors[l], found = factor, true
			}
		}
		if !found {
			return fmt.Errorf("train: recipe: layer_rates: %q matches none of the layers %s", pattern, strings.Join(layers, ", "))
		}
	}
	for _, p := range params {
		p.RateFactor = float32(factors[layerOf(p)])
	}
	return nil
}
