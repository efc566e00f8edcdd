package train

import (
	"encoding"
	"fmt"
	"math"
	"path"
)

// Validate reports the first value with which no training is possible.
func (r Recipe) Validate() error {
	if err := r.Options(2).Validate(); err != nil {
		return fmt.Errorf("train: recipe: %w", err)
	}
	if err := r.Init.Validate(); err != nil {
		return fmt.Errorf("train: recipe: %w", err)
	}
	for _, v := range []encoding.TextMarshaler{r.Filter, r.Resize, r.Orient, r.Exchange} {
		if _, err := v.MarshalText(); err != nil {
			return fmt.Errorf("train: recipe: %w", err)
		}
	}
	bad := func(key string, value any, want string) error {
		return fmt.Errorf("train: recipe: %s: %v, want %s", key, value, want)
	}
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	s := r.Schedule
	for _, pattern := range r.Freeze {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return bad("freeze", fmt.Sprintf("%q", pattern), "a pattern of layer names: conv1_*, fc[67]")
		}
	}
	for _, text := range r.LayerRates {
		if _, _, err := layerRate(text); err != nil {
			return bad("layer_rates", fmt.Sprintf("%q", text), "a pattern of layer names and a factor above 0: conv*=0.1")
		}
	}
	switch r.InitRule {
	case Auto:
	case PreInitialisation, FineTune:
		if r.InitFrom == "" {
			return bad("init_from", `""`, fmt.Sprintf("a file of weights, which init_rule %s begins with", r.InitRule))
		}
	default:
		return bad("init_rule", fmt.Sprintf("%q", r.InitRule), `"auto", "pre-initialisation" or "fine-tune"`)
	}
	switch {
	case r.Batch < 1:
		return bad("batch", r.Batch, "at least 1")
	case r.Groups < 1 || r.Groups > r.Batch:
		return bad("groups", r.Groups, fmt.Sprintf("1 to the batch's %d images", r.Batch))
	case r.Exchange == Rounded && r.Groups == 1:
		return bad("exchange", r.Exchange, "at least 2 groups with it: it rounds what groups add, and one adds nothing")
	case r.Epochs < 1:
		return bad("epochs", r.Epochs, "at least 1")
	case r.MaxIterations < 1:
		return bad("max_iterations", r.MaxIterations, "at least 1")
	case !positive(r.LearningRate):
		return bad("learning_rate", r.LearningRate, "above 0")
	case !(r.Momentum >= 0 && r.Momentum < 1):
		return bad("momentum", r.Momentum, "at least 0 and below 1")
	case !(r.WeightDecay >= 0) || math.IsInf(r.WeightDecay, 0):
		return bad("weight_decay", r.WeightDecay, "at least 0")
	case r.Nesterov && r.Momentum == 0:
		return bad("nesterov", r.Nesterov, "a momentum above 0")
	case !(r.ClipNorm >= 0) || math.IsInf(r.ClipNorm, 0):
		return bad("clip_norm", r.ClipNorm, "at least 0")
	case !(r.LabelSmoothing >= 0 && r.LabelSmoothing < 1):
		return bad("label_smoothing", r.LabelSmoothing, "at least 0 and below 1")
	case !(r.ColourShift >= 0) || r.ColourShift > 10:
		return bad("colour_shift", r.ColourShift, "0 to 10")
	case r.Winograd != 4 && r.Winograd != 6:
		return bad("winograd", r.Winograd, "4 or 6")
	case r.Views < 0:
		return bad("views", r.Views, "at least 0")
	case r.ScaleMin < r.Input:
		return bad("scale_min", r.ScaleMin, fmt.Sprintf("at least the input side %d", r.Input))
	case r.ScaleMax < r.ScaleMin:
		return bad("scale_max", r.ScaleMax, fmt.Sprintf("at least scale_min %d", r.ScaleMin))
	case r.TestScale < r.Input:
		return bad("test_scale", r.TestScale, fmt.Sprintf("at least the input side %d", r.Input))
	}
	return s.validate(bad)
}
