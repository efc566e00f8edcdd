// Package explain shows where in a picture a network sees classes, as maps over the picture:
// the class score maps of the dense evaluation (§3.2), the saliency of Simonyan, Vedaldi &
// Zisserman (2013), and Grad-CAM (Selvaraju et al. 2017).
package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/preprocess"
)

// Method is a way to make maps.
type Method string

const (
	// ScoreMap is the class score map (§3.2): at each place the posterior of the window there.
	ScoreMap Method = "scoremap"
	// GradCAM is the mean of a layer's channels, each weighted by the mean over the map of the
	// class score's derivative with respect to it, rectified (Selvaraju et al. 2017).
	GradCAM Method = "gradcam"
	// Saliency is, at each pixel, the largest absolute derivative of the class score with
	// respect to the pixel's three channels (Simonyan et al. 2013), as the network takes them.
	Saliency Method = "saliency"
)

// Options says what to explain, and how.
type Options struct {
	Method Method // empty: ScoreMap
	// Layer is the layer of GradCAM, by the names that [network.Network.Until] takes; its maps
	// are those after the rectification. Empty: the last convolution.
	Layer string
	// Scales are the smallest sides to which the picture is rescaled; nil: [DefaultScales] for
	// ScoreMap, and else what the weights tell.
	Scales []int
	// Top is the number of classes to show, the most probable ones by the mean over the scales.
	Top int
	// Classes are shown instead of the most probable ones, by name or by index, and so are
	// Indices, by index alone.
	Classes []string
	Indices []int
}

// Result has classes of a picture and their maps. Its JSON keys are those of
// `vgg explain --json`.
type Result struct {
	Method Method  `json:"method"`
	Layer  string  `json:"layer,omitempty"` // of GradCAM
	Top    []Class `json:"top"`
	Scales []Scale `json:"scales"`
	// Maps are the class score maps of all classes, one for each scale.
	Maps []eval.ScoreMap `json:"-"`

	values []map[int][]float32 // of the other methods: by scale and class, row by row
}

// Class is a class with its probabilities.
type Class struct {
	Class       string    `json:"class"`
	Index       int       `json:"index"`
	Probability float32   `json:"probability"` // mean over the scales
	AtScale     []float32 `json:"at_scale"`    // of the map's mean, at each scale
	// Scores are the class scores at each scale, before the soft-max: what GradCAM and
	// Saliency take the derivatives of. Over a class score map it is the mean.
	Scores []float32 `json:"scores,omitempty"`
	// Peaks are the largest values of the maps of GradCAM and Saliency at each scale.
	Peaks []float32 `json:"peaks,omitempty"`
}

// Scale is the geometry of the map at one scale: the value at row i and column j is that of
// the window of Window×Window pixels at (j·Stride, i·Stride) of the rescaled picture. A map of
// GradCAM has the windows around the places of the layer, and one of Saliency the pixels.
type Scale struct {
	Scale  int `json:"scale"`
	Width  int `json:"width"` // of the rescaled picture
	Height int `json:"height"`
	Rows   int `json:"rows"` // of the map
	Cols   int `json:"cols"`
	Window int `json:"window"`
	Stride int `json:"stride"`
}

// DefaultScales are the scales where none are given: once, one and a half times and twice
// what the weights tell.
func DefaultScales(m *vgg.Model) []int {
	q := m.Preprocess.Resize
	return []int{q, q * 3 / 2, 2 * q}
}

// MethodNames lists the methods.
func MethodNames() []string { return []string{string(ScoreMap), string(GradCAM), string(Saliency)} }

// Run computes the maps of a picture. It is an error if the network has no classes, if a
// class or layer isn't the network's, or if what gradients take is more than the memory that
// the process may use.
func Run(ctx context.Context, m *vgg.Model, im *preprocess.Image, o Options) (*Result, error) {
	if m == nil || m.Net == nil {
		return nil, vgg.ErrNoNetwork
	}
	if o.Method == "" {
		o.Method = ScoreMap
	}
	if err := o.checkMethod(m); err != nil {
		return nil, err
	}
	if o.Method != ScoreMap {
		return gradients(ctx, m, im, o)
	}
	if o.Scales == nil {
		o.Scales = DefaultScales(m)
	}
	maps, err := eval.ScoreMaps(ctx, m, im, o.Scales)
	if err != nil {
		return nil, err
	}
	r := &Result{Method: ScoreMap, Maps: maps}
	posteriors := make([][]float32, len(maps))
	for i, s := range maps {
		posteriors[i] = s.Posterior
		r.Scales = append(r.Scales, Scale{s.Scale, s.W, s.H, s.OH, s.OW, s.Window, s.Stride})
	}
	r.Top, err = classes(m, posteriors, o)
	return r, err
}

// checkMethod reports a network, a method or a layer that don't go together.
func (o Options) checkMethod(m *vgg.Model) error {
	switch {
	case m.Localisation != nil:
		return errors.New("explain: a network whose outputs are boxes: want one whose outputs are class scores")
	case !slices.Contains(MethodNames(), string(o.Method)):
		return fmt.Errorf("explain: method %q, want one of %s", o.Method, strings.Join(MethodNames(), ", "))
	case o.Layer != "" && o.Method != GradCAM:
		return fmt.Errorf("explain: layer %s with the method %s, which has none: want %s", o.Layer, o.Method, GradCAM)
	}
	return nil
}

// classes returns the classes to show, by the posteriors at each scale.
func classes(m *vgg.Model, posteriors [][]float32, o Options) ([]Class, error) {
	mean := eval.Mean(posteriors...)
	shown := m.Top(mean, o.Top)
	if len(o.Classes)+len(o.Indices) > 0 {
		shown = nil
		chosen := slices.Clone(o.Indices)
		for _, name := range o.Classes {
			i, err := classIndex(m, name)
			if err != nil {
				return nil, err
			}
			chosen = append(chosen, i)
		}
		for _, i := range chosen {
			if i < 0 || i >= len(mean) {
				return nil, fmt.Errorf("explain: class %d, want 0 to %d", i, len(mean)-1)
			}
			shown = append(shown, vgg.Prediction{Class: m.Classes[i], Index: i, Probability: mean[i]})
		}
	}
	var all []Class
	for _, p := range shown {
		c := Class{Class: p.Class, Index: p.Index, Probability: p.Probability}
		for _, at := range posteriors {
			c.AtScale = append(c.AtScale, at[p.Index])
		}
		all = append(all, c)
	}
	return all, nil
}

// classIndex returns the class of a name, or of an index where no class has that name.
func classIndex(m *vgg.Model, name string) (int, error) {
	if i := slices.Index(m.Classes, name); i >= 0 {
		return i, nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(m.Classes) {
		return i, nil
	}
	return 0, fmt.Errorf("explain: class %q, want one of the network's: %s", name, someOf(m.Classes))
}

// someOf lists the first classes.
func someOf(classes []string) string {
	const most = 12
	if len(classes) <= most {
		return strings.Join(classes, ", ")
	}
	return fmt.Sprintf("%s, … (%d; or an index from 0)", strings.Join(classes[:most], ", "), len(classes))
}

// Map returns the map of a shown class, by its index, at the i-th scale: row by row.
func (r *Result) Map(class, i int) []float32 {
	if r.Method != ScoreMap {
		return r.values[i][class]
	}
	n := r.Maps[i].OH * r.Maps[i].OW
	return r.Maps[i].Posteriors[class*n : (class+1)*n]
}
