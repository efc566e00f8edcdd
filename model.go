package vgg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// Model is a network with what its use needs: the names of its classes and the
// preprocessing of its input. Any number of goroutines may use one at once.
type Model struct {
	Net *network.Network
	// Classes are the class names by index of the last layer's outputs; in a localisation
	// network, by index of the class; nil in a headless one.
	Classes []string
	// Thresholds are the least probabilities from which a label counts as shown, by class, of a
	// network whose classes are labels of their own; nil: [DefaultThreshold] for each.
	Thresholds []float32
	// Preprocess is the preprocessing that the weights were trained with.
	Preprocess preprocess.Spec
	// Provenance records where the weights are from: keys such as source, format, licence.
	Provenance map[string]string
	// Localisation tells that the outputs are boxes; nil where they are class scores.
	Localisation *Localisation
}

// Keys of the metadata in a file of weights. Each value is JSON.
const (
	metaOptions    = "vgg.options"
	metaClasses    = "vgg.classes"
	metaPreprocess = "vgg.preprocess"
	metaProvenance = "vgg.provenance"
	metaThresholds = "vgg.thresholds" // of labels, where they are given
	metaInput      = "vgg.input"      // side of the input, in ONNX files

	metaLocalisation = "vgg.localisation" // only in localisation networks
)

// ErrHeadless is the error of asking a network without a classifier for classes.
var ErrHeadless = errors.New("vgg: the network has features only and no classifier: no classes to tell")

// ErrNoNetwork is the error of using a Model without a network, such as the zero value, or a
// nil one.
var ErrNoNetwork = errors.New("vgg: a model without a network")

// ErrScores is the error of asking a network that ends with scores for posteriors.
// [Model.Scores] gives the scores.
var ErrScores = errors.New("vgg: the network ends with scores (SCORES at the end of its head), not with posteriors: vgg classify shows the scores; for posteriors open the original weights with a head that ends with FC (soft-max) or FC SIGMOID (--head)")

// ErrNotFinite is the error of a network that gives NaN or infinite scores, boxes or
// activations.
var ErrNotFinite = errors.New("scores that are not finite: the weights are of a training that diverged")

// Until returns the model whose network ends with a layer; see [network.Network.Until]. It
// shares m's parameters, has no classes, and can be saved and opened again.
func (m *Model) Until(layer string, rectified bool) (*Model, error) {
	if m == nil || m.Net == nil {
		return nil, ErrNoNetwork
	}
	net, err := m.Net.Until(layer, rectified)
	if err != nil {
		return nil, err
	}
	return &Model{Net: net, Preprocess: m.Preprocess, Provenance: m.Provenance}, nil
}

// Save writes the model to a safetensors file, which appears under its name only when it
// is complete. An earlier file stays until then, and also if ctx ends. A model that
// [Open] would refuse is an error.
func (m *Model) Save(ctx context.Context, path string) error {
	return m.Export(ctx, path, ExportOptions{Format: weights.Safetensors})
}

// check reports what makes the model one that [Open] would refuse.
func (m *Model) check() error {
	if err := checkModel(m.Net.Options(), m.Classes, m.Preprocess, m.Localisation); err != nil {
		return err
	}
	return checkLabelThresholds(m.Net.Options(), m.Thresholds)
}

// DefaultThreshold is the least probability from which a label counts as shown where neither
// the weights nor the caller tell another.
const DefaultThreshold = 0.5

// CheckThresholds reports thresholds that are not one probability for each of n labels.
func CheckThresholds(thresholds []float32, n int) error {
	if len(thresholds) != n {
		return fmt.Errorf("%d thresholds, want one for each of %d labels", len(thresholds), n)
	}
	for i, t := range thresholds {
		if !(t > 0 && t <= 1) {
			return fmt.Errorf("threshold %v of label %d, want more than 0 and at most 1", t, i)
		}
	}
	return nil
}

// checkLabelThresholds reports thresholds that don't fit a network of options o.
func checkLabelThresholds(o network.Options, thresholds []float32) error {
	if thresholds == nil {
		return nil
	}
	if o.Posterior() != network.ByLabel {
		return fmt.Errorf("thresholds of labels, but the network doesn't end with FC SIGMOID: want none")
	}
	return CheckThresholds(thresholds, o.Classes)
}

// checkModel reports class names or preprocessing that don't fit a network of options o.
func checkModel(o network.Options, classes []string, s preprocess.Spec, l *Localisation) error {
	want := o.Classes
	if o.Headless() {
		want = 0
	}
	if l != nil {
		if err := l.check(want, len(classes)); err != nil {
			return err
		}
	} else if len(classes) != want {
		return fmt.Errorf("%d class names, want %d", len(classes), want)
	}
	return s.Validate()
}

// metadata returns what travels with the weights, each value in JSON.
func (m *Model) metadata() (map[string]string, error) {
	s := struct {
		preprocess.Spec
		Orient preprocess.Orient `json:"orient"` // stored too, as a file without it is of an earlier version
	}{m.Preprocess, m.Preprocess.Orient}
	values := map[string]any{metaOptions: m.Net.Options(), metaClasses: m.Classes, metaPreprocess: s, metaProvenance: m.Provenance}
	if m.Thresholds != nil {
		values[metaThresholds] = m.Thresholds
	}
	if m.Localisation != nil {
		values[metaLocalisation] = m.Localisation
	}
	meta := map[string]string{}
	for key, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("metadata %s: %w", key, err)
		}
		meta[key] = string(text)
	}
	return meta, nil
}
