package interchange

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/verydeep/vgg/internal/boundedjson"
	"github.com/verydeep/vgg/preprocess"
	"github.com/verydeep/vgg/weights"
)

// Normalize is a step of the model that normalises its input: y = (x − Mean)/Std.
type Normalize struct {
	Source    string // the step's tensors, or its class
	Mean, Std [3]float32
	// Bytes tells that the pixels are 0 … 255.
	Bytes bool
}

// normalizeName matches the names of a normalisation's buffers.
var normalizeName = regexp.MustCompile(`^(.*[./])?_?((?:pixel|image|img|imagenet|input|norm)_)?(mean|std)s?$`)

// normalize takes a normalisation of pixels out of the tensors: two buffers of three
// values, the mean and the standard deviation.
func (s *Selection) normalize(f *weights.File, names map[string]string) error {
	type pair struct{ mean, std string }
	pairs := map[string]*pair{}
	for _, e := range f.Tensors() {
		name, ok := names[e.Name]
		m := normalizeName.FindStringSubmatch(name)
		if !ok || m == nil || !threeValues(e.Shape) {
			continue
		}
		p := pairs[m[1]+m[2]]
		if p == nil {
			p = &pair{}
			pairs[m[1]+m[2]] = p
		}
		if m[3] == "mean" {
			p.mean = e.Name
		} else {
			p.std = e.Name
		}
	}
	for _, p := range pairs {
		if p.mean == "" || p.std == "" {
			continue
		}
		n := &Normalize{Source: p.mean + ", " + p.std}
		for name, to := range map[string][]float32{p.mean: n.Mean[:], p.std: n.Std[:]} {
			if err := f.ReadInto(name, to); err != nil {
				return err
			}
			delete(names, name)
		}
		if err := s.add(n); err != nil {
			return err
		}
	}
	if err := s.kerasNormalize(f, names); err != nil {
		return err
	}
	if text, ok := f.Metadata()["torch.normalize"]; ok {
		var of []struct {
			Source    string
			Mean, Std [3]float32
		}
		if err := boundedjson.Unmarshal([]byte(text), &of); err != nil {
			return fmt.Errorf("metadata torch.normalize: %w", err)
		}
		for _, n := range of {
			if s.Normalize != nil && s.Normalize.same(n.Mean, n.Std) { // the code's, by the buffers
				continue
			}
			if err := s.add(&Normalize{Source: n.Source, Mean: n.Mean, Std: n.Std}); err != nil {
				return err
			}
		}
	}
	return nil
}

// kerasNormalization matches the names of the numbers that Keras's Normalization has found in
// data.
var kerasNormalization = regexp.MustCompile(`^((?:.*/)?normalization(?:_\d+)?)/mean$`)

// kerasNormalize takes a Normalization of pixels out of the tensors of a file of Keras that has
// weights alone: its mean, its variance and the number of values that they were found in.
func (s *Selection) kerasNormalize(f *weights.File, names map[string]string) error {
	if f.Format() != weights.Keras || len(f.Layers()) > 0 {
		return nil
	}
	for _, e := range f.Tensors() {
		m := kerasNormalization.FindStringSubmatch(names[e.Name])
		variance, err := f.Lookup(strings.TrimSuffix(e.Name, "mean") + "variance")
		if m == nil || err != nil || !threeValues(e.Shape) || !threeValues(variance.Shape) {
			continue
		}
		n := &Normalize{Source: e.Name + ", " + variance.Name}
		if err := f.ReadInto(e.Name, n.Mean[:]); err != nil {
			return err
		}
		if err := f.ReadInto(variance.Name, n.Std[:]); err != nil {
			return err
		}
		for c, v := range n.Std {
			n.Std[c] = float32(max(math.Sqrt(float64(v)), kerasLeastDeviation))
		}
		delete(names, e.Name)
		delete(names, variance.Name)
		delete(names, strings.TrimSuffix(e.Name, "mean")+"count")
		if err := s.add(n); err != nil {
			return err
		}
	}
	return nil
}

// add notes a normalisation, of which there can be one.
func (s *Selection) add(n *Normalize) error {
	if s.Normalize != nil {
		both := []string{s.Normalize.Source, n.Source}
		slices.Sort(both)
		return fmt.Errorf("two normalisations of the input, %s: choose a network (--prefix) or leave one out (--ignore)", strings.Join(both, " and "))
	}
	s.Normalize = n
	return nil
}

// same tells whether the values are those but for rounding.
func (n *Normalize) same(mean, std [3]float32) bool {
	near := func(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-5*(1+math.Abs(float64(b))) }
	for c := range 3 {
		if !near(n.Mean[c], mean[c]) || !near(n.Std[c], std[c]) {
			return false
		}
	}
	return true
}

// threeValues tells whether a shape is that of three values: (3), (3,1,1), (1,3,1,1).
func threeValues(shape []int) bool {
	n := 1
	for _, d := range shape {
		if d != 1 && d != 3 {
			return false
		}
		n *= d
	}
	return n == 3
}

// Spec returns the normalisation as the preprocessing of pixels 0 … 255. Its values tell
// whether it takes those, or pixels 0 … 1; values that don't are an error.
func (n *Normalize) Spec() (preprocess.Spec, error) {
	s := preprocess.Spec{Name: "normalize", Scale: 1, Mean: n.Mean, Std: n.Std, Filter: preprocess.Bilinear}
	unit, grey := true, true // takes pixels 0 … 1, or 0 … 255
	for c := range 3 {
		mean, std := n.Mean[c], n.Std[c]
		unit = unit && mean >= 0 && mean <= 1 && std > 0 && std <= 1
		grey = grey && (mean > 1.5 && mean < 255 && std > 0 || mean == 0 && std > 1.5)
	}
	identity := n.Mean == [3]float32{} && n.Std == [3]float32{1, 1, 1}
	turned := grey && n.Mean[0] < 110 && n.Mean[2] > 118 // the means of ImageNet in the order BGR
	switch {
	case n.Bytes && !turned:
	case unit && !identity:
		s.Scale = 1.0 / 255
	case !grey || identity || turned:
		return s, fmt.Errorf("%s: mean %v and standard deviation %v don't tell the range of the pixels or the order of the channels: say the preprocessing (--preprocess)", n.Source, n.Mean, n.Std)
	}
	return s, nil
}
